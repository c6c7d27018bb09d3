"""What the page says of the second study: the corpus, the hidden states' geometry in numbers, and what is missing."""

from typing import Any

import pandas as pd

from lm_geometry.figures.dynamics.panels import single_dimension_counts
from lm_geometry.figures.dynamics.rows import profile_revisions
from lm_geometry.figures.dynamics.sentences import FULL_PRECISION, reason_kind
from lm_geometry.geometry_comparisons import EXCESS
from lm_geometry.natural_order import natural_key
from lm_geometry.summary.markup import counted, paragraph, shortened, table
from lm_geometry.tables.corpus_statistics import MEDIAWIKI_XML
from lm_geometry.tables.geometry import OK
from lm_geometry.tables.geometry_comparisons import LAYERS, MODELS, STEPS
from lm_geometry.tables.geometry_statistics import ANISOTROPY, MATCHED, TWONN_020, TWONN_090, WITHOUT_FIRST
from lm_geometry.wording import listing, span

ALPHA = 0.05
SAME_TOKEN = "same_token_neighbors"

_COMPARED = {
    LAYERS: "neighbouring layers",
    STEPS: "checkpoints, over their layers",
    MODELS: "models of one kind, over their layers",
}
_STATISTICS = {
    ANISOTROPY: "anisotropy",
    EXCESS: "anisotropy over the frequency null",
    TWONN_090: "dimension",
    TWONN_090 + MATCHED: "dimension type-matched",
}


def about_dynamics(
    geometry: pd.DataFrame | None,
    layer_means: pd.DataFrame | None,
    comparisons: pd.DataFrame | None,
    corpus: pd.DataFrame | None,
) -> list[str]:
    """Return what was run of the study and on which text, one row per model and stack, and which differences are sure.

    Parameters
    ----------
    geometry, layer_means, comparisons : DataFrame, optional
        The tables ``geometry``, ``geometry_layer_means`` and ``geometry_comparisons``.
    corpus : DataFrame, optional
        The table ``corpus_statistics``.
    """
    if geometry is None:
        return [paragraph("The representation-dynamics study was not run.")]
    note = (
        "Over the layers before the final norm; for all tokens without a look-up layer 0. Sinks off: without the first "
        "position of each chunk. No single dimension: in how many layers the two fits or the ratios' variation "
        "disagree. Same token: how many nearest neighbours are the same token. Dimensions compare only at equal N."
    )
    return [
        paragraph(_what_was_measured(geometry)),
        paragraph(_corpus_words(corpus)),
        paragraph(_precision_warning(geometry), strong=True),
        table(geometry_heads(geometry, layer_means), note, kind="heads"),
        paragraph(_comparison_words(comparisons)),
    ]


def geometry_heads(geometry: pd.DataFrame, layer_means: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per model and stack: where anisotropy peaks, the dimensions over the layers, what they rest on.

    Over layers 0..L before the final norm, without the bare look-up layer except for type-matched statistics.
    """
    chosen = profile_revisions(geometry)
    rows = geometry[(geometry["revision"] == geometry["model"].map(chosen)) & ~geometry["after_final_norm"]]
    rows = rows[~rows["context_free"] | rows["statistic"].str.endswith(MATCHED)]
    means = {} if layer_means is None else _means_by_stack(layer_means)
    heads = [_geometry_head(group, means) for _, group in rows.groupby(["suite", "model", "stack"])]
    return pd.DataFrame(sorted(heads, key=lambda head: (head["suite"], head["width"], natural_key(head["model"]))))


def geometry_gaps(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return what has no geometry: columns who, what, why.

    Statistics, layers and revisions of a stack that fail for the same kind of reason, but for the numbers in it, are
    one row with the reason of the first.
    """
    gaps = geometry[geometry["status"] != OK]
    rows = []
    kinds = gaps["status"].map(reason_kind).rename("reason")
    for (model, stack, _), group in gaps.groupby(["model", "stack", kinds], sort=False):
        statistics, layers = dict.fromkeys(group["statistic"]), map(str, sorted(set(group["layer"])))
        who = f"{model} {shortened(dict.fromkeys(group['revision']))}"
        rows.append((who, f"{shortened(statistics)}; {stack} layer {shortened(layers)}", group["status"].iloc[0]))
    return pd.DataFrame(rows, columns=["who", "what", "why"])


def _what_was_measured(geometry: pd.DataFrame) -> str:
    stepped = geometry[geometry["step"].notna() & geometry["duplicate_of"].isna()]
    steps = stepped.groupby("model")["step"].nunique()
    followed = [f"{model} at {count} checkpoints" for model, count in steps.items()]
    return (
        f"Representation dynamics: the hidden states of {counted(geometry['model'].nunique())}, in "
        f"{span(geometry['n_batches'])} disjoint batches of N = {span(geometry['batch_size'])} tokens"
        + (f"; followed over training: {listing(followed)}." if followed else ".")
    )


def _corpus_words(corpus: pd.DataFrame | None) -> str:
    """Say what the text is: the raw file, its pages, characters and alphabets, and what was left out."""
    if corpus is None:
        return ""
    found = corpus.iloc[0]
    raw = "a MediaWiki dump" if found["format"] == MEDIAWIKI_XML else "a plain text"
    left_out = {
        "redirects": found["redirects"],
        "pages without prose": found["empty_pages"],
        "pages that the file ends in": found["unfinished_pages"],
    }
    said = listing(f"{count:,} {what}" for what, count in left_out.items())
    return (
        f"The text: {raw} of {found['raw_bytes']:,} bytes, of which {found['distinct_bytes']} are distinct; cleaned, "
        f"{found['pages']:,} pages of {found['characters']:,} characters, of which {found['alphabet_size']:,} are "
        f"distinct. Left out: {said}; {found['unparsed_pages']:,} pages could not be parsed and were kept as text."
    )


def _precision_warning(geometry: pd.DataFrame) -> str:
    other = geometry[geometry["dtype"].notna() & (geometry["dtype"] != FULL_PRECISION)]
    said = [f"{shortened(dict.fromkeys(rows['model']))} in {dtype}" for dtype, rows in other.groupby("dtype")]
    return f"Not run in {FULL_PRECISION}, which the measures ask for: {listing(said)}." if said else ""


def _comparison_words(comparisons: pd.DataFrame | None) -> str:
    """Say how many layers, checkpoints and models differ; nothing where none were compared."""
    if comparisons is None:
        return ""
    said = []
    for kind, what in _COMPARED.items():
        of_kind = comparisons[(comparisons["comparison"] == kind) & comparisons["p_holm"].notna()]
        pairs = {name: of_kind.loc[of_kind["statistic"] == name, "p_holm"] < ALPHA for name in _STATISTICS}
        counts = [
            f"{name.sum()} of {len(name)} pairs by {_STATISTICS[key]}" for key, name in pairs.items() if len(name)
        ]
        if counts:
            said.append(f"{what} in {listing(counts)}")
    if not said:
        return ""
    return f"Over the same batches (paired t, p after Holm's correction below {ALPHA}) differ {'; '.join(said)}."


def _means_by_stack(layer_means: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    rows = layer_means[layer_means["statistic"] == TWONN_090]
    return {(row["model"], row["revision"], row["stack"]): row for _, row in rows.iterrows()}


def _geometry_head(rows: pd.DataFrame, means: dict[tuple[str, ...], pd.Series]) -> dict[str, Any]:
    first = rows.iloc[0]
    by_statistic = {name: group.dropna(subset=["value"]) for name, group in rows.groupby("statistic")}
    mean = means.get((first["model"], first["revision"], first["stack"]))
    return {
        **{name: first[name] for name in ("suite", "model", "revision", "kind", "stack")},
        "width": int(rows["width"].max()),
        "L": int(rows["layer"].max()),
        "batches": int(first["n_batches"]),
        "N": int(first["batch_size"]),
        "largest anisotropy": _peak(by_statistic.get(ANISOTROPY)),
        "largest, sinks off": _peak(by_statistic.get(WITHOUT_FIRST)),
        "largest, type-matched": _peak(by_statistic.get(ANISOTROPY + MATCHED)),
        "TwoNN, fit 0.9": _range(by_statistic.get(TWONN_090)),
        "mean over layers": "none" if mean is None else _mean(mean),
        "TwoNN, fit 0.2": _range(by_statistic.get(TWONN_020)),
        "no single dimension": _judged(by_statistic.get(TWONN_090)),
        "no single dimension, type-matched": _judged(by_statistic.get(TWONN_090 + MATCHED)),
        "same token": _range(by_statistic.get(SAME_TOKEN), percent=True),
    }


def _peak(rows: pd.DataFrame | None) -> str:
    if rows is None or rows.empty:
        return "none"
    top = rows.loc[rows["value"].idxmax()]
    return f"{top['value']:.3f} in layer {top['layer']}"


def _range(rows: pd.DataFrame | None, *, percent: bool = False) -> str:
    if rows is None or rows.empty:
        return "none"
    low, high = rows["value"].min(), rows["value"].max()
    return f"{100 * low:.0f} to {100 * high:.0f} %" if percent else f"{low:.1f} to {high:.1f}"


def _mean(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return "none"
    return f"{row['value']:.1f}" + ("" if pd.isna(row["ci_low"]) else f" ({row['ci_low']:.1f} to {row['ci_high']:.1f})")


def _judged(rows: pd.DataFrame | None) -> str:
    if rows is None:
        return "none"
    mixed, judged = single_dimension_counts(rows.assign(mark="line"))
    return f"{mixed} of {judged}" if judged else "none"

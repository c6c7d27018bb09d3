"""The page that shows a whole run: what was run, every figure, the gaps, the headline numbers, what made them.

Static HTML with its style inside; figures are linked by relative paths. Tables in, a text out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa

from lm_geometry.checkpoints.duplicates import CONFIRMED, NOT_IN_THIS_RUN
from lm_geometry.figures.dynamics import ANISOTROPY, MATCHED, TWONN_020, TWONN_090, profile_revisions
from lm_geometry.figures.scaling import METRICS, below_random_sentence, metric_name
from lm_geometry.figures.style import listing, natural_key, span
from lm_geometry.tables.retrieval_scores import OK

NAMED_ONE_BY_ONE = 4
"""Up to so many names of a kind are written out."""

UNVERIFIED = "none"
_UNSEEN = {NOT_IN_THIS_RUN: "what it equals is not in this run"}

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { text-align: left; padding: 0.2rem 0.7rem 0.2rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.heads td { white-space: nowrap; overflow-wrap: normal; }
caption { text-align: left; color: #555; padding-bottom: 0.3rem; }
.scroll { overflow-x: auto; }
figure { margin: 2rem 0; max-width: 60rem; }
figure img { max-width: 100%; height: auto; background: white; }
figcaption { font-size: 0.9rem; }
"""


@dataclass(frozen=True)
class Picture:
    """A figure on the page: its caption (title line, empty line, text), the image, and links by label, as paths."""

    caption: str
    image: str
    links: Mapping[str, str]


def render(
    *,
    title: str,
    pictures: Sequence[Picture],
    scores: pa.Table | None = None,
    geometry: pa.Table | None = None,
    ledger: pa.Table | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    title : str
        Headline of the page.
    pictures : sequence of Picture
        The figures, in the order in which they are shown; paths are relative to the page.
    scores, geometry : pa.Table, optional
        The tables ``retrieval_scores`` and ``geometry``; a study that was not run has none.
    ledger : pa.Table, optional
        The table ``ledger``: what the checkpoints weigh, what was read of them, which of them are copies.
    provenance : mapping, optional
        What made each table, by the table's name.
    """
    scores_frame = None if scores is None else scores.to_pandas()
    geometry_frame = None if geometry is None else geometry.to_pandas()
    body = [
        f"<h1>{escape(title)}</h1>",
        "<h2>What was run</h2>",
        *_about_scaling(scores_frame),
        *_about_dynamics(geometry_frame),
        *_about_checkpoints(None if ledger is None else ledger.to_pandas()),
        "<h2>Figures</h2>",
        *(_figure(picture) for picture in pictures),
        "<h2>Gaps</h2>",
        *_gaps(scores_frame, geometry_frame),
        "<h2>What made this</h2>",
        *_provenance(provenance or {}),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def score_gaps(scores: pd.DataFrame) -> pd.DataFrame:
    """Return what has no score: columns who, what, why; metrics and seeds that fail alike are one row."""
    gaps = scores[scores["status"] != OK]
    gaps = gaps.assign(who=gaps["model"].fillna(gaps["tokenizer"]))
    groups = gaps.groupby(["who", "variant", "status"], sort=False)
    rows = [(who, f"{variant}, width {span(group['width'])}", why) for (who, variant, why), group in groups]
    return pd.DataFrame(rows, columns=["who", "what", "why"])


def geometry_gaps(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return what has no geometry: columns who, what, why; statistics and layers that fail alike are one row."""
    gaps = geometry[geometry["status"] != OK]
    rows = []
    for (model, revision, stack, why), group in gaps.groupby(["model", "revision", "stack", "status"], sort=False):
        statistics = listing(dict.fromkeys(group["statistic"]))
        layers = listing(sorted(set(group["layer"])))
        rows.append((f"{model} {revision}", f"{statistics}; {stack} layer {layers}", why))
    return pd.DataFrame(rows, columns=["who", "what", "why"])


def score_heads(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model with its trained table's scores and the mean of its random tables, in percent."""
    of_models = scores[scores["model"].notna() & scores["metric"].isin(METRICS)]
    of_models = of_models[of_models["variant"].isin(["as_is", "random"])]
    if of_models.empty:
        return pd.DataFrame()
    keys = ["suite", "model", "revision", "embedding_dim", "vocab_rows", "tokenizer"]
    heads = of_models.pivot_table(index=keys, columns=["variant", "metric"], values="value", aggfunc="mean") * 100
    heads = heads.loc[sorted(heads.index, key=lambda key: (key[0], key[3], natural_key(key[1]), key))]
    wanted = [(variant, metric) for variant in ("as_is", "random") for metric in METRICS]
    heads = heads[[column for column in wanted if column in heads.columns]]
    names = [metric_name(metric) + (", random" if variant == "random" else "") for variant, metric in heads.columns]
    heads = heads.set_axis(names, axis=1).reset_index()
    return heads.rename(columns={"embedding_dim": "columns", "vocab_rows": "rows"})


def geometry_heads(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model and stack: where anisotropy peaks, and the range of both dimensions over layers.

    Over layers 0..L before the final norm, without the bare look-up layer except for type-matched statistics.
    """
    chosen = profile_revisions(geometry)
    rows = geometry[(geometry["revision"] == geometry["model"].map(chosen)) & ~geometry["after_final_norm"]]
    rows = rows[~rows["context_free"] | rows["statistic"].str.endswith(MATCHED)]
    heads = [_geometry_head(group) for _, group in rows.groupby(["suite", "model", "stack"])]
    return pd.DataFrame(sorted(heads, key=lambda head: (head["suite"], head["width"], natural_key(head["model"]))))


def copies(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints that hold other checkpoints' weights; those of one model that are alike are one row.

    Columns: model, checkpoints (how many), revisions, weights of, published.
    """
    found = ledger[ledger["duplicate_of"].notna()]
    found = found.assign(published=found["published_defect"].fillna("not published"))
    groups = found.groupby(["model", "duplicate_of", "published"], sort=False)
    rows = [
        (model, len(group), _shortened(group["revision"]), _shortened(origin.split(", ")), published)
        for (model, origin, published), group in groups
    ]
    return pd.DataFrame(rows, columns=["model", "checkpoints", "revisions", "weights of", "published"])


def _geometry_head(rows: pd.DataFrame) -> dict[str, Any]:
    first = rows.iloc[0]
    by_statistic = {name: group.dropna(subset=["value"]) for name, group in rows.groupby("statistic")}
    return {
        **{name: first[name] for name in ("suite", "model", "revision", "kind", "stack")},
        "width": int(rows["width"].max()),
        "L": int(rows["layer"].max()),
        "batches": int(first["n_batches"]),
        "N": int(first["batch_size"]),
        "largest anisotropy": _peak(by_statistic.get(ANISOTROPY)),
        "largest, type-matched": _peak(by_statistic.get(ANISOTROPY + MATCHED)),
        "TwoNN, fit 0.9": _range(by_statistic.get(TWONN_090)),
        "TwoNN, fit 0.2": _range(by_statistic.get(TWONN_020)),
    }


def _peak(rows: pd.DataFrame | None) -> str:
    if rows is None or rows.empty:
        return "none"
    top = rows.loc[rows["value"].idxmax()]
    return f"{top['value']:.3f} in layer {top['layer']}"


def _range(rows: pd.DataFrame | None) -> str:
    return "none" if rows is None or rows.empty else f"{rows['value'].min():.1f} to {rows['value'].max():.1f}"


def _about_scaling(scores: pd.DataFrame | None) -> list[str]:
    if scores is None:
        return ["<p>The embedding-scaling study was not run.</p>"]
    variants = list(dict.fromkeys(scores["variant"]))
    seeds = sorted(scores["seed"].dropna().astype(int).unique())
    collections = listing(dict.fromkeys(scores["collection"]))
    said = (
        f"Embedding scaling: {_counted(scores['model'].nunique())} on the collection {collections}, "
        f"{span(scores['n_queries'])} judged queries; variants {listing(variants)}"
        + (f"; random seeds {listing(seeds)}" if seeds else "")
        + f"; tables rounded to {listing(dict.fromkeys(scores['table_precision']))}."
    )
    heads = score_heads(scores)
    below = below_random_sentence(scores, METRICS)
    return [
        f"<p>{escape(said)}</p>",
        *([] if heads.empty else [_table(heads, "Scores in percent; 'random' is the mean over seeds.", kind="heads")]),
        *([f"<p><strong>{escape(below)}</strong></p>"] if below else []),
    ]


def _about_dynamics(geometry: pd.DataFrame | None) -> list[str]:
    if geometry is None:
        return ["<p>The representation-dynamics study was not run.</p>"]
    stepped = geometry[geometry["step"].notna() & geometry["duplicate_of"].isna()]
    steps = stepped.groupby("model")["step"].nunique()
    followed = [f"{model} at {count} checkpoints" for model, count in steps.items()]
    said = (
        f"Representation dynamics: the hidden states of {_counted(geometry['model'].nunique())}, in "
        f"{span(geometry['n_batches'])} disjoint batches of N = {span(geometry['batch_size'])} tokens"
        + (f"; followed over training: {listing(followed)}." if followed else ".")
    )
    note = (
        "Over the layers before the final norm; for all tokens without a look-up layer 0. Dimensions compare only at "
        "equal N."
    )
    return [f"<p>{escape(said)}</p>", _table(geometry_heads(geometry), note, kind="heads")]


def _about_checkpoints(ledger: pd.DataFrame | None) -> list[str]:
    if ledger is None or ledger.empty:
        return []
    found, warning = copies(ledger), _copies_warning(ledger)
    note = "Checkpoints that hold other checkpoints' weights, and whether it was published that they do."
    remarks = filter(None, [_published_remark(ledger), _unverified_remark(ledger)])
    return [
        "<h2>Checkpoints</h2>",
        f"<p>{escape(_bytes_sentence(ledger))}</p>",
        *([f"<p><strong>{escape(warning)}</strong></p>"] if warning else []),
        *([] if found.empty else [_table(found, note)]),
        *(f"<p>{escape(said)}</p>" for said in remarks),
    ]


def _bytes_sentence(ledger: pd.DataFrame) -> str:
    read = ledger[ledger["embedding_bytes_read"].notna()]
    said = (
        f"The weights of {_counted(ledger['model'].nunique())} at {_counted(len(ledger), 'revision')} are "
        f"{_size(ledger['checkpoint_bytes'].sum())}."
    )
    if read.empty:
        return said
    return (
        f"{said} The embedding tables of {_counted(read['model'].nunique())} took "
        f"{_size(read['embedding_bytes_read'].sum())} of checkpoints of {_size(read['checkpoint_bytes'].sum())}."
    )


def _copies_warning(ledger: pd.DataFrame) -> str:
    stepped = ledger[ledger["step"].notna()].groupby("model")["duplicate_of"].agg(["count", "size"])
    said = [f"{row['count']} of {row['size']} of {model}" for model, row in stepped.iterrows() if row["count"]]
    if not said:
        return ""
    return (
        f"Checkpoints whose weights are, at least in part, those of other checkpoints: {listing(said)}. Figures over "
        "training leave them out."
    )


def _published_remark(ledger: pd.DataFrame) -> str:
    """Name the published defects that the digests say nothing about, or something else; the table has the others."""
    unseen = ledger[ledger["published_defect"].notna() & (ledger["published_defect"] != CONFIRMED)]
    said = [
        f"{model} {_shortened(group['revision'])} ({_UNSEEN.get(status, status)})"
        for (model, status), group in unseen.groupby(["model", "published_defect"], sort=False)
    ]
    if not said:
        return ""
    return f"Published to hold other checkpoints' weights, which the digests do not show here: {'; '.join(said)}."


def _unverified_remark(ledger: pd.DataFrame) -> str:
    unverified = ledger[ledger["verified"] == UNVERIFIED]
    if unverified.empty:
        return ""
    names = unverified["model"] + " " + unverified["revision"]
    return (
        f"Read, but checked against no digest: the embedding tables of {_shortened(names)}. With verify: full the "
        "files that hold them are read whole and checked."
    )


def _shortened(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) <= NAMED_ONE_BY_ONE:
        return listing(names)
    return f"{', '.join(names[:NAMED_ONE_BY_ONE])} and {len(names) - NAMED_ONE_BY_ONE} more"


def _size(n_bytes: float) -> str:
    """Return a number of bytes in three digits: 27.4 MB."""
    units = ["TB", "GB", "MB", "kB", "bytes"]
    while n_bytes >= 999.5 and len(units) > 1:
        n_bytes /= 1000
        units.pop()
    return f"{n_bytes:.0f} {units[-1]}" if n_bytes >= 100 else f"{n_bytes:.3g} {units[-1]}"


def _counted(count: int, what: str = "model") -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _figure(picture: Picture) -> str:
    title, _, text = picture.caption.partition("\n\n")
    links = " · ".join(f'<a href="{_url(path)}">{escape(label)}</a>' for label, path in picture.links.items())
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part)
    return (
        f"<figure>\n<h3>{escape(title)}</h3>\n"
        f'<a href="{_url(picture.image)}"><img src="{_url(picture.image)}" alt="{escape(title)}"></a>\n'
        f"<figcaption>{paragraphs}<p>{links}</p></figcaption>\n</figure>"
    )


def _gaps(scores: pd.DataFrame | None, geometry: pd.DataFrame | None) -> list[str]:
    found = [
        (score_gaps(scores) if scores is not None else None, "Retrieval scores that could not be had."),
        (geometry_gaps(geometry) if geometry is not None else None, "Geometry that could not be measured."),
    ]
    tables = [_table(gaps, note) for gaps, note in found if gaps is not None and not gaps.empty]
    return tables or ["<p>None: everything that was asked for has a value.</p>"]


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    said = []
    for name, facts in provenance.items():
        made = {"lm-geometry": facts.get("lm_geometry", "unknown"), **facts.get("versions", {})}
        versions = ", ".join(f"{library} {version}" for library, version in made.items())
        origin = pd.DataFrame(
            [(key, ", ".join([value] if isinstance(value, str) else value)) for key, value in facts["origin"].items()],
            columns=["source", "value"],
        )
        said += [f"<h3>{escape(name)}</h3>", f"<p>{escape(versions)}</p>"]
        said += [] if origin.empty else [_table(origin, "Where it comes from: names, commits and digests.")]
    return said or ["<p>No table was made.</p>"]


def _table(frame: pd.DataFrame, note: str, *, kind: str = "plain") -> str:
    numeric = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns}
    head = "".join(_cell("th", name, number=numeric[name]) for name in frame.columns)
    rows = [
        "".join(_cell("td", value, number=numeric[name]) for name, value in zip(frame.columns, row, strict=True))
        for row in frame.itertuples(index=False)
    ]
    return (
        f'<div class="scroll"><table class="{kind}">\n<caption>{escape(note)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(f"<tr>{row}</tr>" for row in rows)
        + "\n</tbody>\n</table></div>"
    )


def _cell(tag: str, value: Any, *, number: bool) -> str:
    if isinstance(value, float):
        value = "none" if pd.isna(value) else f"{value:.2f}"
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{escape(str(value))}</{tag}>"


def _url(path: str) -> str:
    return escape(quote(path), quote=True)

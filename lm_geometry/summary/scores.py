"""What the page says of the first study's scores: in numbers, what they are sure of, and what of them is missing."""

import pandas as pd

from lm_geometry.figures.score_captions import below_random_sentence
from lm_geometry.figures.score_points import METRICS
from lm_geometry.figures.style import short_names
from lm_geometry.natural_order import natural_key
from lm_geometry.summary.markup import counted, interval, paragraph, table
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import listing, metric_name, span

ALPHA = 0.05

_KEYS = ["suite", "model", "revision", "embedding_dim", "vocab_rows", "tokenizer"]


def about_scores(
    scores: pd.DataFrame | None, peaks: pd.DataFrame | None, comparisons: pd.DataFrame | None
) -> list[str]:
    """Return what was run of the study, its headline scores, and what of their order is sure."""
    if scores is None:
        return [paragraph("The embedding-scaling study was not run.")]
    heads = score_heads(scores)
    note = "Scores in percent, with their 95 % intervals over queries; 'random' is the mean over seeds."
    found = orders(peaks, comparisons)
    about_order = (
        "How sure the order is: the share of resamples of the queries in which the best trained table is the best, and "
        "of how many pairs the scores differ over the same queries (sign-flip test, p after Holm's correction below "
        f"{ALPHA}). Models are compared as they are, variants within a model."
    )
    return [
        paragraph(_what_was_scored(scores)),
        table(heads, note, kind="heads") if len(heads) else "",
        table(found, about_order) if len(found) else "",
        paragraph(below_random_sentence(scores, METRICS), strong=True),
    ]


def score_heads(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model, in percent: its trained table's scores with their intervals, its random tables' mean.

    Columns of what no row has are left out.
    """
    of_models = scores[scores["model"].notna() & scores["metric"].isin(METRICS)]
    of_models = of_models[of_models["variant"].isin(["as_is", "random"])]
    columns = {}
    for variant, metric in ((variant, metric) for variant in ("as_is", "random") for metric in METRICS):
        rows = of_models[(of_models["variant"] == variant) & (of_models["metric"] == metric)].groupby(_KEYS)
        name = metric_name(metric) + (", random" if variant == "random" else "")
        columns[name] = 100 * rows["value"].mean()
        if variant == "as_is":
            columns[f"{name}, 95 %"] = _intervals(rows[["ci_low", "ci_high"]].first())
    heads = pd.DataFrame({name: values for name, values in columns.items() if values.notna().any()})
    if heads.empty:
        return pd.DataFrame()
    heads = heads.rename_axis(_KEYS)
    heads = heads.loc[sorted(heads.index, key=lambda key: (key[0], key[3], natural_key(key[1]), key))]
    texts = heads.select_dtypes(exclude="number").columns
    heads[texts] = heads[texts].fillna("")
    heads = heads.reset_index().rename(columns={"embedding_dim": "columns", "vocab_rows": "rows"})
    return heads.assign(tokenizer=heads["tokenizer"].map(short_names(heads["tokenizer"])))


def score_gaps(scores: pd.DataFrame) -> pd.DataFrame:
    """Return what has no score: columns who, what, why; metrics and seeds that fail alike are one row."""
    gaps = scores[scores["status"] != OK]
    gaps = gaps.assign(who=gaps["model"].fillna(gaps["tokenizer"]))
    groups = gaps.groupby(["who", "variant", "status"], sort=False)
    rows = [(who, f"{variant}, width {span(group['width'])}", why) for (who, variant, why), group in groups]
    return pd.DataFrame(rows, columns=["who", "what", "why"])


def orders(peaks: pd.DataFrame | None, comparisons: pd.DataFrame | None) -> pd.DataFrame:
    """Return how sure the order of a suite's models is, one row per suite and metric; suites of one model say nothing.

    Columns: the best trained table, the percentage of resamples of the queries in which it is the best; of how many
    pairs of models, and of variants of one model, the scores differ. Those of a table that is not there are left out.

    Parameters
    ----------
    peaks, comparisons : DataFrame, optional
        The tables ``suite_peaks`` and ``comparisons``.
    """
    columns = {}
    if peaks is not None:
        trained = peaks[peaks["variant"] == "as_is"]
        several = trained[trained.groupby("suite")["model"].transform("nunique") > 1]
        best = several.loc[several.groupby(["suite", "metric"], sort=False)["value"].idxmax()]
        best = best.set_index(["suite", "metric"])
        columns = {"best trained table": best["model"], "best in % of resamples": 100 * best["share_best"]}
    if comparisons is not None:
        as_they_are = comparisons["variant_a"] == "as_is"
        columns["pairs of models that differ"] = _decided(comparisons[(comparisons["kind"] == "models") & as_they_are])
        columns["pairs of variants that differ"] = _decided(comparisons[comparisons["kind"] == "variants"])
    columns = {name: values for name, values in columns.items() if len(values)}
    if not columns:
        return pd.DataFrame()
    found = pd.DataFrame(columns).rename_axis(["suite", "metric"])
    order = sorted(found.index, key=lambda key: (natural_key(key[0]), METRICS.index(key[1])))
    found = found.loc[order].reset_index()
    texts = found.select_dtypes(exclude="number").columns
    return found.fillna(dict.fromkeys(texts, "")).assign(metric=found["metric"].map(metric_name))


def _decided(pairs: pd.DataFrame) -> pd.Series:
    """Return of how many pairs the scores differ, in words, by suite and metric."""
    decided = (pairs["p_holm"] < ALPHA).groupby([pairs["suite"], pairs["metric"]], sort=False)
    counts = decided.agg(["sum", "size"])
    return counts["sum"].astype(str) + " of " + counts["size"].astype(str)


def _what_was_scored(scores: pd.DataFrame) -> str:
    variants = list(dict.fromkeys(scores["variant"]))
    seeds = sorted(scores["seed"].dropna().astype(int).unique())
    collections = listing(dict.fromkeys(scores["collection"]))
    return (
        f"Embedding scaling: {counted(scores['model'].nunique())} on the collection {collections}, "
        f"{span(scores['n_queries'])} judged queries; variants {listing(variants)}"
        + (f"; random seeds {listing(seeds)}" if seeds else "")
        + f"; tables rounded to {listing(dict.fromkeys(scores['table_precision']))}."
    )


def _intervals(ends: pd.DataFrame) -> pd.Series:
    words = [interval(100 * low, 100 * high) for low, high in ends.astype(float).itertuples(index=False)]
    return pd.Series(words, index=ends.index, dtype=object).replace("", None)

"""What the captions of the figures of retrieval scores say."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, parse_variant
from lm_geometry.figures import score_points
from lm_geometry.figures.score_points import INTERVAL_SEEDS, OVER_QUERIES, OVER_SEEDS
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import counted, listing, metric_name

_MEANINGS = {
    "as_is": "the trained table",
    "random": "a random table of the same shape",
    "crop": "its first {n} columns",
    "pad": "the table padded with random columns to {n}",
    "pad_matched": "padded with random columns to {n}, these scaled to the table's root-mean-square entry",
    "centered": "the table less its mean row",
    "all_but_the_top": "the table less its mean row and its leading directions, one per hundred columns",
}


def trained_below_random(scores: pa.Table | pd.DataFrame, *, metric: str) -> list[str]:
    """Return the models whose trained table scores below the mean of their random tables, in order of width.

    Models without both ``as_is`` and ``random`` values are not judged.
    """
    rows = score_points.select(scores, [metric])
    rows = rows[rows["model"].notna() & (rows["status"] == OK)]
    rows["label"] = score_points.model_labels(rows)
    means = rows.pivot_table(index="label", columns="variant", values="y", aggfunc="mean")
    if not {"as_is", "random"} <= set(means.columns):
        return []
    below = set(means.index[means["as_is"] < means["random"]])
    return [name for name in score_points.in_order_of_width(rows).index if name in below]


def below_random_sentence(scores: pa.Table | pd.DataFrame, metrics: Sequence[str]) -> str:
    """Say which trained tables score below random ones, or nothing: it is a result, and easily taken for a fault."""
    below: dict[str, list[str]] = {}
    for metric in metrics:
        names = trained_below_random(scores, metric=metric)
        if names:
            below.setdefault(listing(names), []).append(metric_name(metric))
    said = [f"by {listing(judges)} {names}" for names, judges in below.items()]
    if not said:
        return ""
    found = f"Trained tables that score below the mean of random ones of their shape: {'; '.join(said)}."
    return f"{found} That is a result, not a fault: the study's smallest OPT, Cerebras-GPT and BLOOM models do so too."


def suite_caption(
    rows: pd.DataFrame,
    points: pd.DataFrame,
    *,
    suite: str,
    variants: Sequence[str],
    metrics: Sequence[str],
    about_published: str,
) -> str:
    """Return the caption of ``scaling.suite_scaling``.

    Parameters
    ----------
    rows, points : DataFrame
        The suite's scores, and the points that are drawn of them.
    suite, variants, metrics : str and sequences of str
        What is drawn.
    about_published : str
        What there is to say of models that were not run.
    """
    parts = [
        _what_was_scored(points, metrics),
        "Models stand in order of the columns of their table; models of equal width are points of their own; "
        "the variants of a model stand side by side.",
        f"Variants: {'; '.join(map(_variant_meaning, variants))}.",
        _about_seeds(points),
        _about_queries(points),
        _about_padding(rows),
        about_published,
        below_random_sentence(rows, metrics),
        _about_gaps(points[points["mark"] != "seed"], "model"),
    ]
    return _caption(f"Embedding scaling of the suite {suite}.", parts)


def all_suites_caption(
    selected: pd.DataFrame,
    points: pd.DataFrame,
    *,
    lines: Mapping[str, Sequence[str]],
    metrics: Sequence[str],
    about_published: str,
) -> str:
    """Return the caption of ``scaling.all_suites``.

    Parameters
    ----------
    selected, points : DataFrame
        The scores of all variants, and the points that are drawn.
    lines : mapping
        The random tables' lines that are drawn, each with all lines that have its points.
    metrics, about_published : sequence of str and str
        As for ``suite_caption``.
    """
    trained, random = (points[points["variant"] == name] for name in ("as_is", RANDOM_TOKENIZER))
    parts = [
        _what_was_scored(points, metrics),
        "Trained tables as they are, over the columns of the table; models of one suite that share a width are points "
        "of their own and bear their names.",
        _about_grey(random, lines),
        _about_queries(trained),
        about_published,
        below_random_sentence(selected, metrics),
        _about_gaps(trained, "model"),
        _about_gaps(random, "tokenizer"),
    ]
    return _caption("Embedding scaling of all suites.", parts)


def random_caption(points: pd.DataFrame, *, lines: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> str:
    """Return the caption of ``scaling.random_baselines``; parameters as for ``all_suites_caption``."""
    parts = [
        _what_was_scored(points, metrics),
        "Tables of random numbers, one per tokenizer, number of rows and seed; narrower tables are the first columns "
        "of the widest, so that neighbouring widths of one seed are not independent.",
        _about_equal_lines(lines),
        _about_seeds(points),
        _about_queries(points),
        _about_gaps(points[points["mark"] == "mean"], "tokenizer"),
    ]
    return _caption("Random tables by tokenizer.", parts)


def _caption(title: str, parts: Sequence[str]) -> str:
    return f"{title}\n\n{' '.join(filter(None, parts))}"


def _what_was_scored(points: pd.DataFrame, metrics: Sequence[str]) -> str:
    first = points.iloc[0]
    return (
        f"Retrieval by mean-pooled token embeddings on the collection {first['collection']}, "
        f"{counted(points['n_queries'], 'judged query', 'judged queries')}; tables rounded to "
        f"{first['table_precision']}. {listing(metric_name(name) for name in metrics)}, in percent."
    )


def _variant_meaning(variant: str) -> str:
    parsed = parse_variant(variant)
    return f"{variant}, {_MEANINGS[parsed.kind].format(n=parsed.size)}"


def _about_seeds(points: pd.DataFrame) -> str:
    means = points[points["mark"] == "mean"]
    if means.empty:
        return ""
    seeds = sorted(points["seed"].dropna().unique())
    if len(seeds) == 1:
        return f"Random numbers are of one seed ({seeds[0]}): what another would give is not known."
    said = f"Small points: the seeds {listing(seeds)}; lines: their mean"
    if not (means["interval"] == OVER_SEEDS).any():
        few = counted(means["n_seeds"], "seed")
        return f"{said}; no interval is drawn for {few}, {INTERVAL_SEEDS} are needed."
    cut = " A band that runs beyond the panel is cut off." if _band_is_cut(points) else ""
    return f"{said}; bands: its 95 % t interval over seeds, for these queries.{cut}"


def _about_queries(points: pd.DataFrame) -> str:
    drawn = points[(points["interval"] == OVER_QUERIES) & (points["mark"] != "seed")]
    if drawn.empty:
        return ""
    others = (points["interval"] == OVER_SEEDS).any()
    whose = ", of variants without seeds," if others and (drawn["mark"] == "value").all() else ""
    return (
        f"Whiskers{whose} are 95 % intervals of the mean over queries (bootstrap-t): how it might be with other "
        "queries. They do not judge differences. All points are of the same queries, so that a difference can be sure "
        "where whiskers overlap; differences are tested in pairs in the table comparisons (tables/comparisons)."
    )


def _about_padding(rows: pd.DataFrame) -> str:
    """Say how much of the padded tables is padding: where it is next to nothing, it can do next to nothing."""
    shares = rows[rows["pad_energy_share"].notna()].groupby("variant")["pad_energy_share"]
    if not len(shares):
        return ""
    order = sorted(shares.groups, key=score_points.variant_key)
    said = [f"{_percent_range(shares.get_group(name))} in {name}" for name in order]
    return f"Of the padded table's energy, its sum of squares, the padding holds {listing(said)}."


def _percent_range(shares: pd.Series) -> str:
    low, high = _percent(shares.min()), _percent(shares.max())
    return f"{low} %" if low == high else f"{low} to {high} %"


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 0.01:
        return "under 0.01"
    if 99.95 <= percent < 100:
        return "over 99.9"
    return f"{percent:.2g}" if percent < 9.95 else f"{percent:.{1 if 99.5 <= percent < 100 else 0}f}"


def _about_grey(random: pd.DataFrame, lines: Mapping[str, Sequence[str]]) -> str:
    if random.empty:
        return ""
    one = (random["n_seeds"] == 1).all()
    of_seeds = "of one seed" if one else f"means over {counted(random['n_seeds'], 'seed')}"
    said = f"Grey: random tables, a line per tokenizer, {of_seeds}; the figure of random tables has their intervals."
    return " ".join(filter(None, [said, _about_equal_lines(lines)]))


def _about_equal_lines(lines: Mapping[str, Sequence[str]]) -> str:
    equal = [listing(names) for names in lines.values() if len(names) > 1]
    if not equal:
        return ""
    return f"One line stands for all tokenizers whose random tables score the same throughout: {'; '.join(equal)}."


def _band_is_cut(points: pd.DataFrame) -> bool:
    for _, panel in points.groupby("metric"):
        low, high = score_points.limits(panel) or (-np.inf, np.inf)
        bands = panel[panel["interval"] == OVER_SEEDS]
        if (bands["ci_low"] < low).any() or (bands["ci_high"] > high).any():
            return True
    return False


def _about_gaps(line: pd.DataFrame, who: str) -> str:
    gaps = line[line["status"] != OK].drop_duplicates([who, "variant", "x", "status"])
    said = [f"{row[who]}, {row['variant']} ({row['status']})" for _, row in gaps.iterrows()]
    return f"Gaps: {'; '.join(said)}." if said else ""

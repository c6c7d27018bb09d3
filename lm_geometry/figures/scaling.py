"""Figures of the embedding-scaling study: retrieval scores of embedding tables over models and widths."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.published_points import (
    PUBLISHED,
    draw_published,
    published_handle,
    published_rows,
    published_sentences,
)
from lm_geometry.figures.style import Drawing
from lm_geometry.statistics import t_interval
from lm_geometry.tables import figure_data, retrieval_scores
from lm_geometry.tables.retrieval_scores import OK

METRICS = ("ndcg_at_10", "map_at_100")
"""Every figure shows both: the study's text is about the second, its last figures about the first."""

RANDOM_TOKENIZER = "random_tokenizer"

BAND_SEEDS = 3
"""Seeds from which on their interval is drawn: that of two is nine times their distance wide."""

_NAMES = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision"}
_ORDER = {"as_is": 0, "random": 1, "crop": 2, "pad": 3}
_WIDTH = ["label", "embedding_dim"]
_MEANINGS = {
    "as_is": "the trained table",
    "random": "a random table of the same shape",
    "crop": "its first {n} columns",
    "pad": "the table padded with random columns to {n}",
}


@style.styled
def suite_scaling(
    scores: pa.Table | pd.DataFrame,
    *,
    suite: str,
    metric: str = "ndcg_at_10",
    left_out: Sequence[str] = (),
    published: pd.DataFrame | None = None,
) -> Drawing:
    """Draw a suite's variants over its models, which stand in order of width, then name.

    Models of equal width are points of their own. A variant with a seed shows every seed as a point, their mean as a
    line and, from three seeds on, its t interval as a band; a missing value is a gap, marked at the foot of the panel.

    Parameters
    ----------
    scores : table
        Rows of ``retrieval_scores``.
    suite : str
        The suite to draw.
    metric : str
        Metric of the first panel; nDCG@10 and MAP@100 are always drawn.
    left_out : sequence of str
        Models that the config names and that were not run.
    published : DataFrame, optional
        The published scores of those models (``Published.points``), drawn as hollow points.

    Raises
    ------
    ValueError
        If the table has no rows of the suite, or mixes collections or table precisions.
    """
    metrics = _panels(metric)
    rows = _select(scores, metrics)
    known = sorted(rows["suite"].dropna().unique())
    rows = rows[rows["suite"] == suite]
    if rows.empty:
        raise ValueError(f"suite '{suite}': no scores of {style.listing(metrics)} to draw; the table has {known}")
    _check_one_setting(rows)
    rows["label"] = _model_labels(rows)
    hollow = published_rows(published, rows, metrics)
    models = _in_order_of_width(pd.concat([frame[_WIDTH] for frame in (rows, hollow) if len(frame)]))
    for frame in (rows, hollow):
        frame["x"] = frame["label"].map({name: float(place) for place, name in enumerate(models.index)})
    points = _with_means(rows, by=["metric", "variant", "x"])
    variants = sorted(points["variant"].unique(), key=_variant_key)
    figure = Figure(figsize=(style.PAGE_WIDTH, 1.1 + 1.9 * len(metrics)))
    panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, metrics, strict=True):
        for number, variant in enumerate(variants):
            look = {"color": _color(number), "marker": _marker(number)}
            shown = points[(points["metric"] == name) & (points["variant"] == variant)]
            _draw_series(axes, shown, **look, beside=0.012 * len(models))
            draw_published(axes, hollow[(hollow["metric"] == name) & (hollow["variant"] == variant)], **look)
        _finish_score_axis(axes, points[points["metric"] == name], name, hollow)
    panels[-1].set_xticks(
        range(len(models)),
        [f"{name}\n{width}" for name, width in models.items()],
        rotation=45 if len(models) > 6 else 0,
        ha="right" if len(models) > 6 else "center",
        rotation_mode="anchor" if len(models) > 6 else "default",
    )
    panels[-1].set_xlim(-0.4, len(models) - 0.6)
    panels[-1].set_xlabel("model, columns of its table")
    handles = [*_variant_handles(points, variants), *_published_handles(hollow)]
    style.legend_outside(figure, handles, columns=8)
    caption = _suite_caption(rows, points, suite, variants, metrics, published_sentences(left_out, hollow, rows))
    return Drawing(figure, _to_table(points, hollow), caption)


@style.styled
def all_suites(
    scores: pa.Table | pd.DataFrame,
    *,
    metric: str = "ndcg_at_10",
    left_out: Sequence[str] = (),
    published: pd.DataFrame | None = None,
) -> Drawing:
    """Draw the trained tables of all suites over log width, and random tables of each tokenizer in grey.

    Models of one suite that share a width are points of their own, with their names.

    Parameters
    ----------
    scores : table
        Rows of ``retrieval_scores``; ``as_is`` and, where there are some, ``random_tokenizer`` are drawn.
    metric : str
        Metric of the first panel; nDCG@10 and MAP@100 are always drawn.
    left_out : sequence of str
        Models that the config names and that were not run.
    published : DataFrame, optional
        The published scores of those models (``Published.points``), drawn as hollow points.

    Raises
    ------
    ValueError
        If the table has no ``as_is`` rows, or mixes collections or table precisions.
    """
    metrics = _panels(metric)
    selected = _select(scores, metrics)
    rows = selected[selected["variant"].isin(["as_is", RANDOM_TOKENIZER])].copy()
    if not (rows["variant"] == "as_is").any():
        raise ValueError(f"no as_is scores of {style.listing(metrics)} to draw; the table has {len(selected)} others")
    _check_one_setting(rows)
    rows["label"] = _model_labels(rows)
    rows["x"] = rows["embedding_dim"].astype(float)
    points = _with_means(rows, by=["metric", "variant", "suite", "label", "tokenizer", "vocab_rows", "x"])
    points = points[(points["variant"] == "as_is") | (points["mark"] == "mean")]
    hollow = published_rows(published, rows, metrics)
    hollow["x"] = hollow["embedding_dim"].astype(float)
    suites = sorted({*points["suite"].dropna(), *hollow["suite"]}, key=style.natural_key)
    figure = Figure(figsize=(style.PAGE_WIDTH, 3.3))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, name in zip(panels, metrics, strict=True):
        shown = points[points["metric"] == name]
        for _, line in shown[shown["variant"] == RANDOM_TOKENIZER].groupby(["tokenizer", "vocab_rows"]):
            line = line.sort_values("x")
            axes.plot(line["x"], line["y"], color="#b5b5b5", linewidth=0.9, zorder=1)
        for number, suite in enumerate(suites):
            look = {"color": _color(number), "marker": _marker(number)}
            _draw_suite(axes, shown[shown["suite"] == suite], **look)
            of_suite = hollow[(hollow["metric"] == name) & (hollow["suite"] == suite)]
            draw_published(axes, of_suite, **look, named=True)
        _finish_score_axis(axes, shown, name, hollow)
        _finish_width_axis(axes, pd.Series([*shown["x"], *hollow["x"]]))
    handles = [
        Line2D([], [], color=_color(number), marker=_marker(number), label=suite) for number, suite in enumerate(suites)
    ]
    if (points["variant"] == RANDOM_TOKENIZER).any():
        handles.append(Line2D([], [], color="#b5b5b5", linewidth=0.9, label="random tables, one line per tokenizer"))
    if (points["status"] != OK).any():
        handles.append(style.gap_handle())
    style.legend_outside(figure, [*handles, *_published_handles(hollow)], columns=7)
    said = published_sentences(left_out, hollow, rows)
    return Drawing(figure, _to_table(points, hollow), _all_suites_caption(selected, points, metrics, said))


@style.styled
def random_baselines(scores: pa.Table | pd.DataFrame, *, metric: str = "ndcg_at_10") -> Drawing:
    """Draw random tables over log width: every seed a point, the mean a line, its t interval over seeds a band.

    Parameters
    ----------
    scores : table
        Rows of ``retrieval_scores``; the variant ``random_tokenizer`` is drawn, one line per tokenizer.
    metric : str
        Metric of the first panel; nDCG@10 and MAP@100 are always drawn.

    Raises
    ------
    ValueError
        If the table has no such rows, or mixes collections or table precisions.
    """
    metrics = _panels(metric)
    rows = _select(scores, metrics)
    rows = rows[rows["variant"] == RANDOM_TOKENIZER].copy()
    if rows.empty:
        raise ValueError(f"no {RANDOM_TOKENIZER} scores of {style.listing(metrics)} to draw")
    _check_one_setting(rows)
    rows["x"] = rows["embedding_dim"].astype(float)
    rows["line"] = _table_labels(rows)
    points = _with_means(rows, by=["metric", "line", "x"])
    lines = sorted(points["line"].unique(), key=style.natural_key)
    figure = Figure(figsize=(style.PAGE_WIDTH, 3.3))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, name in zip(panels, metrics, strict=True):
        for number, line in enumerate(lines):
            shown = points[(points["metric"] == name) & (points["line"] == line)]
            _draw_series(axes, shown, color=_color(number), marker=None)
        _finish_score_axis(axes, points[points["metric"] == name], name)
        _finish_width_axis(axes, points["x"])
    handles = [Line2D([], [], color=_color(number), label=line) for number, line in enumerate(lines)]
    handles.append(Line2D([], [], color=style.GREY, marker=".", linestyle="", markersize=3, label="one seed"))
    if (points["status"] != OK).any():
        handles.append(style.gap_handle())
    style.legend_outside(figure, handles, columns=7)
    return Drawing(figure, _to_table(points), _random_caption(points, metrics))


def trained_below_random(scores: pa.Table | pd.DataFrame, *, metric: str) -> list[str]:
    """Return the models whose trained table scores below the mean of their random tables, in order of width.

    Models without both ``as_is`` and ``random`` values are not judged.
    """
    rows = _select(scores, [metric])
    rows = rows[rows["model"].notna() & (rows["status"] == OK)]
    rows["label"] = _model_labels(rows)
    means = rows.pivot_table(index="label", columns="variant", values="y", aggfunc="mean")
    if not {"as_is", "random"} <= set(means.columns):
        return []
    below = set(means.index[means["as_is"] < means["random"]])
    return [name for name in _in_order_of_width(rows).index if name in below]


def below_random_sentence(scores: pa.Table | pd.DataFrame, metrics: Sequence[str]) -> str:
    """Say which trained tables score below random ones, or nothing: it is a result, and easily taken for a fault."""
    below: dict[str, list[str]] = {}
    for metric in metrics:
        names = trained_below_random(scores, metric=metric)
        if names:
            below.setdefault(style.listing(names), []).append(metric_name(metric))
    said = [f"by {style.listing(judges)} {names}" for names, judges in below.items()]
    if not said:
        return ""
    found = f"Trained tables that score below the mean of random ones of their shape: {'; '.join(said)}."
    return f"{found} That is a result, not a fault: the study's smallest OPT, Cerebras-GPT and BLOOM models do so too."


def metric_name(metric: str) -> str:
    """Return a metric's name as papers write it: ``ndcg_at_10`` is nDCG@10."""
    name, _, rank = metric.partition("_at_")
    return f"{_NAMES.get(name, name.replace('_', ' '))}@{rank}" if rank else name


def _panels(metric: str) -> list[str]:
    return list(dict.fromkeys([metric, *METRICS]))


def _select(scores: pa.Table | pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the rows of ``metrics`` with ``y``, the score in percent, NaN where there is none."""
    frame = style.to_frame(scores, retrieval_scores.SCHEMA.names)
    frame = frame[frame["metric"].isin(metrics)].copy()
    frame["y"] = 100 * frame["value"].astype(float)
    frame["seed"] = frame["seed"].astype("Int64")
    return frame


def _check_one_setting(rows: pd.DataFrame) -> None:
    """Refuse to draw scores as one line that differ in more than the figure says."""
    for name in ("collection", "table_precision"):
        found = sorted(rows[name].unique())
        if len(found) > 1:
            raise ValueError(f"column '{name}' holds {found}; a figure shows one of them: select its rows first")


def _model_labels(rows: pd.DataFrame) -> pd.Series:
    """Return the model's name, with its revision where the table holds several of them."""
    revisions = rows.groupby("model")["revision"].nunique()
    several = rows["model"].map(revisions).fillna(0) > 1
    return rows["model"].where(~several, rows["model"] + " " + rows["revision"])


def _table_labels(rows: pd.DataFrame) -> pd.Series:
    """Return the tokenizer's short name, with the rows of the table where the tokenizer comes with several."""
    several = rows["tokenizer"].map(rows.groupby("tokenizer")["vocab_rows"].nunique()) > 1
    names = rows["tokenizer"].map(style.short_names(rows["tokenizer"]))
    return names.where(~several, names + ", " + rows["vocab_rows"].astype(str) + " rows")


def _in_order_of_width(rows: pd.DataFrame) -> pd.Series:
    """Return the width of each model, by label, in order of width, then name."""
    widths = rows.drop_duplicates("label").set_index("label")["embedding_dim"]
    return widths[sorted(widths.index, key=lambda label: (widths[label], style.natural_key(label)))]


def _variant_key(variant: str) -> tuple[int, int, str]:
    name, _, number = variant.partition("_")
    digits = number.partition("_")[0]
    return _ORDER.get(variant, _ORDER.get(name, len(_ORDER))), int(digits) if digits.isdigit() else 0, variant


def _with_means(rows: pd.DataFrame, *, by: list[str]) -> pd.DataFrame:
    """Return the points to draw: rows without a seed as values, rows with one as seeds and, per group, their mean.

    A mean over seeds of which one has no value is a gap: it would be a mean over other tables than its neighbours'.
    """
    rows = rows.assign(mark=np.where(rows["seed"].isna(), "value", "seed"), n_seeds=1, ci_low=np.nan, ci_high=np.nan)
    seeded = rows[rows["mark"] == "seed"]
    means = [_mean_of_seeds(group) for _, group in seeded.groupby(by, dropna=False, sort=False)]
    points = pd.concat([rows, pd.DataFrame(means).astype(rows.dtypes)]) if means else rows
    # Stable, so that within a series seeds keep the table's order.
    return points.sort_values(["metric", "variant", "x"], kind="stable").reset_index(drop=True)


def _mean_of_seeds(group: pd.DataFrame) -> pd.Series:
    values = group["y"].to_numpy()
    low, high = t_interval(values) if len(values) > 1 and np.isfinite(values).all() else (np.nan, np.nan)
    bad = group.loc[group["status"] != OK, "status"]
    facts = {"mark": "mean", "seed": pd.NA, "y": values.mean(), "ci_low": low, "ci_high": high}
    status = OK if bad.empty else bad.iloc[0]
    return pd.Series({**group.iloc[0].to_dict(), **facts, "n_seeds": len(values), "status": status})


def _draw_series(axes: Axes, points: pd.DataFrame, *, color: str, marker: str | None, beside: float = 0.0) -> None:
    """Draw one variant's line, its seeds ``beside`` it, their band, and a cross at the panel's foot for each gap."""
    line, seeds = points[points["mark"] != "seed"], points[points["mark"] == "seed"]
    axes.plot(line["x"], line["y"], color=color, marker=marker, zorder=3)
    low = line["ci_low"].where(line["n_seeds"] >= BAND_SEEDS)
    axes.fill_between(line["x"], low, line["ci_high"], color=color, alpha=style.BAND_ALPHA, linewidth=0)
    axes.plot(
        seeds["x"] + beside, seeds["y"], color=color, marker=".", markersize=3, linestyle="", alpha=0.65, zorder=2
    )
    style.draw_gaps(axes, line.loc[line["y"].isna(), "x"], color=color)


def _draw_suite(axes: Axes, points: pd.DataFrame, *, color: str, marker: str) -> None:
    """Draw one suite over width, with the names of models that share a width."""
    order = sorted(points.index, key=lambda row: (points["x"][row], style.natural_key(points["label"][row])))
    points = points.loc[order]
    axes.plot(points["x"], points["y"], color=color, marker=marker, zorder=3)
    style.draw_gaps(axes, points.loc[points["y"].isna(), "x"], color=color)
    for _, group in points.dropna(subset=["y"]).groupby("x"):
        middle = group["y"].mean()
        for point in group.itertuples() if len(group) > 1 else ():
            style.label_point(axes, point.x, point.y, point.label, above=point.y >= middle)


def _finish_score_axis(axes: Axes, points: pd.DataFrame, metric: str, hollow: pd.DataFrame | None = None) -> None:
    """Label the score and fit the axis to the points: with two or three seeds a t interval would dwarf them."""
    axes.set_ylabel(f"{metric_name(metric)} (percent)")
    beside = [] if hollow is None else hollow.loc[(hollow["metric"] == metric) & (hollow["mark"] == PUBLISHED), "y"]
    limits = style.limits_of([*points["y"], *beside])
    if limits:
        axes.set_ylim(limits)


def _finish_width_axis(axes: Axes, widths: pd.Series) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=30))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda width, _: f"{width:g}"))
    axes.set_xlim(widths.min() / 2**0.3, widths.max() * 2**0.3)
    axes.set_xlabel("columns of the table (log scale)")


def _color(number: int) -> str:
    return style.COLORS[number % len(style.COLORS)]


def _marker(number: int) -> str:
    return style.MARKERS[number % len(style.MARKERS)]


def _variant_handles(points: pd.DataFrame, variants: Sequence[str]) -> list[Line2D]:
    handles = [Line2D([], [], color=_color(n), marker=_marker(n), label=name) for n, name in enumerate(variants)]
    if (points["mark"] == "seed").any():
        handles.append(Line2D([], [], color=style.GREY, marker=".", linestyle="", markersize=3, label="one seed"))
    if (points["status"] != OK).any():
        handles.append(style.gap_handle())
    return handles


def _published_handles(hollow: pd.DataFrame) -> list[Line2D]:
    return [published_handle()] if (hollow["mark"] == PUBLISHED).any() else []


def _to_table(points: pd.DataFrame, hollow: pd.DataFrame | None = None) -> pa.Table:
    frames = [frame[figure_data.SCORES.names] for frame in (points, hollow) if frame is not None and len(frame)]
    return style.to_table(pd.concat(frames), figure_data.SCORES)


def _suite_caption(
    rows: pd.DataFrame,
    points: pd.DataFrame,
    suite: str,
    variants: Sequence[str],
    metrics: Sequence[str],
    about_published: str,
) -> str:
    values = points[points["mark"] != "seed"]
    parts = [
        _what_was_scored(points, metrics),
        "Models stand in order of the columns of their table; models of equal width are points of their own.",
        f"Variants: {'; '.join(map(_variant_meaning, variants))}.",
        _about_seeds(points),
        about_published,
        below_random_sentence(rows, metrics),
        _about_gaps(values, "model"),
    ]
    return f"Embedding scaling of the suite {suite}.\n\n{' '.join(filter(None, parts))}"


def _all_suites_caption(
    selected: pd.DataFrame, points: pd.DataFrame, metrics: Sequence[str], about_published: str
) -> str:
    trained, random = (points[points["variant"] == name] for name in ("as_is", RANDOM_TOKENIZER))
    parts = [
        _what_was_scored(points, metrics),
        "Trained tables as they are, over the columns of the table; models of one suite that share a width are points "
        "of their own and bear their names.",
        f"Grey: random tables, a line per tokenizer, mean over {style.span(random['n_seeds'])} seeds each."
        if len(random)
        else "",
        about_published,
        below_random_sentence(selected, metrics),
        _about_gaps(trained, "model"),
        _about_gaps(random, "tokenizer"),
    ]
    return f"Embedding scaling of all suites.\n\n{' '.join(filter(None, parts))}"


def _random_caption(points: pd.DataFrame, metrics: Sequence[str]) -> str:
    means = points[points["mark"] == "mean"]
    parts = [
        _what_was_scored(points, metrics),
        "Tables of random numbers, one per tokenizer, number of rows and seed; narrower tables are the first columns "
        "of the widest, so that neighbouring widths of one seed are not independent.",
        _about_seeds(points),
        _about_gaps(means, "tokenizer"),
    ]
    return f"Random tables by tokenizer.\n\n{' '.join(filter(None, parts))}"


def _what_was_scored(points: pd.DataFrame, metrics: Sequence[str]) -> str:
    first = points.iloc[0]
    return (
        f"Retrieval by mean-pooled token embeddings on the collection {first['collection']}, "
        f"{style.span(points['n_queries'])} judged queries; tables rounded to {first['table_precision']}. "
        f"{style.listing(metric_name(name) for name in metrics)}, in percent."
    )


def _variant_meaning(variant: str) -> str:
    name, _, rest = variant.partition("_")
    number, _, manner = rest.partition("_")
    meaning = _MEANINGS.get(variant, _MEANINGS.get(name, "as the config names it")).format(n=number)
    return f"{variant}, {meaning}" + (", scaled to the table's own size" if manner == "matched" else "")


def _about_seeds(points: pd.DataFrame) -> str:
    seeds = sorted(points["seed"].dropna().unique())
    if not seeds:
        return ""
    if len(seeds) == 1:
        return f"Random numbers are of one seed ({seeds[0]}): their spread is not known."
    said = f"Small points: the seeds {style.listing(seeds)}; lines: their mean"
    if len(seeds) < BAND_SEEDS:
        return f"{said}; no interval is drawn for {len(seeds)} seeds."
    cut = " A band that runs beyond the panel is cut off." if _band_is_cut(points) else ""
    return f"{said}; bands: its 95 % t interval over seeds.{cut}"


def _band_is_cut(points: pd.DataFrame) -> bool:
    for _, panel in points.groupby("metric"):
        low, high = style.limits_of(panel["y"]) or (-np.inf, np.inf)
        if (panel["ci_low"] < low).any() or (panel["ci_high"] > high).any():
            return True
    return False


def _about_gaps(line: pd.DataFrame, who: str) -> str:
    gaps = line[line["status"] != OK].drop_duplicates([who, "variant", "x", "status"])
    said = [f"{row[who]}, {row['variant']} ({row['status']})" for _, row in gaps.iterrows()]
    return f"Gaps: {'; '.join(said)}." if said else ""

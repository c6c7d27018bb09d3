"""Figures of the embedding-scaling study: retrieval scores of embedding tables over models and widths."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, parse_variant
from lm_geometry.figures import score_captions, score_points, style
from lm_geometry.figures.published_points import (
    PUBLISHED,
    draw_published,
    published_handle,
    published_rows,
    published_sentences,
)
from lm_geometry.figures.score_points import OVER_QUERIES, OVER_SEEDS
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.width_axis import finish_width_axis
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import figure_data
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import listing, metric_name

_WIDTH = ["label", "embedding_dim"]
# A model's variants stand side by side, as intervals on one another could not be told apart: over no more than this
# share of the distance of two models, and no further from each other than this share of the axis.
_SPREAD, _APART = 0.7, 0.011
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2.5)))
_SEED = {"marker": "o", "markersize": 2.2, "linestyle": "", "markeredgecolor": "white", "markeredgewidth": 0.3}


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

    Models of equal width are points of their own; the variants of a model stand side by side. A variant without seeds,
    or of one seed, has its interval over queries as a whisker; one of several seeds shows each as a point, their mean
    as a line and, from three seeds on, its t interval as a band. A missing value is a gap, marked at the foot of the
    panel.

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
        If the table has no rows of the suite, mixes collections or table precisions, or names an unknown variant.
    """
    metrics = score_points.panels(metric)
    rows = score_points.select(scores, metrics)
    known = sorted(rows["suite"].dropna().unique())
    rows = rows[rows["suite"] == suite]
    if rows.empty:
        raise ValueError(f"suite '{suite}': no scores of {listing(metrics)} to draw; the table has {known}")
    score_points.check_one_setting(rows)
    rows["label"] = score_points.model_labels(rows)
    hollow = published_rows(published, rows, metrics)
    models = score_points.in_order_of_width(pd.concat([frame[_WIDTH] for frame in (rows, hollow) if len(frame)]))
    for frame in (rows, hollow):
        frame["x"] = frame["label"].map({name: place for place, name in enumerate(models.index)}).astype(float)
    points = score_points.with_means(rows, by=["metric", "variant", "x"])
    variants = sorted(points["variant"].unique(), key=score_points.variant_key)
    looks = _variant_looks(variants)
    apart = min(_SPREAD / len(variants), _APART * len(models))
    places = [apart * (number - (len(variants) - 1) / 2) for number in range(len(variants))]
    figure = Figure(figsize=(style.PAGE_WIDTH, 1.2 + 2.1 * len(metrics)))
    panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, metrics, strict=True):
        for place, (variant, look) in zip(places, looks.items(), strict=True):
            shown, beside = (
                frame[(frame["metric"] == name) & (frame["variant"] == variant)] for frame in (points, hollow)
            )
            _draw_series(axes, shown.assign(x=shown["x"] + place), **look, seeds_beside=0.6 * apart)
            beside = beside.assign(x=beside["x"] + place)
            draw_published(axes, beside, color=look["color"], marker=look["marker"])
        _finish_score_axis(axes, points[points["metric"] == name], name, hollow)
    _finish_model_axis(panels[-1], models)
    handles = [Line2D([], [], label=variant, **look) for variant, look in looks.items()]
    style.legend_outside(figure, [*handles, *_point_handles(points), *_published_handles(hollow)], columns=8)
    caption = score_captions.suite_caption(
        rows,
        points,
        suite=suite,
        variants=variants,
        metrics=metrics,
        about_published=published_sentences(left_out, hollow, rows),
    )
    return Drawing(figure, _to_table(points, hollow), caption)


@style.styled
def all_suites(
    scores: pa.Table | pd.DataFrame,
    *,
    metric: str = "ndcg_at_10",
    left_out: Sequence[str] = (),
    published: pd.DataFrame | None = None,
) -> Drawing:
    """Draw the trained tables of all suites over log width, with intervals, and random tables in grey, by tokenizer.

    Models of one suite that share a width are points of their own, with their names. Random tables that score the same
    throughout are one line, named after all their tokenizers.

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
    metrics = score_points.panels(metric)
    selected = score_points.select(scores, metrics)
    rows = selected[selected["variant"].isin(["as_is", RANDOM_TOKENIZER])].copy()
    if not (rows["variant"] == "as_is").any():
        raise ValueError(f"no as_is scores of {listing(metrics)} to draw; the table has {len(selected)} others")
    score_points.check_one_setting(rows)
    rows["label"] = score_points.model_labels(rows)
    rows["line"] = score_points.table_labels(rows).where(rows["variant"] == RANDOM_TOKENIZER)
    rows["x"] = rows["embedding_dim"].astype(float)
    points = score_points.with_means(rows, by=["metric", "variant", "suite", "label", "line", "x"])
    points = points[(points["variant"] == "as_is") | (points["mark"] == "mean")]
    lines = score_points.equal_lines(points)
    hollow = published_rows(published, rows, metrics)
    hollow["x"] = hollow["embedding_dim"].astype(float)
    suites = sorted({*points["suite"].dropna(), *hollow["suite"]}, key=natural_key)
    looks = {suite: {"color": _color(number), "marker": _marker(number)} for number, suite in enumerate(suites)}
    greys = _grey_looks(lines)
    figure = Figure(figsize=(style.PAGE_WIDTH, 3.8))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, name in zip(panels, metrics, strict=True):
        shown = points[points["metric"] == name]
        for line, look in greys.items():
            _draw_random_line(axes, shown[shown["line"] == line], look)
        for suite, look in looks.items():
            _draw_suite(axes, shown[shown["suite"] == suite], **look)
            of_suite = hollow[(hollow["metric"] == name) & (hollow["suite"] == suite)]
            draw_published(axes, of_suite, **look, named=True)
        _finish_score_axis(axes, shown, name, hollow)
        finish_width_axis(axes, [*shown["x"], *hollow["x"]])
    handles = [Line2D([], [], label=suite, **look) for suite, look in looks.items()]
    # The random tables' intervals are not drawn here, their gaps are.
    beside = _point_handles(points.assign(interval=points["interval"].where(points["variant"] == "as_is")))
    style.legend_outside(figure, [*handles, *beside, *_published_handles(hollow)], columns=5)
    if greys:
        handles = [Line2D([], [], label=listing(lines[line]), **look) for line, look in greys.items()]
        style.legend_outside(
            figure, handles, columns=4, loc="outside lower center", title="random tables, by tokenizer"
        )
    caption = score_captions.all_suites_caption(
        selected,
        points,
        lines=lines,
        metrics=metrics,
        about_published=published_sentences(left_out, hollow, rows),
    )
    return Drawing(figure, _to_table(points, hollow), caption)


@style.styled
def random_baselines(scores: pa.Table | pd.DataFrame, *, metric: str = "ndcg_at_10") -> Drawing:
    """Draw random tables over log width: every seed a point, the mean a line, its t interval over seeds a band.

    Tokenizers whose random tables score the same throughout are one line, named after all of them.

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
    metrics = score_points.panels(metric)
    rows = score_points.select(scores, metrics)
    rows = rows[rows["variant"] == RANDOM_TOKENIZER].copy()
    if rows.empty:
        raise ValueError(f"no {RANDOM_TOKENIZER} scores of {listing(metrics)} to draw")
    score_points.check_one_setting(rows)
    rows["x"] = rows["embedding_dim"].astype(float)
    rows["line"] = score_points.table_labels(rows)
    points = score_points.with_means(rows, by=["metric", "line", "x"])
    lines = score_points.equal_lines(points)
    looks = {line: {"color": _color(number), "marker": _marker(number)} for number, line in enumerate(lines)}
    figure = Figure(figsize=(style.PAGE_WIDTH, 3.8))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, name in zip(panels, metrics, strict=True):
        of_panel = points[points["metric"] == name]
        for line, look in looks.items():
            _draw_series(axes, of_panel[of_panel["line"] == line], **look)
        _finish_score_axis(axes, of_panel, name)
        finish_width_axis(axes, points["x"])
    handles = [Line2D([], [], label=listing(lines[line]), **look) for line, look in looks.items()]
    style.legend_outside(figure, [*handles, *_point_handles(points)], columns=7)
    caption = score_captions.random_caption(points, lines=lines, metrics=metrics)
    return Drawing(figure, _to_table(points), caption)


def _variant_looks(variants: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the look of each variant: a colour and marker of its own; a matched pad in its pad's colour, dashed."""
    looks: dict[str, dict[str, str]] = {}
    colors = 0
    for number, variant in enumerate(variants):
        parsed = parse_variant(variant)
        unmatched = looks.get(f"pad_{parsed.size}") if parsed.kind == "pad_matched" else None
        color = unmatched["color"] if unmatched else _color(colors)
        colors += unmatched is None
        looks[variant] = {"color": color, "marker": _marker(number), "linestyle": "--" if unmatched else "-"}
    return looks


def _grey_looks(lines: Mapping[str, Sequence[str]]) -> dict[str, dict]:
    """Return a way to dash each line of random tables: their colour is one, so that suites keep theirs."""
    return {
        line: {"color": style.GREY, "linewidth": 0.9, "linestyle": _DASHES[number % len(_DASHES)]}
        for number, line in enumerate(lines)
    }


def _draw_series(
    axes: Axes, points: pd.DataFrame, *, color: str, marker: str, linestyle: str = "-", seeds_beside: float = 0.0
) -> None:
    """Draw one line with its intervals, its seeds beside it, and a cross at the panel's foot for each gap."""
    line, seeds = points[points["mark"] != "seed"], points[points["mark"] == "seed"]
    _draw_intervals(axes, line, color=color)
    several = seeds[seeds["x"].isin(line.loc[line["n_seeds"] > 1, "x"])]
    axes.plot(line["x"], line["y"], color=color, marker=marker, linestyle=linestyle, zorder=3)
    axes.plot(several["x"] + seeds_beside, several["y"], color=color, **_SEED, zorder=4)
    style.draw_gaps(axes, line.loc[line["y"].isna(), "x"], color=color)


def _draw_intervals(axes: Axes, line: pd.DataFrame, *, color: str) -> None:
    """Draw the intervals over queries as whiskers, those over seeds as a band."""
    whiskers = line[line["interval"] == OVER_QUERIES]
    style.draw_whiskers(axes, whiskers["x"], whiskers["ci_low"], whiskers["ci_high"], color=color)
    of_seeds = line["interval"] == OVER_SEEDS
    low, high = (line[end].where(of_seeds) for end in ("ci_low", "ci_high"))
    axes.fill_between(line["x"], low, high, color=color, alpha=style.BAND_ALPHA, linewidth=0)


def _draw_random_line(axes: Axes, points: pd.DataFrame, look: Mapping) -> None:
    """Draw the means of one tokenizer's random tables; their seeds and intervals have a figure of their own."""
    points = points.sort_values("x")
    axes.plot(points["x"], points["y"], **look, zorder=1)
    style.draw_gaps(axes, points.loc[points["y"].isna(), "x"], color=style.GREY)


def _draw_suite(axes: Axes, points: pd.DataFrame, *, color: str, marker: str) -> None:
    """Draw one suite over width, with the names of models that share a width."""
    order = sorted(points.index, key=lambda row: (points["x"][row], natural_key(points["label"][row])))
    points = points.loc[order]
    _draw_series(axes, points, color=color, marker=marker)
    for _, group in points.dropna(subset=["y"]).groupby("x"):
        ranked = group.sort_values("y", kind="stable")
        for rank, point in enumerate(ranked.itertuples()) if len(ranked) > 1 else ():
            side = {0: "below", len(ranked) - 1: "above"}.get(rank, "right")
            style.label_point(axes, point.x, point.y, point.label, side=side)


def _finish_score_axis(axes: Axes, points: pd.DataFrame, metric: str, hollow: pd.DataFrame | None = None) -> None:
    axes.set_ylabel(f"{metric_name(metric)} (percent)")
    beside = [] if hollow is None else hollow.loc[(hollow["metric"] == metric) & (hollow["mark"] == PUBLISHED), "y"]
    limits = score_points.limits(points, beside)
    if limits:
        axes.set_ylim(limits)


def _finish_model_axis(axes: Axes, models: pd.Series) -> None:
    many = len(models) > 6
    axes.set_xticks(
        range(len(models)),
        [f"{name}\n{width}" for name, width in models.items()],
        rotation=45 if many else 0,
        ha="right" if many else "center",
        rotation_mode="anchor" if many else "default",
    )
    axes.set_xlim(-0.5, len(models) - 0.5)
    axes.set_xlabel("model, columns of its table")


def _color(number: int) -> str:
    return style.COLORS[number % len(style.COLORS)]


def _marker(number: int) -> str:
    return style.MARKERS[number % len(style.MARKERS)]


def _point_handles(points: pd.DataFrame) -> list[Line2D]:
    """Return the legend's entries for what stands beside the lines, those that the points call for."""
    handles = []
    if (points["mark"] == "seed").any() and (points["n_seeds"] > 1).any():
        handles.append(Line2D([], [], color=style.GREY, **_SEED, label="one seed"))
    if ((points["interval"] == OVER_QUERIES) & (points["mark"] != "seed")).any():
        handles.append(style.whisker_handle("95 % interval, queries"))
    if (points["interval"] == OVER_SEEDS).any():
        handles.append(style.band_handle("95 % interval, seeds"))
    if (points["status"] != OK).any():
        handles.append(style.gap_handle())
    return handles


def _published_handles(hollow: pd.DataFrame) -> list[Line2D]:
    return [published_handle()] if (hollow["mark"] == PUBLISHED).any() else []


def _to_table(points: pd.DataFrame, hollow: pd.DataFrame | None = None) -> pa.Table:
    frames = [frame[figure_data.SCORES.names] for frame in (points, hollow) if frame is not None and len(frame)]
    return style.to_table(pd.concat(frames), figure_data.SCORES)

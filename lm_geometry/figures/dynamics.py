"""Figures of the representation-dynamics study: geometry of hidden states over layers and over training."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.copies import copies_sentence, find_copies
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.training_axis import draw_over_steps, empty_panel, finish_step_axis
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import figure_data, geometry
from lm_geometry.tables.geometry import OK
from lm_geometry.wording import counted, listing, span

ANISOTROPY, NULL = "anisotropy", "anisotropy_frequency_null"
TWONN_090, TWONN_020 = "twonn_090", "twonn_020"
MATCHED = "_type_matched"

FIT_GAP = (0.9, 1.1)
"""Outside this range of d(0.2) / d(0.9) the ratios mix populations and no single dimension describes the layer."""

STEPS_NAMED = 20
"""Up to so many steps are named in a caption."""

LOOKUP_NOT_DRAWN = "not drawn: rows of a table look-up repeat per token type; see the type-matched statistic"

_FITS = {TWONN_090: "0.9", TWONN_020: "0.2"}
_STACKS = {"encoder": ("encoders", "YlOrBr", 0.4, 0.95), "decoder": ("decoders", "viridis", 0.0, 0.85)}
_HOLLOW = {"marker": "D", "markersize": 4, "linestyle": "", "markerfacecolor": "white"}
# Without its palest end, in which a line on white cannot be seen.
_VIRIDIS = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.93, 256)))
_ROW_TITLES = {"": "all tokens", MATCHED: "type-matched"}


@style.styled
def layer_profiles(table: pa.Table | pd.DataFrame, *, revisions: Mapping[str, str] | None = None) -> Drawing:
    """Draw anisotropy and dimension over the layers, encoders beside decoders, all tokens above type-matched ones.

    Layer 0 of look-up models is drawn type-matched only; the copy behind the final norm is a hollow point at L.

    Parameters
    ----------
    table : table
        Rows of the summary of ``geometry``.
    revisions : mapping, optional
        The models to draw and the revision of each; by default every model, at 'main' or else at its last step.

    Raises
    ------
    ValueError
        If the table lacks a model or revision, or a statistic that the figure shows.
    """
    statistics = [name + kind for name in (ANISOTROPY, NULL, TWONN_090, TWONN_020) for kind in _ROW_TITLES]
    rows = _select(table, statistics)
    chosen = profile_revisions(rows) if revisions is None else dict(revisions)
    rows = _rows_of_revisions(rows, chosen)
    stacks = [name for name in _STACKS if name in set(rows["stack"])]
    looks = _model_looks(rows)
    figure = Figure(figsize=(style.PAGE_WIDTH, 7.6 + 0.14 * max(rows.groupby("stack")["model"].nunique())))
    panels = figure.subplots(4, len(stacks), squeeze=False, sharey="row", sharex="col")
    for column, stack in enumerate(stacks):
        shown = rows[rows["stack"] == stack]
        for row, (statistic, kind) in enumerate(
            (name, kind) for name in (ANISOTROPY, TWONN_090) for kind in _ROW_TITLES
        ):
            axes = panels[row, column]
            for name, of_model in shown.groupby("model", sort=False):
                look = looks[name, stack]
                _draw_profile(axes, of_model, statistic + kind, look=look)
                if statistic == TWONN_090:
                    _draw_second_fit(
                        axes, of_model, kind, color=look["color"], alpha=min(0.1, 0.2 / shown["model"].nunique())
                    )
            axes.set_title(_panel_title(shown, statistic, kind))
        panels[0, column].set_title(f"{_STACKS[stack][0]}\n{panels[0, column].get_title()}")
        _finish_depth_axis(panels[-1, column], shown)
    for row, label in enumerate(("anisotropy", "anisotropy", "TwoNN dimension", "TwoNN dimension")):
        panels[row, 0].set_ylabel(label)
        panels[row, 0].set_ylim(bottom=0)
    figure.align_ylabels(panels[:, 0])
    _profile_legend(figure, rows, looks, stacks)
    return Drawing(figure, _to_table(rows), _profiles_caption(rows))


@style.styled
def training_dimension(
    table: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw the dimension averaged over the layers against the training step, both fits, over each layer's own line.

    A checkpoint that has another's weights breaks every line and is a stroke at the foot of the panel.

    The mean is over the layers before the final norm, without layer 0 where that is a table look-up. No interval is
    drawn: that of a mean over layers needs each batch's own mean.

    Parameters
    ----------
    table : table
        Rows of the summary of ``geometry``.
    model : str
        The model whose checkpoints are drawn.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If the table lacks a checkpoint, or holds two of the same step or one without a step.
    """
    statistics = [fit + kind for fit in _FITS for kind in _ROW_TITLES]
    training = _training(table, statistics, model, revisions, duplicates)
    if training.rows.empty:
        return _nothing_to_draw(training, f"Dimension over training, {model}.")
    rows, copies = training.rows, training.copies
    means = _means_over_layers(rows)
    steps = sorted({*map(int, rows["step"]), *copies["step"]})
    stacks = sorted(rows["stack"].unique())
    columns = [(stack, kind) for stack in stacks for kind in _ROW_TITLES]
    figure = Figure(figsize=(style.PAGE_WIDTH, 4.6))
    panels = figure.subplots(len(_FITS), len(columns), squeeze=False, sharex=True, sharey="col")
    norm = Normalize(0, max(1, rows["n_layers"].max()))
    for row, fit in enumerate(_FITS):
        for column, (stack, kind) in enumerate(columns):
            axes = panels[row, column]
            in_panel = (rows["statistic"] == fit + kind) & (rows["stack"] == stack)
            _draw_layer_lines(axes, rows[in_panel & (rows["mark"] == "line")], norm, steps)
            mean = means[(means["statistic"] == fit + kind) & (means["stack"] == stack)]
            size = style.marker_size(len(steps))
            draw_over_steps(axes, mean, steps, color="black", marker="o", markersize=size, linewidth=1.8, zorder=4)
            style.draw_gaps(axes, mean.loc[mean["value"].isna(), "step"], color="black")
            style.draw_left_out(axes, copies["step"])
            axes.set_title(_column_title(stacks, stack, kind, _distinct_sizes(rows[in_panel])))
            finish_step_axis(axes, steps)
        panels[row, 0].set_ylabel(f"TwoNN dimension, fit {_FITS[fit]}")
    figure.supxlabel("training step (log scale, 0 apart)", fontsize="medium")
    figure.colorbar(ScalarMappable(norm, _VIRIDIS), ax=panels, label="layer", aspect=35, ticks=_layer_ticks(norm.vmax))
    handles = [
        Line2D([], [], color="black", marker="o", linewidth=1.8, label="mean over layers"),
        Line2D([], [], color=style.GREY, linewidth=0.7, label="one layer"),
        *([style.gap_handle()] if means["value"].isna().any() else []),
        *([style.left_out_handle()] if len(copies) else []),
    ]
    style.legend_outside(figure, handles, columns=4)
    data = _to_table(rows, training.hidden, means, _gaps_at_copies(means, copies))
    return Drawing(figure, data, _dimension_caption(rows, means, model, copies))


@style.styled
def training_anisotropy(
    table: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw the anisotropy profile of each checkpoint, coloured by its step; step 0 is the untrained null.

    A checkpoint that has another's weights is not drawn.

    Parameters
    ----------
    table : table
        Rows of the summary of ``geometry``.
    model : str
        The model whose checkpoints are drawn.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If the table lacks a checkpoint, or holds two of the same step or one without a step.
    """
    statistics = [name + kind for name in (ANISOTROPY, NULL) for kind in _ROW_TITLES]
    training = _training(table, statistics, model, revisions, duplicates)
    if training.rows.empty:
        return _nothing_to_draw(training, f"Anisotropy over training, {model}.")
    rows = training.rows
    stacks = sorted(rows["stack"].unique())
    columns = [(stack, kind) for stack in stacks for kind in _ROW_TITLES]
    figure = Figure(figsize=(style.PAGE_WIDTH, 3.4))
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    norm = _step_norm(rows["step"])
    for axes, (stack, kind) in zip(panels, columns, strict=True):
        shown = rows[(rows["statistic"] == ANISOTROPY + kind) & (rows["stack"] == stack)]
        for step, of_step in shown.groupby("step"):
            color = "black" if step == 0 else _VIRIDIS(norm(step))
            _draw_layers(axes, of_step, x="layer", color=color, linestyle="--" if step == 0 else "-")
        in_panel = (rows["statistic"] == NULL + kind) & (rows["stack"] == stack) & (rows["mark"] == "null")
        null = rows[in_panel].groupby("layer")["value"].mean()
        axes.plot(null.index, null, color=style.GREY, linestyle=":", linewidth=1)
        axes.set_title(_column_title(stacks, stack, kind, _sizes(shown)))
        _finish_layer_axis(axes, shown["n_layers"].max())
    panels[0].set_ylabel("anisotropy")
    panels[0].set_ylim(bottom=0)
    _step_colorbar(figure, panels, rows["step"], norm)
    null = Line2D([], [], color="black", linestyle="--", marker="o", markersize=2.8, label="step 0, untrained")
    handles = [*([null] if (rows["step"] == 0).any() else []), *_shared_handles(rows)]
    style.legend_outside(figure, handles, columns=5)
    return Drawing(figure, _to_table(rows, training.hidden), _anisotropy_caption(rows, model, training.copies))


def profile_revisions(rows: pd.DataFrame) -> dict[str, str]:
    """Return for every model the revision that stands for the model itself: 'main', or else the one of the last step.

    Raises
    ------
    ValueError
        If a model has several revisions, none of them 'main' and none with a step.
    """
    chosen = {}
    for model, of_model in rows.groupby("model", sort=False):
        found = of_model.drop_duplicates("revision")
        if len(found) == 1 or "main" in set(found["revision"]):
            chosen[model] = found["revision"].iloc[0] if len(found) == 1 else "main"
        elif found["step"].notna().any():
            chosen[model] = found.loc[found["step"].astype(float).idxmax(), "revision"]
        else:
            raise ValueError(f"model '{model}': several revisions {sorted(found['revision'])} and no step: name one")
    return chosen


def _select(table: pa.Table | pd.DataFrame, statistics: Sequence[str]) -> pd.DataFrame:
    """Return the rows of ``statistics`` with the number of layers and how each is drawn."""
    rows = style.to_frame(table, geometry.SUMMARY.names)
    rows = rows[rows["statistic"].isin(statistics)].copy()
    missing = [name for name in statistics if name not in set(rows["statistic"])]
    if missing:
        raise ValueError(f"the table has no rows of the statistics {missing}, which the figure shows")
    rows["step"] = rows["step"].astype("Int64")
    rows["value"] = rows["value"].astype(float)
    rows["n_layers"] = rows.groupby(["model", "revision", "stack"])["layer"].transform("max")
    rows["depth"] = rows["layer"] / rows["n_layers"].clip(lower=1)
    hidden = rows["context_free"] & ~rows["statistic"].str.endswith(MATCHED)
    null = rows["statistic"].str.startswith(NULL)
    marks = [(null & rows["after_final_norm"], "not drawn"), (hidden, "not drawn"), (null, "null")]
    marks += [(rows["after_final_norm"], "hollow")]
    rows["mark"] = np.select([found for found, _ in marks], [mark for _, mark in marks], "line")
    rows["status"] = rows["status"].mask(hidden & (rows["status"] == OK), LOOKUP_NOT_DRAWN)
    return rows


def _rows_of_revisions(rows: pd.DataFrame, revisions: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of the chosen revisions, models in order of suite, width and name."""
    have = set(zip(rows["model"], rows["revision"], strict=True))
    missing = [f"{model} {revision}" for model, revision in revisions.items() if (model, revision) not in have]
    if missing or not revisions:
        raise ValueError(f"the geometry table lacks the profiles of {missing or 'any model'}; it has {sorted(have)}")
    rows = rows[rows["revision"] == rows["model"].map(revisions)]
    widths = rows.groupby("model")["width"].max()
    suites = rows.groupby("model")["suite"].first()
    order = sorted(suites.index, key=lambda model: (suites[model], widths[model], natural_key(model)))
    rows = rows.assign(order=rows["model"].map({model: place for place, model in enumerate(order)}))
    return rows.sort_values(["order", "stack", "statistic", "layer", "after_final_norm"]).reset_index(drop=True)


class _Training(NamedTuple):
    """The checkpoints of a model: rows to draw, rows of copies as the table has them, and the copies themselves."""

    rows: pd.DataFrame
    hidden: pd.DataFrame
    copies: pd.DataFrame


def _training(
    table: pa.Table | pd.DataFrame,
    statistics: Sequence[str],
    model: str,
    revisions: Sequence[str] | None,
    duplicates: pa.Table | None,
) -> _Training:
    frame = style.to_frame(table, geometry.SUMMARY.names)
    copies = find_copies(frame, duplicates, model=model, revisions=revisions)
    frame = frame[frame["model"] == model]
    if frame.empty and len(copies) and set(revisions or ()) <= set(copies["revision"]):
        return _Training(frame, frame, copies)
    rows = _checkpoints(_select(table, statistics), model, revisions, set(copies["revision"]))
    copied = rows["revision"].isin(copies["revision"])
    reasons = rows["revision"].map(copies.set_index("revision")["status"])
    return _Training(rows[~copied], rows[copied].assign(mark="not drawn", status=reasons[copied]), copies)


def _checkpoints(rows: pd.DataFrame, model: str, revisions: Sequence[str] | None, copies: set[str]) -> pd.DataFrame:
    """Return the rows of a model's checkpoints, in order of step and layer; the table may lack ``copies``."""
    rows = rows[rows["model"] == model]
    have = list(dict.fromkeys(rows["revision"]))
    stepped = set(rows.loc[rows["step"].notna(), "revision"])
    chosen = [name for name in have if name in stepped] if revisions is None else list(revisions)
    missing = [name for name in chosen if name not in stepped | copies]
    if missing or not (chosen or copies):
        raise ValueError(
            f"model '{model}': no geometry with a training step for the revisions {missing or 'of this model'}; the "
            f"table has {have}, of which {sorted(stepped)} have a step (key step_pattern)"
        )
    rows = rows[rows["revision"].isin(chosen)]
    for step, of_step in rows.groupby("step"):
        found = sorted(of_step["revision"].unique())
        if len(found) > 1:
            raise ValueError(f"model '{model}': the revisions {found} all have step {step}; draw one of them")
    return rows.sort_values(["statistic", "stack", "step", "layer", "after_final_norm"]).reset_index(drop=True)


def _means_over_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per statistic and step: the mean over layers, a gap where one of them has no value.

    Over the same layers for every statistic: a look-up layer, which only type-matched ones have, would hide what the
    others do.
    """
    drawn = rows[(rows["mark"] == "line") & ~rows["context_free"]]
    return pd.DataFrame([_mean_row(group) for _, group in drawn.groupby(["statistic", "stack", "step"])])


def _gaps_at_copies(means: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Return the means that copies would have been, without a value: where the lines break."""
    lines = means.drop_duplicates(["statistic", "stack"]).drop(columns=["revision", "step", "status"])
    gaps = lines.merge(copies[["revision", "step", "status"]], how="cross")
    return gaps.assign(value=np.nan, n_batches=0, n_vectors=0, n_distinct=0)


def _mean_row(group: pd.DataFrame) -> dict:
    gaps = group[group["value"].isna()]
    status = OK if gaps.empty else f"no value in layers {listing(gaps['layer'])}: {gaps['status'].iloc[0]}"
    return {
        **group.iloc[0].to_dict(),
        "layer": pd.NA,
        "mark": "mean",
        "value": group["value"].mean() if gaps.empty else np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n_vectors": group["n_vectors"].min(),
        "n_distinct": group["n_distinct"].min(),
        "n_batches": group["n_batches"].min(),
        "context_free": False,
        "status": status,
    }


def _model_looks(rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, str]]:
    """Return colour and marker of each (model, stack): one family of colours for encoders, another for decoders."""
    looks = {}
    for stack, (_, family, low, high) in _STACKS.items():
        names = list(dict.fromkeys(rows.loc[rows["stack"] == stack, "model"]))
        for number, name in enumerate(names):
            place = style.place_in_map(number, len(names), low=low, high=high)
            color = to_hex(mpl.colormaps[family](place))
            looks[name, stack] = {"color": color, "marker": style.MARKERS[number % len(style.MARKERS)]}
    return looks


def _draw_profile(axes: Axes, of_model: pd.DataFrame, statistic: str, *, look: Mapping[str, str]) -> None:
    shown = of_model[of_model["statistic"] == statistic]
    _draw_layers(axes, shown, x="depth", linestyle="--" if statistic.endswith(MATCHED) else "-", **look)
    null = of_model[(of_model["statistic"] == statistic.replace(ANISOTROPY, NULL)) & (of_model["mark"] == "null")]
    axes.plot(null["depth"], null["value"], color=look["color"], linestyle=":", linewidth=0.8, zorder=1)


def _draw_second_fit(axes: Axes, of_model: pd.DataFrame, kind: str, *, color: str, alpha: float) -> None:
    """Draw the fit to the lowest fifth as a thin dashed line, the edge of a pale band from the headline fit."""
    line = of_model[of_model["mark"] == "line"].pivot_table(
        index="depth", columns="statistic", values="value", dropna=False
    )
    headline, second = line[TWONN_090 + kind], line[TWONN_020 + kind]
    axes.plot(line.index, second, color=color, linestyle=(0, (2, 2)), linewidth=0.7, zorder=2)
    axes.fill_between(line.index, headline, second, color=color, alpha=alpha, linewidth=0)


def _draw_layers(axes: Axes, rows: pd.DataFrame, *, x: str, color: object, linestyle: str, marker: str = "o") -> None:
    """Draw one profile with its interval; the copy behind the final norm is a hollow point at L."""
    line, hollow = rows[rows["mark"] == "line"], rows[rows["mark"] == "hollow"]
    axes.plot(line[x], line["value"], color=color, linestyle=linestyle, marker=marker, markersize=2.8, zorder=3)
    low, high = line["ci_low"].astype(float), line["ci_high"].astype(float)
    axes.fill_between(line[x], low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(hollow[x], hollow["value"], color=color, **_HOLLOW, zorder=4)
    gaps = rows[(rows["mark"] != "not drawn") & rows["value"].isna()]
    style.draw_gaps(axes, gaps[x], color=color)


def _draw_layer_lines(axes: Axes, rows: pd.DataFrame, norm: Normalize, steps: Sequence[int]) -> None:
    look = {"marker": ".", "markersize": style.marker_size(len(steps)) / 2, "linewidth": 0.7, "alpha": 0.8}
    for layer, line in rows.groupby("layer"):
        draw_over_steps(axes, line, steps, color=_VIRIDIS(norm(layer)), **look)


def _nothing_to_draw(training: _Training, title: str) -> Drawing:
    """Return a panel that says why it is empty: every checkpoint has another one's weights."""
    data = _to_table(training.hidden) if len(training.hidden) else figure_data.LAYERS.empty_table()
    figure = empty_panel(len(training.copies))
    return Drawing(figure, data, f"{title}\n\nNothing to draw. {copies_sentence(training.copies, 0)}")


def _panel_title(shown: pd.DataFrame, statistic: str, kind: str) -> str:
    of_panel = shown[shown["statistic"] == statistic + kind]
    if statistic != TWONN_090:
        return f"{_ROW_TITLES[kind]}, N = {_sizes(of_panel)}"
    title = f"{_ROW_TITLES[kind]}, N = {_distinct_sizes(of_panel)}"
    mixed, judged = _layers_without_single_dimension(shown, kind)
    return f"{title}\nno single dimension in {mixed} of {judged} layers" if mixed else title


def _column_title(stacks: Sequence[str], stack: str, kind: str, sizes: str) -> str:
    parts = [_ROW_TITLES[kind], f"N = {sizes}"]
    return "\n".join([stack, *parts]) if len(stacks) > 1 else ", ".join(parts)


def _layers_without_single_dimension(rows: pd.DataFrame, kind: str) -> tuple[int, int]:
    """Return how many of the drawn layers have fits that differ by more than ``FIT_GAP``, and how many have both."""
    line = rows[rows["mark"] == "line"]
    fits = line.pivot_table(index=["model", "stack", "revision", "layer"], columns="statistic", values="value")
    gap = (fits[TWONN_020 + kind] / fits[TWONN_090 + kind]).dropna()
    return int(((gap < FIT_GAP[0]) | (gap > FIT_GAP[1])).sum()), len(gap)


def _finish_depth_axis(axes: Axes, shown: pd.DataFrame) -> None:
    """Mark the layers by number where all models have as many, by relative depth else."""
    counts = sorted(shown["n_layers"].unique())
    if len(counts) == 1:
        ticks = _layer_ticks(counts[0])
        axes.set_xticks([layer / max(1, counts[0]) for layer in ticks], ticks)
        axes.set_xlabel(f"layer (L = {counts[0]})")
    else:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "L/4", "L/2", "3L/4", "L"])
        axes.set_xlabel("layer, as a share of the model's L (a point per layer)")


def _finish_layer_axis(axes: Axes, n_layers: int) -> None:
    axes.set_xticks(_layer_ticks(n_layers))
    axes.set_xlim(-0.04 * n_layers, 1.04 * n_layers)
    axes.set_xlabel(f"layer (L = {n_layers})")


def _layer_ticks(n_layers: float) -> list[int]:
    spacing = next(step for step in (1, 2, 4, 5, 8, 10, 20, 50, 100) if n_layers / step <= 8)
    return list(range(0, int(n_layers) + 1, spacing))


def _profile_legend(figure: Figure, rows: pd.DataFrame, looks: Mapping, stacks: Sequence[str]) -> None:
    facts = rows.groupby(["model", "stack"])[["n_layers", "kind"]].first()
    for stack, loc in zip(stacks, ("outside lower left", "outside lower right"), strict=False):
        handles = [
            Line2D([], [], **look, label=_model_label(*key, *facts.loc[key]))
            for key, look in looks.items()
            if key[1] == stack
        ]
        figure.legend(handles=handles, loc=loc, ncols=1 if len(handles) < 4 else 2, title=_STACKS[stack][0])
    drawn = [
        Line2D([], [], color=style.GREY, label="all tokens"),
        Line2D([], [], color=style.GREY, linestyle="--", label="type-matched"),
        Line2D([], [], color=style.GREY, linestyle=(0, (2, 2)), linewidth=0.7, label="TwoNN, fit 0.2"),
        *_shared_handles(rows),
    ]
    style.legend_outside(figure, drawn, columns=4)


def _model_label(model: str, stack: str, n_layers: int, kind: str) -> str:
    half = f", {stack} half" if kind == "encoder-decoder" else ""
    return f"{model} (L = {n_layers}{half})"


def _shared_handles(rows: pd.DataFrame) -> list[Line2D | Patch]:
    """Return the legend's entries that both kinds of profile share, those that the rows call for."""
    grey = style.GREY
    handles = [
        Patch(color=grey, alpha=0.25, linewidth=0, label="95 % interval"),
        Line2D([], [], color=grey, linestyle=":", linewidth=1, label="frequency null"),
    ]
    if (rows["mark"] == "hollow").any():
        handles.append(Line2D([], [], color=grey, **_HOLLOW, label="after final norm"))
    if rows["value"].isna().any():
        handles.append(style.gap_handle())
    return handles


def _step_norm(steps: pd.Series) -> LogNorm:
    positive = [int(step) for step in steps if step > 0] or [1]
    return LogNorm(min(positive), max(max(positive), min(positive) * 2))


def _step_colorbar(figure: Figure, panels: Sequence[Axes], steps: pd.Series, norm: LogNorm) -> None:
    positive = sorted({int(step) for step in steps if step > 0})
    if not positive:
        return
    bar = figure.colorbar(ScalarMappable(norm, _VIRIDIS), ax=panels, label="training step (log scale)", aspect=30)
    labelled = style.spaced_ticks([float(norm(step)) for step in positive], least=0.06)
    bar.set_ticks([positive[n] for n in labelled], labels=[style.step_name(positive[n]) for n in labelled])
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _to_table(*frames: pd.DataFrame) -> pa.Table:
    rows = pd.concat([frame for frame in frames if len(frame)])
    rows = rows.assign(layer=rows["layer"].astype("Int64"), step=rows["step"].astype("Int64"))
    return style.to_table(rows, figure_data.LAYERS)


def _profiles_caption(rows: pd.DataFrame) -> str:
    models = rows.drop_duplicates("model")
    parts = [
        f"Hidden states of {listing(models['model'] + ' at ' + models['revision'])}.",
        _about_batches(rows),
        "Above: anisotropy, the share of the variance on its first axis, of centred states. Below: the TwoNN "
        "dimension, fitted to the lowest 0.9 of the distance ratios (line) and to the lowest 0.2 (thin dashed, edge of "
        f"the pale band); where their ratio lies outside {FIT_GAP[0]} to {FIT_GAP[1]} no single dimension describes "
        "the layer. "
        "Dimensions compare only at equal N, which for them counts distinct vectors.",
        "Type-matched panels take one random occurrence per token type, so that repeated words count once.",
        "Bands in the lines' colour: 95 % t intervals over batches.",
        _about_null(),
        _about_final_norm(rows),
        _about_lookup(rows),
        _about_gaps(rows),
    ]
    title = "Encoders against decoders, layer by layer." if rows["stack"].nunique() > 1 else "Layer by layer."
    return f"{title}\n\n{' '.join(filter(None, parts))}"


def _dimension_caption(rows: pd.DataFrame, means: pd.DataFrame, model: str, copies: pd.DataFrame) -> str:
    parts = [
        f"TwoNN dimension of the hidden states of {model} at "
        f"{counted([rows['revision'].nunique()], 'checkpoint')}, fitted to the lowest 0.9 of the distance ratios "
        "(above) and to the lowest 0.2 (below), of all tokens and of one random occurrence per token type.",
        copies_sentence(copies, rows["revision"].nunique()),
        "Every line breaks there; strokes at the foot mark these steps." if len(copies) else "",
        _about_batches(rows),
        "Thick: the mean over the layers before the final norm; thin: each layer. The thin lines show the spread over "
        "layers, not an interval of the mean: none is claimed.",
        "A rise or fall counts only where both fits and both columns show it; dimensions compare only at equal N, the "
        "number of distinct vectors.",
        "The mean leaves out layer 0, a table look-up, in every panel." if rows["context_free"].any() else "",
        _about_gaps(pd.concat([rows, means])),
    ]
    return f"Dimension over training, {model}.\n\n{' '.join(filter(None, parts))}"


def _anisotropy_caption(rows: pd.DataFrame, model: str, copies: pd.DataFrame) -> str:
    parts = [
        f"Anisotropy of the centred hidden states of {model}, layer by layer, at {_named_steps(rows['step'])}; left of "
        "all tokens, right of one random occurrence per token type.",
        copies_sentence(copies, rows["revision"].nunique()),
        _about_batches(rows),
        "Bands: 95 % t intervals over batches.",
        "Dashed black: step 0, the untrained model, is the null." if (rows["step"] == 0).any() else "",
        _about_null(),
        _about_final_norm(rows),
        _about_lookup(rows),
        _about_gaps(rows),
    ]
    return f"Anisotropy over training, {model}.\n\n{' '.join(filter(None, parts))}"


def _named_steps(steps: pd.Series) -> str:
    """Return the steps one by one, or how many there are from which to which."""
    found = sorted(set(map(int, steps)))
    if len(found) <= STEPS_NAMED:
        return f"{'the steps' if len(found) > 1 else 'step'} {listing(found)}"
    return f"{len(found)} steps from {style.step_name(found[0])} to {style.step_name(found[-1])}"


def _counts(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the counts behind the drawn values of ``rows``; a row without a value has no say."""
    rows = rows[rows["mark"] != "not drawn"]
    return rows.loc[rows["value"].notna() | rows["value"].isna().all(), column]


def _sizes(rows: pd.DataFrame, column: str = "n_vectors") -> str:
    return span(_counts(rows, column))


def _distinct_sizes(rows: pd.DataFrame) -> str:
    """Return the N of a dimension: the distinct rows, of which each gives one ratio."""
    return _sizes(rows, "n_distinct")


def _about_batches(rows: pd.DataFrame) -> str:
    matched = rows["statistic"].str.endswith(MATCHED)
    batches = counted(_counts(rows, "n_batches"), "disjoint batch", "disjoint batches")
    return (
        f"Values are means over {batches} of N = {_sizes(rows[~matched])} vectors (type-matched N = "
        f"{_sizes(rows[matched])})."
    )


def _about_null() -> str:
    return (
        "Dotted: the frequency null, the anisotropy of one random isotropic vector per token type, repeated as often "
        "as the type occurs in the batch; type-matched, where each occurs once, that is isotropic noise."
    )


def _about_final_norm(rows: pd.DataFrame) -> str:
    return "Hollow: the last layer behind the model's final norm." if (rows["mark"] == "hollow").any() else ""


def _about_lookup(rows: pd.DataFrame) -> str:
    if not rows["context_free"].any():
        return ""
    return "A layer 0 without positions holds equal rows for equal tokens and is drawn type-matched only."


def _about_gaps(rows: pd.DataFrame) -> str:
    gaps = rows[rows["value"].isna() & (rows["mark"] != "mean")]
    said = [
        f"{model}, {statistic}, {status} (layer {listing(sorted(set(group['layer'])))})"
        for (model, statistic, status), group in gaps.groupby(["model", "statistic", "status"], sort=False)
    ]
    return f"Gaps: {'; '.join(said)}." if said else ""

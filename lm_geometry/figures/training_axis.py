"""The axis of figures over training: steps on a log scale, with step 0 and with the places that copies leave empty."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lm_geometry.figures import style


def draw_over_steps(axes: Axes, line: pd.DataFrame, steps: Sequence[int], **look: Any) -> None:
    """Draw one value per step, broken where ``steps`` holds one that the line has no row of.

    Parameters
    ----------
    axes : Axes
        The panel.
    line : DataFrame
        Rows with ``step`` and ``value``.
    steps : sequence of int
        The steps of the axis.
    **look
        Of the line, as ``Axes.plot`` takes them.
    """
    values = pd.Series(line["value"].to_numpy(), index=line["step"].astype(int))
    axes.plot(steps, values.reindex(steps), **look)


def draw_intervals_over_steps(axes: Axes, line: pd.DataFrame, steps: Sequence[int], *, color: object) -> None:
    """Draw one interval per step, as a whisker, or as a band where whiskers would stand too close.

    Parameters
    ----------
    axes : Axes
        The panel.
    line : DataFrame
        Rows with ``step``, ``ci_low`` and ``ci_high``; those without an interval are left out.
    steps : sequence of int
        The steps of the axis; a band breaks where the line has no row of one.
    color : color
        Of the line.
    """
    found = line[line["ci_low"].notna() & line["ci_high"].notna()]
    if len(steps) > style.POINTS_APART:
        ends = found.assign(step=found["step"].astype(int)).set_index("step")[["ci_low", "ci_high"]].reindex(steps)
        axes.fill_between(steps, ends["ci_low"], ends["ci_high"], color=color, alpha=style.BAND_ALPHA, linewidth=0)
    else:
        style.draw_whiskers(axes, found["step"].astype(int), found["ci_low"], found["ci_high"], color=color)


def finish_step_axis(axes: Axes, steps: Sequence[int]) -> None:
    """Put ``steps``, ascending, on a log scale on which step 0 stands one doubling before the first one."""
    least = min((step for step in steps if step > 0), default=1)
    axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    places = axes.transScale.transform([(step, 0) for step in steps])[:, 0]
    span = (places[-1] - places[0]) or 1.0
    labelled = style.spaced_ticks(list((places - places[0]) / span), least=0.09)
    axes.set_xticks([steps[index] for index in labelled], [style.step_name(steps[index]) for index in labelled])
    axes.xaxis.set_minor_locator(NullLocator())


def empty_panel(n_copies: int) -> Figure:
    """Return a panel that says why it is empty: every checkpoint has another one's weights."""
    figure = Figure(figsize=(style.PAGE_WIDTH, 1.2))
    axes = figure.subplots()
    axes.set_axis_off()
    why = f"Nothing to draw: every checkpoint asked for ({n_copies}) holds another one's weights."
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    return figure

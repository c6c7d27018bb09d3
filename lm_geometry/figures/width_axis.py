"""The axis of figures over the width of embedding tables."""

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator


def finish_width_axis(axes: Axes, widths: Iterable[float], *, every: int = 2) -> None:
    """Put widths on a log scale with plain numbers at the powers of ``every``."""
    widths = list(widths)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=every, numticks=30))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda width, _: f"{width:g}"))
    axes.set_xlim(min(widths) / 2**0.3, max(widths) * 2**0.3)
    axes.set_xlabel("columns of the table (log scale)")

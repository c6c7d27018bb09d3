"""What scoring a table in its variants comes to: which widths, and which random tables are drawn."""

from collections.abc import Sequence

from lm_geometry.embeddings.variants import ColumnSlice, Variant, needed_columns, parse_variant


def variant_draws(variants: Sequence[str], widths: Sequence[int]) -> dict[int, int]:
    """Return the columns of each random table that is drawn, and how many of its first are pooled.

    Parameters
    ----------
    variants : sequence of str
        Their names; those that a table of some width cannot have draw nothing for it.
    widths : sequence of int
        Columns of the tables that share the draws.
    """
    return needed_columns([part for width in widths for _, parts in _possible(variants, width) for part in parts])


def score_widths(variants: Sequence[str], width: int, n_seeds: int = 1) -> list[int]:
    """Return the columns of every score: of each variant that the table can have, once per seed where it has one."""
    widths = []
    for variant, parts in _possible(variants, width):
        widths += [variant.width(width)] * (n_seeds if needed_columns(parts) else 1)
    return widths


def _possible(variants: Sequence[str], width: int) -> list[tuple[Variant, tuple[ColumnSlice, ...]]]:
    found = []
    for variant in map(parse_variant, variants):
        try:
            found.append((variant, variant.slices(width)))
        except ValueError:  # a gap in the figure, which costs nothing
            continue
    return found

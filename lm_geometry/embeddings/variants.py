"""The variants of an embedding table that are scored: its columns, a random table's, and projections of its rows.

Pooling is linear and acts on rows. A concatenation of columns is therefore a concatenation of pooled vectors: pool each
matrix once, and slice what was pooled. And a projection of a table's rows is one of the pooled vectors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

STUDY_COLUMNS = 14336
"""Columns of the draw that ``random`` takes its first columns from: the widest model of the study, BLOOM-176B."""

RANDOM_TOKENIZER = "random_tokenizer"
"""Label of the random baselines of a tokenizer; they belong to no model and are no variant of a table."""

_UNSIZED = ("as_is", "random", "centered", "all_but_the_top")
_SIZED = {
    "crop": re.compile("crop_([1-9][0-9]*)"),
    "pad": re.compile("pad_([1-9][0-9]*)"),
    "pad_matched": re.compile("pad_([1-9][0-9]*)_matched"),
}


@dataclass(frozen=True)
class ColumnSlice:
    """Columns ``start`` to ``stop`` of one matrix.

    Parameters
    ----------
    draw : int or None
        Columns of the random table that is meant, drawn with as many rows as the model's table; None = the model's
        table itself.
    start, stop : int
        First column, and the one behind the last.
    """

    draw: int | None
    start: int
    stop: int


@dataclass(frozen=True)
class Variant:
    """One way to score a table; made by ``parse_variant``.

    Parameters
    ----------
    name : str
        The name as users write it.
    kind : str
        'as_is', 'random', 'centered', 'all_but_the_top', 'crop', 'pad' or 'pad_matched'.
    size : int or None
        Columns of a crop or pad.
    """

    name: str
    kind: str
    size: int | None = None

    @property
    def uses_seed(self) -> bool:
        """Whether the variant is scored once per seed."""
        return self.kind in ("random", "pad", "pad_matched")

    @property
    def uses_components(self) -> bool:
        """Whether the mean row of the table, or its leading directions too, are taken away before it is scored."""
        return self.kind in ("centered", "all_but_the_top")

    def width(self, embedding_dim: int) -> int:
        """Return the columns that are scored for a table ``embedding_dim`` wide."""
        return embedding_dim if self.size is None else self.size

    def slices(self, embedding_dim: int) -> tuple[ColumnSlice, ...]:
        """Return the column slices that make up the variant of a table ``embedding_dim`` wide, in order.

        They do not show the factor of a 'pad_matched' (see ``pad_scale``), nor what 'centered' and 'all_but_the_top'
        take away (see ``principal_components.project``).

        Raises
        ------
        ValueError
            If a crop is wider than the table or a padded table narrower.
        """
        table = ColumnSlice(None, 0, embedding_dim)
        if self.kind == "as_is" or self.uses_components:
            return (table,)
        if self.kind == "random":
            return (ColumnSlice(max(STUDY_COLUMNS, embedding_dim), 0, embedding_dim),)
        size = self.width(embedding_dim)
        if self.kind == "crop":
            if size > embedding_dim:
                raise ValueError(f"{self.name} needs {size} columns and the table has {embedding_dim}")
            return (ColumnSlice(None, 0, size),)
        if size < embedding_dim:
            raise ValueError(f"{self.name} is {size} columns wide and the table has {embedding_dim} already")
        return (table,) if size == embedding_dim else (table, ColumnSlice(size, embedding_dim, size))


def parse_variant(name: str) -> Variant:
    """Read the name of a variant.

    Raises
    ------
    ValueError
        If the name is none of those that the message lists.
    """
    if name in _UNSIZED:
        return Variant(name, name)
    for kind, pattern in _SIZED.items():
        if sized := pattern.fullmatch(name):
            return Variant(name, kind, int(sized[1]))
    raise ValueError(
        f"unknown variant '{name}': use {', '.join(_UNSIZED)}, crop_<columns>, pad_<columns> or pad_<columns>_matched, "
        "such as crop_128, pad_14336, pad_14336_matched"
    )


def needed_columns(slices: Sequence[ColumnSlice]) -> dict[int, int]:
    """Return, for each random draw that occurs in ``slices``, how many of its first columns are needed."""
    needed: dict[int, int] = {}
    for part in slices:
        if part.draw is not None:
            needed[part.draw] = max(needed.get(part.draw, 0), part.stop)
    return needed


def pad_scale(variant: Variant, *, table_rms: float, random_rms: float) -> float:
    """Return what the random columns of a pad are multiplied by: 1, or what matches them to the table.

    Parameters
    ----------
    variant : Variant
        Of kind 'pad' or 'pad_matched'.
    table_rms, random_rms : float
        Root-mean-square entry of the table and of the random draw (see ``random_entry_rms``).
    """
    return table_rms / random_rms if variant.kind == "pad_matched" else 1.0


def pad_energy_share(
    embedding_dim: int, width: int, *, table_rms: float, random_rms: float, scale: float = 1.0
) -> float:
    """Return the share of a padded table's expected sum of squares that its random columns hold, from 0 to 1.

    With d columns of root-mean-square entry t and n - d random ones of root-mean-square entry r, multiplied by s, it is
    s^2 r^2 (n - d) / (t^2 d + s^2 r^2 (n - d)); a matched pad, s = t / r, has (n - d) / n.

    Parameters
    ----------
    embedding_dim, width : int
        Columns of the table, d, and of the padded table, n.
    table_rms, random_rms, scale : float
        t, r and s.

    Raises
    ------
    ValueError
        If the padded table would be zero throughout.
    """
    table = table_rms**2 * embedding_dim
    padding = (scale * random_rms) ** 2 * (width - embedding_dim)
    if table + padding == 0:
        raise ValueError(
            f"a table {embedding_dim} wide of root-mean-square entry {table_rms}, padded to {width} columns by entries "
            f"of {scale * random_rms}, is zero throughout: no part of it can have a share"
        )
    return padding / (table + padding)

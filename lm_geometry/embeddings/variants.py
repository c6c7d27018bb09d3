"""The variants of an embedding table that are scored: column slices of the table and of random tables.

A variant is a concatenation of columns, and pooling is linear and acts on rows: pool each matrix once, and slice the
pooled vectors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm_geometry.embeddings.random_table import random_blocks

STUDY_COLUMNS = 14336
"""Columns of the draw that ``random`` takes its first columns from: the widest model of the study, BLOOM-176B."""

RANDOM_TOKENIZER = "random_tokenizer"
"""Label of the random baselines of a tokenizer; they belong to no model and are no variant of a table."""

_SIZED = re.compile(r"(crop|pad)_([1-9][0-9]*)")


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
        'as_is', 'random', 'crop' or 'pad'.
    size : int or None
        Columns of a crop or pad.
    """

    name: str
    kind: str
    size: int | None = None

    @property
    def uses_seed(self) -> bool:
        """Whether the variant is scored once per seed."""
        return self.kind in ("random", "pad")

    def width(self, embedding_dim: int) -> int:
        """Return the columns that are scored for a table ``embedding_dim`` wide."""
        return embedding_dim if self.size is None else self.size

    def slices(self, embedding_dim: int) -> tuple[ColumnSlice, ...]:
        """Return the column slices that make up the variant of a table ``embedding_dim`` wide, in order.

        Raises
        ------
        ValueError
            If a crop is wider than the table or a padded table narrower.
        """
        table = ColumnSlice(None, 0, embedding_dim)
        if self.kind == "as_is":
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
        If the name is not 'as_is', 'random', 'crop_<columns>' or 'pad_<columns>'.
    """
    if name in ("as_is", "random"):
        return Variant(name, name)
    sized = _SIZED.fullmatch(name)
    if sized is None:
        raise ValueError(
            f"unknown variant '{name}': use as_is, random, crop_<columns> or pad_<columns>, such as crop_128, pad_14336"
        )
    return Variant(name, sized[1], int(sized[2]))


def needed_columns(slices: Sequence[ColumnSlice]) -> dict[int, int]:
    """Return, for each random draw that occurs in ``slices``, how many of its first columns are needed."""
    needed: dict[int, int] = {}
    for part in slices:
        if part.draw is not None:
            needed[part.draw] = max(needed.get(part.draw, 0), part.stop)
    return needed


def variant_table(table: np.ndarray, name: str, *, seed: int = 42, generator: str = "legacy_bf16") -> np.ndarray:
    """Return a variant of ``table`` as a table of its own.

    Parameters
    ----------
    table : np.ndarray
        Token embeddings, shape (rows, embedding_dim).
    name : str
        'as_is', 'random', 'crop_<columns>' or 'pad_<columns>'.
    seed, generator : int, str
        Seed and generator of the random columns (see ``random_blocks``); unused by 'as_is' and crops.

    Returns
    -------
    np.ndarray
        float32, shape (rows, width of the variant).

    Raises
    ------
    ValueError
        If the name is unknown or the table cannot have the variant.
    """
    rows, embedding_dim = table.shape
    parts = []
    for part in parse_variant(name).slices(embedding_dim):
        if part.draw is None:
            parts.append(table[:, part.start : part.stop])
            continue
        blocks = random_blocks(rows, part.draw, seed, generator=generator, n_columns=part.stop)
        parts.append(np.concatenate([block[:, part.start :] for block in blocks]))
    return np.concatenate(parts, axis=1).astype(np.float32, copy=False)

"""Seeded chunks of a corpus: pieces of equal length that overlap nowhere and cross no page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chunk:
    """A piece of a page: ``text`` is ``pages[page][start:start + len(text)]``."""

    page: int
    start: int
    text: str


def sample_chunks(pages: Sequence[str], *, chunk_characters: int, n_chunks: int, seed: int) -> list[Chunk]:
    """Draw chunks from pages at random, without replacement.

    Every page is cut into consecutive windows from its first character on; what is left at a page's end is shorter
    than a window and never drawn. All windows are equally likely, whatever page they stand in.

    Parameters
    ----------
    pages : sequence of str
        The cleaned pages.
    chunk_characters : int
        Length of a chunk, in characters.
    n_chunks : int
        Number of chunks.
    seed : int
        Seed of ``numpy.random.default_rng``.

    Returns
    -------
    list of Chunk
        ``n_chunks`` different windows in random order, so that any run of them is a random group.

    Raises
    ------
    ValueError
        If a number is not positive, or the pages hold fewer than ``n_chunks`` windows.
    """
    for name, value in (("chunk_characters", chunk_characters), ("n_chunks", n_chunks)):
        if value < 1:
            raise ValueError(f"{name} is {value} and must be at least 1")
    lengths = np.array([len(page) for page in pages], dtype=np.int64)
    windows_before = np.concatenate([[0], np.cumsum(lengths // chunk_characters)])
    n_windows = int(windows_before[-1])
    if n_windows < n_chunks:
        raise ValueError(
            f"n_chunks is {n_chunks}, but the corpus holds {n_windows} windows of {chunk_characters} characters within "
            f"its {len(pages)} pages ({int(lengths.sum()):,} characters); lower n_chunks or chunk_characters, or give "
            "more text"
        )
    drawn = np.random.default_rng(seed).choice(n_windows, size=n_chunks, replace=False)
    drawn_pages = np.searchsorted(windows_before, drawn, side="right") - 1
    starts = (drawn - windows_before[drawn_pages]) * chunk_characters
    return [
        Chunk(page, start, pages[page][start : start + chunk_characters])
        for page, start in zip(drawn_pages.tolist(), starts.tolist(), strict=True)
    ]

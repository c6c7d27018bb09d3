"""Seeded chunks of a corpus: pieces of equal length that overlap nowhere and cross no page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from lm_geometry.corpus.token_windows import token_windows


@dataclass(frozen=True)
class Chunk:
    """A piece of a page: ``text`` is ``pages[page][start:start + len(text)]``."""

    page: int
    start: int
    text: str


def sample_chunks(pages: Sequence[str], *, chunk_characters: int, n_chunks: int, seed: int) -> list[Chunk]:
    """Draw chunks of equal length in characters from pages at random, without replacement.

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
    _require_positive(chunk_characters=chunk_characters, n_chunks=n_chunks)
    n_windows = np.array([len(page) for page in pages], dtype=np.int64) // chunk_characters
    _require_windows(pages, int(n_windows.sum()), n_chunks, chunk_characters, "characters")
    drawn_pages, drawn_windows = _draw(n_windows, n_chunks, seed)
    return [
        Chunk(page, start, pages[page][start : start + chunk_characters])
        for page, start in zip(drawn_pages.tolist(), (drawn_windows * chunk_characters).tolist(), strict=True)
    ]


def sample_token_chunks(
    pages: Sequence[str], *, tokenizer: Tokenizer, chunk_tokens: int, n_chunks: int, seed: int
) -> list[Chunk]:
    """Draw chunks of equal length in tokens of one tokenizer from pages at random, without replacement.

    As ``sample_chunks``, with the windows of ``token_windows``. Chunks are text, the same for every model. Tokenized
    again by itself, a chunk may have some tokens more or fewer than ``chunk_tokens``, even under the tokenizer that
    counted: where a border splits a word, its halves stand alone, and some tokenizers put a blank before every text.

    Parameters
    ----------
    pages : sequence of str
        The cleaned pages.
    tokenizer : Tokenizer
        As ``tokenizer_file.read_tokenizer`` returns it; its special tokens are not counted.
    chunk_tokens : int
        Length of a chunk, in tokens.
    n_chunks, seed : int
        Number of chunks, and the seed of ``numpy.random.default_rng``.

    Returns
    -------
    list of Chunk
        ``n_chunks`` different windows in random order.

    Raises
    ------
    ValueError
        If a number is not positive, or the pages hold fewer than ``n_chunks`` windows.
    """
    _require_positive(chunk_tokens=chunk_tokens, n_chunks=n_chunks)
    windows = token_windows(pages, tokenizer, chunk_tokens)
    n_windows = np.array([len(of_page) for of_page in windows], dtype=np.int64)
    _require_windows(pages, int(n_windows.sum()), n_chunks, chunk_tokens, "tokens")
    chunks = []
    for page, window in zip(*_draw(n_windows, n_chunks, seed), strict=True):
        start, end = windows[page][window].tolist()
        chunks.append(Chunk(int(page), start, pages[page][start:end]))
    return chunks


def _require_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value} and must be at least 1")


def _require_windows(pages: Sequence[str], n_windows: int, n_chunks: int, length: int, unit: str) -> None:
    if n_windows < n_chunks:
        raise ValueError(
            f"n_chunks is {n_chunks}, but the corpus holds {n_windows} windows of {length} {unit} within "
            f"its {len(pages)} pages ({sum(map(len, pages)):,} characters); lower n_chunks or chunk_{unit}, or give "
            "more text"
        )


def _draw(n_windows: np.ndarray, n_chunks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the page and, counted within it, the window of each of ``n_chunks`` draws; ``n_windows`` is by page."""
    windows_before = np.concatenate([[0], np.cumsum(n_windows)])
    drawn = np.random.default_rng(seed).choice(int(windows_before[-1]), size=n_chunks, replace=False)
    pages = np.searchsorted(windows_before, drawn, side="right") - 1
    return pages, drawn - windows_before[pages]

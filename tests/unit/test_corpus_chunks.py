"""Chunks: of exact length, within a page, apart from each other, and the seed's alone."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from lm_geometry.corpus.chunks import sample_chunks


@pytest.fixture
def pages():
    """Pages of uneven length in which every character tells its page and every stretch its place."""
    lengths = np.random.default_rng(5).integers(0, 400, size=60)
    return ["".join(chr(0x4E00 + 500 * number + place) for place in range(n)) for number, n in enumerate(lengths)]


def draw(pages, *, n_chunks=100, seed=0):
    return sample_chunks(pages, chunk_characters=32, n_chunks=n_chunks, seed=seed)


def test_chunks_lie_within_a_page_and_have_the_exact_length(pages):
    for chunk in draw(pages):
        assert len(chunk.text) == 32
        assert pages[chunk.page][chunk.start : chunk.start + 32] == chunk.text
        assert len({(ord(character) - 0x4E00) // 500 for character in chunk.text}) == 1


def test_chunks_do_not_overlap_even_when_all_are_drawn(pages):
    everything = sum(len(page) // 32 for page in pages)
    characters = [character for chunk in draw(pages, n_chunks=everything) for character in chunk.text]
    assert len(set(characters)) == len(characters) == 32 * everything


def test_the_seed_decides(pages):
    assert draw(pages, seed=1) == draw(pages, seed=1)
    assert draw(pages, seed=1) != draw(pages, seed=2)


def test_order_is_random(pages):
    chunks = draw(pages)
    pages_in_order = [chunk.page for chunk in chunks]
    assert abs(stats.spearmanr(range(len(chunks)), pages_in_order).statistic) < 0.35


def test_every_window_is_equally_likely():
    pages = ["a" * 25, "b" * 9, "c" * 70]
    found = Counter(
        (c.page, c.start) for s in range(3000) for c in sample_chunks(pages, chunk_characters=10, n_chunks=3, seed=s)
    )
    assert set(found) == {(0, 0), (0, 10), *((2, 10 * n) for n in range(7))}
    # Under equal likelihood every count is 1000 with a standard deviation of 26; five of them bound nine counts.
    assert max(abs(count - 1000) for count in found.values()) < 130


def test_characters_are_counted_and_not_bytes():
    (chunk,) = sample_chunks(["äöü€" * 3], chunk_characters=12, n_chunks=1, seed=0)
    assert chunk.text == "äöü€" * 3


def test_too_few_windows_name_both_numbers_and_the_fix():
    with pytest.raises(ValueError, match=r"n_chunks is 5, but .* 3 windows of 10 characters.*2 pages.*lower n_chunks"):
        sample_chunks(["a" * 25, "b" * 19], chunk_characters=10, n_chunks=5, seed=0)


@pytest.mark.parametrize(("name", "settings"), [("n_chunks", (10, 0)), ("chunk_characters", (0, 10))])
def test_numbers_must_be_positive(name, settings):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        sample_chunks(["a" * 25], chunk_characters=settings[0], n_chunks=settings[1], seed=0)


def test_no_pages_at_all():
    with pytest.raises(ValueError, match="0 windows"):
        sample_chunks([], chunk_characters=10, n_chunks=1, seed=0)

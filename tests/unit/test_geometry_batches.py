import numpy as np
import pytest

from lm_geometry.geometry.batches import draw_batches, type_matched_rows

RANDOM = np.random.default_rng(20240504)
LENGTHS = RANDOM.integers(15, 30, 40)
CHUNK = np.repeat(np.arange(40), LENGTHS)
TOKEN = RANDOM.integers(0, 50, CHUNK.size)


def groups_of(batches):
    return [set(CHUNK[rows].tolist()) for rows in batches]


def disjoint(groups):
    return sum(map(len, groups)) == len(set().union(*groups))


def test_batches_are_disjoint_in_chunks_and_without_repetition():
    batches = draw_batches(CHUNK, n_batches=5, batch_size=100, seed=3)
    assert [rows.shape for rows in batches] == [(100,)] * 5
    assert all(np.unique(rows).size == 100 for rows in batches)
    assert disjoint(groups_of(batches))


def test_a_seed_is_a_draw():
    first, again = (draw_batches(CHUNK, n_batches=5, batch_size=50, seed=3) for _ in range(2))
    other = draw_batches(CHUNK, n_batches=5, batch_size=50, seed=4)
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))


def test_draws_are_uniform_over_the_tokens():
    """Each token of 40 chunks is drawn with probability batch / group; so are short and long chunks."""
    times = np.zeros(CHUNK.size)
    for seed in range(400):
        for rows in draw_batches(CHUNK, n_batches=2, batch_size=200, seed=seed):
            times[rows] += 1
    share = times / 400
    expected = 400 / CHUNK.size
    # A token's count is binomial; 5 standard deviations.
    assert np.abs(share - expected).max() < 5 * np.sqrt(expected * (1 - expected) / 400)
    assert np.corrcoef(share, LENGTHS[CHUNK])[0, 1] ** 2 < 0.05


def test_order_is_shuffled():
    rows = draw_batches(CHUNK, n_batches=1, batch_size=CHUNK.size, seed=0)[0]
    assert sorted(rows) == list(range(CHUNK.size))
    assert abs(np.corrcoef(rows, np.arange(CHUNK.size))[0, 1]) < 0.15


def test_chunk_numbers_need_not_be_dense_or_sorted():
    shuffle = RANDOM.permutation(CHUNK.size)
    batches = draw_batches((CHUNK * 7 + 3)[shuffle], n_batches=5, batch_size=50, seed=0)
    assert disjoint([set(CHUNK[shuffle][rows].tolist()) for rows in batches])


def test_too_few_tokens():
    with pytest.raises(
        ValueError, match=r"batch_size: 300 tokens are asked of each of 5 groups.*holds \d+ \("
    ) as error:
        draw_batches(CHUNK, n_batches=5, batch_size=300, seed=0)
    assert f"{CHUNK.size} tokens in all" in str(error.value)
    assert "raise n_chunks, or lower batch_size or n_batches" in str(error.value)


@pytest.mark.parametrize("n_batches", [0, 41])
def test_too_few_chunks(n_batches):
    with pytest.raises(ValueError, match=f"n_batches: {n_batches} disjoint groups cannot be made of 40 chunks"):
        draw_batches(CHUNK, n_batches=n_batches, batch_size=1, seed=0)


def test_type_matched_rows_hold_each_type_once_and_equal_numbers():
    batches = type_matched_rows(CHUNK, TOKEN, n_batches=5, seed=3)
    assert all(np.unique(TOKEN[rows]).size == rows.size for rows in batches)
    assert len({rows.size for rows in batches}) == 1


def test_type_matched_rows_come_from_the_groups_of_the_batches():
    everything = draw_batches(CHUNK, n_batches=5, batch_size=1, seed=3)
    largest = min(np.isin(CHUNK, list(group)).sum() for group in groups_of(everything))
    assert largest > 0
    batches = draw_batches(CHUNK, n_batches=5, batch_size=150, seed=3)
    matched = type_matched_rows(CHUNK, TOKEN, n_batches=5, seed=3)
    assert disjoint([a | b for a, b in zip(groups_of(batches), groups_of(matched), strict=True)])


def test_type_matched_number_is_the_poorest_groups():
    """Two chunks, two groups: 12 types in one, 30 in the other."""
    chunk = np.repeat([0, 1], 120)
    token = np.r_[np.tile(np.arange(12), 10), np.tile(np.arange(30), 4)]
    batches = type_matched_rows(chunk, token, n_batches=2, seed=0)
    assert [rows.size for rows in batches] == [12, 12]


def test_every_occurrence_of_a_type_is_equally_likely():
    chunk = np.zeros(120, dtype=int)
    token = np.tile(np.arange(12), 10)
    times = np.zeros(120)
    for seed in range(1000):
        times[type_matched_rows(chunk, token, n_batches=1, seed=seed)[0]] += 1
    assert np.abs(times - 100).max() < 5 * np.sqrt(1000 * 0.1 * 0.9)


def test_too_few_types():
    with pytest.raises(ValueError, match=r"one of the 5 groups of chunks has 9 token types and at least 10"):
        type_matched_rows(CHUNK, np.arange(CHUNK.size) % 9, n_batches=5, seed=0)

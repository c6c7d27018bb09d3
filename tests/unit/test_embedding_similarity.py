"""Cosines and neighbours of two tables: planted answers, and scikit-learn's neighbours."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from lm_geometry.embeddings import similarity
from lm_geometry.embeddings.sampling import RowSample, draw_rows
from lm_geometry.embeddings.similarity import (
    cosines,
    nearest_by_cosine,
    neighbor_overlap,
    paired_blocks,
    row_products,
)

RANDOM = np.random.default_rng(20261122)


def blocks_of(table, *sizes):
    """The table in blocks of these sizes, and the rest, with the number of their first row."""
    starts = np.cumsum([0, *sizes])
    return [(int(start), part) for start, part in zip(starts, np.split(table, starts[1:]), strict=True)]


def numbered(table, *sizes):
    return [(np.arange(start, start + len(part)), part) for start, part in blocks_of(table, *sizes)]


def gaussian(rows=400, columns=16):
    return RANDOM.standard_normal((rows, columns)).astype(np.float32)


def test_paired_blocks_of_tables_in_different_parts():
    first = np.arange(24.0).reshape(12, 2)
    second = -first
    pairs = list(paired_blocks(blocks_of(first, 5, 1), blocks_of(second, 2, 7, 1)))
    assert [start for start, *_ in pairs] == [0, 2, 5, 6, 9, 10]
    for place, table in ((1, first), (2, second)):
        assert np.array_equal(np.concatenate([pair[place] for pair in pairs]), table)
    assert all(len(block) == len(other) for _, block, other in pairs)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, 2.5, np.pi])
def test_cosine_of_a_planted_rotation(angle):
    """Turning the plane of each two columns turns every row by the angle."""
    table = gaussian()
    turn = np.kron(np.eye(8), [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = cosines(row_products(table, (table.astype(np.float64) @ turn).astype(np.float32)))
    assert found == pytest.approx(np.full(400, np.cos(angle)), abs=1e-6)


def test_cosine_of_equal_and_scaled_rows():
    table = gaussian()
    assert (cosines(row_products(table, table.copy())) == 1).all()
    assert (cosines(row_products(table, -4 * table)) == -1).all()
    scales = np.float32(10.0) ** RANDOM.uniform(-15, 15, (400, 1)).astype(np.float32)
    assert cosines(row_products(table, scales * table)) == pytest.approx(np.ones(400), abs=1e-7)


def test_cosine_in_float64_where_float32_has_cancelled():
    """Rows that are 1e-4 apart in angle: 1 - cos is 5e-9, under the round-off of float32."""
    table = np.zeros((1, 2), dtype=np.float32)
    table[0] = 1, 0
    other = np.array([[1, 1e-4]], dtype=np.float32)
    assert 1 - cosines(row_products(table, other))[0] == pytest.approx(5e-9, rel=1e-3)


def test_cosine_of_large_and_small_values():
    """Their squares, and the products of these, leave the range of float32 and stay in that of float64."""
    table = gaussian()
    for scale in (1e37, 1e-36):
        scaled = table * np.float32(scale)
        assert (cosines(row_products(scaled, scaled)) == 1).all()
        assert cosines(row_products(table, scaled)) == pytest.approx(np.ones(400), abs=1e-6)


def test_a_zero_row_has_cosine_0():
    table = gaussian(4)
    other = table.copy()
    table[1] = 0
    table[2] = other[2] = 0
    assert cosines(row_products(table, other)).tolist() == [1, 0, 0, 1]


def expected_neighbors(table, ids, k):
    model = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(table.astype(np.float64))
    found = model.kneighbors(table[ids].astype(np.float64), return_distance=False)
    return [set(row.tolist()) - {int(own)} for own, row in zip(ids, found, strict=True)]


@pytest.mark.parametrize("sizes", [(), (1, 3, 200), (7,) * 50])
def test_neighbors_against_scikit_learn(sizes):
    table = gaussian() + np.float32(1.0)
    ids = draw_rows(np.arange(400), 60, seed=0)
    found = nearest_by_cosine(table[ids], ids, numbered(table, *sizes), n_neighbors=10)
    assert [set(row) for row in found.tolist()] == expected_neighbors(table, ids, 10)


def test_neighbors_when_similarities_are_held_in_parts(monkeypatch):
    table, ids = gaussian(), np.arange(0, 400, 9)
    whole = nearest_by_cosine(table[ids], ids, numbered(table), n_neighbors=10)
    monkeypatch.setattr(similarity, "_BLOCK_PAIRS", 5 * len(ids))
    parted = nearest_by_cosine(table[ids], ids, numbered(table), n_neighbors=10)
    assert np.array_equal(np.sort(whole), np.sort(parted))


def test_neighbors_of_rows_that_all_point_away():
    """Negative cosines keep their order."""
    directions = np.array([[np.cos(angle), np.sin(angle)] for angle in (0.0, 2.0, 2.4, 2.8, 3.1)], dtype=np.float32)
    found = nearest_by_cosine(directions[:1], np.array([0]), numbered(directions), n_neighbors=2)
    assert set(found[0].tolist()) == {1, 2}


def test_equal_similarities_go_to_the_smaller_row_in_any_block():
    table = np.zeros((30, 4), dtype=np.float32)
    table[:, 0] = 2
    table[[0, 3], 1] = 1  # rows 1, 2, 4, 5 ... are equally near to row 0, and row 3 is nearest
    # Signed zeros are one similarity.
    table[20:25] = [0, 0, 1, 0]
    table[25:] = [0, 0, -1, 0]
    for sizes in ((), (1,) * 29, (10, 10)):
        found = nearest_by_cosine(table[[0, 20]], np.array([0, 20]), numbered(table, *sizes), n_neighbors=6)
        assert set(found[0].tolist()) == {3, 1, 2, 4, 5, 6}
        assert set(found[1].tolist()) == {21, 22, 23, 24, 0, 1}
        wide = nearest_by_cosine(table[[0]], np.array([0]), numbered(table, *sizes), n_neighbors=22)
        assert set(wide[0].tolist()) == set(range(1, 23))


def test_both_signs_of_zero_are_one_similarity():
    keys = similarity._rank_keys(np.array([[0.0, -0.0, -1e-30]], dtype=np.float32), np.array([7, 6, 5]))[0]
    assert keys[1] > keys[0] > keys[2]


def test_lengths_do_not_matter_and_a_zero_row_has_cosine_0():
    table, ids = gaussian(100), np.arange(100)
    found = nearest_by_cosine(table, ids, numbered(table), n_neighbors=10)
    scaled = table * np.float32(10.0) ** RANDOM.uniform(-25, 25, (100, 1)).astype(np.float32)
    again = nearest_by_cosine(scaled, ids, numbered(scaled), n_neighbors=10)
    assert np.array_equal(np.sort(found), np.sort(again))
    row = np.array([[1, 0], [1, 1], [0, 0], [-1, 1]], dtype=np.float32)
    assert nearest_by_cosine(row[:1], np.array([0]), numbered(row), n_neighbors=1).tolist() == [[1]]
    assert set(nearest_by_cosine(row[:1], np.array([0]), numbered(row), n_neighbors=2)[0].tolist()) == {1, 2}
    assert set(nearest_by_cosine(row[2:3], np.array([2]), numbered(row), n_neighbors=2)[0].tolist()) == {0, 1}


def test_only_candidates_are_neighbors():
    table, ids = gaussian(), np.arange(0, 400, 40)
    even = np.arange(0, 400, 2)
    found = nearest_by_cosine(table[ids], ids, [(even, table[even])], n_neighbors=5)
    assert set((found % 2).ravel().tolist()) == {0}
    assert (found != ids[:, None]).all()
    assert [set(row) for row in (found // 2).tolist()] == expected_neighbors(table[even], ids // 2, 5)


def test_too_few_candidates():
    table = gaussian(10)
    ids = np.arange(10)
    assert nearest_by_cosine(table, ids, numbered(table, 3), n_neighbors=9).shape == (10, 9)
    for candidates in (10, 5):
        with pytest.raises(ValueError, match=f"10 neighbours of each of 10 vectors .* among {candidates} rows"):
            nearest_by_cosine(table, ids, numbered(table[:candidates]), n_neighbors=10)


def test_overlap_counts_shared_neighbors_in_any_order():
    first = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]])
    second = np.array([[4, 3, 2, 1], [9, 2, 8, 1], [1, 2, 3, 4]])
    assert neighbor_overlap(first, second).tolist() == [1, 0.5, 0]


def test_overlap_of_unrelated_tables_is_at_chance():
    """Each of 10 neighbours is one of the other's 10 with probability 10 / (V - 1)."""
    n_tokens = 2000
    ids = np.arange(n_tokens)
    first, second = (
        nearest_by_cosine(table, ids, numbered(table), n_neighbors=10)
        for table in (gaussian(n_tokens), gaussian(n_tokens))
    )
    shares = neighbor_overlap(first, second)
    assert shares.mean() == pytest.approx(10 / 1999, abs=4 * shares.std() / np.sqrt(n_tokens))


def test_draw_rows():
    rows = np.array([3, 5, 8, 13, 21, 34])
    assert sorted(draw_rows(rows, 10, seed=1).tolist()) == rows.tolist()
    drawn = [draw_rows(rows, 3, seed=seed).tolist() for seed in range(3000)]
    assert all(len(set(found)) == 3 for found in drawn)
    # Every row with probability 1/2; 5 standard deviations of a binomial.
    counts = [sum(row in found for found in drawn) for row in rows.tolist()]
    assert counts == pytest.approx([1500] * 6, abs=5 * np.sqrt(750))
    assert draw_rows(rows, 3, seed=7).tolist() == drawn[7]


def test_row_sample_keeps_the_order_that_was_asked_for():
    table = gaussian(50)
    wanted = np.array([49, 0, 17, 16, 30])
    sample = RowSample(wanted, table.shape)
    for start, block in blocks_of(table, 17, 1, 2):
        sample.add(start, block)
    assert np.array_equal(sample.vectors, table[wanted])

"""Mean and leading directions of a table against numpy's SVD, and pooled vectors against a table without them."""

import numpy as np
import pyarrow as pa
import pytest
from peak_memory import peak_bytes
from scipy import sparse

from lm_geometry import provenance
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.principal_components import (
    n_directions,
    principal_components,
    project,
    read_components,
    remove_directions,
    remove_mean,
)
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.retrieval.pooling import mean_pool
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.principal_components import schema
from scripts.find_principal_components import find_principal_components

WIDTH = 300  # of which a hundredth is three


def table_with_directions(n_rows=700, width=WIDTH, seed=0, scale=1.0):
    """Rows about a common mean as large as their spread, which is larger along a few directions."""
    generator = np.random.default_rng(seed)
    strong = generator.normal(size=(n_rows, 4)) * [9, 7, 5, 3] @ generator.normal(size=(4, width)) / np.sqrt(width)
    rows = generator.normal(size=(n_rows, width)) + strong + generator.normal(size=width)
    return (scale * rows).astype(np.float32)


def in_blocks(table, size=64):
    return lambda: (table[start : start + size] for start in range(0, len(table), size))


def svd(table, n_components):
    """Mean, leading right singular vectors of the centered rows, and their shares of the squares."""
    rows = table.astype(np.float64)
    _, values, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    return rows.mean(axis=0), directions[:n_components], (values**2 / np.sum(values**2))[:n_components]


def all_but_the_top(table, mean, directions):
    """Mu & Viswanath (2018), algorithm 1, row by row."""
    centered = table.astype(np.float64) - mean
    for direction in directions:
        centered -= np.outer(centered @ direction, direction)
    return centered


@pytest.mark.parametrize(("width", "expected"), [(1, 1), (49, 1), (149, 1), (151, 2), (4096, 41), (14336, 143)])
def test_a_hundredth_of_the_columns_is_taken_away(width, expected):
    assert n_directions(width) == expected


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("size", [1, 64, 1000])
def test_components_are_those_of_the_singular_value_decomposition(scale, size):
    table = table_with_directions(scale=scale)
    found = principal_components(in_blocks(table, size), WIDTH)
    mean, directions, shares = svd(table, 3)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12, atol=1e-14 * scale)
    np.testing.assert_allclose(found.variance_shares, shares, rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * directions, axis=1)), 1, rtol=1e-10)
    np.testing.assert_allclose(found.directions.T @ found.directions, directions.T @ directions, atol=1e-9)
    assert (found.directions[range(3), np.abs(found.directions).argmax(axis=1)] > 0).all()


def test_a_dominant_direction_leaves_the_others_exact():
    # A column 1,000 times the others, as trained tables have: the squares span six digits more than the values.
    table = table_with_directions()
    table[:, 17] = 1000 * np.random.default_rng(1).normal(size=len(table)) + 5000
    found = principal_components(in_blocks(table), WIDTH)
    _, directions, _ = svd(table, 3)
    np.testing.assert_allclose(found.directions.T @ found.directions, directions.T @ directions, atol=1e-6)


def test_nothing_is_left_along_a_direction_or_of_the_mean():
    table = table_with_directions()
    found = principal_components(in_blocks(table), WIDTH)
    left = remove_directions(remove_mean(table, found.mean), found.directions)
    assert left.dtype == np.float64
    assert np.abs(left.mean(axis=0)).max() < 1e-12
    assert np.abs(left @ found.directions.T).max() < 1e-12
    np.testing.assert_allclose(left, all_but_the_top(table, *svd(table, 3)[:2]), atol=1e-9)


@pytest.mark.parametrize("directions", [False, True])
def test_projecting_what_was_pooled_is_pooling_what_was_projected(directions):
    table = table_with_directions()
    counts = np.random.default_rng(2).poisson(0.02, size=(60, len(table)))
    counts[[7, 59]] = 0
    counts = sparse.csr_array(counts)
    pooled = mean_pool(counts, [table], rows=len(table), columns=WIDTH)
    has_tokens = counts.sum(axis=1) > 0
    found = project(pooled, has_tokens, principal_components(in_blocks(table), WIDTH), directions=directions)
    mean, leading, _ = svd(table, 3)
    changed = all_but_the_top(table, mean, leading if directions else [])
    expected = mean_pool(counts, [changed.astype(np.float32)], rows=len(table), columns=WIDTH)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not found[~has_tokens].any()
    assert (~has_tokens).sum() == 2


def test_vectors_of_another_table_are_an_error():
    found = principal_components(in_blocks(table_with_directions()), WIDTH)
    with pytest.raises(ValueError, match="pooled vectors are 299 wide and the table's mean row 300"):
        project(np.ones((2, 299), dtype=np.float32), np.array([True, True]), found, directions=False)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((23, 8), 0.1, dtype=np.float32), "the 23 rows .* vary by 0.0"),
        (np.zeros((20, 8), dtype=np.float32), "the 20 rows .* vary by 0.0"),
        (np.ones((0, 8), dtype=np.float32), "0 rows with a token, 8 wide, vary in at most 0 directions"),
        (np.eye(2, 8, dtype=np.float32), "2 rows with a token, 8 wide, vary in at most 1 directions: .* leading 1"),
        (np.eye(20, 1, dtype=np.float32), "20 rows with a token, 1 wide, vary in at most 1 directions"),
    ],
)
def test_tables_without_leading_directions_are_errors_with_the_numbers(table, message):
    with pytest.raises(ValueError, match=message):
        principal_components(lambda: [table], table.shape[1])


def test_rows_that_differ_in_one_last_digit_have_a_direction():
    table = np.full((5000, 8), 0.1, dtype=np.float32)
    table[77, 3] = np.nextafter(np.float32(0.1), np.float32(1))
    assert principal_components(in_blocks(table), 8).directions[0] == pytest.approx(np.eye(8)[3], abs=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_written_table_is_rounded_and_its_rows_without_a_token_are_left_out(tmp_path, precision):
    table = table_with_directions()
    without = np.arange(len(table)) % 5 == 4
    table[without] += 1000
    tokens = [None if lacks else f"t{row}" for row, lacks in enumerate(without)]
    paths = {name: tmp_path / f"{name}.parquet" for name in ("table", "components")}
    write_embedding_table(paths["table"], [table], table.shape, tokens)
    find_principal_components(**paths, table_precision=precision)
    rounded = round_to_bfloat16(table) if precision == "bfloat16" else table
    mean, directions, shares = svd(rounded[~without], 3)
    found = read_components(paths["components"])
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.directions.T @ found.directions, directions.T @ directions, atol=1e-9)
    np.testing.assert_allclose(found.variance_shares, shares, rtol=1e-10)
    assert np.abs(mean - svd(table if precision == "bfloat16" else rounded, 1)[0]).max() > 1
    assert provenance.read(paths["components"])["settings"] == {"table_precision": precision, "n_rows": 560}
    written = read_table(paths["components"])
    assert written["rank"].to_pylist() == [0, 1, 2, 3]
    assert written["variance_share"].to_pylist()[0] is None


def test_components_in_another_order_are_an_error(tmp_path):
    layout = schema(2)
    rows = [{"rank": rank, "variance_share": 0.5, "vector": [1.0, 0.0]} for rank in (1, 0)]
    write_table(tmp_path / "components.parquet", pa.Table.from_pylist(rows, schema=layout), layout)
    with pytest.raises(ValueError, match=r"components.parquet: holds the ranks \[1, 0\]"):
        read_components(tmp_path / "components.parquet")


def test_memory_is_that_of_one_square_matrix():
    code = """
import numpy as np
from lm_geometry.embeddings.principal_components import principal_components

rows = np.random.default_rng(0).normal(size=(256, {width})).astype(np.float32)
principal_components(lambda: [rows, rows, rows], {width})
"""
    narrow, wide = (peak_bytes(code.format(width=width)) for width in (200, 1600))
    assert wide - narrow < 1.8 * 8 * 1600**2

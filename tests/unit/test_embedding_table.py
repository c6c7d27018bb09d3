"""The table's Parquet form: values, row groups, sizes, memory, and what it refuses."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from peak_memory import peak_bytes

from lm_geometry import provenance
from lm_geometry.embeddings import blocks as table_blocks
from lm_geometry.embeddings.blocks import block_rows, checked_blocks
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.table import (
    embedding_blocks,
    embedding_shape,
    read_embedding_table,
    write_embedding_table,
)
from lm_geometry.tables import pooled
from lm_geometry.tables.files import read_table, write_table


def in_blocks(table, rows):
    return (table[start : start + rows] for start in range(0, len(table), rows))


def normal(rows, width):
    return np.random.default_rng(0).normal(scale=0.02, size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_what_is_written_comes_back(tmp_path, rows):
    table = normal(50, 12)
    tokens = [f"t{row}" for row in range(45)] + [None] * 5
    path = tmp_path / "table.parquet"
    write_embedding_table(path, in_blocks(table, rows), table.shape, tokens, settings={"tensor": "wte.weight"})
    assert embedding_shape(path) == (50, 12)
    np.testing.assert_array_equal(np.concatenate(list(embedding_blocks(path))), table)
    found = read_embedding_table(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, table)
    columns = read_table(path)
    assert columns["token_id"].to_pylist() == list(range(50))
    assert columns["token"].to_pylist() == tokens
    assert columns["in_tokenizer"].to_pylist() == [True] * 45 + [False] * 5
    assert provenance.read(path)["settings"] == {"tensor": "wte.weight"}


def test_a_row_group_holds_a_bounded_number_of_bytes(tmp_path):
    table = normal(2500, 4096)
    path = tmp_path / "table.parquet"
    write_embedding_table(path, [table], table.shape, [None] * 2500)
    facts = pq.read_metadata(path)
    sizes = [facts.row_group(group).num_rows * 4 * 4096 for group in range(facts.num_row_groups)]
    assert sum(sizes) == table.nbytes
    assert max(sizes) <= 16_000_000 < max(sizes) + 4 * 4096
    np.testing.assert_array_equal(read_embedding_table(path), table)


def test_a_row_wider_than_a_block_is_a_block():
    assert block_rows(5_000_000) == 1
    assert block_rows(14_336) == 279


@pytest.mark.parametrize(
    ("values", "share"),
    [
        # Of four bytes, two are zero, one is sign and exponent; the fourth is all that cannot be packed.
        (round_to_bfloat16(normal(2048, 1024)), 0.36),
        # 13 of the 23 bits of the significand are zero.
        (normal(2048, 1024).astype(np.float16).astype(np.float32), 0.46),
    ],
    ids=["bfloat16", "float16"],
)
def test_values_of_half_precision_take_less_than_half_the_bytes(tmp_path, values, share):
    write_embedding_table(tmp_path / "table.parquet", [values], values.shape, [None] * len(values))
    assert (tmp_path / "table.parquet").stat().st_size < share * values.nbytes


def test_a_large_table_passes_in_little_memory(tmp_path):
    # 600 MB to write and read, with what arrow holds beside one row group of 16 MB.
    start = "import sys; from pathlib import Path; import numpy as np\nfrom lm_geometry.embeddings import table\n"
    code = (
        "path = Path(sys.argv[1])\n"
        "blocks = (np.full((1000, 10_000), row, np.float32) for row in range(15))\n"
        "table.write_embedding_table(path, blocks, (15_000, 10_000), [None] * 15_000)\n"
        "assert [block[0, 0] for block in table.embedding_blocks(path) if len(block) == 200] == list(range(15))\n"
    )
    grown = peak_bytes(start + code, str(tmp_path / "table.parquet")) - peak_bytes(start)
    assert 16e6 < grown < 350e6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named_with_row_and_column_and_nothing_is_left(tmp_path, value):
    table = np.zeros((90, 3), dtype=np.float32)
    table[85, 2] = value
    with pytest.raises(ValueError, match=f"holds {value} in row 85, column 2 \\(1 entries .* in rows 80 to 89\\)"):
        write_embedding_table(tmp_path / "table.parquet", in_blocks(table, 10), table.shape, [None] * 90)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((91, 3), "ends after 90 of 91 rows"),
        ((89, 3), "rows 80 to 89 .* announced as 89 rows x 3 columns"),
        ((90, 4), "are 3 wide"),
    ],
)
def test_blocks_that_do_not_add_up_to_the_shape_are_refused(tmp_path, shape, message):
    table = np.zeros((90, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        write_embedding_table(tmp_path / "table.parquet", in_blocks(table, 10), shape, [None] * shape[0])
    assert not list(tmp_path.iterdir())


def test_every_row_needs_its_token(tmp_path):
    with pytest.raises(ValueError, match="3 tokens were given for an embedding table of 4 rows"):
        write_embedding_table(tmp_path / "table.parquet", [np.zeros((4, 2))], (4, 2), [None] * 3)


def test_blocks_are_checked_as_they_come():
    served = []

    def blocks():
        for number in range(3):
            served.append(number)
            yield np.zeros((2, 2), dtype=np.float32)

    starts = []
    for start, _ in checked_blocks(blocks(), 6, 2):
        starts.append((start, len(served)))
    assert starts == [(0, 1), (2, 2), (4, 3)]


def test_other_files_are_no_embedding_tables(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    schema = pooled.schema(2).remove(2)
    write_table(tmp_path / "other.parquet", schema.empty_table(), schema)
    for read in (read_embedding_table, embedding_shape, lambda path: list(embedding_blocks(path))):
        with pytest.raises(ValueError, match=r"x\.parquet: not a readable Parquet file"):
            read(tmp_path / "x.parquet")
        with pytest.raises(ValueError, match="has no column 'vector'"):
            read(tmp_path / "other.parquet")


def test_the_order_of_blocks_does_not_hang_on_the_block_size(tmp_path, monkeypatch):
    table = normal(100, 8)
    monkeypatch.setattr(table_blocks, "BLOCK_BYTES", 8 * 4 * 7)
    write_embedding_table(tmp_path / "table.parquet", in_blocks(table, 30), table.shape, [None] * 100)
    assert pq.read_metadata(tmp_path / "table.parquet").num_row_groups == 3 * 5 + 2
    np.testing.assert_array_equal(read_embedding_table(tmp_path / "table.parquet"), table)

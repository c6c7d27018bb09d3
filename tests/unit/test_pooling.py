"""Token counts and pooling, against a loop over the tokens."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peak_memory import peak_bytes
from scipy import sparse
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from lm_geometry import provenance
from lm_geometry.embeddings import blocks as table_blocks
from lm_geometry.embeddings import random_table
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.random_table import GENERATORS, random_blocks
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.retrieval import pooling
from lm_geometry.retrieval.pooling import mean_pool, pooled_blocks
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.tokenization import count_tokens, counts_from_table, counts_to_table, load_tokenizer
from lm_geometry.tables.collection import TEXTS
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.schema import conform, vector_matrix
from lm_geometry.tables.token_counts import SCHEMA
from scripts.pool_collection import pool_collection

ROWS, WIDTH = 50, 12


@pytest.fixture
def tokenizer_file(tmp_path):
    """Words w0 to w39 are the ids 0 to 39; 41 begins each text and 42 ends it."""
    vocabulary = {f"w{i}": i for i in range(40)} | {"[UNK]": 40, "[B]": 41, "[E]": 42}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[B] $A [E]", special_tokens=[("[B]", 41), ("[E]", 42)])
    # Left from some training run; neither may touch what is counted.
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(max_length=3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def texts(n, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in generator.integers(0, 40, generator.integers(0, 60))) for _ in range(n)] + [""]


def plain_mean(ids, table):
    """The mean over the tokens of a text, one after the other."""
    total = np.zeros(table.shape[1])
    for token in ids:
        total += table[token]
    return total / len(ids) if ids else total


def ids_of(text):
    return [41, *(int(word[1:]) for word in text.split()), 42]


@pytest.fixture
def table():
    return np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)


def test_counts_hold_every_token_with_special_ones(tokenizer_file):
    some = texts(30)
    counts = count_tokens(some, load_tokenizer(tokenizer_file)).toarray()
    assert counts.shape == (31, 43)
    for text, row in zip(some, counts, strict=True):
        assert np.array_equal(row, np.bincount(ids_of(text), minlength=43))


@pytest.mark.parametrize("max_length", [3, 10])
def test_special_tokens_count_inside_the_limit(tokenizer_file, max_length):
    counts = count_tokens(["w1 " * 100, "w2"], load_tokenizer(tokenizer_file, max_length=max_length)).toarray()
    assert counts.sum(axis=1).tolist() == [max_length, 3]
    assert counts[0, [1, 41, 42]].tolist() == [max_length - 2, 1, 1]


def test_the_study_cuts_at_2048(tokenizer_file):
    assert count_tokens(["w1 " * 3000], load_tokenizer(tokenizer_file)).sum() == 2048


def test_unusable_tokenizers_are_named(tokenizer_file):
    with pytest.raises(ValueError, match="max_length: 2 leaves no room beside 2 special tokens"):
        load_tokenizer(tokenizer_file, max_length=2)
    tokenizer_file.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json: not a tokenizer.json"):
        load_tokenizer(tokenizer_file)


def test_counts_survive_their_table():
    counts = sparse.csr_array(np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 0]], dtype=np.int32))
    table = conform(
        pa.concat_tables([counts_to_table(counts, "corpus"), counts_to_table(counts[:2], "queries")]), SCHEMA
    )
    assert np.array_equal(counts_from_table(table, "corpus", 3).toarray(), counts.toarray())
    assert np.array_equal(counts_from_table(table, "queries", 2).toarray(), counts.toarray()[:2])
    with pytest.raises(ValueError, match="name text 2 of the corpus, which has 2 texts"):
        counts_from_table(table, "corpus", 2)


@pytest.mark.parametrize("block", [1, 7, 50])
@pytest.mark.parametrize("accumulate", [np.float64, np.float32])
def test_pooling_is_the_plain_mean_over_tokens(tokenizer_file, table, block, accumulate):
    some = texts(40)
    counts = count_tokens(some, load_tokenizer(tokenizer_file))
    blocks = (table[start : start + block] for start in range(0, ROWS, block))
    pooled = mean_pool(counts, blocks, rows=ROWS, columns=WIDTH, accumulate=accumulate)
    expected = np.stack([plain_mean(ids_of(text), table.astype(np.float64)) for text in some])
    assert pooled.dtype == np.float32
    if accumulate == np.float64:
        assert np.array_equal(pooled, expected.astype(np.float32))
    assert np.allclose(pooled, expected, rtol=0, atol=1e-6)


def test_more_columns_than_are_multiplied_at_a_time(tokenizer_file):
    table = np.random.default_rng(2).normal(size=(ROWS, 1100)).astype(np.float32)
    counts = count_tokens(["w1 w2 w2"], load_tokenizer(tokenizer_file))
    pooled = mean_pool(counts, [table], rows=ROWS, columns=1100)
    assert np.array_equal(pooled[0], plain_mean([41, 1, 2, 2, 42], table.astype(np.float64)).astype(np.float32))


def test_rows_gathered_from_many_blocks_are_pooled_once(table, monkeypatch):
    # 9 rows at a time, from blocks of 4 in which some rows occur in no text, and some blocks have none that does.
    monkeypatch.setattr(pooling, "_GATHERED_BYTES", 9 * 4 * WIDTH)
    counts = np.random.default_rng(3).poisson(0.4, size=(25, 45))
    counts[:, [0, 5, 8, 9, 10, 11, 44]] = 0
    blocks = [table[start : start + 4] for start in range(0, ROWS, 4)]
    pooled = mean_pool(sparse.csr_array(counts), blocks, rows=ROWS, columns=WIDTH)
    ids = [np.repeat(np.arange(45), row) for row in counts]
    expected = np.stack([plain_mean(list(row), table.astype(np.float64)) for row in ids])
    np.testing.assert_allclose(pooled, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("accumulate", [np.float64, np.float32])
def test_the_number_of_threads_changes_no_bit(monkeypatch, accumulate):
    monkeypatch.setattr(pooling, "_GATHERED_BYTES", 70 * 4 * 333)
    generator = np.random.default_rng(4)
    table = generator.normal(size=(400, 333)).astype(np.float32) + 5
    counts = sparse.csr_array(generator.poisson(0.3, size=(90, 390)))
    one, two, many = (
        mean_pool(
            counts,
            (table[start : start + 33] for start in range(0, 400, 33)),
            rows=400,
            columns=333,
            accumulate=accumulate,
            threads=threads,
        )
        for threads in (1, 2, 5)
    )
    assert one.tobytes() == two.tobytes() == many.tobytes()
    expected = counts.toarray() @ table[:390].astype(np.float64) / counts.sum(axis=1)[:, None]
    np.testing.assert_allclose(one, expected, rtol=1e-7 if accumulate is np.float64 else 1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_is_raised(table, threads):
    def blocks():
        yield table[:20]
        raise OSError("the disk is gone")

    counts = sparse.csr_array(np.ones((2, 50), dtype=np.int32))
    with pytest.raises(OSError, match="the disk is gone"):
        mean_pool(counts, blocks(), rows=ROWS, columns=WIDTH, threads=threads)


def test_an_error_while_multiplying_is_raised(table, monkeypatch):
    def read_only(block, plain=pooling._chunks):
        chunks = plain(block)
        for chunk in chunks:
            chunk.flags.writeable = False
        return chunks

    monkeypatch.setattr(pooling, "_chunks", read_only)
    with pytest.raises(ValueError, match="read-only"):
        mean_pool(sparse.csr_array(np.eye(3, dtype=np.int32)), [table], rows=ROWS, columns=WIDTH)


@pytest.mark.parametrize(
    ("part_texts", "sizes", "n_passes"),
    [(100, [10, 10, 5], 1), (24, [10, 3, 10, 2], 2), (10, [9, 9, 7], 3), (1, [1] * 25, 25)],
)
def test_sums_are_held_for_a_part_of_the_texts_at_a_time(table, monkeypatch, part_texts, sizes, n_passes):
    monkeypatch.setattr(pooling, "_PART_BYTES", part_texts * 8 * WIDTH)
    monkeypatch.setattr(table_blocks, "BLOCK_BYTES", 10 * 4 * WIDTH)
    counts = sparse.csr_array(np.random.default_rng(3).poisson(0.4, size=(25, 45)))
    passes = []

    def blocks():
        passes.append(1)
        return [table]

    found = list(pooled_blocks(counts, blocks, rows=ROWS, columns=WIDTH))
    assert [len(block) for block in found] == sizes
    assert len(passes) == n_passes
    np.testing.assert_array_equal(np.concatenate(found), mean_pool(counts, [table], rows=ROWS, columns=WIDTH))


def test_memory_is_that_of_the_means_and_a_few_blocks():
    code = """
import numpy as np
from scipy import sparse
from lm_geometry.retrieval.random_pooling import pool_random_table

counts = sparse.csr_array(np.eye(16, dtype=np.int32)[np.arange({texts}) % 16])
pool_random_table(counts, 16, 8192, 42, generator="legacy_bf16")
"""
    few, many = (peak_bytes(code.format(texts=texts)) for texts in (16, 6000))
    means = 4 * 6000 * 8192
    # The sums become the means block by block; both held at once would be twice as much.
    assert means < many - few < 1.5 * means


def test_a_text_without_tokens_is_zero(table):
    counts = sparse.csr_array(np.array([[0, 0, 0], [0, 2, 0]], dtype=np.int32))
    pooled = mean_pool(counts, [table], rows=ROWS, columns=WIDTH)
    assert not pooled[0].any()
    assert np.array_equal(pooled[1], table[1])
    assert not mean_pool(sparse.csr_array((2, 0), dtype=np.int32), [table], rows=ROWS, columns=WIDTH).any()


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("columns", "threads"), [(64, 1), (64, 2), (45, 2)])
def test_random_tables_are_pooled_as_if_they_were_held(tokenizer_file, generator, columns, threads):
    counts = count_tokens(texts(20), load_tokenizer(tokenizer_file))
    table = np.concatenate(list(random_blocks(ROWS, columns, 42, generator=generator)))
    expected = mean_pool(counts, [table[:, :40]], rows=ROWS, columns=40)
    pooled = pool_random_table(counts, ROWS, columns, 42, generator=generator, n_columns=40, threads=threads)
    assert np.allclose(pooled, expected, rtol=0, atol=1e-7)
    assert np.array_equal(round_to_bfloat16(table), table)


def test_only_rows_of_occurring_tokens_are_looked_up(monkeypatch):
    looked_up = []

    def transform(drawn, look_up, plain=random_table._transform):
        looked_up.append(drawn.size)
        return plain(drawn, look_up)

    monkeypatch.setattr(random_table, "_transform", transform)
    counts = np.zeros((4, 40), dtype=np.int32)
    counts[[0, 1, 3], [2, 2, 31]] = 1
    pooled = pool_random_table(sparse.csr_array(counts), ROWS, 64, 42, generator="legacy_bf16", n_columns=20)
    assert looked_up == [2 * 32]
    table = np.concatenate(list(random_blocks(ROWS, 64, 42)))[:, :20]
    np.testing.assert_array_equal(pooled, np.stack([table[2], table[2], np.zeros(20), table[31]]))


def test_texts_without_any_token_are_zero_under_a_random_table():
    pooled = pool_random_table(sparse.csr_array((3, 40), dtype=np.int32), ROWS, 64, 42, generator="legacy_bf16")
    assert pooled.shape == (3, 64)
    assert not pooled.any()


def test_a_token_beyond_a_random_table_is_an_error_with_both_numbers():
    counts = sparse.csr_array(([1], [50], [0, 1]), shape=(1, 51))
    with pytest.raises(ValueError, match="token id 50 occurs in the texts and the embedding table has 50 rows"):
        pool_random_table(counts, ROWS, 64, 42, generator="legacy_bf16")


def test_a_token_beyond_the_table_is_an_error_with_both_numbers(table):
    counts = sparse.csr_array(([1], [50], [0, 1]), shape=(1, 51))
    with pytest.raises(ValueError, match="token id 50 occurs in the texts and the embedding table has 50 rows"):
        mean_pool(counts, [table], rows=ROWS, columns=WIDTH)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_entry_that_is_not_finite_is_an_error_with_its_place(table, value):
    table[33, 5] = value
    counts = sparse.csr_array(np.eye(3, dtype=np.int32))
    with pytest.raises(ValueError, match=f"holds {value} in row 33, column 5"):
        mean_pool(counts, [table[:20], table[20:]], rows=ROWS, columns=WIDTH)


def test_a_table_of_another_shape_than_announced_is_an_error(table):
    counts = sparse.csr_array(np.eye(3, dtype=np.int32))
    with pytest.raises(ValueError, match="ends after 20 of 50 rows"):
        mean_pool(counts, [table[:20]], rows=ROWS, columns=WIDTH)
    with pytest.raises(ValueError, match="rows 0 to 49 of the embedding table are 11 wide"):
        mean_pool(counts, [table[:, :11]], rows=ROWS, columns=WIDTH)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_collection_is_pooled_in_parts_and_written_in_order(tmp_path, tokenizer_file, table, monkeypatch, precision):
    monkeypatch.setattr(pooling, "_PART_BYTES", 11 * 8 * WIDTH)
    monkeypatch.setattr(table_blocks, "BLOCK_BYTES", 4 * 4 * WIDTH)
    sides = {"corpus": texts(29), "queries": texts(4, seed=1)}
    tokenizer = load_tokenizer(tokenizer_file)
    counts = {side: count_tokens(some, tokenizer) for side, some in sides.items()}
    for side, some in sides.items():
        ids = [f"{side}-{number}" for number in range(len(some))]
        write_table(tmp_path / f"{side}.parquet", pa.table({"id": ids, "text": some}), TEXTS)
    rows = pa.concat_tables([counts_to_table(found, side) for side, found in counts.items()])
    write_table(tmp_path / "counts.parquet", rows, SCHEMA)
    write_embedding_table(tmp_path / "table.parquet", [table], table.shape, [None] * ROWS)
    names = ("counts", "corpus", "queries", "table", "pooled")
    pool_collection(**{name: tmp_path / f"{name}.parquet" for name in names}, table_precision=precision, threads=2)
    pooled = read_table(tmp_path / "pooled.parquet")
    assert pooled["id"].to_pylist() == [f"corpus-{row}" for row in range(30)] + [f"queries-{row}" for row in range(5)]
    assert pooled["side"].to_pylist() == ["corpus"] * 30 + ["queries"] * 5
    rounded = (round_to_bfloat16(table) if precision == "bfloat16" else table).astype(np.float64)
    expected = np.stack([plain_mean(ids_of(text), rounded) for some in sides.values() for text in some])
    np.testing.assert_array_equal(vector_matrix(pooled["vector"]), expected.astype(np.float32))
    settings = provenance.read(tmp_path / "pooled.parquet")["settings"]
    assert settings.pop("root_mean_square") == pytest.approx(np.sqrt(np.mean(rounded**2)), rel=1e-12)
    assert settings == {"vocab_rows": ROWS, "embedding_dim": WIDTH, "table_precision": precision}
    metadata = pq.read_metadata(tmp_path / "pooled.parquet")
    # Means fill float32: compressing their bytes spares little. Each block of texts can be read alone.
    assert metadata.row_group(0).column(2).compression == "UNCOMPRESSED"
    assert metadata.row_group(0).column(1).compression == "ZSTD"
    assert [metadata.row_group(group).num_rows for group in range(3)] == [4, 4, 1]

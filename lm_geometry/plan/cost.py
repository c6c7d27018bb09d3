"""What each kind of job takes: bytes over the network, bytes on disk, memory, seconds. Arithmetic only.

Memory is the peak of the resident set, in bytes; bytes and seconds are best estimates without a margin (``resources``
adds it). Constants were measured on two cores of an AMD EPYC (Zen 4) at 2.6 GHz with the versions of the lock file, one
thread a job, as CPU seconds and greatest resident set of single jobs; what was run stands beside each.
"""

from collections.abc import Sequence

from lm_geometry.embeddings.blocks import BLOCK_BYTES
from lm_geometry.plan.model_facts import ModelFacts

# Held by a process that has imported numpy, scipy, pyarrow and the hub's client (70 to 100 MB) ...
LIGHT_BYTES = 100e6
# ... and torch, transformers and one model class (485 to 488 MB after a float32 model was mapped, not yet read).
TORCH_BYTES = 485e6

NETWORK_RATE = 12.5e6
"""Bytes a second over the network: 100 Mbit/s, a household's line."""

DAY = 86_400.0

# -- the embedding study ---------------------------------------------------------------------------------------------

# Headers, indexes and directories that are read on the way to one tensor.
_OVERHEAD_BYTES = 100_000
# Raw bytes, float32, mask of finite values, encoded and compressed pages of one block: 204 MB above the libraries for
# a table of 50,304 x 768, 289 MB for 2,048 columns, whose float32 blocks came from a random generator.
_BLOCK_COPIES = 4
# Held by a job that extracts a table, with the tokenizers' library: 142 MB beside the smallest tables.
_EXTRACTION_BYTES = 140e6
# A row's token: as text, in the tokenizer's two maps, and in the Parquet file's columns.
_TOKEN_BYTES = 500
# Share of float32 that half-precision values take after byte-stream-split and zstd: 0.34 for random ones, 0.43 to 0.5
# for trained ones, whose exponents vary more. Values that fill float32 keep most of it.
_HALF_SHARE, _FULL_SHARE = 0.45, 0.87
# Bytes a second of writing a table: byte-stream-split, zstd, and the tokens.
_WRITE_RATE = 150e6
# The columns of a count, their conversion to a sparse matrix, and its products' copies: 515 MB for 2.58 million counts.
_COUNT_BYTES = 200
# Rows that occur in the texts are gathered before they are multiplied, in float64.
_GATHERED_BYTES = 512e6
# Sums of pooled vectors are made in float64, in parts of at most this much, and handed on as float32.
_PART_BYTES = 1.6e9
# Counts times columns, a second.
_POOL_RATE = 1.4e9
_POOLED_WRITE_RATE = 200e6
# Vectors are read into one matrix, a row group at a time.
_READ_COPIES = 1.0
# Similarities of queries and documents are held for this many pairs at a time, with what they are ranked by.
_PAIRS, _PAIR_BYTES = 2**24, 16
# Rows that are widened to float64 at a time.
_WIDENED_BYTES = 8e6
# A random table is drawn in blocks of 2^24 values: words, bytes, values.
_DRAW_BYTES = 150e6
# Queries of a block, and pairs of them with documents, at most. A table's products are made in passes of so many bytes.
_BLOCK_QUERIES, _PASS_BYTES = 512, 268e6
# What torch's import alone takes, where it draws the tables.
_TORCH_IMPORT = 135e6
# Values a second that are drawn, and that are then looked up.
_DRAW_RATE, _LOOK_UP_RATE = 280e6, 280e6
# Ranking goes by pairs of a query and a document, metrics by queries, products by operations in float64.
_RANK_RATE, _METRICS_RATE, _PRODUCT_RATE = 200e6, 10_000.0, 40e9
LIGHT_SECONDS = 1.0
"""Start of a job that imports no torch."""

TEXTS_ASSUMED = (25_657, 1_000)
"""Documents and queries of a collection that is not here yet: those of SCIDOCS."""

COUNTS_PER_TEXT = 120
"""Different tokens in a text, for the same reason."""

ROWS_ASSUMED = 50_000
"""Rows of a tokenizer's random table."""


def table_fetch_bytes(facts: ModelFacts, verify: str) -> int:
    """Return the bytes fetched for an embedding table; with ``verify`` 'full' those of the whole file it lies in.

    A tensor is never larger than the files that may hold it, whatever config.json says of its shape.
    """
    if verify == "full":
        return facts.table_file_bytes
    return min(facts.table_bytes + _OVERHEAD_BYTES, facts.table_file_bytes)


def table_disk_bytes(rows: int, width: int, value_bytes: int) -> int:
    """Return the size of an extracted table's Parquet file."""
    return round(4 * rows * width * (_HALF_SHARE if value_bytes <= 2 else _FULL_SHARE))


def extraction_memory(rows: int, width: int) -> int:
    """Return the memory of extracting a table of ``rows`` x ``width``, which goes block by block."""
    block = min(BLOCK_BYTES, 4 * rows * width)
    return round(_EXTRACTION_BYTES + _BLOCK_COPIES * block + _TOKEN_BYTES * rows)


def extraction_seconds(rows: int, width: int) -> float:
    """Return the time of extracting a table, its fetch left aside."""
    return LIGHT_SECONDS + 4 * rows * width / _WRITE_RATE


def pooled_disk_bytes(n_texts: int, width: int) -> int:
    """Return the size of the pooled vectors of a collection's texts."""
    return 4 * n_texts * width


def pooling_memory(n_texts: int, n_counts: int, rows: int, width: int) -> int:
    """Return the memory of pooling a collection with a table.

    Parameters
    ----------
    n_texts, n_counts : int
        Documents and queries together, and their token counts that are not zero.
    rows, width : int
        Shape of the table.
    """
    sums = min(8 * n_texts * width, _PART_BYTES)
    blocks = _BLOCK_COPIES * min(BLOCK_BYTES, 4 * rows * width)
    gathered = min(_GATHERED_BYTES, 8 * rows * width)
    return round(LIGHT_BYTES + 1.5 * sums + gathered + blocks + _COUNT_BYTES * n_counts)


def pooling_seconds(n_texts: int, n_counts: int, rows: int, width: int) -> float:
    """Return the time of pooling; arguments as in ``pooling_memory``."""
    products = n_counts * width / _POOL_RATE
    return LIGHT_SECONDS + products + 4 * n_texts * width / _POOLED_WRITE_RATE + 4 * rows * width / (4 * _WRITE_RATE)


def scoring_memory(
    n_documents: int, n_queries: int, n_counts: int, *, pooled: int, drawn: int, generator: str = "legacy_bf16"
) -> int:
    """Return the memory of scoring.

    Parameters
    ----------
    n_documents, n_queries, n_counts : int
        Texts of the collection, and their token counts that are not zero.
    pooled : int
        Columns of the pooled table that is read, 0 for none.
    drawn : int
        Most columns of a random table that is pooled in the job, 0 for none.
    generator : str
        What draws it; 'torch' brings torch with it.
    """
    texts = n_documents + n_queries
    pairs = _PAIR_BYTES * min(_PAIRS, n_documents * n_queries)
    held = pairs + _WIDENED_BYTES + _COUNT_BYTES / 5 * n_counts
    held += 4 * texts * (_READ_COPIES * pooled + drawn) + (_DRAW_BYTES if drawn else 0)
    libraries = LIGHT_BYTES + (_TORCH_IMPORT if drawn and generator == "torch" else 0)
    return round(libraries + max(held, _COUNT_BYTES * n_counts))


def scoring_seconds(
    n_documents: int, n_queries: int, n_counts: int, *, widths: Sequence[int], draws: Sequence[tuple[int, int, int]]
) -> float:
    """Return the time of scoring.

    Parameters
    ----------
    n_documents, n_queries, n_counts : int
        As in ``scoring_memory``.
    widths : sequence of int
        Columns of each variant and seed that is scored.
    draws : sequence of (rows, columns, n_columns)
        Random tables that are drawn, and how many of their first columns are pooled.
    """
    pairs = n_documents * n_queries
    ranked = len(widths) * _ranking_seconds(n_documents, n_queries)
    products = 2 * pairs * sum(widths) / _PRODUCT_RATE
    drawn = sum(rows * (columns / _DRAW_RATE + used / _LOOK_UP_RATE) for rows, columns, used in draws)
    pooled = n_counts * sum(used for _, _, used in draws) / _POOL_RATE
    return LIGHT_SECONDS + ranked + products + drawn + pooled


def _ranking_seconds(n_documents: int, n_queries: int) -> float:
    """Return the time of one ranking and its metrics."""
    return n_documents * n_queries / _RANK_RATE + n_queries / _METRICS_RATE


def random_columns_memory(
    n_documents: int, n_queries: int, n_counts: int, *, n_tables: int, drawn: int, generator: str = "legacy_bf16"
) -> int:
    """Return the memory of scoring random columns beside several tables.

    Parameters
    ----------
    n_documents, n_queries, n_counts : int
        As in ``scoring_memory``.
    n_tables, drawn : int
        Tables that share the random columns, and most columns of a random table. 3.3 GB were measured for ten tables
        and 14,336 columns, 26,657 texts with 143 different tokens each.
    generator : str
        What draws it.
    """
    block = min(_BLOCK_QUERIES * n_documents, _PAIRS, n_queries * n_documents)
    held = 8 * block * (n_tables + 3) + min(_PASS_BYTES, 8 * n_queries * n_documents)
    return round(held) + scoring_memory(n_documents, n_queries, n_counts, pooled=0, drawn=drawn, generator=generator)


def random_columns_seconds(
    n_documents: int,
    n_queries: int,
    n_counts: int,
    *,
    tables: Sequence[int],
    n_scores: int,
    draws: Sequence[tuple[int, int, int]],
) -> float:
    """Return the time of scoring random columns beside several tables.

    Parameters
    ----------
    n_documents, n_queries, n_counts : int
        As in ``scoring_memory``.
    tables : sequence of int
        Columns of each table.
    n_scores : int
        Scores in all: of every table, variant and seed.
    draws : sequence of (rows, columns, n_columns)
        As in ``scoring_seconds``; each is pooled and multiplied once for all tables.
    """
    columns = [*tables, *(used for _, _, used in draws)]
    extra = (n_scores - len(columns)) * _ranking_seconds(n_documents, n_queries)
    return max(0.0, extra) + scoring_seconds(n_documents, n_queries, n_counts, widths=columns, draws=draws)


def table_products_bytes(n_documents: int, n_queries: int, n_tables: int) -> int:
    """Return the disk that the tables' own products take while random columns are scored beside them."""
    return 8 * n_documents * n_queries * n_tables


# -- tables without a collection -------------------------------------------------------------------------------------

# Tokens whose neighbours are compared between two tables.
_NEIGHBOUR_SAMPLE = 2000


def components_memory(rows: int, width: int) -> int:
    """Return the memory of finding a table's mean and leading directions: the covariance, and a few blocks."""
    return round(LIGHT_BYTES + 8 * width * width + 6 * min(BLOCK_BYTES, 4 * rows * width))


def components_seconds(rows: int, width: int) -> float:
    """Return the time of finding a table's mean and leading directions; 11.9 s for 10,000 x 4,096."""
    operations = rows * width * width / 45e9 + width**3 / 8e9
    return LIGHT_SECONDS + operations + 8 * rows * width / (4 * _WRITE_RATE)


def table_geometry_memory(rows: int, width: int, n_batches: int, batch_size: int) -> int:
    """Return the memory of measuring a table in ``n_batches`` batches of ``batch_size`` rows, all of them held.

    1.72 GB were measured for 8 batches of 4,096 x 5,120, 0.54 GB for 768 columns.
    """
    held = 4 * batch_size * width * _batches_made(rows, n_batches, batch_size)
    return round(300e6 + held + 24 * batch_size * width + 24 * min(batch_size, width) ** 2)


def table_geometry_seconds(rows: int, width: int, n_batches: int, batch_size: int) -> float:
    """Return the time of measuring a table in ``n_batches`` batches of ``batch_size`` rows.

    23 s were measured for a batch of 4,096 x 5,120, for which this gives 26.
    """
    batches = _batches_made(rows, n_batches, batch_size)
    return LIGHT_SECONDS + batches * batch_seconds(batch_size, width) + 4 * rows * width / _WRITE_RATE


def _batches_made(rows: int, n_batches: int, batch_size: int) -> int:
    return min(n_batches, max(1, rows // batch_size))


def table_comparison_memory(rows: int, width: int) -> int:
    """Return the memory of comparing two tables: the sampled rows of both. 0.55 GB for 5,120 columns."""
    return round(LIGHT_BYTES + 28 * min(rows, _NEIGHBOUR_SAMPLE) * width + 214e6)


def table_comparison_seconds(rows: int, width: int) -> float:
    """Return the time of comparing two tables, each passed over twice. 40 s for 50,304 x 5,120."""
    sample = min(rows, _NEIGHBOUR_SAMPLE)
    return LIGHT_SECONDS + 4 * sample * rows * width / _GEOMETRY_FLOPS + 16 * rows * width / (2.5 * _WRITE_RATE)


# -- measures of vectors ---------------------------------------------------------------------------------------------

# A layer is read, joined and checked while the one before it is held: 4.4 times a layer, over all embedded models.
_LAYER_COPIES = 4.4
# Of the libraries and a batch's blocks, the 200 MB that measuring held beside its layers.
_MEASURE_BYTES = 200e6
# float64 copies of a batch, and of the smaller Gram matrix.
_BATCH_COPIES, _GRAM_COPIES = 5, 3
# Seconds per pair of rows for candidates and their distances; operations a second in float32 and in float64.
_NEIGHBOUR_PAIRS, _GEOMETRY_FLOPS, _SPECTRUM_FLOPS = 50e6, 70e9, 30e9
# Seconds of a batch beside the products, whatever its size: equal rows, eigenvalues, null draws. With it, 0.28, 1.7 and
# 6.3 s of a layer's batch of 1,500 x 384, 4,096 x 768 and 4,096 x 2,048, measured as 0.33, 1.9 and 6.5.
_SPECTRUM_BATCH = 0.1
# Batches with one occurrence of each token type cost this much beside the others.
_TYPE_MATCHED = 1.3
# Draws of the null of token frequencies, once for all layers: rows times columns squared, a second. 1.1 s for 4,096 x
# 768, 10 s for 2,048 columns.
_NULL_RATE = 1.6e9
# Second moments of all tokens, operations a second in float64: products of 8,192 rows gave 57e9 for 2,048 columns and
# 37e9 for 768; eigenvalues 5.2e9 for either, counted as the columns' cube.
_MOMENT_FLOPS, _EIGENVALUE_RATE = 50e9, 5.2e9


def measuring_memory(n_rows: int, width: int, batch_size: int) -> int:
    """Return the memory of measuring a dump whose widest layer has ``n_rows`` vectors of ``width``."""
    return round(_MEASURE_BYTES + 4 * _LAYER_COPIES * n_rows * width + batch_bytes(width, batch_size))


def geometry_seconds(
    n_layers: int, n_batches: int, batch_size: int, width: int, *, tokens: int, threads: int = 1
) -> float:
    """Return the time of measuring hidden states.

    Products, spectra and neighbours of every batch, and of its linear reference, the nulls that layers share, and the
    moments of all tokens.

    Parameters
    ----------
    n_layers, n_batches, batch_size, width : int
        Layers, batches of each, rows of a batch, and columns.
    tokens : int
        All tokens of a layer.
    threads : int
        Threads that share the work evenly.
    """
    batches = _TYPE_MATCHED * n_batches * batch_seconds(batch_size, width)
    moments = 2 * tokens * width**2 / _MOMENT_FLOPS + width**3 / _EIGENVALUE_RATE
    nulls = n_batches * batch_size * width**2 / _NULL_RATE
    return LIGHT_SECONDS + (n_layers * (batches + moments) + nulls) / threads


def batch_seconds(batch_size: int, width: int) -> float:
    """Return the time of measuring one batch of ``batch_size`` x ``width``."""
    small, large = sorted((batch_size, width))
    pairs = batch_size * batch_size
    spectrum = _SPECTRUM_BATCH + 6 * large * small * small / _SPECTRUM_FLOPS
    return spectrum + pairs / _NEIGHBOUR_PAIRS + 2 * pairs * width / _GEOMETRY_FLOPS


def batch_bytes(width: int, batch_size: int) -> int:
    """Return what measuring a batch takes beside its rows."""
    smaller = min(width, batch_size)
    return 8 * (_BATCH_COPIES * batch_size * width + _GRAM_COPIES * smaller * smaller)

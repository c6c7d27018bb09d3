"""Scores of random columns, alone and behind embedding tables, for all tables that share a tokenizer at once.

A table that is padded by columns of a random one is scored from three sums: the inner products over the table, over the
random table's first n columns, and over its first d, whose place the table takes. So a random table is drawn and pooled
once for all tables of as many rows, one pass over its columns serves all their widths, and no padded matrix is made.
The tables' own products depend neither on the draw nor on its seed, and take as long as those of a draw: they are
computed once and wait in a temporary file, where they would take more memory than the draw itself.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from lm_geometry.embeddings.random_table import random_entry_rms
from lm_geometry.embeddings.variants import ColumnSlice, Variant, pad_energy_share, pad_scale
from lm_geometry.retrieval.inner_products import InnerProducts, Pair, SlicedProducts, add_dot_products, squared_norms
from lm_geometry.retrieval.pooled_vectors import PooledVectors
from lm_geometry.retrieval.scoring import QueryScores, RetrievalScorer, prefix_parts
from lm_geometry.retrieval.variant_scores import VariantScore

# Dot products of a table that are held while its vectors are read: 268 MB. More queries take another pass.
_PASS_ELEMENTS = 2**25


class PoolDraw(Protocol):
    """Pools a random table."""

    def __call__(self, rows: int, columns: int, n_columns: int, seed: int) -> Pair:
        """Return the queries' and the documents' vectors under the first ``n_columns`` of a (rows, columns) draw."""


@dataclass(frozen=True)
class _Columns:
    """What a variant of a table is made of: the table or not, and columns of a random table or none."""

    table: int
    variant: Variant
    has_table: bool
    random: ColumnSlice | None
    scale: float = 1.0
    pad_energy_share: float | None = None


def score_random_columns(
    tables: Sequence[PooledVectors],
    variants: Sequence[Variant],
    seeds: Sequence[int],
    *,
    pool_draw: PoolDraw,
    generator: str,
    scorer: RetrievalScorer,
    scratch: Path,
) -> list[list[VariantScore]]:
    """Score ``variants`` with random columns of several tables, once per seed.

    Memory: one pooled draw, 4 bytes for each text and column; and for a block of queries (see ``RetrievalScorer``) the
    dot products at each width that a padding starts from, and about three more. Before the first draw, up to 268 MB for
    the products of one table.

    Parameters
    ----------
    tables : sequence of PooledVectors
        Vectors pooled from the tables.
    variants : sequence of Variant
        Variants with random columns.
    seeds : sequence of int
        Seeds of the random tables.
    pool_draw : callable
        Pools a random table; called once per shape and seed, and its result is dropped before the next call.
    generator : str
        Generator of the random tables; see ``random_entry_rms``.
    scorer : RetrievalScorer
        Holds the judgements.
    scratch : Path
        Folder of the temporary file: 8 bytes for each table that is padded, judged query and document.

    Returns
    -------
    list of list of VariantScore
        For each table, one per variant and seed; without scores where the table is too wide for the variant.

    Raises
    ------
    ValueError
        If a similarity is not a number, or a table to which a padding is matched is zero throughout.
    """
    made, gaps = _columns(tables, variants, generator)
    products = _TableProducts({one.table: tables[one.table] for one in made if one.has_table}, scorer)
    scores: dict[tuple[int, Variant, int], QueryScores] = {}
    with tempfile.TemporaryFile(dir=scratch) as file:
        products.write(file)
        for one in made:
            if one.random is None:
                alone = _score_table(one.table, products, scorer)
                scores |= {(one.table, one.variant, seed): alone for seed in seeds}
        for ((rows, columns), sharing), seed in product(_by_draw(tables, made).items(), seeds):
            pooled = pool_draw(rows, columns, max(one.random.stop for one in sharing), seed)
            found = _score_draw(pooled, sharing, products, scorer)
            scores |= {(one.table, one.variant, seed): values for one, values in found.items()}
            # Else it is held while the next one is made.
            del pooled
    shares = {(one.table, one.variant): one.pad_energy_share for one in made}

    def score(place: int, variant: Variant, seed: int) -> VariantScore:
        width = variant.width(tables[place].embedding_dim)
        if (place, variant) in gaps:
            return VariantScore(variant.name, width, seed, None, gaps[place, variant])
        found = scores[place, variant, seed]
        return VariantScore(variant.name, width, seed, found, pad_energy_share=shares[place, variant])

    return [[score(place, *which) for which in product(variants, seeds)] for place in range(len(tables))]


def _columns(
    tables: Sequence[PooledVectors], variants: Sequence[Variant], generator: str
) -> tuple[list[_Columns], dict[tuple[int, Variant], str]]:
    """Return what each variant of each table is made of, and why some tables cannot have a variant."""
    made, gaps = [], {}
    for (place, table), variant in product(enumerate(tables), variants):
        try:
            slices = variant.slices(table.embedding_dim)
        except ValueError as error:
            gaps[place, variant] = str(error)
            continue
        has_table = any(part.draw is None for part in slices)
        random = next((part for part in slices if part.draw is not None), None)
        padding = _padding(table, variant, generator) if has_table else {}
        made.append(_Columns(place, variant, has_table, random, **padding))
    return made, gaps


def _padding(table: PooledVectors, variant: Variant, generator: str) -> dict[str, float]:
    """Return the factor of a table's random columns and their share of the padded table's sum of squares."""
    width = variant.width(table.embedding_dim)
    roots = {
        "table_rms": table.root_mean_square,
        "random_rms": random_entry_rms(table.vocab_rows, width, generator),
    }
    scale = pad_scale(variant, **roots)
    return {"scale": scale, "pad_energy_share": pad_energy_share(table.embedding_dim, width, **roots, scale=scale)}


def _by_draw(tables: Sequence[PooledVectors], made: Iterable[_Columns]) -> dict[tuple[int, int], list[_Columns]]:
    """Return what takes columns of each random table, by the rows and columns of its draw."""
    sharing: dict[tuple[int, int], list[_Columns]] = defaultdict(list)
    for one in made:
        if one.random is not None:
            sharing[tables[one.table].vocab_rows, one.random.draw].append(one)
    return sharing


class _TableProducts:
    """Inner products of the judged queries and all documents over whole tables, in a file by table and query."""

    def __init__(self, tables: Mapping[int, PooledVectors], scorer: RetrievalScorer) -> None:
        self._tables = tables
        self._scorer = scorer
        self._places = {table: place for place, table in enumerate(tables)}
        self._squares: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def write(self, file: IO[bytes]) -> None:
        """Compute the products of all tables and write them to ``file``, from which ``read`` takes them."""
        self._file = file
        for table, pooled in self._tables.items():
            queries = pooled.queries()[self._scorer.judged_rows].astype(np.float64)
            documents = np.empty(pooled.n_documents)
            size = max(1, _PASS_ELEMENTS // pooled.n_documents)
            for start in range(0, len(queries), size):
                self._multiply(queries[start : start + size], pooled, documents).tofile(file)
            self._squares[table] = squared_norms(queries, threads=self._scorer.threads), documents

    def read(self, table: int, block: slice) -> InnerProducts:
        """Return the products of a block of judged queries."""
        queries, documents = self._squares[table]
        row_bytes = documents.nbytes
        self._file.seek((self._places[table] * len(queries) + block.start) * row_bytes)
        dots = np.fromfile(self._file, dtype=np.float64, count=(block.stop - block.start) * len(documents))
        return InnerProducts(dots.reshape(-1, len(documents)), queries[block], documents)

    def _multiply(self, queries: np.ndarray, pooled: PooledVectors, squares: np.ndarray) -> np.ndarray:
        """Return the dot products of some queries and all documents, whose squared norms go to ``squares``."""
        dots = np.zeros((len(queries), pooled.n_documents))
        start = 0
        for documents in pooled.document_blocks():
            rows = slice(start, start + len(documents))
            add_dot_products(dots[:, rows], queries, documents, threads=self._scorer.threads)
            squares[rows] = squared_norms(documents, threads=self._scorer.threads)
            start = rows.stop
        return dots


def _score_table(table: int, products: _TableProducts, scorer: RetrievalScorer) -> QueryScores:
    blocks = []
    for block in scorer.query_blocks():
        own = products.read(table, block)
        blocks.append(scorer.score_block(block, lambda rows, own=own: own.of_queries(rows).cosines()))
    return QueryScores.joined(blocks)


def _score_draw(
    pooled: Pair, sharing: Sequence[_Columns], products: _TableProducts, scorer: RetrievalScorer
) -> dict[_Columns, QueryScores]:
    """Score all that takes columns of one pooled draw, in one pass over those columns for each block of queries."""
    starts = {one.random.start for one in sharing} - {0}
    widths = sorted(starts | {one.random.stop for one in sharing})
    sums = SlicedProducts(prefix_parts(*pooled, widths), threads=scorer.threads)
    found: dict[_Columns, list[QueryScores]] = defaultdict(list)
    for block in scorer.query_blocks():
        narrow: dict[int, InnerProducts] = {}
        for width, wide in zip(widths, sums.after_each_part(scorer.judged_rows[block]), strict=True):
            for one in (one for one in sharing if one.random.stop == width):
                own = products.read(one.table, block) if one.has_table else None
                cosines = partial(_cosines, own, wide, narrow.get(one.random.start), one.scale)
                found[one].append(scorer.score_block(block, cosines))
            if width in starts:
                narrow[width] = wide.copy()
    return {one: QueryScores.joined(scores) for one, scores in found.items()}


def _cosines(
    own: InnerProducts | None, wide: InnerProducts, narrow: InnerProducts | None, scale: float, queries: slice
) -> np.ndarray:
    """Return the cosines of some queries over random columns, or over a table with random columns behind it."""
    if own is None:
        return wide.of_queries(queries).cosines()
    return own.of_queries(queries).padded(wide.of_queries(queries), narrow.of_queries(queries), scale).cosines()

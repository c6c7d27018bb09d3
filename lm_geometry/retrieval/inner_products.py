"""What cosines are made of: dot products and squared norms, which add up over slices of columns, in float64."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
"""The same columns of the queries' vectors, shape (queries, n), and of the documents', shape (documents, n)."""

# Documents and columns that are widened to float64 at a time, 8 MB: more would leave the processor's cache. The
# tiles are what threads share out, and do not depend on how many there are.
_TILE_ROWS = 1024
_COLUMN_CHUNK = 1024


@dataclass(frozen=True)
class InnerProducts:
    """Inner products of queries and documents over some columns.

    Dot products and squared norms are kept in float64: summed in float32 they lose the order of documents that share a
    strong mean.

    Parameters
    ----------
    dots : np.ndarray
        float64 dot products, shape (queries, documents).
    query_squares, document_squares : np.ndarray
        float64 squared norms, shape (queries,) and (documents,).
    """

    dots: np.ndarray
    query_squares: np.ndarray
    document_squares: np.ndarray

    def of_queries(self, rows: slice) -> "InnerProducts":
        """Return the part of the queries ``rows``, as views."""
        return InnerProducts(self.dots[rows], self.query_squares[rows], self.document_squares)

    def copy(self) -> "InnerProducts":
        """Return a copy that later sums do not change."""
        return InnerProducts(self.dots.copy(), self.query_squares.copy(), self.document_squares.copy())

    def padded(self, wide: "InnerProducts", narrow: "InnerProducts", scale: float) -> "InnerProducts":
        """Return these products with those of the columns that ``wide`` has beyond ``narrow``, scaled, behind.

        Parameters
        ----------
        wide, narrow : InnerProducts
            Products over the first columns of one matrix, more of them and fewer.
        scale : float
            What the entries of those columns are multiplied by.
        """
        square = scale**2
        return InnerProducts(
            self.dots + square * (wide.dots - narrow.dots),
            self.query_squares + square * (wide.query_squares - narrow.query_squares),
            self.document_squares + square * (wide.document_squares - narrow.document_squares),
        )

    def cosines(self) -> np.ndarray:
        """Return the cosine of every query and document, 0 where a vector is zero.

        Returns
        -------
        np.ndarray
            float32, shape (queries, documents): the precision in which ``pytrec_eval`` compares.
        """
        norms = np.multiply.outer(np.sqrt(self.query_squares), np.sqrt(self.document_squares))
        norms[norms == 0] = np.inf
        return np.divide(self.dots, norms, out=norms).astype(np.float32)


class SlicedProducts:
    """Inner products of vectors that are given in parts, each some columns, summed from the first part on.

    Parameters
    ----------
    parts : sequence of sequences of pairs
        Columns of the queries' and the documents' vectors. No wider matrix is made of them.
    threads : int
        Threads that share the documents out. The sums are the same bits for any number of them.
    """

    def __init__(self, parts: Sequence[Sequence[Pair]], *, threads: int) -> None:
        self._parts = parts
        self._threads = threads
        squares = (sum(squared_norms(documents, threads=threads) for _, documents in part) for part in parts)
        self._document_squares = list(accumulate(squares))

    def after_each_part(self, rows: np.ndarray) -> Iterator[InnerProducts]:
        """Yield the products of the queries ``rows`` over all columns up to each part's last.

        The next one overwrites its dot products: ``copy`` what is to be kept.
        """
        dots = np.zeros((len(rows), len(self._document_squares[0])))
        query_squares = np.zeros(len(rows))
        for part, document_squares in zip(self._parts, self._document_squares, strict=True):
            for queries, documents in part:
                widened = queries[rows].astype(np.float64)
                add_dot_products(dots, widened, documents, threads=self._threads)
                query_squares = query_squares + squared_norms(widened, threads=1)
            yield InnerProducts(dots, query_squares, document_squares)


def add_dot_products(dots: np.ndarray, queries: np.ndarray, documents: np.ndarray, *, threads: int) -> None:
    """Add the dot products of ``queries`` and ``documents``, computed in float64, to ``dots``.

    Parameters
    ----------
    dots : np.ndarray
        float64, shape (queries, documents); changed in place.
    queries, documents : np.ndarray
        Shapes (queries, n) and (documents, n); the queries in float64.
    threads : int
        Threads that share the documents out.
    """

    def add(rows: slice) -> None:
        tile = dots[:, rows]
        for start in range(0, queries.shape[1], _COLUMN_CHUNK):
            columns = slice(start, start + _COLUMN_CHUNK)
            tile += queries[:, columns] @ documents[rows, columns].astype(np.float64).T

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, _tiles(len(documents))))


def squared_norms(vectors: np.ndarray, *, threads: int) -> np.ndarray:
    """Return the squared norm of each row, summed in float64, shape (rows,)."""

    def squares(rows: slice) -> np.ndarray:
        sums = np.zeros(len(vectors[rows]))
        for start in range(0, vectors.shape[1], _COLUMN_CHUNK):
            widened = vectors[rows, start : start + _COLUMN_CHUNK].astype(np.float64)
            sums += np.einsum("ij,ij->i", widened, widened)
        return sums

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(squares, _tiles(len(vectors)))))


def _tiles(n_rows: int) -> list[slice]:
    return [slice(start, min(start + _TILE_ROWS, n_rows)) for start in range(0, n_rows, _TILE_ROWS)]

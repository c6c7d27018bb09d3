"""The pooled vectors of a collection's texts, read back from their table by parts: documents first, then queries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lm_geometry import provenance
from lm_geometry.tables.schema import vector_matrix

# Documents that are handed on at a time, at least: a row group of a wide table holds few, and products of few take
# longer.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class PooledVectors:
    """Vectors of documents and queries under one embedding table, in a file; made by ``open_pooled_vectors``.

    Parameters
    ----------
    path : Path
        The Parquet file.
    n_documents, n_texts : int
        Rows of documents, which come first, and rows in all.
    vocab_rows, embedding_dim : int
        Shape of the embedding table.
    root_mean_square : float
        Root-mean-square entry of the embedding table.
    """

    path: Path
    n_documents: int
    n_texts: int
    vocab_rows: int
    embedding_dim: int
    root_mean_square: float

    def queries(self) -> np.ndarray:
        """Return the queries' vectors, float32 of shape (queries, embedding_dim)."""
        return np.concatenate(list(self._row_groups(self.n_documents, self.n_texts)))

    def document_blocks(self) -> Iterator[np.ndarray]:
        """Yield the documents' vectors in order, at least 4,096 at a time but for the last."""
        waiting: list[np.ndarray] = []
        for vectors in self._row_groups(0, self.n_documents):
            waiting.append(vectors)
            if sum(map(len, waiting)) >= _BLOCK_ROWS:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)

    def read(self, change: Callable[[np.ndarray, slice], np.ndarray] | None = None) -> np.ndarray:
        """Return all vectors, float32 of shape (texts, embedding_dim); memory is that of the result and a row group.

        Parameters
        ----------
        change : callable, optional
            Takes some consecutive vectors and which texts they are, and returns what stands for them in the result.
        """
        vectors = np.empty((self.n_texts, self.embedding_dim), dtype=np.float32)
        start = 0
        for block in self._row_groups(0, self.n_texts):
            rows = slice(start, start + len(block))
            vectors[rows] = block if change is None else change(block, rows)
            start = rows.stop
        return vectors

    def _row_groups(self, first: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the vectors of the rows from ``first`` up to ``stop``, a row group at a time."""
        with pq.ParquetFile(self.path) as file:
            end = 0
            for group in range(file.num_row_groups):
                start, end = end, end + file.metadata.row_group(group).num_rows
                if first < end and start < stop:
                    vectors = vector_matrix(file.read_row_group(group, columns=["vector"])["vector"])
                    yield vectors[max(first - start, 0) : stop - start]


def open_pooled_vectors(path: Path, n_documents: int, n_texts: int) -> PooledVectors:
    """Return the pooled vectors of a collection of ``n_documents`` among ``n_texts``.

    Raises
    ------
    ValueError
        If the file is not of this project, or holds another number of texts.
    """
    table = provenance.read(path)["settings"]
    found = pq.read_metadata(path).num_rows
    if found != n_texts:
        raise ValueError(
            f"{path}: holds the vectors of {found} texts, and the collection has {n_documents} documents and "
            f"{n_texts - n_documents} queries; remove it and run again"
        )
    return PooledVectors(
        path, n_documents, n_texts, table["vocab_rows"], table["embedding_dim"], table["root_mean_square"]
    )

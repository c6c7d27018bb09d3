"""A tokenized collection, read back from its tables: what is pooled and scored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from lm_geometry.retrieval.tokenization import counts_from_table
from lm_geometry.tables.files import read_table


@dataclass(frozen=True)
class CountedCollection:
    """A tokenized collection: ids and judgements, and the token counts of documents, then queries.

    Parameters
    ----------
    document_ids, query_ids : list of str
        Ids in the order of the rows of ``counts``.
    counts : scipy.sparse.csr_array, or None
        Shape (documents + queries, token ids); None where they were not read.
    judgements : dict of str to dict of str to int
        Relevance by query id and document id.
    """

    document_ids: list[str]
    query_ids: list[str]
    counts: sparse.csr_array | None
    judgements: dict[str, dict[str, int]]

    @property
    def has_tokens(self) -> np.ndarray:
        """Whether each text has a token, bool, shape (documents + queries,)."""
        return np.diff(self.counts.indptr) > 0

    def split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Divide vectors of all texts into those of the queries and those of the documents."""
        return vectors[len(self.document_ids) :], vectors[: len(self.document_ids)]

    @property
    def n_texts(self) -> int:
        """Documents and queries."""
        return len(self.document_ids) + len(self.query_ids)


def read_counted_collection(
    corpus: Path, queries: Path, counts: Path | None, judgements: Path | None
) -> CountedCollection:
    """Read the tables of a collection; without ``judgements`` it cannot be scored, without ``counts`` not be pooled."""
    document_ids, query_ids = (read_table(path, ["id"])["id"].to_pylist() for path in (corpus, queries))
    return CountedCollection(
        document_ids,
        query_ids,
        None if counts is None else _read_counts(counts, len(document_ids), len(query_ids)),
        {} if judgements is None else _read_judgements(judgements),
    )


def _read_counts(path: Path, n_documents: int, n_queries: int) -> sparse.csr_array:
    found = read_table(path)
    sides = [counts_from_table(found, side, n) for side, n in (("corpus", n_documents), ("queries", n_queries))]
    n_ids = max(side.shape[1] for side in sides)
    for side in sides:
        side.resize(side.shape[0], n_ids)
    return sparse.vstack(sides, format="csr")


def _read_judgements(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    columns = read_table(path).to_pydict()
    for query, document, relevance in zip(
        columns["query_id"], columns["document_id"], columns["relevance"], strict=True
    ):
        judgements.setdefault(query, {})[document] = relevance
    return judgements

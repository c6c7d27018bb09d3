"""Cosine retrieval and its metrics, as MTEB computes them (Muennighoff et al. 2023), from slices of pooled vectors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
"""Ranks at which every metric is taken."""

_TREC_MEASURES = {"map": "map_cut", "ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}

METRICS = tuple(f"{name}_at_{k}" for name in (*_TREC_MEASURES, "mrr") for k in CUTOFFS)
"""Names of the metrics that are kept: MTEB's."""

Pair = tuple[np.ndarray, np.ndarray]
"""The same columns of the queries' vectors, shape (queries, n), and of the documents', shape (documents, n)."""

# Bounds on temporary matrices: similarities per block of queries, and columns that are widened to float64 at a time.
_BLOCK_ELEMENTS = 2**23
_COLUMN_CHUNK = 512


class RetrievalScorer:
    """Scores vectors against the judgements of one collection.

    Parameters
    ----------
    query_ids, document_ids : sequence of str
        Ids of the rows of the vectors that will be scored.
    judgements : mapping of str to mapping of str to int
        Relevance by query id and document id. Queries without judgements are not scored; relevant documents that are
        not among ``document_ids`` count as not found.
    ignore_identical_ids : bool
        Leave out a document whose id is the query's own. One document more is ranked then, so that 1000 others remain.

    Raises
    ------
    ValueError
        If no query is judged.
    """

    def __init__(
        self,
        query_ids: Sequence[str],
        document_ids: Sequence[str],
        judgements: Mapping[str, Mapping[str, int]],
        *,
        ignore_identical_ids: bool = False,
    ) -> None:
        import pytrec_eval

        self.judged_rows = np.array([row for row, query in enumerate(query_ids) if query in judgements], dtype=np.intp)
        if not self.judged_rows.size:
            raise ValueError(f"none of the {len(query_ids)} queries is judged")
        self.query_ids = [query_ids[row] for row in self.judged_rows]
        self.ignore_identical_ids = ignore_identical_ids
        self._relevant = {
            query: {document for document, relevance in judgements[query].items() if relevance > 0}
            for query in self.query_ids
        }
        # Sorted ids: ties go to the larger id, so a document's place here is part of its sorting key.
        self._sorted_rows = np.array(sorted(range(len(document_ids)), key=document_ids.__getitem__), dtype=np.intp)
        self._sorted_ids = [document_ids[row] for row in self._sorted_rows]
        cutoffs = ",".join(map(str, CUTOFFS))
        self._evaluator = pytrec_eval.RelevanceEvaluator(
            {query: dict(judgements[query]) for query in self.query_ids},
            {f"{measure}.{cutoffs}" for measure in _TREC_MEASURES.values()},
        )

    @property
    def n_queries(self) -> int:
        """Judged queries, over which scores are averaged."""
        return len(self.query_ids)

    def score(self, slices: Sequence[Pair]) -> dict[str, float]:
        """Return the mean metrics of the concatenation of ``slices``.

        Parameters
        ----------
        slices : sequence of pairs
            Column slices of the queries' and documents' vectors.

        Returns
        -------
        dict of str to float
            Every metric of ``METRICS``, as the fraction that MTEB returns: rounded to 5 digits, mrr excepted.

        Raises
        ------
        ValueError
            If a similarity or a metric is not a number.
        """
        return mean_scores(self.score_queries(slices))

    def score_queries(self, slices: Sequence[Pair]) -> dict[str, np.ndarray]:
        """Return the metrics of each judged query, arrays of shape (n_queries,); see ``score``."""
        return self._score_cumulatively([slices])[0]

    def score_prefixes(
        self, queries: np.ndarray, documents: np.ndarray, widths: Sequence[int]
    ) -> list[dict[str, float]]:
        """Return the mean metrics of the first ``width`` columns, for each of ascending ``widths``, in one pass.

        Raises
        ------
        ValueError
            If the widths do not ascend within the vectors, and as ``score`` does.
        """
        bounds = [0, *widths]
        if any(start >= stop for start, stop in pairwise(bounds)) or bounds[-1] > queries.shape[1]:
            raise ValueError(f"widths {list(widths)} must ascend from 1 to at most {queries.shape[1]}")
        parts = [[(queries[:, start:stop], documents[:, start:stop])] for start, stop in pairwise(bounds)]
        return [mean_scores(scores) for scores in self._score_cumulatively(parts)]

    def _score_cumulatively(self, parts: Sequence[Sequence[Pair]]) -> list[dict[str, np.ndarray]]:
        """Return the metrics per query of the slices up to and including each part."""
        block = max(1, _BLOCK_ELEMENTS // len(self._sorted_ids))
        found: list[list[dict[str, np.ndarray]]] = [[] for _ in parts]
        for start in range(0, self.n_queries, block):
            ids = self.query_ids[start : start + block]
            rows = self.judged_rows[start : start + block]
            chosen = [[(queries[rows], documents) for queries, documents in part] for part in parts]
            for scores, similarities in zip(found, _cumulative_cosines(chosen), strict=True):
                scores.append(self._evaluate(ids, similarities))
        return [{metric: np.concatenate([one[metric] for one in scores]) for metric in METRICS} for scores in found]

    def _evaluate(self, query_ids: Sequence[str], similarities: np.ndarray) -> dict[str, np.ndarray]:
        similarities = similarities[:, self._sorted_rows]
        if not np.isfinite(similarities).all():
            row, place = np.argwhere(~np.isfinite(similarities))[0]
            raise ValueError(
                f"the cosine of query '{query_ids[row]}' and document '{self._sorted_ids[place]}' is not a number: "
                "one of their vectors holds entries that are not finite"
            )
        depth = max(CUTOFFS) + int(self.ignore_identical_ids)
        places = rank_descending(similarities, depth)
        run, reciprocal_ranks = {}, []
        for query, ranked, row in zip(query_ids, places, similarities, strict=True):
            documents = [self._sorted_ids[place] for place in ranked]
            scores = dict(zip(documents, row[ranked].tolist(), strict=True))
            if self.ignore_identical_ids:
                scores.pop(query, None)
            run[query] = scores
            reciprocal_ranks.append(_reciprocal_ranks(list(scores), self._relevant[query]))
        measured = self._evaluator.evaluate(run)
        metrics = {
            f"{name}_at_{k}": np.array([measured[query][f"{measure}_{k}"] for query in query_ids])
            for name, measure in _TREC_MEASURES.items()
            for k in CUTOFFS
        }
        for k, values in zip(CUTOFFS, np.array(reciprocal_ranks).T, strict=True):
            metrics[f"mrr_at_{k}"] = values
        for metric, values in metrics.items():
            if np.isnan(values).any():
                raise ValueError(f"{metric} of query '{query_ids[int(np.isnan(values).argmax())]}' is not a number")
        return metrics


def mean_scores(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the means over queries as MTEB gives them: rounded to 5 digits, mrr excepted."""
    means = {metric: sum(values.tolist()) / len(values) for metric, values in scores.items()}
    return {metric: mean if metric.startswith("mrr") else round(mean, 5) for metric, mean in means.items()}


def cosine_similarities(slices: Sequence[Pair]) -> np.ndarray:
    """Return the cosine of every query and document of the concatenated ``slices``.

    Dot products and squared norms are added in float64: float32 loses the order of documents that share a strong mean.

    Returns
    -------
    np.ndarray
        float32, shape (queries, documents), the precision in which ``pytrec_eval`` compares. 0 where a vector is zero.
    """
    return next(_cumulative_cosines([slices]))


def _cumulative_cosines(parts: Sequence[Sequence[Pair]]) -> Iterator[np.ndarray]:
    """Yield, after each part, the cosines of all slices so far."""
    n_queries, n_documents = (len(vectors) for vectors in parts[0][0])
    products = np.zeros((n_queries, n_documents))
    query_squares, document_squares = np.zeros(n_queries), np.zeros(n_documents)
    for part in parts:
        for queries, documents in part:
            for start in range(0, queries.shape[1], _COLUMN_CHUNK):
                query = queries[:, start : start + _COLUMN_CHUNK].astype(np.float64)
                document = documents[:, start : start + _COLUMN_CHUNK].astype(np.float64)
                products += query @ document.T
                query_squares += np.einsum("ij,ij->i", query, query)
                document_squares += np.einsum("ij,ij->i", document, document)
        norms = np.sqrt(query_squares)[:, None] * np.sqrt(document_squares)
        yield np.divide(products, norms, out=np.zeros_like(products), where=norms != 0).astype(np.float32)


def rank_descending(similarities: np.ndarray, depth: int) -> np.ndarray:
    """Return the columns of the ``depth`` largest values of each row, best first; ties go to the larger column.

    Parameters
    ----------
    similarities : np.ndarray
        Finite float32, shape (rows, columns).
    depth : int
        Columns to keep; all, if there are fewer.

    Returns
    -------
    np.ndarray
        Column indices, shape (rows, min(depth, columns)).
    """
    # One integer per value sorts as (value, column): the bits of a float, made monotone, above those of its column.
    bits = (np.asarray(similarities, dtype=np.float32) + np.float32(0)).view(np.uint32)  # -0 and +0 are a tie
    monotone = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    keys = (monotone.astype(np.uint64) << np.uint64(32)) | np.arange(bits.shape[1], dtype=np.uint64)
    first = max(0, bits.shape[1] - depth)
    if first:
        keys = np.partition(keys, first, axis=1)[:, first:]
    return (np.sort(keys, axis=1)[:, ::-1] & np.uint64(0xFFFFFFFF)).astype(np.intp)


def _reciprocal_ranks(documents: Sequence[str], relevant: set[str]) -> list[float]:
    """Return 1 / rank of the first relevant document, or 0 where it lies behind the cutoff, for each of ``CUTOFFS``."""
    rank = next((rank for rank, document in enumerate(documents, start=1) if document in relevant), None)
    return [1 / rank if rank is not None and rank <= k else 0.0 for k in CUTOFFS]

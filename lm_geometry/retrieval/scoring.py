"""Cosine retrieval and its metrics, as MTEB computes them (Muennighoff et al. 2023), from slices of pooled vectors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lm_geometry.metric_names import CUTOFFS, METRICS
from lm_geometry.retrieval.inner_products import Pair, SlicedProducts
from lm_geometry.retrieval.ranking import relevant_ranks

_TREC_MEASURES = {"map": "map_cut", "ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}

_DEPTH = max(CUTOFFS)
# Bounds on dot products that are held at a time, and on the queries among them. More queries would be no faster: 500
# use nine tenths of the processor's rate.
_BLOCK_ELEMENTS = 2**24
_BLOCK_QUERIES = 512
# Bounds on similarities that a thread ranks at a time, and on the queries among them.
_RANKED_ELEMENTS = 2**20
_RANKED_QUERIES = 32
# Rankings are handed to pytrec_eval as long as they need be, in steps of so many places.
_RUN_STEP = 50


@dataclass(frozen=True)
class QueryScores:
    """Metrics of single queries.

    Parameters
    ----------
    values : dict of str to np.ndarray
        Every metric of ``METRICS``, float64 of shape (n_queries,).
    tie_spans : dict of str to np.ndarray
        The metric if documents of equal similarity stood in the best order less that in the worst; same shape. 0 where
        the order of equals does not matter.
    """

    values: dict[str, np.ndarray]
    tie_spans: dict[str, np.ndarray]

    def means(self) -> dict[str, float]:
        """Return the mean of each metric; see ``mean_scores``."""
        return mean_scores(self.values)

    def mean_tie_spans(self) -> dict[str, float]:
        """Return the mean of each metric's spans."""
        return {metric: float(spans.mean()) for metric, spans in self.tie_spans.items()}

    @staticmethod
    def joined(parts: Sequence["QueryScores"]) -> "QueryScores":
        """Return the scores of consecutive queries as one."""
        return QueryScores(
            {metric: np.concatenate([part.values[metric] for part in parts]) for metric in METRICS},
            {metric: np.concatenate([part.tie_spans[metric] for part in parts]) for metric in METRICS},
        )


@dataclass(frozen=True)
class _Ranking:
    """A query and the ranks of its relevant documents, from 0; those at ``_DEPTH`` and behind were not found."""

    query: int
    ranks: np.ndarray


class RetrievalScorer:
    """Scores vectors against the judgements of one collection.

    Documents are ranked by their float32 cosine, and equals by id, the larger first, as ``pytrec_eval`` does. It is
    given the relevant documents at their ranks and stand-ins for all others: the metrics depend on nothing else.

    Memory beside the vectors: 8 bytes for each document and query of a block, of which there are at most 512 and at
    most 2**24 pairs (134 MB), and about 20 MB a thread. Results are the same bits for any number of threads.

    Parameters
    ----------
    query_ids, document_ids : sequence of str
        Ids of the rows of the vectors that will be scored.
    judgements : mapping of str to mapping of str to int
        Relevance by query id and document id. Queries without judgements are not scored; relevant documents that are
        not among ``document_ids`` count as not found.
    ignore_identical_ids : bool
        Leave out a document whose id is the query's own, so that 1000 others are ranked.
    threads : int
        Threads that share documents and queries out. BLAS should have one thread (OMP_NUM_THREADS=1).

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
        threads: int = 1,
    ) -> None:
        import pytrec_eval

        judged = [row for row, query in enumerate(query_ids) if judgements.get(query)]
        self.judged_rows = np.array(judged, dtype=np.intp)
        if not self.judged_rows.size:
            raise ValueError(f"none of the {len(query_ids)} queries is judged")
        self.query_ids = [query_ids[row] for row in self.judged_rows]
        self.threads = threads
        self._document_ids = document_ids
        rows = {document: row for row, document in enumerate(document_ids)}
        self._own = [rows.get(query) if ignore_identical_ids else None for query in self.query_ids]
        self._relevant, self._gains = [], []
        for query, own in zip(self.query_ids, self._own, strict=True):
            gains = _relevant_rows(judgements[query], rows, own)
            self._relevant.append(np.array(list(gains), dtype=np.intp))
            self._gains.append(np.array(list(gains.values()), dtype=np.int64))
        # Ties go to the larger id, in the order of code points, which is that of the UTF-8 bytes trec_eval compares.
        self._tie_break = np.empty(len(document_ids), dtype=np.intp)
        self._tie_break[sorted(range(len(document_ids)), key=document_ids.__getitem__)] = np.arange(len(document_ids))
        cutoffs = ",".join(map(str, CUTOFFS))
        # Grades below 0 count as 0 in trec_eval; pytrec_eval crashes at times where they are below -1.
        grades = {
            query: {document: max(0, grade) for document, grade in judgements[query].items()}
            for query in self.query_ids
        }
        self._evaluator = pytrec_eval.RelevanceEvaluator(
            grades,
            {f"{measure}.{cutoffs}" for measure in _TREC_MEASURES.values()},
        )
        self._stand_ins, self._runs = _runs_of_stand_ins(judgements.values())

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
            If a similarity is not a number.
        """
        return self.score_queries(slices).means()

    def score_queries(self, slices: Sequence[Pair]) -> QueryScores:
        """Return the metrics of each judged query; see ``score``."""
        return self._score_after_each([slices])[0]

    def score_prefixes(self, queries: np.ndarray, documents: np.ndarray, widths: Sequence[int]) -> list[QueryScores]:
        """Return the metrics of the first ``width`` columns, for each of ascending ``widths``, in one pass.

        Raises
        ------
        ValueError
            If the widths do not ascend within the vectors, and as ``score`` does.
        """
        return self._score_after_each(prefix_parts(queries, documents, widths))

    def query_blocks(self) -> list[slice]:
        """Return the judged queries in blocks of which the dot products with all documents are held at a time."""
        most = max(1, min(_BLOCK_QUERIES, _BLOCK_ELEMENTS // len(self._document_ids)))
        return _even_slices(0, self.n_queries, most)

    def score_block(self, block: slice, cosines: Callable[[slice], np.ndarray]) -> QueryScores:
        """Return the metrics of the judged queries of a block.

        Parameters
        ----------
        block : slice
            One of ``query_blocks``.
        cosines : callable
            Returns the float32 cosines of some queries of the block, counted from its first, with all documents. It is
            called by several threads, and what it returns is changed.

        Raises
        ------
        ValueError
            If a cosine is not a number; the query and the document are named.
        """
        most = max(1, min(_RANKED_QUERIES, _RANKED_ELEMENTS // len(self._document_ids)))

        def score(queries: slice) -> QueryScores:
            rows = slice(queries.start - block.start, queries.stop - block.start)
            return self._score_cosines(range(queries.start, queries.stop), cosines(rows))

        with ThreadPoolExecutor(self.threads) as pool:
            return QueryScores.joined(list(pool.map(score, _even_slices(block.start, block.stop, most))))

    def _score_after_each(self, parts: Sequence[Sequence[Pair]]) -> list[QueryScores]:
        """Return the metrics of the slices up to and including each part."""
        products = SlicedProducts(parts, threads=self.threads)
        found: list[list[QueryScores]] = [[] for _ in parts]
        for block in self.query_blocks():
            sums = products.after_each_part(self.judged_rows[block])
            for scores, so_far in zip(found, sums, strict=True):
                scores.append(self.score_block(block, lambda rows, held=so_far: held.of_queries(rows).cosines()))
        return [QueryScores.joined(scores) for scores in found]

    def _score_cosines(self, queries: Sequence[int], cosines: np.ndarray) -> QueryScores:
        """Return the metrics of a few queries, and their spans, from the cosines with all documents."""
        self._check_finite(queries, cosines)
        actual, best, worst = [], [], []
        for query, similarities in zip(queries, cosines, strict=True):
            if self._own[query] is not None:
                similarities[self._own[query]] = -np.inf
            found = relevant_ranks(similarities, self._relevant[query], self._tie_break)
            actual.append(_Ranking(query, found.ranks))
            if (found.tied > 1).any():
                first, last = (np.minimum(ranks, _DEPTH) for ranks in found.extremes(self._gains[query]))
                if not np.array_equal(first, last):
                    best.append(_Ranking(query, first))
                    worst.append(_Ranking(query, last))
        values = self._measure(actual)
        spans = np.zeros_like(values)
        spans[[ranking.query - queries[0] for ranking in best]] = self._measure(best) - self._measure(worst)
        return QueryScores(dict(zip(METRICS, values.T, strict=True)), dict(zip(METRICS, spans.T, strict=True)))

    def _check_finite(self, queries: Sequence[int], cosines: np.ndarray) -> None:
        if not np.isfinite(cosines).all():
            row, document = np.argwhere(~np.isfinite(cosines))[0]
            raise ValueError(
                f"the cosine of query '{self.query_ids[queries[row]]}' and document '{self._document_ids[document]}' "
                "is not a number: one of their vectors holds entries that are not finite"
            )

    def _measure(self, rankings: Sequence[_Ranking]) -> np.ndarray:
        """Return the metrics of each ranking, shape (rankings, METRICS)."""
        runs = {self.query_ids[ranking.query]: self._run(ranking) for ranking in rankings}
        measured = self._evaluator.evaluate(runs)
        names = [f"{measure}_{k}" for measure in _TREC_MEASURES.values() for k in CUTOFFS]
        values = np.empty((len(rankings), len(METRICS)))
        for row, (ranking, query) in enumerate(zip(rankings, runs, strict=True)):
            values[row, : len(names)] = [measured[query][name] for name in names]
            values[row, len(names) :] = _reciprocal_ranks(ranking.ranks)
        return values

    def _run(self, ranking: _Ranking) -> dict[str, int]:
        """Return a run for pytrec_eval: scores that fall by rank, up to the last relevant document or somewhat on."""
        found = ranking.ranks < _DEPTH
        ranks = ranking.ranks[found].tolist()
        # What is ranked behind the last relevant document enters no metric.
        run = self._runs[max(ranks, default=0) // _RUN_STEP].copy()
        for rank, document in zip(ranks, self._relevant[ranking.query][found].tolist(), strict=True):
            del run[self._stand_ins[rank]]
            run[self._document_ids[document]] = _DEPTH - rank
        return run


def mean_scores(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the means over queries as MTEB gives them: rounded to 5 digits, mrr excepted."""
    means = {metric: sum(values.tolist()) / len(values) for metric, values in scores.items()}
    return {metric: mean if metric.startswith("mrr") else round(mean, 5) for metric, mean in means.items()}


def prefix_parts(queries: np.ndarray, documents: np.ndarray, widths: Sequence[int]) -> list[list[Pair]]:
    """Return the columns between ``widths``, so that the parts up to each one make up the first ``width`` columns.

    Raises
    ------
    ValueError
        If the widths do not ascend within the vectors.
    """
    bounds = [0, *widths]
    if any(start >= stop for start, stop in pairwise(bounds)) or bounds[-1] > queries.shape[1]:
        raise ValueError(f"widths {list(widths)} must ascend from 1 to at most {queries.shape[1]}")
    return [[(queries[:, start:stop], documents[:, start:stop])] for start, stop in pairwise(bounds)]


def _relevant_rows(judged: Mapping[str, int], rows: Mapping[str, int], own: int | None) -> dict[int, int]:
    """Return the relevance of the relevant documents that can be found, by row; trec_eval takes grades below 0 as 0."""
    relevant = {rows[document]: relevance for document, relevance in judged.items() if document in rows}
    return {row: relevance for row, relevance in relevant.items() if relevance > 0 and row != own}


def _even_slices(start: int, stop: int, most: int) -> list[slice]:
    """Divide a range into as few slices as hold at most ``most`` each, of about equal size."""
    n_slices = -(-(stop - start) // most)
    bounds = [start + (stop - start) * part // n_slices for part in range(n_slices + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _runs_of_stand_ins(judged: Iterable[Mapping[str, int]]) -> tuple[list[str], list[dict[str, int]]]:
    """Return names for documents that are not relevant, one for each rank, and runs of the first ones, ever longer."""
    prefix, taken = "", [document for documents in judged for document in documents]
    while any(document.startswith(prefix) for document in taken):
        prefix += "-"
    names = [f"{prefix}{rank}" for rank in range(_DEPTH)]
    scores = range(_DEPTH, 0, -1)
    lengths = range(_RUN_STEP, _DEPTH + 1, _RUN_STEP)
    return names, [dict(zip(names[:length], scores[:length], strict=True)) for length in lengths]


def _reciprocal_ranks(ranks: np.ndarray) -> list[float]:
    """Return 1 / rank of the first relevant document, or 0 where it lies behind the cutoff, for each of ``CUTOFFS``."""
    first = ranks.min(initial=_DEPTH)
    return [float(1 / (first + 1)) if first < k else 0.0 for k in CUTOFFS]

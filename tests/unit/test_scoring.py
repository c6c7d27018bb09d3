"""Cosines, ranks, ties and metrics against definitions written out in the test, and pytrec_eval called plainly."""

from itertools import permutations, product

import numpy as np
import pytest
import pytrec_eval

from lm_geometry.retrieval import inner_products, ranking, scoring
from lm_geometry.retrieval.inner_products import SlicedProducts
from lm_geometry.retrieval.ranking import relevant_ranks
from lm_geometry.retrieval.scoring import CUTOFFS, METRICS, RetrievalScorer, mean_scores


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cosines(slices):
    return next(SlicedProducts([slices], threads=1).after_each_part(np.arange(len(slices[0][0])))).cosines()


def definition(ranked, relevances):
    """The metrics of one ranking, from their definitions; trec_eval takes negative grades as 0."""
    gains = [max(0, relevances.get(document, 0)) for document in ranked]
    hits = [gain > 0 for gain in gains]
    n_relevant = sum(relevance > 0 for relevance in relevances.values())
    ideal = sorted((max(0, relevance) for relevance in relevances.values()), reverse=True)
    metrics = {}
    for k in CUTOFFS:
        precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(min(k, len(hits))) if hits[rank]]
        discounted = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains[:k]))
        best = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(ideal[:k]))
        first = next((rank + 1 for rank in range(min(k, len(hits))) if hits[rank]), None)
        metrics |= {
            f"map_at_{k}": sum(precisions) / n_relevant,
            f"ndcg_at_{k}": discounted / best,
            f"recall_at_{k}": sum(hits[:k]) / n_relevant,
            f"precision_at_{k}": sum(hits[:k]) / k,
            f"hit_rate_at_{k}": float(any(hits[:k])),
            f"mrr_at_{k}": 1 / first if first else 0.0,
        }
    return metrics


@pytest.fixture(scope="module")
def task():
    """1,200 documents, 9 queries of which 7 are judged, some with graded or unknown documents."""
    generator = np.random.default_rng(5)
    documents = [f"d{i}" for i in generator.permutation(1200)]
    queries = [f"q{i}" for i in range(8)] + ["d3"]
    judgements = {
        query: {
            f"d{i}": int(grade)
            for i, grade in zip(generator.choice(1200, 40), generator.integers(0, 3, 40), strict=True)
        }
        for query in queries
        if query not in ("q2", "q5")
    }
    judgements["q0"]["unknown"] = 1
    judgements["d3"]["d3"] = 2
    return queries, documents, judgements


@pytest.mark.parametrize("ignore_identical_ids", [False, True])
def test_metrics_are_their_definitions(task, ignore_identical_ids):
    queries, documents, judgements = task
    vectors = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    vectors[0][8] = vectors[1][documents.index("d3")]  # query d3 finds document d3 first
    scorer = RetrievalScorer(queries, documents, judgements, ignore_identical_ids=ignore_identical_ids)
    found = scorer.score_queries([vectors]).values
    assert scorer.n_queries == 7
    assert tuple(found) == METRICS
    wide = [matrix.astype(np.float64) for matrix in vectors]
    cosines = (wide[0] @ wide[1].T) / np.outer(*(np.linalg.norm(matrix, axis=1) for matrix in wide))
    for place, query in enumerate(query for query in queries if query in judgements):
        ranked = [documents[row] for row in np.argsort(-cosines[queries.index(query)])]
        if ignore_identical_ids:
            ranked = [document for document in ranked if document != query]
        expected = definition(ranked, judgements[query])
        assert {metric: values[place] for metric, values in found.items()} == pytest.approx(expected, abs=1e-12)


def test_one_document_more_is_ranked_where_the_own_one_is_left_out(task):
    queries, documents, _ = task
    vectors = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    vectors[0][8] = vectors[1][documents.index("d3")]
    behind = [documents[row] for row in np.argsort(-cosines([vectors])[8])][1000]
    only = {"d3": {behind: 1}}
    for ignored, found in ((False, 0.0), (True, 1.0)):
        scorer = RetrievalScorer(queries, documents, only, ignore_identical_ids=ignored)
        assert scorer.score([vectors])["recall_at_1000"] == found


def test_ties_go_to_the_larger_id():
    documents = ["b", "c", "a", "C", "é"]
    scorer = RetrievalScorer(["q"], documents, {"q": {"é": 1}})
    assert scorer.score([(np.ones((1, 2)), np.ones((5, 2)))])["mrr_at_1"] == 1.0
    scorer = RetrievalScorer(["q"], documents, {"q": {"C": 1}})
    assert scorer.score([(np.ones((1, 2)), np.ones((5, 2)))])["mrr_at_1000"] == 1 / 5


@pytest.mark.parametrize("counted", [0, 60])
def test_ranks_are_those_of_a_stable_sort_with_ties_to_the_larger_number(monkeypatch, counted):
    monkeypatch.setattr(ranking, "_COUNTED", counted)
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.choice(np.float32([-1, -0.5, -0.0, 0.0, 1e-30, 0.25, 1]), size=37)
        tie_break, relevant = generator.permutation(37), generator.choice(37, 5, replace=False)
        ranked = sorted(range(37), key=lambda document: (-values[document], -tie_break[document]))
        found = relevant_ranks(values, relevant, tie_break)
        assert found.ranks.tolist() == [ranked.index(document) for document in relevant]
        assert found.above.tolist() == [(values > values[document]).sum() for document in relevant]
        assert found.tied.tolist() == [(values == values[document]).sum() for document in relevant]


def test_slices_are_scored_as_their_concatenation():
    queries, documents = normal(6, 50, seed=1), normal(30, 50, seed=2)
    cuts = [(0, 7), (7, 8), (8, 50)]
    whole = cosines([(queries, documents)])
    assert np.array_equal(cosines([(queries[:, a:b], documents[:, a:b]) for a, b in cuts]), whole)


def test_a_strong_common_mean_does_not_cost_the_order():
    common = np.full(700, 1000, dtype=np.float32)
    queries, documents = normal(5, 700, seed=1) + common, normal(40, 700, seed=2) + common
    wide = [matrix.astype(np.longdouble) for matrix in (queries, documents)]
    norms = [np.sqrt((matrix**2).sum(axis=1)) for matrix in wide]
    exact = (wide[0] @ wide[1].T) / np.outer(*norms)
    assert np.abs(cosines([(queries, documents)]) - exact).max() <= 2**-24


def test_zero_vectors_have_cosine_zero():
    found = cosines([(np.float32([[0, 0], [1, 0]]), np.float32([[1, 1], [0, 0]]))])
    assert found == pytest.approx(np.array([[0, 0], [np.sqrt(0.5), 0]]))


@pytest.mark.parametrize("scale", [2.0**-20, 3.7, 2.0**30])
def test_scaling_vectors_changes_no_score(task, scale):
    queries, documents = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    scorer = RetrievalScorer(*task)
    expected = scorer.score_queries([(queries, documents)])
    found = scorer.score_queries([(queries * np.float32(scale), documents * np.float32(scale))])
    for metric in METRICS:
        assert np.array_equal(found.values[metric], expected.values[metric])
        assert np.array_equal(found.tie_spans[metric], expected.tie_spans[metric])


def test_the_order_of_queries_and_documents_changes_no_score(task):
    queries, documents, judgements = task
    vectors = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    vectors[1][100:120] = vectors[1][100]  # ties
    expected = RetrievalScorer(*task).score_queries([vectors])
    rows, columns = np.random.default_rng(1).permutation(9), np.random.default_rng(2).permutation(1200)
    scorer = RetrievalScorer([queries[row] for row in rows], [documents[row] for row in columns], judgements)
    found = scorer.score_queries([(vectors[0][rows], vectors[1][columns])])
    places = [RetrievalScorer(*task).query_ids.index(query) for query in scorer.query_ids]
    for metric in METRICS:
        assert np.array_equal(found.values[metric], expected.values[metric][places])
        assert np.array_equal(found.tie_spans[metric], expected.tie_spans[metric][places])


def test_blocks_of_queries_do_not_show(task, monkeypatch):
    vectors = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    whole = RetrievalScorer(*task).score([vectors])
    monkeypatch.setattr(scoring, "_BLOCK_ELEMENTS", 4 * 1200)
    monkeypatch.setattr(scoring, "_RANKED_QUERIES", 2)
    monkeypatch.setattr(inner_products, "_COLUMN_CHUNK", 3)
    monkeypatch.setattr(inner_products, "_TILE_ROWS", 500)
    scorer = RetrievalScorer(*task)
    assert scorer.query_blocks() == [slice(0, 3), slice(3, 7)]
    assert scorer.score([vectors]) == whole


def test_prefixes_are_scored_as_crops(task):
    queries, documents = normal(9, 40, seed=1), normal(1200, 40, seed=2)
    scorer = RetrievalScorer(*task)
    widths = [1, 8, 40]
    expected = [scorer.score([(queries[:, :width], documents[:, :width])]) for width in widths]
    assert [scores.means() for scores in scorer.score_prefixes(queries, documents, widths)] == expected
    for wrong in ([8, 8], [8, 4], [0, 4], [41]):
        with pytest.raises(ValueError, match="must ascend from 1 to at most 40"):
            scorer.score_prefixes(queries, documents, wrong)


def test_means_are_rounded_like_mtebs():
    assert mean_scores({"map_at_1": np.array([1, 0, 0]), "mrr_at_1": np.array([1, 0, 0])}) == {
        "map_at_1": 0.33333,
        "mrr_at_1": 1 / 3,
    }


def test_a_vector_that_is_not_finite_is_an_error_that_names_it(task):
    queries, documents = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    documents[task[1].index("d77")] = np.nan
    with pytest.raises(ValueError, match="cosine of query 'q0' and document 'd77' is not a number"):
        RetrievalScorer(*task).score([(queries, documents)])


@pytest.mark.parametrize("judgements", [{"c": {"d": 1}}, {"a": {}}])
def test_no_judged_query_is_an_error(judgements):
    with pytest.raises(ValueError, match="none of the 2 queries is judged"):
        RetrievalScorer(["a", "b"], ["d"], judgements)


def plain_pytrec(queries, documents, judgements, similarities, *, ignore_identical_ids):
    """The metrics that pytrec_eval gives to all similarities, and mrr, which is MTEB's own, by query."""
    measures = {"map": "map_cut", "ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
    run = {
        query: {
            document: float(value)
            for document, value in zip(documents, row, strict=True)
            if not (ignore_identical_ids and document == query)
        }
        for query, row in zip(queries, similarities, strict=True)
    }
    cutoffs = ",".join(map(str, CUTOFFS))
    evaluator = pytrec_eval.RelevanceEvaluator(judgements, {f"{measure}.{cutoffs}" for measure in measures.values()})
    found = {}
    for query, values in evaluator.evaluate(run).items():
        # trec_eval breaks ties towards the larger id.
        ranked = sorted(run[query], key=lambda document: (run[query][document], document), reverse=True)
        first = next((rank for rank, document in enumerate(ranked, 1) if judgements[query].get(document, 0) > 0), None)
        found[query] = {f"{name}_at_{k}": values[f"{measures[name]}_{k}"] for name in measures for k in CUTOFFS}
        found[query] |= {f"mrr_at_{k}": 1 / first if first and first <= k else 0.0 for k in CUTOFFS}
    return found


@pytest.mark.parametrize("ignore_identical_ids", [False, True])
@pytest.mark.parametrize("levels", [3, 40, 2000])
def test_metrics_of_each_query_are_pytrec_evals(task, levels, ignore_identical_ids):
    """Also where many similarities are equal, and where ids look like anything: numbers, other alphabets, nothing."""
    queries, documents, judgements = task
    names = {document: document for document in documents}
    names |= {
        f"d{i}": name for i, name in enumerate(["", "-", "-3", "--7", "~", "é", "中", "\U0001f600", "\uff5e"], 500)
    }
    names |= {f"d{i}": str(i) for i in range(600, 900)}
    judgements = {query: {names.get(d, d): relevance for d, relevance in j.items()} for query, j in judgements.items()}
    judgements["q1"] |= {names[f"d{i}"]: 1 for i in range(500, 520)} | {"17": 0, "d18": -1}
    documents = [names[document] for document in documents]
    generator = np.random.default_rng(levels)
    # Queries are unit vectors, so that cosines take few values where the documents do.
    vectors = np.eye(9, dtype=np.float32), np.ones((1200, 10), dtype=np.float32)
    vectors[1][:, :9] = generator.integers(-levels, levels, size=(1200, 9)) / levels
    vectors[1][:, 9] = np.sqrt(9 - (vectors[1][:, :9].astype(np.float64) ** 2).sum(axis=1))
    wide = np.pad(vectors[0], ((0, 0), (0, 1))), vectors[1]
    scorer = RetrievalScorer(queries, documents, judgements, ignore_identical_ids=ignore_identical_ids)
    found = scorer.score_queries([wide]).values
    similarities = dict(zip(queries, cosines([wide]), strict=True))
    expected = plain_pytrec(
        scorer.query_ids,
        documents,
        judgements,
        [similarities[query] for query in scorer.query_ids],
        ignore_identical_ids=ignore_identical_ids,
    )
    for place, query in enumerate(scorer.query_ids):
        assert {metric: found[metric][place] for metric in METRICS} == expected[query]


def ranked_in_every_order(groups):
    """Every ranking that there is if the documents of each group are equals."""
    for order in product(*(permutations(group) for group in groups)):
        yield [document for group in order for document in group]


@pytest.mark.parametrize("ignore_identical_ids", [False, True])
@pytest.mark.parametrize(
    "relevances",
    [
        {"b": 1},
        {"b": 2, "c": 1},
        {"b": 1, "c": 1, "d": 1},
        {"a": 1, "c": 2, "d": 1, "f": 1},
        {"e": 3, "f": 1, "q": 2, "g": 0, "absent": 2},
        {"a": 1, "g": 2},
        {"i": 1},
        {"c": 0, "d": -1, "b": 2},
    ],
)
def test_tie_spans_are_the_best_less_the_worst_of_all_orders(relevances, ignore_identical_ids):
    groups = ["a", "bcd", "qi", "efgh"]
    values = {document: value for value, group in zip((0.9, 0.5, 0.3, 0.1), groups, strict=True) for document in group}
    documents = sorted(values, key="dbahigcfqe".index)
    vectors = np.float32([[1, 0]]), np.float32([[values[d], np.sqrt(1 - values[d] ** 2)] for d in documents])
    scorer = RetrievalScorer(["q"], documents, {"q": relevances}, ignore_identical_ids=ignore_identical_ids)
    found = scorer.score_queries([vectors])
    left = [[document for document in group if not (ignore_identical_ids and document == "q")] for group in groups]
    all_orders = [definition(ranked, relevances) for ranked in ranked_in_every_order(left)]
    for metric in METRICS:
        scores = [scores[metric] for scores in all_orders]
        assert found.tie_spans[metric][0] == pytest.approx(max(scores) - min(scores), abs=1e-12)
        assert min(scores) - 1e-12 <= found.values[metric][0] <= max(scores) + 1e-12


def test_ties_across_the_last_rank_count():
    """Places 998 to 1001 are equals; one relevant document among them may be found or not."""
    documents = [f"d{i:04d}" for i in range(1100)]
    angles = np.linspace(0, 1, 1100)
    angles[997:1001] = angles[997]
    vectors = np.float32([[1, 0]]), np.float32([np.cos(angles), np.sin(angles)]).T
    for place, span in ((996, 0.0), (999, 1.0), (1002, 0.0)):
        scorer = RetrievalScorer(["q"], documents, {"q": {documents[place]: 1}})
        spans = scorer.score_queries([vectors]).tie_spans
        assert spans["recall_at_1000"] == [span]
        assert spans["mrr_at_1000"] == [pytest.approx(span / 998)]
        assert spans["recall_at_100"] == [0.0]


def test_texts_without_tokens_are_ties_with_all_others():
    documents = [f"d{i:04d}" for i in range(1100)]
    vectors = normal(2, 8, seed=1), normal(1100, 8, seed=2)
    vectors[0][0] = 0
    scorer = RetrievalScorer(["empty", "full"], documents, {query: {"d0007": 1} for query in ("empty", "full")})
    found = scorer.score_queries([vectors])
    for metric in ("recall_at_1000", "ndcg_at_1", "mrr_at_10"):
        assert found.values[metric][0] == 0  # "d0007" has one of the smallest ids
        assert found.tie_spans[metric].tolist() == [1.0, 0.0]
    assert found.mean_tie_spans()["hit_rate_at_1"] == 0.5


def test_threads_and_runs_do_not_show(monkeypatch):
    monkeypatch.setattr(inner_products, "_TILE_ROWS", 100)
    monkeypatch.setattr(scoring, "_RANKED_QUERIES", 3)
    documents, queries = [f"d{i}" for i in range(1150)], [f"q{i}" for i in range(40)]
    generator = np.random.default_rng(3)
    judgements = {query: {f"d{i}": 1 for i in generator.choice(1150, 9)} for query in queries}
    vectors = normal(40, 700, seed=1), normal(1150, 700, seed=2)
    vectors[1][:50] = vectors[1][0]
    found = [
        RetrievalScorer(queries, documents, judgements, threads=threads).score_queries([vectors])
        for threads in (1, 2, 5)
    ]
    assert any(spans.any() for spans in found[0].tie_spans.values())
    for other in found[1:]:
        for metric in METRICS:
            assert other.values[metric].tobytes() == found[0].values[metric].tobytes()
            assert other.tie_spans[metric].tobytes() == found[0].tie_spans[metric].tobytes()


def test_a_collection_of_one_document():
    scorer = RetrievalScorer(["q", "p"], ["d"], {"q": {"d": 1, "gone": 1}, "p": {"gone": 1}})
    found = scorer.score_queries([(normal(2, 4), normal(1, 4, seed=1))])
    assert found.values["recall_at_1000"].tolist() == [0.5, 0.0]
    assert found.values["precision_at_10"].tolist() == [0.1, 0.0]
    assert found.values["mrr_at_1"].tolist() == [1.0, 0.0]
    assert not any(spans.any() for spans in found.tie_spans.values())


def test_the_only_document_may_be_the_querys_own():
    scorer = RetrievalScorer(["d"], ["d"], {"d": {"d": 1}}, ignore_identical_ids=True)
    assert set(scorer.score([(normal(1, 4), normal(1, 4))]).values()) == {0.0}


def test_a_padded_table_is_scored_as_its_concatenation():
    queries, documents = normal(4, 60, seed=1), normal(30, 60, seed=2)
    table, draw = (queries[:, :20], documents[:, :20]), (queries[:, 20:], documents[:, 20:])
    ends = [[(draw[0][:, a:b], draw[1][:, a:b])] for a, b in ((0, 20), (20, 40))]
    sums = SlicedProducts(ends, threads=1).after_each_part(np.arange(4))
    narrow = next(sums).copy()
    wide = next(sums)
    own = next(SlicedProducts([[table]], threads=1).after_each_part(np.arange(4)))
    found = own.padded(wide, narrow, 0.25).cosines()
    joined = [np.concatenate([a, 0.25 * b[:, 20:]], axis=1) for a, b in zip(table, draw, strict=True)]
    assert np.abs(found - cosines([tuple(joined)])).max() <= 2**-24


def test_grades_far_below_zero_never_reach_pytrec_eval(monkeypatch):
    """They crash it, now and then, without a message: the junk of TREC's web tracks has grade -2."""
    given = []

    class Evaluator(pytrec_eval.RelevanceEvaluator):
        def __init__(self, grades, measures):
            given.append(grades)
            super().__init__(grades, measures)

    monkeypatch.setattr(pytrec_eval, "RelevanceEvaluator", Evaluator)
    vectors = [(np.ones((1, 2)), np.array([[1, 0], [1, 1], [0, 1]]))]
    grades = {"d0": -4, "d1": 1, "d2": -2}
    found = RetrievalScorer(["q"], ["d0", "d1", "d2"], {"q": grades}).score(vectors)
    assert given == [{"q": {"d0": 0, "d1": 1, "d2": 0}}]
    assert found["ndcg_at_10"] == 1

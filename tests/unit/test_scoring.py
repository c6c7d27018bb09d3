"""Cosines, rankings, metrics and the scripts that score, against definitions written out in the test."""

import numpy as np
import pyarrow as pa
import pytest

from lm_geometry import provenance
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.variants import variant_table
from lm_geometry.retrieval import scoring
from lm_geometry.retrieval.collection import Collection
from lm_geometry.retrieval.collection_tables import judgements_table, texts_table
from lm_geometry.retrieval.scoring import (
    CUTOFFS,
    METRICS,
    RetrievalScorer,
    cosine_similarities,
    mean_scores,
    rank_descending,
)
from lm_geometry.tables import collection as collection_schemas
from lm_geometry.tables import embedding_table, retrieval_scores, token_counts
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.schema import vector_array, vector_matrix
from scripts.collect_retrieval_scores import collect_retrieval_scores
from scripts.pool_collection import pool_collection
from scripts.score_random_tokenizer import score_random_tokenizer
from scripts.score_variants import score_variants


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def definition(ranked, relevances):
    """The metrics of one ranking, from their definitions."""
    gains = [relevances.get(document, 0) for document in ranked]
    hits = [gain > 0 for gain in gains]
    n_relevant = sum(relevance > 0 for relevance in relevances.values())
    ideal = sorted((relevance for relevance in relevances.values()), reverse=True)
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
    found = scorer.score_queries([vectors])
    assert scorer.n_queries == 7
    assert set(found) == set(METRICS)
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
    behind = [documents[row] for row in np.argsort(-cosine_similarities([vectors])[8])][1000]
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


@pytest.mark.parametrize("depth", [1, 5, 37, 50])
def test_ranking_is_a_stable_sort_with_ties_to_the_larger_column(depth):
    values = np.random.default_rng(0).choice(np.float32([-1, -0.5, -0.0, 0.0, 1e-30, 0.25, 1]), size=(20, 37))
    expected = [sorted(range(37), key=lambda column: (-row[column], -column)) for row in values]
    assert rank_descending(values, depth).tolist() == [row[:depth] for row in expected]


def test_slices_are_scored_as_their_concatenation():
    queries, documents = normal(6, 50, seed=1), normal(30, 50, seed=2)
    cuts = [(0, 7), (7, 8), (8, 50)]
    whole = cosine_similarities([(queries, documents)])
    assert np.array_equal(cosine_similarities([(queries[:, a:b], documents[:, a:b]) for a, b in cuts]), whole)


def test_a_strong_common_mean_does_not_cost_the_order():
    common = np.full(700, 1000, dtype=np.float32)
    queries, documents = normal(5, 700, seed=1) + common, normal(40, 700, seed=2) + common
    wide = [matrix.astype(np.longdouble) for matrix in (queries, documents)]
    norms = [np.sqrt((matrix**2).sum(axis=1)) for matrix in wide]
    exact = (wide[0] @ wide[1].T) / np.outer(*norms)
    assert np.abs(cosine_similarities([(queries, documents)]) - exact).max() <= 2**-24


def test_zero_vectors_have_cosine_zero():
    found = cosine_similarities([(np.float32([[0, 0], [1, 0]]), np.float32([[1, 1], [0, 0]]))])
    assert found == pytest.approx(np.array([[0, 0], [np.sqrt(0.5), 0]]))


def test_scaling_vectors_changes_no_score(task):
    queries, documents = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    scorer = RetrievalScorer(*task)
    assert scorer.score([(queries, documents)]) == scorer.score([(queries * 3, documents * np.float32(1e-3))])


def test_blocks_of_queries_do_not_show(task, monkeypatch):
    vectors = normal(9, 16, seed=1), normal(1200, 16, seed=2)
    whole = RetrievalScorer(*task).score([vectors])
    monkeypatch.setattr(scoring, "_BLOCK_ELEMENTS", 2500)
    monkeypatch.setattr(scoring, "_COLUMN_CHUNK", 3)
    assert RetrievalScorer(*task).score([vectors]) == whole


def test_prefixes_are_scored_as_crops(task):
    queries, documents = normal(9, 40, seed=1), normal(1200, 40, seed=2)
    scorer = RetrievalScorer(*task)
    widths = [1, 8, 40]
    expected = [scorer.score([(queries[:, :width], documents[:, :width])]) for width in widths]
    assert scorer.score_prefixes(queries, documents, widths) == expected
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


def test_no_judged_query_is_an_error():
    with pytest.raises(ValueError, match="none of the 2 queries is judged"):
        RetrievalScorer(["a", "b"], ["d"], {"c": {"d": 1}})


# The scripts, on a collection of 60 documents whose token counts and table are given.

ROWS, WIDTH = 64, 24
VARIANTS = ["as_is", "random", "crop_8", "crop_128", "pad_24", "pad_30", "pad_16"]
SETTINGS = {"table_precision": "bfloat16", "random_generator": "legacy_bf16", "ignore_identical_ids": False}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    generator = np.random.default_rng(3)
    counts = generator.poisson(0.1, size=(72, ROWS)).astype(np.int32)
    counts[5] = 0
    collection = Collection(
        documents={f"d{i}": "" for i in range(60)},
        queries={f"q{i}": "" for i in range(12)},
        judgements={f"q{i}": {f"d{j}": 1 for j in generator.choice(60, 4)} for i in range(10)},
    )
    paths = {name: folder / f"{name}.parquet" for name in ("corpus", "queries", "judgements", "counts")}
    origin = {"collection_sha256": collection.sha256()}
    write_table(paths["corpus"], texts_table(collection.documents), collection_schemas.TEXTS, origin=origin)
    write_table(paths["queries"], texts_table(collection.queries), collection_schemas.TEXTS, origin=origin)
    write_table(paths["judgements"], judgements_table(collection), collection_schemas.JUDGEMENTS, origin=origin)
    rows, columns = np.nonzero(counts)
    sides = np.where(rows < 60, "corpus", "queries")
    table = pa.table(
        {
            "side": sides,
            "row": np.where(rows < 60, rows, rows - 60),
            "token_id": columns,
            "count": counts[rows, columns],
        }
    )
    settings = {"max_length": 2048}
    write_table(paths["counts"], table, token_counts.SCHEMA, settings=settings, origin={"tokenizer_sha256": "t"})
    values = normal(ROWS, WIDTH, seed=4)
    columns = [np.arange(ROWS, dtype=np.int32), ["x"] * ROWS, [True] * ROWS, vector_array(values)]
    schema = embedding_table.schema(WIDTH)
    path = folder / "embedding_table.parquet"
    write_table(path, pa.table([pa.array(c) for c in columns], schema=schema), schema, origin={"model_id": "m"})
    return {"paths": paths, "table": path, "counts": counts, "values": values, "collection": collection}


@pytest.fixture(scope="module")
def scored(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    paths = inputs["paths"]
    texts = {name: paths[name] for name in ("counts", "corpus", "queries")}
    pooled, scores, baseline = (folder / f"{name}.parquet" for name in ("pooled", "scores", "baseline"))
    pool_collection(**texts, table=inputs["table"], pooled=pooled, table_precision="bfloat16")
    names = {"tokenizer_name": "tok", "collection": "mine", "random_seeds": [42, 7]}
    model = {"model": "m", "suite": "S", "revision": "main"}
    score_variants(pooled=pooled, **paths, scores=scores, variants=VARIANTS, **model, **names, **SETTINGS)
    score_random_tokenizer(
        **paths, tokenizer=folder, scores=baseline, widths=[32, 8], vocab_rows=ROWS, **names, **SETTINGS
    )
    return {"pooled": pooled, "scores": scores, "baseline": baseline}


def plain_scores(inputs, table):
    """Scores of a table by its definition: pool it as a whole, score it as a whole."""
    lengths = np.maximum(inputs["counts"].sum(axis=1, keepdims=True), 1)
    pooled = (inputs["counts"] @ table.astype(np.float64) / lengths).astype(np.float32)
    collection = inputs["collection"]
    scorer = RetrievalScorer(list(collection.queries), list(collection.documents), collection.judgements)
    return scorer.score([(pooled[60:], pooled[:60])])


def test_pooled_vectors_are_written_with_their_facts(inputs, scored):
    table = read_table(scored["pooled"])
    assert table["id"].to_pylist() == [*inputs["collection"].documents, *inputs["collection"].queries]
    assert table["side"].to_pylist() == ["corpus"] * 60 + ["queries"] * 12
    vectors = vector_matrix(table["vector"])
    assert not vectors[5].any()
    lengths = np.maximum(inputs["counts"].sum(axis=1, keepdims=True), 1)
    assert np.allclose(vectors, inputs["counts"] @ round_to_bfloat16(inputs["values"]) / lengths, rtol=0, atol=1e-6)
    facts = provenance.read(scored["pooled"])
    assert facts["settings"] == {"vocab_rows": ROWS, "embedding_dim": WIDTH, "table_precision": "bfloat16"}
    assert facts["origin"].keys() == {"collection_sha256", "tokenizer_sha256", "model_id"}


def test_every_variant_is_scored_as_its_own_table(inputs, scored):
    rows = read_table(scored["scores"]).to_pylist()
    table = round_to_bfloat16(inputs["values"])
    found = {(row["variant"], row["seed"], row["metric"]): row["value"] for row in rows}
    assert len(rows) == len(METRICS) * (1 + 2 + 1 + 1 + 2 + 2 + 2)
    for name in ("as_is", "crop_8", "random", "pad_24", "pad_30"):
        for seed in [None] if name in ("as_is", "crop_8") else [42, 7]:
            expected = plain_scores(inputs, variant_table(table, name, seed=seed or 0))
            assert {metric: found[name, seed, metric] for metric in METRICS} == pytest.approx(expected, abs=1e-9)
    assert found["random", 42, "ndcg_at_10"] != found["random", 7, "ndcg_at_10"]


def test_variants_that_the_model_cannot_have_are_rows_without_a_value(scored):
    rows = [row for row in read_table(scored["scores"]).to_pylist() if row["status"] != retrieval_scores.OK]
    assert {(row["variant"], row["seed"], row["width"], row["value"], row["status"]) for row in rows} == {
        ("crop_128", None, 128, None, "crop_128 needs 128 columns and the table has 24"),
        ("pad_16", 42, 16, None, "pad_16 is 16 columns wide and the table has 24 already"),
        ("pad_16", 7, 16, None, "pad_16 is 16 columns wide and the table has 24 already"),
    }
    assert len(rows) == 3 * len(METRICS)


def test_facts_in_the_rows(scored):
    row = read_table(scored["scores"]).to_pylist()[0]
    facts = {"model": "m", "suite": "S", "revision": "main", "tokenizer": "tok", "vocab_rows": ROWS}
    facts |= {"embedding_dim": WIDTH, "table_precision": "bfloat16", "collection": "mine", "n_queries": 10}
    assert {name: row[name] for name in facts} == facts


def test_random_tokenizer_widths_are_prefixes_of_one_draw(inputs, scored):
    rows = read_table(scored["baseline"]).to_pylist()
    found = {(row["width"], row["seed"], row["metric"]): row["value"] for row in rows}
    assert len(rows) == 2 * 2 * len(METRICS)
    for width in (8, 32):
        for seed in (42, 7):
            table = variant_table(np.zeros((ROWS, width), dtype=np.float32), "random", seed=seed)
            expected = plain_scores(inputs, table)
            assert {metric: found[width, seed, metric] for metric in METRICS} == pytest.approx(expected, abs=1e-9)
    assert {(row["model"], row["suite"], row["revision"], row["variant"]) for row in rows} == {
        (None, None, None, "random_tokenizer")
    }
    assert all(row["embedding_dim"] == row["width"] and row["vocab_rows"] == ROWS for row in rows)


def test_collected_scores_are_sorted_and_the_same_whatever_the_order(scored, tmp_path):
    files = [scored["scores"], scored["baseline"]]
    for name, order in (("a", files), ("b", files[::-1])):
        collect_retrieval_scores(scores=order, table=tmp_path / f"{name}.parquet", csv=tmp_path / f"{name}.csv")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    table = read_table(tmp_path / "a.parquet")
    assert table.num_rows == sum(read_table(file).num_rows for file in files)
    assert table.schema.names == retrieval_scores.SCHEMA.names
    assert table["model"].to_pylist()[-1] is None
    assert len((tmp_path / "a.csv").read_text().splitlines()) == table.num_rows + 1
    assert provenance.read(tmp_path / "a.parquet")["origin"]["model_id"] == "m"

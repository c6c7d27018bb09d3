"""The scripts that score variants of one table and a tokenizer's random tables, against tables scored as a whole."""

import numpy as np
import pyarrow as pa
import pytest
from small_collection import N_TOKENS, write_small_collection
from variant_tables import variant_table

from lm_geometry import provenance
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.retrieval.scoring import METRICS, RetrievalScorer
from lm_geometry.retrieval.variant_scores import VariantScore, scores_table
from lm_geometry.statistics.intervals import bootstrap_t_interval
from lm_geometry.tables import embedding_table, query_scores, retrieval_scores
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.schema import vector_array
from scripts.collect_retrieval_scores import collect_retrieval_scores
from scripts.find_principal_components import find_principal_components
from scripts.pool_collection import pool_collection
from scripts.score_random_tokenizer import score_random_tokenizer
from scripts.score_variants import score_variants

WIDTH = 24
VARIANTS = ["as_is", "crop_8", "crop_128", "crop_24", "crop_1"]
NAMES = {"tokenizer_name": "tok", "collection": "mine", "table_precision": "bfloat16", "ignore_identical_ids": False}
MODEL = {"model": "m", "suite": "S", "revision": "main"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return write_small_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(4).normal(size=(N_TOKENS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def pooled(collection, values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pooled")
    schema = embedding_table.schema(WIDTH)
    columns = [np.arange(N_TOKENS, dtype=np.int32), ["x"] * N_TOKENS, [True] * N_TOKENS, vector_array(values)]
    table = pa.table([pa.array(column) for column in columns], schema=schema)
    write_table(folder / "embedding_table.parquet", table, schema, origin={"model_id": "m"})
    texts = {name: collection.paths[name] for name in ("counts", "corpus", "queries")}
    pool_collection(
        **texts,
        table=folder / "embedding_table.parquet",
        pooled=folder / "pooled.parquet",
        table_precision="bfloat16",
    )
    return folder / "pooled.parquet"


def outputs_in(folder):
    return {name: folder / f"{name}.parquet" for name in ("scores", "query_scores")}


@pytest.fixture(scope="module")
def scored(collection, pooled, tmp_path_factory):
    outputs = outputs_in(tmp_path_factory.mktemp("scored"))
    score_variants(
        pooled=pooled, **collection.paths, components=[], **outputs, variants=VARIANTS, threads=1, **MODEL, **NAMES
    )
    return outputs


@pytest.fixture(scope="module")
def baseline(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    outputs = outputs_in(folder)
    settings = NAMES | {"random_generator": "legacy_bf16", "random_seeds": [42, 7]}
    score_random_tokenizer(
        **collection.paths, tokenizer=folder, **outputs, widths=[32, 8], vocab_rows=N_TOKENS, threads=2, **settings
    )
    return outputs


def by_score(outputs):
    """Return the rows of both tables by variant, width and seed: those of means by metric, of queries in order."""
    means, single = {}, {}
    for row in read_table(outputs["scores"]).to_pylist():
        means.setdefault((row["variant"], row["width"], row["seed"]), {})[row["metric"]] = row
    for row in read_table(outputs["query_scores"]).to_pylist():
        single.setdefault((row["variant"], row["width"], row["seed"]), []).append(row)
    return means, single


def assert_rows_are(expected, means, single):
    for metric in METRICS:
        assert means[metric]["value"] == pytest.approx(expected.means()[metric], abs=1e-9)
        assert means[metric]["tie_span"] == pytest.approx(expected.mean_tie_spans()[metric], abs=1e-9)
        assert means[metric]["status"] == retrieval_scores.OK
        assert means[metric]["pad_energy_share"] is None
        assert [row[metric] for row in single] == pytest.approx(expected.values[metric], abs=1e-9)


def test_first_columns_are_scored_as_their_own_table(collection, values, scored):
    means, single = by_score(scored)
    widths = {"as_is": 24, "crop_8": 8, "crop_24": 24, "crop_1": 1}
    assert single.keys() == {(name, width, None) for name, width in widths.items()}
    for name, width in widths.items():
        table = variant_table(round_to_bfloat16(values), name)
        assert_rows_are(collection.plain_scores(table), means[name, width, None], single[name, width, None])
        assert [row["query_id"] for row in single[name, width, None]] == list(collection.collection.judgements)


def test_a_crop_wider_than_the_table_is_a_gap_that_says_so(scored):
    rows = [row for row in read_table(scored["scores"]).to_pylist() if row["status"] != retrieval_scores.OK]
    assert {(row["variant"], row["width"], row["value"], row["ci_low"], row["status"]) for row in rows} == {
        ("crop_128", 128, None, None, "crop_128 needs 128 columns and the table has 24")
    }
    assert [row["metric"] for row in rows] == list(METRICS)


def test_variants_without_components_are_scored_as_changed_tables(collection, values, pooled, tmp_path):
    """The definition: take the mean row and the directions from the table's rows, then pool; an empty text is zero."""
    find_principal_components(
        table=pooled.with_name("embedding_table.parquet"),
        components=tmp_path / "components.parquet",
        table_precision="bfloat16",
    )
    variants = ["all_but_the_top", "as_is", "centered"]
    outputs = outputs_in(tmp_path)
    score_variants(
        pooled=pooled,
        **collection.paths,
        components=[tmp_path / "components.parquet"],
        **outputs,
        variants=variants,
        threads=1,
        **MODEL,
        **NAMES,
    )
    means, single = by_score(outputs)
    table = round_to_bfloat16(values)
    centered = table - table.mean(axis=0, dtype=np.float64)
    leading = np.linalg.svd(centered, full_matrices=False)[2][:1]  # a hundredth of 24 columns, at least one
    changed = {"as_is": table, "centered": centered, "all_but_the_top": centered - centered @ leading.T @ leading}
    assert {name for name, _, _ in single} == set(variants)
    for name in variants:
        assert_rows_are(collection.plain_scores(changed[name]), means[name, 24, None], single[name, 24, None])
    empty = [single[name, 24, None][-1] for name in variants]
    assert {tuple(row[metric] for metric in METRICS) for row in empty} == {tuple(empty[1][m] for m in METRICS)}


def test_no_variants_make_tables_without_rows(collection, pooled, tmp_path):
    outputs = outputs_in(tmp_path)
    score_variants(
        pooled=pooled, **collection.paths, components=[], **outputs, variants=[], threads=1, **MODEL, **NAMES
    )
    assert read_table(outputs["scores"]).schema.names == retrieval_scores.SCHEMA.names
    assert read_table(outputs["query_scores"]).schema.names == query_scores.schema(METRICS).names
    assert [read_table(path).num_rows for path in outputs.values()] == [0, 0]


def test_facts_in_the_rows(scored):
    facts = MODEL | {"tokenizer": "tok", "vocab_rows": N_TOKENS, "embedding_dim": WIDTH, "collection": "mine"}
    more = {"table_precision": "bfloat16", "n_queries": 10}
    assert all(row.items() >= (facts | more).items() for row in read_table(scored["scores"]).to_pylist())
    assert all(row.items() >= facts.items() for row in read_table(scored["query_scores"]).to_pylist())
    for path in scored.values():
        facts = provenance.read(path)
        assert facts["settings"]["max_length"] == 2048
        assert facts["origin"].keys() == {"collection_sha256", "tokenizer_sha256", "model_id"}


def test_intervals_are_bootstrap_t_over_queries(scored):
    means, single = by_score(scored)
    rows = single["as_is", 24, None]
    lows, highs = bootstrap_t_interval(np.array([[row[metric] for metric in METRICS] for row in rows]), limits=(0, 1))
    found = means["as_is", 24, None]
    assert [found[metric]["ci_low"] for metric in METRICS] == pytest.approx(lows)
    assert [found[metric]["ci_high"] for metric in METRICS] == pytest.approx(highs)


def test_one_judged_query_has_no_interval():
    vectors = np.float32([[1, 2]]), np.float32([[1, 0], [0, 1]])
    scores = RetrievalScorer(["q"], ["a", "b"], {"q": {"b": 1}}).score_queries([vectors])
    facts = dict.fromkeys(("vocab_rows", "embedding_dim", "n_queries"), 1)
    facts |= dict.fromkeys(("tokenizer", "table_precision", "collection"), "x")
    rows = scores_table([VariantScore("as_is", 2, None, scores)], **facts).to_pylist()
    assert {(row["ci_low"], row["ci_high"]) for row in rows} == {(None, None)}
    assert all(row["value"] is not None for row in rows)


def test_random_tokenizer_widths_are_prefixes_of_one_draw(collection, baseline):
    means, single = by_score(baseline)
    assert means.keys() == single.keys() == {("random_tokenizer", width, seed) for width in (8, 32) for seed in (42, 7)}
    for (name, width, seed), rows in means.items():
        table = variant_table(np.zeros((N_TOKENS, width), dtype=np.float32), "random", seed=seed)
        assert_rows_are(collection.plain_scores(table), rows, single[name, width, seed])
    for path in baseline.values():
        rows = read_table(path).to_pylist()
        assert {(row["model"], row["suite"], row["revision"]) for row in rows} == {(None, None, None)}
        assert all(row["embedding_dim"] == row["width"] and row["vocab_rows"] == N_TOKENS for row in rows)


def test_collected_scores_are_sorted_and_the_same_whatever_the_order(scored, baseline, tmp_path):
    files = [scored["scores"], baseline["scores"]]
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

"""Random columns from shared draws and sums, against padded tables that are made and scored as a whole."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from small_collection import N_DOCUMENTS, N_TOKENS, write_small_collection
from variant_tables import variant_table

from lm_geometry import provenance
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.variants import parse_variant
from lm_geometry.retrieval import inner_products, pooled_vectors, random_columns, random_pooling, scoring
from lm_geometry.retrieval.pooled_vectors import open_pooled_vectors
from lm_geometry.retrieval.random_columns import score_random_columns as score_tables
from lm_geometry.retrieval.scoring import METRICS, RetrievalScorer
from lm_geometry.tables import query_scores, retrieval_scores
from lm_geometry.tables.files import read_table
from scripts import score_random_columns as script
from scripts.score_random_columns import score_random_columns

VARIANTS = ["random", "pad_16", "pad_24", "pad_40", "pad_40_matched", "pad_24_matched", "pad_14336"]
SEEDS = [42, 7]
# Rows and columns of each model's table: two share rows and columns, and one has more rows than the tokenizer has ids.
SHAPES = {"a": (N_TOKENS, 24), "b": (N_TOKENS, 16), "c": (N_TOKENS, 24), "d": (N_TOKENS + 9, 40), "e": (N_TOKENS, 300)}
# Size of each table's entries: about that of a random table's, and in one so large that padding does nothing.
SCALES = {"a": 0.1, "b": 0.003, "c": 30.0, "d": 0.01, "e": 0.003}


def table_of(model):
    table = SCALES[model] * (np.random.default_rng(ord(model)).normal(size=SHAPES[model]) + 0.5)
    return round_to_bfloat16(table.astype(np.float32))


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return write_small_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def pooled(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pooled")
    return [collection.write_pooled(folder / f"{model}.parquet", table_of(model)) for model in SHAPES]


def split(vectors):
    return vectors[N_DOCUMENTS:], vectors[:N_DOCUMENTS]


def run(collection, pooled, folder, *, models=tuple(SHAPES), variants=VARIANTS, threads=1, **other):
    settings = {"table_precision": "bfloat16", "random_generator": "legacy_bf16", "ignore_identical_ids": False}
    outputs = {name: folder / f"{name}.parquet" for name in ("scores", "query_scores")}
    score_random_columns(
        pooled=pooled,
        **collection.paths,
        **outputs,
        runs=[{"model": model, "suite": "S", "revision": "main", "step": None} for model in models],
        tokenizer_name="tok",
        collection="mine",
        variants=variants,
        random_seeds=SEEDS,
        threads=threads,
        **settings | other,
    )
    return outputs


@pytest.fixture(scope="module")
def scored(collection, pooled, tmp_path_factory):
    return run(collection, pooled, tmp_path_factory.mktemp("scored"))


def test_every_variant_is_scored_as_its_own_table(collection, scored):
    means, single = {}, {}
    for row in read_table(scored["scores"]).to_pylist():
        means.setdefault((row["model"], row["variant"], row["seed"]), {})[row["metric"]] = row
    for row in read_table(scored["query_scores"]).to_pylist():
        single.setdefault((row["model"], row["variant"], row["seed"]), []).append(row)
    compared = 0
    for model, (_, columns) in SHAPES.items():
        for name in VARIANTS:
            for seed in SEEDS:
                rows = means[model, name, seed]
                if parse_variant(name).width(columns) < columns:
                    continue
                expected = collection.plain_scores(variant_table(table_of(model), name, seed=seed))
                of_queries = single[model, name, seed]
                assert [row["query_id"] for row in of_queries] == list(collection.collection.judgements)
                for metric in METRICS:
                    assert rows[metric]["value"] == pytest.approx(expected.means()[metric], abs=1e-9)
                    assert rows[metric]["tie_span"] == pytest.approx(expected.mean_tie_spans()[metric], abs=1e-9)
                    assert [row[metric] for row in of_queries] == pytest.approx(expected.values[metric], abs=1e-9)
                compared += 1
    assert compared == 2 * sum([6, 7, 6, 4, 2])


def test_seeds_differ_but_where_there_is_no_padding(scored):
    found = {}
    for row in read_table(scored["query_scores"]).to_pylist():
        found.setdefault((row["model"], row["variant"], row["seed"]), []).append(row["ndcg_at_1000"])
    for model, variant in {key[:2] for key in found}:
        same = found[model, variant, 42] == found[model, variant, 7]
        without_effect = SCALES[model] == 30 and parse_variant(variant).kind == "pad"
        assert same == (without_effect or parse_variant(variant).size == SHAPES[model][1])


def test_pads_narrower_than_the_table_are_rows_without_a_value(scored):
    rows = [row for row in read_table(scored["scores"]).to_pylist() if row["status"] != retrieval_scores.OK]
    assert {(row["model"], row["variant"], row["status"]) for row in rows} == {
        (model, f"pad_{size}{end}", f"pad_{size}{end} is {size} columns wide and the table has {columns} already")
        for model, (_, columns) in SHAPES.items()
        for size, end in ((16, ""), (24, ""), (24, "_matched"), (40, ""), (40, "_matched"))
        if size < columns
    }
    empty = ("value", "ci_low", "ci_high", "tie_span", "pad_energy_share")
    assert all(row[name] is None for row in rows for name in empty)
    assert Counter(row["seed"] for row in rows) == {42: len(rows) / 2, 7: len(rows) / 2}
    gaps = {(row["model"], row["variant"]) for row in rows}
    single = read_table(scored["query_scores"]).to_pylist()
    assert not gaps & {(row["model"], row["variant"]) for row in single}


def test_energy_shares_are_those_of_the_tables(collection, scored):
    shares = {
        (row["model"], row["variant"]): row["pad_energy_share"]
        for row in read_table(scored["scores"]).to_pylist()
        if row["status"] == retrieval_scores.OK
    }
    for (model, name), share in shares.items():
        columns, variant = SHAPES[model][1], parse_variant(name)
        if name == "random":
            assert share is None
        elif variant.kind == "pad_matched":
            assert share == pytest.approx((variant.size - columns) / variant.size, rel=1e-12)
        elif variant.size == columns:
            assert share == 0
        else:
            squares = np.square(variant_table(table_of(model), name).astype(np.float64)).sum(axis=0)
            assert share == pytest.approx(squares[columns:].sum() / squares.sum(), rel=0.15)


def test_facts_in_the_rows(scored):
    facts = {"suite": "S", "revision": "main", "tokenizer": "tok", "collection": "mine"}
    for table, more in (("scores", {"table_precision": "bfloat16", "n_queries": 10}), ("query_scores", {})):
        rows = read_table(scored[table]).to_pylist()
        assert all(row.items() >= (facts | more).items() for row in rows)
        shapes = {row["model"]: (row["vocab_rows"], row["embedding_dim"]) for row in rows}
        assert shapes == SHAPES
        assert all(row["width"] == (parse_variant(row["variant"]).size or row["embedding_dim"]) for row in rows)
        written = provenance.read(scored[table])
        assert written["origin"]["model_id"] == list(SHAPES)
        assert written["settings"]["random_seeds"] == SEEDS
    assert read_table(scored["query_scores"]).schema.names == query_scores.schema(METRICS).names


def test_intervals_hold_the_means(scored):
    rows = [row for row in read_table(scored["scores"]).to_pylist() if row["status"] == retrieval_scores.OK]
    assert all(row["ci_low"] - 1e-5 <= row["value"] <= row["ci_high"] + 1e-5 for row in rows)
    assert any(row["ci_low"] < row["value"] < row["ci_high"] for row in rows)


def test_each_random_table_is_pooled_once(collection, pooled, tmp_path, monkeypatch):
    drawn = Counter()

    def counting(counts, rows, columns, seed, *, n_columns, **settings):
        drawn[rows, columns, n_columns, seed] += 1
        return random_pooling.pool_random_table(counts, rows, columns, seed, n_columns=n_columns, **settings)

    monkeypatch.setattr(script, "pool_random_table", counting)
    run(collection, pooled, tmp_path, variants=["random", "pad_40", "pad_40_matched"])
    shapes = [(64, 14336, 300), (73, 14336, 40), (64, 40, 40)]
    assert drawn == {(*shape, seed): 1 for shape in shapes for seed in SEEDS}


def test_blocks_passes_and_threads_do_not_show(collection, pooled, scored, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK_ELEMENTS", 4 * N_DOCUMENTS)
    monkeypatch.setattr(scoring, "_RANKED_QUERIES", 2)
    monkeypatch.setattr(random_columns, "_PASS_ELEMENTS", 3 * N_DOCUMENTS)
    monkeypatch.setattr(pooled_vectors, "_BLOCK_ROWS", 10)
    found = run(collection, pooled, tmp_path, threads=3)
    for name in ("scores", "query_scores"):
        theirs, ours = (read_table(outputs[name]).to_pylist() for outputs in (scored, found))
        assert len(ours) == len(theirs)
        for one, other in zip(theirs, ours, strict=True):
            assert one == {key: pytest.approx(value, abs=1e-12) if value else value for key, value in other.items()}


def test_any_number_of_threads_writes_the_same_bytes(collection, pooled, tmp_path, monkeypatch):
    monkeypatch.setattr(inner_products, "_TILE_ROWS", 16)
    one, two = (run(collection, pooled, tmp_path / str(n), threads=n) for n in (1, 3))
    for name in ("scores", "query_scores"):
        assert one[name].read_bytes() == two[name].read_bytes()
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == ["query_scores.parquet", "scores.parquet"]


def test_own_ids_are_ignored_where_asked(collection, pooled, tmp_path):
    """By ids that coincide: the query q0 is called d3, a document that is judged relevant to it."""
    texts = collection.collection
    judgements = texts.judgements | {"d3": {"d3": 1, "d8": 1}}
    queries = ["d3", *list(texts.queries)[1:]]
    scorer = RetrievalScorer(queries, list(texts.documents), judgements, ignore_identical_ids=True)
    tables = [open_pooled_vectors(path, N_DOCUMENTS, 72) for path in pooled]

    def pool_draw(rows, columns, n_columns, seed):
        return split(collection.pool(variant_table(np.zeros((rows, columns), dtype=np.float32), "random", seed=seed)))

    names = ["random", "pad_14336_matched"]
    found = score_tables(
        tables,
        [parse_variant(name) for name in names],
        SEEDS,
        pool_draw=pool_draw,
        generator="legacy_bf16",
        scorer=scorer,
        scratch=tmp_path,
    )
    for model, scores in zip(SHAPES, found, strict=True):
        assert [(score.variant, score.seed) for score in scores] == list(product(names, SEEDS))
        for score in scores:
            table = variant_table(table_of(model), score.variant, seed=score.seed)
            expected = scorer.score_queries([split(collection.pool(table))])
            for metric in METRICS:
                assert score.scores.values[metric] == pytest.approx(expected.values[metric], abs=1e-12)
    assert scorer.query_ids[0] == "d3"
    assert expected.values["recall_at_1000"][0] == 0.5


def test_vectors_of_other_texts_are_an_error(collection, pooled, tmp_path):
    with pytest.raises(ValueError, match=r"a.parquet: holds the vectors of 72 texts, and the collection has 60 docu"):
        open_pooled_vectors(pooled[0], N_DOCUMENTS, 73)


@pytest.mark.parametrize("at_least", [1, 10, 2048])
def test_pooled_vectors_are_read_by_parts(collection, pooled, monkeypatch, at_least):
    monkeypatch.setattr(pooled_vectors, "_BLOCK_ROWS", at_least)
    vectors, expected = open_pooled_vectors(pooled[0], N_DOCUMENTS, 72), collection.pool(table_of("a"))
    assert np.array_equal(vectors.read(), expected)
    assert np.array_equal(vectors.queries(), expected[N_DOCUMENTS:])
    blocks = list(vectors.document_blocks())
    assert np.array_equal(np.concatenate(blocks), expected[:N_DOCUMENTS])
    assert all(len(block) >= at_least for block in blocks[:-1])
    changed = vectors.read(lambda block, rows: block + np.arange(72, dtype=np.float32)[rows, None])
    assert np.array_equal(changed, expected + np.arange(72, dtype=np.float32)[:, None])

"""The same config gives the same tables: on one core and on two, in passes of any size, in any order of jobs.

What may differ is the last digits of the hidden states, as a product of more rows adds up in another order. It is
told as a share of the largest value of the column, or of the statistic where a column holds several.
"""

import contextlib
import re

import checkout as checkouts
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from checkout import new_checkout
from result_files import digests
from small_collection import N_DOCUMENTS, N_TOKENS, write_small_collection
from tiny_models import VOCAB_ROWS, WORDS
from tiny_run import Run

from lm_geometry.embeddings import blocks, random_table
from lm_geometry.geometry import centred, layers, neighbors
from lm_geometry.retrieval import inner_products, pooled_vectors, pooling, random_columns, scoring
from lm_geometry.statistics import resampling
from lm_geometry.tables import embedding_table
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.schema import vector_array
from scripts.find_principal_components import find_principal_components
from scripts.measure_embedding_table import measure_embedding_table
from scripts.pool_collection import pool_collection
from scripts.score_random_columns import score_random_columns
from scripts.score_variants import score_variants

MOST = 1e-6
# A line through the lowest fifth of log(r2 / r1), where the two distances are nearly one: of twenty vectors it rests on
# four points, and noise of one rounding of float32 in the states moves it by 2e-6.
STEEP, MOST_OF_STEEP = "twonn_020|fit_gap", 1e-5

SETTINGS = {"n_batches": 2, "batch_size": 300, "duplicate_tolerance": 1e-5, "seed": 5}
WHOLE_CORPUS = 10**6


def differences(ours, theirs):
    """Return by how much two tables differ at most, by statistic or column; all but their fractions must be equal."""
    ours, theirs = (read_table(path).to_pandas() for path in (ours, theirs))
    fractions = list(theirs.select_dtypes("float"))
    pd.testing.assert_frame_equal(ours.drop(columns=fractions), theirs.drop(columns=fractions))
    assert ours[fractions].isna().equals(theirs[fractions].isna())
    kinds = [theirs[name] for name in ("statistic", "metric") if name in theirs]
    found = {}
    for name in fractions:
        apart = (ours[name] - theirs[name]).abs().groupby(kinds or (lambda _, name=name: name)).max()
        size = theirs[name].abs().groupby(kinds or (lambda _, name=name: name)).max()
        assert not apart[size == 0].any()
        for kind, share in (apart[size > 0] / size[size > 0]).items():
            found[kind] = max(share, found.get(kind, 0.0))
    return pd.Series(found, dtype=float)


def largest(pairs):
    """Return the largest difference of several pairs of tables."""
    return max(differences(*pair).max() for pair in pairs)


# The passes of a model over a corpus.


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A model of a width that real ones have, over chunks of all lengths, and its measures of one chunk a pass."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCAB_ROWS,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=64,
    )
    model = GPTNeoXModel(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.05 * torch.randn(tensor.shape))
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 40))) for _ in range(60)]
    run = Run(tmp_path_factory.mktemp("run"), model=model, texts=texts)
    return run, run.stream("alone", **SETTINGS, batch_tokens=1)


@pytest.mark.parametrize("batch_tokens", [37, 500, WHOLE_CORPUS])
def test_passes_of_any_size_give_the_same_measures(measured, batch_tokens):
    run, alone = measured
    found = run.stream(f"passes_{batch_tokens}", **SETTINGS, batch_tokens=batch_tokens)
    assert largest(zip(found, alone, strict=True)) <= MOST


def test_another_number_of_threads_gives_the_same_measures(measured):
    run, alone = measured
    found = run.stream("threads", **SETTINGS, batch_tokens=WHOLE_CORPUS, threads=2)
    told = pd.concat([differences(*pair) for pair in zip(found, alone, strict=True)])
    steep = told.index.str.contains(STEEP)
    assert told[~steep].max() <= MOST
    assert told[steep].max() <= MOST_OF_STEEP


def test_states_of_passes_of_any_size_are_the_same(measured):
    run, _ = measured
    alone, together = (run.dump(str(size), batch_tokens=size) for size in (1, WHOLE_CORPUS))
    for one, other in zip(alone, together, strict=True):
        ours, theirs = (read_table(run.folder / name / one["file"]) for name in ("1", str(WHOLE_CORPUS)))
        assert one["file"] == other["file"]
        assert ours.drop_columns("vector").equals(theirs.drop_columns("vector"))
        vectors, expected = (np.array(table["vector"].to_pylist()) for table in (ours, theirs))
        assert np.abs(vectors - expected).max() <= MOST * np.abs(expected).max()


# The blocks that products and sums are made in.


BLOCKS = {
    (blocks, "BLOCK_BYTES"): 4 * 24 * 7,
    (pooling, "_CHUNK_BYTES"): 32,
    (pooling, "_GATHERED_BYTES"): 4 * 24 * 9,
    (pooling, "_PART_BYTES"): 8 * 24 * 11,
    (pooled_vectors, "_BLOCK_ROWS"): 5,
    (inner_products, "_TILE_ROWS"): 7,
    (inner_products, "_COLUMN_CHUNK"): 5,
    (scoring, "_BLOCK_QUERIES"): 3,
    (scoring, "_RANKED_QUERIES"): 2,
    (random_columns, "_PASS_ELEMENTS"): 2 * N_DOCUMENTS,
    (random_table, "_BLOCK_ELEMENTS"): 16 * 24,
    (random_table, "_CACHED_GROUPS"): 2,
    (random_table, "_CACHED_WORDS"): 6,
    (resampling, "_BLOCK_ELEMENTS"): 40,
    (layers, "_BLOCK_ROWS"): 11,
    (centred, "_BLOCK_BYTES"): 8 * 24 * 3,
    (centred, "_PRODUCT_ROWS"): 5,
    (neighbors, "_BLOCK_BYTES"): 1_000,
}


@contextlib.contextmanager
def small_blocks():
    with pytest.MonkeyPatch.context() as patched:
        for (module, name), value in BLOCKS.items():
            assert getattr(module, name) > value
            patched.setattr(module, name, value)
        yield


def test_measures_do_not_depend_on_blocks(measured):
    run, _ = measured
    run.dump("layers", batch_tokens=WHOLE_CORPUS)
    plain = run.measure(**SETTINGS)
    kept = [path.rename(path.with_stem(f"plain_{path.stem}")) for path in plain]
    with small_blocks():
        found = run.measure(**SETTINGS)
    assert largest(zip(found, kept, strict=True)) <= MOST


def study_tables(collection, folder):
    """Make the tables of one embedding table and a collection in ``folder``, by the workflow's own scripts."""
    schema = embedding_table.schema(24)
    vectors = np.random.default_rng(4).normal(0.3, size=(N_TOKENS, 24)).astype(np.float32)
    columns = [np.arange(N_TOKENS, dtype=np.int32), ["x"] * N_TOKENS, [True] * N_TOKENS, vector_array(vectors)]
    folder.mkdir()
    paths = {name: folder / f"{name}.parquet" for name in ("table", "pooled", "components", "measures")}
    table = pa.table([pa.array(column) for column in columns], schema=schema)
    write_table(paths["table"], table, schema, origin={"model_id": "m"})
    shared = {"table_precision": "bfloat16"}
    texts = {name: collection.paths[name] for name in ("counts", "corpus", "queries")}
    pool_collection(**texts, table=paths["table"], pooled=paths["pooled"], **shared)
    find_principal_components(table=paths["table"], components=paths["components"], **shared)
    batches = {"n_batches": 3, "batch_size": 20, "seed": 0}
    measure_embedding_table(table=paths["table"], measures=paths["measures"], **batches, **shared)
    scores = {kind: [folder / f"{kind}_{name}.parquet" for name in ("scores", "query_scores")] for kind in "vr"}
    asked = {**collection.paths, "tokenizer_name": "t", "collection": "c", "ignore_identical_ids": False, "threads": 1}
    score_variants(
        pooled=paths["pooled"], components=[paths["components"]], model="m", suite="S", revision="main",
        variants=["as_is", "crop_9", "centered", "all_but_the_top"],
        scores=scores["v"][0], query_scores=scores["v"][1], **asked, **shared,
    )  # fmt: skip
    score_random_columns(
        pooled=[paths["pooled"]], runs=[{"model": "m", "suite": "S", "revision": "main", "step": None}],
        variants=["random", "pad_40", "pad_40_matched"], random_seeds=[42], random_generator="legacy_bf16",
        scores=scores["r"][0], query_scores=scores["r"][1], **asked, **shared,
    )  # fmt: skip
    return [paths["components"], paths["measures"], *scores["v"], *scores["r"]], paths["pooled"]


def test_tables_of_a_collection_do_not_depend_on_blocks(tmp_path):
    collection = write_small_collection(tmp_path)
    plain, pooled = study_tables(collection, tmp_path / "plain")
    with small_blocks():
        found, in_blocks = study_tables(collection, tmp_path / "blocks")
    for ours, theirs in zip(found, plain, strict=True):
        if "vector" not in read_table(theirs).column_names:
            assert not (differences(ours, theirs) > MOST).any(), theirs
    vectors, expected = (np.array(read_table(path)["vector"].to_pylist()) for path in (in_blocks, pooled))
    assert np.abs(vectors - expected).max() <= MOST * np.abs(expected).max()


# The whole workflow.


def tables_of(checkout):
    folder = checkout.folder / "results/tables"
    return {path.name: path for path in sorted(folder.glob("*.parquet"))}


def largest_difference(ours, theirs):
    """Return the largest difference of two runs' tables, and which statistic of which table has it."""
    ours, theirs = tables_of(ours), tables_of(theirs)
    assert ours.keys() == theirs.keys()
    told = pd.concat({name: differences(ours[name], theirs[name]) for name in theirs})
    return told.max(), " of ".join(reversed(told.idxmax()))


@pytest.mark.workflow
@pytest.mark.slow
def test_one_core_and_the_other_order_of_jobs_give_the_same_tables(finished, tmp_path, record_property):
    """And the same bytes, but for what sums on several threads: random columns are scored on as many as there are."""
    other = new_checkout(tmp_path / "project")
    # Each of these brings its own part of the graph with it.
    for name in list(reversed(tables_of(finished)))[::6]:
        other.run("--cores", "1", "--scheduler", "greedy", f"results/tables/{name}")
    other.run("--cores", "1", "--scheduler", "greedy")
    worst, name = largest_difference(other, finished)
    assert worst <= MOST, name
    expected, found = digests(finished.folder / "results"), digests(other.folder / "results")
    assert found.keys() == expected.keys()
    other_bytes = [path for path in expected if found[path] != expected[path]]
    assert all(re.search("retrieval|figures/(all_suites|random_baselines|suite_scaling)", path) for path in other_bytes)
    same = f"{len(expected) - len(other_bytes)} of {len(expected)} files the same bytes"
    told = f"one core, the last table first, and two: {same}; tables to {worst:.1e} of the largest value, in {name}"
    record_property("shown", told)


@pytest.mark.workflow
@pytest.mark.slow
def test_a_run_in_passes_of_another_size_gives_the_same_tables(finished, checkout, record_property):
    checkout.edit("tiny.yaml", "seed: 0", "seed: 0\n  batch_tokens: 40")
    assert "dump_hidden_states" in checkout.rules_to_run()
    checkout.run()
    worst, name = largest_difference(checkout, finished)
    assert worst <= MOST, name
    record_property("shown", f"passes of 40 tokens and of 2,048: {worst:.1e} of the largest value, in {name}")


@pytest.mark.workflow
@pytest.mark.slow
def test_products_on_two_threads_give_the_same_tables(finished, tmp_path, monkeypatch, record_property):
    plain = checkouts._clean_environment
    monkeypatch.setattr(checkouts, "_clean_environment", lambda: {**plain(), "OMP_NUM_THREADS": "2"})
    other = new_checkout(tmp_path / "project")
    other.edit("tiny.yaml", "seed: 0", "seed: 0\n  threads: 2")
    other.run()
    worst, name = largest_difference(other, finished)
    assert worst <= 10 * MOST, name
    record_property("shown", f"one thread and two: {worst:.1e} of the largest value, in {name}")

"""Measuring while the model runs against a dump that is measured."""

import gc
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import WORDS, build_model
from tiny_run import Run

from lm_geometry import provenance
from lm_geometry.hidden_states import LayerKey, LayerModel, TokenSequence, listed_checkpoint
from lm_geometry.hidden_states.passes import Pass
from lm_geometry.hidden_states.streaming import CorpusRows, DrawnRows, LayerTotals
from lm_geometry.tables.files import read_table

SETTINGS = {"n_batches": 3, "batch_size": 150, "duplicate_tolerance": 1e-5, "seed": 5}
LOOK_UP = LayerKey("decoder", 0, False)


def texts(count, shortest=8):
    """Return texts of up to 16 random words."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(shortest, 17))) for _ in range(count)]


def assert_alike(ours, theirs):
    """Assert that two tables have the same rows, counts and problems, and values that agree to 1e-6."""
    assert ours.drop_columns("value").equals(theirs.drop_columns("value"))
    values, expected = (np.array(table["value"].to_pylist(), dtype=float) for table in (ours, theirs))
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=0)
    assert np.isfinite(values).sum() > len(values) / 2


@pytest.mark.parametrize("family", ["gpt_neox", "t5", "bert", "opt_350m"])
def test_streaming_gives_what_a_dump_gives(tmp_path, family):
    run = Run(tmp_path, family, texts=texts(60))
    manifest = run.dump()
    dumped, streamed = run.measure(**SETTINGS), run.stream(**SETTINGS, batch_tokens=100)
    for ours, theirs in zip(streamed, dumped, strict=True):
        assert_alike(read_table(ours), read_table(theirs))
        facts, expected = provenance.read(ours), provenance.read(theirs)
        passing = {"hidden_states": "stream", "device": "cpu", "threads": 1, "batch_tokens": 100}
        assert facts == {**expected, "settings": {**expected["settings"], **passing}}
        assert expected["settings"]["hidden_states"] == "dump"
    layers = read_table(streamed[0]).select(["stack", "layer", "after_final_norm", "context_free"]).to_pylist()
    told = {tuple(layer.values()) for layer in layers}
    assert told == {(row["stack"], row["layer"], row["after_final_norm"], row["context_free"]) for row in manifest}


def test_a_state_that_is_no_number_is_named_and_nothing_is_written(tmp_path):
    model = build_model("gpt_neox")
    with torch.no_grad():
        model.get_input_embeddings().weight[6, 3] = float("nan")
    run = Run(tmp_path, model=model, texts=[*["the dog the dog the dog that dog run by it in one two"] * 30, "the cat"])
    settings = {**SETTINGS, "n_batches": 2, "batch_size": 40}
    with pytest.raises(
        ValueError, match=r"decoder layer 0: a hidden state is NaN or infinite, first at chunk 30, position 2"
    ):
        run.stream(**settings)
    assert not list(tmp_path.glob("*_stream_*"))
    assert not list(tmp_path.glob(".*"))


def test_what_is_held_does_not_grow_with_the_number_of_chunks(tmp_path, monkeypatch):
    plain, held = LayerModel.states, []

    def states(self, ids):
        tensors = [found for found in gc.get_objects() if isinstance(found, torch.Tensor)]
        held.append(sum({found.data_ptr(): found.untyped_storage().nbytes() for found in tensors}.values()))
        return plain(self, ids)

    monkeypatch.setattr(LayerModel, "states", states)
    most = {}
    for count in (60, 180):
        run = Run(tmp_path / str(count), texts=texts(count, shortest=16))  # so that passes are of one size
        held.clear()
        gc.collect()
        gc.freeze()  # what is there already is not looked through again
        try:
            run.stream(**{**SETTINGS, "batch_size": 50}, batch_tokens=64)
        finally:
            gc.unfreeze()
        most[count] = max(held)
    assert most[180] <= 1.01 * most[60]


def numbered(chunk, length):
    ids = np.arange(length, dtype=np.int32)
    return TokenSequence(chunk, ids, np.zeros(length, bool), truncated=False)


def passed(batch, vectors):
    return Pass(batch, {LOOK_UP: torch.as_tensor(vectors, dtype=torch.float32).reshape(len(batch), -1, 1)})


def test_drawn_rows_come_in_the_order_of_the_draw_and_one_that_never_comes_is_no_number():
    sequences = [numbered(chunk, 3) for chunk in (4, 2, 9)]
    corpus = CorpusRows(sequences)
    drawn = DrawnRows(np.array([7, 0, 4, 5]), corpus.tokens)
    for batch, vectors in (([sequences[2]], [60, 70, 80]), ([sequences[0]], [0, 10, 20])):
        drawn.add(passed(batch, vectors), corpus.rows(batch))
    vectors, tokens = drawn.cloud(LOOK_UP)
    np.testing.assert_array_equal(vectors.ravel(), [70, 0, np.nan, np.nan])
    assert tokens.chunk.tolist() == [9, 4, 2, 2]
    assert tokens.position.tolist() == [1, 0, 1, 2]


def test_that_a_layer_is_no_look_up_holds_for_the_batches_measured_before_it_showed():
    sequences = [numbered(chunk, 3) for chunk in range(4)]
    corpus, totals = CorpusRows(sequences), LayerTotals()
    records = []
    for batch, vectors in (([0, 1], [5, 6, 7, 5, 6, 7]), ([2, 3], [5, 6, 7, 5, 6, 8])):
        here = [sequences[chunk] for chunk in batch]
        totals.add(passed(here, vectors), corpus.tokens.take(corpus.rows(here)))
        ((_, place),) = totals.places()
        records.insert(0, {**place, "batch": batch[0]})
    assert [record["context_free"] for record in records] == [False, True]
    told = totals.measures(records, 0).batch_records
    assert [(record["batch"], record["context_free"]) for record in told] == [(0, False), (2, False)]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("mode", ["dump", "stream"])
def test_a_checkpoint_that_is_not_kept_is_removed_when_all_is_written(tmp_path, monkeypatch, mode, keep):
    run = Run(tmp_path, texts=texts(20))
    written = []

    def remove(files):
        written.append(sorted(path.name for path in tmp_path.glob("layers*.parquet")))

    cached = SimpleNamespace(lock=nullcontext, fetch=lambda files: None, folder=run.source, remove=remove)
    monkeypatch.setattr(listed_checkpoint, "_cached", lambda *_: cached)
    if mode == "dump":
        run.dump(keep_checkpoint=keep)
    else:
        run.stream(**{**SETTINGS, "n_batches": 2, "batch_size": 40}, keep_checkpoint=keep)
    outputs = {
        "dump": ["layers.parquet"],
        "stream": ["layers_stream_all_tokens.parquet", "layers_stream_batches.parquet"],
    }
    assert written == ([] if keep else [outputs[mode]])

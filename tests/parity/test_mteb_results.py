"""Our scores as MTEB's result files: it loads them, and they are what it writes itself for the same table."""

import json
from pathlib import Path

import mteb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mteb_peer import PlainEncoder, folder_task
from transformers import AutoTokenizer

from lm_geometry import provenance
from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.retrieval.collection import read_beir_folder
from lm_geometry.retrieval.pooling import mean_pool
from lm_geometry.retrieval.scoring import METRICS, RetrievalScorer
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer
from lm_geometry.tables.files import file_sha256, write_table
from lm_geometry.tables.retrieval_scores import SCHEMA
from scripts.write_mteb_results import write_mteb_results

SCIDOCS = {
    "mteb_task": "SCIDOCS",
    "mteb_revision": "f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88",
    "mteb_split": "test",
    "mteb_subset": "default",
}
FOLDER = {"collection_sha256": "4f5a"}


def score_rows(scores, **keys):
    """Return the rows of one scored table; without ``scores`` it has none."""
    facts = {
        "model": "pythia-14m",
        "suite": "Pythia",
        "revision": "main",
        "tokenizer": "EleutherAI/gpt-neox-20b",
        "vocab_rows": 50304,
        "embedding_dim": 128,
        "variant": "as_is",
        "width": 128,
        "seed": None,
        "table_precision": "bfloat16",
        "collection": "mine",
        "ci_low": None,
        "ci_high": None,
        "tie_span": 0.0,
        "pad_energy_share": None,
        "n_queries": 7,
        "status": "ok" if scores else "crop_256 needs 256 columns and the table has 128",
        **keys,
    }
    return [{**facts, "metric": metric, "value": scores and scores[metric]} for metric in METRICS]


def baseline_rows(scores, **keys):
    """Return the rows of a random tokenizer baseline."""
    none = dict.fromkeys(("model", "suite", "revision"))
    return score_rows(scores, **{**none, "variant": "random_tokenizer", "width": 512, "seed": 42, **keys})


def write(folder, rows, *, collection="mine", origin=None):
    path = folder / "scores.parquet"
    facts = {"settings": {"max_length": 2048}, "origin": origin or FOLDER}
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA, **facts)
    outputs = {"folder": folder / "mteb", "manifest": folder / "manifest.parquet"}
    write_mteb_results(scores=path, collection=collection, **outputs)
    return outputs


def made_scores(seed):
    return dict(zip(METRICS, np.random.default_rng(seed).random(len(METRICS)).round(5).tolist(), strict=True))


SCORED = {
    "lm-geometry/pythia-14m-as_is": {"variant": "as_is"},
    "lm-geometry/pythia-14m-crop_64": {"variant": "crop_64", "width": 64},
    "lm-geometry/pythia-14m-pad_512-seed-42": {"variant": "pad_512", "width": 512, "seed": 42},
    "lm-geometry/pythia-14m-pad_512-seed-43": {"variant": "pad_512", "width": 512, "seed": 43},
}
BASELINES = {
    "lm-geometry/EleutherAI-gpt-neox-20b-random_tokenizer-50304x512-seed-42": {},
    "lm-geometry/EleutherAI-gpt-neox-20b-random_tokenizer-50304x768-seed-42": {"width": 768},
    "lm-geometry/home-me-my-tokens-random_tokenizer-50304x512-seed-42": {"tokenizer": "/home/me/my tokens"},
}


@pytest.mark.parametrize(("collection", "origin"), [("cranfield", FOLDER), ("SCIDOCS", SCIDOCS)])
def test_mteb_loads_every_scored_table(tmp_path, collection, origin):
    expected = {name: made_scores(i) for i, name in enumerate([*SCORED, *BASELINES])}
    rows = [row for name, keys in SCORED.items() for row in score_rows(expected[name], **keys)]
    rows += [row for name, keys in BASELINES.items() for row in baseline_rows(expected[name], **keys)]
    outputs = write(tmp_path, rows, collection=collection, origin={"collection_sha256": "4f5a", **origin})
    loaded = mteb.ResultCache(outputs["folder"]).load_results()
    assert loaded.task_names == [collection]
    found = {one.model_name: one for one in loaded.model_results}
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        (result,) = found[name].task_results
        (values,) = result.scores["test"]
        assert {metric: values[metric] for metric in METRICS} == pytest.approx(scores, abs=1e-6)
        assert result.get_score() == values["main_score"] == values["ndcg_at_10"]
        assert result.dataset_revision == origin.get("mteb_revision", "sha256:4f5a")
        assert found[name].model_revision == ("main" if name in SCORED else "no_revision_available")
    frame = loaded.to_dataframe().set_index("task_name")
    assert {name: frame.loc[collection, name] for name in expected} == {
        name: pytest.approx(scores["ndcg_at_10"]) for name, scores in expected.items()
    }


def test_mteb_finds_the_tasks_splits_and_language_as_it_expects_them(tmp_path):
    outputs = write(tmp_path, score_rows(made_scores(0)), collection="SCIDOCS", origin={**FOLDER, **SCIDOCS})
    loaded = mteb.ResultCache(outputs["folder"]).load_results(
        tasks=mteb.get_tasks(["SCIDOCS"]), validate_and_filter=True
    )
    (result,) = loaded.model_results[0].task_results
    assert result.languages == ["eng"]
    assert result.get_missing_evaluations(mteb.get_task("SCIDOCS")) == {}


def test_the_task_s_own_main_score_and_split_are_taken(tmp_path):
    """MTEB judges FEVER's relative by another metric than ndcg_at_10; MSMARCO has no test split."""
    task = next(
        task
        for task in mteb.get_tasks(task_types=["Retrieval"], modalities=["text"])
        if task.metadata.main_score == "recall_at_10" and task.hf_subsets == ["default"]
    )
    origin = {**FOLDER, "mteb_task": task.metadata.name, "mteb_revision": "1", "mteb_split": "dev"}
    scores = made_scores(0)
    outputs = write(tmp_path, score_rows(scores), origin={**origin, "mteb_subset": "default"})
    (path,) = outputs["folder"].rglob(f"{task.metadata.name}.json")
    assert json.loads(path.read_text())["scores"]["dev"][0]["main_score"] == scores["recall_at_10"]


def test_a_file_is_what_mteb_writes_for_the_same_table(shared_data, tmp_path):
    """Under SCIDOCS' name, with Cranfield's data. Of MTEB's other keys, the nAUC of abstention is not ours to give."""
    folder = shared_data / "collections" / "cranfield"
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "opt")
    tokenizer.save_pretrained(tmp_path)
    table = np.concatenate(list(random_blocks(len(tokenizer), 64, 42)))
    encoder = PlainEncoder(tokenizer, table, name="lm-geometry/opt-125m-as_is")
    cache = mteb.ResultCache(tmp_path / "theirs")
    mteb.evaluate(
        encoder,
        folder_task(folder),
        cache=cache,
        co2_tracker=False,
        show_progress_bar=False,
        overwrite_strategy="always",
    )

    collection = read_beir_folder(folder)
    texts = [*collection.documents.values(), *collection.queries.values()]
    counts = count_tokens(texts, load_tokenizer(tmp_path / "tokenizer.json"))
    vectors = mean_pool(counts, [table], rows=len(table), columns=64)
    scorer = RetrievalScorer(list(collection.queries), list(collection.documents), collection.judgements)
    n_documents = len(collection.documents)
    scores = scorer.score([(vectors[n_documents:], vectors[:n_documents])])
    rows = score_rows(scores, model="opt-125m", revision="1", width=64)
    outputs = write(tmp_path, rows, collection="SCIDOCS", origin={**FOLDER, **SCIDOCS})

    relative = "results/lm-geometry__opt-125m-as_is/1/SCIDOCS.json"
    theirs, ours = (json.loads((root / relative).read_text()) for root in (tmp_path / "theirs", outputs["folder"]))
    (their_scores,), (our_scores,) = theirs.pop("scores")["test"], ours.pop("scores")["test"]
    assert {key: their_scores[key] for key in our_scores} == our_scores
    assert set(METRICS) < our_scores.keys()
    of_the_clock = {"evaluation_time", "date", "evaluation_phases"}
    assert ours.keys() == theirs.keys()
    assert {key: value for key, value in ours.items() if key not in of_the_clock} == {
        key: value for key, value in theirs.items() if key not in of_the_clock
    }
    assert {key: ours[key] for key in of_the_clock} == dict.fromkeys(of_the_clock)
    files = ("model_meta.json", "run_settings.jsonl")
    for name in files:
        assert (outputs["folder"] / relative).with_name(name).is_file()


def test_the_same_scores_write_the_same_bytes_again(tmp_path):
    rows = [*score_rows(made_scores(0)), *baseline_rows(made_scores(1))]
    first = folder_bytes(write(tmp_path, rows)["folder"])
    assert len(first) == 6
    again = tmp_path / "again"
    again.mkdir()
    assert folder_bytes(write(again, rows)["folder"]) == first
    # And over an older folder: nothing of it stays.
    write(again, baseline_rows(made_scores(1)))
    assert len(folder_bytes(write(again, score_rows(made_scores(0)))["folder"])) == 3


def folder_bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_manifest_names_every_file_and_its_table(tmp_path):
    rows = [*score_rows(made_scores(0), variant="pad_512", width=512, seed=42), *baseline_rows(made_scores(1))]
    outputs = write(tmp_path, rows)
    first, second = pq.read_table(outputs["manifest"]).to_pylist()
    for row in (first, second):
        path = outputs["folder"] / row["path"]
        assert file_sha256(path) == row["sha256"]
        assert json.loads(path.with_name("model_meta.json").read_text())["name"] == row["mteb_model"]
    assert (first["model"], first["variant"], first["seed"]) == ("pythia-14m", "pad_512", 42)
    assert (second["model"], second["revision"], second["width"]) == (None, None, 512)


def test_a_table_without_scores_has_no_file_and_is_counted(tmp_path):
    rows = [*score_rows(made_scores(0)), *score_rows(None, variant="crop_256", width=256)]
    outputs = write(tmp_path, rows)
    assert pq.read_table(outputs["manifest"]).num_rows == 1
    assert provenance.read(outputs["manifest"])["settings"]["tables_without_scores"] == 1


@pytest.mark.parametrize(
    ("rows", "origin", "message"),
    [
        (lambda: score_rows(made_scores(0))[1:], FOLDER, "'lm-geometry/pythia-14m-as_is' has no score map_at_1 and 0"),
        (
            lambda: [*baseline_rows(made_scores(0), tokenizer="a/b"), *baseline_rows(made_scores(0), tokenizer="a-b")],
            FOLDER,
            "a-b-random_tokenizer-50304x512-seed-42' names two scored tables",
        ),
        (
            lambda: score_rows(made_scores(0)),
            {"collection_sha256": ["4f5a", "77aa"]},
            "scores of several collections cannot be one MTEB task",
        ),
    ],
)
def test_what_mteb_cannot_tell_apart_is_an_error(tmp_path, rows, origin, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, rows(), origin=origin)

"""The plan: its rows, its text, its warnings, and the configs of both studies as models.csv has them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.configuration.checking import complete_config
from lm_geometry.configuration.view import Study
from lm_geometry.plan import cost, forward, plan_settings
from lm_geometry.plan.estimate import plan_rows
from lm_geometry.plan.forward import ON_CPU
from lm_geometry.plan.model_facts import model_facts
from lm_geometry.plan.passing import Passing
from lm_geometry.plan.reference_models import reference_config, reference_rows
from lm_geometry.plan.report import WIDTH, Machine, in_bytes, in_count, in_time, plan_text, warnings
from lm_geometry.tables import listing
from lm_geometry.tables.duplicate_checkpoints import SCHEMA as DUPLICATES
from lm_geometry.tables.files import write_table
from lm_geometry.tables.plan import SCHEMA
from scripts import plan as screen
from scripts import write_plan as script

PROJECT = Path(__file__).resolve().parents[2]
_ROWS = {row["hub_id"]: row for row in reference_rows()}
ON_GPU = Passing(gpu_bytes=80 * 10**9, most_gpus=8)
_PLENTY = Machine(10**15, 8, {"cache_dir": 10**18, "results_dir": 10**18}, one_disk=True)


def _files(hub_id):
    row = _ROWS[hub_id]
    value_bytes = 4 if "float32" in row["stored_dtype"] else 2
    return [ListedFile("model.safetensors", "weights", value_bytes * int(row["n_params"]), None, True)]


def _study(text, folder=PROJECT):
    return Study(complete_config(yaml.safe_load(text), [Path("config.yaml")], base=folder))


def _small(**changed):
    """A model that is scored and dumped, and a larger one that is dumped only; a part changed to None is left out."""
    config = {
        "models": {
            "a": {"source": "EleutherAI/pythia-160m", "suite": "Pythia"},
            "b": {"source": "EleutherAI/pythia-1b", "suite": "Other"},
        },
        "embedding_scaling": {"suites": ["Pythia"], "collection": "SCIDOCS"},
        "representation_dynamics": {"corpus": "enwik8", "profiles": ["a", "b"], "device": "cpu"},
        **changed,
    }
    return _study(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))


def _scaling_only(**changed):
    scaling = {"suites": ["Pythia"], "collection": "SCIDOCS", "variants": ["as_is"], **changed}
    models = {"a": {"source": "EleutherAI/pythia-160m", "suite": "Pythia"}}
    return _small(models=models, embedding_scaling=scaling, representation_dynamics=None)


def _rows(study, passing=ON_CPU):
    models = study.run_facts(study.runs)
    facts = [
        model_facts(_files(entry["source"]), reference_config(_ROWS[entry["source"]]))
        if entry["source"] in _ROWS
        else model_facts([], {})
        for entry in models
    ]
    return plan_rows(models, facts, plan_settings(study), passing)


def _plan(study, machine=_PLENTY):
    return plan_text(_rows(study), plan_settings(study), machine)


# -- rows ------------------------------------------------------------------------------------------------------------


def test_rows_say_what_is_fetched_for_which_study():
    first, second, total = _rows(_small())
    tensor = 50304 * 768 * 2
    assert tensor < first["table_fetch_bytes"] < tensor + 10**6
    assert second["table_fetch_bytes"] == 0
    assert first["checkpoint_fetch_bytes"] == first["checkpoint_bytes"] == _files("EleutherAI/pythia-160m")[0].size
    assert total["checkpoint_fetch_bytes"] == first["checkpoint_bytes"] + second["checkpoint_bytes"]
    assert total["memory_bytes"] == second["memory_bytes"]
    assert total["memory_rule"] == "dump_hidden_states"
    assert set(total) == set(SCHEMA.names) == set(first)


def test_a_local_source_fetches_nothing(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "mine" / name).write_text("{}")
    models = {"mine": {"source": str(tmp_path / "mine"), "suite": "Pythia"}}
    study = _small(models=models, representation_dynamics={"corpus": "enwik8", "profiles": ["mine"]})
    row, total = plan_rows(
        study.run_facts(study.runs),
        [model_facts(_files("EleutherAI/pythia-1b"), reference_config(_ROWS["EleutherAI/pythia-1b"]))],
        plan_settings(study),
        ON_CPU,
    )
    for one in (row, total):
        assert (one["table_fetch_bytes"], one["checkpoint_fetch_bytes"], one["cache_bytes"]) == (0, 0, 0)
    assert row["results_bytes"] > 0


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_removed_after_use_is_on_disk_once_at_a_time(kept):
    dynamics = {"corpus": "enwik8", "profiles": ["a", "b"], "keep_hidden_states": kept}
    first, second, total = _rows(_small(keep_checkpoints=kept, representation_dynamics=dynamics))
    join = sum if kept else max
    checkpoints = join([first["checkpoint_fetch_bytes"], second["checkpoint_fetch_bytes"]])
    assert total["cache_bytes"] == checkpoints + first["table_fetch_bytes"]
    assert total["dump_bytes"] == join([first["dump_bytes"], second["dump_bytes"]])


def test_a_gpu_is_faster_and_its_memory_is_told():
    slow, fast = _rows(_small())[1], _rows(_small(), ON_GPU)[1]
    assert slow["gpu_memory_bytes"] is None
    assert fast["gpu_memory_bytes"] > 4 * int(_ROWS["EleutherAI/pythia-1b"]["n_params"]) * 0.8
    assert fast["forward_seconds"] < slow["forward_seconds"] / 2


def test_baselines_of_a_tokenizer_count_in_the_total_only():
    without, with_them = _rows(_scaling_only()), _rows(_scaling_only(random_tokenizer={}))
    assert with_them[:-1] == without[:-1]
    assert with_them[-1]["memory_rule"] == "score_random_tokenizer"
    assert with_them[-1]["memory_bytes"] > 4 * 14336 * sum(cost.TEXTS_ASSUMED)
    assert with_them[-1]["other_seconds"] > without[-1]["other_seconds"]


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embedding_scaling", "representation_dynamics", "modern", "pythia_small"])
def test_text_fits_the_screen(name):
    text = _plan(_study((PROJECT / "configs" / f"{name}.yaml").read_text()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    table = lines[: lines.index("")]
    assert table[-1].startswith("total")
    assert {len(line) for line in table} == {len(table[0])}
    assert text.endswith("\n")


def test_long_names_keep_their_size_or_step_and_columns_stay_aligned():
    name = "a-model-with-a-name-that-takes-more-room-than-there-is-on-a-line-of-a-screen-and-ends-in-80b"
    models = {name: {"source": "EleutherAI/pythia-1b", "suite": "Pythia", "revision": "step1000-tokens" + "0" * 20}}
    study = _small(models=models, representation_dynamics={"corpus": "enwik8", "profiles": [name]})
    line = _plan(study).splitlines()[2]
    assert len(line) <= WIDTH
    assert line.startswith("a-model-with")
    assert "ends-in-80b  " in line
    assert f"  step1000-tokens{'0' * 4}…  " in line


def test_columns_without_an_entry_are_left_out():
    heading = _plan(_study((PROJECT / "configs" / "embedding_scaling.yaml").read_text())).splitlines()[0].split()
    assert "forward" not in heading
    assert "GPU" not in heading
    assert {"tables", "disk", "memory", "jobs"} < set(heading)


def test_rates_and_guesses_are_stated():
    text = _plan(
        _small(models={"a": {"source": "some/other", "suite": "Pythia"}, "b": {"source": "x/y", "suite": "Z"}})
    )
    assert f"{cost.NETWORK_RATE / 1e6:g} MB/s" not in text  # nothing is known to fetch
    assert f"{forward.CPU_FLOPS['float32'] / 1e9:g} GFLOP/s" in text
    assert "~" in text.splitlines()[2]
    assert "note: parameters marked ~ are guessed from the files' size (2 of 2)" in text
    assert f"{cost.NETWORK_RATE / 1e6:g} MB/s" in _plan(_small())


def test_a_collection_that_is_not_known_is_said_to_be_assumed():
    assert "assumed" not in _plan(_small())
    scaling = {"suites": ["Pythia"], "collection": "NFCorpus"}
    assert "25,657 documents and 1,000 queries are assumed" in _plan(_small(embedding_scaling=scaling))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_960, "10 kB"),
        (999_600, "1.0 MB"),
        (30.4e9, "30 GB"),
        (None, "-"),
    ],
)
def test_sizes_are_for_people(size, text):
    assert in_bytes(size) == text


def test_counts_and_times_are_for_people():
    assert [in_count(value) for value in (14_067_712, 1_011_781_632, 176e9)] == ["14M", "1.0B", "176B"]
    assert [in_time(value) for value in (0.0, 59.0, 61.0, 5400.0, 86400 * 3.04, None)] == [
        "0 s", "59 s", "1.0 min", "1.5 h", "3.0 days", "-",
    ]  # fmt: skip


# -- warnings --------------------------------------------------------------------------------------------------------


def _warnings(study, **changed):
    facts = {"memory_bytes": 10**15, "n_gpus": 8, "free_bytes": _PLENTY.free_bytes, "one_disk": True, **changed}
    return warnings(_rows(study), plan_settings(study), Machine(**facts))


def test_a_machine_that_will_do_is_not_warned_of():
    assert _warnings(_small()) == []
    assert "WARNING" not in _plan(_small())


def test_too_little_memory_names_the_job():
    (warning,) = _warnings(_small(), memory_bytes=5 * 10**9)
    assert warning.startswith("dump_hidden_states of b takes ")
    assert warning.endswith("of memory and this machine has 5.0 GB")
    (warning,) = _warnings(_small(embedding_scaling=None), memory_bytes=10**9)
    assert warning.endswith("of memory and this machine has 1.0 GB (the most of 2 jobs)")


def test_too_little_memory_for_the_baselines():
    (warning,) = _warnings(_scaling_only(random_tokenizer={}), memory_bytes=2 * 10**9)
    assert warning.startswith("score_random_tokenizer takes ")


def test_too_little_disk_names_the_key_and_the_folder():
    total = _rows(_small())[-1]
    little = {"cache_dir": total["cache_bytes"] - 1, "results_dir": total["results_bytes"]}
    (warning,) = _warnings(_small(cache_dir="/c", results_dir="/r"), free_bytes=little, one_disk=False)
    assert warning.startswith("cache_dir /c has ")
    little = {"cache_dir": total["cache_bytes"], "results_dir": total["results_bytes"] - 1}
    (warning,) = _warnings(_small(cache_dir="/c", results_dir="/r"), free_bytes=little, one_disk=False)
    assert warning.startswith("results_dir /r has ")


def test_one_disk_must_hold_both():
    total = _rows(_small())[-1]
    free = total["cache_bytes"] + total["results_bytes"]
    enough, little = ({"cache_dir": size, "results_dir": size} for size in (free, free - 1))
    assert _warnings(_small(), free_bytes=enough) == []
    (warning,) = _warnings(_small(cache_dir="/c", results_dir="/r"), free_bytes=little)
    assert warning.startswith("cache_dir /c and results_dir /r lie on one disk with ")


def test_forward_passes_of_more_than_a_day_without_a_gpu():
    dynamics = {"corpus": "enwik8", "profiles": ["a", "b"], "n_chunks": 100_000, "device": "cpu"}
    study = _small(representation_dynamics=dynamics)
    assert _warnings(study) == []
    (warning,) = _warnings(study, n_gpus=0)
    assert warning.startswith("no GPU: the forward passes of b take ")


# -- the script ------------------------------------------------------------------------------------------------------


def _resolved(tmp_path, study):
    listings, configs = [], []
    for entry in study.run_facts(study.runs):
        folder = tmp_path / entry["model"]
        folder.mkdir()
        write_table(folder / "listing.parquet", listing_table(_files(entry["source"])), listing.SCHEMA)
        (folder / "config.json").write_text(json.dumps(reference_config(_ROWS[entry["source"]])))
        listings.append(folder / "listing.parquet")
        configs.append(folder / "config.json")
    return {"listings": listings, "configs": configs, "models": study.run_facts(study.runs)}


def _written(tmp_path, study, **changed):
    outputs = {"plan": tmp_path / "plan.parquet", "csv": tmp_path / "plan.csv"}
    inputs = {**_resolved(tmp_path, study), "study": plan_settings(study)}
    script.write_plan(**{**inputs, **outputs, **changed})
    return outputs


def test_script_writes_a_row_per_revision_and_the_total(tmp_path):
    study = _small(cache_dir=str(tmp_path / "not" / "there"), results_dir=str(tmp_path / "results"))
    outputs = _written(tmp_path, study)
    table = pq.read_table(outputs["plan"]).to_pylist()
    assert table == _rows(study)
    assert [row["model"] for row in table] == ["a", "b", None]
    assert outputs["csv"].read_text().count("\n") == 4
    # What it costs does not depend on where it is run.
    assert str(tmp_path) not in str(pq.read_schema(outputs["plan"]).metadata)


def test_plan_on_the_screen_is_held_against_the_disk_as_it_is_now(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(screen.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    study = _small(cache_dir=str(tmp_path / "not" / "there"), results_dir=str(tmp_path / "results"))
    row = {field.name: None for field in DUPLICATES} | {"source": "x/y", "status": "ok", "is_genuine": False}
    rows = [{**row, "model": "a", "revision": name, "is_copy": name != "step9"} for name in ("step1", "step2", "step9")]
    write_table(tmp_path / "duplicates.parquet", pa.Table.from_pylist(rows, schema=DUPLICATES), DUPLICATES)
    plan, duplicates = _written(tmp_path, study)["plan"], [tmp_path / "duplicates.parquet"]
    screen.plan(table=plan, duplicates=duplicates, study=plan_settings(study))
    said = capsys.readouterr().out
    assert "WARNING: a: 2 checkpoints carry another one's weights" in said
    assert "lie on one disk with 1 B free" in said
    assert said.startswith(_plan(study).splitlines()[0])


def test_listings_must_be_those_of_the_models(tmp_path):
    with pytest.raises(ValueError, match="2 models and revisions need as many listings and configs, got 1 and 2"):
        _written(tmp_path, _small(), listings=[tmp_path / "a" / "listing.parquet"])


# -- the studies -----------------------------------------------------------------------------------------------------


def test_tables_of_the_blog_are_a_small_part_of_its_checkpoints():
    """Two thirds of the tables are BLOOM's; 36 hub models of the blog and the five original T5."""
    study = _study((PROJECT / "configs" / "embedding_scaling.yaml").read_text())
    rows = _rows(study)
    tensors = sum(
        int(row["vocab_rows"]) * int(row["emb_dim"]) * (4 if "float32" in row["stored_dtype"] else 2)
        for row in (_ROWS[entry["source"]] for entry in study.run_facts(study.runs))
    )
    assert tensors < rows[-1]["table_fetch_bytes"] < tensors + len(rows) * 10**6
    assert 15e9 < rows[-1]["table_fetch_bytes"] < 35e9
    assert rows[-1]["checkpoint_bytes"] > 25 * rows[-1]["table_fetch_bytes"]
    sys.stdout.write(_plan(study))


def test_paper_fits_no_laptop():
    study = _study((PROJECT / "configs" / "representation_dynamics.yaml").read_text())
    laptop = Machine(16 * 10**9, n_gpus=0, free_bytes={"cache_dir": 10**11, "results_dir": 10**11}, one_disk=True)
    found = warnings(_rows(study), plan_settings(study), laptop)
    assert any("dump_hidden_states" in warning for warning in found)
    sys.stdout.write(_plan(study, laptop))

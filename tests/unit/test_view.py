"""What a config asks for: which tokenizers are shared, which files are watched, which studies are left out."""

import json

import pytest

from lm_geometry.configuration.checking import with_defaults
from lm_geometry.configuration.view import Run, Study, either


def study(models, **sections):
    return Study(with_defaults({"models": models, **sections}))


@pytest.fixture
def revisions(tmp_path):
    """A folder with a model per sub-folder, and a training state beside its files."""
    for step in ("step1", "step2"):
        (tmp_path / step / "optimizer").mkdir(parents=True)
        for name in ("config.json", "tokenizer.json", "model.safetensors", "optimizer/state.pt", ".hidden"):
            (tmp_path / step / name).write_text(json.dumps(step))
    return tmp_path


def test_a_models_own_files_are_watched_and_no_others(revisions):
    models = {"a": {"source": str(revisions), "suite": "S", "revision": "step2"}}
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    assert study(models).models.files("a", "step2") == [str(revisions / "step2" / name) for name in names]
    assert study(models).models.origins("a") == []


def test_a_folder_with_a_config_is_main_whatever_lies_beside_it(revisions):
    (revisions / "config.json").write_text("{}")
    (revisions / "main").mkdir()
    models = {"a": {"source": str(revisions), "suite": "S"}}
    assert study(models).models.files("a", "main") == [str(revisions / "config.json")]


def test_revisions_of_one_source_have_tokenizers_of_their_own(revisions):
    models = {step: {"source": str(revisions), "suite": "S", "revision": step} for step in ("step1", "step2")}
    found = study(models)
    assert found.models.tokenizer("step1") != found.models.tokenizer("step2")
    assert [found.models.tokenizer_revision(found.models.tokenizer(step)) for step in models] == ["step1", "step2"]
    assert found.models.tokenizer_source(found.models.tokenizer("step2")) == str(revisions)


def test_models_that_name_one_tokenizer_share_it_at_main():
    entry = {
        "source": "EleutherAI/pythia-14m",
        "suite": "S",
        "tokenizer": "EleutherAI/gpt-neox-20b",
        "revision": "step8",
    }
    found = study({"a": entry, "b": {**entry, "source": "EleutherAI/pythia-31m"}})
    assert found.models.tokenizer("a") == found.models.tokenizer("b") == "hub/EleutherAI/gpt-neox-20b"
    assert found.models.tokenizer_revision("hub/EleutherAI/gpt-neox-20b") == "main"
    assert found.models.tokenizer_files("hub/EleutherAI/gpt-neox-20b") == []


def test_embedded_models_share_the_tokenizer_of_their_recipe():
    models = {name: {"source": f"embedded:{name}", "suite": "S"} for name in ("neox-16", "neox-32", "bert-64")}
    found = study(models)
    assert found.models.tokenizer("neox-16") == found.models.tokenizer("neox-32") == "embedded/gpt_neox"
    assert found.models.tokenizer("bert-64") == "embedded/bert"
    assert found.models.source("neox-16") == "results/embedded/models/neox-16"
    assert found.models.origins("neox-16") == ["results/embedded/manifests/neox-16.parquet"]


def test_a_study_that_is_left_out_asks_for_nothing():
    models = {"neox-16": {"source": "embedded:neox-16", "suite": "S"}}
    scaling = {"suites": ["S"], "collection": "embedded", "variants": ["as_is", "pad_64"], "random_seeds": [1]}
    dynamics = {"corpus": "embedded", "profiles": ["neox-16"]}
    without_dynamics = study(models, embedding_scaling=scaling)
    assert (
        without_dynamics.dynamics.runs,
        without_dynamics.dynamics.corpus_path,
        without_dynamics.dynamics.corpus_files(),
    ) == (
        [],
        None,
        [],
    )
    assert without_dynamics.scaling.widest == 64
    without_scaling = study(models, representation_dynamics=dynamics)
    assert (
        without_scaling.scaling.runs,
        without_scaling.scaling.collection_path,
        without_scaling.scaling.lowercase,
    ) == (
        [],
        None,
        False,
    )
    assert without_scaling.figure_files("png") == [
        "results/figures/profiles.png",
        "results/figures/dimension_scale.png",
    ]
    assert without_scaling.runs == [Run("neox-16", "main")]


def test_steps_are_read_from_names():
    dynamics = {
        "corpus": "embedded",
        "profiles": ["neox-64"],
        "training": {"neox-64": {"revisions": ["step0", "step64"]}},
    }
    found = study({"neox-64": {"source": "embedded:neox-64", "suite": "S"}}, representation_dynamics=dynamics)
    assert [entry["step"] for entry in found.run_facts(found.dynamics.runs)] == [None, 0, 64]


def test_either_matches_names_and_nothing_else():
    import re

    pattern = re.compile(either(["a.b", "a.b-c"]))
    assert pattern.fullmatch("a.b-c")
    assert not pattern.fullmatch("axb")
    assert not re.fullmatch(either([]), "")


def test_an_optional_model_whose_path_is_absent_is_left_out_of_every_study(tmp_path):
    path = tmp_path / "opt.pt"
    there_or_not = {"source": str(path), "optional": True}
    models = {
        "opt-175b": {**there_or_not, "suite": "OPT", "tokenizer": "a/b", "reference": "opt-175b"},
        "opt-125m": {"source": "facebook/opt-125m", "suite": "OPT"},
        "alone": {**there_or_not, "suite": "Alone", "tokenizer": "a/c"},
    }
    scaling = {"suites": ["OPT", "Alone"], "collection": "embedded", "random_tokenizer": {}}
    found = study(models, embedding_scaling=scaling)
    assert found.runs == [Run("opt-125m", "main")]
    assert found.scaling.suites == ["OPT"]
    assert found.models.tokenizers == ["hub/facebook/opt-125m"]
    assert found.scaling.left_out(["OPT"]) == [
        {"model": "opt-175b", "suite": "OPT", "hub_id": None, "reference": "opt-175b"}
    ]
    path.touch()
    assert Run("opt-175b", "main") in study(models, embedding_scaling=scaling).runs


def test_what_a_published_copy_was_copied_from_is_listed_with_it():
    model = {"source": "EleutherAI/pythia-2.8b", "suite": "Pythia"}
    training = {"pythia": {"revisions": ["step1000", "step54000", "step75000"]}}
    found = study({"pythia": model}, representation_dynamics={"corpus": "enwik8", "training": training})
    partners = [Run("pythia", "main"), Run("pythia", "step143000")]
    assert found.compared_runs == [*found.runs, *partners]
    assert [run.revision for run in found.runs] == training["pythia"]["revisions"]


def test_one_file_of_weights_is_watched(tmp_path):
    path = tmp_path / "restored.pt"
    path.touch()
    models = {"opt-175b": {"source": str(path), "suite": "OPT", "tokenizer": "facebook/opt-350m"}}
    assert study(models).models.files("opt-175b", "main") == [str(path)]
    assert study(models).models.left_out_words() == []
    path.unlink()
    models["opt-175b"]["optional"] = True
    assert study(models).models.left_out_words() == [f"left out: opt-175b: {path} does not exist"]


def test_models_that_are_trained_here_have_no_row_in_a_plan():
    models = {"neox-16": {"source": "embedded:neox-16", "suite": "S"}, "b": {"source": "x/y", "suite": "S"}}
    found = study(models, embedding_scaling={"suites": ["S"], "collection": "embedded"})
    assert found.planned_runs == [Run("b", "main")]


SMALL = {name: {"source": f"embedded:{name}", "suite": "S"} for name in ("neox-16", "neox-32")}
SCALING = {"suites": ["S"], "collection": "embedded", "variants": ["as_is", "random", "pad_64_matched", "centered"]}


def test_variants_with_random_columns_are_scored_for_all_models_of_a_tokenizer_at_once():
    found = study(SMALL, embedding_scaling=SCALING).scaling
    assert found.plain_variants == ["as_is", "centered"]
    assert found.random_variants == ["random", "pad_64_matched"]
    assert found.random_columns_files("scores") == [
        "results/retrieval/embedded/random_columns/embedded/gpt_neox/scores.parquet"
    ]
    assert found.runs_of_tokenizer("embedded/gpt_neox") == [Run("neox-16", "main"), Run("neox-32", "main")]
    assert found.uses_components(Run("neox-16", "main"))
    without = study(SMALL, embedding_scaling={**SCALING, "variants": ["random"]}).scaling
    assert (without.plain_variants, len(without.model_files("scores"))) == ([], 1)


def test_a_table_over_training_is_scored_as_it_is_and_drawn_with_no_suite():
    training = {"neox-16": {"revisions": ["step0", "step64"]}}
    models = {"neox-16": {"source": "EleutherAI/pythia-14m", "suite": "S"}}
    found = study(models, embedding_scaling={**SCALING, "training": training})
    final, *followed = Run("neox-16", "main"), Run("neox-16", "step0"), Run("neox-16", "step64")
    assert found.scaling.runs == [final]
    assert found.runs == [final, *followed]
    assert found.scaling.training_runs == followed
    assert [found.scaling.variants_of(run) for run in followed] == [["as_is"]] * 2
    assert not found.scaling.uses_components(followed[0])
    assert [entry["step"] for entry in found.run_facts(found.runs)] == [None, 0, 64]
    assert len(found.scaling.model_files("scores")) == 2
    assert "results/tables/embedding_training.parquet" in found.table_files()
    assert "results/figures/embedding_training/neox-16.png" in found.figure_files("png")


def test_a_published_copy_that_a_table_is_followed_over_is_listed_with_what_it_was_copied_from():
    models = {"pythia": {"source": "EleutherAI/pythia-2.8b", "suite": "S"}}
    training = {"pythia": {"revisions": ["step1000"]}}
    found = study(models, embedding_scaling={**SCALING, "training": training})
    assert set(found.compared_runs) >= {Run("pythia", "step1000"), Run("pythia", "main")}


def test_published_values_are_drawn_of_their_own_collection_only():
    for collection, drawn in (("SCIDOCS", True), ("embedded", False)):
        found = study(SMALL, embedding_scaling={**SCALING, "collection": collection})
        assert ("results/figures/published_comparison.png" in found.figure_files("png")) == drawn
        assert "results/tables/published_comparison.parquet" in found.table_files()


def test_random_baselines_of_tokenizers_that_no_model_has(tmp_path):
    for name in ("one/tok", "two/tok"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "tokenizer.json").write_text("{}")
    folders = [str(tmp_path / name) for name in ("one/tok", "two/tok")]
    baselines = {"tokenizers": ["openai-community/gpt2", "embedded:gpt_neox", *folders]}
    found = study(SMALL, embedding_scaling={**SCALING, "random_tokenizer": baselines})
    assert found.scaling.tokenizers == ["embedded/gpt_neox"]
    own, gpt2, *others = found.scaling.baseline_tokenizers
    assert (own, gpt2, len(set(others))) == ("embedded/gpt_neox", "hub/openai-community/gpt2", 2)
    assert [found.models.tokenizer_label_of(name) for name in others] == folders
    assert found.models.tokenizer_files(others[0]) == [f"{folders[0]}/tokenizer.json"]
    assert study(SMALL, embedding_scaling=SCALING).scaling.baseline_tokenizers == []

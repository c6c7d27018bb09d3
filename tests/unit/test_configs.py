"""The configs that come with the project name the models, tokenizers and settings of the studies they are for."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from lm_geometry.configuration import load_config
from lm_geometry.configuration.schema import with_defaults

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((PROJECT / "configs").glob("*.yaml"))


def reference(name):
    with (PROJECT / "reference" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read(name):
    return with_defaults(yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")))


MODELS = {row["model"]: row for row in reference("models")}
BLOG, PAPER, MODERN = read("embedding_scaling"), read("representation_dynamics"), read("modern")
DEFECTS = {(row["hub_id"], row["revision"]): row for row in reference("known_checkpoint_defects")}

# The step branches that EleutherAI publishes of every Pythia model.
PYTHIA_STEPS = {0, *(2**k for k in range(10)), *range(1000, 143_001, 1000)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_valid_without_any_file_beside_it(path, tmp_path):
    assert load_config(path, base=tmp_path)["models"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_first_what_it_reproduces_what_it_fetches_and_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    head = text[: text.index("results_dir:")]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "Fetched: " in head
    assert "ated" in head, "it says whether models are gated"
    assert f"snakemake plan --cores 2 --configfile configs/{path.name}" in head
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_writes_to_a_folder_of_its_own_and_names_no_dimension(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config["results_dir"] == f"results/{path.stem}"
    allowed = {"source", "suite", "tokenizer", "optional", "reference", "weight_files"}
    assert {key for model in config["models"].values() for key in model} <= allowed


@pytest.mark.parametrize("config", [BLOG, PAPER, read("pythia_small")], ids=["blog", "paper", "pythia_small"])
def test_every_model_of_the_studies_is_in_models_csv_under_its_name(config):
    for name, model in config["models"].items():
        row = MODELS[name.removesuffix("-own")]
        repositories = {row["hub_id"], row["checkpoints_hub_id"]} - {""}
        assert model["source"] in repositories or model["reference"] == name == "opt-175b"
        assert model["suite"] == row["suite"]


# -- the embedding study -----------------------------------------------------------------------------------------------


def test_the_embedding_study_is_all_of_the_blog_s_models_and_the_original_t5():
    blog = {name for name, row in MODELS.items() if row["in_blog"] == "true"}
    original = {name for name, row in MODELS.items() if row["suite"] == "T5"}
    assert (len(blog), len(original)) == (37, 5)
    assert set(BLOG["models"]) == blog | original
    assert set(BLOG["embedding_scaling"]["suites"]) == {MODELS[name]["suite"] for name in blog | original}
    assert "representation_dynamics" not in BLOG


def test_the_embedding_study_takes_the_blog_s_tokenizers():
    for name, model in BLOG["models"].items():
        assert model["tokenizer"] == MODELS[name]["tokenizer_hub_id"]


def test_opt_175b_is_a_local_file_that_may_be_absent():
    model = BLOG["models"]["opt-175b"]
    assert model == {
        "source": "./opt-175b/restored.pt",
        "suite": "OPT",
        "tokenizer": "facebook/opt-350m",
        "optional": True,
        "reference": "opt-175b",
        "revision": "main",
        "trust_remote_code": False,
    }
    assert [name for name, other in BLOG["models"].items() if other.get("optional")] == ["opt-175b"]


def test_the_embedding_study_has_the_published_variants_and_seeds():
    section = BLOG["embedding_scaling"]
    scores = reference("published_embedding_scaling")
    ours = {"pad_14336_matched", "centered", "all_but_the_top"}
    assert set(section["variants"]) - ours == {row["variant"] for row in scores}
    assert set(map(str, section["random_seeds"])) == {row["seed"] for row in scores}
    assert (section["collection"], section["ignore_identical_ids"]) == ("SCIDOCS", True)
    assert (section["table_precision"], section["random_generator"]) == ("bfloat16", "legacy_bf16")


def test_the_random_baselines_are_the_published_ones():
    section = BLOG["embedding_scaling"]["random_tokenizer"]
    baselines = reference("published_random_baseline")
    assert set(map(str, section["widths"])) == {row["embedding_dim"] for row in baselines}
    assert set(map(str, section["seeds"])) == {row["seed"] for row in baselines}
    # The study's names of the tokenizers, by the tokenizer that models.csv gives its models.
    by_name = {name.casefold(): row for name, row in MODELS.items()}
    tokenizers = {
        row["tokenizer"]: by_name[row["model"].casefold()]["tokenizer_hub_id"]
        for row in reference("published_embedding_scaling")
    }
    published = {tokenizers[row["tokenizer"]]: int(row["vocab_rows"]) for row in baselines}
    assert len(published) == 5
    assert section["vocab_rows"] == published | {"google-t5/t5-small": published["google/t5-v1_1-small"]}


# -- the study of hidden states ----------------------------------------------------------------------------------------


def test_the_paper_s_config_has_its_models_and_one_size_where_it_names_none():
    sure = {n for n, row in MODELS.items() if row["in_paper"] == "true" and "does not say" not in row["in_paper_note"]}
    unsure = {row["suite"]: set() for row in MODELS.values() if "does not say" in row["in_paper_note"]}
    assert set(unsure) == {"BERT", "RoBERTa", "ALBERT", "GPT-2"}
    added = {"pythia-1.4b", "pythia-2.8b-own"}
    chosen = set(PAPER["models"]) - sure
    assert sure <= set(PAPER["models"])
    assert sorted(MODELS[name]["suite"] for name in chosen - added) == sorted(unsure)
    over_training = {name for name in sure if "over training only" in MODELS[name]["in_paper_note"]}
    assert over_training == {"pythia-2.8b", "bloom-3b"}
    dynamics = PAPER["representation_dynamics"]
    assert set(dynamics["profiles"]) == set(PAPER["models"]) - over_training - added
    assert set(dynamics["training"]) == over_training | added
    assert "embedding_scaling" not in PAPER


def training(config, model):
    return config["representation_dynamics"]["training"][model]["revisions"]


def test_what_the_branches_of_pythia_2_8b_hold_of_their_own_is_read_at_steps_that_have_some():
    own, served = PAPER["models"]["pythia-2.8b-own"], PAPER["models"]["pythia-2.8b"]
    assert own["source"] == served["source"]
    assert own["weight_files"].index("pytorch_model.bin") < own["weight_files"].index("model.safetensors")
    # Steps without weights of their own, by the hub's listing (reference/README.md).
    empty = {"step26000", "step53000", "step54000", "step103000"}
    empty |= {f"step{step}000" for step in (*range(56, 60), *range(61, 65))}
    assert not set(training(PAPER, "pythia-2.8b-own")) & empty


def test_the_training_of_pythia_2_8b_shows_the_defect_and_genuine_steps_beside_it():
    revisions = training(PAPER, "pythia-2.8b")
    listed = {name: DEFECTS.get((PAPER["models"]["pythia-2.8b"]["source"], name)) for name in revisions}
    wrong = [name for name, defect in listed.items() if defect and defect["genuine"] != name]
    assert wrong == revisions[:10]
    assert {defect["genuine"] for defect in listed.values() if defect} == {"main", "step143000"}
    assert len(revisions) - len(wrong) == 10
    assert revisions[-1] == "step143000"


def test_the_control_is_followed_at_the_same_steps_and_is_free_of_copies_but_for_the_first_update():
    assert training(PAPER, "pythia-1.4b") == training(PAPER, "pythia-2.8b")
    source = PAPER["models"]["pythia-1.4b"]["source"]
    assert [name for name in training(PAPER, "pythia-1.4b") if (source, name) in DEFECTS] == ["step1"]


@pytest.mark.parametrize("config", [PAPER, MODERN, read("pythia_small")], ids=["paper", "modern", "pythia_small"])
def test_the_step_pattern_reads_every_revision_in_rising_order(config):
    section = config["representation_dynamics"]
    pattern = section.get("step_pattern", r"step(\d+)")
    for model, entry in section["training"].items():
        steps = [int(re.fullmatch(pattern, name).group(1)) for name in entry["revisions"]]
        assert steps == sorted(set(steps)), model
        if config["models"][model]["source"].startswith("EleutherAI/pythia"):
            assert set(steps) <= PYTHIA_STEPS


def test_the_two_configs_with_several_naming_schemes_share_one_pattern():
    patterns = {config["representation_dynamics"]["step_pattern"] for config in (PAPER, MODERN)}
    assert len(patterns) == 1
    assert re.fullmatch(patterns.pop(), "stage2-ingredient1-step1000-tokens3B") is None


def test_repositories_of_checkpoints_alone_take_the_finished_model_s_tokenizer():
    for config in (PAPER, MODERN):
        for name, model in config["models"].items():
            if "-intermediate" in model["source"]:
                assert model["tokenizer"] == model["source"].split("-intermediate")[0], name


# -- current suites ----------------------------------------------------------------------------------------------------


def test_the_current_suites_have_several_sizes_and_one_tokenizer_each():
    suites = MODERN["embedding_scaling"]["suites"]
    for suite in suites:
        models = [model for model in MODERN["models"].values() if model["suite"] == suite]
        assert len(models) >= 3
        assert {model["tokenizer"] for model in models} == {models[0]["source"]}
    # None is a model of the studies, whose facts models.csv has.
    known = {row["hub_id"] for row in MODELS.values()}
    assert not known & {model["source"] for model in MODERN["models"].values()}


def test_olmo_s_branches_name_the_tokens_that_their_step_has_seen():
    for name in training(MODERN, "OLMo-2-1B"):
        step, tokens = re.fullmatch(r"stage1-step(\d+)-tokens(\d+)B", name).groups()
        # 512 sequences of 4096 tokens a step, rounded up to a billion.
        assert int(tokens) == -(-int(step) * 512 * 4096 // 10**9)


def test_every_gated_model_is_said_to_be_gated():
    page = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
    gated = {row["suite"] for row in MODELS.values() if row["gated"] == "true" and row["hub_id"]}
    assert gated == {"Llama-2"}
    for suite in ("Llama-2", "Llama 3", "Gemma 2"):
        assert suite in page.split("## Gated models")[1].split("\n## ")[0]
    for config, names in (("representation_dynamics", ["Llama-2"]), ("modern", ["Llama 3", "Gemma 2"])):
        head = (PROJECT / "configs" / f"{config}.yaml").read_text(encoding="utf-8").split("results_dir:")[0]
        assert all(name in head for name in names)
        assert "HF_TOKEN" in head

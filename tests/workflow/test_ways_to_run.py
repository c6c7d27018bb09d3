"""The workflow runs plain, with --configfile, -s, -d and as a module, and its results can be read by others."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_graph import JOBS

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow


@pytest.fixture
def fresh(tmp_path):
    from checkout import new_checkout

    return new_checkout(tmp_path / "project")


def test_whole_graph_is_as_expected(fresh):
    assert fresh.rules_to_run() == JOBS


def test_streamed_states_are_measured_by_the_rule_that_makes_them(fresh):
    fresh.edit("tiny.yaml", "keep_hidden_states: true", "hidden_states: stream")
    expected = {name: count for name, count in JOBS.items() if name != "measure_geometry"}
    expected["stream_geometry"] = expected.pop("dump_hidden_states")
    assert fresh.rules_to_run() == expected


def test_chunks_may_be_counted_by_the_tokenizer_of_a_model(fresh):
    fresh.edit("tiny.yaml", "chunk_characters: 256", "chunk_tokens: {length: 64, tokenizer: tiny-bert}")
    assert fresh.rules_to_run() == JOBS


def test_one_file_of_weights_is_a_model_and_an_absent_one_is_said_to_be_left_out(fresh):
    """As OPT-175B comes: its table is read, and no forward pass is asked for."""
    entry = "  one: {source: ./one.pt, suite: Tiny, tokenizer: 'embedded:gpt_neox', optional: true}"
    fresh.edit("tiny.yaml", "embedding_scaling:", f"{entry}\nembedding_scaling:")
    said = fresh.run("--dry-run")
    assert "left out: one: ./one.pt does not exist" in said
    assert fresh.rules_to_run() == JOBS
    (fresh.folder / "one.pt").write_bytes(b"weights")
    rules = fresh.rules_to_run()
    more = {name: count - JOBS[name] for name, count in rules.items() if count != JOBS[name]}
    of_a_table = ("extract_embedding_table", "pool_collection", "find_principal_components", "score_variants")
    assert more == {"resolve_model": 1, "measure_embedding_table": 1, **dict.fromkeys(of_a_table, 1)}


def test_a_study_whose_models_are_all_absent_is_refused_in_one_line(fresh):
    entry = '{source: "embedded:tiny-neox-16", suite: Tiny, revision: step8}'
    fresh.edit("tiny.yaml", entry, "{source: ./no.pt, suite: Tiny, tokenizer: 'embedded:gpt_neox', optional: true}")
    text = (fresh.folder / "tiny.yaml").read_text()
    (fresh.folder / "tiny.yaml").write_text(
        text.replace("  training: {tiny-16: {revisions: [step0, step8]}}\n", "").replace(
            "[tiny-16, tiny-bert]", "[tiny-bert]"
        )
    )
    done = fresh.snakemake("--dry-run")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "embedding_scaling.suites: Tiny: all of their models are optional and absent; add their files"


def test_a_study_that_is_left_out_leaves_no_hole_in_a_path(fresh):
    config = fresh.folder / "tiny.yaml"
    scaling = config.read_text().partition("representation_dynamics:")[0]
    config.write_text("".join(line for line in scaling.splitlines(keepends=True) if "tiny-bert:" not in line))
    assert "double '/'" not in fresh.run("--dry-run")


def test_from_a_foreign_folder_with_snakefile_and_directory(fresh, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    options = ("-s", str(fresh.folder / "Snakefile"), "-d", str(work))
    assert fresh.rules_to_run(*options, cwd=foreign, config=str(fresh.folder / "tiny.yaml")) == JOBS
    assert not list(foreign.iterdir())


def test_as_module_of_another_workflow(fresh, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "Snakefile").write_text(
        "import yaml\n"
        f"module geometry:\n    snakefile: {str(fresh.folder / 'Snakefile')!r}\n"
        f"    config: yaml.safe_load(open({str(fresh.folder / 'tiny.yaml')!r}))\n"
        "use rule * from geometry as geometry_*\n"
        "rule mine:\n    default_target: True\n    input: rules.geometry_collect_retrieval_scores.output\n"
    )
    rules = fresh.rules_to_run(cwd=outer, config=None)
    assert rules["geometry_collect_retrieval_scores"] == 1
    assert "geometry_dump_hidden_states" not in rules
    fresh.run("results/embedded/collection/corpus.jsonl", cwd=outer, config=None)
    assert (outer / "results/embedded/collection/corpus.jsonl").is_file()


def test_config_stands_alone(fresh):
    """No key of the embedded default leaks into a config of one's own."""
    text = (fresh.folder / "tiny.yaml").read_text()
    (fresh.folder / "tiny.yaml").write_text(text[: text.index("representation_dynamics:")])
    fresh.edit("tiny.yaml", '  tiny-bert: {source: "embedded:tiny-bert-16", suite: Tiny-BERT}\n', "")
    rules = fresh.rules_to_run()
    assert "dump_hidden_states" not in rules
    assert rules["train_model"] == 1


def test_either_study_can_be_left_out(fresh):
    text = (fresh.folder / "tiny.yaml").read_text()
    start, end = text.index("embedding_scaling:"), text.index("representation_dynamics:")
    (fresh.folder / "tiny.yaml").write_text(text[:start] + text[end:])
    rules = fresh.rules_to_run()
    assert "score_variants" not in rules
    assert rules["dump_hidden_states"] == 3


def test_prefix_of_a_module_is_refused_in_one_line(fresh, tmp_path):
    (tmp_path / "Snakefile").write_text(
        f"module geometry:\n    snakefile: {str(fresh.folder / 'Snakefile')!r}\n    prefix: 'deep'\n"
        "use rule * from geometry as geometry_*\n"
    )
    done = fresh.snakemake("-n", cwd=tmp_path, config=None)
    assert done.returncode == 1
    assert "prefix: not supported by lm-geometry; set results_dir" in done.stdout + done.stderr


def test_embedded_default_is_the_config_without_configfile(fresh):
    rules = fresh.rules_to_run(config=None)
    assert rules["train_model"] == 5


def test_bad_config_is_one_line_per_error_before_any_job(fresh):
    fresh.edit("tiny.yaml", "crop_12", "cropp_12")
    fresh.edit("tiny.yaml", "n_chunks: 24", "n_chunk: 24")
    done = fresh.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "embedding_scaling.variants[2]" in said
    assert "cropp_12" in said
    assert "representation_dynamics.n_chunk" in said
    assert "Traceback" not in said
    assert not (fresh.folder / "results").exists()


def test_key_given_twice_is_an_error(fresh):
    fresh.edit("tiny.yaml", "  seed: 0\n", "  seed: 0\n  seed: 1\n")
    done = fresh.snakemake()
    assert done.returncode == 1
    assert "seed" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_lint_and_format(fresh):
    done = fresh.snakemake("--lint", config=None)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(
        [Path(sys.executable).parent / "snakefmt", "--check", "Snakefile", "rules"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr

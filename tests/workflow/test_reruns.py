"""What runs again after which change: exactly what depends on it, and nothing else."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

SCORES_AND_BELOW = {
    "collect_retrieval_scores": 1,
    "plot_suite_scaling": 1,
    "plot_all_suites": 1,
    "plot_random_baselines": 1,
    "write_summary": 1,
    "all": 1,
}
GEOMETRY_AND_BELOW = {
    "collect_geometry": 1,
    "plot_profiles": 1,
    "plot_training_dimension": 1,
    "plot_training_anisotropy": 1,
    "write_summary": 1,
    "all": 1,
}
N_DYNAMICS_RUNS = 4  # profiles of two models, and two checkpoints of one of them


def test_second_run_has_nothing_to_do(finished):
    assert finished.rules_to_run() == {}


def test_touching_every_source_file_reruns_nothing(checkout):
    for path in [*checkout.folder.rglob("*.py"), *checkout.folder.rglob("*.smk"), checkout.folder / "Snakefile"]:
        path.touch()
    assert checkout.rules_to_run() == {}


def test_moved_folder_reruns_nothing(checkout, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    checkout.folder.rename(moved)
    assert type(checkout)(moved).rules_to_run() == {}


def test_edited_anisotropy_measures_again_and_runs_no_forward_pass(checkout):
    checkout.edit("scripts/measure_anisotropy.py", "def measure_anisotropy(", "# edited\ndef measure_anisotropy(")
    # The dumps are gone after a run (keep_hidden_states: false), so they must be made again to be measured; nothing
    # else upstream runs, and the intrinsic dimension stays as it is.
    assert checkout.rules_to_run() == {
        "dump_hidden_states": N_DYNAMICS_RUNS,
        "measure_anisotropy": N_DYNAMICS_RUNS,
        **GEOMETRY_AND_BELOW,
    }


def test_edited_scoring_module_scores_again_and_pools_nothing(checkout):
    with (checkout.folder / "lm_geometry/retrieval/scoring.py").open("a") as module:
        module.write("\n# edited\n")
    assert checkout.rules_to_run() == {"score_variants": 2, "score_random_tokenizer": 1, **SCORES_AND_BELOW}


def test_edited_figure_style_draws_again_and_measures_nothing(checkout):
    with (checkout.folder / "lm_geometry/figures/style.py").open("a") as module:
        module.write("\n# edited\n")
    rules = checkout.rules_to_run()
    assert {name.split("_")[0] for name in rules} <= {"plot", "write", "all"}
    assert sum(count for name, count in rules.items() if name.startswith("plot_")) == 6


def test_edited_plumbing_reruns_nothing(checkout):
    with (checkout.folder / "lm_geometry/provenance.py").open("a") as module:
        module.write("\n# edited\n")
    assert checkout.rules_to_run() == {}


def test_changed_chunk_seed_reruns_the_dynamics_study_only(checkout):
    checkout.edit("tiny.yaml", "seed: 0", "seed: 1")
    assert checkout.rules_to_run() == {
        "sample_chunks": 1,
        "dump_hidden_states": N_DYNAMICS_RUNS,
        "measure_anisotropy": N_DYNAMICS_RUNS,
        "measure_intrinsic_dimension": N_DYNAMICS_RUNS,
        **GEOMETRY_AND_BELOW,
    }


def test_changed_random_seed_scores_again_only(checkout):
    checkout.edit("tiny.yaml", "random_seeds: [42]", "random_seeds: [43]")
    assert checkout.rules_to_run() == {"score_variants": 2, **SCORES_AND_BELOW}


def test_added_variant_scores_again_only(checkout):
    checkout.edit("tiny.yaml", "pad_32]", "pad_32, crop_4]")
    assert checkout.rules_to_run() == {"score_variants": 2, **SCORES_AND_BELOW}


def test_changed_file_of_a_folder_model_is_seen(checkout):
    """A folder is never an input itself: Snakemake does not see a file that changes inside one."""
    folder = checkout.folder / "mine"
    source = checkout.folder / "results/embedded/models/tiny-neox-16/main"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    checkout.edit("tiny.yaml", 'source: "embedded:tiny-neox-16"', "source: ./mine")
    checkout.run()
    assert checkout.rules_to_run() == {}
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    os.utime(config)
    rules = checkout.rules_to_run()
    assert rules["resolve_model"] == 1
    assert "train_model" not in rules


def test_results_of_two_runs_are_the_same_bytes(finished, tmp_path):
    """The tables of a run from nothing, in another folder and on one core, equal those of the first, byte for byte."""
    from conftest import new_checkout

    other = new_checkout(tmp_path / "other" / "place")
    other.run("--cores", "1")
    for name in ("retrieval_scores", "geometry"):
        for ending in ("parquet", "csv"):
            relative = Path(f"results/tables/{name}.{ending}")
            assert (other.folder / relative).read_bytes() == (finished.folder / relative).read_bytes(), relative

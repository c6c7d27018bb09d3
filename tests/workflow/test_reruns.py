"""A finished run: what of it runs again after which change, and what it left behind.

All tests that need one stand here, for each process that runs tests makes its own.
"""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.workflow

SCORES_AND_BELOW = {
    "collect_retrieval_scores": 1,
    "compare_scores": 1,
    "judge_scaling_claims": 1,
    "collect_claims": 1,
    "compare_published": 1,
    "write_mteb_results": 1,
    "plot_suite_scaling": 1,
    "plot_all_suites": 1,
    "plot_random_baselines": 1,
    "write_summary": 1,
    "all": 1,
}
TABLES_OVER_TRAINING = {"collect_embedding_training": 1, "plot_embedding_training": 1}
CLAIMS_OF_TABLES = {"judge_scaling_claims": 1, "collect_claims": 1}
TRAINING_AND_BELOW = {**TABLES_OVER_TRAINING, **CLAIMS_OF_TABLES, "write_summary": 1, "all": 1}
GEOMETRY_AND_BELOW = {
    "collect_geometry": 1,
    "compare_geometry": 1,
    "judge_dynamics_claims": 1,
    "collect_claims": 1,
    "plot_profiles": 1,
    "plot_dimension_scale": 1,
    "plot_training_dimension": 1,
    "plot_training_anisotropy": 1,
    "plot_training_heatmap": 1,
    "write_summary": 1,
    "all": 1,
}
LEDGER = {"find_duplicate_checkpoints": 1, "collect_ledger": 1}
N_DYNAMICS_RUNS = 3  # two checkpoints of the decoder, and the encoder
N_TABLES = 2  # those of the same checkpoints


def test_second_run_has_nothing_to_do(finished):
    assert finished.rules_to_run() == {}


def test_touching_every_source_file_reruns_nothing(checkout):
    for path in [*checkout.folder.rglob("*.py"), *checkout.folder.rglob("*.smk"), checkout.folder / "Snakefile"]:
        path.touch()
    assert checkout.rules_to_run() == {}


def test_new_words_in_every_module_rerun_nothing(checkout):
    for path in checkout.folder.glob("lm_geometry/**/*.py"):
        path.write_text(path.read_text() + "\n# said better\n")
    assert checkout.rules_to_run() == {}


def test_moved_folder_reruns_nothing(checkout, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    checkout.folder.rename(moved)
    assert type(checkout)(moved).rules_to_run() == {}


def test_edited_measures_measure_again_and_run_no_forward_pass(checkout):
    checkout.append("lm_geometry/geometry/moments.py")
    assert checkout.rules_to_run() == {"measure_geometry": N_DYNAMICS_RUNS, **GEOMETRY_AND_BELOW}


def test_dumps_that_are_not_kept_are_made_again_only_to_be_measured(checkout):
    checkout.edit("tiny.yaml", "keep_hidden_states: true", "keep_hidden_states: false")
    shutil.rmtree(checkout.folder / "results/hidden_states")
    assert checkout.rules_to_run() == {}
    checkout.append("scripts/measure_geometry.py")
    assert checkout.rules_to_run() == {
        "dump_hidden_states": N_DYNAMICS_RUNS,
        "measure_geometry": N_DYNAMICS_RUNS,
        **GEOMETRY_AND_BELOW,
    }


def test_edited_scoring_module_scores_again_and_pools_nothing(checkout):
    checkout.append("lm_geometry/retrieval/scoring.py")
    assert checkout.rules_to_run() == {
        "score_variants": N_TABLES,
        "score_random_columns": 1,
        "score_random_tokenizer": 1,
        **TABLES_OVER_TRAINING,
        **SCORES_AND_BELOW,
    }


def test_edited_claims_are_judged_again_and_nothing_is_scored(checkout):
    checkout.append("lm_geometry/claims/verdict.py")
    assert checkout.rules_to_run() == {
        "judge_scaling_claims": 1,
        "judge_dynamics_claims": 1,
        "collect_claims": 1,
        "write_summary": 1,
        "all": 1,
    }


def test_edited_words_reach_figures_and_page_only(checkout):
    checkout.append("lm_geometry/wording.py")
    rules = checkout.rules_to_run()
    worded = {"compare_published", "judge_dynamics_claims", "collect_claims", "write_summary", "all"}
    assert {name for name in rules if not name.startswith("plot_")} == worded


def test_an_edited_published_value_is_compared_again_and_nothing_is_scored(checkout):
    baselines = checkout.folder / "reference/published_random_baseline.csv"
    baselines.write_text(baselines.read_text().replace("3.681", "3.682", 1))
    assert checkout.rules_to_run() == {"compare_published": 1, "write_summary": 1, "all": 1}


def test_edited_figure_style_draws_again_and_measures_nothing(checkout):
    checkout.append("lm_geometry/figures/style.py")
    rules = checkout.rules_to_run()
    assert {name.split("_")[0] for name in rules} <= {"plot", "write", "all"}
    assert sum(count for name, count in rules.items() if name.startswith("plot_")) == 10


def test_edited_plumbing_reruns_nothing(checkout):
    checkout.append("lm_geometry/provenance.py")
    assert checkout.rules_to_run() == {}


def test_changed_chunk_seed_reruns_the_dynamics_study_only(checkout):
    checkout.edit("tiny.yaml", "seed: 0", "seed: 1")
    assert checkout.rules_to_run() == {
        "sample_chunks": 1,
        "dump_hidden_states": N_DYNAMICS_RUNS,
        "measure_geometry": N_DYNAMICS_RUNS,
        **GEOMETRY_AND_BELOW,
    }


def test_states_that_are_streamed_instead_are_measured_by_another_pass(checkout):
    checkout.edit("tiny.yaml", "seed: 0", "seed: 0\n  hidden_states: stream")
    assert checkout.rules_to_run() == {"stream_geometry": N_DYNAMICS_RUNS, **GEOMETRY_AND_BELOW}


def test_changed_random_seed_scores_again_only(checkout):
    checkout.edit("tiny.yaml", "random_seeds: [42]", "random_seeds: [43]")
    assert checkout.rules_to_run() == {"score_random_columns": 1, **SCORES_AND_BELOW}


def test_added_variant_scores_again_only(checkout):
    checkout.edit("tiny.yaml", "pad_32,", "pad_32, crop_4,")
    assert checkout.rules_to_run() == {"score_variants": 1, **TABLES_OVER_TRAINING, **SCORES_AND_BELOW}


def test_added_random_variant_scores_random_columns_only(checkout):
    checkout.edit("tiny.yaml", "pad_32,", "pad_32, pad_32_matched,")
    assert checkout.rules_to_run() == {"score_random_columns": 1, **SCORES_AND_BELOW}


def test_changed_batches_of_tables_measure_tables_again_only(checkout):
    checkout.edit("tiny.yaml", "{batch_size: 64, n_batches: 4}", "{batch_size: 32, n_batches: 4}")
    assert checkout.rules_to_run() == {
        "measure_embedding_table": 1,
        "collect_embedding_geometry": 1,
        "plot_embedding_geometry": 1,
        "write_summary": 1,
        "all": 1,
    }


def test_changed_file_of_a_folder_model_is_seen(checkout):
    """A folder is never an input itself: Snakemake does not see a file that changes inside one."""
    source = checkout.folder / "results/embedded/models/tiny-bert-16/main"
    shutil.copytree(source, checkout.folder / "mine")
    checkout.edit("tiny.yaml", 'source: "embedded:tiny-bert-16"', "source: ./mine")
    checkout.run()
    assert checkout.rules_to_run() == {}
    config = checkout.folder / "mine/config.json"
    config.touch()
    assert checkout.rules_to_run() == {}
    config.write_text(config.read_text() + "\n")
    rules = checkout.rules_to_run()
    # The listing changed, and with it the table of duplicates, which tables over training read too.
    below = {**GEOMETRY_AND_BELOW, **TRAINING_AND_BELOW}
    assert {name: rules[name] for name in rules if name not in below} == {
        "resolve_model": 1,
        "fetch_tokenizer": 1,
        "fetch_checkpoint": 1,
        "dump_hidden_states": 1,
        "measure_geometry": 1,
        **LEDGER,
    }


def test_one_more_checkpoint_is_one_more_listing(checkout):
    checkout.edit("tiny.yaml", "revisions: [step0, step8]", "revisions: [step0, step2, step8]")
    assert checkout.rules_to_run() == {
        "resolve_model": 1,
        "extract_embedding_table": 1,
        "pool_collection": 1,
        "score_variants": 1,
        "compare_embedding_tables": 1,
        **TRAINING_AND_BELOW,
        "fetch_checkpoint": 1,
        "dump_hidden_states": 1,
        "measure_geometry": 1,
        **GEOMETRY_AND_BELOW,
        **LEDGER,
    }


def test_a_defect_that_is_published_later_is_compared_and_nothing_is_measured_again(checkout):
    defects = checkout.folder / "reference/known_checkpoint_defects.csv"
    defects.touch()
    assert checkout.rules_to_run() == {}
    defects.write_text(defects.read_text() + "a/b,step1,step2,all weights,,https://example.org,\n")
    rules = checkout.rules_to_run()
    # What is drawn over layers and over training comes from tables that name the copies.
    assert rules == {**GEOMETRY_AND_BELOW, **TRAINING_AND_BELOW, **LEDGER}


def test_where_and_how_long_downloads_are_kept_reruns_nothing(checkout):
    checkout.append("tiny.yaml", "keep_checkpoints: false\ncache_dir: ./another_cache")
    assert checkout.rules_to_run() == {}


@pytest.mark.parametrize("module", ["patience", "progress", "pieces", "ranges", "whole_files", "large_file", "access"])
def test_how_bytes_come_from_the_hub_reruns_nothing(checkout, module):
    checkout.append(f"lm_geometry/checkpoints/hub/{module}.py")
    assert checkout.rules_to_run() == {}


def test_edited_reader_of_tensors_reads_tables_again_and_runs_no_forward_pass(checkout):
    checkout.append("lm_geometry/checkpoints/tensors/torch_pickle.py")
    rules = checkout.rules_to_run()
    assert rules["extract_embedding_table"] == N_TABLES
    assert not {"resolve_model", "fetch_checkpoint", "dump_hidden_states"} & rules.keys()


def test_results_of_two_runs_are_the_same_bytes(finished, tmp_path):
    """The tables of a run from nothing, elsewhere and on three cores, equal those of the first, byte for byte.

    Every script runs here from a foreign folder, with an environment that holds no path to the project.
    """
    from conftest import new_checkout

    other = new_checkout(tmp_path / "other" / "place")
    foreign, work = tmp_path / "foreign", tmp_path / "work"
    foreign.mkdir()
    options = ("--cores", "3", "-s", str(other.folder / "Snakefile"), "-d", str(work))
    other.run(*options, cwd=foreign, config=str(other.folder / "tiny.yaml"))
    assert {path.stem for path in (work / "results/logs").iterdir()} == {
        path.stem
        for path in (other.folder / "scripts").glob("*.py")
        if "plan" not in path.stem and path.stem not in {"plot_published_comparison", "stream_geometry"}
    }
    assert not list(foreign.iterdir())
    tables = sorted(path.relative_to(work) for path in (work / "results/tables").iterdir())
    assert len(tables) >= 19
    results_for_mteb = [path.relative_to(work) for path in (work / "results/mteb").rglob("*.json")]
    assert results_for_mteb
    for relative in [*tables, *results_for_mteb]:
        assert (work / relative).read_bytes() == (finished.folder / relative).read_bytes(), relative


def test_failing_job_says_one_line_and_keeps_the_traceback_in_its_log(checkout):
    corpus = checkout.folder / "broken"
    (corpus / "qrels").mkdir(parents=True)
    (corpus / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "a"}\nnot json\n')
    (corpus / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n')
    (corpus / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    checkout.edit("tiny.yaml", "collection: embedded", "collection: {path: ./broken}")
    done = checkout.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert re.search(r"^fetch_collection: .*corpus\.jsonl.*2", said, flags=re.MULTILINE), said
    log = (checkout.folder / "results/logs/fetch_collection/broken.log").read_text()
    assert "Traceback" in log
    assert not (checkout.folder / "results/collections/broken/corpus.parquet").exists()


def test_report_is_made_without_network(checkout):
    checkout.run("--report", "report.html")
    assert (checkout.folder / "report.html").stat().st_size > 100_000


def test_tables_are_read_by_pandas_and_duckdb(finished):
    for name in ("retrieval_scores", "geometry"):
        path = finished.folder / f"results/tables/{name}.parquet"
        frame = pd.read_parquet(path)
        ((rows,),) = duckdb.sql(f"select count(*) from '{path}'").fetchall()
        with path.with_suffix(".csv").open() as file:
            lines = list(csv.DictReader(file))
        assert len(frame) == rows == len(lines) > 0
        assert list(frame.columns) == list(lines[0])


def test_provenance_is_printed(finished):
    path = finished.folder / "results/tables/retrieval_scores.parquet"
    done = subprocess.run(
        [sys.executable, "-m", "lm_geometry.provenance", path], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for fact in ("prose_sha256", "tokenizer_sha256", "collection_sha256", '"code"', '"versions"'):
        assert fact in done.stdout, done.stdout

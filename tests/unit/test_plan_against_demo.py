"""What the plan says of the demo's jobs against what the benchmark files of a finished demo say."""

import json
from pathlib import Path

import pytest

from benchmarks import plan as benchmark
from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.plan import cost
from lm_geometry.plan.reference_models import reference_config, reference_rows
from lm_geometry.tables import listing
from lm_geometry.tables.files import write_table

PROJECT = Path(__file__).resolve().parents[2]


def test_memory_of_the_demos_jobs_is_right_within_a_factor_of_two():
    """Times depend on what else ran; ``python -m benchmarks plan`` compares them too."""
    found = benchmark.comparisons(PROJECT / "results")
    if not found:
        pytest.skip("needs a finished demo in results/ (make demo)")
    of_rule = {rule: [one for one in found if one.rule == rule] for rule in {one.rule for one in found}}
    wrong = [one for jobs in of_rule.values() if benchmark.memory_off(jobs) >= 2 for one in jobs]
    assert not wrong, "\n".join(f"{one.rule} {one.job}: {one.planned_mb:.0f}/{one.measured_mb:.0f} MB" for one in wrong)


def _comparison(planned_mb, measured_mb, measured_s):
    return benchmark.Comparison("rule", "job", planned_mb, measured_mb, 1.0, measured_s)


def test_a_job_that_was_looked_at_too_early_excuses_no_other():
    early = _comparison(300, 100, 0.5)
    assert benchmark.memory_off([early, _comparison(300, 280, 2.0)]) == pytest.approx(300 / 280)
    assert benchmark.memory_off([early, _comparison(300, 100, 2.0)]) == pytest.approx(3)
    assert benchmark.memory_off([_comparison(300, 900, 0.5), _comparison(300, 280, 2.0)]) == pytest.approx(3)


def _finished(folder, *, max_rss, seconds):
    row = next(row for row in reference_rows() if row["model"] == "pythia-70m")
    model = folder / "models" / "mine" / "main"
    model.mkdir(parents=True)
    files = [ListedFile("model.safetensors", "weights", 2 * int(row["n_params"]), None, True)]
    write_table(model / "listing.parquet", listing_table(files), listing.SCHEMA)
    (model / "config.json").write_text(json.dumps(reference_config(row)))
    timing = folder / "timings" / "extract_embedding_table" / "mine" / "main.tsv"
    timing.parent.mkdir(parents=True)
    timing.write_text(f"s\tmax_rss\tcpu_time\n9\t{max_rss}\t{seconds}\n")
    (folder / "summary.html").write_text("")


@pytest.mark.parametrize("share", [0.4, 0.6, 1.9, 2.1])
def test_a_plan_that_is_off_by_more_than_two_fails_its_goal(share, tmp_path):
    planned = cost.extraction_memory(50304, 512)
    _finished(tmp_path, max_rss=share * planned / 2**20, seconds=3.0)
    memory, time = benchmark.figures(tmp_path)
    assert memory.value == pytest.approx(max(share, 1 / share), rel=1e-3)
    assert memory.holds == (0.5 < share < 2)
    assert time.holds is None


def test_an_unfinished_demo_is_not_compared_with(tmp_path):
    _finished(tmp_path, max_rss=1.0, seconds=1.0)
    (tmp_path / "summary.html").unlink()
    assert list(benchmark.figures(tmp_path)) == []

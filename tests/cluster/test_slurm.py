"""The tiny config on a real Slurm of one node: what is submitted and asked for, one job killed, one that fails."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from checkout import PROJECT, Checkout, new_checkout
from loopback_slurm import NoSlurmError, jobs, loopback_slurm
from result_files import digests

from lm_geometry import plan
from lm_geometry.plan import resources

PROFILE = yaml.safe_load((PROJECT / "profiles" / "slurm" / "config.yaml").read_text())
pytestmark = pytest.mark.workflow

FAILS_ONCE, KILLED = "fetch_collection", "score_random_tokenizer"
# Read by every Python that starts with it on its path. The first try of one script ends before it has begun; and the
# run that submits looks every second, while the plugin's own intervals grow by ten seconds each time.
SITE = f"""
import pathlib, sys
tried = pathlib.Path(__file__).with_name("tried")
if any(argument.endswith(".{FAILS_ONCE}.py") for argument in sys.orig_argv) and not tried.exists():
    tried.touch()
    sys.exit("out of memory, as it were")
if "--profile" in sys.orig_argv:
    import asyncio
    from snakemake_executor_plugin_slurm import Executor
    Executor.sleep = lambda self: asyncio.sleep(1)
"""
# Lines of the profile as a user fills them in, and requests that show whether they arrive.
FILLED_IN = {
    "  # slurm_partition: my_partition": "  slurm_partition: batch",
    '  # dump_hidden_states: {slurm_partition: my_gpu_partition, gpu: 0, gres: "gpu:1"}': (
        '  dump_hidden_states: {slurm_partition: gpus, gpu: 0, gres: "gpu:1"}\n'
        "  clean_enwik8: {slurm_partition: gpus, gpu: 2}\n"
        "  sample_chunks: {gpu: 0}\n"
        "  score_random_columns: {mem_mb: 9000}"
    ),
}


# What every change runs on Slurm: a collection and a corpus made anew, and scores and a dump made of them.
PART = ("results/tables/retrieval_scores.parquet", "results/hidden_states/tiny-bert/main/manifest.parquet")
MADE_ANEW = ("fetch_collection", "clean_enwik8")


@dataclass(frozen=True)
class Run:
    """A finished run of the tiny config: the checkout, what Snakemake said, and the jobs that Slurm had."""

    checkout: Checkout
    whole: bool
    said: str
    jobs: list[dict[str, str]]

    def of(self, name: str) -> list[dict[str, str]]:
        """Return the submissions of a rule or group, in order."""
        return [job for job in self.jobs if re.match(rf"rule_{name}(_|$)", job["Comment"])]


@pytest.fixture(scope="module", params=["part", pytest.param("whole", marks=pytest.mark.slow)])
def run(request, tmp_path_factory, finished):
    """Run the tiny config through the profile; one job fails on its first try, and one is killed while it runs."""
    if os.environ.get("LM_GEOMETRY_TEST_SLURM") != "1":
        pytest.skip("starts a Slurm on this machine, as root: LM_GEOMETRY_TEST_SLURM=1 lets it, as .ci/run does")
    folder = tmp_path_factory.mktemp("slurm")
    whole = request.param == "whole"
    checkout = new_checkout(folder / "project") if whole else finished.copy(folder / "project")
    asked = () if whole else (*PART, "--forcerun", *MADE_ANEW)
    for line, filled in FILLED_IN.items():
        checkout.edit("profiles/slurm/config.yaml", line, filled)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    try:
        with loopback_slurm():
            said, submitted = snakemake(checkout, folder, *asked), jobs()
        yield Run(checkout, whole, said, submitted)
    except NoSlurmError as error:
        pytest.skip(f"no Slurm: {error}")


def snakemake(checkout: Checkout, folder: Path, *asked: str) -> str:
    """Run Snakemake, killing a job on the way, expect success, and return what it said."""
    # Where a job's state cannot be asked, Snakemake waits for ever, for SIGTERM too.
    arguments = [*asked, "--profile", "profiles/slurm", "--configfile", "tiny.yaml"]
    command = ["timeout", "-k", "10", "600", sys.executable, "-m", "snakemake", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    log = folder / "said"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=checkout.folder, stdout=output, stderr=subprocess.STDOUT,
            env={**environment, "PYTHONPATH": str(folder / "site")},
        )  # fmt: skip
        kill_one(process, checkout.folder / "results" / "logs" / KILLED, time.time())
        code = process.wait()
    assert code == 0, log.read_text()[-6000:]
    return log.read_text()


def kill_one(process: subprocess.Popen, logs: Path, start: float) -> None:
    """Cancel a job by Slurm once its script has begun."""
    while process.poll() is None:
        if any(log.stat().st_mtime > start for log in logs.rglob("*.log")):
            running = [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and KILLED in job["Comment"]]
            if running:
                subprocess.run(["scancel", running[0]], check=True)
                return
        time.sleep(0.2)


def megabytes(job: dict[str, str]) -> int:
    """Return the memory that a job asked for."""
    size = job["MinMemoryNode"]
    return round(float(size[:-1]) * {"M": 1, "G": 1024}[size[-1]])


def test_files_are_those_of_a_local_run(run, finished, record_property):
    local, remote = digests(finished.folder / "results"), digests(run.checkout.folder / "results")
    assert len(local) > 200
    assert remote == local
    record_property("shown", f"{len(local)} files of {len(run.jobs)} submissions are those of a local run")


def test_nothing_is_left_to_do_on_the_machine_that_submitted(run):
    assert run.checkout.rules_to_run(*([] if run.whole else PART)) == {}


def test_short_jobs_are_submitted_together(run):
    n_jobs = int(re.search(r"^total\s+(\d+)$", run.said, flags=re.MULTILINE)[1])
    at_least, at_most = (61, 22) if run.whole else (10, 12)
    assert n_jobs >= at_least
    assert len(run.jobs) <= at_most  # those that failed and were killed among them


def test_a_killed_job_is_submitted_again(run):
    assert [job["JobState"] for job in run.of(KILLED)] == ["CANCELLED", "COMPLETED"]


def test_a_job_that_fails_asks_for_more_the_second_time(run):
    first, second = run.of(FAILS_ONCE)
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    assert (megabytes(first), megabytes(second)) == (700, 1100)
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:30:00", "01:00:00")


def test_no_other_job_was_tried_twice(run):
    others = [job for job in run.jobs if job not in (run.of(KILLED)[0], run.of(FAILS_ONCE)[0])]
    assert {job["JobState"] for job in others} == {"COMPLETED"}
    assert len({job["Comment"] for job in others}) == len(others)


def test_limits_of_this_machine_cut_no_job(run):
    (job,) = run.of("score_random_columns")
    assert megabytes(job) == 9000


def test_gpus_are_asked_for_both_ways(run):
    by_gres = run.of("dump_hidden_states")
    assert [job["TresPerNode"] for job in by_gres] == ["gres:gpu:1"] * (3 if run.whole else 1)
    assert not any("TresPerJob" in job for job in by_gres)
    (by_gpus,) = run.of("clean_enwik8")
    assert by_gpus["TresPerJob"] == "gres:gpu:2"
    assert "TresPerNode" not in by_gpus
    (without,) = run.of("sample_chunks")
    assert not {"TresPerJob", "TresPerNode"} & without.keys()


def test_jobs_go_to_the_partition_that_the_profile_names(run):
    for job in run.jobs:
        gpu = re.match("rule_(dump_hidden_states|clean_enwik8)", job["Comment"])
        assert job["Partition"] == ("gpus" if gpu else "batch")


def test_groups_ask_for_what_runs_side_by_side(run):
    if not run.whole:
        pytest.skip("no group of this part has two jobs: make test-all runs the whole")
    (sources,) = run.of("sources")
    # Three listings, two tokenizers and a corpus on four cores: a layer of an hour, the corpus's, and one of 5 minutes.
    assert int(sources["NumCPUs"]) == 4
    assert 4 * 700 <= megabytes(sources) <= 2 * 1200 + 2 * 700
    assert sources["TimeLimit"] == "01:05:00"


# -- without Slurm -----------------------------------------------------------------------------------------------------


def test_a_whole_study_is_tens_of_submissions(tmp_path):
    checkout = new_checkout(tmp_path / "project")
    said = checkout.run("--dry-run", "--profile", "profiles/slurm", config="configs/embedding_scaling.yaml")
    n_jobs = int(re.search(r"^total\s+(\d+)$", said, flags=re.MULTILINE)[1])
    single = len(re.findall(r"^Job \d+: ", said, flags=re.MULTILINE)) - 1  # rule all
    assert n_jobs > 300
    assert single + said.count("Group job") <= 40


def test_a_local_run_has_limits_unless_they_are_given(tmp_path):
    checkout = new_checkout(tmp_path / "project")
    said = checkout.run("results/embedded/prose.parquet", "--resources", "gpu=4")
    limits = re.search(r"^Provided resources: (.*)$", said, flags=re.MULTILINE)[1]
    assert re.findall(r"mem_mb\D+(\d+)", limits) == ["3600"]
    assert re.findall(r"gpu\D+(\d+)", limits) == ["4"]


def test_the_profile_groups_rules_that_there_are():
    rules = re.findall(
        r"^ *rule (\w+):", "".join(p.read_text() for p in (PROJECT / "rules").glob("*.smk")), re.MULTILINE
    )
    assert PROFILE["groups"].keys() <= set(rules)
    assert PROFILE["group-components"].keys() == set(PROFILE["groups"].values())


def test_the_profile_holds_what_it_takes_the_place_of():
    default = yaml.safe_load((PROJECT / "profiles" / "default" / "config.yaml").read_text())
    assert default.items() <= PROFILE.items()


def test_submitted_jobs_ask_for_the_processes_beside_them(monkeypatch):
    monkeypatch.setitem(resources._beside, "mb", 0)
    ask = plan.memory_mb(400)
    alone = ask(None, None), ask(None, None, attempt=2)
    plan.count_submission()
    assert (ask(None, None), ask(None, None, attempt=2)) == (alone[0] + 300, alone[1] + 300)

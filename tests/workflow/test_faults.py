"""What happens to machines in the middle of a run: full disks, dead workers, jumping clocks, a second run at once."""

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from checkout import Checkout, new_checkout
from result_files import digests, kill_group

from lm_geometry.records import MARK_NAME

pytestmark = pytest.mark.workflow

DAY = 86_400


def change_batches(checkout: Checkout) -> None:
    """Ask for other batches of the embedding tables, the change that takes the fewest jobs to follow."""
    checkout.edit("tiny.yaml", "{batch_size: 64, n_batches: 4}", "{batch_size: 32, n_batches: 4}")


def change_seed(checkout: Checkout) -> None:
    """Ask for other chunks: all of the dynamics study runs again."""
    checkout.edit("tiny.yaml", "seed: 0", "seed: 1")


@contextmanager
def mounted(folder: Path, *options: str):
    """Mount something over a folder, which takes root; skip the test where that may not be done."""
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def wait_for(process: subprocess.Popen, look):
    """Wait until there is something to see, while the run goes on, and return it."""
    deadline = time.monotonic() + 300
    while not (seen := look()):
        assert process.poll() is None, "the run ended before"
        assert time.monotonic() < deadline, "nothing came in five minutes"
        time.sleep(0.02)
    return seen


@contextmanager
def running(checkout: Checkout, log: Path, *arguments: str):
    """Start a run, and leave none behind when the test fails."""
    run = checkout.start(log, *arguments)
    try:
        yield run
    finally:
        if run.poll() is None:
            kill_group(run)


@contextmanager
def filled(folder: Path):
    """Take every byte that comes free on the disk of a results folder, from when a run has begun there."""
    filler, begun, over = folder / "filler", folder / MARK_NAME, threading.Event()
    begun.unlink()

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while not over.wait(0.002):
                if begun.exists():
                    with suppress(OSError):
                        file.write(bytes(shutil.disk_usage(folder).free))

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        filler.unlink()


def workers(run: subprocess.Popen, rule: str) -> list[psutil.Process]:
    """Return the processes of a run that run that rule's script."""
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if f"{rule}.py" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="module")
def other_batches(finished, tmp_path_factory) -> dict[str, str]:
    """The result files of an undisturbed run with the other batches."""
    checkout = finished.copy(tmp_path_factory.mktemp("other_batches") / "project")
    change_batches(checkout)
    checkout.run()
    return digests(checkout.folder / "results")


# What a job of a copy does when it has its lock: it waits for as long as a file is there. No digest knows this module.
WAITING = """
        hold = folder.parent / "hold"
        if hold.exists():
            (folder.parent / "held").touch()
        while hold.exists():
            __import__("time").sleep(0.02)
        yield
"""


@contextmanager
def held_jobs(checkout: Checkout):
    """Let jobs wait, when they work in the results, until the file that this yields is removed."""
    checkout.edit("lm_geometry/run_lock.py", "\n        yield\n", WAITING)
    hold = checkout.folder / "hold"
    hold.touch()
    try:
        yield hold
    finally:
        hold.unlink(missing_ok=True)


def test_of_two_runs_at_once_the_second_stops_and_the_first_goes_on(checkout, tmp_path, other_batches):
    change_batches(checkout)
    with held_jobs(checkout) as hold, running(checkout, tmp_path / "first.log") as first:
        wait_for(first, (checkout.folder / "held").exists)
        second = checkout.snakemake()
        hold.unlink()
        assert first.wait(300) == 0
    assert second.returncode == 1
    said = (second.stdout + second.stderr).splitlines()
    assert f"another run works in results (process {first.pid} on {os.uname().nodename}); " in said[-1], said[-5:]
    assert "Traceback" not in "".join(said)
    assert digests(checkout.folder / "results") == other_batches


def test_a_run_that_is_killed_with_its_jobs_goes_on_from_there(checkout, tmp_path, other_batches):
    """One kill for every change; ``test_kills`` has many."""
    change_batches(checkout)
    with running(checkout, tmp_path / "run.log") as run:
        wait_for(run, lambda: workers(run, "measure_embedding_table"))
        kill_group(run)
    assert "measure_embedding_table" in checkout.rules_to_run()
    checkout.run()
    assert digests(checkout.folder / "results") == other_batches
    assert checkout.rules_to_run() == {}


def test_jobs_that_outlive_their_run_are_not_run_beside(checkout, tmp_path, other_batches):
    change_batches(checkout)
    with held_jobs(checkout) as hold:
        with running(checkout, tmp_path / "run.log") as run:
            wait_for(run, (checkout.folder / "held").exists)
            left = workers(run, "measure_embedding_table")
            run.kill()
            run.wait()
        second = checkout.snakemake()
        assert second.returncode == 1
        said = (second.stdout + second.stderr).splitlines()
        assert "jobs of a run that is gone still work in results; wait for them, or end them" in said[-1], said[-5:]
        assert left
        hold.unlink()
        psutil.wait_procs(left, timeout=60)
    checkout.run()
    assert digests(checkout.folder / "results") == other_batches


def test_results_without_their_records_are_refused(checkout):
    shutil.rmtree(checkout.folder / ".snakemake")
    done = checkout.snakemake("--dry-run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("results_dir: results: made by runs in "), done.stderr
    (checkout.folder / "results" / ".records").unlink()
    assert checkout.rules_to_run() == {}


def test_a_worker_that_dies_is_named_and_done_again(checkout, tmp_path, other_batches):
    change_batches(checkout)
    with running(checkout, tmp_path / "run.log") as run:
        for worker in wait_for(run, lambda: workers(run, "measure_embedding_table")):
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        assert run.wait(300) == 1
    said = (tmp_path / "run.log").read_text()
    assert "Error in rule measure_embedding_table" in said
    assert "results/logs/measure_embedding_table/tiny-16/step8.log" in said
    checkout.run()
    assert digests(checkout.folder / "results") == other_batches


def test_a_change_that_is_taken_back_costs_only_the_jobs_that_had_begun(checkout, tmp_path):
    """Ctrl-C after a mistake: what the run had not come to is as good as before."""
    checkout.append("lm_geometry/geometry/moments.py")
    with running(checkout, tmp_path / "run.log", "--cores", "1") as run:
        wait_for(run, lambda: workers(run, "measure_geometry"))
        kill_group(run, signal.SIGINT)
    with_the_change = checkout.rules_to_run()
    checkout.edit("lm_geometry/geometry/moments.py", "EDITED = True", "")
    taken_back = checkout.rules_to_run()
    assert with_the_change["measure_geometry"] > 1
    assert taken_back == {**with_the_change, "measure_geometry": 1}


@pytest.mark.slow
def test_a_run_that_is_told_to_end_leaves_nothing_half_written(checkout, tmp_path, record_property):
    undisturbed = checkout.copy(tmp_path / "undisturbed")
    change_seed(undisturbed)
    undisturbed.run()
    change_seed(checkout)
    folder = checkout.folder / "results/hidden_states"
    with running(checkout, tmp_path / "run.log") as run:
        wait_for(run, lambda: list(folder.rglob("*.part")))
        kill_group(run, signal.SIGTERM)
    assert not list(checkout.folder.rglob("*.part"))
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    checkout.run()
    expected = digests(undisturbed.folder / "results")
    assert digests(checkout.folder / "results") == expected
    record_property("shown", f"SIGTERM in the middle of a dump; no partial file, then {len(expected)} files the same")


def test_a_full_disk_is_one_line_and_more_room_is_all_it_takes(checkout, other_batches):
    results = checkout.folder / "results"
    change_batches(checkout)
    aside = results.rename(checkout.folder / "aside")
    results.mkdir()
    size = sum(path.stat().st_blocks * 512 for path in aside.rglob("*")) // 1024
    with mounted(results, "-t", "tmpfs", "-o", f"size={size + 200}k", "tmpfs"):
        shutil.copytree(aside, results, symlinks=True, dirs_exist_ok=True)
        with filled(results):
            done = checkout.snakemake()
        said = done.stdout + done.stderr
        assert done.returncode == 1, said[-3000:]
        assert re.search(r"^measure_embedding_table: .*No space left on device", said, flags=re.MULTILINE), said[-3000:]
        assert "Traceback" not in said, said[-5000:]
        assert not list(results.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=1g", results], check=True)
        checkout.run()
        assert digests(results) == other_batches


def test_records_that_cannot_be_written_are_one_line(checkout):
    change_batches(checkout)
    incomplete = checkout.folder / ".snakemake" / "incomplete"
    with mounted(incomplete, "--bind", incomplete):
        subprocess.run(["mount", "-o", "remount,ro,bind", incomplete], check=True)
        done = checkout.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.splitlines()[-1].startswith(f".snakemake in {checkout.folder} cannot be written (")
    assert "Traceback" not in said


def test_a_submitted_job_goes_by_the_code_that_its_run_started_with(checkout):
    """What a scheduler starts reads the Snakefile anew, after an edit too."""
    rule = "collect_geometry"
    environment = {"LM_GEOMETRY_RUN": (checkout.folder / "results/.running").read_text().strip()}
    submitted = ("--mode", "remote", "--target-jobs", f"{rule}:", "--allowed-rules", rule, "--force")
    checkout.run(*submitted, **environment)
    checkout.append("lm_geometry/geometry_summaries.py")
    refused = checkout.snakemake(*submitted, **environment)
    assert refused.returncode == 1
    assert f"{rule}: its code was edited after the run had started" in refused.stdout + refused.stderr
    assert not (checkout.folder / "results/tables/geometry.parquet").exists()


def test_a_disk_that_is_full_before_the_run_is_one_line(checkout):
    results = checkout.folder / "results"
    change_batches(checkout)
    results.rename(checkout.folder / "aside")
    results.mkdir()
    with mounted(results, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        with suppress(OSError), (results / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        done = checkout.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.splitlines()[-1] == "results_dir: results cannot be written ([Errno 28] No space left on device)"
    assert "Traceback" not in said


def run_read_only(checkout: Checkout) -> list[str]:
    """Run with a results folder that is mounted read-only; return the lines that were said."""
    results = checkout.folder / "results"
    with mounted(results, "--bind", results):
        subprocess.run(["mount", "-o", "remount,ro,bind", results], check=True)
        done = checkout.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    return said.splitlines()


def test_a_read_only_folder_for_results_is_one_line(tmp_path):
    checkout = new_checkout(tmp_path / "project")
    (checkout.folder / "results").mkdir()
    assert run_read_only(checkout)[-1].startswith("results_dir: results cannot be written (")


def test_read_only_results_are_named_and_stay(checkout):
    before = digests(checkout.folder / "results")
    change_batches(checkout)
    said = run_read_only(checkout)
    # Snakemake's words, where it looks at its outputs first.
    assert any(line.startswith(("results_dir: results cannot", "Write-protected output files")) for line in said), said
    assert digests(checkout.folder / "results") == before


def test_a_clock_that_jumps_to_and_fro_reruns_nothing(checkout):
    draw = random.Random(7)
    for path in sorted((checkout.folder / "results").rglob("*")):
        moved = path.stat().st_mtime + draw.uniform(-400, 400) * DAY
        os.utime(path, (moved, moved))
    assert checkout.rules_to_run() == {}


@pytest.mark.slow
def test_a_run_after_the_clock_went_back_ends_like_any_other(checkout, other_batches, record_property):
    """All that is there seems to come from the future."""
    for path in (checkout.folder / "results").rglob("*"):
        os.utime(path, (time.time() + 5 * DAY,) * 2)
    change_batches(checkout)
    checkout.run()
    assert digests(checkout.folder / "results") == other_batches
    assert checkout.rules_to_run() == {}
    record_property("shown", f"{len(other_batches)} files as without the jump")

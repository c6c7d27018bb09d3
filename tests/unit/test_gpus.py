"""Jobs that run side by side each get GPUs of their own: several processes, and names in place of devices."""

import fcntl
import inspect
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from lm_geometry import gpus
from lm_geometry.gpus import VISIBLE, claim_gpus, gpu_memory, visible_gpus
from scripts import dump_hidden_states, stream_geometry

_SCHEDULERS = ("SLURM_JOB_ID", "SLURM_STEP_GPUS")
# Stands in for the devices, and waits with what it claimed until its input ends.
_HOLDER = """
import os, pathlib, sys
import lm_geometry.gpus as gpus
present = {present}
pathlib.Path.glob = lambda folder, pattern: [f"/dev/nvidia{{gpu}}" for gpu in range(present)]
gpus._PATIENCE_SECONDS = {patience}
sleep = gpus.time.sleep
if "TELL" in os.environ:
    gpus.time.sleep = lambda seconds: (print("waits", flush=True), sleep(seconds))
try:
    print(",".join(gpus.claim_gpus({count})), os.environ.get(gpus.VISIBLE, "unset"), flush=True)
except ValueError as error:
    sys.exit(str(error))
sys.stdin.read()
"""


@contextmanager
def job(folder, *, count=1, present=3, patience=0.0, **environment):
    """Start a job that claims GPUs, yield it with what it says of them, and end it."""
    inherited = {name: value for name, value in os.environ.items() if name not in (VISIBLE, *_SCHEDULERS)}
    code = _HOLDER.format(count=count, present=present, patience=patience)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(gpus.__file__).parents[1],
        env={**inherited, "TMPDIR": str(folder), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, process.stdout.readline().split()
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()


def refused(folder, **settings):
    """Return the error of a job that gets no GPU."""
    with job(folder, **settings) as (process, said):
        assert said == []
        return process.stderr.read()


def test_jobs_side_by_side_get_gpus_of_their_own_and_one_too_many_is_told(tmp_path):
    with job(tmp_path) as (_, first), job(tmp_path) as (_, second), job(tmp_path) as (_, third):
        assert sorted(one[0] for one in (first, second, third)) == ["0", "1", "2"]
        assert all(claimed == visible for claimed, visible in (first, second, third))
        assert refused(tmp_path) == (
            "gpu: this job needs 1 of the 3 GPUs that it sees (0, 1, 2), and other jobs hold too many; give "
            "snakemake --resources gpu=N, N the number of GPUs that are free\n"
        )
    with job(tmp_path, count=3) as (_, said):
        assert said == ["0,1,2", "0,1,2"]


def test_a_job_that_needs_several_takes_all_or_none(tmp_path):
    with job(tmp_path, count=2) as (_, two):
        assert two[0] == "0,1"
        assert "needs 2 of the 3 GPUs" in refused(tmp_path, count=2)
        with job(tmp_path) as (_, one):
            assert one[0] == "2"


def test_a_job_that_waits_for_several_holds_none(tmp_path):
    with job(tmp_path, present=2), job(tmp_path, count=2, present=2, patience=2.0, TELL="1") as (_, waiting):
        assert waiting == ["waits"]
        with job(tmp_path, present=2, patience=1.0) as (_, other):
            assert other[0] == "1"


def test_a_killed_job_frees_its_gpu(tmp_path):
    with job(tmp_path, present=1) as (process, said):
        assert said[0] == "0"
        process.send_signal(signal.SIGKILL)
        # No wait for the holder to be gone: the next job has the patience.
        with job(tmp_path, present=1, patience=20.0) as (_, said):
            assert said[0] == "0"


def test_more_gpus_than_there_are_is_one_line(tmp_path):
    assert refused(tmp_path, count=4).startswith("gpu: this job needs 4 GPUs and sees 3 (0, 1, 2); give snakemake ")


def test_what_the_user_shows_is_what_is_shared(tmp_path):
    shown = {VISIBLE: "GPU-5a,2"}
    with job(tmp_path, **shown) as (_, first), job(tmp_path, **shown) as (_, second):
        assert (first, second) == (["GPU-5a", "GPU-5a"], ["2", "2"])
        assert "needs 1 of the 2 GPUs that it sees (GPU-5a, 2)" in refused(tmp_path, **shown)


def test_jobs_of_other_allocations_do_not_compete(tmp_path):
    """Slurm numbers the GPUs of each allocation from 0 on; those of one are shared by its jobs."""
    one, other = ({VISIBLE: "0", "SLURM_JOB_ID": number} for number in ("7", "8"))
    with job(tmp_path, **one) as (_, first), job(tmp_path, **other) as (_, second):
        assert first == second == ["0", "0"]
        assert "hold too many" in refused(tmp_path, **one)


@pytest.fixture
def three(monkeypatch):
    """A machine with three GPUs, all of which may be used."""
    for name in (VISIBLE, *_SCHEDULERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [f"/dev/nvidia{gpu}" for gpu in range(3)])


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (None, ["0", "1", "2"]),
        ("2, 0", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),  # CUDA reads no further
        ("0,7,1", ["0"]),
        ("MIG-1/2/3", ["MIG-1/2/3"]),
    ],
)
def test_gpus_are_those_that_cuda_would_see(given, seen, monkeypatch):
    if given is not None:
        monkeypatch.setenv(VISIBLE, given)
    assert visible_gpus() == seen


def test_without_a_gpu_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [])
    monkeypatch.delenv(VISIBLE, raising=False)
    assert claim_gpus(1) == []
    assert VISIBLE not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("three")
def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"lm-geometry-gpus-{os.getuid() + 1}").mkdir()
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        claim_gpus(1)


@pytest.mark.parametrize(
    ("says", "memory"),
    [("echo 81559; echo 24564", 24564 * 2**20), ("echo '[N/A]'", None), ("exit 9", None), (None, None)],
)
def test_memory_is_that_of_the_smallest_gpu_if_the_driver_says(says, memory, tmp_path, monkeypatch):
    if says is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu_memory.cache_clear()
    try:
        assert gpu_memory() == memory
    finally:
        gpu_memory.cache_clear()


@pytest.mark.parametrize("script", [dump_hidden_states, stream_geometry])
def test_jobs_claim_their_gpus_before_anything_else(script, monkeypatch, tmp_path):
    """CUDA reads its variable once, and the model is what starts it."""

    class ClaimedError(Exception):
        pass

    def claim(count):
        raise ClaimedError(count)

    monkeypatch.setattr(script, "claim_gpus", claim)
    function = getattr(script, script.__name__.rpartition(".")[2])
    names = inspect.signature(function).parameters
    with pytest.raises(ClaimedError, match="2"):
        function(**{**dict.fromkeys(names, tmp_path / "none"), "gpu": 2})


def test_one_job_at_a_time_chooses(tmp_path):
    """Two that need both GPUs could otherwise take one each, let go of it, and begin again."""
    with job(tmp_path, count=2, present=2) as (_, said):
        assert said[0] == "0,1"
    (folder,) = tmp_path.glob("lm-geometry-gpus-*")
    with (folder / "choosing").open("a") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        found = []
        waiting = threading.Thread(target=lambda: found.extend(gpus._claimed(["0"], 1, folder)))
        waiting.start()
        waiting.join(0.3)
        assert found == []
    waiting.join(10)
    assert found == ["0"]
    os.close(gpus._held.pop())

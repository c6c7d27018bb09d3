"""One run at a time in a results folder, and no lock that outlives its run."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lm_geometry.run_lock import JOBS_LOCK_NAME, LOCK_NAME, RunningError, claim, working_in

PROJECT = Path(__file__).resolve().parents[2]
HOLD = "import sys, pathlib, lm_geometry.run_lock as l; l.claim(pathlib.Path(sys.argv[1])); print('held', flush=True); "


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    """What a claim leaves in the environment is for the jobs of that run."""
    monkeypatch.setenv("LM_GEOMETRY_RUN", "none")
    monkeypatch.delenv("LM_GEOMETRY_RUN")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder until it is killed."""
    code = HOLD + "sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_is_held_says_by_whom(tmp_path, holder):
    with pytest.raises(RunningError, match=f"{tmp_path}.*process {holder.pid} on .*results_dir"):
        claim(tmp_path)


def test_the_lock_of_a_killed_run_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    claim(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()} on {socket.gethostname()}\n"
    code = HOLD.replace("print('held', flush=True); ", "")
    other = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert "RunningError" in other.stderr  # and now this process holds it


def test_a_folder_that_jobs_of_a_killed_run_work_in_is_refused_until_the_last_has_ended(tmp_path):
    with working_in(tmp_path):
        with working_in(tmp_path), pytest.raises(RunningError, match=f"jobs of a run that is gone .*{JOBS_LOCK_NAME}"):
            claim(tmp_path)
        with pytest.raises(RunningError):
            claim(tmp_path)
    claim(tmp_path)
    with working_in(tmp_path):  # a job of the run that holds the folder
        assert (tmp_path / LOCK_NAME).read_text().startswith(f"{os.getpid()} on")


def test_a_job_of_a_killed_run_that_begins_late_leaves_the_folder_to_the_next_run(tmp_path, monkeypatch, holder):
    monkeypatch.setenv("LM_GEOMETRY_RUN", f"{holder.pid} on {socket.gethostname()}")
    with working_in(tmp_path):
        holder.kill()
        holder.wait()
    claim(tmp_path)
    with working_in(tmp_path):
        pass
    monkeypatch.setenv("LM_GEOMETRY_RUN", f"{holder.pid} on {socket.gethostname()}")
    now = rf"{os.getpid()} on {socket.gethostname()} works in {tmp_path} now"
    with (
        pytest.raises(RunningError, match=rf"started this job \({holder.pid} on .* is gone, and {now}"),
        working_in(tmp_path),
    ):
        pass


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    claim(tmp_path)
    assert "no second run" in caplog.text


def test_any_other_error_of_the_file_system_stops(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        claim(tmp_path)

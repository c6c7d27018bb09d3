"""A script that runs as a job: what the screen shows, what the log keeps, and how it ends when it is told to."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_geometry.code_digest import rule_digest
from lm_geometry.job import run_job

PROJECT = Path(__file__).resolve().parents[2]

# A job whose function writes a file and a folder, says so, and goes on until it is stopped.
ENDLESS = """
    import signal, sys, time
    from pathlib import Path
    from types import SimpleNamespace
    from lm_geometry.job import run_job
    from lm_geometry.tables.files import atomic_folder, atomic_path

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

    def write(output):
        with atomic_path(output) as path, atomic_folder(output.with_name("folder")) as folder:
            path.write_text("half"); (folder / "layer").write_text("half")
            print("writing", flush=True)
            time.sleep(60)

    out = Path(sys.argv[1])
    files = {"output": str(out / "file")}
    job = SimpleNamespace(rule="write", input={}, output=files, params={}, resources={}, threads=1, log=[out / "log"])
    run_job(job, write)
"""


def a_job(output, log, **params):
    """Return what Snakemake hands to a script of one output and no input."""
    files = {"output": str(output)}
    return SimpleNamespace(rule="write", input={}, output=files, params=params, resources={}, threads=1, log=[str(log)])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_is_told_to_end_removes_what_it_was_writing(tmp_path, number, code):
    command = [sys.executable, "-c", textwrap.dedent(ENDLESS), tmp_path]
    job = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "writing\n"
    assert len(list(tmp_path.glob(".*.part"))) == 2
    job.send_signal(number)
    _, said = job.communicate(timeout=30)
    assert job.returncode == code
    assert said == f"write: stopped by {number.name}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_second_signal_to_end_does_not_cut_the_cleaning_up(tmp_path, capsys):
    """Schedulers send it to the process and to its group."""

    def write(output):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            output.with_name("cleaned").touch()

    with pytest.raises(SystemExit) as ended:
        run_job(a_job(tmp_path / "file", log=tmp_path / "log"), write)
    assert ended.value.code == 143
    assert (tmp_path / "cleaned").exists()
    assert capsys.readouterr().err == "write: stopped by SIGTERM\n"


def test_a_log_that_cannot_be_written_any_more_is_said_and_the_error_too(tmp_path, capsys):
    def write(output):
        sys.stderr.write("a line for the log\n")
        raise OSError(28, "No space left on device", str(output))

    job = a_job(tmp_path / "file", log="/dev/full")  # answers every write with "No space left on device"
    with pytest.raises(SystemExit) as ended:
        run_job(job, write)
    assert ended.value.code == 1
    first, error, log = capsys.readouterr().err.splitlines()
    assert first == "a line for the log"
    assert error.startswith("write: ")
    assert "No space left" in error
    assert log.startswith("write: its log /dev/full is not whole (")


def test_an_error_of_several_lines_is_one(tmp_path, capsys):
    def write(output):
        raise ValueError(f"{output}: first\nsecond")

    with pytest.raises(SystemExit):
        run_job(a_job(tmp_path / "file", log=tmp_path / "log"), write)
    assert capsys.readouterr().err == f"write: {tmp_path / 'file'}: first second\n"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script of a job, whose code may be edited."""
    (tmp_path / "scripts").mkdir()
    path = tmp_path / "scripts" / "write.py"
    path.write_text("one = 1\n")
    monkeypatch.setattr("lm_geometry.job._ROOT", tmp_path)
    return path


@pytest.mark.parametrize("edited", ["before it begins", "while it works", "in its words alone", "not at all"])
def test_a_job_whose_code_is_edited_during_the_run_makes_nothing(tmp_path, script, capsys, edited):
    started_with = rule_digest("write", tmp_path)
    begun = []

    def write(output):
        begun.append(output)
        if edited == "while it works":
            script.write_text("one = 2\n")

    if edited == "before it begins":
        script.write_text("one = 2\n")
    if edited == "in its words alone":
        script.write_text("# Why.\none = 1\n")
    job = a_job(tmp_path / "file", log=tmp_path / "log", code=f"{started_with}+digest of data")
    if edited in ("in its words alone", "not at all"):
        run_job(job, write)
        return
    with pytest.raises(SystemExit) as ended:
        run_job(job, write)
    assert ended.value.code == 1
    assert bool(begun) == (edited == "while it works")
    assert capsys.readouterr().err.startswith("write: its code was edited after the run had started")

"""Fixtures that all tests share."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from checkout import Checkout, new_checkout
from filelock import FileLock
from slow_results import Result, update

from lm_geometry import provenance

PROJECT = Path(__file__).resolve().parents[1]

# What is started in the background ignores Ctrl-C, and so does what it starts itself; some tests send it to a process.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No test reaches a model hub; without this the hub client retries for half a minute before it gives up.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow-results", type=Path, metavar="PAGE", help="write the results of slow tests into this page")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, so that no process has one left when the others have ended."""
    items.sort(key=lambda item: not {"workflow", "end_to_end"} & set(item.keywords))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    page = config.getoption("--slow-results")
    if page is None:
        return
    ended = [
        report
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.getreports(outcome)
        if "slow" in report.keywords and (report.when == "call" or not report.passed)
    ]
    update(page, [_result(report) for report in ended])


def _result(report: pytest.TestReport) -> Result:
    shown = dict(report.user_properties).get("shown", "")
    if report.skipped:
        shown = report.longrepr[2]
    return Result(report.nodeid, report.outcome, shown, report.duration)


@pytest.fixture(autouse=True)
def no_job_before(monkeypatch):
    """A process of its own runs each job: what one test's job says made its files is nothing to the next test's."""
    monkeypatch.setattr(provenance, "_job", {})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of the project: tokenizers, judged collections, enwik8's first 4 MB, a tiny Llama."""
    folder = Path(os.environ.get("LM_GEOMETRY_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real test data; {folder} is absent (set LM_GEOMETRY_TEST_DATA to its folder)")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Checkout:
    """A checkout whose tiny config has been run, once for all processes. Read only: who changes something copies it.

    Beside it, in ``records``, lies what every job loaded and opened of the project (see ``job_recorder``).
    """
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    checkout = Checkout(shared / "finished" / "project")
    with FileLock(shared / "finished.lock"):
        if not (shared / "finished" / "done").exists():
            records = shared / "finished" / "records"
            shutil.rmtree(shared / "finished", ignore_errors=True)  # of a process whose run failed, and says so itself
            new_checkout(checkout.folder)
            records.mkdir()
            checkout.run(PYTHONPATH=str(PROJECT / "tests" / "job_recorder"), JOB_RECORDS=str(records))
            (shared / "finished" / "done").touch()
    return checkout


@pytest.fixture
def checkout(finished, tmp_path) -> Checkout:
    """A private copy of the finished checkout."""
    return finished.copy(tmp_path / "project")

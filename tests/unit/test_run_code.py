"""The digests of a run's code are those that it started with, for its jobs on other machines too."""

import pytest

from lm_geometry.code_digest import rule_digest
from lm_geometry.run_code import HANDED_OVER, RunCode


@pytest.fixture
def root(tmp_path):
    """A project of one script without a library."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "write.py").write_text("value = 1\n")
    (tmp_path / "results").mkdir()
    return tmp_path


def test_a_job_takes_the_digests_that_its_run_started_with(root):
    at_first = rule_digest("write", root)
    main = RunCode(root, root / "results", run=None)
    assert main("write") == at_first
    main.hand_over("7 on here")
    (root / "scripts" / "write.py").write_text("value = 2\n")
    edited = rule_digest("write", root)
    assert edited != at_first
    assert RunCode(root, root / "results", run="7 on here")("write") == at_first
    # The next run, and jobs of another one, go by the code that is there.
    assert RunCode(root, root / "results", run=None)("write") == edited
    assert RunCode(root, root / "results", run="8 on here")("write") == edited


def test_without_what_was_handed_over_the_code_that_is_there_counts(root):
    """As for the jobs of another workflow that uses this one as a module."""
    assert not (root / "results" / HANDED_OVER).exists()
    assert RunCode(root, root / "results", run="7 on here")("write") == rule_digest("write", root)

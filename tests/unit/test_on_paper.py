"""What three large studies would take: the page says what the command does, and its arithmetic."""

from pathlib import Path

import pytest

from lm_geometry.plan.model_facts import model_facts
from lm_geometry.plan.on_paper import BEGIN, END, LLAMA_405B, clock_seconds, in_page, main, submissions, tables

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"


def test_the_page_says_what_the_command_does(tmp_path):
    copy = tmp_path / "gpu.md"
    copy.write_text(_PAGE.read_text())
    assert main([str(copy)]) == 0
    assert copy.read_text() == _PAGE.read_text(), "run python -m lm_geometry.plan.on_paper docs/gpu.md"


def test_the_405b_model_has_as_many_parameters_as_published():
    """The Llama 3 paper: 405B; the hub counts 405,853,388,800 (config.json and index of Llama-3.1-405B)."""
    assert model_facts([], LLAMA_405B).parameters.total == 405_853_388_800


def test_the_tables_name_154_checkpoints():
    _, paper, training, _ = tables().split("####")
    assert "3.6 TB" in training  # 154 x 2 bytes x 11.85e9 parameters
    assert paper.count("| float32 |") == 2


def test_jobs_share_the_gpus():
    assert clock_seconds([(1, 4.0), (1, 3.0), (1, 3.0), (1, 2.0)], 2) == 6.0
    # One that needs both starts when both are free.
    assert clock_seconds([(1, 4.0), (1, 3.0), (2, 2.0)], 2) == 6.0
    assert clock_seconds([(2, 5.0), (1, 1.0)], 2) == 6.0


def test_groups_are_one_submission_for_so_many_jobs():
    grouping = {"groups": {"a": "first", "b": "first", "c": "second"}, "group-components": {"first": 4}}
    # 9 of the first group in 3, 2 of the second one by one, 5 alone; `all` is no job of a cluster.
    assert submissions({"a": 6, "b": 3, "c": 2, "d": 5, "all": 1}, grouping) == 10


def test_a_page_without_marks_is_refused():
    assert in_page(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="has no place for what is generated; put <!-- on paper"):
        in_page(f"a\n{END}", "new")

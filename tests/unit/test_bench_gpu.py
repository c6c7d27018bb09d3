"""Where a benchmark's table goes: one for each hardware."""

import re
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import BEGIN, END, with_table

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"
_EMPTY = f"# GPUs\n\n{BEGIN}\n\n{END}\n\n## On paper\n\n### not a hardware\n"


def test_a_table_takes_the_place_of_the_same_hardware_and_of_no_other():
    both = with_table(with_table(_EMPTY, "1 x H100", "old of the GPU"), "no GPU: EPYC", "| of the CPU |")
    newer = with_table(both, "1 x H100", "new of the GPU")
    assert re.findall(r"^###? .*", newer, re.MULTILINE) == [
        "### 1 x H100", "### no GPU: EPYC", "## On paper", "### not a hardware"
    ]  # fmt: skip
    assert "new of the GPU" in newer
    assert "old of the GPU" not in newer
    assert newer.count("| of the CPU |") == 1
    assert with_table(newer, "1 x H100", "new of the GPU") == newer


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="has no place for what is generated; put <!-- bench-gpu"):
        with_table("# GPUs\n", "1 x H100", "")


def test_what_ran_is_in_the_page():
    assert re.search(rf"{BEGIN}\n\n### (?s:.)+float32 \| dump(?s:.)+{END}", _PAGE.read_text())


@pytest.mark.slow
def test_a_small_run_fills_the_page(tmp_path, monkeypatch, record_property):
    monkeypatch.setattr(gpu, "ON_CPU", gpu.Size(64, 1, 500, chunks=4, length=128, batch_size=64, product=64))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    page = tmp_path / "gpu.md"
    page.write_text(_EMPTY)
    figures = list(gpu.figures(page))
    assert [figure.name for figure in figures[:2]] == [
        "gpu, float32, dump beside bare pass", "gpu, float32, stream beside bare pass"
    ]  # fmt: skip
    assert len(figures) == 6
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6 + 5  # the measures of a dump once: it holds float32 either way
    assert all(row.count("|") == 8 for row in rows)
    record_property("shown", f"{len(rows)} lines")

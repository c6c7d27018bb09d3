"""Results whose records lie elsewhere are refused: nobody would notice an edit."""

import shutil
from pathlib import Path

import pytest

from lm_geometry.records import MARK_NAME, LostRecordsError, check_records, mark_records

RESULTS = Path("results")


@pytest.fixture
def made_here(tmp_path, monkeypatch):
    """A working directory with results of a run."""
    here = tmp_path / "here"
    (here / RESULTS).mkdir(parents=True)
    monkeypatch.chdir(here)
    check_records(RESULTS)  # of nothing there is no record, and need not be
    mark_records(RESULTS)
    return here


def test_results_are_known_where_they_were_made_and_when_all_of_it_was_moved(made_here, tmp_path, monkeypatch):
    mark_records(RESULTS)
    check_records(RESULTS)
    made_here.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    check_records(RESULTS)


def test_two_folders_of_results_are_known_beside_each_other(made_here):
    others = Path("others")
    others.mkdir()
    mark_records(others)
    check_records(others)
    check_records(RESULTS)


def test_without_records_they_are_refused_until_the_user_takes_them_for_up_to_date(made_here):
    shutil.rmtree(".snakemake")
    with pytest.raises(LostRecordsError, match=rf"^results_dir: results: made by .* in {made_here} .*{MARK_NAME}$"):
        check_records(RESULTS)
    (RESULTS / MARK_NAME).unlink()
    check_records(RESULTS)


def test_from_another_working_directory_they_are_refused(made_here, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / RESULTS).mkdir(parents=True)
    monkeypatch.chdir(other)
    mark_records(RESULTS)
    with pytest.raises(
        LostRecordsError, match=rf"made by runs in {made_here} with results_dir results; .* in {other} "
    ):
        check_records(made_here / RESULTS)


def test_a_copied_working_directory_is_refused_once_the_other_has_run_in_the_same_folder(tmp_path, monkeypatch):
    results = tmp_path / "scratch"
    results.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mark_records(results)
    shutil.copytree(tmp_path / "here", tmp_path / "copied")
    mark_records(results)
    check_records(results)
    monkeypatch.chdir(tmp_path / "copied")
    with pytest.raises(LostRecordsError, match=rf"^results_dir: {results}: made by runs in {tmp_path / 'here'} "):
        check_records(results)


def test_records_hold_one_mark_of_a_folder_however_often_it_was_run_in(made_here):
    for _ in range(3):
        mark_records(RESULTS)
    assert len(list(Path(".snakemake", "lm_geometry").iterdir())) == 1


@pytest.mark.parametrize("name", ["link", "copy", "absolute"])
def test_under_another_path_they_are_refused_for_snakemake_finds_no_record_there(made_here, name):
    path = made_here / "results" if name == "absolute" else Path(name)
    if name == "link":
        path.symlink_to("results")
    elif name == "copy":
        shutil.copytree("results", path)
    with pytest.raises(LostRecordsError, match=r"with results_dir results; .* or not under this path"):
        check_records(path)


@pytest.mark.parametrize("damaged", ["", "a mark\n"])
def test_a_mark_that_was_cut_is_made_again(made_here, damaged):
    (RESULTS / MARK_NAME).write_text(damaged)
    check_records(RESULTS)
    mark_records(RESULTS)
    assert len((RESULTS / MARK_NAME).read_text().splitlines()) == 3
    check_records(RESULTS)

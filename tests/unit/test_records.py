"""Results whose records lie elsewhere are refused: nobody would notice an edit."""

import shutil

import pytest

from lm_geometry.records import MARK_NAME, LostRecordsError, check_records, mark_records


@pytest.fixture
def made_here(tmp_path, monkeypatch):
    """A working directory with results of a run."""
    here = tmp_path / "here"
    (here / "results").mkdir(parents=True)
    monkeypatch.chdir(here)
    check_records(here / "results")  # of nothing there is no record, and need not be
    mark_records(here / "results")
    return here


def test_results_are_known_where_they_were_made_and_when_all_of_it_was_moved(made_here, tmp_path, monkeypatch):
    mark_records(made_here / "results")
    check_records(made_here / "results")
    made_here.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    check_records(tmp_path / "moved" / "results")


def test_two_folders_of_results_are_known_beside_each_other(made_here):
    (made_here / "others").mkdir()
    mark_records(made_here / "others")
    check_records(made_here / "others")
    check_records(made_here / "results")


def test_without_records_they_are_refused_until_the_user_takes_them_for_up_to_date(made_here):
    shutil.rmtree(made_here / ".snakemake")
    results = made_here / "results"
    with pytest.raises(LostRecordsError, match=rf"^results_dir: {results}: made by .* in {made_here}, .*{MARK_NAME}$"):
        check_records(results)
    (results / MARK_NAME).unlink()
    check_records(results)


def test_from_another_working_directory_they_are_refused(made_here, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / "results").mkdir(parents=True)
    monkeypatch.chdir(other)
    mark_records(other / "results")
    with pytest.raises(LostRecordsError, match=rf"made by runs in {made_here}, whose records .* are not in {other}"):
        check_records(made_here / "results")

"""A run that ends in order takes its marks off what no job has touched, and off nothing else."""

from types import SimpleNamespace

import pytest

from lm_geometry.unmade import Unmade


class Persistence:
    """Snakemake's, as far as marks go."""

    def __init__(self):
        self.marked = set()
        self.submitted = {}

    def _get_key(self, file):
        return file

    def _filter_incomplete_keys(self, keys):
        return self.marked & set(keys)

    def started(self, job):
        self.marked |= set(job.output)

    def _unmark_incomplete(self, key):
        self.marked.remove(key)

    def external_jobids(self, job):
        return self.submitted.get(job, [])


class Job(SimpleNamespace):
    """A job that can be the key of a dictionary."""

    def __hash__(self):
        return id(self)


@pytest.fixture
def run(tmp_path):
    """Marked files a and c of two jobs, of which b is made of a."""
    for name in "abc":
        (tmp_path / name).write_text("old")
    jobs = {name: Job(output=[str(tmp_path / name)]) for name in "abc"}
    below = {jobs["a"]: [jobs["b"]], jobs["b"]: [], jobs["c"]: []}
    dag = SimpleNamespace(needrun_jobs=jobs.values, depending=below)
    persistence = Persistence()
    unmade = Unmade(dag, persistence)
    unmade.mark()
    return SimpleNamespace(unmade=unmade, persistence=persistence, jobs=jobs, folder=tmp_path)


def marked(run):
    run.unmade.unmark_untouched()
    return {name for name in "abc" if str(run.folder / name) in run.persistence.marked}


def test_what_no_job_has_come_to_is_as_good_as_before(run):
    assert marked(run) == set()


@pytest.mark.parametrize("touch", [lambda path: path.unlink(), lambda path: path.write_text("new and longer")])
def test_what_a_job_has_replaced_or_removed_stays_marked_with_all_that_is_made_of_it(run, touch):
    touch(run.folder / "a")
    assert marked(run) == {"a", "b"}


def test_what_a_submitted_job_may_still_replace_stays_marked(run):
    """Snakemake cancels it and waits for nothing; from here its output may look untouched."""
    run.persistence.submitted[run.jobs["a"]] = ["4711"]
    assert marked(run) == {"a", "b"}

"""Which results count as unmade while a run replaces them, and after it was cut.

Snakemake takes a missing file in the middle of the graph for not needed. When a job is cut that replaces one, all that
was made of the old one would seem up to date. So whatever is to be made again is marked as incomplete, by Snakemake's
own marks, when the run starts; each job that ends takes its mark off. A run that ends in order before it is through
takes off those of jobs that it did not come to and whose inputs are as they were.
"""

from pathlib import Path
from typing import Any

State = tuple[int, int] | None


class Unmade:
    """The results that a run is about to make.

    Parameters
    ----------
    dag, persistence : snakemake.dag.DAG, snakemake.persistence.PersistenceBase
        Of the run that starts.
    """

    def __init__(self, dag: Any, persistence: Any) -> None:
        self._dag = dag
        self._persistence = persistence
        self._before = {job: _states(job) for job in dag.needrun_jobs()}
        keys = [key for job in self._before for key in self._keys(job)]
        self._marked_before = persistence._filter_incomplete_keys(keys)

    def mark(self) -> None:
        """Mark all of them as incomplete."""
        for job in self._before:
            self._persistence.started(job)

    def unmark_untouched(self) -> None:
        """Take the marks off results that are as they were, made of what is as it was, and that no job is at.

        A job that was submitted may still replace them: what cancels it does not wait for its end, and what it has done
        on its machine may not be seen here yet.
        """
        touched = {
            job
            for job, before in self._before.items()
            if self._persistence.external_jobids(job) or _states(job) != before
        }
        below = list(touched)
        while below:
            job = below.pop()
            found = {next_one for next_one in self._dag.depending[job] if next_one in self._before} - touched
            touched |= found
            below.extend(found)
        for job in self._before.keys() - touched:
            for key in set(self._keys(job)) - self._marked_before:
                self._persistence._unmark_incomplete(key)

    def _keys(self, job: Any) -> list[str]:
        return [self._persistence._get_key(file) for file in job.output]


def _states(job: Any) -> list[State]:
    """Return what tells whether the outputs of a job were replaced: inode and time, None where there is none."""
    stats = [Path(file).stat() if Path(file).exists() else None for file in job.output]
    return [stat and (stat.st_ino, stat.st_mtime_ns) for stat in stats]

"""A run killed at any moment is started again by the same command, repeats nothing and ends as if undisturbed."""

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import Checkout, new_checkout
from result_files import digests, kill_group

pytestmark = pytest.mark.workflow

SEED = 20_261_122


@dataclass(frozen=True)
class Said:
    """What Snakemake said of jobs: the messages of those that started and of those that finished."""

    started: list[str]
    finished: list[str]

    @classmethod
    def read(cls, log: Path) -> "Said":
        text = log.read_text()
        messages = dict(re.findall(r"^Job (\d+): (.*)$", text, flags=re.MULTILINE))
        finished = re.findall(r"^Finished jobid: (\d+)", text, flags=re.MULTILINE)
        return cls(list(messages.values()), [messages[number] for number in finished])


def run_until(checkout: Checkout, log: Path, n_finished: float, delay: float, *, config: str | None) -> Said:
    """Run until that many jobs have finished and some seconds more, then kill; a run that ends before just ends."""
    process = checkout.start(log, config=config)
    while process.poll() is None and len(Said.read(log).finished) < n_finished:
        time.sleep(0.05)
    moment = time.monotonic() + delay
    while process.poll() is None and time.monotonic() < moment:
        time.sleep(0.01)
    if process.poll() is None:
        kill_group(process)
    else:
        assert process.returncode == 0, log.read_text()[-6000:]
    return Said.read(log)


def survive(
    checkout: Checkout,
    undisturbed: dict[str, str],
    *,
    jobs: int,
    kills: int,
    config: str | None,
    temporary: str | None = None,
) -> str:
    """Kill a run that many times, restart it each time and compare; return what was seen.

    Files of the folder ``temporary`` are gone at the end, and all the while as they are in a run that keeps them.
    """
    results, logs = checkout.folder / "results", checkout.folder.parent
    draw = random.Random(SEED)
    done: set[str] = set()
    cut = 0
    for attempt in range(kills):
        log = logs / f"attempt_{attempt}.log"
        # Moments that lie all over the graph: on average a run gets its share of the jobs done before it is killed.
        said = run_until(checkout, log, draw.randint(0, 2 * jobs // (kills + 1)), draw.uniform(0, 4), config=config)
        again = done & set(said.started)
        assert not again, f"attempt {attempt} repeated what was done: {again}"
        done |= set(said.finished)
        cut += len(set(said.started) - set(said.finished))
        partial = {name for name, digest in digests(results).items() if digest != undisturbed[name]}
        assert not partial, f"after attempt {attempt}, not what the undisturbed run has: {partial}"
    last = run_until(checkout, logs / "last.log", float("inf"), 0, config=config)
    assert not done & set(last.started)
    # A job that is killed between its record and its line is done, and nobody said so.
    assert jobs - 2 * kills <= len(done | set(last.finished)) <= jobs
    left = {name: digest for name, digest in undisturbed.items() if name.partition("/")[0] != temporary}
    assert digests(results) == left
    assert not list(results.rglob("*.part"))
    assert checkout.rules_to_run(config=config) == {}
    return f"{kills} kills survived, {cut} jobs cut, {jobs} jobs done once each, {len(left)} files the same"


@pytest.mark.slow
def test_a_tiny_run_that_is_killed_ends_like_an_undisturbed_one(finished, tmp_path, record_property):
    undisturbed = digests(finished.folder / "results")
    jobs = sum(finished.rules_to_run("--forceall").values())
    killed = new_checkout(tmp_path / "project")
    record_property("shown", survive(killed, undisturbed, jobs=jobs, kills=4, config="tiny.yaml"))


@pytest.mark.slow
def test_the_demo_killed_at_fifty_moments_ends_like_an_undisturbed_one(tmp_path, record_property):
    checkout = new_checkout(tmp_path / "undisturbed" / "project")
    checkout.run("--notemp", config=None, timeout=3600)
    jobs = sum(checkout.rules_to_run("--forceall", config=None).values())
    undisturbed = digests(checkout.folder / "results")
    killed = new_checkout(tmp_path / "killed" / "project")
    seen = survive(killed, undisturbed, jobs=jobs, kills=50, config=None, temporary="hidden_states")
    record_property("shown", seen)

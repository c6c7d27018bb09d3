"""What three large studies would take, by the plan's own numbers: ``python -m lm_geometry.plan.on_paper [PAGE]``.

Prints the tables, or puts them into a page of the docs, between its two marks. None of it was run.
"""

import argparse
import heapq
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.configuration.schema import with_defaults
from lm_geometry.configuration.view import Study
from lm_geometry.marked_pages import split_at_marks
from lm_geometry.plan import forward
from lm_geometry.plan.estimate import plan_rows
from lm_geometry.plan.jobs import count_jobs, plan_settings
from lm_geometry.plan.model_facts import ModelFacts, model_facts
from lm_geometry.plan.passing import passing_of
from lm_geometry.plan.reference_models import reference_config, reference_rows
from lm_geometry.plan.report import in_bytes, in_time

GPUS = 8
THREADS = 8
"""Threads of a job."""

NETWORK_RATE = 125e6
"""Bytes a second over the network: 1 Gbit/s, a cluster's line."""

BEGIN, END = "<!-- on paper: python -m lm_geometry.plan.on_paper docs/gpu.md -->", "<!-- end of on paper -->"

LLAMA_405B = {
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
"""Llama-3.1-405B's config.json, as far as sizes go. Its files hold its parameters in bfloat16, two bytes each."""

_PROJECT = Path(__file__).resolve().parents[2]
_PAPER = _PROJECT / "configs" / "representation_dynamics.yaml"
_PROFILE = _PROJECT / "profiles" / "slurm" / "config.yaml"
_LARGEST = "meta-llama/Llama-3.1-405B"

Row = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or write them into the page that is named."""
    parser = argparse.ArgumentParser(prog="python -m lm_geometry.plan.on_paper", description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, help="a page with the two marks; without it, print")
    page = parser.parse_args(arguments).page
    if page is None:
        sys.stdout.write(f"{tables()}\n")
    else:
        page.write_text(in_page(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")
    return 0


def in_page(page: str, text: str) -> str:
    """Return a page with ``text`` in place of what stands between its marks.

    Raises
    ------
    ValueError
        If the page lacks a mark.
    """
    before, _, after = split_at_marks(page, BEGIN, END)
    return f"{before}\n{text}\n{after}"


def tables() -> str:
    """Return the three studies as Markdown."""
    paper = yaml.safe_load(_PAPER.read_text(encoding="utf-8"))
    return "\n\n".join(
        [
            "#### The whole paper config, configs/representation_dynamics.yaml",
            _study_table(paper, ("float32", "bfloat16"), ("dump", "stream"), "80GB"),
            "#### 154 checkpoints of a 12B model, pythia-12b",
            _study_table(_over_training(paper), ("float32", "bfloat16"), ("dump", "stream"), "80GB"),
            "#### A 405B model, Llama-3.1-405B",
            _largest_table(paper),
        ]
    )


# -- the studies -------------------------------------------------------------------------------------------------------


def _over_training(paper: Mapping[str, Any]) -> dict[str, Any]:
    revisions = ["step{0,1,2,4,8,16,32,64,128,256,512}", "step{1000..143000..1000}"]
    return _changed(
        paper,
        {"pythia-12b": {"source": "EleutherAI/pythia-12b", "suite": "Pythia"}},
        {"profiles": [], "training": {"pythia-12b": {"revisions": revisions}}},
    )


def _of_the_largest(paper: Mapping[str, Any]) -> dict[str, Any]:
    models = {"Llama-3.1-405B": {"source": _LARGEST, "suite": "Llama-3.1"}}
    return _changed(paper, models, {"profiles": ["Llama-3.1-405B"], "training": {}})


def _changed(paper: Mapping[str, Any], models: Mapping[str, Any], dynamics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paper's config with other models; its chunks and batches stay."""
    section = {**paper["representation_dynamics"], **dynamics}
    return {**paper, "models": dict(models), "representation_dynamics": section}


def _planned(config: Mapping[str, Any], **dynamics: Any) -> tuple[Study, list[Row]]:
    """Return a study on GPUs and its plan's rows, the total left out."""
    section = {**config["representation_dynamics"], "device": "cuda", "threads": THREADS, **dynamics}
    study = Study(with_defaults({**config, "representation_dynamics": section}))
    settings = plan_settings(study)
    models = study.run_facts(study.planned_runs)
    *rows, _ = plan_rows(models, [_facts(entry["source"]) for entry in models], settings, passing_of(settings))
    return study, rows


def _facts(source: str) -> ModelFacts:
    """Return the facts of a model of reference/models.csv, or of the largest one."""
    if source == _LARGEST:
        config, value_bytes = LLAMA_405B, 2
        return _of_files(config, value_bytes * model_facts([], config).parameters.total)
    # Of a repository that holds checkpoints only, the sizes are those of the model itself.
    name = source.removesuffix("-intermediate")
    row = next(row for row in reference_rows() if row["hub_id"] == name)
    value_bytes = 4 if "float32" in row["stored_dtype"] else 2
    config = reference_config(row) | {"torch_dtype": row["stored_dtype"]}
    return _of_files(config, value_bytes * int(row["n_params"]))


def _of_files(config: Mapping[str, Any], size: int) -> ModelFacts:
    return model_facts([ListedFile("model.safetensors", "weights", size, None, True)], config)


# -- the tables --------------------------------------------------------------------------------------------------------


def _study_table(config: Mapping[str, Any], dtypes: Iterable[str], ways: Iterable[str], memory: str) -> str:
    heading = (
        "dtype",
        "hidden_states",
        "to fetch",
        "disk at a time",
        "GPUs of a job",
        "memory of a job",
        "GPU time",
        f"clock, {GPUS} GPUs",
        "all else, in a row",
        "jobs",
        "submissions",
    )
    lines = []
    for dtype in dtypes:
        for way in ways:
            study, rows = _planned(config, dtype=dtype, hidden_states=way, gpus={"memory": memory, "count": GPUS})
            tasks = [(row["gpus"], row["forward_seconds"]) for row in rows]
            fetched = sum(row["checkpoint_fetch_bytes"] for row in rows)
            jobs = count_jobs(study)
            lines.append(
                (
                    dtype,
                    way,
                    f"{in_bytes(fetched)} ({in_time(fetched / NETWORK_RATE)})",
                    in_bytes(_disk_at_a_time(rows)),
                    str(max(gpus for gpus, _ in tasks)),
                    in_bytes(max(row["memory_bytes"] for row in rows)),
                    in_time(sum(gpus * seconds for gpus, seconds in tasks)),
                    in_time(clock_seconds(tasks, GPUS)),
                    in_time(sum(row["other_seconds"] for row in rows)),
                    f"{sum(jobs.values()):,}",
                    f"{submissions(jobs, _grouping()):,}",
                )
            )
    return _markdown(heading, lines)


def _largest_table(paper: Mapping[str, Any]) -> str:
    heading = (
        "dtype",
        "GPUs",
        "to fetch",
        "states on disk",
        "weights: on GPUs",
        "in memory",
        "on disk",
        "passes, dumped",
        "memory, streamed",
        "passes, streamed and measured",
    )
    config, facts = _of_the_largest(paper), _facts(_LARGEST)
    lines = []
    for dtype in ("float32", "bfloat16"):
        for memory, count in (("80GB", GPUS), ("141GB", GPUS)):
            asked = {"dtype": dtype, "gpus": {"memory": memory, "count": count}}
            _, (dumped,) = _planned(config, **asked)
            study, (streamed,) = _planned(config, **asked, hidden_states="stream")
            held = forward.places(facts, passing_of(plan_settings(study)))
            lines.append(
                (
                    dtype,
                    f"{held.gpus} of {memory}",
                    f"{in_bytes(dumped['checkpoint_fetch_bytes'])} "
                    f"({in_time(dumped['checkpoint_fetch_bytes'] / NETWORK_RATE)})",
                    in_bytes(dumped["dump_bytes"]),
                    *(in_bytes(size) for size in held[1:]),
                    in_time(dumped["forward_seconds"]),
                    in_bytes(streamed["memory_bytes"]),
                    in_time(streamed["forward_seconds"]),
                )
            )
    return _markdown(heading, lines)


def clock_seconds(tasks: Iterable[tuple[int, float]], n_gpus: int) -> float:
    """Return when the last of some jobs ends, the longest started first, each on as many GPUs as it needs.

    Parameters
    ----------
    tasks : iterable of (int, float)
        GPUs and seconds of each job.
    n_gpus : int
        GPUs that there are.
    """
    free_at = [0.0] * n_gpus
    for gpus, seconds in sorted(tasks, key=lambda task: -task[1]):
        start = [heapq.heappop(free_at) for _ in range(gpus)][-1]
        for _ in range(gpus):
            heapq.heappush(free_at, start + seconds)
    return max(free_at)


def submissions(jobs: Mapping[str, int], grouping: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many submissions a cluster gets at most, where short jobs go in groups.

    Parameters
    ----------
    jobs : mapping
        Jobs by rule.
    grouping : mapping
        ``groups`` and ``group-components`` of a profile.
    """
    groups, components = grouping["groups"], grouping["group-components"]
    together: dict[str, int] = {}
    alone = 0
    for rule, count in jobs.items():
        if rule in groups:
            together[groups[rule]] = together.get(groups[rule], 0) + count
        elif rule != "all":
            alone += count
    return alone + sum(-(-count // components.get(group, 1)) for group, count in together.items())


def _grouping() -> dict[str, Any]:
    return yaml.safe_load(_PROFILE.read_text(encoding="utf-8"))


def _disk_at_a_time(rows: Sequence[Row]) -> int:
    """Return what the largest jobs that run side by side take, and what stays."""
    passing = sorted((row["cache_bytes"] + row["dump_bytes"] for row in rows), reverse=True)
    return sum(passing[:GPUS]) + sum(row["results_bytes"] - row["dump_bytes"] for row in rows)


def _markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())

"""The plan as text for a screen: a table, the rates it rests on, and what will not do on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_geometry.plan import cost, forward
from lm_geometry.plan.passing import passing_of

Row = Mapping[str, Any]

WIDTH = 120
PLACES = ("cache_dir", "results_dir")
"""Settings that name a folder whose disk is looked at; where it lies is no part of what a run costs."""

_HEADINGS = (
    "model", "revision", "params", "weights", "tables", "whole", "disk", "memory", "GPUs", "GPU mem", "forward", "jobs",
)  # fmt: skip
_REVISION_WIDTH = 20
_NONE = "-"
_TOTAL = "total"


@dataclass(frozen=True)
class Machine:
    """What a plan is held against.

    Parameters
    ----------
    memory_bytes : int
        Memory that jobs may take here.
    n_gpus : int
        GPUs that they may take.
    free_bytes : mapping of str to int
        Free space on the disk of ``cache_dir`` and of ``results_dir``.
    one_disk : bool
        Whether both lie on the same disk.
    """

    memory_bytes: int
    n_gpus: int
    free_bytes: Mapping[str, int]
    one_disk: bool


def plan_text(rows: Sequence[Row], study: Mapping[str, Any], machine: Machine) -> str:
    """Return the plan, at most 120 columns wide, ending in a line break.

    Parameters
    ----------
    rows : sequence of mappings
        Rows of ``tables.plan``, the total last.
    study : mapping
        See ``jobs.plan_settings``.
    machine : Machine
        What warnings compare with.
    """
    total = rows[-1]
    lines = [*_table(rows), "", *_notes(total, study)]
    if study["trained_here"]:
        made = ", ".join(study["trained_here"])
        lines.append(f"note: trained here, so that there are no files yet, nor rows: {made}")
    lines += [f"note: {note}" for note in _doubts(rows)]
    lines += [f"WARNING: {warning}" for warning in warnings(rows, study, machine)]
    return "\n".join(lines) + "\n"


def warnings(rows: Sequence[Row], study: Mapping[str, Any], machine: Machine) -> list[str]:
    """Return one line for each thing that will not do on this machine."""
    total = rows[-1]
    found = [*_disk_warnings(total, study, machine)]
    found += _memory_warnings(rows, machine)
    found += _gpu_warnings(rows[:-1], machine)
    slow = [row for row in rows[:-1] if (row["forward_seconds"] or 0) > cost.DAY]
    if slow and not machine.n_gpus:
        longest = max(slow, key=lambda row: row["forward_seconds"])
        found.append(
            f"no GPU: the forward passes of {longest['model']} take {in_time(longest['forward_seconds'])}"
            f"{_largest_of(slow)}"
        )
    return found


def _gpu_warnings(rows: Sequence[Row], machine: Machine) -> list[str]:
    """Return a line for models that this machine has too few GPUs for, and for those that are read from disk."""
    found = []
    many = [row for row in rows if (row["gpus"] or 0) > machine.n_gpus]
    if many:
        most = max(many, key=lambda row: row["gpus"])
        found.append(
            f"{most['model']} takes {most['gpus']} GPUs and this machine has {machine.n_gpus}{_largest_of(many)}"
        )
    beside = [row for row in rows if row["offload_bytes"]]
    if beside:
        most = max(beside, key=lambda row: row["offload_bytes"])
        found.append(
            f"{most['model']} reads {in_bytes(most['offload_bytes'])} of its weights from disk in every pass"
            f"{_largest_of(beside)}"
        )
    return found


def _memory_warnings(rows: Sequence[Row], machine: Machine) -> list[str]:
    """Return a line for each rule whose jobs need more than there is; the total knows the one of no model."""
    *runs, total = rows
    needy: dict[str, list[Row]] = {}
    for row in runs:
        if row["memory_bytes"] > machine.memory_bytes:
            needy.setdefault(row["memory_rule"], []).append(row)
    found = []
    for rule, group in needy.items():
        most = max(group, key=lambda row: row["memory_bytes"])
        found.append(_too_large(f"{rule} of {most['model']}", most, machine) + _largest_of(group))
    if total["memory_bytes"] > machine.memory_bytes and total["memory_rule"] not in needy:
        found.append(_too_large(total["memory_rule"], total, machine))
    return found


def _largest_of(group: Sequence[Row]) -> str:
    return f" (the most of {len(group)} jobs)" if len(group) > 1 else ""


def _too_large(job: str, row: Row, machine: Machine) -> str:
    needed, there = in_bytes(row["memory_bytes"]), in_bytes(machine.memory_bytes)
    return f"{job} takes {needed} of memory and this machine has {there}"


def _disk_warnings(total: Row, study: Mapping[str, Any], machine: Machine) -> list[str]:
    needed = {"cache_dir": total["cache_bytes"], "results_dir": total["results_bytes"]}
    if machine.one_disk:
        both, free = sum(needed.values()), machine.free_bytes["cache_dir"]
        folders = f"cache_dir {study['cache_dir']} and results_dir {study['results_dir']} lie on one disk with"
        return [f"{folders} {in_bytes(free)} free; up to {in_bytes(both)} are needed"] if both > free else []
    return [
        f"{name} {study[name]} has {in_bytes(machine.free_bytes[name])} free; up to {in_bytes(size)} are needed"
        for name, size in needed.items()
        if size > machine.free_bytes[name]
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    # A column that nothing is said in is left out.
    columns = [line for line in zip(*lines, strict=True) if set(line[1:]) != {_NONE}]
    # Revisions have their step in front, models their size behind.
    texts = [_fitted(columns[1], _REVISION_WIDTH, tail=0), *(_aligned(column) for column in columns[2:])]
    room = WIDTH - sum(2 + len(column[0]) for column in texts)
    joined = ["  ".join(line).rstrip() for line in zip(_fitted(columns[0], room, tail=room // 2), *texts, strict=True)]
    rule = "-" * max(map(len, joined))
    return [joined[0], rule, *joined[1:-1], rule, joined[-1]]


def _fitted(names: Sequence[str], width: int, *, tail: int) -> list[str]:
    """Return names of one width, at most ``width``; of long ones the start and the last ``tail`` letters are kept."""
    width = min(width, max(map(len, names)))
    return [_cut(name, width, tail).ljust(width) for name in names]


def _aligned(texts: Sequence[str]) -> list[str]:
    width = max(map(len, texts))
    return [text.rjust(width) for text in texts]


def _cells(row: Row) -> tuple[str, ...]:
    if row["model"] is None:
        names = (_TOTAL, "", "")
    else:
        names = (row["model"], row["revision"], ("" if row["from_config"] else "~") + in_count(row["parameters"]))
    sizes = ("checkpoint_bytes", "table_fetch_bytes", "checkpoint_fetch_bytes")
    return (
        *names,
        *(in_bytes(row[size]) for size in sizes),
        in_bytes(row["cache_bytes"] + row["results_bytes"]),
        in_bytes(row["memory_bytes"]),
        _NONE if row["gpus"] is None else str(row["gpus"]),
        in_bytes(row["gpu_memory_bytes"]),
        in_time(row["forward_seconds"]),
        str(row["jobs"]),
    )


def _notes(total: Row, study: Mapping[str, Any]) -> list[str]:
    """Return what the columns mean and which rates they rest on."""
    fetched = {"tables": total["table_fetch_bytes"], "whole checkpoints": total["checkpoint_fetch_bytes"]}
    times = [f"{what} {in_time(size / cost.NETWORK_RATE)}" for what, size in fetched.items() if size]
    lines = [
        "weights: the checkpoint's files of one format. tables: to be fetched for the embedding study; whole:",
        "checkpoints to be fetched for forward passes; 0 B for local sources. In total, disk is what is there at a",
        "time, memory that of the largest job, and jobs are all of the run, from an empty results folder.",
        f"Disk: {in_bytes(total['cache_bytes'])} in cache_dir, {in_bytes(total['results_bytes'])} in results_dir.",
    ]
    if times:
        lines.append(f"Fetching at {cost.NETWORK_RATE / 1e6:g} MB/s: {', '.join(times)}.")
    if study["dumped"]:
        lines += _passing_notes(total, study)
    lines.append(f"All other jobs take {in_time(total['other_seconds'])}, one after the other.")
    if study["scored"] and study["texts"] is None:
        documents, queries = cost.TEXTS_ASSUMED
        lines.append(f"The collection is not known yet; {documents:,} documents and {queries:,} queries are assumed.")
    return lines


def _passing_notes(total: Row, study: Mapping[str, Any]) -> list[str]:
    """Return how forward passes run, and at which rates."""
    passing = passing_of(study)
    threads = f"{passing.threads} threads" if passing.threads > 1 else "one thread"
    device = f"{threads} at {forward.CPU_FLOPS[passing.dtype] / 1e9:g} GFLOP/s each"
    lines = []
    if total["gpus"] is not None:
        device = f"a GPU at {forward.GPU_FLOPS[passing.dtype] / 1e12:g} TFLOP/s"
        lines = [f"GPUs of {in_bytes(passing.gpu_bytes)}, at most {passing.most_gpus} in one job."]
    also = "and measuring included" if study["streams"] else "and writing included"
    return [f"Forward passes in {passing.dtype} on {device}, loading {also}.", *lines]


def _doubts(rows: Sequence[Row]) -> list[str]:
    """Return what the plan cannot know from a listing."""
    guessed = sum(not row["from_config"] for row in rows[:-1])
    return [f"parameters marked ~ are guessed from the files' size ({guessed} of {len(rows) - 1})"] if guessed else []


def _cut(name: str, width: int, tail: int) -> str:
    if len(name) <= width:
        return name
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def in_bytes(size: int | None) -> str:
    """Return a size for people, in steps of 1000: 12 kB, 3.4 MB, 56 GB."""
    return _NONE if size is None else _scaled(size, ("B", "kB", "MB", "GB", "TB", "PB"))


def in_count(count: int) -> str:
    """Return a number of parameters for people: 14M, 1.3B."""
    return _scaled(count, ("", "k", "M", "B", "T")).replace(" ", "")


def in_time(seconds: float | None) -> str:
    """Return a time for people: 12 s, 3.4 min, 5.6 h, 78 days."""
    if seconds is None:
        return _NONE
    for unit, length in (("days", cost.DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{_digits(seconds / length)} {unit}"
    return f"{_digits(seconds)} s"


def _scaled(value: float, units: Sequence[str]) -> str:
    step = 0
    while step < len(units) - 1 and float(_digits(value / 1000**step)) >= 1000:
        step += 1
    number = _digits(value / 1000**step) if step else f"{value:.0f}"
    return f"{number} {units[step]}".strip()


def _digits(value: float) -> str:
    """Return two digits at least, so that rounding errs by no more than a twentieth."""
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:.0f}"

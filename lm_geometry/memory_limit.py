"""The memory that this process may take: the machine's, or less where a container or a scheduler allows less."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


class _Allowance(NamedTuple):
    """Bytes that a group of processes may take, and bytes that it cannot give back."""

    most: int
    used: int


def memory_limit() -> int:
    """Return the bytes of memory that there are for processes like this one, whatever others take."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(allowance.most for allowance in _allowances())])


def available_memory() -> int:
    """Return the bytes of memory that this process can still take."""
    import psutil

    left = (allowance.most - allowance.used for allowance in _allowances())
    return max(0, min([psutil.virtual_memory().available, *left]))


def _allowances() -> Iterator[_Allowance]:
    yield from _of_cgroups()
    if megabytes := _of_slurm():
        import psutil

        yield _Allowance(megabytes * 2**20, psutil.Process().memory_info().rss)


def _of_slurm() -> int:
    """Return the megabytes that Slurm gave on this node; 0 outside of it, and where it gave all."""
    if "SLURM_MEM_PER_NODE" in os.environ:
        return int(os.environ["SLURM_MEM_PER_NODE"])
    return int(os.environ.get("SLURM_MEM_PER_CPU", 0)) * int(os.environ.get("SLURM_CPUS_ON_NODE", 1))


def _of_cgroups() -> Iterator[_Allowance]:
    """Yield what this process' control group and those above it allow, in either version of the kernel's interface."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _up_from(CGROUPS, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _up_from(CGROUPS / "memory", path, *names)


def _up_from(root: Path, path: str, limit: str, usage: str, given_back: str) -> Iterator[_Allowance]:
    """Yield the allowance of each folder from ``path`` up to ``root`` that states one.

    In a container the path may be the host's, of which there is nothing here but the root.
    """
    place = root / path.lstrip("/")
    for folder in (place, *place.parents):
        if not folder.is_relative_to(root):
            return
        try:
            most = (folder / limit).read_text(encoding="ascii").strip()
            used = int((folder / usage).read_text(encoding="ascii"))
            cached = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        except OSError:
            continue
        if most.isdigit():  # 'max' is none
            yield _Allowance(int(most), used - int(cached.get(given_back, 0)))

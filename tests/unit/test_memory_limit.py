"""The memory that a process may take, in containers and under schedulers: files in place of the kernel's."""

import os

import psutil
import pytest

from lm_geometry import memory_limit as module
from lm_geometry.memory_limit import available_memory, memory_limit

_PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
_MB = 2**20


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Return what writes a control group's files, for a process that is in none so far."""
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    own = tmp_path / "own"
    own.write_text("")
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "OWN_CGROUP", own)

    def write(line, **groups):
        own.write_text(f"12:cpuset:/elsewhere\n{line}\n")
        for place, files in groups.items():
            folder = tmp_path / "cgroup" / place.replace("_", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in files.items():
                (folder / name).write_text(f"{value}\n")

    return write


def _second(most, used, cached=0):
    return {"memory.max": most, "memory.current": used, "memory.stat": f"anon 7\ninactive_file {cached}"}


def _first(most, used, cached=0):
    return {
        "memory.limit_in_bytes": most,
        "memory.usage_in_bytes": used,
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}",
    }


@pytest.mark.usefixtures("kernel")
def test_without_a_limit_the_machines_memory_counts():
    assert memory_limit() == _PHYSICAL
    assert available_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.05)


def test_the_least_of_the_groups_above_counts(kernel):
    kernel("0::/slice/job", slice_job=_second("max", 100), slice=_second(500 * _MB, 300 * _MB, 20 * _MB))
    assert memory_limit() == 500 * _MB
    # Cached files are given back when memory is asked for.
    assert available_memory() == 220 * _MB


def test_the_first_version_of_control_groups(kernel):
    kernel("4:memory:/slurm/job", memory_slurm_job=_first(300 * _MB, 200 * _MB, 50 * _MB))
    assert (memory_limit(), available_memory()) == (300 * _MB, 150 * _MB)
    kernel("4:memory:/slurm/job", memory_slurm_job=_first(2**63 - 4096, 200 * _MB))  # no limit
    assert memory_limit() == _PHYSICAL


def test_in_a_container_the_root_says_it(kernel):
    kernel("0::/../../the/hosts/path", **{"": _second(400 * _MB, 500 * _MB)})
    assert (memory_limit(), available_memory()) == (400 * _MB, 0)


@pytest.mark.usefixtures("kernel")
def test_slurm_says_it_where_no_group_does(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "300")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert memory_limit() == 600 * _MB
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "500")
    assert memory_limit() == 500 * _MB
    taken = psutil.Process().memory_info().rss
    assert available_memory() == pytest.approx(max(0, 500 * _MB - taken), abs=5 * _MB)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of the node's
    assert memory_limit() == _PHYSICAL

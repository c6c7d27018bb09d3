"""How a config has its forward passes run, as far as that changes what they take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_geometry.gpus import gpu_memory, visible_gpus

ASSUMED_GPU_BYTES, ASSUMED_GPUS = 80 * 10**9, 8
"""The GPUs of a machine of which nothing is known: those of an A100 or H100 server."""

SETTINGS = ("device", "dtype", "batch_tokens", "max_memory", "threads", "gpus")
"""Keys of ``representation_dynamics`` that say how forward passes run."""

_VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Passing:
    """How forward passes run.

    Parameters
    ----------
    dtype : str
        Number format of weights and activations.
    batch_tokens : int or None
        Tokens of a pass; None for as many as fit.
    threads : int
        Threads that compute, and that write.
    gpu_bytes : int or None
        Memory of one GPU; None where passes run on the CPU.
    most_gpus : int
        GPUs that one job can have: those of one machine.
    gpu_weights, cpu_weights : int or None
        Most bytes of weights on each GPU, and in the machine's memory; None for what there is room for.
    """

    dtype: str = "float32"
    batch_tokens: int | None = None
    threads: int = 1
    gpu_bytes: int | None = None
    most_gpus: int = 1
    gpu_weights: int | None = None
    cpu_weights: int | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether passes run on a GPU."""
        return self.gpu_bytes is not None

    @property
    def value_bytes(self) -> int:
        """Bytes that a weight takes."""
        return _VALUE_BYTES[self.dtype]


def passing_of(settings: Mapping[str, Any]) -> Passing:
    """Return how forward passes run here.

    Parameters
    ----------
    settings : mapping
        ``SETTINGS`` as in the config; keys may be absent or None.
    """
    room = settings.get("max_memory") or {}
    gpus = settings.get("gpus") or {}
    on_gpu = uses_gpu(settings.get("device"))
    return Passing(
        dtype=settings.get("dtype") or "float32",
        batch_tokens=settings.get("batch_tokens"),
        threads=settings.get("threads") or 1,
        gpu_bytes=_size(gpus.get("memory")) or gpu_memory() or ASSUMED_GPU_BYTES if on_gpu else None,
        most_gpus=gpus.get("count") or len(visible_gpus()) or ASSUMED_GPUS,
        gpu_weights=_size(room.get("gpu")) if on_gpu else None,
        cpu_weights=_size(room.get("cpu")),
    )


def uses_gpu(device: str | None) -> bool:
    """Say whether forward passes run on a GPU: where the config says cuda, or auto on a machine that has one."""
    return device == "cuda" or (device == "auto" and bool(visible_gpus()))


def _size(text: str | None) -> int | None:
    """Return the bytes that a size such as 80GB is."""
    if text is None:
        return None
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()
    return round(float(number) * _UNITS[unit])

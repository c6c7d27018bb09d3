"""What a job will need, from what is known before it starts: sizes of its inputs, and listings of checkpoints.

The functions are handed to Snakemake as resources. One that reads a file made by an earlier job raises
FileNotFoundError until that file is there; Snakemake then shows the resource as to be determined.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.parquet as pq

# Resident memory of a process that has imported the light libraries (numpy, scipy, pyarrow), torch and transformers
# on top, or mteb with all it brings; measured with the versions of the lock file, rounded up.
LIGHT_MB = 400
TORCH_MB = 900
MTEB_MB = 1800


def memory_mb(base: int, *, per_input: float = 0.0) -> Callable[[Any, Any], int]:
    """Return a resource function: ``base`` MB and ``per_input`` MB for each MB of the job's input files."""

    def needed(wildcards: Any, input: Any) -> int:  # noqa: ARG001 (Snakemake passes arguments by these names)
        return base + (round(per_input * float(input.size_mb)) if per_input else 0)

    return needed


def minutes(base: int, *, per_gb: float = 0.0) -> Callable[[Any, Any], int]:
    """Return a resource function: ``base`` minutes and ``per_gb`` minutes for each GB of the job's input files."""

    def needed(wildcards: Any, input: Any) -> int:  # noqa: ARG001
        return base + (round(per_gb * float(input.size_mb) / 1000) if per_gb else 0)

    return needed


def _rows(path: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return a table's rows.

    Raises
    ------
    FileNotFoundError
        With the name just as it was given, by which Snakemake knows an input that is yet to be made.
    """
    os.stat(path)  # noqa: PTH116 (a Path would be another name, and pyarrow's error carries none)
    return pq.read_table(path, columns=list(columns)).to_pylist()


def weights_mb(listing: str) -> int:
    """Return the size of the weight files in a listing, in MB."""
    rows = _rows(listing, ["role", "size"])
    return round(sum(row["size"] for row in rows if row["role"] == "weights") / 1e6)


def extraction_memory_mb(listing: str) -> int:
    """Return the memory that reading one tensor out of a checkpoint takes: the weights as stored, and as float32."""
    return TORCH_MB + 3 * weights_mb(listing)


def forward_memory_mb(checkpoint: str) -> int:
    """Return the memory of a forward pass: half-precision weights double as float32, and are read while they load."""
    return TORCH_MB + 300 + 4 * weights_mb(checkpoint)


def forward_minutes(checkpoint: str) -> int:
    """Return a generous bound on the time of forward passes on a CPU, from the weights alone."""
    return 15 + round(weights_mb(checkpoint) / 20)


def scoring_memory_mb(texts: Sequence[str], widest: int, random_generator: str) -> int:
    """Return the memory of scoring: the widest pooled random table in float32, a float64 copy beside it, as it scores.

    Parameters
    ----------
    texts : sequence of str
        The tables of documents and queries.
    widest : int
        Columns of the widest table that is scored.
    random_generator : str
        'torch' takes torch's own memory on top.
    """
    rows = sum(len(_rows(path, ["id"])) for path in texts)
    base = TORCH_MB if random_generator == "torch" else LIGHT_MB
    return base + 600 + round(12 * rows * widest / 1e6)


def measuring_memory_mb(manifest: str) -> int:
    """Return the memory of measuring a dump: one layer at a time, as stored and in float64."""
    rows = _rows(manifest, ["n_rows", "width"])
    return LIGHT_MB + 400 + max(round(12 * row["n_rows"] * row["width"] / 1e6) for row in rows)

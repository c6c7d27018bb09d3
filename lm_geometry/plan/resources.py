"""What jobs ask of a machine: Snakemake's mem_mb, disk_mb, runtime and gpu, from the inputs that are there.

Estimates of ``cost`` with a margin, and more on each retry. A function that reads a file made by an earlier job raises
FileNotFoundError until that file is there; Snakemake then shows the resource as to be determined.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from lm_geometry.checkpoints.source import parse_source
from lm_geometry.embeddings.variants import STUDY_COLUMNS
from lm_geometry.plan import cost, forward
from lm_geometry.plan.embedding_jobs import score_widths, variant_draws
from lm_geometry.plan.model_facts import read_facts, require
from lm_geometry.plan.passing import passing_of, uses_gpu

# Resident memory of a process that has imported the light libraries (numpy, scipy, pyarrow), torch and transformers
# on top, or mteb with all it brings; measured with the versions of the lock file, rounded up.
LIGHT_MB = 400
TORCH_MB = 900
MTEB_MB = 1800

# A job that was submitted to a cluster has two Snakemake processes beside its own, of 117 to 137 MB each.
_SUBMITTED_MB = 300
_beside = {"mb": 0}

# Memory above the estimate, for allocators differ; time above it, for disks, cores and neighbours do.
_MEMORY_MARGIN, _MEMORY_BASE_MB = 1.3, 100
_TIME_MARGIN, _TIME_BASE_MINUTES = 4, 10
# Rows of a random table whose tokenizer is not read for it: BLOOM's, the most of both studies.
_MOST_ROWS = 250_880


def count_submission() -> None:
    """Have jobs ask for the memory of the processes that submitting starts beside them, from now on."""
    _beside["mb"] = _SUBMITTED_MB


def memory_mb(base: int, *, per_input: float = 0.0) -> Callable[..., int]:
    """Return a resource function: ``base`` MB and ``per_input`` MB for each MB of the job's input files."""

    def needed(wildcards: Any, input: Any, attempt: int = 1) -> int:  # noqa: ARG001 (Snakemake passes by these names)
        return attempt * (base + (round(per_input * float(input.size_mb)) if per_input else 0)) + _beside["mb"]

    return needed


def minutes(base: int, *, per_gb: float = 0.0) -> Callable[..., int]:
    """Return a resource function: ``base`` minutes and ``per_gb`` minutes for each GB of the job's input files."""

    def needed(wildcards: Any, input: Any, attempt: int = 1) -> int:  # noqa: ARG001
        return attempt * (base + (round(per_gb * float(input.size_mb) / 1000) if per_gb else 0))

    return needed


# -- embedding tables ------------------------------------------------------------------------------------------------


def extraction_mb(listing: str, config: str, *, attempt: int = 1) -> int:
    """Return the memory of extracting an embedding table."""
    facts = read_facts(listing, config)
    return _memory(cost.extraction_memory(facts.vocab_rows, facts.embedding_width), attempt)


def extraction_minutes(listing: str, config: str, source: str, verify: str, *, attempt: int = 1) -> int:
    """Return the time of extracting an embedding table, its fetch included where ``source`` is on the hub."""
    facts = read_facts(listing, config)
    seconds = cost.extraction_seconds(facts.vocab_rows, facts.embedding_width)
    if is_remote(source):
        seconds += cost.table_fetch_bytes(facts, verify) / cost.NETWORK_RATE
    return _minutes(seconds, attempt)


def extraction_disk_mb(listing: str, config: str, source: str, verify: str) -> int:
    """Return the disk of extracting an embedding table: its Parquet file, and what is fetched for it."""
    facts = read_facts(listing, config)
    table = cost.table_disk_bytes(facts.vocab_rows, facts.embedding_width, facts.value_bytes)
    return _disk(table + (cost.table_fetch_bytes(facts, verify) if is_remote(source) else 0))


# -- the collection --------------------------------------------------------------------------------------------------


def pooling_mb(texts: Sequence[str], counts: str, table: str, *, attempt: int = 1) -> int:
    """Return the memory of pooling; ``texts`` are the tables of documents and queries."""
    return _memory(cost.pooling_memory(sum(map(_rows, texts)), _rows(counts), _rows(table), _width(table)), attempt)


def pooling_minutes(texts: Sequence[str], counts: str, table: str, *, attempt: int = 1) -> int:
    """Return the time of pooling; arguments as in ``pooling_mb``."""
    return _minutes(cost.pooling_seconds(sum(map(_rows, texts)), _rows(counts), _rows(table), _width(table)), attempt)


def pooling_disk_mb(texts: Sequence[str], table: str) -> int:
    """Return the size of the pooled vectors; arguments as in ``pooling_mb``."""
    return _disk(cost.pooled_disk_bytes(sum(map(_rows, texts)), _width(table)))


def scoring_mb(texts: Sequence[str], counts: str, pooled: str, *, attempt: int = 1) -> int:
    """Return the memory of scoring a pooled table; ``texts`` are documents, then queries."""
    sizes = [*map(_rows, texts), _rows(counts)]
    return _memory(cost.scoring_memory(*sizes, pooled=_width(pooled), drawn=0), attempt)


def scoring_minutes(texts: Sequence[str], pooled: str, variants: Sequence[str], *, attempt: int = 1) -> int:
    """Return the time of scoring ``variants`` of a pooled table; ``texts`` are documents, then queries."""
    widths = score_widths(variants, _width(pooled))
    return _minutes(cost.scoring_seconds(*map(_rows, texts), 0, widths=widths, draws=[]), attempt)


def random_columns_mb(
    texts: Sequence[str],
    counts: str,
    pooled: Sequence[str],
    variants: Sequence[str],
    generator: str,
    *,
    attempt: int = 1,
) -> int:
    """Return the memory of scoring random columns beside several pooled tables; ``texts`` as in ``scoring_mb``."""
    widths = [_width(path) for path in pooled]
    drawn = max(variant_draws(variants, widths).values(), default=0)
    sizes = [*map(_rows, texts), _rows(counts)]
    needed = cost.random_columns_memory(*sizes, n_tables=len(widths), drawn=drawn, generator=generator)
    return _memory(needed, attempt)


def random_columns_disk_mb(texts: Sequence[str], pooled: Sequence[str]) -> int:
    """Return the disk that scoring random columns takes while it runs; arguments as in ``random_columns_mb``."""
    return _disk(cost.table_products_bytes(*map(_rows, texts), len(pooled)))


def random_columns_minutes(
    texts: Sequence[str],
    counts: str,
    pooled: Sequence[str],
    variants: Sequence[str],
    n_seeds: int,
    *,
    attempt: int = 1,
) -> int:
    """Return the time of scoring random columns; arguments as in ``random_columns_mb``, and the number of seeds."""
    sizes = [*map(_rows, texts), _rows(counts)]
    widths = [_width(path) for path in pooled]
    draws = [(_MOST_ROWS, *draw) for draw in variant_draws(variants, widths).items()] * n_seeds
    scored = [size for width in widths for size in score_widths(variants, width, n_seeds)]
    return _minutes(cost.random_columns_seconds(*sizes, tables=widths, n_scores=len(scored), draws=draws), attempt)


def random_scoring_mb(
    texts: Sequence[str], counts: str, widths: Sequence[int], generator: str, *, attempt: int = 1
) -> int:
    """Return the memory of scoring random tables of several widths; ``texts`` are documents, then queries."""
    sizes = [*map(_rows, texts), _rows(counts)]
    return _memory(cost.scoring_memory(*sizes, pooled=0, drawn=max(widths), generator=generator), attempt)


def random_scoring_minutes(
    texts: Sequence[str], counts: str, widths: Sequence[int], n_seeds: int, *, attempt: int = 1
) -> int:
    """Return the time of scoring random tables; arguments as in ``random_scoring_mb``, and how many seeds."""
    sizes = [*map(_rows, texts), _rows(counts)]
    draws = [(_MOST_ROWS, max(STUDY_COLUMNS, *widths), max(widths))] * n_seeds
    return _minutes(cost.scoring_seconds(*sizes, widths=list(widths) * n_seeds, draws=draws), attempt)


# -- tables without a collection ---------------------------------------------------------------------------------------


def components_mb(table: str, *, attempt: int = 1) -> int:
    """Return the memory of finding a table's leading directions."""
    return _memory(cost.components_memory(_rows(table), _width(table)), attempt)


def components_minutes(table: str, *, attempt: int = 1) -> int:
    """Return the time of finding a table's leading directions."""
    return _minutes(cost.components_seconds(_rows(table), _width(table)), attempt)


def table_geometry_mb(table: str, n_batches: int, batch_size: int, *, attempt: int = 1) -> int:
    """Return the memory of measuring a table in batches of rows."""
    return _memory(cost.table_geometry_memory(_rows(table), _width(table), n_batches, batch_size), attempt)


def table_geometry_minutes(table: str, n_batches: int, batch_size: int, *, attempt: int = 1) -> int:
    """Return the time of measuring a table in batches of rows."""
    return _minutes(cost.table_geometry_seconds(_rows(table), _width(table), n_batches, batch_size), attempt)


def table_comparison_mb(table: str, *, attempt: int = 1) -> int:
    """Return the memory of comparing a table with that of another revision."""
    return _memory(cost.table_comparison_memory(_rows(table), _width(table)), attempt)


def table_comparison_minutes(table: str, *, attempt: int = 1) -> int:
    """Return the time of comparing a table with that of another revision."""
    return _minutes(cost.table_comparison_seconds(_rows(table), _width(table)), attempt)


# -- checkpoints and hidden states -----------------------------------------------------------------------------------


def fetch_minutes(listing: str, config: str, source: str, *, attempt: int = 1) -> int:
    """Return the time of having a whole checkpoint on this machine."""
    fetched = read_facts(listing, config).weight_bytes if is_remote(source) else 0
    return _minutes(fetched / cost.NETWORK_RATE, attempt)


def fetch_disk_mb(listing: str, config: str, source: str) -> int:
    """Return the disk of having a whole checkpoint on this machine."""
    return _disk(read_facts(listing, config).weight_bytes if is_remote(source) else 0)


def gpus(checkpoint: str, config: str, settings: Mapping[str, Any]) -> int:
    """Return how many GPUs the weights of a model need, no more than one machine has; 0 where passes run on the CPU.

    Parameters
    ----------
    checkpoint, config : str
        The checkpoint's listing and config.json.
    settings : mapping
        ``passing.SETTINGS`` as in the config.
    """
    if not uses_gpu(settings.get("device")):
        return 0
    return forward.places(read_facts(checkpoint, config), passing_of(settings)).gpus


def dump_mb(checkpoint: str, config: str, settings: Mapping[str, Any], *, attempt: int = 1) -> int:
    """Return the machine's memory of forward passes; arguments as in ``gpus``."""
    return _memory(forward.forward_memory(read_facts(checkpoint, config), passing_of(settings)), attempt)


def dump_minutes(
    checkpoint: str, config: str, n_characters: int, settings: Mapping[str, Any], *, attempt: int = 1
) -> int:
    """Return the time of forward passes over a text of that many characters, and of writing what they give."""
    facts = read_facts(checkpoint, config)
    tokens = forward.n_tokens(n_characters, facts.vocab_rows)
    return _minutes(forward.forward_seconds(facts, tokens, passing_of(settings)), attempt)


def dump_disk_mb(checkpoint: str, config: str, n_characters: int, settings: Mapping[str, Any]) -> int:
    """Return the size of the hidden states of a text of that many characters, and of weights on disk."""
    facts = read_facts(checkpoint, config)
    states = forward.dump_disk_bytes(facts, forward.n_tokens(n_characters, facts.vocab_rows))
    return _disk(states + forward.places(facts, passing_of(settings)).on_disk)


def measuring_mb(manifest: str, batch_size: int, *, attempt: int = 1) -> int:
    """Return the memory of measuring a dump: a layer and the copies of its reading, and a batch in float64."""
    layers = _layers(manifest)
    return _memory(max(cost.measuring_memory(layer["n_rows"], layer["width"], batch_size) for layer in layers), attempt)


def measuring_minutes(manifest: str, n_batches: int, batch_size: int, threads: int, *, attempt: int = 1) -> int:
    """Return the time of measuring a dump."""
    layers = _layers(manifest)
    width, tokens = (max(layer[name] for layer in layers) for name in ("width", "n_rows"))
    seconds = cost.geometry_seconds(len(layers), n_batches, batch_size, width, tokens=tokens, threads=threads)
    return _minutes(seconds, attempt)


def stream_mb(
    checkpoint: str, config: str, n_chunks: int, batch_size: int, settings: Mapping[str, Any], *, attempt: int = 1
) -> int:
    """Return the machine's memory of measuring hidden states while the model runs."""
    facts = read_facts(checkpoint, config)
    return _memory(forward.streaming_memory(facts, n_chunks, batch_size, passing_of(settings)), attempt)


def stream_minutes(
    checkpoint: str,
    config: str,
    n_characters: int,
    n_chunks: int,
    n_batches: int,
    batch_size: int,
    settings: Mapping[str, Any],
    *,
    attempt: int = 1,
) -> int:
    """Return the time of forward passes over a text of that many characters, measured while they run."""
    facts, passing = read_facts(checkpoint, config), passing_of(settings)
    tokens = forward.n_tokens(n_characters, facts.vocab_rows)
    passes = forward.forward_seconds(facts, tokens, passing, stored=False)
    return _minutes(
        passes + forward.streaming_seconds(facts, tokens, n_chunks, n_batches, batch_size, passing), attempt
    )


def stream_disk_mb(checkpoint: str, config: str, settings: Mapping[str, Any]) -> int:
    """Return the size of the weights that a model reads from disk while it runs."""
    return _disk(forward.places(read_facts(checkpoint, config), passing_of(settings)).on_disk)


def is_remote(source: str) -> bool:
    """Say whether a source's files come over the network."""
    return parse_source(source).kind == "hub"


def _memory(estimate: float, attempt: int) -> int:
    return math.ceil(attempt * (_MEMORY_MARGIN * estimate / 1e6 + _MEMORY_BASE_MB)) + _beside["mb"]


def _minutes(seconds: float, attempt: int) -> int:
    return math.ceil(attempt * (_TIME_MARGIN * seconds / 60 + _TIME_BASE_MINUTES))


def _disk(estimate: float) -> int:
    return math.ceil(estimate / 1e6)


def _rows(path: str) -> int:
    require(path)
    return pq.read_metadata(path).num_rows


def _width(path: str) -> int:
    require(path)
    return pq.read_schema(path).field("vector").type.list_size


def _layers(manifest: str) -> list[dict[str, int]]:
    require(manifest)
    return pq.read_table(manifest, columns=["n_rows", "width"]).to_pylist()

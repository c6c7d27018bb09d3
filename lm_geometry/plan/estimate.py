"""The plan's rows: what each revision of a model costs, and the run as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_geometry.embeddings.variants import STUDY_COLUMNS
from lm_geometry.plan import cost
from lm_geometry.plan.embedding_jobs import score_widths, variant_draws
from lm_geometry.plan.model_facts import ModelFacts
from lm_geometry.plan.resources import is_remote
from lm_geometry.tables.plan import SCHEMA

Row = dict[str, Any]


def plan_rows(
    models: Sequence[Mapping[str, Any]], facts: Sequence[ModelFacts], study: Mapping[str, Any], *, on_gpu: bool
) -> list[Row]:
    """Return a row of ``tables.plan`` for each model and revision, and one for all.

    Parameters
    ----------
    models : sequence of mappings
        One entry per model and revision: model, source, revision.
    facts : sequence of ModelFacts
        Theirs, in the same order.
    study : mapping
        See ``jobs.plan_settings``.
    on_gpu : bool
        Whether forward passes run on a GPU.
    """
    entries = zip(models, facts, study["run_jobs"], strict=True)
    rows = [_row(entry, one, study, jobs, on_gpu=on_gpu) for entry, one, jobs in entries]
    return [*rows, _total(rows, study)]


def _row(entry: Mapping[str, Any], facts: ModelFacts, study: Mapping[str, Any], jobs: int, *, on_gpu: bool) -> Row:
    run = [entry["model"], entry["revision"]]
    remote = is_remote(entry["source"])
    row = {
        "model": entry["model"],
        "revision": entry["revision"],
        "source": entry["source"],
        "architecture": facts.family,
        "from_config": facts.counted,
        "parameters": facts.parameters.total,
        "vocab_rows": facts.vocab_rows,
        "width": facts.embedding_width,
        "weight_format": facts.weight_format,
        "checkpoint_bytes": facts.weight_bytes,
        "table_fetch_bytes": 0,
        "checkpoint_fetch_bytes": 0,
        "results_bytes": 0,
        "dump_bytes": 0,
        "memory_bytes": round(cost.LIGHT_BYTES),
        "memory_rule": "resolve_model",
        "gpu_memory_bytes": None,
        "tokens": None,
        "forward_seconds": None,
        "other_seconds": cost.LIGHT_SECONDS,
        "jobs": jobs,
    }
    if run in study["scored"]:
        _add_embedding(row, facts, study, remote=remote)
    if run in study["dumped"]:
        _add_dynamics(row, facts, study, remote=remote, on_gpu=on_gpu)
    row["cache_bytes"] = row["table_fetch_bytes"] + row["checkpoint_fetch_bytes"]
    return row


def _add_embedding(row: Row, facts: ModelFacts, study: Mapping[str, Any], *, remote: bool) -> None:
    """Add what extracting, pooling and scoring a table take."""
    documents, queries, counts = _collection(study)
    texts = documents + queries
    rows, width = facts.vocab_rows, facts.embedding_width
    draws, seeds = variant_draws(study["variants"], width), len(study["random_seeds"])
    _largest(row, "extract_embedding_table", cost.extraction_memory(rows, width))
    _largest(row, "pool_collection", cost.pooling_memory(texts, counts, rows, width))
    drawn = max(draws.values(), default=0)
    generator = study["random_generator"]
    memory = cost.scoring_memory(documents, queries, counts, pooled=width, drawn=drawn, generator=generator)
    _largest(row, "score_variants", memory)
    row["table_fetch_bytes"] = cost.table_fetch_bytes(facts, study["verify"]) if remote else 0
    row["results_bytes"] += cost.table_disk_bytes(rows, width, facts.value_bytes) + cost.pooled_disk_bytes(texts, width)
    row["other_seconds"] += cost.extraction_seconds(rows, width) + cost.pooling_seconds(texts, counts, rows, width)
    row["other_seconds"] += cost.scoring_seconds(
        documents,
        queries,
        counts,
        widths=score_widths(study["variants"], width, seeds),
        draws=[(rows, columns, used) for columns, used in draws.items()] * seeds,
    )


def _add_dynamics(row: Row, facts: ModelFacts, study: Mapping[str, Any], *, remote: bool, on_gpu: bool) -> None:
    """Add what a forward pass and the measures of its states take."""
    tokens = cost.n_tokens(study["n_characters"], facts.vocab_rows)
    batches, batch = study["n_batches"], study["batch_size"]
    _largest(row, "dump_hidden_states", cost.forward_memory(facts))
    # One stack's layer is read at a time.
    _largest(row, "measure_intrinsic_dimension", cost.measuring_memory(tokens, facts.hidden_width, batch))
    row["tokens"] = tokens
    row["gpu_memory_bytes"] = cost.forward_gpu_memory(facts) if on_gpu else None
    row["forward_seconds"] = cost.forward_seconds(facts, tokens, flops=cost.GPU_FLOPS if on_gpu else cost.CPU_FLOPS)
    row["checkpoint_fetch_bytes"] = facts.weight_bytes if remote else 0
    row["dump_bytes"] = cost.dump_disk_bytes(facts, tokens)
    row["results_bytes"] += row["dump_bytes"]
    sizes = (facts.n_states, batches, batch, facts.hidden_width)
    row["other_seconds"] += cost.spectrum_seconds(*sizes) + cost.dimension_seconds(*sizes)


def _total(rows: Sequence[Row], study: Mapping[str, Any]) -> Row:
    """Return the run as a whole: sums, the largest job, and the disk that is taken at a time."""
    total: Row = dict.fromkeys(SCHEMA.names)
    for name in ("checkpoint_bytes", "table_fetch_bytes", "checkpoint_fetch_bytes", "other_seconds"):
        total[name] = sum(row[name] for row in rows)
    forward = [row["forward_seconds"] for row in rows if row["forward_seconds"] is not None]
    gpu = [row["gpu_memory_bytes"] for row in rows if row["gpu_memory_bytes"] is not None]
    largest = max(rows, key=lambda row: row["memory_bytes"], default={"memory_bytes": 0, "memory_rule": ""})
    total |= {"memory_bytes": largest["memory_bytes"], "memory_rule": largest["memory_rule"]}
    if study["random_widths"]:
        _add_baselines(total, study)
    tables = sum(row["results_bytes"] - row["dump_bytes"] for row in rows)
    # What goes when it was used is there once at a time.
    dumps = _held(rows, "dump_bytes", kept=study["keep_hidden_states"])
    checkpoints = _held(rows, "checkpoint_fetch_bytes", kept=study["keep_checkpoints"])
    return total | {
        "cache_bytes": total["table_fetch_bytes"] + checkpoints,
        "results_bytes": tables + dumps,
        "dump_bytes": dumps,
        "gpu_memory_bytes": max(gpu, default=None),
        "forward_seconds": sum(forward) if forward else None,
        "jobs": sum(study["jobs"].values()),
    }


def _add_baselines(total: Row, study: Mapping[str, Any]) -> None:
    """Add the random tokenizer baselines, which belong to no model."""
    documents, queries, counts = _collection(study)
    widths, seeds = list(study["random_widths"]), len(study["random_tokenizer_seeds"])
    generator = study["random_generator"]
    memory = cost.scoring_memory(documents, queries, counts, pooled=0, drawn=max(widths), generator=generator)
    _largest(total, "score_random_tokenizer", memory)
    draws = [(cost.ROWS_ASSUMED, max(STUDY_COLUMNS, *widths), max(widths))] * seeds
    seconds = cost.scoring_seconds(documents, queries, counts, widths=widths * seeds, draws=draws)
    total["other_seconds"] += study["jobs"].get("score_random_tokenizer", 0) * seconds


def _held(rows: Sequence[Row], name: str, *, kept: bool) -> int:
    sizes = [row[name] for row in rows]
    return sum(sizes) if kept else max(sizes, default=0)


def _largest(row: Row, rule: str, memory: int) -> None:
    if memory > row["memory_bytes"]:
        row.update(memory_bytes=memory, memory_rule=rule)


def _collection(study: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return documents, queries and token counts of the collection, those of SCIDOCS where they are not known."""
    documents, queries = study["texts"] or cost.TEXTS_ASSUMED
    return documents, queries, (documents + queries) * cost.COUNTS_PER_TEXT

"""The plan's rows: what each revision of a model costs, and the run as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_geometry.embeddings.variants import STUDY_COLUMNS, parse_variant
from lm_geometry.plan import cost, forward
from lm_geometry.plan.embedding_jobs import score_widths, variant_draws
from lm_geometry.plan.model_facts import ModelFacts
from lm_geometry.plan.passing import Passing
from lm_geometry.plan.resources import is_remote
from lm_geometry.tables.plan import SCHEMA

Row = dict[str, Any]


def plan_rows(
    models: Sequence[Mapping[str, Any]], facts: Sequence[ModelFacts], study: Mapping[str, Any], passing: Passing
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
    passing : Passing
        How forward passes run.
    """
    entries = zip(models, facts, study["run_jobs"], strict=True)
    rows = [_row(entry, one, study, jobs, passing) for entry, one, jobs in entries]
    return [*rows, _total(rows, study)]


def _row(entry: Mapping[str, Any], facts: ModelFacts, study: Mapping[str, Any], jobs: int, passing: Passing) -> Row:
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
        "offload_bytes": 0,
        "memory_bytes": round(cost.LIGHT_BYTES),
        "memory_rule": "resolve_model",
        "gpus": None,
        "gpu_memory_bytes": None,
        "tokens": None,
        "forward_seconds": None,
        "other_seconds": cost.LIGHT_SECONDS,
        "jobs": jobs,
    }
    if run in study["scored"] or run in study["followed"]:
        _add_embedding(row, facts, study, remote=remote)
        _add_scores(row, facts, study)
    if run in study["dumped"]:
        _add_dynamics(row, facts, study, passing, remote=remote)
    row["cache_bytes"] = row["table_fetch_bytes"] + row["checkpoint_fetch_bytes"] + row["offload_bytes"]
    return row


def _add_embedding(row: Row, facts: ModelFacts, study: Mapping[str, Any], *, remote: bool) -> None:
    """Add what extracting, pooling and scoring a table take."""
    documents, queries, counts = _collection(study)
    texts = documents + queries
    rows, width = facts.vocab_rows, facts.embedding_width
    _largest(row, "extract_embedding_table", cost.extraction_memory(rows, width))
    _largest(row, "pool_collection", cost.pooling_memory(texts, counts, rows, width))
    _largest(row, "score_variants", cost.scoring_memory(documents, queries, counts, pooled=width, drawn=0))
    row["table_fetch_bytes"] = cost.table_fetch_bytes(facts, study["verify"]) if remote else 0
    row["results_bytes"] += cost.table_disk_bytes(rows, width, facts.value_bytes) + cost.pooled_disk_bytes(texts, width)
    row["other_seconds"] += cost.extraction_seconds(rows, width) + cost.pooling_seconds(texts, counts, rows, width)


def _add_scores(row: Row, facts: ModelFacts, study: Mapping[str, Any]) -> None:
    """Add what scoring a table's own variants takes, and measuring it; one that is only followed has one variant."""
    documents, queries, _ = _collection(study)
    rows, width = facts.vocab_rows, facts.embedding_width
    run = [row["model"], row["revision"]]
    variants = study["plain_variants"] if run in study["scored"] else ["as_is"]
    row["other_seconds"] += cost.scoring_seconds(documents, queries, 0, widths=score_widths(variants, width), draws=[])
    if any(parse_variant(name).uses_components for name in variants):
        _largest(row, "find_principal_components", cost.components_memory(rows, width))
        row["other_seconds"] += cost.components_seconds(rows, width)
    if run in study["scored"]:
        batches = (study["table_batches"], study["table_batch_size"])
        _largest(row, "measure_embedding_table", cost.table_geometry_memory(rows, width, *batches))
        row["other_seconds"] += cost.table_geometry_seconds(rows, width, *batches)
    if run in study["followed"]:
        _largest(row, "compare_embedding_tables", cost.table_comparison_memory(rows, width))
        row["other_seconds"] += cost.table_comparison_seconds(rows, width)


def _add_dynamics(row: Row, facts: ModelFacts, study: Mapping[str, Any], passing: Passing, *, remote: bool) -> None:
    """Add what a forward pass and the measures of its states take."""
    tokens = forward.n_tokens(study["n_characters"], facts.vocab_rows)
    batches, batch = study["n_batches"], study["batch_size"]
    held = forward.places(facts, passing)
    if passing.on_gpu:
        row["gpus"] = held.gpus
    row["tokens"] = tokens
    row["offload_bytes"] = held.on_disk
    row["checkpoint_fetch_bytes"] = facts.weight_bytes if remote else 0
    row["forward_seconds"] = forward.forward_seconds(facts, tokens, passing, stored=not study["streams"])
    if study["streams"]:
        rows_held = (study["n_chunks"], batch)
        _largest(row, "stream_geometry", forward.streaming_memory(facts, *rows_held, passing))
        if passing.on_gpu:
            row["gpu_memory_bytes"] = forward.streaming_gpu_memory(facts, *rows_held, passing)
        # Measured in the same job, while the model runs.
        row["forward_seconds"] += forward.streaming_seconds(facts, tokens, study["n_chunks"], batches, batch, passing)
        return
    _largest(row, "dump_hidden_states", forward.forward_memory(facts, passing))
    # One stack's layer is read at a time.
    _largest(row, "measure_geometry", cost.measuring_memory(tokens, facts.hidden_width, batch))
    if passing.on_gpu:
        row["gpu_memory_bytes"] = forward.forward_gpu_memory(facts, passing)
    row["dump_bytes"] = forward.dump_disk_bytes(facts, tokens)
    row["results_bytes"] += row["dump_bytes"]
    row["other_seconds"] += cost.geometry_seconds(
        facts.n_states, batches, batch, facts.hidden_width, tokens=tokens, threads=passing.threads
    )


def _total(rows: Sequence[Row], study: Mapping[str, Any]) -> Row:
    """Return the run as a whole: sums, the largest job, and the disk that is taken at a time."""
    total: Row = dict.fromkeys(SCHEMA.names)
    for name in ("checkpoint_bytes", "table_fetch_bytes", "checkpoint_fetch_bytes", "other_seconds"):
        total[name] = sum(row[name] for row in rows)
    told = {
        name: [row[name] for row in rows if row[name] is not None]
        for name in ("forward_seconds", "gpus", "gpu_memory_bytes")
    }
    largest = max(rows, key=lambda row: row["memory_bytes"], default={"memory_bytes": 0, "memory_rule": ""})
    total |= {"memory_bytes": largest["memory_bytes"], "memory_rule": largest["memory_rule"]}
    for widths in _sharing_draws(rows, study) if study["random_variants"] else []:
        _add_random_columns(total, widths, study)
    if study["random_widths"]:
        _add_baselines(total, study)
    tables = sum(row["results_bytes"] - row["dump_bytes"] for row in rows)
    # What goes when it was used is there once at a time.
    dumps = _held(rows, "dump_bytes", kept=study["keep_hidden_states"])
    checkpoints = _held(rows, "checkpoint_fetch_bytes", kept=study["keep_checkpoints"])
    offload = _held(rows, "offload_bytes", kept=False)
    return total | {
        "cache_bytes": total["table_fetch_bytes"] + checkpoints + offload,
        "results_bytes": tables + dumps,
        "dump_bytes": dumps,
        "offload_bytes": offload,
        "gpus": max(told["gpus"], default=None),
        "gpu_memory_bytes": max(told["gpu_memory_bytes"], default=None),
        "forward_seconds": sum(told["forward_seconds"]) if told["forward_seconds"] else None,
        "jobs": sum(study["jobs"].values()),
    }


def _sharing_draws(rows: Sequence[Row], study: Mapping[str, Any]) -> list[list[int]]:
    """Return the columns of the scored tables, those of one tokenizer together."""
    groups: dict[str, list[int]] = {}
    for row, tokenizer in zip(rows, study["tokenizers"], strict=True):
        if [row["model"], row["revision"]] in study["scored"]:
            groups.setdefault(tokenizer, []).append(row["width"])
    return list(groups.values())


def _add_random_columns(total: Row, widths: Sequence[int], study: Mapping[str, Any]) -> None:
    """Add the random columns beside the tables of one tokenizer."""
    documents, queries, counts = _collection(study)
    seeds = len(study["random_seeds"])
    draws = variant_draws(study["random_variants"], widths)
    n_scores = sum(len(score_widths(study["random_variants"], width, seeds)) for width in widths)
    memory = cost.random_columns_memory(
        documents,
        queries,
        counts,
        n_tables=len(widths),
        drawn=max(draws.values(), default=0),
        generator=study["random_generator"],
    )
    _largest(total, "score_random_columns", memory)
    total["other_seconds"] += cost.random_columns_seconds(
        documents,
        queries,
        counts,
        tables=widths,
        n_scores=n_scores,
        draws=[(cost.ROWS_ASSUMED, columns, used) for columns, used in draws.items()] * seeds,
    )


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

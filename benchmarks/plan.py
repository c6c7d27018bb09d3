"""What the plan says of the demo's jobs against what they took: the benchmark files of a demo that ran to its end."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.figure import Figure
from lm_geometry import provenance
from lm_geometry.plan import cost, forward
from lm_geometry.plan.model_facts import ModelFacts, read_facts

RESULTS = Path(__file__).resolve().parents[1] / "results"
FACTOR = 2.0


@dataclass(frozen=True)
class Comparison:
    """One job: what the plan says and what was measured, memory in MB and processor time in seconds.

    Processor time, since a job that shares its core takes longer by the clock. Snakemake looks at a job every now and
    then, first when it starts: of jobs of a second or two it sees less than they take.
    """

    rule: str
    job: str
    planned_mb: float
    measured_mb: float
    planned_s: float
    measured_s: float

    @property
    def memory_ratio(self) -> float:
        """Planned over measured memory."""
        return self.planned_mb / self.measured_mb

    @property
    def time_ratio(self) -> float:
        """Planned over measured time."""
        return self.planned_s / self.measured_s


def figures(results: Path = RESULTS) -> Iterator[Figure]:
    """Yield, for each rule, how far the plan is off at most; none where no demo was run.

    The demo's other jobs than forward passes take a few seconds; what Snakemake sees of their time has no goal.
    """
    found = comparisons(results)
    if not found:
        print(f"plan: {results} holds no finished demo (make demo); nothing to compare with", file=sys.stderr)
    for rule in dict.fromkeys(one.rule for one in found):
        jobs = [one for one in found if one.rule == rule]
        memory = memory_off(jobs)
        time = max(_off(one.time_ratio) for one in jobs)
        yield Figure(f"plan, memory of {rule}", memory, "times", FACTOR)
        yield Figure(f"plan, time of {rule}", time, "times", FACTOR if rule == "dump_hidden_states" else None)


def memory_off(jobs: Sequence[Comparison]) -> float:
    """Return how far the plan's memory of one rule's jobs is off at most, as a factor from 1 up.

    Snakemake may look at a job of a second before its memory has grown, never after it has shrunk: too little planned
    is held against every job, too much against the one that was seen longest.
    """
    longest = max(jobs, key=lambda one: one.measured_s)
    return max(_off(longest.memory_ratio), *(1 / one.memory_ratio for one in jobs))


def _off(ratio: float) -> float:
    return max(ratio, 1 / ratio)


def comparisons(results: Path) -> list[Comparison]:
    """Return a comparison for each job of a model in a results folder that was finished; [] for any other folder."""
    if not (results / "summary.html").is_file():
        return []
    found = []
    for path in sorted((results / "models").glob("*/*/config.json")):
        model, revision = path.parts[-3:-1]
        facts = read_facts(str(path.with_name("listing.parquet")), str(path))
        found += [*_embedding(results, model, revision, facts), *_dynamics(results, model, revision, facts)]
    return sorted(found, key=lambda one: one.rule)


def _embedding(results: Path, model: str, revision: str, facts: ModelFacts) -> Iterator[Comparison]:
    rows, width = facts.vocab_rows, facts.embedding_width
    job = f"{model}/{revision}"
    extraction = (cost.extraction_memory(rows, width), cost.extraction_seconds(rows, width))
    yield from _compare(results, "extract_embedding_table", job, job, extraction)
    measures = results / "embedding_geometry" / f"{job}.parquet"
    if measures.is_file():
        settings = provenance.read(measures)["settings"]
        batches = (rows, width, settings["n_batches"], settings["batch_size"])
        planned = (cost.table_geometry_memory(*batches), cost.table_geometry_seconds(*batches))
        yield from _compare(results, "measure_embedding_table", job, job, planned)
    for scores in sorted(results.glob(f"retrieval/*/variants/{job}/scores.parquet")):
        collection = scores.relative_to(results).parts[1]
        documents, queries, counts = _collection(results / "collections" / collection)
        pooling = (documents + queries, counts, rows, width)
        planned = (cost.pooling_memory(*pooling), cost.pooling_seconds(*pooling))
        yield from _compare(results, "pool_collection", job, f"{collection}/{job}", planned)
        planned = _scoring(scores, (documents, queries, counts), width)
        yield from _compare(results, "score_variants", job, f"{collection}/{job}", planned)


def _scoring(scores: Path, sizes: tuple[int, int, int], width: int) -> tuple[float, float]:
    table = pq.read_table(scores, columns=["width", "metric", "status"]).to_pylist()
    widths = [row["width"] for row in table if row["metric"] == table[0]["metric"] and row["status"] == "ok"]
    memory = cost.scoring_memory(*sizes, pooled=width, drawn=0)
    return memory, cost.scoring_seconds(*sizes, widths=widths, draws=[])


def _collection(folder: Path) -> tuple[int, int, int]:
    counts = sorted((folder / "token_counts").rglob("*.parquet"))[0]
    documents, queries = (pq.read_metadata(folder / f"{name}.parquet").num_rows for name in ("corpus", "queries"))
    return documents, queries, pq.read_metadata(counts).num_rows


def _dynamics(results: Path, model: str, revision: str, facts: ModelFacts) -> Iterator[Comparison]:
    job = f"{model}/{revision}"
    measures = results / "geometry" / model / revision / "batches.parquet"
    if not measures.is_file():
        return
    settings = provenance.read(measures)["settings"]
    chunks = settings["chunks"]
    tokens = forward.n_tokens(chunks["n_chunks"] * chunks["chunk_characters"], facts.vocab_rows)
    planned = (forward.forward_memory(facts), forward.forward_seconds(facts, tokens))
    yield from _compare(results, "dump_hidden_states", job, job, planned)
    batch = settings["batch_size"]
    memory = cost.measuring_memory(tokens, facts.hidden_width, batch)
    seconds = cost.geometry_seconds(facts.n_states, settings["n_batches"], batch, facts.hidden_width, tokens=tokens)
    yield from _compare(results, "measure_geometry", job, job, (memory, seconds))


def _compare(results: Path, rule: str, job: str, file: str, planned: tuple[float, float]) -> Iterator[Comparison]:
    path = results / "timings" / rule / f"{file}.tsv"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as stream:
        *_, last = csv.DictReader(stream, delimiter="\t")
    memory, seconds = planned
    # Snakemake's megabytes are of 2^20 bytes.
    yield Comparison(rule, job, memory / 1e6, float(last["max_rss"]) * 2**20 / 1e6, seconds, float(last["cpu_time"]))

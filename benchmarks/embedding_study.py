"""A suite of the embedding study beside the study's own way, on a collection of SCIDOCS' size.

``python -m benchmarks.embedding_study --widths 128 256 --documents 3000`` tries it with less.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.figure import Figure
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.embeddings.variants import STUDY_COLUMNS
from lm_geometry.retrieval.collection import Collection, read_beir_folder
from lm_geometry.retrieval.collection_tables import judgements_table, texts_table
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.scoring import METRICS
from lm_geometry.retrieval.tokenization import STUDY_MAX_LENGTH
from lm_geometry.tables.collection import JUDGEMENTS, TEXTS
from lm_geometry.tables.files import write_table
from scripts.pool_collection import pool_collection
from scripts.score_random_columns import score_random_columns
from scripts.score_variants import score_variants
from scripts.tokenize_collection import tokenize_collection

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LM_GEOMETRY_TEST_DATA", ROOT.parent / "shared" / "data"))
SOURCES = ("cranfield", "cacm", "vaswani_npl")
TOKENIZER, ROWS = "gpt-neox-20b", 50_304

DOCUMENTS, QUERIES = 25_657, 1_000
# Judged documents of a SCIDOCS query: relevant ones and others.
RELEVANT, IRRELEVANT = 5, 25
# Words of a document: log-normal, 200 tokens in the mean.
_MEDIAN_WORDS, _SPREAD = 128, 0.4
_QUERY_WORDS = 10

WIDTHS = (128, 256, 512, 768, 1024, 2048, 2048, 2560, 4096, 5120)
OWN_COLUMNS, RANDOM_COLUMNS = ("as_is", "crop_128"), ("random", f"pad_{STUDY_COLUMNS}")
SEED = 42
# Columns of the widest table that the peer is timed on; a line gives its time for the others.
_PEER_COLUMNS = 2048
# Columns of the bare products that are timed; all others take as long in proportion.
_BARE_COLUMNS, _BARE_CHUNK = 2048, 128

_TIMES_FASTER, _TIMES_BARE, _PEAK_MB = 40, 2, 6000


@dataclass(frozen=True)
class Model:
    """One model of the suite: its name, the columns of its table, and where its files lie."""

    name: str
    width: int
    folder: Path

    def path(self, name: str) -> Path:
        """Return a file of the model."""
        return self.folder / self.name / f"{name}.parquet"


def figures(widths: Sequence[int] = WIDTHS, documents: int = DOCUMENTS) -> Iterator[Figure]:
    """Score the suite, time the bare products and a part of the peer's evaluations, and yield what they took."""
    if not DATA.is_dir():
        print(f"embedding study: left out, as the texts and the tokenizer are absent from {DATA}")
        return
    with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as name:
        folder = Path(name)
        collection = made_collection(documents, QUERIES * documents // DOCUMENTS)
        models = _write_inputs(folder, collection, widths)
        yield from _compare(folder, collection, models)


def _compare(folder: Path, collection: Collection, models: list[Model]) -> Iterator[Figure]:
    threads = os.cpu_count() or 1
    stages, peak = _in_child(_score_suite, folder, models, threads, blas_threads=1)
    for stage, seconds in stages.items():
        yield Figure(f"study, {stage}", seconds, "s", None)
    yield Figure("study, tokens of a document", _tokens_of_a_document(folder, len(collection.documents)), "", None)
    ours = sum(stages.values())
    yield Figure("study, all of it", ours, "s", None)
    yield Figure("study, peak memory", peak, "MB", _PEAK_MB)
    bare, _ = _in_child(_bare_products, folder, [model.width for model in models], threads, blas_threads=threads)
    for kind, seconds in bare.items():
        yield Figure(f"study, bare {kind}", seconds, "s", None)
    yield Figure("study, all of it beside the bare products", ours / sum(bare.values()), "x", _TIMES_BARE)
    yield from _peer(collection, models, ours, threads)


def _peer(collection: Collection, models: list[Model], ours: float, threads: int) -> Iterator[Figure]:
    chosen = _peer_evaluations(models)
    variants, tables = [variant for variant, _ in chosen], [model.path("table") for _, model in chosen]
    arguments = (collection, DATA / "tokenizers" / TOKENIZER, tables, variants, SEED, threads)
    found, _ = _in_child(_evaluate, *arguments, blas_threads=threads)
    for (variant, _), one in zip(chosen, found, strict=True):
        yield Figure(f"study's own way, {variant}, {one.width} wide", one.seconds, "s", None)
    theirs = _scaled([one.width for one in found], [one.seconds for one in found], models)
    yield Figure(f"study's own way, {4 * len(models)} evaluations, scaled", theirs, "s", None)
    yield Figure("study, times faster", theirs / ours, "x", None)
    yield Figure("study, share of its own way's time", ours / theirs, "x", 1 / _TIMES_FASTER)
    off = max(_off(model, variant, one.scores) for (variant, model), one in zip(chosen, found, strict=True))
    # MTEB rounds to 5 digits, and so do we.
    yield Figure("study, metrics off its own way's", round(off, 8) / 1e-5, "1e-5", 1)


def _peer_evaluations(models: list[Model]) -> list[tuple[str, Model]]:
    """Return the variants and models of the evaluations that the peer is timed on: narrow, wide and in between."""
    models = sorted((model for model in models if model.width <= _PEER_COLUMNS), key=lambda model: model.width)
    if len({model.width for model in models}) < 2:
        raise ValueError(f"two widths up to {_PEER_COLUMNS} are needed for a line through the peer's times")
    narrow, between, wide = models[0], models[len(models) // 2], models[-1]
    return [("as_is", narrow), ("crop_128", between), ("random", between), ("as_is", wide)]


def _tokens_of_a_document(folder: Path, n_documents: int) -> float:
    counts = pq.read_table(folder / "counts.parquet", columns=["side", "count"])
    documents = counts.filter(pc.equal(counts["side"], "corpus"))
    return pc.sum(documents["count"]).as_py() / n_documents


def _scaled(widths: list[int], seconds: list[float], models: list[Model]) -> float:
    """Return the seconds of all evaluations of the suite by the line through those measured."""
    per_column, fixed = np.polyfit(widths, seconds, 1)
    evaluated = [width for model in models for width in (model.width, model.width, 128, STUDY_COLUMNS)]
    return float(sum(fixed + per_column * width for width in evaluated))


def _off(model: Model, variant: str, theirs: dict[str, float]) -> float:
    """Return the largest difference of a metric from the peer's beyond the span that equal similarities leave."""
    path = model.path("scores") if variant in OWN_COLUMNS else model.folder / "random_scores.parquet"
    rows = pq.read_table(path).to_pylist()
    ours = {row["metric"]: row for row in rows if (row["model"], row["variant"]) == (model.name, variant)}
    return max(abs(ours[metric]["value"] - theirs[metric]) - ours[metric]["tie_span"] for metric in METRICS)


# -- what is computed, each in a process of its own --------------------------------------------------------------------


def _score_suite(folder: Path, models: list[Model], threads: int) -> dict[str, float]:
    """Score the suite by the pipeline's own functions, from Parquet files to Parquet files; return seconds by stage."""
    texts = {name: folder / f"{name}.parquet" for name in ("corpus", "queries")}
    counted = {**texts, "counts": folder / "counts.parquet"}
    judged = {**counted, "judgements": folder / "judgements.parquet"}
    settings = {
        "tokenizer_name": TOKENIZER,
        "collection": "resampled",
        "table_precision": "bfloat16",
        "ignore_identical_ids": False,
    }
    stages: dict[str, float] = {}
    with _timed(stages, "tokenizing"):
        tokenize_collection(
            **counted,
            tokenizer=folder / "tokenizer" / "tokenizer.json",
            tokenizer_listing=folder / "listing.parquet",
            max_length=STUDY_MAX_LENGTH,
        )
    with _timed(stages, "pooling"):
        for model in tqdm(models, desc="pooling", disable=None):
            pool_collection(
                **counted,
                table=model.path("table"),
                pooled=model.path("pooled"),
                table_precision="bfloat16",
                threads=threads,
            )
    with _timed(stages, "scoring own columns"):
        for model in tqdm(models, desc="scoring", disable=None):
            score_variants(
                **judged,
                **settings,
                pooled=model.path("pooled"),
                components=[],
                scores=model.path("scores"),
                query_scores=model.path("query_scores"),
                model=model.name,
                suite="Bench",
                revision="main",
                variants=list(OWN_COLUMNS),
                threads=threads,
            )
    with _timed(stages, "scoring random columns"):
        score_random_columns(
            **judged,
            **settings,
            pooled=[model.path("pooled") for model in models],
            scores=folder / "random_scores.parquet",
            query_scores=folder / "random_query_scores.parquet",
            runs=[{"model": model.name, "suite": "Bench", "revision": "main"} for model in models],
            variants=list(RANDOM_COLUMNS),
            random_seeds=[SEED],
            random_generator="legacy_bf16",
            threads=threads,
        )
    return stages


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - started


def _bare_products(folder: Path, widths: list[int], threads: int) -> dict[str, float]:
    """Return the seconds of nothing but the products: counts times tables, and queries times documents.

    Float64 sums for the models' tables and float32 ones for the random table, as it is pooled; float64 scores.
    """
    tables = [folder / f"{name}.parquet" for name in ("corpus", "queries", "counts")]
    counted = read_counted_collection(*tables, None)
    columns, n_documents = sum(widths), len(counted.document_ids)
    share = _BARE_COLUMNS / _BARE_CHUNK
    generator = np.random.default_rng(0)
    seconds = {}
    for kind, dtype, wanted in (("pooling, tables", float, columns), ("pooling, random", np.float32, STUDY_COLUMNS)):
        weights = counted.counts.astype(dtype)
        chunk = generator.standard_normal((weights.shape[1], _BARE_CHUNK)).astype(dtype)
        once = _seconds(lambda _, left=weights, right=chunk: left @ right, share, threads)
        seconds[kind] = once * wanted / _BARE_COLUMNS
    queries, documents = (generator.standard_normal((n, _BARE_COLUMNS)) for n in (len(counted.query_ids), n_documents))
    once = _seconds(lambda _: queries @ documents.T, 1, 1)
    seconds["scores"] = once * (columns + STUDY_COLUMNS) / _BARE_COLUMNS
    return seconds


def _seconds(product: Callable[[int], Any], times: float, threads: int) -> float:
    """Return the seconds of a product that is made several times by several threads, once it has been made before."""
    product(0)
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(product, range(int(times))))
        return time.perf_counter() - started


def _evaluate(*arguments: Any) -> Any:
    # Imports torch, sentence-transformers and MTEB, which this process does not need.
    from benchmarks.study_peer import evaluate

    return evaluate(*arguments)


def _in_child(function: Callable[..., Any], *arguments: Any, blas_threads: int) -> tuple[Any, float]:
    """Call a function in a new process; return its result and the process's peak memory in MB."""
    environment = {"OMP_NUM_THREADS": str(blas_threads), "HF_HUB_OFFLINE": "1"}
    context = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, environment), ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_peak, function, *arguments).result()


def _with_peak(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    result = function(*arguments)
    # Not getrusage, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return result, int(kilobytes) * 1024 / 1e6


# -- what it is computed from ------------------------------------------------------------------------------------------


def made_collection(n_documents: int, n_queries: int) -> Collection:
    """Return documents of real sentences, drawn anew, and queries that are parts of a sentence of theirs.

    A document's sentences come from one neighbourhood of the sources, so that it has a subject. Each query's sentence
    stands in as many documents as are relevant to it; others, drawn at random, are judged 0.
    """
    generator = np.random.default_rng(0)
    sentences = [sentence for name in SOURCES for sentence in _sentences(DATA / "collections" / name)]
    texts = [_resampled(generator, sentences) for _ in range(n_documents)]
    ids = [f"{number:040x}" for number in generator.permutation(n_documents)]
    places = generator.permutation(n_documents)
    queries, judgements = {}, {}
    for number in range(n_queries):
        query = f"query-{number}"
        relevant = places[number * RELEVANT : (number + 1) * RELEVANT]
        words = sentences[generator.integers(len(sentences))].split()
        queries[query] = " ".join(words[:_QUERY_WORDS])
        for place in relevant:
            texts[place] = f"{' '.join(words)}. {texts[place]}"
        others = dict.fromkeys((ids[place] for place in generator.integers(n_documents, size=IRRELEVANT)), 0)
        judgements[query] = others | {ids[place]: 1 for place in relevant}
    return Collection(dict(zip(ids, texts, strict=True)), queries, judgements)


def _sentences(folder: Path) -> list[str]:
    found = (part.strip() for text in read_beir_folder(folder).documents.values() for part in text.split(". "))
    return [sentence for sentence in found if sentence.count(" ") >= _QUERY_WORDS]


def _resampled(generator: np.random.Generator, sentences: list[str]) -> str:
    wanted = generator.lognormal(np.log(_MEDIAN_WORDS), _SPREAD)
    first, chosen, n_words = int(generator.integers(len(sentences) - 100)), [], 0
    while n_words < wanted:
        chosen.append(sentences[first + int(generator.integers(100))])
        n_words += chosen[-1].count(" ") + 1
    return ". ".join(chosen)


def _write_inputs(folder: Path, collection: Collection, widths: Sequence[int]) -> list[Model]:
    """Write the collection's tables, the tokenizer and the models' embedding tables."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(DATA / "tokenizers" / TOKENIZER).save_pretrained(folder / "tokenizer")
    facts = {"settings": {"ignore_identical_ids": False}}
    write_table(folder / "listing.parquet", texts_table({}), TEXTS)
    write_table(folder / "corpus.parquet", texts_table(collection.documents), TEXTS, **facts)
    write_table(folder / "queries.parquet", texts_table(collection.queries), TEXTS, **facts)
    write_table(folder / "judgements.parquet", judgements_table(collection), JUDGEMENTS, **facts)
    models = [Model(f"model-{number}", width, folder) for number, width in enumerate(widths)]
    for model in tqdm(models, desc="tables", disable=None):
        write_embedding_table(model.path("table"), _table_blocks(model), (ROWS, model.width), ["token"] * ROWS)
    return models


def _table_blocks(model: Model) -> Iterator[np.ndarray]:
    """Yield a table as trained ones are: a common mean, a few strong directions, and the rest."""
    generator = np.random.default_rng(int(model.name.removeprefix("model-")))
    mean = generator.standard_normal(model.width, dtype=np.float32)
    directions = generator.standard_normal((32, model.width), dtype=np.float32)
    for start in range(0, ROWS, 4096):
        rows = min(4096, ROWS - start)
        block = generator.standard_normal((rows, model.width), dtype=np.float32)
        block += 0.2 * generator.standard_normal((rows, 32), dtype=np.float32) @ directions + 0.3 * mean
        yield 0.02 * block


def main() -> None:
    """Print the figures of a suite and a collection of the sizes that the command line gives."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding_study", description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="columns of the models' tables")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="documents; queries in proportion")
    arguments = parser.parse_args()
    for figure in figures(arguments.widths, arguments.documents):
        print(figure.line(), flush=True)


if __name__ == "__main__":
    main()

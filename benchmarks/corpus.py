"""Cleaning a corpus and cutting it into chunks of tokens: CPU seconds per 100 MB (enwik8) and the most memory.

The text is enwik8's first 4 MB where they are at hand, else the demo's self-made dump: other prose, the same kinds of
markup. Times are scaled by size, CPU time being that of one core.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.figure import Figure
from lm_geometry.corpus.enwik8 import copy_unpacked
from lm_geometry.demo.dump import write_dump
from lm_geometry.demo.prose import read_prose
from scripts.clean_enwik8 import clean_enwik8
from scripts.sample_chunks import sample_chunks

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LM_GEOMETRY_TEST_DATA", ROOT.parent / "shared" / "data"))
PREFIX = DATA / "enwik8_prefix" / "enwik8_first_4154399.bin.xz"
TOKENIZER = DATA / "tokenizers" / "gpt-neox-20b" / "tokenizer.json"

ENWIK8_BYTES = 100_000_000
# Five minutes on one core. What is held beside the libraries is a page and a block, however long the dump is.
_SECONDS, _PEAK_MB = 300, 250
_TIMES_LONGER = 4


def figures() -> Iterator[Figure]:
    """Clean the text, and a longer one made of its pages several times over; then cut it into chunks of tokens."""
    with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as name:
        folder = Path(name)
        raw, longer = folder / "raw", folder / "longer"
        _write_raw(raw)
        _repeat_pages(raw, longer)
        scale = ENWIK8_BYTES / raw.stat().st_size
        seconds, peak = _in_child(_clean, raw)
        yield Figure(f"clean {_name()}", raw.stat().st_size / 1e6, "MB", None)
        yield Figure("clean, CPU time of 100 MB", seconds * scale, "s", _SECONDS)
        yield Figure("clean, peak memory", peak, "MB", _PEAK_MB)
        _, peak_of_longer = _in_child(_clean, longer)
        yield Figure(f"clean, peak memory of {_TIMES_LONGER} times as much", peak_of_longer, "MB", _PEAK_MB)
        if not TOKENIZER.is_file():
            print(f"chunks of tokens: left out, as {TOKENIZER} is absent")
            return
        seconds, peak = _in_child(_sample, raw)
        yield Figure("chunks of tokens, CPU time of 100 MB", seconds * scale, "s", None)
        yield Figure("chunks of tokens, peak memory", peak, "MB", None)


def _name() -> str:
    return "enwik8's beginning" if PREFIX.is_file() else "the demo's dump"


def _write_raw(raw: Path) -> None:
    if PREFIX.is_file():
        copy_unpacked(PREFIX, raw)
    else:
        with raw.open("w", encoding="utf-8") as file:
            write_dump(read_prose(), file)


def _repeat_pages(raw: Path, longer: Path) -> None:
    data = raw.read_bytes()
    pages = data[data.index(b"<page>") : data.rindex(b"</page>") + len(b"</page>")]
    with longer.open("wb") as file:
        for _ in range(_TIMES_LONGER):
            file.write(pages + b"\n")


def _clean(raw: Path) -> None:
    clean_enwik8(raw=raw, clean=_clean_text(raw), statistics=_statistics(raw))


def _sample(raw: Path) -> None:
    sample_chunks(
        clean=_clean_text(raw),
        statistics=_statistics(raw),
        chunks=raw.with_suffix(".chunks.parquet"),
        chunk_tokens=128,
        tokenizer=[TOKENIZER],
        n_chunks=512,
        seed=0,
    )


def _clean_text(raw: Path) -> Path:
    return raw.with_suffix(".clean.txt")


def _statistics(raw: Path) -> Path:
    return raw.with_suffix(".statistics.parquet")


def _in_child(function: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Call a function in a new process of one thread; return its CPU seconds and its peak memory in MB."""
    environment = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    context = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, environment), ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    started = time.process_time()
    function(*arguments)
    seconds = time.process_time() - started
    # Not getrusage, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return seconds, int(kilobytes) * 1024 / 1e6

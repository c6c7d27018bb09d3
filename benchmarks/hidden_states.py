"""What the dump of hidden states, and measuring while the model runs, cost beside the bare forward pass."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.figure import Figure
from lm_geometry.hidden_states.layer_files import manifest_rows, write_layers
from lm_geometry.hidden_states.layer_model import LayerModel
from lm_geometry.hidden_states.passes import ForwardPasses
from lm_geometry.hidden_states.sequences import TokenSequence, equal_length_batches
from lm_geometry.hidden_states.streaming import CorpusRows, DrawnRows, LayerTotals
from lm_geometry.tables.files import atomic_folder

WIDTH, LAYERS, VOCAB_ROWS = 768, 12, 2048
CHUNKS, LENGTH, BATCH_TOKENS = 16, 128, 1024
THREADS = 1
# All are timed in turn, and the quickest counts: what else the machine does makes none quicker.
ROUNDS = 3
GOAL = 0.20
CLOCKS = {"processor": process_time, "wall": perf_counter}


def figures() -> Iterator[Figure]:
    """Yield what is spent beside the bare passes, as a share of them: by a dump, and by streaming.

    A GPT-NeoX of 768 x 12 with random weights runs over 2,048 tokens on one thread. The goal is for processor time,
    that of the threads that write included, as if no second core were free; by the clock, writing goes on beside the
    passes and waits for the disk. Streaming is measured up to the statistics of a batch, which a dump needs too and
    which have a benchmark of their own.
    """
    import torch

    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as made:
        spent = _least_spent(Path(made))
    for name, goal in (("dump", GOAL), ("stream", None)):
        beside = {clock: spent[name, clock] / spent["bare", clock] - 1 for clock in CLOCKS}
        yield Figure(f"hidden states, {name} beside bare pass", beside["processor"], "times", goal)
        yield Figure(f"hidden states, {name}, by the clock", beside["wall"], "times", None)
    yield Figure("hidden states, bare pass", spent["bare", "processor"], "s", None)


def _least_spent(folder: Path) -> dict[tuple[str, str], float]:
    """Return the least seconds of each job by each clock."""
    _save_model(folder / "model")
    passes = ForwardPasses(LayerModel(folder / "model", device="cpu"), BATCH_TOKENS)
    model, sequences = _plain_model(folder / "model"), _sequences()
    jobs: dict[str, Callable[[], None]] = {
        "bare": lambda: _run_bare(model, sequences),
        "dump": lambda: _dump(passes, sequences, folder / "layers"),
        "stream": lambda: _stream(passes, sequences),
    }
    spent: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            start = {clock: read() for clock, read in CLOCKS.items()}
            job()
            for clock, read in CLOCKS.items():
                spent[name, clock] = min(read() - start[clock], spent.get((name, clock), math.inf))
    return spent


def _run_bare(model: Any, sequences: Sequence[TokenSequence]) -> None:
    import torch

    for batch in equal_length_batches(sequences, BATCH_TOKENS):
        with torch.inference_mode():
            model(torch.from_numpy(np.stack([sequence.ids for sequence in batch]).astype(np.int64)))


def _dump(passes: ForwardPasses, sequences: Sequence[TokenSequence], folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        context_free = write_layers(passes, sequences, temporary, {}, THREADS)
        manifest_rows(temporary, context_free, THREADS)


def _stream(passes: ForwardPasses, sequences: Sequence[TokenSequence]) -> None:
    corpus, totals = CorpusRows(sequences), LayerTotals()
    drawn = DrawnRows(np.arange(len(corpus.tokens)), corpus.tokens)
    for passed in passes.over(sequences):
        rows = corpus.rows(passed.batch)
        totals.add(passed, corpus.tokens.take(rows))
        drawn.add(passed, rows)


def _sequences() -> list[TokenSequence]:
    ids = np.random.default_rng(0).integers(0, VOCAB_ROWS, (CHUNKS, LENGTH), dtype=np.int32)
    plain = np.zeros(LENGTH, dtype=bool)
    return [TokenSequence(chunk, row, plain, truncated=False) for chunk, row in enumerate(ids)]


def _save_model(folder: Path) -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXModel

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "intermediate_size": 4 * WIDTH}
    GPTNeoXModel(GPTNeoXConfig(vocab_size=VOCAB_ROWS, **sizes)).save_pretrained(folder)


def _plain_model(folder: Path) -> Any:
    import torch
    from transformers import GPTNeoXModel

    return GPTNeoXModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()

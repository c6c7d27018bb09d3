"""The forward pass, the dump, the stream and the measures on what is there: GPUs, else the CPU with a smaller model.

Writes a table into docs/gpu.md, one for each hardware: a run on another one leaves it as it is.
"""

import datetime
import gc
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.figure import Figure
from lm_geometry.geometry.layers import Settings, measure_layers
from lm_geometry.hidden_states.layer_files import manifest_rows, write_layers
from lm_geometry.hidden_states.layer_model import LayerModel
from lm_geometry.hidden_states.passes import ForwardPasses, fitting_batch_tokens
from lm_geometry.hidden_states.sequences import TokenSequence, equal_length_batches
from lm_geometry.hidden_states.streaming import measure_while_running
from lm_geometry.marked_pages import split_at_marks
from lm_geometry.tables.files import atomic_folder, write_table, write_text
from lm_geometry.tables.hidden_state_dump import read_layers
from lm_geometry.tables.hidden_states import MANIFEST

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
BEGIN, END = "<!-- bench-gpu -->", "<!-- end of bench-gpu -->"
"""In the page, tables stand between these, each below a heading with its hardware's name."""

_MEGA = 1e6
_MEASURES = "measures of a dump"


@dataclass(frozen=True)
class Size:
    """What is run: a GPT-NeoX with random weights, a corpus of random tokens, and how it is measured."""

    width: int
    layers: int
    vocab_rows: int
    chunks: int
    length: int
    batch_size: int
    product: int

    @property
    def tokens(self) -> int:
        """Tokens of all chunks."""
        return self.chunks * self.length

    def operations(self) -> float:
        """Return the operations of a forward pass over all tokens: two for each weight of the blocks."""
        return 2.0 * self.tokens * self.layers * 12 * self.width**2


ON_GPU = Size(2048, 16, 50_304, chunks=128, length=128, batch_size=2048, product=8192)
ON_CPU = Size(512, 6, 8000, chunks=24, length=128, batch_size=512, product=1024)
SETTINGS = {"n_batches": 2, "duplicate_tolerance": 1e-5, "seed": 0}
ROUNDS = 2
"""Of passes and dumps; what is measured of vectors takes longer, and runs once."""


@dataclass(frozen=True)
class Spent:
    """What one job took: seconds, and the most memory that it held, of the machine and of all GPUs."""

    seconds: float
    host_bytes: int
    gpu_bytes: int | None


def figures(page: Path = PAGE) -> Iterator[Figure]:
    """Yield the ratios to the bare pass in each number format, and write the table into ``page``.

    The bare pass is transformers' own model without its states handed out, in batches of the size that is quickest.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = ON_GPU if device == "cuda" else ON_CPU
    threads = min(8, len(os.sched_getaffinity(0))) if device == "cuda" else 1
    torch.set_num_threads(threads)
    lines = []
    # In half precision a CPU computes faster or slower than in float32 by what instructions it has.
    for dtype in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as made:
            run = Run(Path(made), size, device, dtype, threads)
            spent = run.all_jobs()
        lines += run.lines(spent)
        bare = spent["bare pass"].seconds
        for name in ("dump", "stream"):
            yield Figure(f"gpu, {dtype}, {name} beside bare pass", spent[name].seconds / bare, "times", None)
        yield Figure(f"gpu, {dtype}, bare pass of the product's rate", run.share_of_product(bare), "times", None)
    table = _table(size, threads, lines, on_gpu=device == "cuda")
    write_text(page, with_table(page.read_text(encoding="utf-8"), hardware(device), table))


class Run:
    """One model in one number format, and what is done with it.

    Parameters
    ----------
    folder : Path
        For the model and the dump.
    size : Size
        What is run.
    device, dtype : str
        Where, and in what.
    threads : int
        Threads that write.
    """

    def __init__(self, folder: Path, size: Size, device: str, dtype: str, threads: int) -> None:
        self._folder, self._size, self._device, self._dtype, self._threads = folder, size, device, dtype, threads
        self._sequences = _sequences(size)
        self._bare_tokens = 0
        self._passes: ForwardPasses | None = None
        self._product_rate = 0.0

    def all_jobs(self) -> dict[str, Spent]:
        """Return what each job takes at least, by its name."""
        import torch

        _save_model(self._folder / "model", self._size, self._device)
        self._product_rate = _product_rate(self._size.product, self._device, self._dtype)
        bare = _plain_model(self._folder / "model", self._device, self._dtype)
        found = {"bare pass": self._best_bare(bare)}
        del bare
        _free(self._device)
        model = LayerModel(self._folder / "model", device=self._device, dtype=self._dtype)
        self._passes = ForwardPasses(model, fitting_batch_tokens(model, self._sequences))
        found["passes with all states"] = self._least(self._pass_over)
        found["dump"] = self._least(self._dump)
        found["stream"] = self._spent(self._stream)
        if self._dtype == "float32":  # vectors are dumped in float32 whatever the model computes in
            found[_MEASURES] = self._spent(self._measure_dump)
        if self._device == "cuda" and torch.cuda.device_count() > 1:
            found["passes with all states, spread over GPUs"] = self._spread()
        return found

    def _spread(self) -> Spent:
        """Return what passes take where one GPU has no room for all of the weights."""
        size = (self._folder / "model" / "model.safetensors").stat().st_size
        room = {"gpu": int(0.7 * size * (1.0 if self._dtype == "float32" else 0.5))}
        self._passes = None
        _free(self._device)
        with LayerModel(self._folder / "model", device="cuda", dtype=self._dtype, max_memory=room) as model:
            self._passes = ForwardPasses(model, fitting_batch_tokens(model, self._sequences))
            return self._least(self._pass_over)

    def share_of_product(self, seconds: float) -> float:
        """Return the bare pass' operations a second as a share of a matrix product's."""
        return self._size.operations() / seconds / self._product_rate

    def lines(self, spent: dict[str, Spent]) -> list[tuple[str, ...]]:
        """Return the rows of the table."""
        bare = spent["bare pass"].seconds
        batch = {"bare pass": self._bare_tokens}
        product = f"{self._product_rate / 1e9:,.0f} GFLOP/s"
        rows = [(self._dtype, f"product of {self._size.product} x {self._size.product}", "-", "-", product, "-", "-")]
        for name, one in spent.items():
            tokens = batch.get(name, 0 if name == _MEASURES else self._passes.batch_tokens)
            rate = f"{self.share_of_product(bare):.2f} of the product" if name == "bare pass" else "-"
            gpu = "-" if one.gpu_bytes is None else f"{one.gpu_bytes / _MEGA:,.0f} MB"
            rows.append(
                (
                    self._dtype,
                    name + (f", {tokens:,} tokens a pass" if tokens else ""),
                    f"{one.seconds:.3g} s",
                    f"{one.seconds / bare:.2f}",
                    rate,
                    f"{one.host_bytes / _MEGA:,.0f} MB",
                    gpu,
                )
            )
        return rows

    def _best_bare(self, model: Any) -> Spent:
        """Return the quickest bare pass over batches of 512 tokens and more."""
        best: Spent | None = None
        tokens = 512
        while tokens <= self._size.tokens:
            spent = self._least(partial(self._run_bare, model, tokens))
            if best is None or spent.seconds < best.seconds:
                best, self._bare_tokens = spent, tokens
            tokens *= 2 if self._device == "cpu" else 4
        return best

    def _run_bare(self, model: Any, batch_tokens: int) -> None:
        import torch

        for batch in equal_length_batches(self._sequences, batch_tokens):
            ids = np.stack([sequence.ids for sequence in batch]).astype(np.int64)
            with torch.inference_mode():
                model(torch.from_numpy(ids).to(self._device))

    def _pass_over(self) -> None:
        for _ in self._passes.over(self._sequences):
            pass

    def _dump(self) -> None:
        with atomic_folder(self._folder / "layers") as temporary:
            context_free = write_layers(self._passes, self._sequences, temporary, {}, self._threads)
            rows = manifest_rows(temporary, context_free, self._threads)
        write_table(self._folder / "manifest.parquet", pa.Table.from_pylist(rows, schema=MANIFEST), MANIFEST)

    def _stream(self) -> None:
        measure_while_running(self._passes, self._sequences, self._settings)

    def _measure_dump(self) -> None:
        measure_layers(read_layers(self._folder / "manifest.parquet", self._folder / "layers"), self._settings)

    @property
    def _settings(self) -> Settings:
        return Settings(batch_size=self._size.batch_size, **SETTINGS)

    def _least(self, job: Callable[[], None]) -> Spent:
        return min((self._spent(job) for _ in range(ROUNDS)), key=lambda spent: spent.seconds)

    def _spent(self, job: Callable[[], None]) -> Spent:
        import torch

        gpus = range(torch.cuda.device_count()) if self._device == "cuda" else range(0)
        _free(self._device)
        for gpu in gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        clock = _clock(self._device)
        start = clock()
        job()
        for gpu in gpus:
            torch.cuda.synchronize(gpu)
        seconds = clock() - start
        held = sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus) if gpus else None
        return Spent(seconds, _peak_bytes(), held)


# -- the page ----------------------------------------------------------------------------------------------------------


def hardware(device: str) -> str:
    """Return the name of what is measured on: the GPUs, or the processor and the cores that may be used."""
    import torch

    if device == "cuda":
        names = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
        return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    said = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return f"no GPU: {said[1] if said else platform.machine()}"


def with_table(page: str, name: str, table: str) -> str:
    """Return a page with the table of one hardware replaced, or added behind those of others.

    Raises
    ------
    ValueError
        If the page lacks a mark.
    """
    before, inside, after = split_at_marks(page, BEGIN, END)
    parts = dict(re.findall(r"^### (.+?)\n\n(.*?)(?=^### |\Z)", inside, flags=re.MULTILINE | re.DOTALL))
    parts[name] = table
    body = "\n".join(f"### {heading}\n\n{text.strip()}\n" for heading, text in parts.items())
    return f"{before}\n\n{body}\n{after}"


def _table(size: Size, threads: int, lines: Sequence[tuple[str, ...]], *, on_gpu: bool) -> str:
    heading = ("dtype", "what", "time", "beside the bare pass", "rate", "memory", "GPU memory")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate"))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    clock = f"time by the clock, {threads} threads beside" if on_gpu else "time of the processor, one thread"
    said = (
        f"{today}, {libraries}, Python {platform.python_version()}. A GPT-NeoX of {size.width} x {size.layers} with "
        f"random weights over {size.tokens:,} tokens in chunks of {size.length}; {SETTINGS['n_batches']} batches of "
        f"{size.batch_size:,}; {clock}; the least of {ROUNDS} rounds where it is short."
    )
    rows = [heading, ["---"] * len(heading), *lines]
    return said + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


# -- what is run -------------------------------------------------------------------------------------------------------


def _clock(device: str) -> Callable[[], float]:
    """Return what is read: on a CPU its own time, of threads that write too, whatever else the machine does."""
    return perf_counter if device == "cuda" else process_time


def _product_rate(n: int, device: str, dtype: str) -> float:
    """Return the operations a second of a square matrix product, the quickest of some."""
    import torch

    clock = _clock(device)
    a = torch.randn(n, n, device=device).to(getattr(torch, dtype))
    least = float("inf")
    for _ in range(5):
        start = clock()
        product = a @ a
        float(product[0, 0])  # waits for a GPU
        least = min(least, clock() - start)
    return 2 * n**3 / least


def _sequences(size: Size) -> list[TokenSequence]:
    """Return chunks whose tokens are as unequally frequent as words are."""
    random = np.random.default_rng(0)
    ids = np.minimum(random.zipf(1.2, (size.chunks, size.length)), size.vocab_rows).astype(np.int32) - 1
    plain = np.zeros(size.length, dtype=bool)
    return [TokenSequence(chunk, row, plain, truncated=False) for chunk, row in enumerate(ids)]


def _save_model(folder: Path, size: Size, device: str) -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXModel

    torch.manual_seed(0)
    sizes = {"hidden_size": size.width, "num_hidden_layers": size.layers, "intermediate_size": 4 * size.width}
    with torch.device(device):
        model = GPTNeoXModel(GPTNeoXConfig(vocab_size=size.vocab_rows, num_attention_heads=size.width // 64, **sizes))
    model.save_pretrained(folder)


def _plain_model(folder: Path, device: str, dtype: str) -> Any:
    import torch
    from transformers import GPTNeoXModel

    return GPTNeoXModel.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval().to(device)


def _free(device: str) -> None:
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

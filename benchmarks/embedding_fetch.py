"""Embedding tables over a loopback hub: bytes fetched beside the checkpoint's, and the largest table's memory and time.

The models have the names, shapes and types of real ones; all but the table are zeros. The largest is BLOOM-176B's
table, 250,880 x 14,336, in a shard of its own as on the hub; the other 71 shards are listed and do not exist.
"""

import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from benchmarks.figure import Figure
from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import read_listing
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.tensors.weights import Weights
from lm_geometry.embeddings.extraction import find_embedding
from lm_geometry.embeddings.table import embedding_shape
from lm_geometry.tables.collection import TEXTS
from lm_geometry.tables.files import write_table
from lm_geometry.tables.token_counts import SCHEMA as TOKEN_COUNTS
from scripts.extract_embedding_table import extract_embedding_table
from scripts.pool_collection import pool_collection
from scripts.resolve_model import resolve_model
from tests.loopback_hub import Files, Hub, OnlyListed, serve

MARGIN = 1_000_000
BLOOM_ROWS, BLOOM_WIDTH, BLOOM_TOKENS = 250_880, 14_336, 250_680
BLOOM_SHARDS, BLOOM_BYTES = 72, 352_500_000_000
# Documents and queries of SCIDOCS, and token counts as English has them.
DOCUMENTS, QUERIES, TOKEN_TYPES, MEAN_TOKENS = 25_657, 1_000, 50_000, 180
_NEEDED_DISK = 30_000_000_000
_CHUNK = 16_000_000
_RANGE = 64 << 20

# Name, config class of transformers and its sizes, stored type, form.
MODELS = (
    (
        "pythia-160m",
        "GPTNeoXConfig",
        {
            "vocab_size": 50304, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
        "float16",
        "safetensors",
    ),
    (
        "opt-350m",
        "OPTConfig",
        {
            "vocab_size": 50272, "hidden_size": 1024, "word_embed_proj_dim": 512, "num_hidden_layers": 24,
            "num_attention_heads": 16, "ffn_dim": 4096,
        },
        "float16",
        "bin",
    ),
    ("gpt2", "GPT2Config", {"vocab_size": 50257}, "float32", "old bin"),
    ("bloom-560m", "BloomConfig", {"vocab_size": 250880, "hidden_size": 1024, "n_layer": 24}, "float16", "safetensors"),
    (
        "t5-v1_1-base",
        "T5Config",
        {
            "vocab_size": 32128, "d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12,
            "feed_forward_proj": "gated-gelu",
        },
        "float32",
        "bin",
    ),
)  # fmt: skip


def figures() -> Iterator[Figure]:
    """Fetch the tables of models shaped like real ones, then BLOOM-176B's, and yield bytes, memory and seconds."""
    for name, config, sizes, dtype, form in tqdm(MODELS, desc="models", disable=None):
        with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as folder:
            yield from _small(Path(folder), name, config, sizes, dtype, form)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < _NEEDED_DISK:
        print(f"the BLOOM-shaped table is left out: it needs 30 GB below {tempfile.gettempdir()}, {free / 1e9:.0f} are")
        return
    with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as folder:
        yield from _bloom(Path(folder))


def _small(folder: Path, name: str, config: str, sizes: dict[str, Any], dtype: str, form: str) -> Iterator[Figure]:
    files = folder / "hub"
    files.mkdir()
    table_bytes = _in_child(_write_model, files, config, sizes, dtype, form)[0]
    pickle = sum(_pickle_bytes(path) for path in files.glob("*.bin"))
    _write_tokenizer(folder / "tokenizer.json", 1000)
    with serve({f"bench/{name}": files}) as hub:
        _in_child(_extract, hub.url, f"bench/{name}", folder)
        sent = _weight_bytes_sent(hub)
    checkpoint = sum(path.stat().st_size for path in files.iterdir() if path.suffix != ".json")
    yield Figure(f"{name} ({dtype} {form}), fetched", sent / 1e6, "MB", (table_bytes + MARGIN + pickle) / 1e6)
    yield Figure(f"{name}, checkpoint", checkpoint / 1e6, "MB", None)


def _bloom(folder: Path) -> Iterator[Figure]:
    table_bytes = 2 * BLOOM_ROWS * BLOOM_WIDTH
    files = _write_bloom(folder / "hub")
    _write_tokenizer(folder / "tokenizer.json", BLOOM_TOKENS)
    with serve({"bench/bloom": files}) as hub:
        first = next(name for name, entry in files.items() if isinstance(entry, Path))
        # The first request makes the hub compute the file's digest, which is no part of what is timed.
        urlopen(f"{hub.url}/api/models/bench/bloom?blobs=true").close()
        size = files[first].stat().st_size
        stream = _stream_seconds(hub, f"/bench/bloom/resolve/main/{first}", size, folder / "stream")
        hub.bytes_sent.clear()
        _, fetch, fetch_peak = _in_child(_fetch, hub.url, "bench/bloom", folder)
        sent = _weight_bytes_sent(hub)
        hub.bytes_sent.clear()
        _, seconds, peak = _in_child(_extract, hub.url, "bench/bloom", folder)
        sent_again = _weight_bytes_sent(hub)
    table = folder / "table.parquet"
    if embedding_shape(table) != (BLOOM_ROWS, BLOOM_WIDTH):
        raise RuntimeError(f"the table has the shape {embedding_shape(table)}")
    yield Figure("bloom-176b (bfloat16 safetensors), fetched", sent / 1e6, "MB", (table_bytes + MARGIN) / 1e6)
    yield Figure("bloom-176b, checkpoint", BLOOM_BYTES / 1e6, "MB", None)
    yield Figure("bloom-176b, bare stream to disk", table_bytes / stream / 1e6, "MB/s", None)
    yield Figure("bloom-176b, fetch", table_bytes / fetch / 1e6, "MB/s", None)
    yield Figure("bloom-176b, fetch beside bare stream", fetch / stream, "x", 2)
    yield Figure("bloom-176b, extraction from the cache", seconds, "s", None)
    yield Figure("bloom-176b, extraction, fetched again", sent_again / 1e6, "MB", 0)
    yield Figure("bloom-176b, extraction, peak memory", max(peak, fetch_peak), "MB", 4000)
    yield Figure("bloom-176b, table of its float32 bytes", table.stat().st_size / (2 * table_bytes), "x", 0.5)
    _write_collection(folder)
    _, seconds, peak = _in_child(_pool, folder)
    yield Figure("bloom-176b, pooling 26,657 texts", seconds, "s", None)
    yield Figure("bloom-176b, pooling, peak memory", peak, "MB", 4000)


def _in_child(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """Call a function in a process of its own; return its result, the seconds, and the process's peak memory in MB.

    A fork server, as a child that is started directly inherits its parent's peak.
    """
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    started = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result, seconds, peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def _fetch(endpoint: str, source: str, folder: Path) -> None:
    """List a model and bring its table's bytes here."""
    _resolve(endpoint, source, folder)
    commit = provenance.read(folder / "listing.parquet")["origin"]["commit"]
    revision = open_revision(parse_source(source), commit, str(folder / "cache"))
    weights = Weights(revision, read_listing(folder / "listing.parquet"))
    next(weights.blocks(find_embedding(weights), 1))


def _extract(endpoint: str, source: str, folder: Path) -> None:
    """List a model and extract its table, as the workflow's two jobs do."""
    _resolve(endpoint, source, folder)
    extract_embedding_table(
        listing=folder / "listing.parquet",
        config=folder / "config.json",
        tokenizer=folder / "tokenizer.json",
        tokenizer_listing=folder / "listing.parquet",
        table=folder / "table.parquet",
        model="bench",
        source=source,
        revision="main",
        cache_dir=str(folder / "cache"),
        verify="ranges",
        embedding_tensor=None,
    )


def _resolve(endpoint: str, source: str, folder: Path) -> None:
    # Before the hub client is imported, which reads them once.
    os.environ["HF_ENDPOINT"] = endpoint
    os.environ.pop("HF_HUB_OFFLINE", None)
    resolve_model(
        files=[],
        listing=folder / "listing.parquet",
        config=folder / "config.json",
        source=source,
        revision="main",
        cache_dir=str(folder / "cache"),
    )


def _pool(folder: Path) -> None:
    pool_collection(
        **{name: folder / f"{name}.parquet" for name in ("counts", "corpus", "queries", "table", "pooled")},
        table_precision="bfloat16",
    )


def _weight_bytes_sent(hub: Hub) -> int:
    return sum(count for name, count in hub.bytes_sent.items() if name.endswith((".bin", ".safetensors")))


def _pickle_bytes(path: Path) -> int:
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith("data.pkl"))


def _stream_seconds(hub: Hub, path: str, size: int, target: Path) -> float:
    """Return the seconds in which the plainest client brings a file to the disk, range after range."""
    connection = HTTPConnection(hub.url.removeprefix("http://"))
    started = time.perf_counter()
    with target.open("wb") as stream:
        for start in range(0, size, _RANGE):
            end = min(start + _RANGE, size)
            connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
            shutil.copyfileobj(connection.getresponse(), stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())
    seconds = time.perf_counter() - started
    connection.close()
    target.unlink()
    return seconds


def _write_model(folder: Path, config: str, sizes: dict[str, Any], dtype: str, form: str) -> int:
    """Write a model of zeros with a random table; return the bytes of the table as stored."""
    import torch
    import transformers
    from safetensors.torch import save_file

    settings = getattr(transformers, config)(**sizes)
    settings.save_pretrained(folder)
    head = transformers.AutoModelForSeq2SeqLM if settings.is_encoder_decoder else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = head.from_config(settings)
    kind = getattr(torch, dtype)
    embedding = model.get_input_embeddings().weight
    table = torch.randn(embedding.shape).to(kind)
    state = {
        name: table if tensor is embedding else torch.zeros(tensor.shape, dtype=kind)
        for name, tensor in model.named_parameters()
    }
    if form == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        zipped = form == "bin"
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return table.nbytes


def _write_bloom(folder: Path) -> Files:
    """Write the shard that holds BLOOM-176B's table; return what the hub is to list."""
    folder.mkdir()
    name = "model_{:05d}-of-00072.safetensors"
    nbytes = 2 * BLOOM_ROWS * BLOOM_WIDTH
    entry = {"dtype": "BF16", "shape": [BLOOM_ROWS, BLOOM_WIDTH], "data_offsets": [0, nbytes]}
    header = json.dumps({"word_embeddings.weight": entry}).encode()
    header += b" " * (-len(header) % 8)
    values = np.random.default_rng(0).normal(scale=0.02, size=_CHUNK).astype(np.float32)
    chunk = (values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    path = folder / name.format(1)
    with path.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for start in tqdm(range(0, nbytes, len(chunk)), desc="BLOOM-shaped table", disable=None):
            stream.write(chunk[: nbytes - start])
    shard_of = {"word_embeddings.weight": name.format(1)}
    shard_of |= {f"h.{number - 2}.mlp.dense_h_to_4h.weight": name.format(number) for number in range(2, 73)}
    others = (BLOOM_BYTES - nbytes) // (BLOOM_SHARDS - 1)
    return {
        "config.json": json.dumps({"vocab_size": BLOOM_ROWS, "hidden_size": BLOOM_WIDTH}).encode(),
        "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": shard_of}).encode(),
        name.format(1): path,
        **{name.format(number): OnlyListed(others) for number in range(2, BLOOM_SHARDS + 1)},
    }


def _write_tokenizer(path: Path, tokens: int) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"w{token}": token for token in range(tokens)}, unk_token="w0")).save(str(path))


def _write_collection(folder: Path) -> None:
    """Write counts of tokens whose frequencies fall as English ones do, spread over the table, for SCIDOCS' size."""
    generator = np.random.default_rng(0)
    frequencies = 1 / (np.arange(TOKEN_TYPES) + 2.7) ** 1.07
    ids = generator.choice(BLOOM_TOKENS, TOKEN_TYPES, replace=False)
    for side, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        names = pa.table({"id": [f"{side}-{number}" for number in range(texts)], "text": [""] * texts})
        write_table(folder / f"{side}.parquet", names, TEXTS)
    lengths = generator.lognormal(np.log(MEAN_TOKENS), 0.6, DOCUMENTS + QUERIES).clip(3, 2048).astype(int)
    tokens = ids[generator.choice(TOKEN_TYPES, lengths.sum(), p=frequencies / frequencies.sum())]
    pairs = np.repeat(np.arange(len(lengths)), lengths) * BLOOM_ROWS + tokens
    found, counts = np.unique(pairs, return_counts=True)
    rows, tokens = np.divmod(found, BLOOM_ROWS)
    columns = {
        "side": np.where(rows < DOCUMENTS, "corpus", "queries"),
        "row": np.where(rows < DOCUMENTS, rows, rows - DOCUMENTS).astype(np.int32),
        "token_id": tokens.astype(np.int32),
        "count": counts.astype(np.int32),
    }
    write_table(folder / "counts.parquet", pa.table(columns), TOKEN_COUNTS, settings={"max_length": 2048})

"""A sound tiny model made of numpy alone, damaged as cases ask for it, and the jobs that meet it."""

import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from entry_points import Ran, ran
from safetensors.numpy import save
from tiny_models import WORDS, sentences

from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.tables import collection as collection_tables
from lm_geometry.tables.chunks import SCHEMA as CHUNKS
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA as LISTING
from scripts.dump_hidden_states import dump_hidden_states
from scripts.extract_embedding_table import extract_embedding_table
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.fetch_tokenizer import fetch_tokenizer
from scripts.measure_embedding_table import measure_embedding_table
from scripts.pool_collection import pool_collection
from scripts.resolve_model import resolve_model
from scripts.stream_geometry import stream_geometry
from scripts.tokenize_collection import tokenize_collection

CONFIG, WEIGHTS, INDEX, BIN = "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
TABLE = "gpt_neox.embed_in.weight"
ROWS = 72

# Files by name; None takes one away.
Files = Mapping[str, bytes | None]


# -- a sound model, and what is made of it -----------------------------------------------------------------------------


def _config() -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    return {"model_type": "gpt_neox", "vocab_size": ROWS, "max_position_embeddings": 24, "dtype": "float32", **sizes}


def _tokenizer() -> dict[str, Any]:
    tokens = ["<unk>", "<pad>", "<none>", "<s>", "</s>", *WORDS]
    special = {name: {"id": name, "ids": [tokens.index(name)], "tokens": [name]} for name in ("<s>", "</s>")}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in special)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": row, "content": tokens[row], "special": True, **flags} for row in (0, 1, 3, 4)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [begin, text, end], "pair": [begin, text, end],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {token: row for row, token in enumerate(tokens)}, "unk_token": "<unk>"},
    }  # fmt: skip


def tensors() -> dict[str, np.ndarray]:
    """Return the sound model's tensors, to be changed."""
    block = {
        "attention.dense": (16, 16),
        "attention.query_key_value": (48, 16),
        "input_layernorm": (16,),
        "mlp.dense_4h_to_h": (16, 32),
        "mlp.dense_h_to_4h": (32, 16),
        "post_attention_layernorm": (16,),
    }
    weights = {f"gpt_neox.layers.{layer}.{name}": shape for layer in range(3) for name, shape in block.items()}
    weights["gpt_neox.final_layer_norm"] = (16,)
    shapes = {f"{name}.weight": shape for name, shape in weights.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in weights.items()}
    shapes |= {TABLE: (ROWS, 16), "embed_out.weight": (ROWS, 16)}
    random = np.random.default_rng(0)
    return {name: random.normal(scale=0.3, size=shape).astype(np.float32) for name, shape in sorted(shapes.items())}


@cache
def sound_files() -> dict[str, bytes]:
    """Return the files of a tiny model and its tokenizer, as bytes by name."""
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"}
    return {
        CONFIG: json.dumps(_config()).encode(),
        WEIGHTS: save(tensors()),
        TOKENIZER: json.dumps(_tokenizer()).encode(),
        TOKENIZER_CONFIG: json.dumps({**settings, "bos_token": "<s>", "eos_token": "</s>"}).encode(),
    }


def config(**changes: Any) -> bytes:
    """Return the sound model's config.json with other values; None takes a key away."""
    changed = {**json.loads(sound_files()[CONFIG]), **changes}
    return json.dumps({key: value for key, value in changed.items() if value is not None}).encode()


def with_tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """Return the sound weights with another tensor in one's place."""
    found = tensors()
    return save({**found, name: change(found[name])})


def with_value(name: str, place: tuple[int, ...], value: float) -> bytes:
    """Return the sound weights with one value changed."""
    found = tensors()
    found[name][place] = value
    return save(found)


def header_only(header: Any, data: bytes = b"") -> bytes:
    """Return a safetensors file of that header, whatever it says of the data."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def model(folder: Path, changes: Files) -> Path:
    """Write the sound model with some files changed into the folder ``mine``."""
    mine = folder / "mine"
    mine.mkdir()
    for name, content in {**sound_files(), **changes}.items():
        if content is not None:
            (mine / name).write_bytes(content)
    return mine


# -- the jobs ----------------------------------------------------------------------------------------------------------


def where(source: Any) -> dict[str, str]:
    """Return the params by which jobs know a source."""
    return {"source": str(source), "revision": "main", "cache_dir": "unused"}


def listing(folder: Path, source: Any, **params: Any) -> Ran:
    """List a source."""
    return ran(
        folder,
        resolve_model,
        input={"files": []},
        output={"listing": "listing.parquet", "config": CONFIG},
        params={**where(source), **params},
    )


def listed(changes: Files, **params: Any) -> Callable[[Path], Ran]:
    """List a model with changed files."""
    return lambda folder: listing(folder, model(folder, changes), **params)


def prepared(folder: Path, source: Path) -> dict[str, Path]:
    """List a source without a job, and return the inputs of the jobs after that."""
    resolve_model(files=[], listing=folder / "listing.parquet", config=folder / CONFIG, **where(source))
    write_table(folder / "tokenizer.parquet", listing_table([]), LISTING)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / TOKENIZER).write_bytes(sound_files()[TOKENIZER])
    return {
        "listing": folder / "listing.parquet",
        "config": folder / CONFIG,
        "tokenizer": folder / "tokenizer" / "tokenizer.json",
        "tokenizer_listing": folder / "tokenizer.parquet",
    }


def extraction(folder: Path, source: Path, tokenizer: bytes | None = None, **params: Any) -> Ran:
    """Extract the table of a source."""
    inputs = prepared(folder, source)
    if tokenizer is not None:
        inputs["tokenizer"].write_bytes(tokenizer)
    settings = {"model": "mine", "verify": "ranges", "embedding_tensor": None}
    return ran(
        folder,
        extract_embedding_table,
        input=inputs,
        output={"table": "table.parquet"},
        params={**where(source), **settings, **params},
    )


def extracted(changes: Files, **params: Any) -> Callable[[Path], Ran]:
    """Extract the table of a model with changed files."""
    return lambda folder: extraction(folder, model(folder, changes), **params)


def weights(content: bytes, **params: Any) -> Callable[[Path], Ran]:
    """Extract the table of a model with other weights."""
    return extracted({WEIGHTS: content}, **params)


def tokenizer(changes: Files) -> Callable[[Path], Ran]:
    """Fetch a tokenizer with changed files."""
    return lambda folder: tokenizer_of(folder, where(model(folder, changes)))


def tokenizer_of(folder: Path, params: Mapping[str, Any]) -> Ran:
    """Fetch the tokenizer of a source."""
    _import_transformers()
    outputs = {"tokenizer": TOKENIZER, "tokenizer_config": TOKENIZER_CONFIG, "listing": "listing.parquet"}
    return ran(folder, fetch_tokenizer, input={"files": []}, output=outputs, params=params)


def _import_transformers() -> None:
    """Import it outside of jobs: its log keeps the stderr that it meets first, and a job's is closed behind it."""
    from transformers.utils import logging

    logging.get_verbosity()


def fetched(changes: Files) -> Callable[[Path], Ran]:
    """Have the files for a forward pass of a model with changed files."""
    return lambda folder: fetching(folder, model(folder, changes))


def fetching(folder: Path, source: Path) -> Ran:
    """Have the files for a forward pass of a source."""
    inputs = prepared(folder, source)
    return ran(
        folder,
        fetch_checkpoint,
        input={"listing": inputs["listing"], "config": inputs["config"]},
        output={"checkpoint": "checkpoint.parquet"},
        params=where(source),
    )


def passed(
    changes: Files,
    *,
    stream: bool = False,
    texts: list[str] | None = None,
    tokenizer: bytes | None = None,
    before: Callable[[Path], Any] = lambda source: None,
    **params: Any,
) -> Callable[[Path], Ran]:
    """Run a model with changed files over a corpus; ``before`` meets the folder when it was listed."""

    def run(folder: Path) -> Ran:
        _import_transformers()
        source = model(folder, changes)
        inputs = prepared(folder, source)
        listing = inputs.pop("listing")
        if tokenizer is not None:
            inputs["tokenizer"].write_bytes(tokenizer)
        inputs["checkpoint"] = folder / "checkpoint.parquet"
        fetch_checkpoint(listing=listing, config=inputs["config"], checkpoint=inputs["checkpoint"], **where(source))
        before(source)
        inputs["chunks"] = folder / "chunks.parquet"
        rows = [
            {"chunk": chunk, "page": 0, "text": text}
            for chunk, text in enumerate(sentences(12) if texts is None else texts)
        ]
        write_table(inputs["chunks"], pa.Table.from_pylist(rows, schema=CHUNKS), CHUNKS, settings={"seed": 3})
        if stream:
            function, output = stream_geometry, {"batches": "batches.parquet", "all_tokens": "all_tokens.parquet"}
            measuring = {"n_batches": 2, "batch_size": 20, "duplicate_tolerance": 1e-6, "seed": 0}
        else:
            function, output, measuring = dump_hidden_states, {"folder": "layers", "manifest": "manifest.parquet"}, {}
        settings = {"device": "cpu", "batch_tokens": 64, **measuring, **params}
        return ran(
            folder,
            function,
            input=inputs,
            output=output,
            params=settings,
            resources={"cache_dir": str(folder / "cache")},
        )

    return run


def tokenized(tokenizer: bytes, max_length: int = 2048) -> Callable[[Path], Ran]:
    """Count the tokens of a collection."""

    def run(folder: Path) -> Ran:
        (folder / "tokenizer.json").write_bytes(tokenizer)
        write_table(folder / "tokenizer.parquet", listing_table([]), LISTING)
        for side in ("corpus", "queries"):
            texts(folder / f"{side}.parquet")
        return ran(
            folder,
            tokenize_collection,
            input={
                "corpus": folder / "corpus.parquet",
                "queries": folder / "queries.parquet",
                "tokenizer": folder / "tokenizer.json",
                "tokenizer_listing": folder / "tokenizer.parquet",
            },
            output={"counts": "counts.parquet"},
            params={"max_length": max_length},
        )

    return run


def texts(path: Path) -> Path:
    """Write one side of a collection."""
    rows = pa.Table.from_pylist([{"id": "a", "text": "the cat sat"}, {"id": "b", "text": "on a mat"}])
    write_table(path, rows, collection_tables.TEXTS)
    return path


def pooled(table: np.ndarray, change: Callable[[Path], Any] = lambda path: None) -> Callable[[Path], Ran]:
    """Pool a collection of the sound tokenizer with a table."""

    def run(folder: Path) -> Ran:
        source = folder / "sound"
        source.mkdir()
        (source / "tokenizer.json").write_bytes(sound_files()["tokenizer.json"])
        write_table(folder / "tokenizer.parquet", listing_table([]), LISTING)
        corpus, queries = texts(folder / "corpus.parquet"), texts(folder / "queries.parquet")
        tokenize_collection(
            corpus=corpus,
            queries=queries,
            tokenizer=source / "tokenizer.json",
            tokenizer_listing=folder / "tokenizer.parquet",
            counts=folder / "counts.parquet",
            max_length=2048,
        )
        write_embedding_table(folder / "table.parquet", [table], table.shape, [None] * len(table))
        change(folder / "table.parquet")
        return ran(
            folder,
            pool_collection,
            input={
                "counts": folder / "counts.parquet",
                "corpus": corpus,
                "queries": queries,
                "table": folder / "table.parquet",
            },
            output={"pooled": "pooled.parquet"},
            params={"table_precision": "bfloat16"},
        )

    return run


def measured(table: np.ndarray, change: Callable[[Path], Any] = lambda path: None) -> Callable[[Path], Ran]:
    """Measure a table."""

    def run(folder: Path) -> Ran:
        path = folder / "table.parquet"
        write_embedding_table(path, [table], table.shape, [f"t{row}" for row in range(len(table))])
        change(path)
        return ran(
            folder,
            measure_embedding_table,
            input={"table": path},
            output={"measures": "measures.parquet"},
            params={"table_precision": "bfloat16", "n_batches": 2, "batch_size": 20, "seed": 0},
        )

    return run

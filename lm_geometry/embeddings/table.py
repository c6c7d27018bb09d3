"""The token-embedding table: find it among a checkpoint's tensors, check it, keep it as Parquet, read it back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm_geometry.checkpoints.weights import Weights
from lm_geometry.tables.embedding_table import schema
from lm_geometry.tables.files import open_table_writer
from lm_geometry.tables.schema import vector_array, vector_matrix

SUFFIXES = ("embed_in.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight")
# Where config.json states the table's width; the narrower tables of OPT-350m and ALBERT first.
_WIDTH_KEYS = ("word_embed_proj_dim", "embedding_size", "hidden_size", "d_model", "n_embd", "n_embed")
_ROW_GROUP = 8192


def is_embedding_name(name: str) -> bool:
    """Say whether a tensor's name is that of an input embedding, whatever stands in front of it."""
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in SUFFIXES)


def find_embedding(weights: Weights) -> tuple[str, np.ndarray]:
    """Return name and values, float32 of shape (rows, d), of the token-embedding table of a checkpoint.

    Some files hold it twice (T5: ``shared`` and the encoder's own); equal copies are one table.

    Raises
    ------
    ValueError
        If no tensor is an embedding by its name, or several are and differ; they are listed with their shapes.
    """
    candidates = sorted((name for name in weights.names if is_embedding_name(name)), key=lambda name: (len(name), name))
    shapes = {name: weights.info(name).shape for name in candidates}
    candidates = [name for name in candidates if len(shapes[name]) == 2]
    if not candidates:
        raise ValueError(
            f"no token-embedding tensor: no 2-D tensor's name ends in {', '.join(SUFFIXES)}; "
            f"there are {_shapes(weights.known_matrices())}"
        )
    first = candidates[0]
    table = weights.read(first)
    for name in candidates[1:]:
        if shapes[name] != table.shape or not np.array_equal(weights.read(name), table, equal_nan=True):
            listed = _shapes({name: shapes[name] for name in candidates})
            raise ValueError(f"several token-embedding tensors that differ in shape or values: {listed}")
    return first, table


def check_table(table: np.ndarray, config: Mapping[str, Any]) -> None:
    """Check a table against its model's config.json, where that states the sizes, and for values that are no numbers.

    Raises
    ------
    ValueError
        If rows or columns differ from the config (both numbers are named), or a value is NaN or infinite (its row and
        column are named).
    """
    rows, width = table.shape
    if config.get("vocab_size", rows) != rows:
        raise ValueError(f"the embedding table has {rows} rows, but config.json says vocab_size {config['vocab_size']}")
    key = next((key for key in _WIDTH_KEYS if config.get(key) is not None), None)
    if key is not None and config[key] != width:
        raise ValueError(f"the embedding table has {width} columns, but config.json says {key} {config[key]}")
    for start in range(0, rows, _ROW_GROUP):
        bad = np.argwhere(~np.isfinite(table[start : start + _ROW_GROUP]))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            raise ValueError(
                f"the embedding table holds {table[row, column]} at row {row}, column {column} (first of {len(bad)} "
                f"in rows {start} to {min(start + _ROW_GROUP, rows) - 1}); the checkpoint is damaged"
            )


def token_texts(tokenizer: Path, rows: int) -> list[str | None]:
    """Return the token of each of ``rows`` table rows as tokenizer.json spells it; None for rows without a token.

    Raises
    ------
    ValueError
        If the tokenizer has ids beyond the table; both numbers are named.
    """
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab(with_added_tokens=True)
    needed = max(vocabulary.values()) + 1
    if needed > rows:
        raise ValueError(
            f"the tokenizer {tokenizer} needs {needed} rows, but the embedding table has {rows}: they do not belong "
            "together"
        )
    tokens: list[str | None] = [None] * rows
    for token, row in vocabulary.items():
        tokens[row] = token
    return tokens


def write_embedding_table(
    path: Path,
    table: np.ndarray,
    tokens: Sequence[str | None],
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a table, shape (rows, d), with the token of each row; the keywords are those of ``write_table``."""
    layout = schema(table.shape[1])
    with open_table_writer(path, layout, inputs=inputs, settings=settings, origin=origin) as writer:
        for start in range(0, len(table), _ROW_GROUP):
            block = table[start : start + _ROW_GROUP]
            texts = pa.array(tokens[start : start + _ROW_GROUP], pa.string())
            ids = pa.array(np.arange(start, start + len(block), dtype=np.int32))
            writer.write_table(pa.table([ids, texts, texts.is_valid(), vector_array(block)], schema=layout))


def read_embedding_table(path: Path) -> np.ndarray:
    """Return an extracted embedding table as float32, shape (rows, d), row i being token i's embedding.

    Memory is that of the result and one row group.

    Raises
    ------
    ValueError
        If the file is no embedding table of this project.
    """
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); remove it and run again") from error
    with file:
        if "vector" not in file.schema_arrow.names:
            raise ValueError(f"{path}: has no column 'vector'; it is no embedding table")
        table = np.empty((file.metadata.num_rows, file.schema_arrow.field("vector").type.list_size), dtype=np.float32)
        start = 0
        for group in range(file.num_row_groups):
            block = vector_matrix(file.read_row_group(group, columns=["vector"]).column("vector"))
            table[start : start + len(block)] = block
            start += len(block)
    return table


def read_config(path: Path) -> dict[str, Any]:
    """Return a model's config.json; ValueError if it is no JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds a {type(config).__name__}, not an object")
    return config


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items())) or "none"

"""Which tensor of a checkpoint is the token-embedding table, and whether it fits its config and tokenizer."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_geometry.checkpoints.embedding_names import SUFFIXES, is_embedding_name
from lm_geometry.checkpoints.model_config import TAKE_THE_ORIGINAL, TEXT_PART, text_part
from lm_geometry.checkpoints.tensors.tensor import StoredTensor, check_readable, shown
from lm_geometry.checkpoints.tensors.weights import Weights
from lm_geometry.tokenizer_file import read_tokenizer

KEY = "embedding_tensor"
"""The config key by which a user names the tensor."""

# Where config.json states the table's width; the narrower tables of OPT-350m and ALBERT first.
_WIDTH_KEYS = ("word_embed_proj_dim", "embedding_size", "hidden_size", "d_model", "n_embd", "n_embed")
# Of one vector there is neither a similarity nor a geometry.
_LEAST_ROWS = 2
# A large model has hundreds of matrices; an error is one line.
_LISTED = 12


def find_embedding(weights: Weights, tensor: str | None = None) -> str:
    """Return the name of the token-embedding table of a checkpoint.

    Some files hold it twice (T5: ``shared`` and the encoder's own); equal copies are one table.

    Parameters
    ----------
    weights : Weights
        The checkpoint's tensors.
    tensor : str, optional
        The name that the config key ``embedding_tensor`` gives; it is taken as it is.

    Raises
    ------
    ValueError
        If there is no such tensor, no 2-D tensor is an embedding by its name, or several are and differ; what there is
        is listed with shapes, and the key named.
    """
    if tensor is not None:
        return _named(weights, tensor)
    candidates = sorted((name for name in weights.names if is_embedding_name(name)), key=lambda name: (len(name), name))
    candidates = [name for name in candidates if len(weights.info(name).shape) == 2]
    if not candidates:
        if not _matrices(weights):
            raise ValueError(
                f"no token-embedding table: of {len(weights.names)} tensors none has 2 dimensions; fetch them again"
            )
        raise ValueError(
            f"no token-embedding table: no 2-D tensor's name ends in {', '.join(SUFFIXES)}; name the one that is it by "
            f"the key {KEY}: {_shapes(_matrices(weights))}"
        )
    first, *others = candidates
    if not all(weights.same_bytes(first, other) for other in others):
        listed = _shapes({name: weights.info(name).shape for name in candidates})
        raise ValueError(
            f"several token-embedding tables that differ: name the one that is meant by the key {KEY}: {listed}"
        )
    return first


def check_plain_values(weights: Weights, name: str) -> None:
    """Refuse a tensor whose stored numbers are not the values: integers, float8, or what has a scale beside it.

    Raises
    ------
    ValueError
        With the tensor and its type, or the tensors that belong to it.
    """
    try:
        check_readable(weights.info(name))
    except ValueError as error:
        raise ValueError(f"{shown(name)} {error}") from None
    module = name.removesuffix(".weight")
    beside = [other for other in weights.names if other.startswith(f"{module}.") and other != name]
    if beside:
        raise ValueError(
            f"{shown(name)} has {shown(beside[0])} beside it: the weights are quantized or packed; {TAKE_THE_ORIGINAL}"
        )


def check_shape(found: StoredTensor, config: Mapping[str, Any]) -> None:
    """Check a table's shape against its model's config.json, where that states the sizes.

    Raises
    ------
    ValueError
        If it has not two dimensions, fewer than two rows or no column, or rows or columns differ from the config; both
        numbers are named.
    """
    if len(found.shape) != 2:
        raise ValueError(
            f"the embedding table has {len(found.shape)} dimensions, not 2: {_size(found.shape)}; name another tensor "
            f"by the key {KEY}"
        )
    rows, width = found.shape
    if rows < _LEAST_ROWS or width < 1:
        raise ValueError(
            f"the embedding table is {rows} rows x {width} columns, and at least {_LEAST_ROWS} x 1 are needed to "
            f"compare embeddings; name another tensor by the key {KEY}"
        )
    where, sizes = ("", config) if not text_part(config) else (f"{TEXT_PART}.", {**config, **text_part(config)})
    if sizes.get("vocab_size") not in (None, rows):
        raise ValueError(
            f"the embedding table has {rows} rows, but config.json says {where}vocab_size {sizes['vocab_size']!r}; "
            "fetch both again"
        )
    key = next((key for key in _WIDTH_KEYS if sizes.get(key) is not None), None)
    if key is not None and sizes[key] != width:
        raise ValueError(
            f"the embedding table has {width} columns, but config.json says {where}{key} {sizes[key]!r}; fetch both "
            "again"
        )


def token_texts(tokenizer: Path, rows: int) -> list[str | None]:
    """Return the token of each of ``rows`` table rows as tokenizer.json spells it; None for rows without a token.

    Raises
    ------
    ValueError
        If the file is no tokenizer, or has ids beyond the table; both numbers are named.
    """
    vocabulary = read_tokenizer(tokenizer).get_vocab(with_added_tokens=True)
    needed = max(vocabulary.values(), default=-1) + 1
    if needed > rows:
        raise ValueError(
            f"the tokenizer {tokenizer} needs {needed} rows, but the embedding table has {rows}: they do not belong "
            "together; set `tokenizer` to the model's own"
        )
    tokens: list[str | None] = [None] * rows
    for token, row in vocabulary.items():
        tokens[row] = token
    return tokens


def refuse_zeros(blocks: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """Yield a table's blocks; ValueError behind the last one if no entry of them was other than zero."""
    some = False
    for block in blocks:
        some = some or bool(block.any())
        yield block
    if not some:
        raise ValueError(
            f"every entry of {shown(name)} is zero: the weights were never filled in; fetch them again, or name "
            f"another tensor by the key {KEY}"
        )


def _named(weights: Weights, tensor: str) -> str:
    if tensor not in weights.names:
        raise ValueError(
            f"{KEY}: the checkpoint has no tensor {tensor}; its 2-D tensors are {_shapes(_matrices(weights))}"
        )
    return tensor


def _matrices(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all 2-D tensors; of a sharded checkpoint this reads the header of every shard."""
    shapes = {name: weights.info(name).shape for name in weights.names}
    return {name: shape for name, shape in shapes.items() if len(shape) == 2}


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """List tensors with their shapes, those with the most rows first, as a vocabulary is mostly the longest axis."""
    ordered = sorted(shapes.items(), key=lambda item: (-item[1][0], item[0]))
    listed = [f"{shown(name)} {_size(shape)}" for name, shape in ordered[:_LISTED]]
    more = [f"and {len(ordered) - _LISTED} with fewer rows"] if len(ordered) > _LISTED else []
    return ", ".join(listed + more) or "none"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))

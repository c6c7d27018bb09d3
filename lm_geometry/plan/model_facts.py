"""What a listing and a config.json say of a model before a weight is read: sizes, parameters, bytes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_geometry.checkpoints.ledger import read_listing, weights_read
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.model_config import read_config
from lm_geometry.plan.parameters import ENCODERS, Parameters, count_parameters, stated

# Parameters of a decoder are about 12 layers x width^2 beside its tables, and over all published sizes the layers grow
# as width / 128: a width can be told from bytes to within a half. Only where the config does not say.
_LAYERS_PER_WIDTH = 1 / 128
_USUAL_ROWS = 50_000
# A count is exact and files hold a little beside it, so one value takes at most its share of the bytes.
_SLACK = 0.97
_DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

SAFETENSORS, BIN = "safetensors", "bin"


@dataclass(frozen=True)
class ModelFacts:
    """One revision of a model.

    Parameters
    ----------
    family : str
        ``model_type`` of config.json; '' where there is none.
    counted : bool
        True where the parameters follow from config.json; False where they are the weight files' bytes over the bytes
        of a value, because the architecture is not known here or the config lacks a size.
    parameters : Parameters
        Its parameters by what they do.
    vocab_rows, embedding_width : int
        Shape of the token-embedding table.
    hidden_width, inner_width : int
        Components of a hidden state, and of the feed-forward layers.
    n_layers : tuple of int
        Blocks of each stack: one, or encoder and decoder.
    n_states : int
        Layers of a dump: each stack's embeddings and blocks, and the copy behind the final norm where there is one.
    max_positions : int or None
        Longest sequence; None where positions are relative and unbounded, or not stated.
    weight_format : str
        'safetensors', or 'bin' for torch's own formats: the one that would be read.
    weight_bytes : int
        Size of the weight files of the format that would be read.
    table_file_bytes : int
        Size of those among them that hold the embedding table.
    value_bytes : int
        Bytes that a stored value takes: 4 for float32, 2 for half precision.
    stored_dtype : str
        Number format of the files; '' where it is half precision and config.json does not say which.
    """

    family: str
    counted: bool
    parameters: Parameters
    vocab_rows: int
    embedding_width: int
    hidden_width: int
    inner_width: int
    n_layers: tuple[int, ...]
    n_states: int
    max_positions: int | None
    weight_format: str
    weight_bytes: int
    table_file_bytes: int
    value_bytes: int
    stored_dtype: str

    @property
    def table_bytes(self) -> int:
        """Bytes of the embedding table as stored."""
        return self.vocab_rows * self.embedding_width * self.value_bytes


def read_facts(listing: str, config: str) -> ModelFacts:
    """Return the facts that the files of ``resolve_model`` hold.

    Raises
    ------
    FileNotFoundError
        With the name just as it was given, by which Snakemake knows an input that is yet to be made.
    """
    require(listing)
    require(config)
    return model_facts(read_listing(Path(listing)), read_config(Path(config)))


def require(path: str) -> None:
    """Raise FileNotFoundError with the name just as given; a Path would give another, and pyarrow's error has none."""
    os.stat(path)  # noqa: PTH116


def model_facts(files: Sequence[ListedFile], config: Mapping[str, Any]) -> ModelFacts:
    """Return what is known of a model.

    Parameters
    ----------
    files : sequence of ListedFile
        The revision's files; those marked as read count (``checkpoints.ledger.mark_weights``).
    config : mapping
        Its config.json; empty where there is none.
    """
    weights = weights_read(files)
    weight_bytes = sum(file.size for file in weights)
    text = text_part(config)
    counted = count_parameters(text)
    # The count tells what a value takes only where it is of the whole model.
    value_bytes = _value_bytes(weight_bytes, counted if text is config else None, text)
    parameters = _whole(counted, weight_bytes // value_bytes, of_text_only=text is not config)
    width = stated(text, "hidden_size", "d_model", "n_embd", "n_embed", default=_width_from(parameters.total))
    layers = _layers(text, width)
    return ModelFacts(
        family=str(text.get("model_type", "")),
        counted=counted is not None,
        parameters=parameters,
        vocab_rows=stated(text, "vocab_size", default=_USUAL_ROWS),
        embedding_width=stated(text, "word_embed_proj_dim", "embedding_size", default=width),
        hidden_width=width,
        inner_width=stated(text, "intermediate_size", "ffn_dim", "d_ff", "n_inner", default=4 * width),
        n_layers=layers,
        n_states=sum(layers) + len(layers) * (1 if text.get("model_type") in ENCODERS else 2),
        max_positions=text.get("max_position_embeddings") or text.get("n_positions"),
        weight_format=SAFETENSORS if all(file.path.endswith(".safetensors") for file in weights) else BIN,
        weight_bytes=weight_bytes,
        table_file_bytes=sum(file.size for file in weights if file.holds_embedding),
        value_bytes=value_bytes,
        stored_dtype=_stored_dtype(value_bytes, text),
    )


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the text model: config.json itself, or its ``text_config`` over it (Gemma 3)."""
    part = config.get("text_config")
    return {**config, **part} if isinstance(part, Mapping) else config


def _value_bytes(weight_bytes: int, counted: Parameters | None, config: Mapping[str, Any]) -> int:
    """Return the bytes of a stored value.

    From the bytes, not from config.json: T5's says nothing, and others name the type they were trained in. The greatest
    that fits, since files hold more than parameters: the masks of attention in old Pythias' take as much as the model.
    """
    if counted is None:
        return _DTYPE_BYTES.get(_named_dtype(config) or "float16", 2)
    fitting = [size for size in (1, 2, 4, 8) if size * counted.total * _SLACK <= weight_bytes]
    return max(fitting, default=1)


def _stored_dtype(value_bytes: int, config: Mapping[str, Any]) -> str:
    """Return the format of stored values, of which config.json is believed no more than their size bears out."""
    if value_bytes == _DTYPE_BYTES["float32"]:
        return "float32"
    named = _named_dtype(config)
    return named if _DTYPE_BYTES.get(named) == value_bytes else ""


def _named_dtype(config: Mapping[str, Any]) -> str:
    return str(config.get("torch_dtype") or config.get("dtype") or "").removeprefix("torch.")


def _whole(counted: Parameters | None, stored: int, *, of_text_only: bool) -> Parameters:
    """Return the parameters; those of other parts of a model, or of an unknown one, are known from the bytes only."""
    if counted is None:
        return Parameters(tables=0, blocks=stored)
    if of_text_only and stored > counted.total:
        return Parameters(
            counted.tables, counted.blocks, counted.rest + stored - counted.total, counted.head, counted.passes
        )
    return counted


def _width_from(parameters: int) -> int:
    return max(1, round((parameters / 12 / _LAYERS_PER_WIDTH) ** (1 / 3)))


def _layers(config: Mapping[str, Any], width: int) -> tuple[int, ...]:
    guess = max(1, round(width * _LAYERS_PER_WIDTH))
    first = stated(config, "num_hidden_layers", "n_layer", "num_layers", "encoder_layers", default=guess)
    if config.get("is_encoder_decoder") or config.get("model_type") in ("t5", "mt5"):
        return first, stated(config, "num_decoder_layers", "decoder_layers", default=first)
    return (first,)

"""A dump of hidden states, read back: every layer held against the manifest that lists it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_geometry import provenance
from lm_geometry.tables.files import file_sha256, read_table
from lm_geometry.tables.schema import vector_matrix

KINDS = ("encoder", "decoder", "encoder-decoder")

_TOKEN_COLUMNS = ("chunk", "position", "token_id", "special")


@dataclass(frozen=True)
class Layer:
    """One layer of a dump, read; arrays have a row per token, ``vectors`` has shape (n, width)."""

    stack: str
    layer: int
    after_final_norm: bool
    context_free: bool
    chunk: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    special: np.ndarray
    vectors: np.ndarray


def read_settings(manifest: Path) -> dict[str, Any]:
    """Return what a dump's states came from: kind of model, dtype of the forward pass, settings of the chunks.

    Raises
    ------
    ValueError
        If the manifest's provenance does not say the kind or the dtype.
    """
    settings = provenance.read(manifest)["settings"]
    kind, dtype = settings.get("kind"), settings.get("dtype")
    if kind not in KINDS:
        raise ValueError(f"{manifest}: its setting 'kind' is {kind!r}, not one of {KINDS}; remove it and run again")
    if not isinstance(dtype, str):
        raise ValueError(f"{manifest}: its setting 'dtype' is {dtype!r}, not a name; remove it and run again")
    return {"kind": kind, "dtype": dtype, "chunks": settings.get("chunks")}


def read_layers(manifest: Path, folder: Path) -> Iterator[Layer]:
    """Yield the layers that ``manifest`` lists, one at a time, each checked against it.

    Raises
    ------
    ValueError
        If a file is missing or differs from the manifest in size, digest or shape, if its vectors are not finite, or
        if its rows are not the tokens that the other layers of its stack have.
    """
    tokens: dict[str, tuple[np.ndarray, ...]] = {}
    for entry in read_table(manifest).to_pylist():
        layer = _read_layer(Path(folder) / entry["file"], entry)
        here = (layer.chunk, layer.position, layer.token_id, layer.special)
        if not all(map(np.array_equal, here, tokens.setdefault(layer.stack, here))):
            raise ValueError(
                f"{entry['file']}: its rows are not the tokens of the first layer of the {layer.stack} stack; "
                f"remove {manifest} and run again"
            )
        yield layer


def _read_layer(path: Path, entry: Mapping[str, Any]) -> Layer:
    _check_file(path, entry)
    table = read_table(path, columns=[*_TOKEN_COLUMNS, "vector"])
    width = table.schema.field("vector").type.list_size
    if (table.num_rows, width) != (entry["n_rows"], entry["width"]):
        raise ValueError(
            f"{path}: holds {table.num_rows} vectors of width {width}, its manifest lists {entry['n_rows']} of "
            f"{entry['width']}; remove the manifest and run again"
        )
    vectors = vector_matrix(table.column("vector"))
    chunk, position, token_id, special = (table.column(name).to_numpy() for name in _TOKEN_COLUMNS)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{path}: {entry['stack']} layer {entry['layer']} holds {broken.size} vectors that are not finite, the "
            f"first at chunk {chunk[broken[0]]}, position {position[broken[0]]}; a model that overflows in half "
            "precision must be run in float32"
        )
    return Layer(
        stack=entry["stack"],
        layer=entry["layer"],
        after_final_norm=entry["after_final_norm"],
        context_free=entry["context_free"],
        chunk=chunk,
        position=position,
        token_id=token_id,
        special=special,
        vectors=vectors,
    )


def _check_file(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: the manifest lists it, and it is absent; remove the manifest and run again")
    size = path.stat().st_size
    if size != entry["size"]:
        raise ValueError(
            f"{path}: is {size} bytes, its manifest lists {entry['size']}; remove the manifest and run again"
        )
    digest = file_sha256(path)
    if digest != entry["sha256"]:
        raise ValueError(
            f"{path}: has sha256 {digest}, its manifest lists {entry['sha256']}; remove the manifest and run again"
        )

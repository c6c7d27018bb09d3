"""Lay a model out as the hub does: configuration, tokenizer files and weights, in one of three formats."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lm_geometry.demo.recipes import SHARDED_SAFETENSORS, TORCH_BIN
from lm_geometry.tables.files import file_sha256

# The models are small; a shard holds at most this share of one, so that there are several.
LARGEST_SHARD = 1 / 3

_ROLES = {
    "config.json": "config",
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "tokenizer",
    "model.safetensors.index.json": "index",
    "generation_config.json": "other",
}


def save_revision(model: PreTrainedModel, folder: Path, layout: str, tokenizer_files: Iterable[Path]) -> None:
    """Write one revision of a model into ``folder``, with its head.

    Parameters
    ----------
    model : PreTrainedModel
        The model; its weights are stored under the names that the hub uses.
    layout : str
        SAFETENSORS, SHARDED_SAFETENSORS or TORCH_BIN of ``demo.recipes``.
    tokenizer_files : iterable of Path
        Copied beside the weights.
    """
    n_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    share = LARGEST_SHARD if layout == SHARDED_SAFETENSORS else 1
    model.save_pretrained(folder, max_shard_size=math.ceil(n_bytes * share))
    if layout == TORCH_BIN:
        _replace_by_torch_bin(folder / "model.safetensors")
    for file in tokenizer_files:
        (folder / file.name).write_bytes(file.read_bytes())


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Return a row of ``tables.listing`` for every file under ``folder``, by path; their roles follow their names."""
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder))
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "role": _ROLES.get(path.name, "weights"),
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in paths
    ]


def _replace_by_torch_bin(path: Path) -> None:
    # transformers 5 writes no .bin, and a model's own state_dict bears other names than the hub's files.
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()

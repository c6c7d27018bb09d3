"""A model's own config.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXT_PART = "text_config"
"""Models of text and images keep the text model's sizes in a part of their own (Gemma 3)."""

TAKE_THE_ORIGINAL = "take the repository of the original weights, of which this one is a quantized copy"


def read_config(path: Path) -> dict[str, Any]:
    """Return a model's config.json.

    Raises
    ------
    ValueError
        If it is no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); fetch it again") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds a {type(config).__name__}, not an object; fetch it again")
    return config


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of the text model in a config of text and images; empty where there is none."""
    part = config.get(TEXT_PART)
    return part if isinstance(part, Mapping) else {}


def check_config_not_quantized(config: Mapping[str, Any]) -> None:
    """Refuse a model whose config.json says that its weights are quantized; ValueError names the method."""
    for part in (config, text_part(config)):
        found = part.get("quantization_config")
        if found:
            method = found.get("quant_method", "unnamed") if isinstance(found, Mapping) else found
            raise ValueError(
                "config.json: quantization_config says that the weights are quantized (method "
                f"{ascii(str(method)[:80])[1:-1]}): {TAKE_THE_ORIGINAL}"
            )

"""A model's own config.json."""

import json
from pathlib import Path
from typing import Any


def read_config(path: Path) -> dict[str, Any]:
    """Return a model's config.json.

    Raises
    ------
    ValueError
        If it is no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds a {type(config).__name__}, not an object")
    return config

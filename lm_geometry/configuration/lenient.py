"""Look into a config that may be malformed: what is absent or of the wrong kind reads as empty."""

from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]


def value_at(config: Any, *keys: str) -> Any:
    """Return the value at a path of keys, None if there is none."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def mapping_at(config: Any, *keys: str) -> Mapping[str, Any]:
    """Return the mapping at a path of keys, less names that are no text; empty if there is none."""
    found = value_at(config, *keys)
    return {name: item for name, item in found.items() if isinstance(name, str)} if isinstance(found, dict) else {}


def texts_at(config: Any, *keys: str) -> list[tuple[Path, str]]:
    """Return the texts in the list at a path of keys, each with its own path; empty if there is no list."""
    found = value_at(config, *keys)
    if not isinstance(found, list):
        return []
    return [((*keys, index), item) for index, item in enumerate(found) if isinstance(item, str)]


def text_at(config: Any, *keys: str) -> str | None:
    """Return the text at a path of keys, None if there is none."""
    found = value_at(config, *keys)
    return found if isinstance(found, str) else None


def count_at(config: Any, *keys: str) -> int | None:
    """Return the positive whole number at a path of keys, None if there is none."""
    found = value_at(config, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

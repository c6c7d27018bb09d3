"""The order in which people read names with numbers in them."""

import re


def natural_key(name: str) -> tuple[tuple[str, float], ...]:
    """Return a sort key that compares numbers in names as numbers: pythia-1b before pythia-1.4b before pythia-12b."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return tuple(zip(parts[::2], [*map(float, parts[1::2]), -1.0], strict=True))

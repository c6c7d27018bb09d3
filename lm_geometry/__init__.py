"""The geometry of language models' embeddings and hidden states.

The public functions are named here and imported on first use, so that a job that plots does not load torch.
"""

from importlib import import_module
from typing import Any

from lm_geometry.version import __version__

_HOMES = {
    "TwoNN": "lm_geometry.geometry.intrinsic_dimension",
    "anisotropy": "lm_geometry.geometry.spectrum",
    "measure_geometry": "lm_geometry.geometry.measures",
    "read_embedding_table": "lm_geometry.embeddings.table",
    "two_nn": "lm_geometry.geometry.intrinsic_dimension",
}

__all__ = ["TwoNN", "__version__", "anisotropy", "measure_geometry", "read_embedding_table", "two_nn"]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lm_geometry' has no attribute '{name}'; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# No test reaches a model hub; without this the hub client retries for half a minute before it gives up.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of the project: tokenizers, judged collections, enwik8's first 4 MB, a tiny Llama."""
    folder = Path(os.environ.get("LM_GEOMETRY_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real test data; {folder} is absent (set LM_GEOMETRY_TEST_DATA to its folder)")
    return folder

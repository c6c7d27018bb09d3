"""What jobs ask for follows from what is known of their inputs."""

import pyarrow as pa
import pytest

from lm_geometry import plan
from lm_geometry.tables import hidden_states, listing
from lm_geometry.tables.collection import TEXTS
from lm_geometry.tables.files import write_table


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "listing.parquet"
    rows = [
        {"path": "config.json", "role": "config", "size": 10**9, "sha256": None},
        {"path": "model.safetensors", "role": "weights", "size": 2 * 10**9, "sha256": "a"},
    ]
    write_table(path, pa.Table.from_pylist(rows, schema=listing.SCHEMA), listing.SCHEMA)
    return str(path)


def test_weights_decide_the_memory_of_a_forward_pass(checkpoint):
    assert plan.weights_mb(checkpoint) == 2000
    # Half-precision weights become float32, while the file is still being read.
    assert plan.forward_memory_mb(checkpoint) >= 2 * 2000 + 2000
    assert plan.extraction_memory_mb(checkpoint) >= 3 * 2000
    assert plan.forward_minutes(checkpoint) > 15


def test_scoring_holds_the_widest_table_in_float32_and_float64(tmp_path):
    path = tmp_path / "corpus.parquet"
    write_table(path, pa.table({"id": ["a", "b"] * 500, "text": [""] * 1000}, schema=TEXTS), TEXTS)
    narrow, wide = (plan.scoring_memory_mb([str(path)], width, "legacy_bf16") for width in (0, 14336))
    assert wide - narrow == round(1000 * 14336 * 12 / 1e6)
    assert plan.scoring_memory_mb([str(path)], 0, "torch") > narrow


def test_measuring_holds_one_layer(tmp_path):
    path = tmp_path / "manifest.parquet"
    row = {"file": "x", "stack": "decoder", "after_final_norm": False, "context_free": False, "size": 1, "sha256": ""}
    rows = [{**row, "layer": layer, "n_rows": 10**5, "width": width} for layer, width in enumerate((64, 1000))]
    write_table(path, pa.Table.from_pylist(rows, schema=hidden_states.MANIFEST), hidden_states.MANIFEST)
    assert plan.measuring_memory_mb(str(path)) == plan.LIGHT_MB + 400 + 1200


def test_an_input_that_is_yet_to_be_made_raises_the_error_that_snakemake_waits_for(tmp_path):
    """Snakemake knows it by the name in the error, which must be just the one it gave."""
    name = str(tmp_path / "none.parquet")
    with pytest.raises(FileNotFoundError) as caught:
        plan.weights_mb(name)
    assert caught.value.filename == name


def test_resources_grow_with_the_inputs():
    class Inputs:
        size_mb = 2000

    assert plan.memory_mb(400, per_input=2)(None, Inputs) == 4400
    assert plan.minutes(5, per_gb=3)(None, Inputs) == 11
    assert plan.memory_mb(400)(None, None) == 400

"""What only a GPU can show; skipped where there is none."""

import numpy as np
import pytest
import torch
from tiny_models import build_model, save_safetensors
from tiny_run import Run

from lm_geometry.hidden_states import LayerModel
from lm_geometry.tables.files import read_table

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

_IDS = np.arange(24).reshape(2, 12) % 60 + 5
_SETTINGS = {"n_batches": 3, "batch_size": 60, "duplicate_tolerance": 1e-5, "seed": 5}


@pytest.mark.parametrize("family", ["gpt_neox", "t5", "bert", "llama"])
def test_states_are_those_of_the_cpu(tmp_path, family):
    folder = save_safetensors(build_model(family), tmp_path)
    there, here = (LayerModel(folder, device=device).states(_IDS) for device in ("cuda", "cpu"))
    for key, states in here.items():
        assert there[key].device.type == "cuda"
        np.testing.assert_allclose(there[key].cpu(), states, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("room", [{"gpu": 30_000, "cpu": "1GB"}, {"gpu": 30_000, "cpu": 10_000}])
def test_a_model_that_is_larger_than_its_gpu_gives_the_same_states(tmp_path, room):
    folder = save_safetensors(build_model("gpt_neox"), tmp_path / "mine")
    plain = LayerModel(folder, device="cuda").states(_IDS)
    with LayerModel(folder, device="cuda", max_memory=room, offload_dir=tmp_path) as spread:
        states = spread.states(_IDS)
    for key in plain:
        np.testing.assert_allclose(states[key].cpu(), plain[key].cpu(), rtol=1e-4, atol=1e-5)


def test_a_stream_on_a_gpu_gives_what_the_cpu_gives(tmp_path):
    run = Run(tmp_path)
    there, here = (run.stream(device, device=device, **_SETTINGS) for device in ("cuda", "cpu"))
    for ours, theirs in zip(there, here, strict=True):
        ours, theirs = read_table(ours), read_table(theirs)
        assert ours.select(["layer", "statistic"]).equals(theirs.select(["layer", "statistic"]))
        found, expected = (np.array(table["value"].to_pylist(), dtype=float) for table in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)


def test_moments_that_the_gpu_has_no_room_for_are_held_in_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lm_geometry.hidden_states.holding._room_on_gpus", lambda: {"cuda:0": 40_000})
    run = Run(tmp_path)
    there, here = (run.stream(device, device=device, **_SETTINGS) for device in ("cuda", "cpu"))
    assert "are held in the machine's" in caplog.text
    for ours, theirs in zip(there, here, strict=True):
        found, expected = (np.array(read_table(path)["value"].to_pylist(), dtype=float) for path in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)

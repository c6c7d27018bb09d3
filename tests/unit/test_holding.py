"""Where what is measured of layers is held while a model runs: stand-ins for GPUs."""

import pytest
import torch

from lm_geometry.hidden_states import LayerKey, holding, streaming
from lm_geometry.hidden_states.holding import Holding, choose_places
from lm_geometry.hidden_states.passes import Pass
from lm_geometry.memory_shares import held_bytes

_KEYS = [LayerKey("decoder", layer, False) for layer in range(3)]


def test_layers_are_held_where_there_is_room():
    def places(needed, room, device="cuda:0"):
        found = choose_places(dict.fromkeys(_KEYS, device), dict.fromkeys(_KEYS, needed), room)
        return [found[key] for key in _KEYS]

    assert places(10, {"cuda:0": 30}) == ["cuda:0"] * 3
    assert places(10, {"cuda:0": 29}) == ["cuda:0", "cuda:0", "cpu"]
    assert places(10, {"cuda:0": 9, "cuda:1": 20, "cuda:2": 15}) == ["cuda:1", "cuda:2", "cuda:1"]
    assert places(10, {}, device="cpu") == ["cpu"] * 3


class _State:
    """A layer's states on a device that is not here."""

    shape = (2, 5, 8)

    def __init__(self, device):
        self.device = device

    def to(self, device):
        return _State(device)


def test_states_go_where_their_layer_is_held_from_the_first_pass_on(monkeypatch, caplog):
    room = [{"cuda:0": 2 * held_bytes(8, 4, 16)}]
    monkeypatch.setattr(holding, "_room_on_gpus", lambda: room.pop())  # asked once
    held = Holding(n_chunks=4, batch_size=16)
    for _ in range(2):
        moved = held.moved(Pass([], {key: _State("cuda:0") for key in _KEYS}))
        assert [moved.states[key].device for key in _KEYS] == ["cuda:0", "cuda:0", "cpu"]
    assert "has room to measure 2 of 3 layers" in caplog.text


def test_on_a_cpu_nothing_moves_and_nothing_is_said(caplog):
    states = {key: torch.zeros(2, 5, 8) for key in _KEYS}
    moved = Holding(n_chunks=4, batch_size=16).moved(Pass([], states))
    assert all(moved.states[key] is states[key] for key in _KEYS)
    assert caplog.text == ""


def test_a_gpu_without_room_for_the_measures_is_one_line():
    with (
        pytest.raises(
            ValueError, match=r"does not fit into GPU memory beside the model \(CUDA out of memory.*set a lower"
        ),
        streaming._gpu_memory_named(),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

"""Where the moments and drawn rows of layers are held while a model runs: on GPUs as far as they have room."""

import logging
from collections.abc import Mapping

from lm_geometry.hidden_states.layer_model import LayerKey
from lm_geometry.hidden_states.passes import Pass
from lm_geometry.memory_shares import SHARE_FOR_HELD, held_bytes

HOST = "cpu"

log = logging.getLogger(__name__)


class Holding:
    """Brings each layer's states to where what is kept of them is held, the same place from the first pass on.

    The places are chosen before anything is held: a sum that a GPU has no room for midway is half added up.

    Parameters
    ----------
    n_chunks, batch_size : int
        Chunks of the corpus, and rows that are drawn of each layer.
    """

    def __init__(self, n_chunks: int, batch_size: int) -> None:
        self._n_chunks = n_chunks
        self._batch_size = batch_size
        self._places: dict[LayerKey, str] = {}

    def moved(self, passed: Pass) -> Pass:
        """Return a pass with each layer's states where the layer is held."""
        if not self._places:
            self._choose(passed)
        return Pass(passed.batch, {key: states.to(self._places[key]) for key, states in passed.states.items()})

    def _choose(self, passed: Pass) -> None:
        devices = {key: str(states.device) for key, states in passed.states.items()}
        needed = {
            key: held_bytes(states.shape[2], self._n_chunks, self._batch_size) for key, states in passed.states.items()
        }
        room = _room_on_gpus() if any(device != HOST for device in devices.values()) else {}
        self._places = choose_places(devices, needed, room)
        in_memory = [key for key, place in self._places.items() if place == HOST]
        if room and in_memory:
            log.warning(
                "the GPU memory beside the model has room to measure %d of %d layers; the others are held in the "
                "machine's (%.3g GB) and measured by the CPU, which is slower",
                len(devices) - len(in_memory),
                len(devices),
                sum(needed[key] for key in in_memory) / 1e9,
            )


def choose_places(
    devices: Mapping[LayerKey, str], needed: Mapping[LayerKey, int], room: Mapping[str, int]
) -> dict[LayerKey, str]:
    """Return where each layer is held: where its states are if there is room, else where there is most, else in memory.

    Parameters
    ----------
    devices : mapping
        Where each layer's states are.
    needed : mapping
        Bytes that are held of each.
    room : mapping
        Bytes that each GPU has for it.
    """
    left = dict(room)
    places = {}
    for key, device in devices.items():
        emptiest = max(left, key=left.__getitem__, default=HOST)
        place = next((gpu for gpu in (device, emptiest) if left.get(gpu, 0) >= needed[key]), HOST)
        if place in left:
            left[place] -= needed[key]
        places[key] = place
    return places


def _room_on_gpus() -> dict[str, int]:
    import torch

    torch.cuda.empty_cache()
    gpus = range(torch.cuda.device_count())
    return {f"cuda:{gpu}": int(SHARE_FOR_HELD * torch.cuda.mem_get_info(gpu)[0]) for gpu in gpus}

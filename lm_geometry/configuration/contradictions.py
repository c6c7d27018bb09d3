"""Settings of the dynamics study that cannot both be meant; looks at what was given, not at defaults."""

from collections.abc import Iterator
from typing import Any

from lm_geometry.configuration.lenient import mapping_at, text_at, value_at
from lm_geometry.configuration.names import DYNAMICS
from lm_geometry.configuration.wording import say


def find_contradictions(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line ``key: value: fix`` for each setting that another one leaves without effect.

    Parameters
    ----------
    config : dict
        The config as it was read, without defaults.
    """
    yield from _two_lengths(config)
    yield from _nothing_to_keep(config)
    yield from _room_on_no_device(config)


def _two_lengths(config: dict[str, Any]) -> Iterator[str]:
    characters = value_at(config, DYNAMICS, "chunk_characters")
    if characters is not None and value_at(config, DYNAMICS, "chunk_tokens") is not None:
        yield say(
            (DYNAMICS, "chunk_characters"), characters, "chunk_tokens gives the length too; remove one of the two"
        )


def _nothing_to_keep(config: dict[str, Any]) -> Iterator[str]:
    if text_at(config, DYNAMICS, "hidden_states") != "stream":
        return
    if value_at(config, DYNAMICS, "keep_hidden_states") is True:
        fix = "`hidden_states: stream` stores none that could be kept; remove it, or set `hidden_states: dump`"
        yield say((DYNAMICS, "keep_hidden_states"), True, fix)


def _room_on_no_device(config: dict[str, Any]) -> Iterator[str]:
    device = text_at(config, DYNAMICS, "device")
    room, gpus = (mapping_at(config, DYNAMICS, key) for key in ("max_memory", "gpus"))
    if device == "cpu":
        fix = "`device: cpu` uses no GPU; remove it, or set `device: cuda`"
        if "gpu" in room:
            yield say((DYNAMICS, "max_memory", "gpu"), room["gpu"], fix)
        if gpus:
            yield say((DYNAMICS, "gpus"), gpus, fix)
    elif device == "cuda" and room and "gpu" not in room:
        yield say(
            (DYNAMICS, "max_memory"), room, "`device: cuda` needs the memory of each GPU too; add gpu, as in 70GB"
        )

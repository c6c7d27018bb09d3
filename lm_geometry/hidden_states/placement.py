"""Where a model's weights go: all on one device, or over GPUs, memory and disk where one device is too small."""

from collections.abc import Mapping

from lm_geometry.memory_limit import available_memory
from lm_geometry.memory_shares import SHARE_FOR_WEIGHTS

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")


def resolve_device(device: str) -> str:
    """Return 'cpu' or 'cuda'; 'auto' is cuda where there is one.

    Raises
    ------
    ValueError
        If there is no such device here.
    """
    import torch

    if device not in DEVICES:
        raise ValueError(f"device: {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda is asked for, but torch sees no CUDA device here; set `device: auto` or cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def spread_over(
    weight_bytes: int, device: str, max_memory: Mapping[str, str | int] | None
) -> dict[str | int, int] | None:
    """Return the bytes of weights that each place takes, None where ``device`` takes them all.

    Parameters
    ----------
    weight_bytes : int
        Bytes of all weights in the type that they are computed in.
    device : str
        'cpu' or 'cuda'. On 'cpu' no GPU is used.
    max_memory : mapping, optional
        Most bytes, or sizes such as '64GB', of 'cpu' and of each 'gpu'; by default 80 % of what is free.
        What is left over is read from disk whenever it is needed.

    Returns
    -------
    dict or None
        GPUs by number, then 'cpu', in the order in which they are filled.

    Raises
    ------
    ValueError
        If ``max_memory`` leaves ``device`` out or names anything else.
    """
    places = _free_bytes(device) if max_memory is None else _asked_bytes(device, max_memory)
    first = "cpu" if device == "cpu" else min(place for place in places if place != "cpu")
    return None if weight_bytes <= places[first] else places


def _free_bytes(device: str) -> dict[str | int, int]:
    import torch

    memory: dict[str | int, int] = {"cpu": int(SHARE_FOR_WEIGHTS * available_memory())}
    if device == "cpu":
        return memory
    free = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())}
    return {gpu: int(SHARE_FOR_WEIGHTS * size) for gpu, size in free.items()} | memory


def _asked_bytes(device: str, max_memory: Mapping[str, str | int]) -> dict[str | int, int]:
    import torch
    from accelerate.utils import convert_file_size_to_int

    asked = {}
    for place, size in max_memory.items():
        if place not in ("cpu", "gpu"):
            raise ValueError(f"max_memory: {place!r} is neither cpu nor gpu")
        try:
            asked[place] = convert_file_size_to_int(size)
        except ValueError as error:
            raise ValueError(f"max_memory: {place}: {size!r} is no size; write bytes, or a unit as in 64GB") from error
    needed = "gpu" if device == "cuda" else "cpu"
    if needed not in asked:
        raise ValueError(f"max_memory: the device is {device}, but it does not name {needed}")
    gpus = dict.fromkeys(range(torch.cuda.device_count()), asked["gpu"]) if device == "cuda" else {}
    return gpus | ({"cpu": asked["cpu"]} if "cpu" in asked else {})

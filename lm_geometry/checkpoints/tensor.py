"""What is known of a tensor without reading it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorInfo:
    """Shape and stored type of a tensor; ``dtype`` is torch's name, such as 'bfloat16'."""

    shape: tuple[int, ...]
    dtype: str

"""The embedded models as data: what each one is, how it is trained and how it is laid out. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# The files that hold a revision's weights, as they are met on the hub.
SAFETENSORS = "safetensors"
SHARDED_SAFETENSORS = "sharded safetensors"
TORCH_BIN = "torch bin"

GPT_NEOX = "gpt_neox"
BERT = "bert"

FINAL_REVISION = "main"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one embedded model is built and trained.

    Parameters
    ----------
    architecture : str
        ``gpt_neox`` (decoder, next-token prediction) or ``bert`` (encoder, masked language model).
    width, n_heads, n_layers : int
        Hidden size, attention heads (they divide the width) and blocks; the feed-forward layer is 4 widths wide.
    initializer_range : float
        Standard deviation of the initial weights.
    steps, batch_size, sequence_length : int
        Optimizer steps; windows per step; tokens per window.
    learning_rate : float
        Peak of the schedule: linear rise over the first tenth of the steps, then a cosine to a tenth of the peak.
    checkpoint_steps : tuple of int
        Steps that are saved as revisions ``step<n>``; the final state is always saved as ``main``.
    layout : str
        How the weights are stored.
    expected_gain : float or None
        Nats by which the held-out loss must lie under the unigram cross-entropy; None where nothing need be learned.
    masked_share : float
        Share of the tokens that are masked and predicted (encoders only).
    seed : int
        Seed of the initial weights, the windows and the masks.
    """

    architecture: str
    width: int
    n_heads: int
    steps: int
    batch_size: int
    sequence_length: int
    learning_rate: float
    n_layers: int = 3
    initializer_range: float = 0.02
    checkpoint_steps: tuple[int, ...] = ()
    layout: str = SAFETENSORS
    expected_gain: float | None = None
    masked_share: float = 0.0
    seed: int = 0

    @property
    def tokenizer(self) -> str:
        """Name of the tokenizer's recipe, the same as the architecture's."""
        return self.architecture

    @property
    def revisions(self) -> list[str]:
        """Names of the revisions that training saves, in the order of their steps; ``main`` is the final state."""
        return [*(f"step{step}" for step in self.checkpoint_steps), FINAL_REVISION]


def _decoder(width: int, n_heads: int, **changed: object) -> Recipe:
    fields = {"steps": 256, "batch_size": 8, "sequence_length": 256, "learning_rate": 5e-3, **changed}
    return Recipe(architecture=GPT_NEOX, width=width, n_heads=n_heads, **fields)


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "neox-16": _decoder(16, 2, expected_gain=0.7),
        "neox-32": _decoder(32, 4, expected_gain=0.7, layout=TORCH_BIN),
        "neox-64": _decoder(64, 4, expected_gain=1.0, checkpoint_steps=(0, 1, 4, 16, 64, 128, 256)),
        "neox-128": _decoder(128, 4, expected_gain=1.0, layout=SHARDED_SAFETENSORS),
        "bert-64": Recipe(
            architecture=BERT, width=64, n_heads=4, steps=1000, batch_size=8, sequence_length=128, learning_rate=3e-3,
            initializer_range=0.125, masked_share=0.3, expected_gain=0.0,
        ),
        # For tests of the workflow: real files of every layout within seconds, which have learned next to nothing.
        "tiny-neox-8": _decoder(8, 1, n_layers=2, steps=4, batch_size=4, sequence_length=64, layout=TORCH_BIN),
        "tiny-neox-16": _decoder(
            16, 2, n_layers=2, steps=8, batch_size=4, sequence_length=64, layout=SHARDED_SAFETENSORS,
            checkpoint_steps=(0, 2, 8),
        ),
        "tiny-bert-16": Recipe(
            architecture=BERT, width=16, n_heads=2, n_layers=2, steps=4, batch_size=4, sequence_length=64,
            learning_rate=3e-3, masked_share=0.3,
        ),
    }
)  # fmt: skip

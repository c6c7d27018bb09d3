"""A pretrained model that gives the states of all its layers."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from lm_geometry.checkpoints.listed_file import CONFIG
from lm_geometry.error_words import one_line
from lm_geometry.hidden_states.final_norm import FinalNorm
from lm_geometry.hidden_states.loading import load_model
from lm_geometry.hidden_states.placement import DTYPES, resolve_device

log = logging.getLogger(__name__)


class LayerKey(NamedTuple):
    """Names one layer of a model."""

    stack: str
    layer: int
    after_final_norm: bool


class LayerModel:
    """A pretrained model that gives the states of all its layers; no dropout, no gradients.

    To be closed where it may be larger than its device: it keeps folders then.

    Parameters
    ----------
    folder : Path
        Holds config.json and the weights.
    files : sequence of str, optional
        The files of the folder to load from, should others lie beside them that transformers would read first.
    device : str
        'cpu', 'cuda', or 'auto' for cuda where there is one.
    dtype : str
        What weights and activations are: 'float32', or 'bfloat16' or 'float16', whose states are rounded.
    max_memory : mapping, optional
        Most memory that weights may take, of 'cpu' and of each 'gpu'; by default most of what is free. A
        model that is larger than its device is spread over the GPUs, memory and disk.
    offload_dir : Path, optional
        Where a folder for weights on disk is made, to be removed with the model; the system's own place by default.
    safetensors : bool
        Which weight format to load, should the folder hold both.
    trust_remote_code : bool
        Whether to run the folder's own Python files, should its config.json name any; without it no code is run.

    Attributes
    ----------
    kind : str
        'encoder', 'decoder' or 'encoder-decoder'.
    device : str
        Where the model runs: 'cpu' or 'cuda'.
    dtype : str
        As given.
    reads_files : bool
        Whether the model reads the folder's files while it runs.
    max_length : int or None
        Longest sequence that the model has positions for.
    vocab_rows : int
        Rows of its embedding table.

    Raises
    ------
    ValueError
        If the checkpoint lacks weights that the states depend on, its kind cannot be told, or a setting does not fit
        this machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: Sequence[str] | None = None,
        device: str = "auto",
        dtype: str = "float32",
        max_memory: Mapping[str, str | int] | None = None,
        offload_dir: Path | None = None,
        safetensors: bool = True,
        trust_remote_code: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype: {dtype!r} is not one of {', '.join(DTYPES)}")
        if dtype != "float32":
            log.warning("the model runs in %s: its states carry that rounding, whatever is measured of them", dtype)
        self.device = resolve_device(device)
        self.dtype = dtype
        with ExitStack() as stack:
            self._model, self.kind, self.reads_files = load_model(
                folder,
                stack,
                files=files,
                device=self.device,
                dtype=dtype,
                max_memory=max_memory,
                offload_dir=offload_dir,
                safetensors=safetensors,
                trust_remote_code=trust_remote_code,
            )
            self._kept = stack.pop_all()
        self.max_length = _max_length(self._model)
        self.vocab_rows = self._model.get_input_embeddings().weight.shape[0]
        if self.kind == "encoder-decoder":
            stacks = {"encoder": self._model.get_encoder(), "decoder": self._model.get_decoder()}
        else:
            stacks = {self.kind: self._model}
        self._norms = {stack: FinalNorm(module) for stack, module in stacks.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folders that the model kept; it cannot run after that if it was spread."""
        self._kept.close()

    def states(self, ids: np.ndarray) -> dict[LayerKey, Any]:
        """Return the states of all layers as float32 tensors of shape (sequences, length, width).

        An encoder-decoder gets the same tokens in both stacks: what its decoder would see of a text it is given, the
        encoder attending to the whole of it.

        Parameters
        ----------
        ids : ndarray of int
            Token ids, shape (sequences, length).
        """
        import torch

        tokens = torch.from_numpy(ids.astype(np.int64)).to(self.device)
        inputs = {"input_ids": tokens}
        if self.kind == "encoder-decoder":
            inputs["decoder_input_ids"] = tokens
        with torch.inference_mode():
            output = self._output(**inputs)
            return {key: state.float() for key, state in self._named(output).items()}

    def _output(self, **inputs: Any) -> Any:
        """Run the model; whatever its own code fails at is what config.json made of it, but for lack of memory."""
        from accelerate.utils.memory import should_reduce_batch_size

        try:
            return self._model(**inputs, output_hidden_states=True, return_dict=True)
        except Exception as error:
            if should_reduce_batch_size(error):
                raise
            problem = f"{CONFIG}: the {self.kind} that transformers builds from it cannot run ({one_line(error)})"
            raise ValueError(f"{problem}; correct the value, or fetch it again") from error

    def _named(self, output: Any) -> dict[LayerKey, Any]:
        """Return the states of transformers' output by their names, those before a final norm among them."""
        found: dict[LayerKey, Any] = {}
        for stack, norm in self._norms.items():
            states = output[f"{stack}_hidden_states" if self.kind == "encoder-decoder" else "hidden_states"]
            *inner, last = states
            found.update({LayerKey(stack, layer, False): state for layer, state in enumerate(inner)})
            if norm.taken_in is not None:
                norm.check_gives(last)
                found[LayerKey(stack, len(inner), False)] = norm.taken_in
            found[LayerKey(stack, len(inner), norm.taken_in is not None)] = last
        return found


def _max_length(model: Any) -> int | None:
    """Return how many positions the model has; None where positions are relative and unbounded (T5, BLOOM)."""
    from torch import nn

    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa counts positions from behind its padding index: 514 rows are 512 positions.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return positions

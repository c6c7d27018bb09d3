"""Forward passes: the vector of every token at every layer, with its chunk and position.

Layers are numbered as transformers numbers ``hidden_states``: 0 is what enters the first block, L leaves the last one.
Where a stack ends in a norm, transformers' last entry is behind it and all others are not; here layer L stands twice,
before the norm and behind it, each under its own name.

Sequences of equal length run together and no other do, so there is no padding, no attention mask, and every number is
the one that the plain pass over the same batch gives, bit for bit.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np

from lm_geometry.checkpoints.listed_file import CONFIG
from lm_geometry.checkpoints.model_config import read_config
from lm_geometry.checkpoints.revision import first_line

# Tokens per forward pass: bounds the memory of all layers' states (1.1 GB for 32 layers of 4096 in float32).
BATCH_TOKENS = 2048


class LayerKey(NamedTuple):
    """Names one layer of a model."""

    stack: str
    layer: int
    after_final_norm: bool


@dataclass(frozen=True)
class TokenSequence:
    """The tokens of one chunk; ``special`` marks those that the tokenizer added. Both arrays have shape (n,)."""

    chunk: int
    ids: np.ndarray
    special: np.ndarray
    truncated: bool


def tokenize_chunks(
    tokenizer: Path, chunks: Sequence[int], texts: Sequence[str], max_length: int | None
) -> list[TokenSequence]:
    """Encode chunks with the special tokens that tokenizer.json adds; empty ones are left out.

    Parameters
    ----------
    tokenizer : Path
        A tokenizer.json.
    chunks, texts : sequence
        Number and text of each chunk.
    max_length : int or None
        Longest sequence the model takes, special tokens counted; a longer one is cut and marked ``truncated``.
    """
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.no_truncation()
    if max_length is not None:
        encoder.enable_truncation(max_length=max_length)
    encoded = encoder.encode_batch(list(texts))
    return [
        TokenSequence(
            chunk=chunk,
            ids=np.array(found.ids, dtype=np.int32),
            special=np.array(found.special_tokens_mask, dtype=bool),
            truncated=bool(found.overflowing),
        )
        for chunk, found in zip(chunks, encoded, strict=True)
        if found.ids
    ]


def equal_length_batches(
    sequences: Sequence[TokenSequence], batch_tokens: int = BATCH_TOKENS
) -> Iterator[list[TokenSequence]]:
    """Yield batches of sequences of one length, shortest first; chunks keep their order within a length.

    A batch holds at most ``batch_tokens`` tokens, and at least one sequence.
    """
    by_length: dict[int, list[TokenSequence]] = {}
    for sequence in sequences:
        by_length.setdefault(len(sequence.ids), []).append(sequence)
    for length in sorted(by_length):
        size = max(1, batch_tokens // length)
        for start in range(0, len(by_length[length]), size):
            yield by_length[length][start : start + size]


class LayerModel:
    """A pretrained model that gives the states of all its layers; float32, no dropout, no gradients.

    Parameters
    ----------
    folder : Path
        Holds config.json and the weights.
    files : sequence of str, optional
        The files of the folder to load from, should others lie beside them that transformers would read first.
    device : str
        'cpu', 'cuda', or 'auto' for cuda where there is one.
    safetensors : bool
        Which weight format to load, should the folder hold both.
    trust_remote_code : bool
        Whether to run the folder's own Python files, should its config.json name any; without it no code is run.

    Attributes
    ----------
    kind : str
        'encoder', 'decoder' or 'encoder-decoder'.
    device : str
        Where the model runs.
    max_length : int or None
        Longest sequence that the model has positions for.
    vocab_rows : int
        Rows of its embedding table.

    Raises
    ------
    ValueError
        If the checkpoint lacks weights that the states depend on, or its kind cannot be told.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: Sequence[str] | None = None,
        device: str = "auto",
        safetensors: bool = True,
        trust_remote_code: bool = False,
    ) -> None:
        import torch

        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._model = _load(folder, files, safetensors, trust_remote_code).to(self.device)
        self.kind = model_kind(self._model.config)
        self.max_length = _max_length(self._model)
        self.vocab_rows = self._model.get_input_embeddings().weight.shape[0]
        if self.kind == "encoder-decoder":
            stacks = {"encoder": self._model.get_encoder(), "decoder": self._model.get_decoder()}
        else:
            stacks = {self.kind: self._model}
        self._norms = {stack: _FinalNorm(module) for stack, module in stacks.items()}

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
            output = self._model(**inputs, output_hidden_states=True)
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


class _FinalNorm:
    """Watches one stack for a norm that runs after its last block, and keeps what goes into it.

    No list of names: blocks are the members of the stack's module lists, and the final norm is the norm outside of
    them that runs when they are done. Post-norm models have none.
    """

    def __init__(self, stack: Any) -> None:
        from torch import nn

        self.taken_in: Any = None
        self._given_out: Any = None
        self._name = ""
        lists = [f"{name}." for name, module in stack.named_modules() if isinstance(module, nn.ModuleList)]
        for name, module in stack.named_modules():
            if any(name.startswith(prefix) for prefix in lists):
                module.register_forward_hook(self._block_is_done)
            elif type(module).__name__.endswith("Norm"):
                self._watch(name, module)

    def _watch(self, name: str, module: Any) -> None:
        def keep(_module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            self.taken_in, self._given_out, self._name = inputs[0], output, name

        module.register_forward_hook(keep)

    def _block_is_done(self, *_: Any) -> None:
        self.taken_in = self._given_out = None

    def check_gives(self, last: Any) -> None:
        """Check that the stack's last hidden state is what the norm gave.

        Raises
        ------
        ValueError
            If something follows the norm, so that 'after the final norm' would be the wrong name.
        """
        import torch

        given, last_row = self._given_out.reshape(-1), last.reshape(-1)
        # NaN equals NaN here: a broken activation is another error, with its place.
        if given.shape != last_row.shape or not torch.allclose(given, last_row, rtol=0, atol=0, equal_nan=True):
            raise ValueError(
                f"the norm {self._name} runs after the last block, but its output (shape "
                f"{tuple(self._given_out.shape)}) is not the last hidden state (shape {tuple(last.shape)}); "
                "models of this shape are not supported"
            )


def model_kind(config: Any) -> str:
    """Return 'encoder', 'decoder' or 'encoder-decoder' from a transformers config.

    An encoder is a model type trained by masking, a decoder one trained to predict the next token; BERT-like types
    exist as both and say so by ``is_decoder``. What comes as code of its own says in ``auto_map`` which heads it has.

    Raises
    ------
    ValueError
        If the model type is neither.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if config.is_encoder_decoder:
        return "encoder-decoder"
    own = getattr(config, "auto_map", {})
    is_masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or "AutoModelForMaskedLM" in own
    if is_masked and not getattr(config, "is_decoder", False):
        return "encoder"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or "AutoModelForCausalLM" in own:
        return "decoder"
    raise ValueError(f"model_type {config.model_type!r} of config.json is neither a masked nor a causal language model")


def check_runs_no_code(config: Mapping[str, Any], trust_remote_code: bool) -> None:
    """Refuse a model that is Python code from its own repository, unless that is trusted.

    Parameters
    ----------
    config : mapping
        Its config.json. One that transformers knows by itself may name such code too; it is not run then.
    trust_remote_code : bool
        The config key of that name.

    Raises
    ------
    ValueError
        If there is no other way to build the model.
    """
    if trust_remote_code or "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"config.json: model_type {config.get('model_type')!r} is Python code that comes with the model, which is "
            "not run; if you have read it and trust it, set `trust_remote_code: true` for the model"
        )


def depends_on_token_only(ids: np.ndarray, values: np.ndarray) -> bool:
    """Return whether equal tokens have equal vectors: a look-up, perhaps scaled or normed, without a position.

    Parameters
    ----------
    ids : ndarray of int
        Token ids, shape (sequences, length).
    values : ndarray
        Vectors, shape (sequences, length, width).
    """
    _, first, kind = np.unique(ids, return_index=True, return_inverse=True)
    flat = values.reshape(-1, values.shape[-1])
    return bool((flat == flat[first[kind.reshape(-1)]]).all())


def non_finite(values: np.ndarray) -> tuple[int, int] | None:
    """Return (sequence, position) of the first NaN or infinity in states of shape (sequences, length, width)."""
    bad = np.argwhere(~np.isfinite(values).all(axis=2))
    return (int(bad[0, 0]), int(bad[0, 1])) if len(bad) else None


def _load(folder: Path, files: Sequence[str] | None, safetensors: bool, trust_remote_code: bool) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    check_runs_no_code(read_config(folder / CONFIG), trust_remote_code)
    try:
        with _no_load_report(), _alone(folder, files) as shown:
            model, found = AutoModel.from_pretrained(
                shown,
                dtype=torch.float32,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                use_safetensors=safetensors,
                weights_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, UnpicklingError, RuntimeError, OSError) as error:
        raise ValueError(f"{folder}: the weights cannot be loaded ({first_line(error)}); is the file whole?") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {first_line(error)}") from error
    # transformers fills what is missing with random numbers; only a pooler, which no hidden state depends on, may be.
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name.split("."))
    if missing:
        raise ValueError(
            f"{folder}: the weights lack {len(missing)} tensors of {type(model).__name__}, first {missing[0]}; "
            "its hidden states would be random"
        )
    return model.eval()


@contextmanager
def _alone(folder: Path, files: Sequence[str] | None) -> Iterator[Path]:
    """Yield a folder that shows these files of ``folder`` alone; the folder itself where none are named."""
    if files is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="lm-geometry-") as made:
        for name in files:
            place = Path(made) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to((folder / name).resolve())
        yield Path(made)


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Silence transformers' table of the head's weights left aside; weights that are missing are an error of ours."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _max_length(model: Any) -> int | None:
    """Return how many positions the model has; None where positions are relative and unbounded (T5, BLOOM)."""
    from torch import nn

    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa counts positions from behind its padding index: 514 rows are 512 positions.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return positions

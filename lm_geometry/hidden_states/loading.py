"""Read a pretrained model from a folder: no head, no dropout, all weights the states depend on, nothing fetched."""

import logging
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lm_geometry.checkpoints.listed_file import CONFIG
from lm_geometry.checkpoints.model_config import read_config
from lm_geometry.error_words import first_line, one_line
from lm_geometry.hidden_states.kinds import check_can_be_built, model_kind
from lm_geometry.hidden_states.offload import offload_folder
from lm_geometry.hidden_states.placement import spread_over

_NO_MODEL = f"{CONFIG}: transformers cannot build a model from it"
# What stands before the text model's weights in a checkpoint that reads images too.
_TEXT_MODEL_PREFIX = r"^(model\.)?language_model\.(model\.)?"
# What old checkpoints hold beside weights and newer code computes: causal masks, positions, frequencies; and the biases
# that T5's decoder had by mistake.
_COMPUTED = re.compile(
    r"(\.(attn|attention)\.(bias|masked_bias)|inv_freq|(cos|sin)_cached|causal_mask|position_ids|token_type_ids"
    r"|\.EncDecAttention\.relative_attention_bias\.weight)$"
)
# How families call the norm behind the last layer.
_FINAL_NORMS = {"final_layer_norm", "ln_f", "norm", "final_norm"}
# The deepest published models have some hundreds of layers; building a model of millions takes all day.
_MOST_LAYERS = 10_000

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A model, its kind, and whether it reads weights from the files while it runs."""

    model: Any
    kind: str
    reads_files: bool


def load_model(
    folder: Path,
    stack: ExitStack,
    *,
    files: Sequence[str] | None,
    device: str,
    dtype: str,
    max_memory: Mapping[str, str | int] | None,
    offload_dir: Path | None,
    safetensors: bool,
    trust_remote_code: bool,
) -> Loaded:
    """Load a model on its device, or spread it where that is too small.

    Parameters
    ----------
    folder, files, device, dtype, max_memory, offload_dir, safetensors, trust_remote_code
        As of ``LayerModel``.
    stack : ExitStack
        Keeps what must live as long as the model does.

    Raises
    ------
    ValueError
        As of ``LayerModel``.
    """
    import torch

    check_can_be_built(read_config(folder / CONFIG), trust_remote_code)
    torch_dtype = getattr(torch, dtype)
    own = {"trust_remote_code": trust_remote_code}
    try:
        with _no_load_report(), ExitStack() as while_loading:
            shown = while_loading.enter_context(_alone(folder, files))
            with failing(_NO_MODEL, "correct the value, or fetch it again"):
                config, text_model = _config(shown, own)
            _check_sizes(config)
            kind = model_kind(config)
            with failing(_NO_MODEL, "correct the value, or fetch it again"):
                weight_bytes = _weight_bytes(config, torch_dtype, own)
            places = spread_over(weight_bytes, device, max_memory)
            spread = _spread(places, stack, offload_dir)
            with failing("the weights cannot be loaded", "is the file whole?"):
                model, found = _from_pretrained(shown, torch_dtype, safetensors, {**own, **text_model, **spread})
            reads_files = "disk" in getattr(model, "hf_device_map", {}).values()
            if reads_files:
                stack.enter_context(while_loading.pop_all())
    except ValueError as error:
        raise ValueError(f"{folder}: {first_line(error)}") from error
    if kind == "encoder-decoder" and model.get_encoder() is model:
        raise ValueError(
            f"{folder}: {CONFIG}: is_encoder_decoder true, but a {type(model).__name__} has one stack; correct the "
            "value, or fetch it again"
        )
    _refuse_other_shapes(folder, found["mismatched_keys"])
    _refuse_missing(folder, model, found["missing_keys"])
    _refuse_left_out(folder, model, found["unexpected_keys"])
    return Loaded(model if places else model.to(device), kind, reads_files)


def _config(folder: Path, own: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the config of the text model, and what loads it alone where the checkpoint reads images too."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, **own)
    text = getattr(config, "text_config", None)
    if text is None:
        return config, {}
    log.info("model_type %r reads more than text; its text model %r runs alone", config.model_type, text.model_type)
    return text, {"config": text, "key_mapping": {_TEXT_MODEL_PREFIX: ""}}


def _weight_bytes(config: Any, dtype: Any, own: Mapping[str, Any]) -> int:
    from accelerate import init_empty_weights
    from transformers import AutoModel

    with init_empty_weights():
        model = AutoModel.from_config(config, **own)
    return sum(weight.numel() for weight in model.parameters()) * dtype.itemsize


def _check_sizes(config: Any) -> None:
    """Refuse sizes with which a model can be built but gives no states, or is never built."""
    for key, most in (("num_hidden_layers", _MOST_LAYERS), ("max_position_embeddings", None)):
        size = getattr(config, key, None)
        if size is not None and (size < 1 or (most and size > most)):
            allowed = f"between 1 and {most}" if most else "1 or more"
            raise ValueError(f"{CONFIG}: {key} {size}: it must be {allowed}; correct the value, or fetch it again")


def _spread(places: Mapping[str | int, int] | None, stack: ExitStack, offload_dir: Path | None) -> dict[str, Any]:
    """Return what makes transformers fill the places one after the other, and read the rest from disk."""
    if places is None:
        return {}
    room = ", ".join(f"{place}: {size / 1e9:.3g} GB" for place, size in places.items())
    log.warning("the model is larger than its device and is spread over %s, and disk; this is slow", room)
    folder = offload_folder(offload_dir or Path(tempfile.gettempdir()), stack)
    return {"device_map": "sequential", "max_memory": dict(places), "offload_folder": folder}


def _from_pretrained(folder: Path, dtype: Any, safetensors: bool, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModel

    model, found = AutoModel.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=safetensors,
        weights_only=True,
        output_loading_info=True,
        # transformers would refuse them without naming one; _refuse_other_shapes does.
        ignore_mismatched_sizes=True,
        **settings,
    )
    return model.eval(), found


def _refuse_other_shapes(folder: Path, mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Refuse weights of other shapes than config.json gives them, which transformers fills with random numbers."""
    for name, stored, expected in sorted(mismatched):
        raise ValueError(
            f"{folder}: {name} has the shape {tuple(stored)} in the weights, but {CONFIG} makes it {tuple(expected)} "
            f"({len(mismatched)} such tensors): they do not belong together; fetch both again"
        )


def _refuse_missing(folder: Path, model: Any, missing: Sequence[str]) -> None:
    """Refuse weights that are not there, which transformers fills with random numbers.

    A pooler, which no hidden state depends on, may be missing; it is left out.
    """
    pooler = [name for name in missing if "pooler" in name.split(".")]
    if pooler and getattr(model, "pooler", None) is not None:
        model.pooler = None
    needed = sorted(set(missing) - set(pooler))
    if needed:
        raise ValueError(
            f"{folder}: the weights lack {len(needed)} tensors of {type(model).__name__}, first {needed[0]}; "
            "its hidden states would be random; fetch the checkpoint whole"
        )


def _refuse_left_out(folder: Path, model: Any, unexpected: Collection[str]) -> None:
    """Refuse weights of the model's own parts that config.json makes no use of, which transformers leaves aside.

    Those of a head, a pooler or an image tower may be left aside; they stand beside the model's parts.
    """
    parts = {name for name, _ in model.named_children()}
    left_out = sorted(name for name in unexpected if _belongs_to(name, parts, model.base_model_prefix))
    if left_out:
        raise ValueError(
            f"{folder}: {CONFIG} makes a {type(model).__name__} of {model.config.num_hidden_layers} layers that leaves "
            f"out {len(left_out)} tensors of the weights, first {left_out[0]}: they do not belong together; fetch both "
            "again"
        )


def _belongs_to(name: str, parts: Collection[str], prefix: str) -> bool:
    """Return whether a tensor of a checkpoint, which may have the model's name before all, is of one of its parts."""
    if _COMPUTED.search(name):
        return False
    inner = re.sub(_TEXT_MODEL_PREFIX, "", name)
    for before in (f"{prefix}.", "model.", "transformer."):
        if before.rstrip(".") not in parts:
            inner = inner.removeprefix(before)
    return inner.partition(".")[0] in parts | _FINAL_NORMS


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
def failing(what: str, fix: str) -> Iterator[None]:
    """Turn whatever transformers' code and what it calls run into with damaged files into one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what} ({one_line(error)}); {fix}") from error


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

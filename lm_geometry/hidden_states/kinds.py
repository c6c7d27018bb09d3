"""What a config.json says a model is, before any of its weights are read."""

from collections.abc import Mapping
from typing import Any


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
    raise ValueError(
        f"model_type {config.model_type!r} of config.json is neither a masked nor a causal language model; "
        "leave the model out"
    )


def check_can_be_built(config: Mapping[str, Any], trust_remote_code: bool) -> None:
    """Refuse a model that transformers does not know, and one that is Python code of its own, unless that is trusted.

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
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    name, is_code = config.get("model_type"), "auto_map" in config
    if (isinstance(name, str) and name in CONFIG_MAPPING_NAMES) or (is_code and trust_remote_code):
        return
    if is_code:
        raise ValueError(
            f"config.json: model_type {name!r} is Python code that comes with the model, which is not run; if you have "
            "read it and trust it, set `trust_remote_code: true` for the model"
        )
    raise ValueError(
        f"config.json: model_type {name!r} is none that transformers {__version__} knows: no model can be built from "
        "it; leave the model out, or take its config.json from where it was published"
    )

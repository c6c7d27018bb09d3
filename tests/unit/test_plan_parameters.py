"""Parameter counts against transformers' own models, and against the published ones."""

import json

import pytest

from lm_geometry.plan.parameters import Parameters, count_parameters
from lm_geometry.plan.reference_models import reference_config, reference_rows

_SMALL = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "pad_token_id": 0,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_WIDE_HEADS = {**_GROUPED, "head_dim": 16}
_GPT2 = {"n_embd": 48, "n_layer": 3, "n_head": 4, "vocab_size": 100}
_OPT = {"hidden_size": 48, "ffn_dim": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100}
_FALCON = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100}
_T5 = {
    "d_model": 48,
    "d_ff": 80,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "d_kv": 8,
    "vocab_size": 100,
}
_CASES = {
    "gpt_neox": ("gpt_neox", _SMALL),
    "opt": ("opt", {**_OPT, "word_embed_proj_dim": 48}),
    "opt, projected": ("opt", {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gpt2": ("gpt2", _GPT2),
    "gptj": ("gptj", {**_GPT2, "rotary_dim": 4}),
    "bloom": ("bloom", {"hidden_size": 48, "n_layer": 3, "n_head": 4, "vocab_size": 100}),
    "falcon": ("falcon", _FALCON),
    "falcon, one key per head": ("falcon", {**_FALCON, "multi_query": False, "parallel_attn": False, "bias": True}),
    "falcon, grouped keys": ("falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "t5": ("t5", _T5),
    "t5, gated": ("t5", {**_T5, "feed_forward_proj": "gated-gelu"}),
    "bert": ("bert", _SMALL),
    "roberta": ("roberta", _SMALL),
    "albert": ("albert", {**_SMALL, "embedding_size": 16}),
    "albert, groups": ("albert", {**_SMALL, "num_hidden_layers": 4, "num_hidden_groups": 2, "embedding_size": 16}),
    "llama": ("llama", _GROUPED),
    "llama, biased": ("llama", {**_GROUPED, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", _GROUPED),
    "smollm3": ("smollm3", _GROUPED),
    "qwen2": ("qwen2", _GROUPED),
    "qwen3": ("qwen3", _WIDE_HEADS),
    "gemma": ("gemma", _WIDE_HEADS),
    "gemma2": ("gemma2", _WIDE_HEADS),
    "gemma3_text": ("gemma3_text", _WIDE_HEADS),
    "olmo": ("olmo", _GROUPED),
    "olmo2": ("olmo2", _GROUPED),
    "olmo3": ("olmo3", _GROUPED),
}


@pytest.mark.parametrize("tied", [None, True, False])
@pytest.mark.parametrize("case", _CASES)
def test_count_is_that_of_the_model_in_transformers(case, tied):
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    family, sizes = _CASES[case]
    stated = sizes if tied is None else {**sizes, "tie_word_embeddings": tied}
    config = AutoConfig.for_model(family, **stated)
    kinds = dict.fromkeys(("bert", "roberta", "albert"), AutoModel) | {"t5": AutoModelForSeq2SeqLM}
    with torch.device("meta"):
        model = kinds.get(family, AutoModelForCausalLM).from_config(config)
        base = AutoModel.from_config(config)
    found = count_parameters(json.loads(config.to_json_string()))
    assert found.total == model.num_parameters()
    assert found.loaded == base.num_parameters()


@pytest.mark.parametrize("row", reference_rows(), ids=lambda row: row["model"])
def test_count_is_the_published_one(row):
    """All 75 models of reference/models.csv, to the parameter."""
    assert count_parameters(reference_config(row)).total == int(row["n_params"])


def test_layers_that_share_their_weights_are_multiplied_once_each():
    albert = {"model_type": "albert", "max_position_embeddings": 512, **_SMALL, "embedding_size": 16}
    bert = {**albert, "model_type": "bert"}
    shared, own = count_parameters(albert), count_parameters(bert)
    assert shared.blocks * 3 == own.blocks
    assert shared.blocks * shared.passes == own.blocks * own.passes


def test_tables_are_looked_up_and_not_multiplied():
    assert Parameters(tables=1000, blocks=20, rest=3, head=1000).multiplied == 23


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "mamba", **_SMALL},
        {"model_type": "gpt_neox", "hidden_size": 48},
        {"model_type": "mistral", **_GROUPED, "num_local_experts": 8},
    ],
    ids=["no config", "unknown architecture", "a size is missing", "mixture of experts"],
)
def test_what_cannot_be_counted_is_not_guessed_here(config):
    assert count_parameters(config) is None

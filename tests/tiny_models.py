"""Tiny models of each family with random weights, and a tiny tokenizer, built from nothing but a config."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VOCAB_ROWS = 72
SENTENCE = "the cat sat on a mat and saw that dog run by it in one two three four five six"
WORDS = SENTENCE.split()

# Llama's settings, shared by the families that are built like it.
_ROTARY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


@dataclass(frozen=True)
class Family:
    """What is known of a family: the config, and the truth about its stacks that tests hold the code against."""

    config: str
    settings: dict
    head: str
    kind: str
    embedding_width: int
    # Paths in the bare model of the final norm and of the block list, per stack; None = no final norm.
    final_norm: dict
    blocks: dict
    context_free: bool


FAMILIES = {
    "gpt_neox": Family(
        "GPTNeoXConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "final_layer_norm"},
        {"decoder": "layers"},
        True,
    ),
    "opt": Family(
        "OPTConfig",
        {
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "decoder.final_layer_norm"},
        {"decoder": "decoder.layers"},
        False,
    ),
    "opt_350m": Family(
        "OPTConfig",
        {
            "hidden_size": 16,
            "word_embed_proj_dim": 8,
            "do_layer_norm_before": False,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForCausalLM",
        "decoder",
        8,
        {"decoder": None},
        {"decoder": "decoder.layers"},
        False,
    ),
    "bloom": Family(
        "BloomConfig",
        {"hidden_size": 16, "n_layer": 2, "n_head": 2},
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "ln_f"},
        {"decoder": "h"},
        True,  # look-up and LayerNorm: no position yet
    ),
    "t5": Family(
        "T5Config",
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
        "AutoModelForSeq2SeqLM",
        "encoder-decoder",
        16,
        {"encoder": "encoder.final_layer_norm", "decoder": "decoder.final_layer_norm"},
        {"encoder": "encoder.block", "decoder": "decoder.block"},
        True,
    ),
    "gpt2": Family(
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "bos_token_id": 0, "eos_token_id": 0},
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "ln_f"},
        {"decoder": "h"},
        False,
    ),
    "gptj": Family(
        "GPTJConfig",
        {
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 24,
            "rotary_dim": 4,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "ln_f"},
        {"decoder": "h"},
        True,
    ),
    "llama": Family(
        "LlamaConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "norm"},
        {"decoder": "layers"},
        True,
    ),
    "falcon": Family(
        "FalconConfig",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24},
        "AutoModelForCausalLM",
        "decoder",
        16,
        {"decoder": "ln_f"},
        {"decoder": "h"},
        True,
    ),
    "bert": Family(
        "BertConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForMaskedLM",
        "encoder",
        16,
        {"encoder": None},
        {"encoder": "encoder.layer"},
        False,
    ),
    "roberta": Family(
        "RobertaConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 26,
        },
        "AutoModelForMaskedLM",
        "encoder",
        16,
        {"encoder": None},
        {"encoder": "encoder.layer"},
        False,
    ),
    "albert": Family(
        "AlbertConfig",
        {
            "embedding_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 24,
        },
        "AutoModelForMaskedLM",
        "encoder",
        8,
        {"encoder": None},
        {"encoder": None},
        False,
    ),
    **{
        name: Family(
            config,
            {**_ROTARY, **settings},
            "AutoModelForCausalLM",
            "decoder",
            16,
            {"decoder": "norm"},
            {"decoder": "layers"},
            True,  # Gemma scales the look-up, which still depends on the token only
        )
        for name, config, settings in (
            ("qwen2", "Qwen2Config", {}),
            ("qwen3", "Qwen3Config", {"head_dim": 8}),
            ("gemma2", "Gemma2Config", {"head_dim": 8, "sliding_window": 16}),
            ("gemma3_text", "Gemma3TextConfig", {"head_dim": 8, "sliding_window": 16}),
            ("olmo2", "Olmo2Config", {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0}),
        )
    },
}


def build_model(family, *, head=True, tied=None, seed=0):
    """Return a model of a family; its weights are random and of ordinary size, norms and biases included.

    ``tied`` says whether the head shares the embedding table; None leaves it to the family's config.
    """
    import torch
    import transformers

    facts = FAMILIES[family]
    settings = facts.settings if tied is None else {**facts.settings, "tie_word_embeddings": tied}
    config = getattr(transformers, facts.config)(vocab_size=VOCAB_ROWS, **settings)
    torch.manual_seed(seed)
    model = getattr(transformers, facts.head if head else "AutoModel").from_config(config).eval()
    if head and tied is False:
        # T5's code ties the head whatever its config says; T5 v1.1 has one of its own.
        output = model.get_output_embeddings()
        output.weight = torch.nn.Parameter(output.weight.detach().clone())
    with torch.no_grad():
        for tensor in model.parameters():
            # Fresh norms are ones and zeros, in which a norm left out or applied twice would not show.
            tensor.add_(0.3 * torch.randn(tensor.shape))
    return model


def build_text_and_image_model():
    """Return a Gemma 3 that reads images too: its config.json keeps the text model's sizes in a part of their own."""
    import torch
    import transformers

    text = {"vocab_size": VOCAB_ROWS, **FAMILIES["gemma3_text"].settings}
    image = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**image, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=VOCAB_ROWS - 1,
        boi_token_index=VOCAB_ROWS - 2,
        eoi_token_index=VOCAB_ROWS - 3,
    )
    torch.manual_seed(0)
    return transformers.AutoModelForImageTextToText.from_config(config).eval()


def save_safetensors(model, folder, *, sharded=False):
    """Save a model as transformers lays it out: one safetensors file, or several and an index."""
    model.save_pretrained(folder, **({"max_shard_size": "2KB"} if sharded else {}))
    return Path(folder)


def save_bin(model, folder, *, sharded=False):
    """Save a model as pytorch_model.bin, or as two of them and an index."""
    import torch

    folder = Path(folder)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if not sharded:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    names = sorted(state)
    weight_map = {}
    for number, part in enumerate([names[::2], names[1::2]], start=1):
        shard = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / shard)
        weight_map.update(dict.fromkeys(part, shard))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def save_tokenizer(folder, *, special=True):
    """Save a word-level tokenizer of fewer tokens than VOCAB_ROWS; it wraps texts in <s> and </s> if ``special``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    # Ids 0 to 2 are what the tiny configs call padding, so that no ordinary token is.
    tokens = ["<unk>", "<pad>", "<none>", "<s>", "</s>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: row for row, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 3), ("</s>", 4)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return Path(folder)


def sentences(count) -> Iterator[str]:
    """Yield texts of 1 to 18 words, all different in their words' order."""
    for number in range(count):
        yield " ".join(WORDS[(number * 7 + place * (1 + number % 3)) % len(WORDS)] for place in range(1 + number % 18))

"""What a hub would answer for every model of the configs that come with the project: listings and config.json alone.

Sizes follow from the parameters and the stored type, formats and shards from reference/models.csv; digests are made up,
one per repository, revision and file, but for pythia-2.8b, whose are the published ones. The sizes that a config.json
states are the published ones of each architecture, and stand here: the project itself types none.
"""

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pythia_2_8b_listing
import yaml
from loopback_hub import OnlyListed, Repository

from lm_geometry.configuration.schema import with_defaults

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((PROJECT / "configs").glob("*.yaml"))
TOKEN = "hf_catalogue"
VALUE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SHARD_BYTES = 10_000_000_000
# Attention masks that old GPT-NeoX checkpoints hold beside their parameters, a byte per pair of positions and layer.
MASK_BYTES = 2048 * 2048
# Repositories that hold a TensorFlow twin of the weights, as many old ones do.
TENSORFLOW = ("facebook/opt", "google-bert/", "openai-community/", "google-t5/", "FacebookAI/", "albert/")

HEADS = {
    "pythia-14m": 4, "pythia-31m": 8, "pythia-70m": 8, "pythia-160m": 12, "pythia-410m": 16, "pythia-1b": 8,
    "pythia-1.4b": 16, "pythia-2.8b": 32, "pythia-6.9b": 32, "pythia-12b": 40,
    "opt-125m": 12, "opt-350m": 16, "opt-1.3b": 32, "opt-2.7b": 32, "opt-6.7b": 32, "opt-13b": 40, "opt-30b": 56,
    "opt-66b": 72,
    "Cerebras-GPT-111M": 12, "Cerebras-GPT-256M": 17, "Cerebras-GPT-590M": 12, "Cerebras-GPT-1.3B": 16,
    "Cerebras-GPT-2.7B": 32, "Cerebras-GPT-6.7B": 32, "Cerebras-GPT-13B": 40,
    "bloom-560m": 16, "bloom-1b1": 16, "bloom-1b7": 16, "bloom-3b": 32, "bloom-7b1": 32, "bloom": 112,
    "t5-v1_1-small": 6, "t5-v1_1-base": 12, "t5-v1_1-large": 16, "t5-v1_1-xl": 32, "t5-v1_1-xxl": 64,
    "t5-small": 8, "t5-base": 12, "t5-large": 16, "t5-3b": 32, "t5-11b": 128,
    "Llama-2-7b-hf": 32, "Llama-2-7b-chat-hf": 32, "Llama-2-13b-hf": 40,
}  # fmt: skip
# Of the feed-forward layers, where it is not four times the model's width.
INNER = {
    "t5-v1_1-small": 1024, "t5-v1_1-base": 2048, "t5-v1_1-large": 2816, "t5-v1_1-xl": 5120, "t5-v1_1-xxl": 10240,
    "t5-small": 2048, "t5-base": 3072, "t5-large": 4096, "t5-3b": 16384, "t5-11b": 65536,
    "Llama-2-7b-hf": 11008, "Llama-2-7b-chat-hf": 11008, "Llama-2-13b-hf": 13824,
}  # fmt: skip
# Hub id to model type, width, inner width, layers, heads, key-value heads, width of a head, rows, tied; all bfloat16.
MODERN = {
    "Qwen/Qwen2.5-0.5B": ("qwen2", 896, 4864, 24, 14, 2, 64, 151936, True),
    "Qwen/Qwen2.5-1.5B": ("qwen2", 1536, 8960, 28, 12, 2, 128, 151936, True),
    "Qwen/Qwen2.5-3B": ("qwen2", 2048, 11008, 36, 16, 2, 128, 151936, True),
    "Qwen/Qwen2.5-7B": ("qwen2", 3584, 18944, 28, 28, 4, 128, 152064, False),
    "Qwen/Qwen2.5-14B": ("qwen2", 5120, 13824, 48, 40, 8, 128, 152064, False),
    "Qwen/Qwen2.5-32B": ("qwen2", 5120, 27648, 64, 40, 8, 128, 152064, False),
    "Qwen/Qwen2.5-72B": ("qwen2", 8192, 29568, 80, 64, 8, 128, 152064, False),
    "meta-llama/Llama-3.2-1B": ("llama", 2048, 8192, 16, 32, 8, 64, 128256, True),
    "meta-llama/Llama-3.2-3B": ("llama", 3072, 8192, 28, 24, 8, 128, 128256, True),
    "meta-llama/Llama-3.1-8B": ("llama", 4096, 14336, 32, 32, 8, 128, 128256, False),
    "meta-llama/Llama-3.1-70B": ("llama", 8192, 28672, 80, 64, 8, 128, 128256, False),
    "google/gemma-2-2b": ("gemma2", 2304, 9216, 26, 8, 4, 256, 256000, True),
    "google/gemma-2-9b": ("gemma2", 3584, 14336, 42, 16, 8, 256, 256000, True),
    "google/gemma-2-27b": ("gemma2", 4608, 36864, 46, 32, 16, 128, 256000, True),
    "HuggingFaceTB/SmolLM2-135M": ("llama", 576, 1536, 30, 9, 3, 64, 49152, True),
    "HuggingFaceTB/SmolLM2-360M": ("llama", 960, 2560, 32, 15, 5, 64, 49152, True),
    "HuggingFaceTB/SmolLM2-1.7B": ("llama", 2048, 8192, 24, 32, 32, 64, 49152, True),
    "HuggingFaceTB/SmolLM2-135M-intermediate-checkpoints": ("llama", 576, 1536, 30, 9, 3, 64, 49152, True),
    "allenai/OLMo-2-0425-1B": ("olmo2", 2048, 8192, 16, 16, 16, 128, 100352, False),
    "allenai/OLMo-2-1124-7B": ("olmo2", 4096, 11008, 32, 32, 32, 128, 100352, False),
    "allenai/OLMo-2-1124-13B": ("olmo2", 5120, 13824, 40, 40, 40, 128, 100352, False),
    "allenai/OLMo-2-0325-32B": ("olmo2", 5120, 27648, 64, 40, 8, 128, 100352, False),
}
GATED = ("meta-llama/", "google/gemma")


def catalogue() -> dict[str, Repository]:
    """Return all repositories that the configs name, with all revisions they name."""
    found = {}
    for repository, revisions in sorted(_named().items()):
        files = {revision: repository_files(repository, revision) for revision in sorted(revisions)}
        gated = repository.startswith(GATED)
        found[repository] = Repository(files, gated=gated, token=TOKEN if gated else None)
    return found


def _named() -> dict[str, set[str]]:
    """Return the repositories of all configs, models and tokenizers, with their revisions."""
    named: dict[str, set[str]] = {}
    for path in CONFIGS:
        config = with_defaults(yaml.safe_load(path.read_text(encoding="utf-8")))
        studies = [config.get(study, {}) for study in ("embedding_scaling", "representation_dynamics")]
        for model, entry in config["models"].items():
            if not entry["source"].startswith("."):
                followed = [study.get("training", {}).get(model, {}).get("revisions", []) for study in studies]
                revisions = [revision for revisions in followed for revision in revisions]
                named.setdefault(entry["source"], set()).update(revisions, [entry.get("revision", "main")])
            named.setdefault(entry.get("tokenizer", entry["source"]), {"main"})
    return named


def repository_files(repository: str, revision: str) -> dict[str, bytes | OnlyListed]:
    """Return the files of one revision: small ones with their content, the others as the hub lists them."""
    config = model_config(repository)
    small = {
        ".gitattributes": b"*.bin filter=lfs\n",
        "README.md": b"# A model\n",
        "config.json": json.dumps(config, indent=2).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
    }
    if repository == pythia_2_8b_listing.SMALL:
        return {**pythia_2_8b_listing.small_files(revision), **small}
    return {**small, **_weights(repository, revision)}


# -- config.json -------------------------------------------------------------------------------------------------------


def _reference() -> Iterator[dict[str, str]]:
    with (PROJECT / "reference" / "models.csv").open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


ROWS = {row["hub_id"]: row for row in _reference() if row["hub_id"]}
CHECKPOINTS = {row["checkpoints_hub_id"]: row for row in _reference() if row["checkpoints_hub_id"] not in ("", *ROWS)}


def model_config(repository: str) -> dict:
    """Return a model's config.json."""
    if repository in MODERN:
        return _modern_config(*MODERN[repository])
    row = ROWS.get(repository) or CHECKPOINTS.get(repository)
    if row is None:
        return {}  # a repository with a tokenizer and nothing else
    found = _FAMILIES[row["suite"]](row, int(row["d_model"]), int(row["n_layers"]), int(row["vocab_rows"]))
    tied = {"true": True, "false": False}[row["tied"]]
    return {**found, "tie_word_embeddings": tied, "torch_dtype": row["stored_dtype"]}


def _modern_config(kind, width, inner, layers, heads, key_value_heads, head_width, rows, tied):
    names = {"qwen2": "Qwen2", "llama": "Llama", "gemma2": "Gemma2", "olmo2": "Olmo2"}
    return {
        "architectures": [f"{names[kind]}ForCausalLM"],
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        **({"head_dim": head_width} if kind in ("llama", "gemma2") else {}),
        "max_position_embeddings": 8192 if kind == "gemma2" else 4096 if kind == "olmo2" else 32768,
        "vocab_size": rows,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
    }


def _neox(row, width, layers, rows):
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS[row["model"]],
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
        "vocab_size": rows,
    }


def _opt(row, width, layers, rows):
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "hidden_size": width,
        "word_embed_proj_dim": int(row["emb_dim"]),
        "ffn_dim": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS[row["model"]],
        "max_position_embeddings": 2048,
        "do_layer_norm_before": row["model"] != "opt-350m",
        "vocab_size": rows,
    }


def _gpt2(row, width, layers, rows):
    is_cerebras = row["suite"] == "Cerebras-GPT"
    return {
        "architectures": ["GPT2Model" if row["model"] == "Cerebras-GPT-13B" else "GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": width,
        "n_layer": layers,
        "n_head": HEADS[row["model"]] if is_cerebras else width // 64,
        "n_positions": 2048 if is_cerebras else 1024,
        **({"n_inner": 4 * width} if is_cerebras else {}),
        "vocab_size": rows,
    }


def _bloom(row, width, layers, rows):
    return {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "n_embed": width,
        "n_layer": layers,
        "num_attention_heads": HEADS[row["model"]],
        "vocab_size": rows,
    }


def _t5(row, width, layers, rows):
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "d_model": width,
        "d_ff": INNER[row["model"]],
        "d_kv": 128 if row["model"] in ("t5-3b", "t5-11b") else 64,
        "num_layers": layers,
        "num_decoder_layers": int(row["n_decoder_layers"]),
        "num_heads": HEADS[row["model"]],
        "feed_forward_proj": "gated-gelu" if row["suite"] == "T5-v1.1" else "relu",
        "decoder_start_token_id": 0,
        "vocab_size": rows,
    }


def _bert(row, width, layers, rows):
    kind = row["suite"].lower()
    return {
        "architectures": [f"{kind.capitalize()}ForMaskedLM"],
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "max_position_embeddings": 514 if kind == "roberta" else 512,
        "type_vocab_size": 1 if kind == "roberta" else 2,
        **({"embedding_size": int(row["emb_dim"])} if kind == "albert" else {}),
        "vocab_size": rows,
    }


def _gptj(row, width, layers, rows):
    return {
        "architectures": ["GPTJForCausalLM"],
        "model_type": "gptj",
        "n_embd": width,
        "n_layer": layers,
        "n_head": 16,
        "n_positions": 2048,
        "rotary_dim": 64,
        "vocab_size": rows,
    }


def _falcon(row, width, layers, rows):
    return {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 71,
        "multi_query": True,
        "parallel_attn": True,
        "bias": False,
        "alibi": False,
        "new_decoder_architecture": False,
        "vocab_size": rows,
    }


def _llama(row, width, layers, rows):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": INNER[row["model"]],
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS[row["model"]],
        "num_key_value_heads": HEADS[row["model"]],
        "max_position_embeddings": 4096,
        "vocab_size": rows,
    }


_FAMILIES = {
    "Pythia": _neox,
    "OPT": _opt,
    "Cerebras-GPT": _gpt2,
    "GPT-2": _gpt2,
    "BLOOM": _bloom,
    "T5": _t5,
    "T5-v1.1": _t5,
    "BERT": _bert,
    "RoBERTa": _bert,
    "ALBERT": _bert,
    "GPT-J": _gptj,
    "Falcon": _falcon,
    "Llama-2": _llama,
}


# -- weights -----------------------------------------------------------------------------------------------------------


def n_parameters(repository: str) -> int:
    """Return the parameters of a model, shared ones once."""
    if repository not in MODERN:
        return int((ROWS.get(repository) or CHECKPOINTS[repository])["n_params"])
    kind, width, inner, layers, heads, key_value_heads, head_width, rows, tied = MODERN[repository]
    queries, keys = heads * head_width, key_value_heads * head_width
    block = 2 * width * queries + 2 * width * keys + 3 * width * inner
    beside = {
        "llama": 2 * width,
        "qwen2": 2 * width + queries + 2 * keys,  # biases
        "gemma2": 4 * width,  # norms before and behind
        "olmo2": 2 * width + queries + keys,  # norms of queries and keys
    }
    return rows * width * (1 if tied else 2) + layers * (block + beside[kind]) + width


def _weights(repository: str, revision: str) -> dict[str, bytes | OnlyListed]:
    if repository in MODERN:
        size = 2 * n_parameters(repository)
        formats = "safetensors shards" if size > SHARD_BYTES / 2 else "model.safetensors"
        return _of_format("safetensors", formats, repository, revision, size, "model.embed_tokens.weight")
    row = ROWS.get(repository) or CHECKPOINTS.get(repository)
    if row is None:
        return {}
    of_main, _, of_steps = row["weights_format"].partition("; step branches")
    is_step = revision != "main"
    formats = of_steps if is_step and of_steps.startswith(":") else of_main
    if repository in CHECKPOINTS:
        formats = "pytorch_model.bin"
    size = VALUE_BYTES[row["stored_dtype"]] * int(row["n_params"])
    if row["suite"] == "Pythia":
        # The step branches of the middle sizes are float32.
        size *= 2 if is_step and row["model"] in ("pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b") else 1
        size += MASK_BYTES * int(row["n_layers"])
    table = row["emb_param_name"].replace("*.", "model.decoder.").removeprefix("*")
    found: dict[str, bytes | OnlyListed] = {}
    for ending in ("safetensors", "bin"):
        if ending in formats:
            found.update(_of_format(ending, formats, repository, revision, size, table))
    if repository.startswith(TENSORFLOW):
        found["tf_model.h5"] = _listed(repository, revision, "tf_model.h5", size)
    return found


def _of_format(ending, formats, repository, revision, size, table):
    """Return the weight files of one format: one, or shards and their index; a table that fills a shard has its own."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]
    if f"{stem}.{ending}" in formats:
        return {f"{stem}.{ending}": _listed(repository, revision, f"{stem}.{ending}", size)}
    counted = re.search(rf"(\d+) \.?{ending} shards", formats) or re.search(r"(\d+) \S+ shards", formats)
    shards = int(counted.group(1)) if counted else max(2, math.ceil(size / SHARD_BYTES))
    joint = "_" if "pytorch_model_0000X" in formats else "-"
    names = [f"{stem}{joint}{number:05d}-of-{shards:05d}.{ending}" for number in range(1, shards + 1)]
    first = max(size // shards, _table_bytes(repository))
    others = [(size - first) // (shards - 1)] * (shards - 1)
    sizes = [size - sum(others), *others]
    rest = [f"layers.{number}.weight" for number in range(2, shards)]
    weight_map = dict(zip([table, *rest, "norm.weight"], names, strict=True))
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    files = {name: _listed(repository, revision, name, part) for name, part in zip(names, sizes, strict=True)}
    return {f"{stem}.{ending}.index.json": json.dumps(index).encode(), **files}


def _table_bytes(repository: str) -> int:
    """Return the bytes of the token-embedding table as stored."""
    if repository in MODERN:
        return 2 * MODERN[repository][1] * MODERN[repository][7]
    row = ROWS.get(repository) or CHECKPOINTS[repository]
    return VALUE_BYTES[row["stored_dtype"]] * int(row["vocab_rows"]) * int(row["emb_dim"])


def _listed(repository: str, revision: str, name: str, size: int) -> OnlyListed:
    return OnlyListed(size, hashlib.sha256(f"{repository}@{revision}/{name}".encode()).hexdigest())


def bytes_of_weights(files: Mapping[str, bytes | OnlyListed]) -> int:
    """Return the bytes of the format that would be read: safetensors where there are any."""
    by_ending = {
        ending: sum(file.size for name, file in files.items() if name.endswith(ending) and isinstance(file, OnlyListed))
        for ending in (".safetensors", ".bin")
    }
    return by_ending[".safetensors"] or by_ending[".bin"]

"""A config.json for each model of reference/models.csv, with the sizes that the table lacks taken from the papers.

For plans of models that nobody has listed yet.
"""

import csv
from pathlib import Path
from typing import Any

_MODELS = Path(__file__).resolve().parents[2] / "reference" / "models.csv"
# Feed-forward and key widths of T5 (Raffel et al. 2020, table of sizes; v1.1's README), by width or by name.
_T5_INNER = {512: (1024, 6), 768: (2048, 12), 1024: (2816, 16), 2048: (5120, 32), 4096: (10240, 64)}
_T5_ORIGINAL = {
    "t5-small": (2048, 8, 64),
    "t5-base": (3072, 12, 64),
    "t5-large": (4096, 16, 64),
    "t5-3b": (16384, 32, 128),
    "t5-11b": (65536, 128, 128),
}


def reference_rows() -> list[dict[str, str]]:
    """Return the rows of reference/models.csv."""
    with _MODELS.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def reference_config(row: dict[str, str]) -> dict[str, Any]:
    """Return what the model's config.json says of its sizes."""
    sizes = {"vocab_size": int(row["vocab_rows"])}
    width, layers = int(row["d_model"]), int(row["n_layers"])
    suite = row["suite"]
    if suite.startswith("T5"):
        return sizes | _t5(row, width, layers)
    if suite in ("GPT-2", "Cerebras-GPT", "GPT-J"):
        positions = 1024 if suite == "GPT-2" else 2048
        family = "gptj" if suite == "GPT-J" else "gpt2"
        tied = {"tie_word_embeddings": False} if suite == "GPT-J" else {}
        return sizes | {"model_type": family, "n_embd": width, "n_layer": layers, "n_positions": positions} | tied
    if suite == "BLOOM":
        return sizes | {"model_type": "bloom", "n_embed": width, "n_layer": layers}
    sizes |= {"hidden_size": width, "num_hidden_layers": layers}
    if suite == "Falcon":
        return sizes | {"model_type": "falcon", "num_attention_heads": 71, "multi_query": True, "parallel_attn": True}
    if suite == "OPT":
        first = row["model"] == "opt-350m"
        return sizes | {
            "model_type": "opt",
            "ffn_dim": 4 * width,
            "max_position_embeddings": 2048,
            "word_embed_proj_dim": int(row["emb_dim"]),
            "do_layer_norm_before": not first,
        }
    if suite.startswith("Pythia"):
        return sizes | {"model_type": "gpt_neox", "intermediate_size": 4 * width, "tie_word_embeddings": False}
    if suite == "Llama-2":
        heads, inner = {4096: (32, 11008), 5120: (40, 13824)}[width]
        untied = {"tie_word_embeddings": False, "num_attention_heads": heads}
        return sizes | {"model_type": "llama", "intermediate_size": inner} | untied
    return sizes | _encoder(row, suite.lower(), width)


def _encoder(row: dict[str, str], family: str, width: int) -> dict[str, Any]:
    positions, types = (514, 1) if family == "roberta" else (512, 2)
    found = {"model_type": family, "max_position_embeddings": positions, "type_vocab_size": types}
    found["intermediate_size"] = 4 * width
    return found | ({"embedding_size": int(row["emb_dim"])} if family == "albert" else {})


def _t5(row: dict[str, str], width: int, layers: int) -> dict[str, Any]:
    common = {"model_type": "t5", "is_encoder_decoder": True, "d_model": width, "num_layers": layers}
    if row["model"] in _T5_ORIGINAL:
        inner, heads, keys = _T5_ORIGINAL[row["model"]]
        return common | {"d_ff": inner, "num_heads": heads, "d_kv": keys}
    inner, heads = _T5_INNER[width]
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return common | {"d_ff": inner, "num_heads": heads, "d_kv": 64} | gated

"""How many parameters a model has, from the sizes in its config.json, by architecture.

Each count is that of the base model with its output matrix, as the hub's files hold it; encoders without the head that
they were trained with. What is no matrix is counted too, so that the numbers are exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Parameters:
    """The parameters of a model by what they do.

    Parameters
    ----------
    tables : int
        Looked up: token, position and type embeddings.
    blocks : int
        Of all blocks; layers that share their weights count once.
    rest : int
        Norms outside of the blocks, projections, poolers, relative positions.
    head : int
        The output matrix, where it is not the embedding table; forward passes for hidden states do not load it.
    passes : int
        How often a token goes through ``blocks``: the layers of ALBERT, 1 elsewhere.
    """

    tables: int
    blocks: int
    rest: int = 0
    head: int = 0
    passes: int = 1

    @property
    def total(self) -> int:
        """All that a checkpoint holds."""
        return self.loaded + self.head

    @property
    def loaded(self) -> int:
        """What a forward pass for hidden states loads."""
        return self.tables + self.blocks + self.rest

    @property
    def multiplied(self) -> int:
        """What each token is multiplied with: tables are looked up only."""
        return self.blocks * self.passes + self.rest


def count_parameters(config: Config) -> Parameters | None:
    """Return the parameters of a model; None for an architecture not known here, or a config that lacks a size.

    Parameters
    ----------
    config : mapping
        A model's config.json; of a model of texts and images the text model's part.
    """
    count = _FAMILIES.get(config.get("model_type", ""))
    if count is None or config.get("num_local_experts") or config.get("num_experts"):
        return None
    try:
        return count(config)
    except _UnstatedError:
        return None


class _UnstatedError(LookupError):
    """A size that the count needs is not in the config."""


def stated(config: Config, *names: str, default: int | None = None) -> int:
    """Return the first of several keys that a config states, for families call one size by different names."""
    for name in names:
        if isinstance(config.get(name), int):
            return config[name]
    if default is None:
        raise _UnstatedError(names[0])
    return default


def _head(config: Config, table: int, *, tied: bool) -> int:
    """Return the output matrix's parameters; ``tied`` is what a config that does not say means."""
    found = config.get("tie_word_embeddings")
    return 0 if (tied if found is None else found) else table


def _gpt_neox(config: Config) -> Parameters:
    width, inner = stated(config, "hidden_size"), stated(config, "intermediate_size")
    table = stated(config, "vocab_size") * width
    attention = 4 * width * width + (4 * width if config.get("attention_bias", True) else 0)
    block = attention + 2 * width * inner + inner + width + 4 * width
    head = _head(config, table, tied=False)
    return Parameters(table, stated(config, "num_hidden_layers") * block, 2 * width, head)


def _opt(config: Config) -> Parameters:
    width, inner = stated(config, "hidden_size"), stated(config, "ffn_dim")
    narrow = stated(config, "word_embed_proj_dim", default=width)
    # Positions are counted from 2 on.
    table = stated(config, "vocab_size") * narrow
    tables = table + (stated(config, "max_position_embeddings") + 2) * width
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    projections = 0 if narrow == width else 2 * narrow * width
    final_norm = config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm", False)
    rest = projections + (2 * width if final_norm else 0)
    return Parameters(tables, stated(config, "num_hidden_layers") * block, rest, _head(config, table, tied=True))


def _gpt2(config: Config) -> Parameters:
    width = stated(config, "n_embd", "hidden_size")
    inner = stated(config, "n_inner", default=4 * width)
    positions = stated(config, "n_positions", "max_position_embeddings", "n_ctx")
    table = stated(config, "vocab_size") * width
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    blocks = stated(config, "n_layer", "num_hidden_layers") * block
    return Parameters(table + positions * width, blocks, 2 * width, _head(config, table, tied=True))


def _gptj(config: Config) -> Parameters:
    width, rows = stated(config, "n_embd", "hidden_size"), stated(config, "vocab_size")
    inner = stated(config, "n_inner", default=4 * width)
    block = 4 * width * width + 2 * width * inner + inner + width + 2 * width
    head = rows + _head(config, rows * width, tied=False)
    return Parameters(rows * width, stated(config, "n_layer", "num_hidden_layers") * block, 2 * width, head)


def _bloom(config: Config) -> Parameters:
    width = stated(config, "hidden_size", "n_embed", "n_embd")
    block = 12 * width * width + 13 * width
    table = stated(config, "vocab_size") * width
    blocks = stated(config, "n_layer", "num_hidden_layers") * block
    # One norm right behind the embeddings, one at the end.
    return Parameters(table, blocks, 4 * width, _head(config, table, tied=True))


def _falcon(config: Config) -> Parameters:
    width = stated(config, "hidden_size")
    heads = stated(config, "num_attention_heads", "n_head")
    inner = stated(config, "ffn_hidden_size", default=4 * width)
    if config.get("new_decoder_architecture"):
        keys = stated(config, "num_kv_heads", default=heads)
    else:
        keys = 1 if config.get("multi_query", True) else heads
    joint = (heads + 2 * keys) * (width // heads)
    bias = joint + width + inner + width if config.get("bias", False) else 0
    two_norms = config.get("new_decoder_architecture") or not config.get("parallel_attn", True)
    block = width * joint + width * width + 2 * width * inner + bias + (4 if two_norms else 2) * width
    table = stated(config, "vocab_size") * width
    head = _head(config, table, tied=True)
    return Parameters(table, stated(config, "num_hidden_layers", "n_layer") * block, 2 * width, head)


def _t5(config: Config) -> Parameters:
    width, inner = stated(config, "d_model"), stated(config, "d_ff")
    heads = stated(config, "num_heads")
    joint = heads * stated(config, "d_kv")
    feed_forward = (3 if str(config.get("feed_forward_proj", "relu")).startswith("gated") else 2) * width * inner
    encoder = stated(config, "num_layers")
    decoder = stated(config, "num_decoder_layers", default=encoder)
    attention = 4 * width * joint
    blocks = encoder * (attention + feed_forward + 2 * width) + decoder * (2 * attention + feed_forward + 3 * width)
    relative = 2 * stated(config, "relative_attention_num_buckets", default=32) * heads
    table = stated(config, "vocab_size") * width
    return Parameters(table, blocks, relative + 2 * width, _head(config, table, tied=True))


def _bert_tables(config: Config, width: int) -> int:
    """Return the embeddings of tokens, positions and types, and the norm behind them."""
    looked_up = (
        stated(config, "vocab_size")
        + stated(config, "max_position_embeddings")
        + stated(config, "type_vocab_size", default=2)
    )
    return looked_up * width + 2 * width


def _bert_block(width: int, inner: int) -> int:
    return 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width


def _bert(config: Config) -> Parameters:
    width = stated(config, "hidden_size")
    block = _bert_block(width, stated(config, "intermediate_size"))
    pooler = width * width + width
    return Parameters(_bert_tables(config, width), stated(config, "num_hidden_layers") * block, pooler)


def _albert(config: Config) -> Parameters:
    width, narrow = stated(config, "hidden_size"), stated(config, "embedding_size")
    shared = _bert_block(width, stated(config, "intermediate_size"))
    groups = stated(config, "num_hidden_groups", default=1) * stated(config, "inner_group_num", default=1)
    pooler = width * width + width
    return Parameters(
        _bert_tables(config, narrow),
        groups * shared,
        narrow * width + width + pooler,
        passes=stated(config, "num_hidden_layers") // stated(config, "num_hidden_groups", default=1),
    )


def _llama_like(
    *, norms: int = 2, query_key_norms: str = "", biased_keys: bool = False, tied: bool = False, final_norm: bool = True
) -> Callable[[Config], Parameters]:
    """Return the count of a decoder with a gated feed-forward layer.

    Parameters
    ----------
    norms : int
        Norms of the model's width in each block.
    query_key_norms : str
        'head' for a norm of queries and one of keys over each head's width, 'joint' for norms over all heads.
    biased_keys : bool
        Whether queries, keys and values have biases where the config does not say.
    tied : bool
        Whether the output matrix is the embedding table where the config does not say.
    final_norm : bool
        Whether there is a norm with weights behind the last block.
    """

    def count(config: Config) -> Parameters:
        width, inner = stated(config, "hidden_size"), stated(config, "intermediate_size")
        heads = stated(config, "num_attention_heads")
        head_width = stated(config, "head_dim", default=width // heads)
        queries = heads * head_width
        keys = stated(config, "num_key_value_heads", default=heads) * head_width
        block = 2 * width * queries + 2 * width * keys + 3 * width * inner + norms * width
        if config.get("attention_bias", biased_keys):
            block += queries + 2 * keys + (0 if biased_keys else width)
        if config.get("mlp_bias"):
            block += 2 * inner + width
        block += {"": 0, "head": 2 * head_width, "joint": queries + keys}[query_key_norms]
        table = stated(config, "vocab_size") * width
        head = _head(config, table, tied=tied)
        rest = width if final_norm else 0
        return Parameters(table, stated(config, "num_hidden_layers") * block, rest, head)

    return count


_FAMILIES: Mapping[str, Callable[[Config], Parameters]] = {
    "gpt_neox": _gpt_neox,
    "opt": _opt,
    "gpt2": _gpt2,
    "gptj": _gptj,
    "bloom": _bloom,
    "falcon": _falcon,
    "RefinedWebModel": _falcon,  # Falcon before transformers knew it
    "t5": _t5,
    "mt5": _t5,
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "albert": _albert,
    "llama": _llama_like(),
    "mistral": _llama_like(),
    "smollm3": _llama_like(tied=True),
    "qwen2": _llama_like(biased_keys=True),
    "qwen3": _llama_like(query_key_norms="head"),
    "gemma": _llama_like(tied=True),
    "gemma2": _llama_like(norms=4, tied=True),
    "gemma3_text": _llama_like(norms=4, query_key_norms="head", tied=True),
    "olmo": _llama_like(norms=0, final_norm=False),
    "olmo2": _llama_like(query_key_norms="joint"),
    "olmo3": _llama_like(query_key_norms="joint"),
}
ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "albert"})
"""Architectures without a norm behind the last block."""

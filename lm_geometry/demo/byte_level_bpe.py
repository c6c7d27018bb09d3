"""Byte-level BPE tokenizers trained on the prose, in the two shapes that decoders and encoders use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY_SIZE = 2048

GPT_NEOX = "gpt_neox"
BERT = "bert"


@dataclass(frozen=True)
class TokenizerRecipe:
    """What sets a tokenizer apart: its special tokens, and which of them it adds around a text.

    Parameters
    ----------
    special_tokens : tuple of str
        They take the first ids, in this order.
    separator : str
        Stands between texts in a stream of training tokens.
    roles : mapping of str to str
        Special tokens by the role that ``tokenizer_config.json`` gives them.
    frame : tuple of str
        The tokens before and after a text; empty where nothing is added.
    max_length : int
        Tokens that a model of this recipe takes at most, special tokens included.
    """

    special_tokens: tuple[str, ...]
    separator: str
    roles: Mapping[str, str]
    frame: tuple[str, ...]
    max_length: int


TOKENIZER_RECIPES: Mapping[str, TokenizerRecipe] = MappingProxyType(
    {
        GPT_NEOX: TokenizerRecipe(
            special_tokens=("<|endoftext|>",),
            separator="<|endoftext|>",
            roles=dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
            frame=(),
            max_length=2048,
        ),
        BERT: TokenizerRecipe(
            special_tokens=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
            separator="[SEP]",
            roles={f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")},
            frame=("[CLS]", "[SEP]"),
            max_length=512,
        ),
    }
)


def tokenizer_recipe(name: str) -> TokenizerRecipe:
    """Return the recipe called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in TOKENIZER_RECIPES:
        raise ValueError(f"tokenizer recipe: '{name}': use one of {', '.join(TOKENIZER_RECIPES)}")
    return TOKENIZER_RECIPES[name]


def train_byte_level_bpe(texts: Iterable[str], name: str, *, vocabulary_size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Train the tokenizer of recipe ``name`` on ``texts``.

    Raises
    ------
    ValueError
        If there is no such recipe, or the texts are too few for a vocabulary of ``vocabulary_size``.
    """
    recipe = tokenizer_recipe(name)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(recipe.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary_size:
        raise ValueError(
            f"the texts give {tokenizer.get_vocab_size()} tokens, {vocabulary_size} are wanted; use more text"
        )
    tokenizer.post_processor = _post_processor(tokenizer, recipe)
    return tokenizer


def tokenizer_config(name: str) -> dict[str, Any]:
    """Return the contents of ``tokenizer_config.json`` for recipe ``name``.

    Raises
    ------
    ValueError
        If there is no such recipe.
    """
    recipe = tokenizer_recipe(name)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": recipe.max_length,
        "clean_up_tokenization_spaces": False,
        **recipe.roles,
    }


def _post_processor(tokenizer: Tokenizer, recipe: TokenizerRecipe) -> processors.PostProcessor:
    if not recipe.frame:
        return processors.ByteLevel(trim_offsets=True)
    before, after = recipe.frame
    return processors.TemplateProcessing(
        single=f"{before} $A {after}",
        pair=f"{before} $A {after} $B:1 {after}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in recipe.frame],
    )

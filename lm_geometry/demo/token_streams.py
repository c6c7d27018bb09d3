"""The tokenized prose as a model trains on it: texts joined into one stream to learn from and one held out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from lm_geometry.demo.byte_level_bpe import tokenizer_recipe

# Texts are held out in runs, for texts of one module stand together: single texts, joined, would be a context unlike
# any that a model is trained on. One run in twenty gives about 25,000 tokens.
HELDOUT_RUN_CHARACTERS = 5000
HELDOUT_EVERY = 20


class TokenStreams(NamedTuple):
    """Two streams of token ids, each text ended by ``separator``, which is no target of any loss.

    ``frame`` holds the ids that open and close a window (none for decoders), ``mask`` the id that hides a token (None
    for decoders).
    """

    training: np.ndarray
    heldout: np.ndarray
    separator: int
    vocabulary_size: int
    frame: tuple[int, ...] = ()
    mask: int | None = None


def choose_heldout(texts: Sequence[str]) -> list[bool]:
    """Tell for each text whether it is kept from training: those that begin in every twentieth run of characters."""
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    return [bool(held) for held in starts // HELDOUT_RUN_CHARACTERS % HELDOUT_EVERY == HELDOUT_EVERY - 1]


def join_texts(
    token_ids: Sequence[np.ndarray], heldout: Sequence[bool], tokenizer: Tokenizer, name: str
) -> TokenStreams:
    """Return the streams of texts tokenized by ``tokenizer``, which was made by the tokenizer recipe ``name``.

    Parameters
    ----------
    token_ids : sequence of ndarray
        Token ids of each text, without special tokens.
    heldout : sequence of bool
        Which texts are held out.

    Raises
    ------
    ValueError
        If one of the streams would be empty, or there is no such recipe.
    """
    recipe = tokenizer_recipe(name)
    separator = tokenizer.token_to_id(recipe.separator)
    parts: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for ids, held in zip(token_ids, heldout, strict=True):
        parts[bool(held)] += [ids, np.array([separator])]
    if not parts[False] or not parts[True]:
        raise ValueError(
            f"{len(parts[False]) // 2} texts to train on and {len(parts[True]) // 2} held out; both need at least one"
        )
    return TokenStreams(
        training=np.concatenate(parts[False]),
        heldout=np.concatenate(parts[True]),
        separator=separator,
        vocabulary_size=tokenizer.get_vocab_size(),
        frame=tuple(tokenizer.token_to_id(token) for token in recipe.frame),
        mask=tokenizer.token_to_id(recipe.roles["mask_token"]) if "mask_token" in recipe.roles else None,
    )

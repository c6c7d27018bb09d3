"""The tokens of a corpus' chunks, and the batches that they run in."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm_geometry.tables.files import read_table
from lm_geometry.tokenizer_file import encoding_errors, read_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenSequence:
    """The tokens of one chunk; ``special`` marks those that the tokenizer added. Both arrays have shape (n,)."""

    chunk: int
    ids: np.ndarray
    special: np.ndarray
    truncated: bool


def read_sequences(
    chunks: Path, tokenizer: Path, *, max_length: int | None, vocab_rows: int | None
) -> list[TokenSequence]:
    """Return the tokens of a corpus' chunks; what a model cannot take in is cut or left out, and said.

    Parameters
    ----------
    chunks : Path
        The chunks' table.
    tokenizer : Path
        A tokenizer.json.
    max_length, vocab_rows : int
        Positions and rows of the embedding table that the model has.

    Raises
    ------
    ValueError
        If there is no token at all, or one that the model has no row for.
    """
    text = read_table(chunks, columns=["chunk", "text"])
    sequences = tokenize_chunks(tokenizer, text["chunk"].to_pylist(), text["text"].to_pylist(), max_length)
    if not sequences:
        raise ValueError(
            f"no token in any of {text.num_rows} chunks of {chunks}: they are empty, or the tokenizer {tokenizer} "
            "makes nothing of them; set another corpus or tokenizer"
        )
    _say_what_was_lost(sequences, text.num_rows, max_length)
    largest = max(int(sequence.ids.max()) for sequence in sequences)
    if vocab_rows is not None and largest >= vocab_rows:
        raise ValueError(
            f"the tokenizer {tokenizer} gives token id {largest}, but the model's embedding table has {vocab_rows} "
            "rows: they do not belong together; set `tokenizer` to the model's own"
        )
    return sequences


def tokenize_chunks(
    tokenizer: Path, chunks: Sequence[int], texts: Sequence[str], max_length: int | None
) -> list[TokenSequence]:
    """Encode chunks with the special tokens that tokenizer.json adds; empty ones are left out.

    Plain text for every model: a chat template lies in tokenizer_config.json, which is not read.

    Parameters
    ----------
    tokenizer : Path
        A tokenizer.json.
    chunks, texts : sequence
        Number and text of each chunk.
    max_length : int or None
        Longest sequence the model takes, special tokens counted; a longer one is cut and marked ``truncated``.

    Raises
    ------
    ValueError
        If the file is no tokenizer, cannot encode a text, or adds so many special tokens that none of the text is left.
    """
    encoder = read_tokenizer(tokenizer)
    if max_length is not None:
        special = encoder.num_special_tokens_to_add(is_pair=False)
        if max_length <= special:
            raise ValueError(
                f"the model's {max_length} positions leave no room beside {special} special tokens of {tokenizer}; "
                "correct config.json's max_position_embeddings, or set another tokenizer"
            )
        encoder.enable_truncation(max_length=max_length)
    with encoding_errors(tokenizer):
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


def equal_length_batches(sequences: Sequence[TokenSequence], batch_tokens: int) -> Iterator[list[TokenSequence]]:
    """Yield batches of sequences of one length, shortest first; chunks keep their order within a length.

    A batch holds at most ``batch_tokens`` tokens, and at least one sequence. The order of all tokens is the same
    whatever ``batch_tokens`` is.
    """
    by_length: dict[int, list[TokenSequence]] = {}
    for sequence in sequences:
        by_length.setdefault(len(sequence.ids), []).append(sequence)
    for length in sorted(by_length):
        size = max(1, batch_tokens // length)
        for start in range(0, len(by_length[length]), size):
            yield by_length[length][start : start + size]


def _say_what_was_lost(sequences: Sequence[TokenSequence], n_chunks: int, max_length: int | None) -> None:
    truncated = sum(sequence.truncated for sequence in sequences)
    if truncated:
        log.warning(
            "%d of %d chunks are longer than the model's %d positions and were cut", truncated, n_chunks, max_length
        )
    if len(sequences) < n_chunks:
        log.warning("%d of %d chunks have no token and were left out", n_chunks - len(sequences), n_chunks)

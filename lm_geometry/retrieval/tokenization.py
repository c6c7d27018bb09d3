"""From texts to token counts: tokenizing with special tokens and truncation, as the study did."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from tokenizers import Tokenizer

from lm_geometry.tokenizer_file import read_tokenizer

STUDY_MAX_LENGTH = 2048
"""Tokens that a text is cut to, special tokens counted inside."""

_BATCH = 1024


def load_tokenizer(path: Path, *, max_length: int = STUDY_MAX_LENGTH) -> Tokenizer:
    """Load a ``tokenizer.json``, set to cut at ``max_length`` tokens, special tokens inside, and never to pad.

    Raises
    ------
    ValueError
        If the file is no tokenizer, or ``max_length`` leaves no room beside the special tokens.
    """
    tokenizer = read_tokenizer(path)
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= special:
        raise ValueError(f"max_length: {max_length} leaves no room beside {special} special tokens; raise it")
    tokenizer.enable_truncation(max_length=max_length)
    return tokenizer


def count_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> sparse.csr_array:
    """Count the tokens of each text, special tokens included.

    Parameters
    ----------
    texts : sequence of str
        The texts; a text may be empty.
    tokenizer : Tokenizer
        As ``load_tokenizer`` returns it.

    Returns
    -------
    scipy.sparse.csr_array
        int32 counts, shape (texts, largest token id that occurs + 1).
    """
    tokens, counts, lengths = [], [], []
    for ids in _encode(texts, tokenizer):
        found, times = np.unique(np.asarray(ids, dtype=np.int32), return_counts=True)
        tokens.append(found)
        counts.append(times.astype(np.int32))
        lengths.append(found.size)
    columns = np.concatenate([np.zeros(0, dtype=np.int32), *tokens])
    values = np.concatenate([np.zeros(0, dtype=np.int32), *counts])
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    n_columns = int(columns.max()) + 1 if columns.size else 0
    return sparse.csr_array((values, columns, starts), shape=(len(lengths), n_columns))


def _encode(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    for start in range(0, len(texts), _BATCH):
        for encoding in tokenizer.encode_batch(list(texts[start : start + _BATCH]), add_special_tokens=True):
            yield encoding.ids


def counts_to_table(counts: sparse.csr_array, side: str) -> pa.Table:
    """Return ``counts`` in the coordinate form of the ``token_counts`` table; ``side`` is 'corpus' or 'queries'."""
    rows = np.repeat(np.arange(counts.shape[0], dtype=np.int32), np.diff(counts.indptr))
    return pa.table(
        {
            "side": pa.repeat(side, len(rows)),
            "row": rows,
            "token_id": counts.indices.astype(np.int32),
            "count": counts.data.astype(np.int32),
        }
    )


def counts_from_table(table: pa.Table, side: str, n_texts: int) -> sparse.csr_array:
    """Return the counts of one side of a ``token_counts`` table; see ``count_tokens``.

    Raises
    ------
    ValueError
        If the table counts tokens of a text beyond ``n_texts``: it belongs to another collection.
    """
    chosen = table.filter(pc.equal(table["side"], side))
    rows, columns, values = (chosen[name].to_numpy() for name in ("row", "token_id", "count"))
    if rows.size and rows.max() >= n_texts:
        raise ValueError(f"token counts name text {rows.max()} of the {side}, which has {n_texts} texts: {side} differ")
    n_columns = int(columns.max()) + 1 if columns.size else 0
    return sparse.csr_array((values, (rows, columns)), shape=(n_texts, n_columns))

"""Disjoint batches of vectors: the same rows in every layer, independent from one another."""

import numpy as np

MIN_TYPES = 10

# What a stream of random numbers is for, so that drawing more of one thing never changes another.
_GROUPS, _TOKENS, _TYPES = range(3)


def draw_batches(chunk: np.ndarray, *, n_batches: int, batch_size: int, seed: int) -> list[np.ndarray]:
    """Split the chunks at random into ``n_batches`` groups and draw ``batch_size`` tokens from each.

    Parameters
    ----------
    chunk : np.ndarray
        Number of the chunk that each row's token stands in, shape (n,).
    n_batches : int
        Number of disjoint groups of chunks.
    batch_size : int
        Tokens drawn from each group, without replacement, in random order.
    seed : int
        Seed of the draws, from 0 up.

    Returns
    -------
    list of np.ndarray
        Row indices, one array of shape (batch_size,) per group.

    Raises
    ------
    ValueError
        If there are fewer chunks than groups, or a group holds fewer tokens than asked for.
    """
    groups = _split(chunk, n_batches, seed)
    least = min(group.size for group in groups)
    if least < batch_size:
        raise ValueError(
            f"batch_size: {batch_size} tokens are asked of each of {n_batches} groups of chunks, but the smallest "
            f"holds {least} ({len(chunk)} tokens in all): raise n_chunks, or lower batch_size or n_batches"
        )
    random = np.random.default_rng([seed, _TOKENS])
    return [random.choice(group, batch_size, replace=False) for group in groups]


def type_matched_rows(chunk: np.ndarray, token_id: np.ndarray, *, n_batches: int, seed: int) -> list[np.ndarray]:
    """Draw one random occurrence of each token type from each of the groups that ``draw_batches`` makes.

    Occurrences come from all tokens of a group. Every batch keeps as many types as the poorest group has, chosen at
    random, because estimates at different numbers of rows do not compare.

    Parameters
    ----------
    chunk, token_id : np.ndarray
        Chunk number and token id of each row, shape (n,).
    n_batches : int
        Number of disjoint groups of chunks.
    seed : int
        Seed of the draws, from 0 up.

    Returns
    -------
    list of np.ndarray
        Row indices, one array per group, all of one length.

    Raises
    ------
    ValueError
        If there are fewer chunks than groups, or a group has fewer than ``MIN_TYPES`` token types.
    """
    random = np.random.default_rng([seed, _TYPES])
    occurrences = []
    for group in _split(chunk, n_batches, seed):
        shuffled = random.permutation(group)
        occurrences.append(shuffled[np.unique(token_id[shuffled], return_index=True)[1]])
    least = min(rows.size for rows in occurrences)
    if least < MIN_TYPES:
        raise ValueError(
            f"one of the {n_batches} groups of chunks has {least} token types and at least {MIN_TYPES} are needed: "
            "raise n_chunks or chunk_characters, or lower n_batches"
        )
    return [random.choice(rows, least, replace=False) for rows in occurrences]


def _split(chunk: np.ndarray, n_batches: int, seed: int) -> list[np.ndarray]:
    """Return the row indices of each of ``n_batches`` random groups of chunks, equal in size to one chunk."""
    chunks, member = np.unique(chunk, return_inverse=True)
    if not 1 <= n_batches <= chunks.size:
        raise ValueError(
            f"n_batches: {n_batches} disjoint groups cannot be made of {chunks.size} chunks: raise n_chunks or "
            "choose n_batches from 1 to n_chunks"
        )
    group = np.empty(chunks.size, dtype=np.int64)
    shuffled = np.random.default_rng([seed, _GROUPS]).permutation(chunks.size)
    for number, members in enumerate(np.array_split(shuffled, n_batches)):
        group[members] = number
    return [np.flatnonzero(group[member] == number) for number in range(n_batches)]

"""Windows of equally many tokens of one tokenizer, as places in the text that any other tokenizer can read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

# A tokenizer takes about 130 bytes of memory for each character that it is given at once.
_BLOCK_CHARACTERS = 1 << 20


class _Span(NamedTuple):
    page: int
    start: int
    text: str


def token_windows(pages: Sequence[str], tokenizer: Tokenizer, chunk_tokens: int) -> list[np.ndarray]:
    """Cut every page into consecutive windows of ``chunk_tokens`` tokens, from its first one on.

    A window ends where its last token ends, and the next one begins there, so that a blank between two tokens goes with
    the second, as byte-level tokenizers have it. A character that is several tokens (a byte-level tokenizer's rare
    ones, or ½ where it is read as 1, ⁄ and 2) is never split: where the border falls inside, it moves behind the
    character. What is left at a page's end holds fewer tokens and makes no window.

    A page of more than a million characters is tokenized in pieces that end with a line, and windows begin anew in
    each: memory does not grow with the page.

    Parameters
    ----------
    pages : sequence of str
        The cleaned pages.
    tokenizer : Tokenizer
        As ``tokenizer_file.read_tokenizer`` returns it; special tokens are not added.
    chunk_tokens : int
        Length of a window, in tokens.

    Returns
    -------
    list of np.ndarray
        For each page the first character of its windows and the one behind their last, int64 of shape (windows, 2).
    """
    windows = [[np.empty((0, 2), dtype=np.int64)] for _ in pages]
    with tqdm(total=sum(map(len, pages)), unit=" characters", unit_scale=True, desc="tokenize", mininterval=5) as bar:
        for block in _blocks(_spans(pages)):
            texts = [span.text for span in block]
            for span, encoding in zip(block, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
                windows[span.page].append(span.start + _cut(encoding.offsets, chunk_tokens))
                bar.update(len(span.text))
    return [np.concatenate(of_page) for of_page in windows]


def _cut(offsets: Sequence[tuple[int, int]], chunk_tokens: int) -> np.ndarray:
    # All tokens of one character end behind it: so do the borders between them. What is empty then is no window.
    ends = np.array(offsets, dtype=np.int64).reshape(-1, 2)[:, 1]
    borders = np.concatenate([[0], ends[chunk_tokens - 1 :: chunk_tokens]])
    windows = np.stack([borders[:-1], borders[1:]], axis=1)
    return windows[windows[:, 0] < windows[:, 1]]


def _spans(pages: Iterable[str]) -> Iterator[_Span]:
    for number, page in enumerate(pages):
        start = 0
        while len(page) - start > _BLOCK_CHARACTERS:
            end = page.rfind("\n", start, start + _BLOCK_CHARACTERS) + 1 or start + _BLOCK_CHARACTERS
            yield _Span(number, start, page[start:end])
            start = end
        yield _Span(number, start, page[start:])


def _blocks(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    block: list[_Span] = []
    size = 0
    for span in spans:
        if block and size + len(span.text) > _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
        block.append(span)
        size += len(span.text)
    if block:
        yield block

"""A tokenizer.json, whose errors name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from lm_geometry.error_words import one_line


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, set to cut and to pad nothing.

    Raises
    ------
    ValueError
        If the file is no tokenizer.
    """
    try:
        # Tokenizer.from_file answers every kind of broken file with a bare Exception; from_buffer with ValueError.
        tokenizer = Tokenizer.from_buffer(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not a tokenizer.json ({one_line(error)}); fetch it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@contextmanager
def encoding_errors(tokenizer: Path) -> Iterator[None]:
    """Turn what a tokenizer raises while it encodes, a bare Exception, into a ValueError that names its file."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(
            f"{tokenizer}: it cannot encode every text ({one_line(error)}); set `tokenizer` to a source that can"
        ) from error

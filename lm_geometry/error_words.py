"""What errors of libraries say, in a line of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 400


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put in front of a ValueError's message what it is about, such as ``file:`` or ``file: tensor``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error


def one_line(error: BaseException) -> str:
    """Return an error's whole message as one line, cut where it is long, behind its type unless that says nothing."""
    words = " ".join(str(error).split())
    kind = "" if type(error) in (ValueError, OSError, RuntimeError, Exception) else type(error).__name__
    return ": ".join(filter(None, [kind, words[:_LONGEST]])) or type(error).__name__

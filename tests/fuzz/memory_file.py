"""A file in memory that a reader may read by ranges, and that counts what it reads."""

import tracemalloc
from contextlib import contextmanager


class MemoryFile:
    """A ``ByteSource``; a range that leaves the file is a failure of the test, not of the file.

    Behind ``content`` come zeros up to ``size``.
    """

    name = "weights"

    def __init__(self, content, size=None):
        self.content = content
        self.size = len(content) if size is None else size
        self.bytes_read = 0

    def read(self, start, length):
        assert start >= 0, start
        assert length >= 0, length
        assert start + length <= self.size, (start, length, self.size)
        self.bytes_read += length
        return self.content[start : start + length].ljust(length, b"\0")

    def fetch(self, start, length):
        raise AssertionError("a description needs no fetch")

    def discard(self, start, length):
        pass


@contextmanager
def at_most(most_bytes):
    """Assert that no more memory is taken on the way."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= most_bytes, (peak, most_bytes)

"""What Python does while a reader reads: no file is opened, nothing imported, compiled, executed or started."""

import sys
from contextlib import contextmanager

# Events of Python's audit hooks (PEP 578) that running code of a file, or reaching beyond it, would raise.
_FORBIDDEN = (
    "pickle.",
    "exec",
    "compile",
    "import",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "code.",
)

# Python imports a codec when it is first used; these are those of zip directories and of texts in pickles.
for _codec in ("cp437", "ascii", "latin-1", "raw-unicode-escape", "unicode-escape"):
    "".encode(_codec)

_seen: list[str] | None = None


def _hook(event, _arguments):
    if _seen is not None and event.startswith(_FORBIDDEN):
        _seen.append(event)


sys.addaudithook(_hook)


@contextmanager
def nothing_run():
    """Assert that nothing of the kind happens."""
    global _seen
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert not seen, seen

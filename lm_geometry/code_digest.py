"""A digest of the code behind a rule, so that an edit re-runs what depends on it and a touch re-runs nothing."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PACKAGE = "lm_geometry"

# Modules that change no value in a result: an edit of these re-runs nothing. Those of the hub carry bytes, which are
# checked against what was listed whichever way they came.
PLUMBING = frozenset(
    {
        "lm_geometry",
        "lm_geometry.checkpoints.hub.access",
        "lm_geometry.checkpoints.hub.large_file",
        "lm_geometry.checkpoints.hub.patience",
        "lm_geometry.checkpoints.hub.pieces",
        "lm_geometry.checkpoints.hub.progress",
        "lm_geometry.checkpoints.hub.ranges",
        "lm_geometry.checkpoints.hub.whole_files",
        "lm_geometry.job",
        "lm_geometry.provenance",
        "lm_geometry.tables.files",
        "lm_geometry.version",
    }
)


def code_digest(script: Path, root: Path) -> str:
    """Return a sha256 over a script and the library modules it imports, transitively.

    Imports inside functions count like those at the top. The digest depends on what the code does: comments, docstrings
    and layout have no part in it, nor has the place of ``root`` or the time of a change.

    Parameters
    ----------
    script : Path
        The rule's script.
    root : Path
        The folder that holds the ``lm_geometry`` package.
    """
    digest = hashlib.sha256(_without_words(script))
    for name, path in sorted(_modules_behind(script, root).items()):
        digest.update(f"\0{name}\0".encode())
        digest.update(_without_words(path))
    return digest.hexdigest()


def _without_words(path: Path) -> bytes:
    """Return the code of a file without comments, docstrings and layout."""
    return _code_of(path, path.stat().st_mtime_ns)


# Most modules stand behind many rules, and a workflow asks for the digest of each.
@cache
def _code_of(path: Path, mtime: int) -> bytes:  # noqa: ARG001 - a file that is written again is read again
    tree = ast.parse(path.read_bytes(), filename=str(path))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree).encode()


def rule_digest(rule: str, root: Path, data: Sequence[str] = ()) -> str:
    """Return the digest of what is behind a rule: the script that bears its name, its modules, and ``data``.

    Parameters
    ----------
    rule : str
        The rule's name.
    root : Path
        The folder that holds the ``lm_geometry`` package.
    data : sequence of str
        Files that come with the project and are read by the rule, relative to ``root``. As inputs their paths would
        change with the folder's place, and the rule would run again.
    """
    digest = code_digest(root / "scripts" / f"{rule}.py", root)
    for name in data:
        digest = hashlib.sha256(digest.encode() + b"\0" + (root / name).read_bytes()).hexdigest()
    return digest


def _modules_behind(script: Path, root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [script]
    while waiting:
        for name in _imported_names(waiting.pop()):
            path = _module_file(name, root)
            if path is not None and name not in found and name not in PLUMBING:
                found[name] = path
                waiting.append(path)
    return found


def _imported_names(path: Path) -> list[str]:
    """Return every dotted name below the package that a file may import; some are functions, not modules."""
    return _names_in(path, path.stat().st_mtime_ns)


@cache
def _names_in(path: Path, mtime: int) -> list[str]:  # noqa: ARG001
    return list(_import_statements(path))


def _import_statements(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}:{node.lineno}: relative import; write the module's full name")
            yield from _with_parents(node.module or "")
            for alias in node.names:
                yield from _with_parents(f"{node.module}.{alias.name}")


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    if parts[0] == PACKAGE:
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None

"""A digest of the code behind a rule, so that an edit re-runs what depends on it and a touch re-runs nothing."""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lm_geometry.tables.files import atomic_path

PACKAGE = "lm_geometry"
DATA_BEHIND = "+"
"""Stands between the digests of code and of data in a rule's."""

# Modules that change no value in a result: an edit of these re-runs nothing. Those of the hub carry bytes, which are
# checked against what was listed whichever way they came.
PLUMBING = frozenset(
    {
        "lm_geometry",
        "lm_geometry.code_digest",
        "lm_geometry.checkpoints.hub.access",
        "lm_geometry.checkpoints.hub.cached_file",
        "lm_geometry.checkpoints.hub.large_file",
        "lm_geometry.checkpoints.hub.patience",
        "lm_geometry.checkpoints.hub.pieces",
        "lm_geometry.checkpoints.hub.progress",
        "lm_geometry.checkpoints.hub.ranges",
        "lm_geometry.checkpoints.hub.stream",
        "lm_geometry.checkpoints.hub.whole_files",
        "lm_geometry.job",
        "lm_geometry.provenance",
        "lm_geometry.provenance.carriers",
        "lm_geometry.run_lock",
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
    digest = hashlib.sha256(_read(script).digest.encode())
    for name, path in sorted(modules_behind(script, root).items()):
        digest.update(f"\0{name}\0{_read(path).digest}".encode())
    return digest.hexdigest()


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
    if not data:
        return digest
    of_data = hashlib.sha256()
    for name in data:
        of_data.update(hashlib.sha256((root / name).read_bytes()).digest())
    return f"{digest}{DATA_BEHIND}{of_data.hexdigest()}"


def modules_behind(script: Path, root: Path) -> dict[str, Path]:
    """Return the library modules that a script imports, transitively, but for the plumbing: file by full name."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = [script]
    while waiting:
        names = _read(waiting.pop()).imports - seen
        seen |= names
        for name in names - PLUMBING:
            path = _module_file(name, root)
            if path is not None:
                found[name] = path
                waiting.append(path)
    return found


class _Source(NamedTuple):
    """The digest of what a file does, and every dotted name of the package that it may import; some are functions."""

    digest: str
    imports: frozenset[str]


DIGESTS = Path(".snakemake", "lm_geometry", "code_digests.json")
"""Where what was read of code is remembered, in the working directory."""

# What files of some content do, by the sha256 of the content. To read all of them anew takes a quarter of the time in
# which Snakemake starts, and on a cluster it starts twice for each job.
_known: dict[str, _Source] = {}
_from_before: set[str] = set()


def recall_digests(path: Path) -> None:
    """Recall what ``remember_digests`` wrote by this very code; nothing from a file that is absent or damaged.

    Parameters
    ----------
    path : Path
        In the working directory: what it says of code is believed.
    """
    try:
        maker, sources = json.loads(path.read_text(encoding="utf-8"))
        found = {content: _Source(digest, frozenset(imports)) for content, (digest, imports) in sources.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return
    if maker == _maker():
        _known.update(found)
        _from_before.update(found)


def remember_digests(path: Path) -> None:
    """Write what was read of all files, if that is more than was recalled."""
    if _known.keys() <= _from_before:
        return
    sources = {content: [source.digest, sorted(source.imports)] for content, source in sorted(_known.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([_maker(), sources]), encoding="utf-8")


def _maker() -> str:
    return f"{sys.version} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


def _read(path: Path) -> _Source:
    return _read_once(path, path.stat().st_mtime_ns)


# Most modules stand behind many rules, and a workflow asks for the digest of each.
@cache
def _read_once(path: Path, mtime: int) -> _Source:  # noqa: ARG001 - a file that is written again is read again
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    if key not in _known:
        names: set[str] = set()
        pieces: list[str] = []
        _take(ast.parse(content, filename=str(path)), path, pieces, names)
        code = "".join(pieces).encode("utf-8", "surrogatepass")
        _known[key] = _Source(hashlib.sha256(code).hexdigest(), frozenset(names))
    return _known[key]


def _take(value: Any, path: Path, pieces: list[str], names: set[str]) -> None:
    """Write a node of the syntax tree to ``pieces`` and what it imports to ``names``.

    Neither ``ast.dump`` nor ``ast.unparse`` will do: both write the same code otherwise in another version of Python.
    What is empty is left out, for versions differ in which fields a node has.
    """
    if isinstance(value, list):
        for item in value:
            if not _is_docstring(item):
                _take(item, path, pieces, names)
                pieces.append(",")
    elif not isinstance(value, ast.AST):
        pieces.append(repr(value))
    else:
        if isinstance(value, ast.Import | ast.ImportFrom):
            names.update(_imported_names(value, path))
        pieces.append(f"{type(value).__name__}(")
        for field, item in ast.iter_fields(value):
            if item is not None and item != [] and field != "kind":  # of a string: whether it was written as u"..."
                pieces.append(f"{field}=")
                _take(item, path, pieces, names)
        pieces.append(")")


def _is_docstring(node: Any) -> bool:
    """Say whether a statement is a text that nothing reads: a docstring, or what is said below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported_names(statement: ast.Import | ast.ImportFrom, path: Path) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield from _with_parents(alias.name)
        return
    if statement.level:
        raise ValueError(f"{path}:{statement.lineno}: relative import; write the module's full name")
    yield from _with_parents(statement.module or "")
    for alias in statement.names:
        yield from _with_parents(f"{statement.module}.{alias.name}")


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

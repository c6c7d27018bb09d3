"""English prose that every CPython carries: docstrings and pydoc's topics, read from source without importing any."""

import ast
import hashlib
import inspect
import logging
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

TOPICS = "pydoc_data.topics"

# Packages that distributions split off or that newer versions dropped, and programs whose docstrings address nobody.
SKIPPED_PACKAGES = frozenset({"distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo"})
SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})

# XML 1.0 forbids these characters (and UTF-8 the surrogates); a few docstrings hold them through unraw escapes.
FORBIDDEN_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

MINIMUM_CHARACTERS = 500_000

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)


class Passage(NamedTuple):
    """One text of the prose: ``source`` is a module's name or ``pydoc_data.topics``, ``name`` the documented object."""

    source: str
    name: str
    text: str


def read_prose(standard_library: Path | None = None) -> list[Passage]:
    """Return the distinct docstrings and topics of a standard library, in the order of the files' paths.

    Parameters
    ----------
    standard_library : Path, optional
        Folder of the source files; that of the running Python if left out.

    Raises
    ------
    ValueError
        If the folder holds less than half a million characters of prose, as where Python comes without its source.
    """
    folder = Path(standard_library or sysconfig.get_paths()["stdlib"])
    passages = list(_distinct([*_module_docstrings(folder), *_topics(folder)]))
    n_characters = sum(len(passage.text) for passage in passages)
    if n_characters < MINIMUM_CHARACTERS:
        raise ValueError(
            f"{folder}: {n_characters} characters of prose in {len(passages)} texts, at least {MINIMUM_CHARACTERS} "
            "are needed; use a Python whose standard library is there as source files (.py)"
        )
    return passages


def digest(passages: Iterable[Passage]) -> str:
    """Return the sha256 of the texts, each ended by a NUL byte, in hexadecimal."""
    state = hashlib.sha256()
    for passage in passages:
        state.update(passage.text.encode() + b"\0")
    return state.hexdigest()


def parse_docstrings(source: bytes, module: str) -> Iterator[Passage]:
    """Yield the docstrings of one module's source: its own, then those of its classes and functions as they stand.

    Raises
    ------
    SyntaxError
        If the source does not parse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in somebody else's code
        tree = ast.parse(source)
    yield from _documented(tree, module, module)


def _documented(node: _Documented, module: str, name: str) -> Iterator[Passage]:
    docstring = ast.get_docstring(node, clean=False)
    if docstring is not None:
        yield Passage(module, name, _normalise(inspect.cleandoc(docstring)))
    yield from _inside(node, module, name)


def _inside(node: ast.AST, module: str, name: str) -> Iterator[Passage]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, module, f"{name}.{child.name}")
        elif isinstance(child, _BLOCKS):
            yield from _inside(child, module, name)


def _module_docstrings(folder: Path) -> Iterator[Passage]:
    for path in _source_files(folder):
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            yield from parse_docstrings(path.read_bytes(), module)
        except SyntaxError as error:
            log.warning("%s: left out, it does not parse (%s)", path, error)


def _source_files(folder: Path) -> Iterator[Path]:
    """Yield the files of the standard library proper, by name; distributions put files of their own beside it."""
    for path in sorted(folder.iterdir()):
        if path.stem in sys.stdlib_module_names and path.stem not in SKIPPED_PACKAGES:
            yield from _python_files(path)


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_dir() and path.name not in SKIPPED_FOLDERS:
        for inside in sorted(path.iterdir()):
            yield from _python_files(inside)
    elif path.suffix == ".py":
        yield path


def _topics(folder: Path) -> Iterator[Passage]:
    path = folder / "pydoc_data" / "topics.py"
    if not path.is_file():
        log.warning("%s: absent; the prose is docstrings only", path)
        return
    for node in ast.parse(path.read_bytes()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "topics" for target in targets):
            for name, text in sorted(ast.literal_eval(node.value).items()):
                yield Passage(TOPICS, name, _normalise(text))


def _normalise(text: str) -> str:
    lines = FORBIDDEN_CHARACTERS.sub("", text).expandtabs().split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _distinct(passages: Iterable[Passage]) -> Iterator[Passage]:
    seen: set[str] = set()
    for passage in passages:
        if passage.text.strip() and passage.text not in seen:
            seen.add(passage.text)
            yield passage

"""A module imports only modules of its own floor and those below: CONTRIBUTING.md has the table."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = PROJECT / "lm_geometry"
# Of each floor the names as CONTRIBUTING.md has them; the longest that fits a module is its own.
FLOORS = (
    "tables provenance job run_lock run_code records unmade gpus memory_limit memory_shares code_digest version "
    "metric_names natural_order wording error_words file_states marked_pages tokenizer_file",
    "statistics geometry embeddings retrieval/pooling "
    "retrieval/random_pooling retrieval/inner_products retrieval/ranking retrieval/scoring",
    "embeddings/principal_components retrieval corpus demo",
    "checkpoints embeddings/table embeddings/extraction hidden_states geometry_files",
    "configuration plan measured_stacks geometry_summaries geometry_comparisons score_comparisons published "
    "published_comparison models_page claims",
    "figures",
    "summary",
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
MODULES = {path.relative_to(LIBRARY).as_posix().removesuffix(".py").removesuffix("/__init__"): path
           for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY or path.name != "__init__.py"}  # fmt: skip


def room(module):
    """Return the room that a module lies in, None for what is no module of the library."""
    parts = module.split("/")
    names = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in FLOOR_OF), None)


def imported(path):
    """Yield the modules of the library that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lm_geometry":
            base = node.module.replace(".", "/").removeprefix("lm_geometry").removeprefix("/")
            for alias in node.names:
                whole = f"{base}/{alias.name}".removeprefix("/")
                yield whole if whole in MODULES else base


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_nothing_from_above(module):
    assert room(module), "on no floor: give it one, here and in CONTRIBUTING.md"
    above = [name for name in imported(MODULES[module]) if name and FLOOR_OF[room(name)] > FLOOR_OF[room(module)]]
    assert not above


def test_contributing_has_the_same_floors():
    table = re.findall(r"^\| ([\w ]+) \| (`.*) \|$", (PROJECT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    named = [set(re.findall(r"`([\w/]+?)/?`", rooms)) for _, rooms in table]
    assert named[0] == set(FLOORS[0].split())
    assert named[-1] == set(" ".join(FLOORS[4:]).split())

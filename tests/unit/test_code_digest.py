"""The digest behind a rule changes with its code and with nothing else."""

import json
import os
import shutil

import pytest

from lm_geometry import code_digest as module
from lm_geometry.code_digest import code_digest, recall_digests, remember_digests, rule_digest


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "lm_geometry" / "rooms").mkdir(parents=True)
    (root / "scripts").mkdir()
    (root / "lm_geometry" / "__init__.py").write_text("")
    (root / "lm_geometry" / "provenance.py").write_text("")
    (root / "lm_geometry" / "rooms" / "__init__.py").write_text("")
    (root / "lm_geometry" / "rooms" / "far.py").write_text("far = 1\n")
    (root / "lm_geometry" / "near.py").write_text(
        "def near():\n    from lm_geometry.rooms.far import far\n    return far\n"
    )
    (root / "lm_geometry" / "stranger.py").write_text("")
    (root / "scripts" / "do_it.py").write_text("from lm_geometry import near, provenance\n")
    return root


def digest(root):
    return code_digest(root / "scripts" / "do_it.py", root)


@pytest.mark.parametrize("name", ["scripts/do_it.py", "lm_geometry/near.py", "lm_geometry/rooms/far.py"])
def test_edit_of_code_that_is_used_changes_it(project, name):
    before = digest(project)
    with (project / name).open("a") as file:
        file.write("more = 1\n")
    assert digest(project) != before


@pytest.mark.parametrize("name", ["lm_geometry/stranger.py", "lm_geometry/provenance.py", "lm_geometry/__init__.py"])
def test_edit_of_other_code_does_not(project, name):
    before = digest(project)
    with (project / name).open("a") as file:
        file.write("more = 1\n")
    assert digest(project) == before


def test_words_are_not_code(project):
    before = digest(project)
    near = project / "lm_geometry" / "near.py"
    near.write_text('"""What it is."""\n\n# Why.\n' + near.read_text().replace("():\n", '():\n    """Do it."""\n\n', 1))
    assert digest(project) == before


def test_how_a_text_is_written_is_not_code(project):
    far = project / "lm_geometry" / "rooms" / "far.py"
    far.write_text("far = 'one'\n")
    before = digest(project)
    for spelling in ('"one"', "u'one'", "('o' 'ne')"):
        far.write_text(f"far = {spelling}\n")
        assert digest(project) == before, spelling


def test_words_below_a_constant_are_not_code(project):
    far = project / "lm_geometry" / "rooms" / "far.py"
    before = digest(project)
    far.write_text('far = (\n    1\n)\n"""What it is, in one way or another."""\n')
    assert digest(project) == before


# Code that does different things, and that a careless digest takes for the same.
UNLIKE = [
    "x = 1", "x = 1.0", "x = True", "x = '1'", "x = b'1'", "x = 1j", "x = ...", "x = None", "x = -1", "x = ''",
    "x = ' '", "x = {}", "x = []", "x = ()", "x = [1, 2]", "x = (1, 2)", "x = {1, 2}", "x = {1: 2}", "x = [[1], 2]",
    "x = [[1, 2]]", "x = {**y}", "x = [*y]", "x = f'{y}'", "x = f'{y!r}'", "x = f'{y:1}'", "x = '{y}'",
    "x = 'Constant(value=1)'", "x: int = 1", "x: int", "y = 1", "x += 1", "x == 1", "x != 1", "x < 1", "x <= 1",
    "x is None", "x is not None", "def f(): return", "def f(): return None", "def f(): yield", "def f(x, y): pass",
    "def f(x, /, y): pass", "def f(x, *, y): pass", "def f(x, *, y=None): pass", "def f(x, y=None): pass",
    "def f(*x, y): pass", "async def f(): pass", "lambda x: x", "lambda *x: x", "lambda x=1: x", "f(x)", "f(*x)",
    "f(**x)", "f(x=x)", "x[1]", "x[1:]", "x[:1]", "x[::1]", "import x", "from x import x", "from y import x",
    "import x as y", "import x, y", "global x", "del x", "if x: y", "if x: y\nelse: z", "if x:\n    y\n    z",
    "if x: y\nz", "while x: y", "for x in y: z", "with x: y", "with x as z: y", "try: x\nexcept y: z",
    "try: x\nfinally: z", "try: x\nexcept y: z\nelse: z", "assert x", "raise x", "x and y", "x or y", "not x",
    "x if y else z", "[x for x in y]", "{x for x in y}", "(x for x in y)", "{x: x for x in y}", "[x for x in y if x]",
    "x.y", "(x := 1)", "class x: y = 1", "class x(y): y = 1", "@y\nclass x: y = 1", "match x:\n    case 1: y",
    "match x:\n    case None: y", "match x:\n    case _: y",
]  # fmt: skip


def test_code_that_does_something_else_has_another_digest(project):
    script = project / "scripts" / "do_it.py"
    digests = {}
    for code in UNLIKE:
        script.write_text(code + "\n")
        digests.setdefault(code_digest(script, project), []).append(code)
    assert not [alike for alike in digests.values() if len(alike) > 1]


def test_moved_project_has_the_same_digest(project, tmp_path):
    before = digest(project)
    moved = tmp_path / "moved"
    shutil.move(project, moved)
    assert digest(moved) == before


def test_relative_import_is_refused(project):
    (project / "lm_geometry" / "near.py").write_text("from .rooms import far\n")
    with pytest.raises(ValueError, match=r"near\.py:1: relative import"):
        digest(project)


def test_data_that_a_rule_reads_is_part_of_its_digest(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "judge.py").write_text("x = 1\n")
    (tmp_path / "facts.csv").write_text("a\n1\n")
    without = rule_digest("judge", tmp_path)
    before = rule_digest("judge", tmp_path, data=["facts.csv"])
    (tmp_path / "facts.csv").write_text("a\n2\n")
    assert len({without, before, rule_digest("judge", tmp_path, data=["facts.csv"])}) == 3


@pytest.fixture
def remembered(project, tmp_path, monkeypatch):
    """The digest of the script, what was written of it, and a process that has read no code yet."""
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setattr(module, "_from_before", set())
    before, path = digest(project), tmp_path / "remembered" / "code.json"
    remember_digests(path)
    module._known.clear()
    module._read_once.cache_clear()
    return before, path


def no_parsing(monkeypatch):
    def parse(*_, filename):
        raise AssertionError(f"{filename} was parsed")

    monkeypatch.setattr(module.ast, "parse", parse)


def test_what_was_read_of_the_same_content_is_recalled(project, remembered, monkeypatch):
    before, path = remembered
    recall_digests(path)
    written = path.stat().st_mtime_ns
    no_parsing(monkeypatch)
    assert digest(project) == before
    remember_digests(path)
    assert path.stat().st_mtime_ns == written


def test_other_content_is_read_whatever_its_name_and_time(project, remembered):
    before, path = remembered
    recall_digests(path)
    far = project / "lm_geometry" / "rooms" / "far.py"
    times = far.stat()
    far.write_text("far = 2\n")
    os.utime(far, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(project) != before


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"[1, 2]", b"{}", b'["a", {"b": 1}]', b"null", b'[1, {"a": ["b"]}]'])
def test_a_damaged_file_recalls_nothing(project, remembered, damaged):
    before, path = remembered
    path.write_bytes(damaged)
    recall_digests(path)
    assert not module._known
    assert digest(project) == before


def test_what_other_code_or_another_python_read_is_read_again(remembered):
    _, path = remembered
    maker, sources = json.loads(path.read_text())
    path.write_text(json.dumps([f"{maker}, edited", sources]))
    recall_digests(path)
    assert not module._known

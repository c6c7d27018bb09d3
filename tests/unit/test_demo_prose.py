"""The prose: read from source, the same twice, and nothing imported by reading it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lm_geometry import provenance
from lm_geometry.demo.prose import TOPICS, digest, parse_docstrings, read_prose
from lm_geometry.tables.files import read_table
from scripts.extract_prose import extract_prose

PROJECT = Path(__file__).resolve().parents[2]

SOURCE = b'''"""Module docstring."""
import module_that_does_not_exist

class Shape:
    """A shape.

        Indented by four.
    As it stands.
    """
    if True:
        def area(self):
            "Return the area."
            def inner():
                """An inner function."""

async def run(): """Run.\\x0c\\x00"""

value = """No docstring."""
'''


@pytest.fixture(scope="module")
def passages():
    return read_prose()


def test_every_docstring_is_found_under_its_qualified_name():
    found = {passage.name: passage.text for passage in parse_docstrings(SOURCE, "m")}
    assert found == {
        "m": "Module docstring.",
        "m.Shape": "A shape.\n\n    Indented by four.\nAs it stands.",
        "m.Shape.area": "Return the area.",
        "m.Shape.area.inner": "An inner function.",
        "m.run": "Run.",
    }


def test_texts_are_distinct_printable_and_of_both_sources(passages):
    texts = [passage.text for passage in passages]
    assert len(set(texts)) == len(texts)
    assert all(text.strip() for text in texts)
    assert not any(ord(c) < 32 and c not in "\n" for text in texts for c in text)
    assert 1_000_000 < sum(map(len, texts)) < 4_000_000
    sources = {passage.source for passage in passages}
    assert {TOPICS, "os", "email.message", "json.decoder"} <= sources
    assert not any(part in {"test", "tests", "idle_test"} for source in sources for part in source.split("."))


def test_another_process_reads_the_same_prose_and_imports_nothing_by_it(passages):
    code = (
        "import json, sys, sysconfig; from pathlib import Path; from lm_geometry.demo.prose import digest, read_prose;"
        "folder = Path(sysconfig.get_path('stdlib')); before = set(sys.modules); found = digest(read_prose(folder));"
        "print(json.dumps([found, sorted(set(sys.modules) - before)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    found, imported = json.loads(done.stdout)
    assert found == digest(passages)
    # Decoding a source file that declares its encoding loads that codec; it is no module that is read.
    assert [name for name in imported if not name.startswith("encodings.")] == []


def test_a_folder_with_hardly_any_prose_is_refused(tmp_path):
    (tmp_path / "os.py").write_text('"""Short."""')
    with pytest.raises(ValueError, match=r"6 characters of prose in 1 texts.*\.py"):
        read_prose(tmp_path)


def test_a_broken_file_is_left_out_and_named(tmp_path, caplog):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("def broken(:")
    (tmp_path / "os.py").write_text('"""' + "Some words. " * 50_000 + '"""')
    assert [passage.source for passage in read_prose(tmp_path)] == ["os"]
    assert "json/__init__.py: left out" in caplog.text


def test_the_file_carries_the_digest_and_is_the_same_twice(tmp_path, passages, monkeypatch):
    monkeypatch.setattr("scripts.extract_prose.read_prose", lambda: passages)
    for name in ("a", "b"):
        extract_prose(prose=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert provenance.read(tmp_path / "a")["origin"] == {"prose_sha256": digest(passages)}
    assert read_table(tmp_path / "a").num_rows == len(passages)

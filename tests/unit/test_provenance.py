"""Every file of a run says what made it, or the table beside it does; what nothing tells is said to be so."""

import json
import re

import matplotlib as mpl
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from lm_geometry import provenance
from lm_geometry.figures import style
from lm_geometry.provenance.__main__ import main
from lm_geometry.provenance.carriers import html_element, picture_metadata, read_carried
from lm_geometry.provenance.finding import find
from lm_geometry.tables.files import file_sha256, read_table, write_csv, write_table
from lm_geometry.tables.schema import column

SCHEMA = pa.schema([column("name", pa.string(), "a name"), column("value", pa.float64(), "a value", nullable=True)])
ROWS = pa.table({"name": ["a", "b"], "value": [1.5, None]})
FILES = pa.schema([column("path", pa.string(), "a path"), column("sha256", pa.string(), "its digest")])
# Whatever ends a string, an element or a line somewhere.
WORDS = 'Tiny (é, 模) \\(x\\) \\\\ "quoted" </script> <b>&amp;</b> ]]> {{x}} 100 %\n\nnext, naïve'


@pytest.fixture
def job(monkeypatch):
    """Writes a table as a job of a rule would, with the libraries' versions that are asked for."""

    def write(path, rule, inputs=(), numpy="2.0", **settings):
        monkeypatch.setattr(provenance, "_job", {"rule": rule, "code": f"code of {rule}"})
        monkeypatch.setattr(provenance, "_library_versions", lambda: {"numpy": numpy})
        write_table(path, ROWS, SCHEMA, inputs=inputs, settings=settings)
        return path

    return write


def lineage(path):
    return provenance.read(path)["lineage"]


def test_lineage_names_every_rule_on_the_way(tmp_path, job):
    text = job(tmp_path / "text.parquet", "fetch", seed=1)
    states = [job(tmp_path / f"{name}.parquet", "dump", [text], dtype="f4", model=name) for name in "ab"]
    table = job(tmp_path / "table.parquet", "collect", states, mark=True)
    assert lineage(text) == {}
    assert lineage(table) == {
        "dump": {"code": "code of dump", "settings": {"dtype": "f4"}, "versions": {}},
        "fetch": {"code": "code of fetch", "settings": {"seed": 1}, "versions": {}},
    }


def test_lineage_keeps_the_versions_of_what_was_not_run_again(tmp_path, job):
    """An upgrade re-runs nothing: the last table is made with new libraries from what old ones made."""
    first = job(tmp_path / "first.parquet", "first", numpy="1.0")
    second = job(tmp_path / "second.parquet", "second", [first], numpy="2.0")
    third = job(tmp_path / "third.parquet", "third", [second], numpy="1.0")
    assert lineage(second)["first"]["versions"] == {"numpy": "1.0"}
    assert {rule: step["versions"] for rule, step in lineage(third).items()} == {
        "first": {},
        "second": {"numpy": "2.0"},
    }
    other = job(tmp_path / "other.parquet", "first", numpy="3.0")
    assert lineage(job(tmp_path / "both.parquet", "both", [first, other]))["first"]["versions"] == {
        "numpy": ["1.0", "3.0"]
    }


def test_where_a_checkpoint_lies_is_not_handed_down(tmp_path, job):
    checkpoint = job(tmp_path / "checkpoint.parquet", "fetch", folder="/home/somebody/model", revision="main")
    assert lineage(job(tmp_path / "table.parquet", "dump", [checkpoint]))["fetch"]["settings"] == {"revision": "main"}


@pytest.fixture
def picture(tmp_path, job):
    """The six files of a figure, whose caption has all that a format may trip over."""
    source = job(tmp_path / "source.parquet", "collect")
    files = {"png": "png", "svg": "svg", "pdf": "pdf", "data": "parquet", "csv": "csv", "caption": "rst"}
    paths = {name: tmp_path / "figures" / f"all.{ending}" for name, ending in files.items()}
    figure = Figure(figsize=(1, 1))
    figure.subplots().set_title(r"(a) \ b")
    style.save(style.Drawing(figure, ROWS, WORDS), **paths, inputs=[source], settings={"model": "a"})
    return paths


def test_all_files_of_a_figure_say_the_same(picture):
    facts = provenance.read(picture["data"])
    assert facts["settings"] == {"model": "a", "caption": WORDS}
    assert facts["lineage"].keys() == {"collect"}
    for name in ("png", "svg", "pdf"):
        assert find(picture[name]) == (facts, None), name
    for name in ("csv", "caption"):
        assert find(picture[name]) == (facts, picture["data"]), name


def test_a_page_carries_its_provenance_unseen(tmp_path):
    facts = {"lm_geometry": "1", "settings": {"title": WORDS}}
    page = tmp_path / "page.html"
    page.write_text(f"<html><head><meta charset='utf-8'>{html_element(facts)}</head><body>said</body></html>")
    assert read_carried(page) == facts
    assert not re.search(r"<(script|b)>", page.read_text())


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_by_others_is_not_taken_for_ours(tmp_path, kind):
    path = tmp_path / f"theirs.{kind}"
    place = {"svg": {"Source": "a book"}, "pdf": {"Keywords": "one, two"}, "png": {"Source": "a book"}}
    with mpl.rc_context():
        Figure().savefig(path, metadata=place[kind])
    with pytest.raises(ValueError, match="carries no provenance, and no table beside it"):
        find(path)
    path.write_text("no picture")
    with pytest.raises(ValueError, match=rf"theirs\.{kind}: not a"):
        find(path)


def test_pictures_differ_in_nothing_but_the_metadata_from_those_without(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    from PIL import Image

    figure.savefig(tmp_path / "without.png")
    figure.savefig(tmp_path / "with.png", metadata=picture_metadata("png", {"lm_geometry": "1"}))
    with Image.open(tmp_path / "without.png") as without, Image.open(tmp_path / "with.png") as with_facts:
        assert without.tobytes() == with_facts.tobytes()


def test_a_csv_that_was_edited_is_refused(tmp_path, job):
    table = job(tmp_path / "scores.parquet", "score")
    write_csv(tmp_path / "scores.csv", read_table(table))
    assert find(tmp_path / "scores.csv") == (provenance.read(table), table)
    (tmp_path / "scores.csv").write_text((tmp_path / "scores.csv").read_text().replace("1.5", "1.6"))
    with pytest.raises(ValueError, match=r"scores\.csv: not what was written, for it differs from scores\.parquet"):
        find(tmp_path / "scores.csv")


@pytest.mark.parametrize(
    ("file", "teller", "listed"),
    [
        ("embedded/models/tiny/step0/config.json", "embedded/manifests/tiny.parquet", "step0/config.json"),
        ("mteb/results/a-b/main/SCIDOCS.json", "tables/mteb_results.parquet", "results/a-b/main/SCIDOCS.json"),
        ("mteb/results/a-b/main/model_meta.json", "tables/mteb_results.parquet", None),
        ("models/tiny/main/config.json", "models/tiny/main/listing.parquet", "config.json"),
        ("tokenizers/hub/org/name/tokenizer.json", "tokenizers/hub/org/name/listing.parquet", None),
        ("corpora/enwik8/clean.txt", "corpora/enwik8/statistics.parquet", None),
    ],
)
def test_a_file_without_a_place_is_told_of_by_the_table_that_its_rule_wrote(tmp_path, file, teller, listed):
    path, table = tmp_path / file, tmp_path / teller
    for one in (path, table):
        one.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    with pytest.raises(ValueError, match="no table beside it tells"):
        find(path)
    rows = pa.table({"path": [listed or "other"], "sha256": [file_sha256(path)]})
    write_table(table, rows, FILES)
    assert find(path) == (provenance.read(table), table)
    path.write_text("{ }")
    if listed:
        with pytest.raises(ValueError, match=r"not what was written, for .*lists [0-9a-f]{64}"):
            find(path)


def test_a_config_of_a_hub_that_listed_no_digest_of_it_is_told_of(tmp_path):
    path, table = tmp_path / "models/a/main/config.json", tmp_path / "models/a/main/listing.parquet"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    schema = pa.schema([column("path", pa.string(), "a path"), column("sha256", pa.string(), "digest", nullable=True)])
    write_table(table, pa.table({"path": ["config.json"], "sha256": pa.array([None], pa.string())}), schema)
    assert find(path) == (provenance.read(table), table)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.html", b"<meta name='lm_geometry'>", "carries no provenance"),
        ("a.html", b"<meta name='lm_geometry' content='{'>", r"a\.html: what it carries cannot be read"),
        ("a.html", b"<meta name='lm_geometry' content='{}'>", r"a\.html: its provenance lacks lm_geometry, origin"),
        ("a.html", b"<meta name='lm_geometry' content='[1]'>", r"a\.html: its provenance lacks"),
        ("a.html", b"\xff", r"a\.html: what it carries cannot be read"),
        ("a.pdf", b'%PDF /Keywords ({"lm_geometry": "\xff"})', r"a\.pdf: what it carries cannot be read"),
    ],
)
def test_damaged_provenance_names_its_file(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        find(tmp_path / name)


def test_command_prints_what_made_a_file(tmp_path, capsys, job):
    first = job(tmp_path / "first.parquet", "fetch_text", numpy="1.0", seed=7)
    path = job(tmp_path / "table.parquet", "collect_it", [first], mark=True, steps=list(range(154)))
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(path), "  made by     collect_it (code code of coll)"]
    assert re.fullmatch(r"  with        lm-geometry [\w.+-]+, numpy 2\.0, python [\w.+-]+", lines[2])
    assert lines[3:] == [
        "  settings    mark true",
        "              steps 0, 1, 2 and 151 others",
        "  after       fetch_text (code code of fetc); seed 7; numpy 1.0",
        "",
    ]
    assert main(["--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == provenance.read(path)


def test_command_says_in_a_line_what_it_cannot_tell_and_goes_on(tmp_path, capsys, job):
    path = job(tmp_path / "table.parquet", "collect")
    for name in ("notes.txt", "damaged.parquet", "empty.json"):
        (tmp_path / name).write_text("text")
    pa.parquet.write_table(ROWS, tmp_path / "foreign.parquet")
    given = ["notes.txt", "damaged.parquet", "empty.json", "foreign.parquet", "absent.csv"]
    assert main([*(str(tmp_path / name) for name in given), str(path)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{path}\n")
    lines = said.err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / name) for name in given]
    assert [line.split(": ")[1].split("(")[0].strip() for line in lines] == [
        "carries no provenance, and no table beside it tells what made it",
        "not a readable Parquet file",
        "carries no provenance, and no table beside it tells what made it",
        "carries no provenance; it was not written by lm-geometry",
        "no such file",
    ]

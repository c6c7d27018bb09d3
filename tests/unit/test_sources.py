"""Sources, folders and files as revisions, and the names that are refused."""

import hashlib

import pytest
from tiny_models import save_tokenizer

from lm_geometry.checkpoints.file_names import checked_listing
from lm_geometry.checkpoints.source import (
    FileRevision,
    ListedFile,
    Source,
    checked_path,
    open_revision,
    open_tokenizer_revision,
    parse_source,
)


def folder_revision(folder, revision="main"):
    return open_revision(parse_source(str(folder)), revision)


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("embedded:neox-64", "embedded", "neox-64"),
        ("./models/mine", "folder", "./models/mine"),
        ("../mine", "folder", "../mine"),
        ("/data/mine", "folder", "/data/mine"),
        ("~/mine", "folder", "~/mine"),
        ("my results/embedded/models/neox-64", "folder", "my results/embedded/models/neox-64"),
        ("EleutherAI/pythia-14m", "hub", "EleutherAI/pythia-14m"),
        ("gpt2", "hub", "gpt2"),
        ("google/t5-v1_1-xxl", "hub", "google/t5-v1_1-xxl"),
    ],
)
def test_a_source_is_told_by_its_first_characters(text, kind, location):
    assert parse_source(text) == Source(kind, location)


@pytest.mark.parametrize("text", ["", "embedded:", "embedded:a/b", "a b", "a/b c", "-a/b", "a/..b", "a--b/c", "C:\\m"])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(ValueError, match="is no source: write embedded:NAME"):
        parse_source(text)


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "..", "../x", "a/../../x", "a\\b", "..\\x", "a\nb", "a\x00b", "a\x1b[2Jb", "a\u2028b",
        "a\ud800b", ".", "./a", "a/./b", "a//b", "a/",
    ],
)  # fmt: skip
def test_file_names_that_lead_out_or_deceive_are_refused(path):
    with pytest.raises(ValueError, match="is refused") as caught:
        checked_path(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["a", ".gitattributes", "a..b", "a/b/c.bin", "résumé 東京.txt", "a~b:c"])
def test_other_names_are_taken_as_they_are(path):
    assert checked_path(path) == path


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["../model.bin"], "'../model.bin' is refused"),
        (["model.bin", "model.bin"], "model.bin is listed twice"),
        (["README.md", "README.md"], "README.md is listed twice"),
        (["config.json", "Config.json"], "Config.json and config.json are one file where a disk ignores case"),
        (["model.bin", "MODEL.BIN"], "MODEL.BIN and model.bin are one file"),
        (["model.bin", "model.bin/x"], "model.bin is a file and the folder of model.bin/x"),
    ],
)
def test_lists_of_files_that_cannot_lie_side_by_side_are_refused(paths, problem):
    files = [ListedFile(path, "weights" if path.lower().endswith(".bin") else "other", 1, None) for path in paths]
    files = [ListedFile(file.path, "config", 1, None) if file.path == "config.json" else file for file in files]
    with pytest.raises(ValueError, match=rf"^a/b: its list of files is refused: .*{problem}"):
        checked_listing("a/b", files)


@pytest.mark.parametrize("size", [-1, None, "5", 5.0, True])
def test_lists_with_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match=rf"model\.bin has the size {size!r}"):
        checked_listing("a/b", [ListedFile("model.bin", "weights", size, None)])


def test_two_readmes_do_no_harm():
    files = [ListedFile("readme.md", "other", 1, None), ListedFile("README.md", "other", 0, None)]
    assert checked_listing("a/b", files) == files[::-1]


def test_a_folder_lists_its_files_with_sizes_and_digests(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "notes.txt").write_bytes(b"abc")
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "optimizer.pt").write_bytes(b"large")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"x")
    listing = folder_revision(tmp_path).listing()
    assert listing == [
        ListedFile("config.json", "config", 2, hashlib.sha256(b"{}").hexdigest()),
        ListedFile("notes.txt", "other", 3, hashlib.sha256(b"abc").hexdigest()),
    ]


def test_a_folders_files_are_read_by_ranges(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"0123456789")
    revision = folder_revision(tmp_path)
    listed = revision.listing()[1]
    file = revision.open(listed)
    assert (file.name, file.size, file.read(3, 4), file.bytes_read) == ("model.safetensors", 10, b"3456", 4)
    assert not revision.remote
    (tmp_path / "model.safetensors").write_bytes(b"0123")
    with pytest.raises(ValueError, match="4 bytes, but 10 were listed; remove the listing and run again"):
        revision.open(listed)
    with pytest.raises(ValueError, match=r"no file model\.bin"):
        revision.open(ListedFile("model.bin", "weights", 10, None))


def test_a_folder_of_revisions(tmp_path):
    for name in ("step0", "step512", "main"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert folder_revision(tmp_path, "step512").local_file("config.json") == tmp_path / "step512" / "config.json"
    with pytest.raises(ValueError, match=r"no revision 'step51'; nearest of 3: step512"):
        folder_revision(tmp_path, "step51")


def test_a_folder_that_is_a_model_has_the_revision_main_only(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="no revision 'step0'; the folder itself is the one revision, 'main'"):
        folder_revision(tmp_path, "step0")


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        folder_revision(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"neither the folder nor a sub-folder of it holds a config\.json"):
        folder_revision(tmp_path)
    with pytest.raises(ValueError, match="is no folder yet"):
        open_revision(parse_source("embedded:neox-16"), "main")


def test_links_may_stay_inside_the_folder_but_not_leave_it(tmp_path):
    source = tmp_path / "source"
    (source / "step1000").mkdir(parents=True)
    (source / "step1000" / "config.json").write_text("{}")
    (source / "main").symlink_to("step1000")
    assert [file.path for file in folder_revision(source).listing()] == ["config.json"]
    (tmp_path / "secret").write_text("s")
    (source / "step1000" / "model.safetensors").symlink_to(tmp_path / "secret")
    revision = folder_revision(source)
    for call in (
        revision.listing,
        lambda: revision.local_file("model.safetensors"),
        lambda: revision.open(ListedFile("model.safetensors", "weights", 1, None)),
    ):
        with pytest.raises(ValueError, match="leads out of"):
            call()


def test_a_file_is_a_model_of_one_revision(tmp_path):
    path = tmp_path / "reshard-model.pt"
    path.write_bytes(b"0123456789")
    revision = folder_revision(path)
    assert isinstance(revision, FileRevision)
    assert (revision.model_id, revision.commit(), revision.remote) == ("reshard-model.pt", None, False)
    listed = ListedFile("reshard-model.pt", "weights", 10, hashlib.sha256(b"0123456789").hexdigest())
    assert revision.listing() == [listed]
    assert revision.local_file("reshard-model.pt") == path
    assert revision.open(listed).read(8, 2) == b"89"
    with pytest.raises(ValueError, match=r"no file config\.json; the source is this one file"):
        revision.local_file("config.json")
    with pytest.raises(ValueError, match="no revision 'step1'; a file's one revision is 'main'"):
        folder_revision(path, "step1")
    with pytest.raises(ValueError, match="no such file"):
        open_revision(Source("file", str(tmp_path / "absent")), "main")
    with pytest.raises(ValueError, match="is a file, where a folder is needed"):
        open_tokenizer_revision(parse_source(str(path)), "main")


def test_a_tokenizer_folder_needs_no_config(tmp_path):
    save_tokenizer(tmp_path)
    revision = open_tokenizer_revision(parse_source(str(tmp_path)), "main")
    assert {file.role for file in revision.listing()} == {"tokenizer"}

"""Files appear whole or not at all, fit their schema, and say what made them."""

import os
import shutil
import time

import pyarrow as pa
import pytest

from lm_geometry import provenance
from lm_geometry.run_lock import LOCK_NAME
from lm_geometry.tables.files import (
    atomic_folder,
    atomic_path,
    open_table_writer,
    read_table,
    remove_leftovers,
    set_back_future_times,
    write_table,
    write_text,
)
from lm_geometry.tables.schema import column, conform, vector

SCHEMA = pa.schema([column("name", pa.string(), "a name"), column("value", pa.float64(), "a value", nullable=True)])
ROWS = pa.table({"value": [1.0, None], "name": ["a", "b"]})


def test_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_is_whole_even_if_its_run_is_cut_while_it_takes_the_place_of_another(tmp_path, monkeypatch):
    def write(text):
        with atomic_folder(tmp_path / "folder") as folder:
            for name in ("one", "two"):
                (folder / name).write_text(text)

    def cut(folder, **_):
        if folder.exists():
            next(iter(sorted(folder.iterdir()))).unlink()
            raise KeyboardInterrupt

    write("old")
    monkeypatch.setattr(shutil, "rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        write("new")
    assert {path.name: path.read_text() for path in (tmp_path / "folder").iterdir()} == {"one": "new", "two": "new"}


def test_what_killed_jobs_left_is_removed_and_nothing_else(tmp_path):
    for name in (
        "table.parquet",
        ".table.parquet.x1.lm-geometry.part",
        "a/.layers.x2.lm-geometry.part/layer_0.parquet",
        "a/layers/layer_0",
        ".movie.mkv.part",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/.layers.x2.lm-geometry.part/.layer_1.x3.lm-geometry.part").touch()
    assert remove_leftovers(tmp_path) == 3
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"table.parquet", "a/layers/layer_0", ".movie.mkv.part"}


def test_a_results_folder_below_another_is_left_to_its_own_runs(tmp_path):
    (tmp_path / "mine" / "a").mkdir(parents=True)
    (tmp_path / "mine" / LOCK_NAME).touch()
    part = tmp_path / "mine" / "a" / ".table.parquet.x1.lm-geometry.part"
    part.touch()
    os.utime(part, (time.time() + 1e6,) * 2)
    assert remove_leftovers(tmp_path) == 0
    assert set_back_future_times(tmp_path) == 0
    assert part.exists()
    assert remove_leftovers(tmp_path / "mine") == 1


def test_only_files_of_the_future_get_the_present_time(tmp_path):
    past, future = tmp_path / "past", tmp_path / "folder" / "future"
    future.parent.mkdir()
    for path, time_is in ((past, 1e9), (future, time.time() + 1e6)):
        path.touch()
        os.utime(path, (time_is, time_is))
    assert set_back_future_times(tmp_path) == 1
    assert past.stat().st_mtime == 1e9
    assert abs(future.stat().st_mtime - time.time()) < 60


def test_results_are_readable_like_any_other_file(tmp_path):
    """Temporary files and folders are their owner's alone; what they become is not."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file.txt", "text")
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "inside").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o777


def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    """After a power cut a file that was renamed before its content was written is there, and empty."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    write_text(tmp_path / "file", "whole")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "below").mkdir()
        for name in ("one", "below/two"):
            (folder / name).write_text("whole")
        (folder / "one").chmod(0o444)
        assert not {path.stat().st_ino for path in folder.rglob("*")} & set(synced)
    written = [tmp_path / "file", tmp_path / "folder" / "one", tmp_path / "folder" / "below" / "two"]
    assert {path.stat().st_ino for path in written} <= set(synced)


def test_table_is_written_in_schema_order_with_units_and_meanings(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, ROWS, SCHEMA)
    table = read_table(path)
    assert table.column_names == ["name", "value"]
    assert table.schema.field("name").metadata[b"meaning"] == b"a name"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pa.table({"name": ["a"]}), r"missing columns \['value'\]"),
        (pa.table({"name": ["a"], "value": [1.0], "more": [1]}), r"unknown columns \['more'\]"),
        (pa.table({"name": pa.array([None], pa.string()), "value": [1.0]}), "column 'name' holds 1 nulls in 1 rows"),
    ],
)
def test_table_that_does_not_fit_is_refused(rows, said):
    with pytest.raises(ValueError, match=said):
        conform(rows, SCHEMA)


def test_origins_are_inherited_and_differing_ones_all_kept(tmp_path):
    first, second, both = (tmp_path / f"{name}.parquet" for name in ("first", "second", "both"))
    write_table(first, ROWS, SCHEMA, origin={"model_id": "b", "corpus_sha256": "1"})
    write_table(second, ROWS, SCHEMA, origin={"model_id": "a", "corpus_sha256": "1"})
    write_table(both, ROWS, SCHEMA, inputs=[first, second], settings={"seed": 3})
    facts = provenance.read(both)
    assert facts["origin"] == {"corpus_sha256": "1", "model_id": ["a", "b"]}
    assert facts["settings"] == {"seed": 3}
    again = tmp_path / "again.parquet"
    write_table(again, ROWS, SCHEMA, inputs=[both])
    assert provenance.read(again)["origin"]["model_id"] == ["a", "b"]


def test_same_content_is_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("one.parquet", "two.parquet")]
    for path in paths:
        write_table(path, ROWS, SCHEMA, settings={"seed": 1})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_writer_in_row_groups_keeps_vectors(tmp_path):
    schema = pa.schema([column("row", pa.int32(), "row"), vector(2, "v")])
    block = pa.table({"row": [0, 1], "vector": [[1.0, 2.0], [3.0, 4.0]]})
    path = tmp_path / "vectors.parquet"
    with open_table_writer(path, schema) as writer:
        writer.write_table(conform(block, schema))
        writer.write_table(conform(block, schema))
    assert read_table(path)["vector"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]] * 2

"""The measuring script on a small dump made by hand."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import torch

from lm_geometry import provenance
from lm_geometry.geometry import layers
from lm_geometry.geometry.batches import draw_batches, type_matched_rows
from lm_geometry.geometry.intrinsic_dimension import two_nn
from lm_geometry.geometry.nulls import NULL_DRAWS, frequency_null
from lm_geometry.geometry.spectrum import anisotropy
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.geometry_batches import ALL_TOKENS, BATCHES
from lm_geometry.tables.geometry_statistics import ALL_TOKENS as OF_ALL_TOKENS
from lm_geometry.tables.geometry_statistics import FREQUENCY_NULL, MATCHED, MEANINGS
from lm_geometry.tables.hidden_states import MANIFEST, layer_schema
from scripts.measure_geometry import measure_geometry

WIDTH, LENGTH, N_CHUNKS = 6, 25, 12
CHUNK = np.repeat(np.arange(N_CHUNKS, dtype=np.int32), LENGTH)
POSITION = np.tile(np.arange(LENGTH, dtype=np.int32), N_CHUNKS)
SPECIAL = LENGTH - 1 == POSITION
SETTINGS = {"n_batches": 3, "batch_size": 60, "duplicate_tolerance": 1e-5, "seed": 7}
PLACES = [(0, False), (1, False), (2, False), (2, True)]


class Dump:
    """A dump of a decoder with three layers of vectors, the last one twice."""

    def __init__(self, folder):
        random = np.random.default_rng(0)
        self.folder, self.manifest = folder / "layers", folder / "manifest.parquet"
        self.token_id = random.integers(0, 40, CHUNK.size).astype(np.int32)
        table = random.standard_normal((40, WIDTH))
        self.vectors = [table[self.token_id], *random.standard_normal((3, CHUNK.size, WIDTH))]
        self.vectors[2][POSITION == 0] += 100
        self.write()

    def write(self, *, token_ids=None, special=None, settings=None):
        entries = []
        for number, vectors in enumerate(self.vectors):
            layer, normed = min(number, 2), number == 3
            path = self.folder / f"layer_{number}.parquet"
            write_table(
                path,
                self.rows(vectors, (token_ids or {}).get(number, self.token_id), (special or {}).get(number, SPECIAL)),
                layer_schema(WIDTH),
            )
            entries.append(
                {
                    "file": path.name,
                    "stack": "decoder",
                    "layer": layer,
                    "after_final_norm": normed,
                    "context_free": layer == 0,
                    "n_rows": CHUNK.size,
                    "width": WIDTH,
                    "size": path.stat().st_size,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
            )
        self.write_manifest(entries, settings or {"kind": "decoder", "dtype": "float32", "chunks": {"seed": 3}})

    def rows(self, vectors, token_id, special):
        components = pa.array(vectors.astype(np.float32).ravel())
        return pa.table(
            {
                "chunk": CHUNK,
                "position": POSITION,
                "token_id": token_id,
                "special": special,
                "vector": pa.FixedSizeListArray.from_arrays(components, WIDTH),
            }
        )

    def write_manifest(self, entries, settings):
        table = pa.Table.from_pylist(entries, schema=MANIFEST)
        write_table(self.manifest, table, MANIFEST, settings=settings, origin={"commit": "abc"})

    def measure(self, name="measured", **settings):
        batches, all_tokens = (self.manifest.parent / name / f"{part}.parquet" for part in ("batches", "all_tokens"))
        files = {"manifest": self.manifest, "folder": self.folder, "batches": batches, "all_tokens": all_tokens}
        measure_geometry(**files, **{**SETTINGS, **settings})
        return batches, all_tokens


@pytest.fixture
def dump(tmp_path):
    return Dump(tmp_path)


def rows_of(path, **where):
    return [row for row in read_table(path).to_pylist() if all(row[key] == value for key, value in where.items())]


def drawn_rows(dump):
    """The batches' rows and the type-matched ones, with the ending of their statistics."""
    drawn = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)
    return (("", drawn), (MATCHED, type_matched_rows(CHUNK, dump.token_id, n_batches=3, seed=7)))


def test_every_layer_is_measured_on_the_same_rows(dump):
    batches, _ = dump.measure()
    for vectors, (layer, normed) in zip(dump.vectors, PLACES, strict=True):
        x = vectors.astype(np.float32)
        for suffix, groups in drawn_rows(dump):
            for name, without in (("", None), ("_without_first", POSITION == 0), ("_without_special", SPECIAL)):
                kept = groups if without is None else [rows[~without[rows]] for rows in groups]
                found = rows_of(batches, statistic=f"anisotropy{name}{suffix}", layer=layer, after_final_norm=normed)
                assert [row["batch"] for row in found] == [0, 1, 2]
                assert [row["value"] for row in found] == pytest.approx(
                    [anisotropy(x[rows]) for rows in kept], rel=1e-6
                )
                assert [row["n_vectors"] for row in found] == [len(rows) for rows in kept]
    assert {(row["layer"], row["context_free"], row["width"]) for row in rows_of(batches)} == {
        (0, True, 6), (1, False, 6), (2, False, 6)
    }  # fmt: skip


def test_every_statistic_of_every_batch_in_order(dump):
    batches, all_tokens = dump.measure()
    matched = [name + MATCHED for name in MEANINGS if name != FREQUENCY_NULL]
    found = [
        (row["layer"], row["after_final_norm"], row["batch"], row["statistic"])
        for row in read_table(batches).to_pylist()
    ]
    assert found == [(*place, batch, name) for place in PLACES for batch in range(3) for name in [*MEANINGS, *matched]]
    assert read_table(batches).schema.equals(BATCHES)
    found = [(row["layer"], row["after_final_norm"], row["statistic"]) for row in read_table(all_tokens).to_pylist()]
    assert found == [(*place, name) for place in PLACES for name in OF_ALL_TOKENS]
    assert read_table(all_tokens).schema.equals(ALL_TOKENS)


@pytest.mark.parametrize("block_rows", [4096, 64])
def test_all_tokens_are_measured_at_once(dump, monkeypatch, block_rows):
    monkeypatch.setattr(layers, "_BLOCK_ROWS", block_rows)
    _, all_tokens = dump.measure()
    for vectors, (layer, normed) in zip(dump.vectors, PLACES, strict=True):
        x = vectors.astype(np.float32)
        found = {row["statistic"]: row for row in rows_of(all_tokens, layer=layer, after_final_norm=normed)}
        everything = np.ones(CHUNK.size, dtype=bool)
        views = {"": everything, "_without_first": POSITION != 0, "_without_special": ~SPECIAL}
        for name, kept in views.items():
            row = found[f"anisotropy{name}"]
            assert row["value"] == pytest.approx(anisotropy(x[kept]), rel=1e-6)
            assert (row["n_vectors"], row["status"]) == (kept.sum(), "ok")


def test_the_frequency_null_is_that_of_the_batchs_own_tokens(dump):
    batches, _ = dump.measure()
    (_, drawn), _ = drawn_rows(dump)
    for layer in (0, 2):
        found = rows_of(batches, statistic=FREQUENCY_NULL, layer=layer, after_final_norm=False)
        truth = [frequency_null(dump.token_id[rows], WIDTH, seed=7, n_draws=NULL_DRAWS).mean() for rows in drawn]
        assert [row["value"] for row in found] == pytest.approx(truth, rel=1e-12)
        assert [row["n_distinct"] for row in found] == [len(set(dump.token_id[rows].tolist())) for rows in drawn]


def test_intrinsic_dimension_counts_merged_rows(dump):
    batches, _ = dump.measure()
    (_, drawn), _ = drawn_rows(dump)
    for layer in (0, 1):
        found = rows_of(batches, statistic="twonn_090", layer=layer)
        truth = [two_nn(dump.vectors[layer].astype(np.float32)[rows]) for rows in drawn]
        assert [row["value"] for row in found] == pytest.approx([one.dimension for one in truth], rel=1e-9)
        assert [(row["n_distinct"], row["n_used"]) for row in found] == [(one.n_distinct, one.n_used) for one in truth]
    # Layer 0 is a bare look-up: as many distinct vectors as token types, and no two rows of one token.
    types = [len(set(dump.token_id[rows].tolist())) for rows in drawn]
    assert [row["n_distinct"] for row in rows_of(batches, statistic="twonn_mle", layer=0)] == types
    assert {row["value"] for row in rows_of(batches, statistic="same_token_neighbors", layer=0)} == {0}


def test_provenance_and_bytes(dump):
    for first, again in zip(dump.measure("first"), dump.measure("again"), strict=True):
        assert first.read_bytes() == again.read_bytes()
        facts = provenance.read(first)
        assert facts["origin"] == {"commit": "abc"}
        assert facts["settings"] == {
            **SETTINGS, "kind": "decoder", "dtype": "float32", "dropped_tokens": {"decoder": 300 - 180},
            "chunks": {"seed": 3}, "hidden_states": "dump",
        }  # fmt: skip


def test_a_measurement_takes_the_threads_of_its_job(dump):
    before = torch.get_num_threads()
    try:
        dump.measure(threads=before + 1)
        assert torch.get_num_threads() == before + 1
        dump.measure()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_file_that_differs_from_its_manifest(dump):
    path = dump.folder / "layer_1.parquet"
    whole = path.read_bytes()
    listed = hashlib.sha256(whole).hexdigest()
    changed = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    path.write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(ValueError, match=f"layer_1.parquet: has sha256 {found}, its manifest lists {listed}"):
        dump.measure()
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=f"is {len(whole) - 5} bytes, its manifest lists {len(whole)}"):
        dump.measure()
    path.unlink()
    with pytest.raises(ValueError, match=r"layer_1\.parquet: the manifest lists it, and it is absent"):
        dump.measure()
    assert not (dump.manifest.parent / "measured").exists()


def test_a_manifest_of_another_shape(dump):
    entries = read_table(dump.manifest).to_pylist()
    entries[2]["n_rows"] = 299
    dump.write_manifest(entries, {"kind": "decoder", "dtype": "float32"})
    with pytest.raises(
        ValueError, match=r"layer_2\.parquet: holds 300 vectors of width 6, its manifest lists 299 of 6"
    ):
        dump.measure()


def test_vectors_that_are_not_finite(dump):
    dump.vectors[1][30, 2] = np.inf
    dump.vectors[1][80] = np.nan
    dump.write()
    with pytest.raises(ValueError, match=r"decoder layer 1 holds 2 vectors.* first at chunk 1, position 5"):
        dump.measure()


def test_layers_with_other_tokens(dump):
    dump.write(token_ids={2: dump.token_id[::-1]})
    with pytest.raises(ValueError, match=r"layer_2\.parquet: its rows are not the tokens of the first layer"):
        dump.measure()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"dtype": "float32"}, "its setting 'kind' is None"),
        ({"kind": "recurrent", "dtype": "float32"}, "its setting 'kind' is 'recurrent', not one of"),
        ({"kind": "decoder"}, "its setting 'dtype' is None"),
    ],
)
def test_a_manifest_that_does_not_say_what_ran(dump, settings, problem):
    dump.write(settings=settings)
    with pytest.raises(ValueError, match=problem):
        dump.measure()


def test_layers_with_other_special_tokens(dump):
    dump.write(special={2: ~SPECIAL})
    with pytest.raises(ValueError, match=r"layer_2\.parquet: its rows are not the tokens of the first layer"):
        dump.measure()


def test_a_degenerate_batch_is_a_row_without_value(dump):
    rows = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)[1]
    dump.vectors[1][rows] = 0.5
    dump.write()
    batches, _ = dump.measure()
    for statistic in ("participation_ratio", "twonn_020"):
        found = rows_of(batches, layer=1, statistic=statistic)
        assert [row["value"] is None for row in found] == [False, True, False]
        assert found[1]["status"] == "1 distinct rows among 60; at least 10 are needed"
        assert (found[1]["n_vectors"], found[1]["n_distinct"]) == (60, 1)
        assert found[0]["status"] == "ok"


def test_a_degenerate_layer_is_a_gap_in_both_files(dump):
    dump.vectors[1][:] = 0.1
    dump.write()
    batches, all_tokens = dump.measure()
    for path, n in ((batches, 60), (all_tokens, 300)):
        (status,) = {row["status"] for row in rows_of(path, layer=1, statistic="anisotropy")}
        assert status == f"1 distinct rows among {n}; at least 10 are needed"
        assert all(row["value"] > 0 for row in rows_of(path, layer=2, statistic="anisotropy"))


def test_too_few_tokens_for_the_batches(dump):
    with pytest.raises(ValueError, match="batch_size: 101 tokens are asked of each of 3 groups of chunks"):
        dump.measure(batch_size=101)

"""The measuring scripts on a small dump made by hand, and their summary."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from lm_geometry import provenance
from lm_geometry.geometry.batches import draw_batches, type_matched_rows
from lm_geometry.geometry.intrinsic_dimension import two_nn
from lm_geometry.geometry.nulls import frequency_null
from lm_geometry.geometry.spectrum import anisotropy
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables import duplicate_checkpoints
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.hidden_states import MANIFEST, layer_schema
from scripts.collect_geometry import collect_geometry
from scripts.measure_anisotropy import measure_anisotropy
from scripts.measure_intrinsic_dimension import measure_intrinsic_dimension

WIDTH, LENGTH, N_CHUNKS = 6, 25, 12
CHUNK = np.repeat(np.arange(N_CHUNKS, dtype=np.int32), LENGTH)
POSITION = np.tile(np.arange(LENGTH, dtype=np.int32), N_CHUNKS)
SETTINGS = {"n_batches": 3, "batch_size": 60, "duplicate_tolerance": 1e-5, "seed": 7}


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

    def write(self, *, token_ids=None, settings=None):
        entries = []
        for number, vectors in enumerate(self.vectors):
            layer, normed = min(number, 2), number == 3
            path = self.folder / f"layer_{number}.parquet"
            write_table(path, self.rows(vectors, (token_ids or {}).get(number, self.token_id)), layer_schema(WIDTH))
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
        self.write_manifest(entries, {"kind": "decoder", "chunks": {"seed": 3}} if settings is None else settings)

    def rows(self, vectors, token_id):
        components = pa.array(vectors.astype(np.float32).ravel())
        return pa.table(
            {
                "chunk": CHUNK,
                "position": POSITION,
                "token_id": token_id,
                "special": np.zeros(CHUNK.size, dtype=bool),
                "vector": pa.FixedSizeListArray.from_arrays(components, WIDTH),
            }
        )

    def write_manifest(self, entries, settings):
        table = pa.Table.from_pylist(entries, schema=MANIFEST)
        write_table(self.manifest, table, MANIFEST, settings=settings, origin={"commit": "abc"})

    def measure(self, script=measure_anisotropy, name="measures.parquet", **settings):
        measures = self.manifest.parent / name
        script(manifest=self.manifest, folder=self.folder, measures=measures, **{**SETTINGS, **settings})
        return measures


@pytest.fixture
def dump(tmp_path):
    return Dump(tmp_path)


def rows_of(path, **where):
    return [row for row in read_table(path).to_pylist() if all(row[key] == value for key, value in where.items())]


def test_anisotropy_is_measured_on_the_same_rows_in_every_layer(dump):
    measures = dump.measure()
    batches = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)
    matched = type_matched_rows(CHUNK, dump.token_id, n_batches=3, seed=7)
    for number, vectors in enumerate(dump.vectors):
        vectors = vectors.astype(np.float32)
        place = {"layer": min(number, 2), "after_final_norm": number == 3}
        for suffix, groups in (("", batches), ("_type_matched", matched)):
            found = rows_of(measures, statistic=f"anisotropy{suffix}", **place)
            assert [row["batch"] for row in found] == [0, 1, 2]
            assert [row["value"] for row in found] == [anisotropy(vectors[rows]) for rows in groups]
            kept = [rows[POSITION[rows] != 0] for rows in groups]
            found = rows_of(measures, statistic=f"anisotropy_without_first{suffix}", **place)
            assert [row["value"] for row in found] == [anisotropy(vectors[rows]) for rows in kept]
            assert [row["n_vectors"] for row in found] == [len(rows) for rows in kept]
    assert len(read_table(measures)) == 4 * 3 * 10
    assert {(row["layer"], row["context_free"], row["width"]) for row in rows_of(measures)} == {
        (0, True, 6), (1, False, 6), (2, False, 6)
    }  # fmt: skip


def test_the_frequency_null_is_that_of_the_batchs_own_tokens(dump):
    measures = dump.measure()
    batches = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)
    for layer in (0, 2):
        found = rows_of(measures, statistic="anisotropy_frequency_null", layer=layer, after_final_norm=False)
        truth = [frequency_null(dump.token_id[rows], WIDTH, seed=7, n_draws=4).mean() for rows in batches]
        assert [row["value"] for row in found] == pytest.approx(truth, rel=1e-12)
        assert [row["n_distinct"] for row in found] == [len(set(dump.token_id[rows].tolist())) for rows in batches]


def test_intrinsic_dimension_counts_merged_rows(dump):
    measures = dump.measure(measure_intrinsic_dimension)
    batches = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)
    for layer in (0, 1):
        found = rows_of(measures, statistic="twonn_090", layer=layer)
        truth = [two_nn(dump.vectors[layer].astype(np.float32)[rows]) for rows in batches]
        assert [row["value"] for row in found] == [estimate.dimension for estimate in truth]
        assert [row["n_distinct"] for row in found] == [estimate.n_distinct for estimate in truth]
    # Layer 0 is a bare look-up: as many distinct vectors as token types.
    types = [len(set(dump.token_id[rows].tolist())) for rows in batches]
    assert [row["n_distinct"] for row in rows_of(measures, statistic="twonn_mle", layer=0)] == types
    assert {row["statistic"] for row in rows_of(measures)} == {
        f"{name}{suffix}" for name in ("twonn_090", "twonn_020", "twonn_mle") for suffix in ("", "_type_matched")
    }


@pytest.mark.parametrize("script", [measure_anisotropy, measure_intrinsic_dimension])
def test_provenance_and_bytes(dump, script):
    first, again = dump.measure(script, "first.parquet"), dump.measure(script, "again.parquet")
    assert first.read_bytes() == again.read_bytes()
    facts = provenance.read(first)
    assert facts["origin"] == {"commit": "abc"}
    assert facts["settings"] == {
        **SETTINGS, "kind": "decoder", "dropped_tokens": {"decoder": 300 - 180}, "chunks": {"seed": 3}
    }  # fmt: skip


@pytest.mark.parametrize("script", [measure_anisotropy, measure_intrinsic_dimension])
def test_a_file_that_differs_from_its_manifest(dump, script):
    path = dump.folder / "layer_1.parquet"
    whole = path.read_bytes()
    listed = hashlib.sha256(whole).hexdigest()
    changed = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    path.write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(ValueError, match=f"layer_1.parquet: has sha256 {found}, its manifest lists {listed}"):
        dump.measure(script)
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=f"is {len(whole) - 5} bytes, its manifest lists {len(whole)}"):
        dump.measure(script)
    path.unlink()
    with pytest.raises(ValueError, match=r"layer_1\.parquet: the manifest lists it, and it is absent"):
        dump.measure(script)
    assert not (dump.manifest.parent / "measures.parquet").exists()


def test_a_manifest_of_another_shape(dump):
    entries = read_table(dump.manifest).to_pylist()
    entries[2]["n_rows"] = 299
    dump.write_manifest(entries, {"kind": "decoder"})
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


def test_a_manifest_that_does_not_say_the_kind(dump):
    dump.write(settings={})
    with pytest.raises(ValueError, match="its setting 'kind' is None"):
        dump.measure()


def test_a_degenerate_batch_is_a_row_without_value(dump, tmp_path):
    rows = draw_batches(CHUNK, n_batches=3, batch_size=60, seed=7)[1]
    dump.vectors[1][rows] = 0.5
    dump.write()
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet")]
    for path, statistic in zip(pair, ("participation_ratio", "twonn_020"), strict=True):
        found = rows_of(path, layer=1, statistic=statistic)
        assert [row["value"] is None for row in found] == [False, True, False]
        assert found[1]["status"] == "1 distinct rows among 60; at least 10 are needed"
        assert (found[1]["n_vectors"], found[1]["n_distinct"]) == (60, 1)
        assert found[0]["status"] == "ok"
    (row,) = rows_of(collected(tmp_path, pair), layer=1, statistic="twonn_020")
    assert [row[key] for key in ("value", "std", "ci_low", "ci_high")] == [None] * 4
    assert row["status"] == ("1 of 3 batches have no value: batch 1: 1 distinct rows among 60; at least 10 are needed")
    assert (row["n_batches"], row["n_distinct"]) == (3, 1)


def test_too_few_tokens_for_the_batches(dump):
    with pytest.raises(ValueError, match="batch_size: 101 tokens are asked of each of 3 groups of chunks"):
        dump.measure(batch_size=101)


def collected(folder, measures, *entries, copies=(), policy="mark"):
    """Collect the measures; ``copies`` holds (model, revision, whose weights it carries)."""
    entries = entries or ({"model": "mine", "suite": "Mine", "revision": "step512", "step": 512},)
    rows = [
        {"model": model, "source": "a/b", "revision": revision, "is_genuine": origin is None,
         "is_copy": origin is not None, "copy_of": origin, "status": "ok"}
        for model, revision, origin in copies
    ]  # fmt: skip
    found = pa.Table.from_pylist(rows, schema=duplicate_checkpoints.SCHEMA)
    write_table(folder / "found.parquet", found, duplicate_checkpoints.SCHEMA, origin={"commit": "another model's"})
    table, csv = folder / "geometry.parquet", folder / "geometry.csv"
    collect_geometry(
        measures=list(measures),
        duplicates=folder / "found.parquet",
        table=table,
        csv=csv,
        models=list(entries),
        on_duplicate_checkpoint=policy,
    )
    return table


def test_summary_over_batches(dump, tmp_path):
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet")]
    table = collected(tmp_path, pair)
    assert len(read_table(table)) == 4 * 16
    for statistic, path in (("anisotropy_without_first", pair[0]), ("twonn_090_type_matched", pair[1])):
        batches = rows_of(path, layer=2, after_final_norm=True, statistic=statistic)
        values = [row["value"] for row in batches]
        (row,) = rows_of(table, layer=2, after_final_norm=True, statistic=statistic)
        assert row["value"] == pytest.approx(np.mean(values), rel=1e-12)
        assert row["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        assert (row["ci_low"], row["ci_high"]) == t_interval(np.array(values))
        assert row["n_vectors"] == min(found["n_vectors"] for found in batches)
        assert row["n_distinct"] == min(found["n_distinct"] for found in batches)
        assert (row["n_batches"], row["batch_size"], row["status"]) == (3, 60, "ok")
        assert (row["model"], row["suite"], row["kind"], row["revision"]) == ("mine", "Mine", "decoder", "step512")
        assert row["step"] == 512
    assert provenance.read(table)["origin"] == {"commit": "abc"}
    written = pyarrow.csv.read_csv(tmp_path / "geometry.csv")
    assert written.column_names == read_table(table).column_names
    assert written.column("value").to_pylist() == read_table(table).column("value").to_pylist()


def test_rows_follow_models_then_layers(dump, tmp_path):
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet")]
    entries = [{"model": name, "suite": "S", "revision": "main", "step": None} for name in ("z", "a")]
    rows = rows_of(collected(tmp_path, pair * 2, *entries))
    places = [(row["model"], row["layer"], row["after_final_norm"]) for row in rows]
    layers = [(0, False), (1, False), (2, False), (2, True)]
    assert list(dict.fromkeys(places)) == [(model, *layer) for model in ("z", "a") for layer in layers]
    assert len(places) == len(set(zip(places, (row["statistic"] for row in rows), strict=True)))
    assert {row["step"] for row in rows} == {None}


STEPS = [{"model": "mine", "suite": "S", "revision": f"step{step}", "step": step} for step in (1, 2, 3)]
# Step 1 carries two other steps' files; step 3 is in a group and what it is called; another model's step 2 is no copy.
COPIES = [("mine", "step1", "step2"), ("mine", "step1", "step3, main"), ("mine", "step3", None), ("x", "step2", "main")]


def test_copies_are_marked_and_keep_their_rows(dump, tmp_path):
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet")]
    found = rows_of(collected(tmp_path, pair * 3, *STEPS, copies=COPIES))
    assert {(row["revision"], row["duplicate_of"]) for row in found} == {
        ("step1", "step2, step3, main"), ("step2", None), ("step3", None)
    }  # fmt: skip
    assert len(found) == 3 * 4 * 16
    # Its origin is what was measured, not all that was compared.
    assert provenance.read(tmp_path / "geometry.parquet")["origin"] == {"commit": "abc"}


def test_copies_are_left_out_when_asked_and_named(dump, tmp_path, caplog):
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet")]
    found = rows_of(collected(tmp_path, pair * 3, *STEPS, copies=COPIES, policy="drop"))
    assert {(row["revision"], row["duplicate_of"]) for row in found} == {("step2", None), ("step3", None)}
    assert [record.getMessage() for record in caplog.records] == [
        "mine: step1 is left out: it carries the weights of step2, step3, main"
    ]
    everything = [("mine", entry["revision"], "main") for entry in STEPS]
    assert rows_of(collected(tmp_path, pair * 3, *STEPS, copies=everything, policy="drop")) == []


def test_one_batch_has_a_value_and_no_spread(dump, tmp_path):
    pair = [
        dump.measure(script, name, n_batches=1)
        for script, name in ((measure_anisotropy, "a.parquet"), (measure_intrinsic_dimension, "b.parquet"))
    ]
    (row,) = rows_of(collected(tmp_path, pair), layer=1, statistic="anisotropy")
    assert row["value"] > 0
    assert [row[key] for key in ("std", "ci_low", "ci_high")] == [None] * 3
    assert row["status"] == "ok"


def test_measures_that_do_not_belong_together(dump, tmp_path):
    pair = [dump.measure(name="a.parquet"), dump.measure(measure_intrinsic_dimension, "b.parquet", seed=8)]
    with pytest.raises(ValueError, match="measured with different settings"):
        collected(tmp_path, pair)
    with pytest.raises(ValueError, match="1 models and revisions need 2 measures, got 1"):
        collected(tmp_path, pair[:1])

"""Tables over training: the comparing script on planted tables, and the collected rows."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from peak_memory import peak_bytes
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from lm_geometry import provenance
from lm_geometry.embeddings import blocks as table_blocks
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.sampling import draw_rows
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.tables import duplicate_checkpoints, query_scores, retrieval_scores
from lm_geometry.tables.embedding_training import STATISTICS
from lm_geometry.tables.files import read_table, write_table
from scripts import compare_embedding_tables as compare_script
from scripts.collect_embedding_training import collect_embedding_training
from scripts.compare_embedding_tables import compare_embedding_tables

ROWS, WIDTH, WITHOUT_TOKEN = 300, 12, 20
N_TOKENS = ROWS - WITHOUT_TOKEN


def gaussian(seed, rows=ROWS):
    return np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype(np.float32)


def write(path, table, *, without_token=None, **facts):
    """Write a table whose rows ``without_token`` (by default the last 20) no token stands for."""
    absent = np.arange(ROWS - WITHOUT_TOKEN, ROWS) if without_token is None else without_token
    tokens = [None if row in absent else f"t{row}" for row in range(len(table))]
    write_embedding_table(path, [table], table.shape, tokens, **facts)
    return path


@pytest.fixture
def compared(tmp_path):
    def compare(table, final, *, precision="float32", **where):
        paths = [write(tmp_path / name, rows, **where) for name, rows in (("a.parquet", table), ("b.parquet", final))]
        found = tmp_path / "statistics.parquet"
        compare_embedding_tables(table=paths[0], final_table=paths[1], statistics=found, table_precision=precision)
        return {row["statistic"]: row for row in read_table(found).to_pylist()}

    return compare


def row(value, std, n, status="ok"):
    return {"value": value, "std": std, "n": n, "status": status}


def without_name(found):
    return {key: value for key, value in found.items() if key != "statistic"}


def test_a_table_is_its_own_final_one(compared):
    table = gaussian(0)
    found = compared(table, table)
    assert without_name(found["cosine"]) == row(1.0, 0.0, N_TOKENS)
    assert without_name(found["neighbor_overlap"]) == row(1.0, 0.0, N_TOKENS)
    assert list(found) == ["cosine", "neighbor_overlap"]


def test_a_scaled_table_points_the_same_way(compared):
    table = gaussian(0)
    found = compared(table, 0.3 * table)
    assert found["cosine"]["value"] == pytest.approx(1, abs=1e-12)
    assert found["neighbor_overlap"]["value"] == 1


def test_a_rotation_keeps_all_neighbors_and_turns_every_row(compared):
    table = gaussian(0)
    turn = np.kron(np.eye(WIDTH // 2), [[0.8, -0.6], [0.6, 0.8]])
    found = compared(table, (table @ turn).astype(np.float32))
    assert found["cosine"]["value"] == pytest.approx(0.8, abs=1e-7)
    assert found["cosine"]["std"] == pytest.approx(0, abs=1e-7)
    assert found["neighbor_overlap"]["value"] == 1


def test_a_permuted_table_is_at_chance(compared):
    table = gaussian(0)
    table[:N_TOKENS] = table[np.random.default_rng(1).permutation(N_TOKENS)]
    found = compared(table, gaussian(0))
    # The cosine of two Gaussian vectors has mean 0 and variance 1 / d.
    assert found["cosine"]["value"] == pytest.approx(0, abs=4 / np.sqrt(WIDTH * N_TOKENS))
    assert found["cosine"]["std"] == pytest.approx(1 / np.sqrt(WIDTH), rel=0.15)
    overlap = found["neighbor_overlap"]
    assert overlap["value"] == pytest.approx(10 / (N_TOKENS - 1), abs=4 * overlap["std"] / np.sqrt(N_TOKENS))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_statistics_against_plain_ones(compared, monkeypatch, precision):
    monkeypatch.setattr(table_blocks, "BLOCK_BYTES", 64 * 4 * WIDTH)  # five blocks
    final = gaussian(0) + 0.5
    table = final + gaussian(1)
    found = compared(table, final, precision=precision)
    rounded = [(round_to_bfloat16(x) if precision == "bfloat16" else x)[:N_TOKENS] for x in (table, final)]
    unit = [x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in rounded]
    truth = (unit[0] * unit[1]).sum(axis=1)
    assert found["cosine"]["value"] == pytest.approx(truth.mean(), rel=1e-12)
    assert found["cosine"]["std"] == pytest.approx(truth.std(ddof=1), rel=1e-9)
    first, second = (
        NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(x).kneighbors(return_distance=False)
        for x in unit
    )
    shares = [len(set(one) & set(other)) / 10 for one, other in zip(first.tolist(), second.tolist(), strict=True)]
    assert found["neighbor_overlap"]["value"] == pytest.approx(np.mean(shares), rel=1e-12)
    assert found["neighbor_overlap"]["std"] == pytest.approx(np.std(shares, ddof=1), rel=1e-12)


def test_rows_without_a_token_do_not_count(compared):
    table, final = gaussian(0), gaussian(1)
    found = compared(table, final, without_token=[0, 7, 150])
    assert found["cosine"]["n"] == ROWS - 3
    table[[0, 7, 150]] = 1e6
    assert compared(table, final, without_token=[0, 7, 150]) == found


def test_a_sample_of_tokens_is_compared_with_all(compared, monkeypatch):
    final = gaussian(0)
    table = final + gaussian(1)
    whole = compared(table, final)["neighbor_overlap"]
    monkeypatch.setattr(compare_script, "SAMPLE_SIZE", 100)
    found = compared(table, final)
    assert (found["neighbor_overlap"]["n"], found["cosine"]["n"]) == (100, N_TOKENS)
    # Neighbours are sought among all tokens: the mean over a sample is about that over all.
    assert found["neighbor_overlap"]["value"] == pytest.approx(whole["value"], abs=4 * whole["std"] / 10)


def test_zero_rows(compared):
    table, final = gaussian(0), gaussian(0)
    table[[3, 4, 5]] = final[[3, 4]] = 0
    found = compared(table, final)
    # Rows 3 and 4 are zero in both tables, row 5 in one: it has cosine 0, and no neighbours.
    n = N_TOKENS - 2
    assert found["cosine"]["n"] == found["neighbor_overlap"]["n"] == n
    assert found["cosine"]["value"] == pytest.approx((n - 1) / n, rel=1e-12)
    assert found["neighbor_overlap"]["value"] == pytest.approx((n - 1) / n, abs=0.01)
    assert compared(final, final)["cosine"]["value"] == 1


def test_a_row_that_is_zero_in_one_table_shares_no_neighbors(compared):
    """Rows 0 to 10 are near one another and far from the rest; a zero row would have these by number."""
    final = gaussian(0)
    final[:, 0] = -np.abs(final[:, 0])
    final[:11] *= np.float32(0.01)
    final[:11, 0] = 1
    table = final.copy()
    table[5] = 0
    found = compared(table, final)["neighbor_overlap"]
    # The ten others of the group have lost one neighbour of ten.
    assert found["value"] == pytest.approx((N_TOKENS - 11 + 10 * 0.9) / N_TOKENS, rel=1e-12)
    assert found["n"] == N_TOKENS


def test_zero_rows_among_the_sampled_ones(compared, monkeypatch):
    monkeypatch.setattr(compare_script, "SAMPLE_SIZE", 100)
    table, zero = gaussian(0), np.arange(40)
    table[zero] = 0
    drawn = draw_rows(np.arange(N_TOKENS), 100, seed=compare_script.SEED)
    found = compared(table, table)["neighbor_overlap"]
    assert found["n"] == 100 - np.isin(drawn, zero).sum() > 60
    assert found["value"] == 1


@pytest.mark.parametrize(("zero", "whose"), [(0, "the checkpoint's"), (1, "the final")])
def test_a_table_of_zeros_has_no_value(compared, zero, whose):
    tables = [gaussian(0), gaussian(1)]
    tables[zero][:N_TOKENS] = 0
    for found in compared(*tables).values():
        status = f"all 280 rows compared of {whose} table are zero: no direction to compare"
        assert without_name(found) == row(None, None, 0, status)


def test_too_few_tokens_for_a_choice_of_neighbors(compared):
    found = compared(gaussian(0), gaussian(0), without_token=range(11, ROWS))
    assert found["cosine"]["value"] == 1
    status = "the 10 nearest tokens are no choice among 11 tokens"
    assert without_name(found["neighbor_overlap"]) == row(None, None, 0, status)
    assert compared(gaussian(0), gaussian(0), without_token=range(12, ROWS))["neighbor_overlap"]["value"] == 1


def test_one_token_has_no_deviation(compared):
    found = compared(gaussian(0), gaussian(0), without_token=range(1, ROWS))
    assert without_name(found["cosine"]) == row(1.0, None, 1)


def test_tables_that_do_not_belong_together(tmp_path, compared):
    with pytest.raises(ValueError, match=r"a\.parquet is 300 rows x 12 columns, but .*b\.parquet is 301 x 12"):
        compared(gaussian(0), gaussian(0, rows=301))
    paths = [
        write(tmp_path / f"{name}.parquet", gaussian(0), without_token=absent)
        for name, absent in (("c", [4]), ("d", [5]))
    ]
    with pytest.raises(ValueError, match="299 and 299 rows with a token, the first difference in row 4"):
        compare_embedding_tables(
            table=paths[0], final_table=paths[1], statistics=tmp_path / "s.parquet", table_precision="float32"
        )


def test_a_value_that_overflows_the_precision_is_named(compared):
    table = gaussian(0)
    table[7, 3] = np.finfo(np.float32).max
    with pytest.raises(ValueError, match="inf in row 7, column 3"):
        compared(table, gaussian(0), precision="bfloat16")


def test_provenance_and_bytes(tmp_path):
    origins = ({"commit": "abc"}, {"commit": "def"})
    paths = [write(tmp_path / f"{seed}.parquet", gaussian(seed), origin=origins[seed]) for seed in (0, 1)]
    outputs = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for output in outputs:
        compare_embedding_tables(table=paths[0], final_table=paths[1], statistics=output, table_precision="bfloat16")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    facts = provenance.read(outputs[0])
    assert facts["origin"] == {"commit": ["abc", "def"]}
    assert facts["settings"] == {
        "vocab_rows": 300, "embedding_dim": 12, "table_precision": "bfloat16",
        "n_neighbors": 10, "sample_size": 2000, "seed": 0,
    }  # fmt: skip


_COMPARE = """
import sys
from pathlib import Path
from scripts.compare_embedding_tables import compare_embedding_tables
table, output = map(Path, sys.argv[1:])
compare_embedding_tables(table=table, final_table=table, statistics=output, table_precision="float32")
"""


def test_no_table_is_held_whole(tmp_path):
    """A table three times as tall takes the memory of what is kept of each row, and not of the rows."""
    peaks = []
    for rows in (20_000, 60_000):
        random = np.random.default_rng(0)
        blocks = (random.standard_normal((10_000, 1024), dtype=np.float32) for _ in range(rows // 10_000))
        path = tmp_path / f"{rows}.parquet"
        write_embedding_table(path, blocks, (rows, 1024), [f"t{row}" if row < 50 else None for row in range(rows)])
        peaks.append(peak_bytes(_COMPARE, str(path), str(tmp_path / "s.parquet")))
    assert peaks[1] - peaks[0] < 0.3 * 40_000 * 1024 * 4


# -- collected rows --------------------------------------------------------------------------------------------------

METRICS = ("ndcg_at_10", "map_at_100")
TABLE = {
    "tokenizer": "hub/a/b", "vocab_rows": 300, "embedding_dim": 12, "width": 12, "seed": None, "collection": "cran",
}  # fmt: skip
N_QUERIES = 40


def entry(revision, **changes):
    step = int(revision[4:]) if revision.startswith("step") else None
    return {"model": "m", "suite": "S", "revision": revision, "step": step, "final_revision": "main", **changes}


class Study:
    """Files of a model's checkpoints, whose query scores are given."""

    def __init__(self, folder):
        self.folder = folder
        self.queries = [f"q{number}" for number in range(N_QUERIES)]
        self.copies = []
        self.scope = "all weights"

    def score(self, revision, values, *, queries=None, model="m", status="ok"):
        """Write the scores of a revision, with those of another variant that do not count."""
        queries = self.queries if queries is None else queries
        place = {"model": model, "suite": "S", "revision": revision, **TABLE}
        rows = [
            {**place, "variant": variant, "query_id": query, "ndcg_at_10": one[0], "map_at_100": one[1]}
            for variant, shown in (("crop_4", 1 - values), ("as_is", values))
            for query, one in zip(queries, shown, strict=True)
        ]
        schema = query_scores.schema(METRICS)
        write_table(self.path("queries", revision), pa.Table.from_pylist(rows, schema=schema), schema)
        means = values.mean(axis=0)
        rows = [
            {
                **place, "variant": variant, "table_precision": "bfloat16", "metric": metric, "value": value,
                "ci_low": value - 0.1, "ci_high": value + 0.2, "n_queries": len(queries), "status": status,
            }
            for variant, shown in (("crop_4", 1 - means), ("as_is", means))
            for metric, value in (*zip(METRICS, shown, strict=True), ("mrr_at_10", 0.5))
        ]  # fmt: skip
        schema = retrieval_scores.SCHEMA
        origin = {"commit": f"of {revision}"}
        write_table(self.path("scores", revision), pa.Table.from_pylist(rows, schema=schema), schema, origin=origin)

    def compare(self, revision, cosine, overlap=0.25, status="ok"):
        rows = [
            {"statistic": name, "value": value, "std": 0.1, "n": n, "status": status}
            for name, value, n in (("cosine", cosine, 280), ("neighbor_overlap", overlap, 200))
        ]
        table = pa.Table.from_pylist(rows, schema=STATISTICS)
        settings = {"table_precision": "bfloat16", "seed": 0}
        write_table(self.path("statistics", revision), table, STATISTICS, settings=settings)

    def path(self, kind, revision):
        return self.folder / f"{kind}_{revision}.parquet"

    def collect(self, *entries, policy="drop", **changes):
        copies = [
            {"model": model, "source": "a/b", "revision": revision, "is_genuine": False, "is_copy": True,
             "copy_of": origin, "scope": self.scope, "status": "ok"}
            for model, revision, origin in self.copies
        ]  # fmt: skip
        schema = duplicate_checkpoints.SCHEMA
        write_table(
            self.folder / "duplicates.parquet", pa.Table.from_pylist(copies, schema=schema), schema,
            origin={"commit": "of all that was listed"},
        )  # fmt: skip
        files = {
            "statistics": [self.path("statistics", one["revision"]) for one in entries],
            "scores": [self.path("scores", one["revision"]) for one in entries],
            "query_scores": [self.path("queries", one["revision"]) for one in entries],
            "final_query_scores": [self.path("queries", one["final_revision"]) for one in entries],
        }
        collect_embedding_training(
            **{**files, **changes},
            duplicates=self.folder / "duplicates.parquet",
            table=self.folder / "table.parquet",
            csv=self.folder / "table.csv",
            models=list(entries),
            on_duplicate_checkpoint=policy,
        )
        return read_table(self.folder / "table.parquet").to_pylist()


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path)
    for seed, revision in enumerate(("step1", "step512", "main")):
        study.score(revision, np.random.default_rng(seed).random((N_QUERIES, 2)))
        study.compare(revision, 0.5 + seed / 4)
    return study


def test_rows_of_a_checkpoint(study):
    rows = study.collect(entry("step1"))
    assert [row["statistic"] for row in rows] == [
        "cosine", "neighbor_overlap", "ndcg_at_10", "ndcg_at_10_difference", "map_at_100", "map_at_100_difference"
    ]  # fmt: skip
    for found in rows:
        assert [found[key] for key in ("model", "suite", "revision", "step", "final_revision", "collection")] == [
            "m", "S", "step1", 1, "main", "cran"
        ]  # fmt: skip
        assert (found["status"], found["duplicate_of"]) == ("ok", None)
    cosine, overlap = rows[:2]
    assert (cosine["value"], cosine["n"], overlap["value"], overlap["n"]) == (0.5, 280, 0.25, 200)
    assert [cosine["ci_low"], overlap["ci_high"]] == [None, None]
    scores, final = (np.random.default_rng(seed).random((N_QUERIES, 2)) for seed in (0, 2))
    for place, column in ((2, 0), (4, 1)):
        score, difference = rows[place : place + 2]
        assert score["value"] == pytest.approx(scores[:, column].mean())
        assert (score["ci_low"], score["ci_high"]) == (score["value"] - 0.1, score["value"] + 0.2)
        test = stats.ttest_rel(scores[:, column], final[:, column])
        interval = test.confidence_interval()
        assert difference["value"] == pytest.approx((scores - final)[:, column].mean(), rel=1e-12)
        assert (difference["ci_low"], difference["ci_high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert score["n"] == difference["n"] == N_QUERIES


def test_the_final_revision_differs_from_itself_by_nothing(study):
    rows = {row["statistic"]: row for row in study.collect(entry("main"))}
    for metric in METRICS:
        found = rows[f"{metric}_difference"]
        assert (found["value"], found["ci_low"], found["ci_high"]) == (0, 0, 0)
    assert rows["cosine"]["step"] is None


def test_queries_are_paired_by_id(study):
    values = np.random.default_rng(2).random((N_QUERIES, 2))
    study.score("step1", values[::-1], queries=study.queries[::-1])  # main's own, in another order
    rows = {row["statistic"]: row for row in study.collect(entry("step1"))}
    assert rows["map_at_100_difference"]["ci_high"] == 0


@pytest.mark.parametrize("queries", [[f"q{number}" for number in range(39)], [f"q{number}" for number in range(1, 41)]])
def test_other_queries_than_the_final_ones(study, queries):
    study.score("step1", np.random.default_rng(0).random((len(queries), 2)), queries=queries)
    with pytest.raises(ValueError, match=f"{len(queries)} queries are scored, and 40 of the final revision; 39 are"):
        study.collect(entry("step1"))


def test_one_query_has_a_difference_and_no_interval(study):
    for revision, value in (("step1", 0.25), ("main", 0.75)):
        study.score(revision, np.full((1, 2), value), queries=["q"])
    rows = {row["statistic"]: row for row in study.collect(entry("step1"))}
    found = rows["ndcg_at_10_difference"]
    assert [found[key] for key in ("value", "ci_low", "ci_high", "n")] == [-0.5, None, None, 1]


def test_rows_follow_the_models_and_the_csv_is_their_twin(study, tmp_path):
    rows = study.collect(entry("step512"), entry("main"), entry("step1"))
    assert [row["revision"] for row in rows[::6]] == ["step512", "main", "step1"]
    written = pyarrow.csv.read_csv(tmp_path / "table.csv")
    assert written.column("value").to_pylist() == [row["value"] for row in rows]
    facts = provenance.read(tmp_path / "table.parquet")
    assert facts["settings"] == {"table_precision": "bfloat16", "seed": 0, "on_duplicate_checkpoint": "drop"}
    # Its origin is what was compared, not all that was listed.
    assert facts["origin"] == {"commit": ["of main", "of step1", "of step512"]}


def test_a_checkpoint_that_shares_other_files_only_has_a_table_of_its_own(study):
    study.copies, study.scope = [("m", "step512", "main")], "other files"
    assert {row["duplicate_of"] for row in study.collect(entry("step512"))} == {None}
    study.scope = "file with the embedding"
    assert study.collect(entry("step512")) == []


def test_copies(study, caplog):
    study.copies = [("m", "step512", "main"), ("m", "step512", "step3"), ("other", "step1", "main")]
    caplog.set_level(logging.WARNING)
    rows = study.collect(entry("step1"), entry("step512"))
    assert {row["revision"] for row in rows} == {"step1"}
    assert [record.getMessage() for record in caplog.records] == [
        "m: step512 is left out: it carries the weights of main, step3"
    ]
    rows = study.collect(entry("step1"), entry("step512"), policy="mark")
    assert {(row["revision"], row["duplicate_of"]) for row in rows} == {("step1", None), ("step512", "main, step3")}
    study.copies.append(("m", "step1", "step0"))
    assert study.collect(entry("step1"), entry("step512")) == []


def test_what_has_no_value_says_why(study):
    study.compare("step1", None, None, status="all rows are zero")
    cosine, overlap = study.collect(entry("step1"))[:2]
    assert (cosine["value"], cosine["status"], overlap["status"]) == (None, *["all rows are zero"] * 2)


def test_files_that_do_not_belong_together(study):
    for name, kind in (("scores", "scores"), ("query_scores", "queries")):
        with pytest.raises(ValueError, match=r"holds scores of \[\('m', 'main'\)\], and not of m at step1"):
            study.collect(entry("step1"), **{name: [study.path(kind, "main")]})
    with pytest.raises(ValueError, match=r"holds scores of \[\('m', 'step512'\)\], and not of m at main"):
        study.collect(entry("step1"), final_query_scores=[study.path("queries", "step512")])
    for name in ("statistics", "scores", "query_scores", "final_query_scores"):
        with pytest.raises(ValueError, match=f"1 models and revisions need as many {name}, got 0"):
            study.collect(entry("step1"), **{name: []})


def test_scores_without_the_table_as_it_is(study):
    rows = read_table(study.path("scores", "step1"))
    kept = rows.filter(pc.not_equal(rows.column("variant"), "as_is"))
    write_table(study.path("scores", "step1"), kept, retrieval_scores.SCHEMA)
    with pytest.raises(ValueError, match="holds no ndcg_at_10, map_at_100 of the variant as_is"):
        study.collect(entry("step1"))

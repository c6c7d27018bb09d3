"""Comparisons of variants and models: what is paired, averaged, corrected and refused."""

from functools import partial
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from lm_geometry import provenance
from lm_geometry.retrieval.scoring import METRICS
from lm_geometry.statistics.paired import holm, sign_flip_p
from lm_geometry.statistics.resampling import share_best
from lm_geometry.tables import comparisons, query_scores, suite_peaks
from lm_geometry.tables.files import read_table, write_table
from scripts.compare_scores import compare_scores

QUERIES = [f"q{number}" for number in range(30)]
BOTH = ("ndcg_at_10", "map_at_100")
# Suites and widths, in the order that is asked for; the narrower model's name sorts last.
MODELS = {
    "m-70m": ("one", 512), "m-160m": ("one", 768), "m-1b": ("one", 2048), "m-1.4b": ("one", 2048), "x": ("two", 64),
}  # fmt: skip
VARIANTS = ["as_is", "all_but_the_top", "crop_16", "crop_128", "random"]
SEEDS = {"random": [42, 43, 44]}


def per_query(model, variant, seed, metric, queries):
    """Scores that depend on nothing else, half of them zero."""
    names = [model, variant, str(seed), metric]
    generator = np.random.default_rng([ord(letter) for letter in "".join(names)])
    found = dict(zip(QUERIES, generator.beta(1, 3, len(QUERIES)) * (generator.random(len(QUERIES)) < 0.5), strict=True))
    return np.array([found.get(query, 0.5) for query in queries])


def rows_of(model, variant, *, queries=QUERIES, seeds=None, **facts):
    """The rows of a model's variant, once a seed."""
    schema = query_scores.schema(METRICS)
    suite, width = MODELS[model]
    rows = []
    for seed in seeds or SEEDS.get(variant, [None]):
        constant = {
            "model": model, "suite": suite, "revision": "main", "tokenizer": "t", "vocab_rows": 300,
            "embedding_dim": width, "variant": variant, "width": width, "seed": seed, "collection": "C", **facts,
        }  # fmt: skip
        columns = {name: [value] * len(queries) for name, value in constant.items()}
        scores = {metric: per_query(model, variant, seed, metric, queries) for metric in METRICS}
        rows.append(pa.table({**columns, "query_id": queries, **scores}, schema=schema))
    return rows


def compare_in(folder, *files, settings=None):
    """Write groups of rows as files, compare them, and return the two tables as rows."""
    paths = [folder / f"file{number}.parquet" for number in range(len(files))]
    for path, rows in zip(paths, files, strict=True):
        write_table(path, pa.concat_tables(rows), query_scores.schema(METRICS), settings=settings or {})
    tables = {name: folder / f"{name}.parquet" for name in ("comparisons", "peaks")}
    csv = {f"{name}_csv": folder / f"{name}.csv" for name in tables}
    compare_scores(query_scores=paths, **tables, **csv)
    return [read_table(path).to_pylist() for path in tables.values()]


@pytest.fixture
def compare(tmp_path):
    return partial(compare_in, tmp_path)


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def study(study_folder):
    """Two suites as the workflow has them: a file a model, and one with the random columns of all."""
    own = [[rows for variant in VARIANTS[:-1] for rows in rows_of(model, variant)] for model in MODELS]
    random = [rows for model in reversed(MODELS) for rows in rows_of(model, "random")]
    return compare_in(study_folder, random, *reversed(own))


def mean_over_seeds(model, variant, metric):
    seeds = SEEDS.get(variant, [None])
    return np.mean([per_query(model, variant, seed, metric, QUERIES) for seed in seeds], axis=0)


def difference(row):
    a, b = ((row[f"model_{side}"], row[f"variant_{side}"]) for side in "ab")
    return mean_over_seeds(*a, row["metric"]) - mean_over_seeds(*b, row["metric"])


def test_every_pair_is_compared_once_and_in_order(study):
    expected = []
    for suite in ("one", "two"):
        models = [model for model, (its, _) in MODELS.items() if its == suite]
        expected += [
            ("variants", suite, metric, model, a, model, b)
            for metric in BOTH
            for model in models
            for a, b in combinations(VARIANTS, 2)
        ]
        expected += [
            ("models", suite, metric, a, variant, b, variant)
            for metric in BOTH
            for variant in VARIANTS
            for a, b in combinations(models, 2)
        ]
    columns = ("kind", "suite", "metric", "model_a", "variant_a", "model_b", "variant_b")
    assert [tuple(row[name] for name in columns) for row in study[0]] == expected


def test_differences_are_tested_query_by_query(study):
    for row in study[0]:
        found = stats.ttest_1samp(difference(row), 0)
        interval = found.confidence_interval(0.95)
        ours = [row["difference"], row["ci_low"], row["ci_high"], row["p_t"]]
        np.testing.assert_allclose(ours, [difference(row).mean(), interval.low, interval.high, found.pvalue])
        assert row["p_sign_flip"] == pytest.approx(sign_flip_p(difference(row), n_flips=20_000)[0], abs=0.02)
        assert row["n_queries"] == 30


def test_seeds_are_averaged_and_counted(study):
    for row in study[0]:
        for side in "ab":
            assert row[f"n_seeds_{side}"] == (3 if row[f"variant_{side}"] == "random" else 1)


def test_holm_is_within_kind_suite_and_metric(study):
    families = {}
    for row in study[0]:
        families.setdefault((row["kind"], row["suite"], row["metric"]), []).append(row)
    assert {key: len(rows) for key, rows in families.items() if key[2] == BOTH[0]} == {
        ("variants", "one", BOTH[0]): 4 * 10, ("models", "one", BOTH[0]): 5 * 6, ("variants", "two", BOTH[0]): 10,
    }  # fmt: skip
    for rows in families.values():
        expected = holm(np.array([max(row["p_sign_flip"], row["p_t"]) for row in rows]))
        np.testing.assert_array_equal([row["p_holm"] for row in rows], expected)


def test_a_large_family_can_still_reject(compare):
    """Sign flips cannot say less than 1 / (1 + flips), which Holm's correction multiplies by the number of pairs."""
    variants = [f"crop_{width}" for width in range(1, 36)]
    rows = [row for variant in variants for row in rows_of("m-1b", variant)]
    flat = rows_of("m-1b", "as_is")[0]
    certain = pa.table({name: [1.0] * 30 if name in METRICS else flat[name] for name in flat.column_names}, flat.schema)
    found = compare([certain, *rows])[0]
    assert len(found) == 2 * 36 * 35 // 2
    assert all(row["p_holm"] < 0.05 for row in found if row["variant_a"] == "as_is")


def test_peaks_are_shares_of_resamples(study):
    models = [model for model, (suite, _) in MODELS.items() if suite == "one"]
    peaks = [row for row in study[1] if row["suite"] == "one"]
    assert [(row["metric"], row["variant"], row["model"]) for row in peaks] == [
        (metric, variant, model) for metric in BOTH for variant in VARIANTS for model in models
    ]
    for start in range(0, len(peaks), len(models)):
        group = peaks[start : start + len(models)]
        values = np.column_stack([mean_over_seeds(row["model"], row["variant"], row["metric"]) for row in group])
        np.testing.assert_allclose([row["value"] for row in group], values.mean(axis=0))
        np.testing.assert_allclose([row["share_best"] for row in group], share_best(values))
        assert {(row["n_resamples"], row["n_queries"]) for row in group} == {(10_000, 30)}
        assert [row["embedding_dim"] for row in group] == [512, 768, 2048, 2048]


def test_a_suite_of_one_model_has_a_sure_peak(study):
    assert {row["share_best"] for row in study[1] if row["suite"] == "two"} == {1.0}


def test_models_are_compared_in_the_variants_they_have(compare):
    found, peaks = compare(
        rows_of("m-70m", "as_is"),
        rows_of("m-160m", "as_is") + rows_of("m-160m", "crop_128"),
        rows_of("m-1b", "crop_128"),
    )
    assert [(row["kind"], row["model_a"], row["model_b"]) for row in found if row["metric"] == BOTH[0]] == [
        ("variants", "m-160m", "m-160m"), ("models", "m-70m", "m-160m"), ("models", "m-160m", "m-1b"),
    ]  # fmt: skip
    assert [(row["variant"], row["model"]) for row in peaks if row["metric"] == BOTH[0]] == [
        ("as_is", "m-70m"), ("as_is", "m-160m"), ("crop_128", "m-160m"), ("crop_128", "m-1b"),
    ]  # fmt: skip


def test_queries_are_matched_by_id(compare):
    straight = compare(rows_of("m-70m", "as_is"), rows_of("m-160m", "as_is"))
    shuffled = compare(rows_of("m-70m", "as_is"), rows_of("m-160m", "as_is", queries=QUERIES[::-1]))
    assert straight == shuffled


def test_one_model_in_one_variant_leaves_nothing_to_compare(compare):
    found, peaks = compare(rows_of("x", "as_is"))
    assert found == []
    assert [row["share_best"] for row in peaks] == [1.0, 1.0]


def test_equal_scores_do_not_differ(compare):
    """A pad no wider than the table is the table."""
    own = rows_of("m-70m", "as_is")[0]
    padded = own.set_column(own.schema.get_field_index("variant"), own.schema.field("variant"), [["pad_512"] * 30])
    (row, *_), _ = compare([own, padded])
    assert [row[name] for name in ("difference", "ci_low", "ci_high", "p_t", "p_sign_flip")] == [0, 0, 0, 1, 1]


def test_files_are_described(study, study_folder):
    for name, schema in (("comparisons", comparisons.SCHEMA), ("peaks", suite_peaks.SCHEMA)):
        table = read_table(study_folder / f"{name}.parquet")
        assert table.schema.equals(schema)
        assert (study_folder / f"{name}.csv").read_text().count("\n") == 1 + table.num_rows


def test_settings_are_those_of_all_files_and_the_numbers_of_draws(tmp_path):
    compare_in(tmp_path, rows_of("x", "as_is"), settings={"table_precision": "bfloat16"})
    for name in ("comparisons", "peaks"):
        settings = provenance.read(tmp_path / f"{name}.parquet")["settings"]
        assert settings == {"table_precision": "bfloat16", "n_flips": 100_000, "n_resamples": 10_000}


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_other_queries_are_refused(compare):
    queries = [*QUERIES[2:], "new1", "new2", "new3", "new4"]
    with pytest.raises(
        ValueError,
        match=r"file1.*: m-160m, crop_128 was scored on other queries than the first table in .*file0\.parquet: "
        r"4 \('new1', 'new2', 'new3', \.\.\.\) only here, 2 \('q0', 'q1'\) only there",
    ):
        compare(rows_of("m-70m", "as_is"), rows_of("m-160m", "as_is") + rows_of("m-160m", "crop_128", queries=queries))


def test_a_query_less_or_more_is_refused(compare):
    whole, less = rows_of("m-70m", "as_is"), rows_of("m-160m", "as_is", queries=QUERIES[:-1])
    with pytest.raises(ValueError, match=r"none only here, 1 \('q29'\) only there"):
        compare(whole, less)
    with pytest.raises(ValueError, match=r"1 \('q29'\) only here, none only there"):
        compare(less, whole)


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("revision", "step1", r"m-70m: revision is 'main' in .*file0\.parquet and 'step1' in .*file1\.parquet"),
        ("suite", "other", r"m-70m: suite is 'one' in .* and 'other' in"),
        ("embedding_dim", 256, r"m-70m: embedding_dim is '512' in .* and '256' in"),
        ("collection", "D", r"collection is 'C' in .*file0\.parquet and 'D' in .*file1\.parquet; give files of one"),
    ],
)
def test_files_of_several_are_refused(compare, fact, value, said):
    with pytest.raises(ValueError, match=said):
        compare(rows_of("m-70m", "as_is"), rows_of("m-70m", "crop_128", **{fact: value}))


def test_two_revisions_in_one_file_are_refused(compare):
    with pytest.raises(ValueError, match=r"m-70m: revision is 'main' in .* and 'step1' in"):
        compare(rows_of("m-70m", "as_is") + rows_of("m-70m", "as_is", revision="step1"))


def test_a_variant_in_two_files_is_refused(compare):
    with pytest.raises(ValueError, match=r"m-70m, random: scores are in .*file0\.parquet and in .*file1\.parquet"):
        compare(rows_of("m-70m", "random", seeds=[1]), rows_of("m-70m", "random", seeds=[2]))


def test_a_score_twice_is_refused(compare):
    with pytest.raises(
        ValueError, match=r"file0\.parquet: a score is given twice: model m-70m, .*seed 42, query_id q0"
    ):
        compare(rows_of("m-70m", "random", seeds=[42, 42]))
    with pytest.raises(ValueError, match="a score is given twice: model m-70m, revision main, variant as_is, query_id"):
        compare(rows_of("m-70m", "as_is") * 2)


def test_uneven_seeds_are_refused(compare):
    rows = [*rows_of("m-70m", "random", seeds=[1]), *rows_of("m-70m", "random", seeds=[2], queries=QUERIES[:9])]
    with pytest.raises(ValueError, match=r"file0.*m-70m, random: some queries have scores of 1 seeds, others of 2"):
        compare(rows)


def test_a_score_that_is_not_finite_is_refused(compare):
    rows = rows_of("m-70m", "as_is")[0]
    place = rows.schema.get_field_index("map_at_100")
    broken = rows.set_column(place, rows.schema.field(place), [[0.5] * 29 + [float("nan")]])
    with pytest.raises(ValueError, match=r"file0.*not finite: model m-70m.* query_id q29, ndcg_at_10 [0-9.e-]+"):
        compare([broken])


def test_rows_of_no_model_are_refused(compare):
    rows = rows_of("x", "as_is")[0]
    place = rows.schema.get_field_index("model")
    baseline = rows.set_column(place, rows.schema.field(place), pa.nulls(30, pa.string()))
    with pytest.raises(ValueError, match=r"file0.*: 30 of 60 rows are of no model"):
        compare([rows, baseline])


def test_a_single_query_is_refused(compare):
    with pytest.raises(ValueError, match=r"file0\.parquet: 1 judged query; a comparison needs at least 2"):
        compare(rows_of("m-70m", "as_is", queries=["q0"]))

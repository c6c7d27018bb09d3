"""Planted truths come out with the verdict that they deserve, and chance does not make a claim hold."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lm_geometry.claims.embedding_scaling import METRICS, SUITES, embedding_claims
from lm_geometry.claims.evidence import Evidence, above_all, difference_within, interior_peak, ratio_within
from lm_geometry.claims.scored_queries import ScoredQueries
from lm_geometry.claims.verdict import Claim, Finding, Outcome, judge
from lm_geometry.claims.words import claims_words
from lm_geometry.provenance import read as read_provenance
from lm_geometry.published import FILES, read_published
from lm_geometry.tables import embedding_training, query_scores, retrieval_scores
from lm_geometry.tables.claims import SCHEMA
from lm_geometry.tables.files import read_table, write_table
from scripts.judge_scaling_claims import judge_scaling_claims

CLAIMS = {
    "peak_inside_suite", "peak_at_named_model", "pythia_1b_above_1_4b", "width_alone_gains", "padding_helps_up_to_512",
    "crop128_peaks_at_160m", "12b_crop_equals_14m", "trained_below_random", "opt_66b_below_pythia_70m",
    "tables_settle_early",
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return read_published()


# -- a run with planted scores -----------------------------------------------------------------------------------------


def mine(name):
    """Return a user's own name for a model of the study, which must not matter."""
    return f"my {name}"


def query_frame(means, widths, *, n_queries=100, noise=0.002, collection="SCIDOCS", random_state=0):
    """Return per-query scores with planted means.

    ``means`` holds the mean, one for both metrics or one for each, by (model, variant) or (model, variant, seed).
    """
    generator = np.random.default_rng(random_state)
    hard = generator.normal(scale=10 * noise, size=n_queries)  # what makes a query hard is hard for all models
    frames = []
    for (model, variant, *seed), mean in means.items():
        noises = generator.normal(scale=noise, size=(n_queries, 2))
        # The planted means are met exactly where asked for: what is tested is the rule, not the draw.
        noises -= noises.mean(axis=0)
        values = np.broadcast_to(mean, 2) + hard[:, None] - hard.mean() + noises
        frames.append(
            pd.DataFrame(
                {
                    "model": mine(model), "suite": "A suite", "revision": "main", "tokenizer": "a tokenizer",
                    "vocab_rows": 50304, "embedding_dim": widths[model], "variant": variant,
                    "width": widths[model],
                    "seed": seed[0] if seed else None, "collection": collection,
                    "query_id": [f"q{i}" for i in range(n_queries)],
                }
            ).assign(**dict(zip(METRICS, values.T, strict=True)))
        )  # fmt: skip
    columns = query_scores.schema(METRICS).names
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def entries(models, suite="A suite"):
    return [{"model": mine(name), "suite": suite, "hub_id": None, "reference": name} for name in models]


def empty(schema):
    return schema.empty_table().to_pandas()


def judged(published, means, widths, *, models=None, suite="A suite", **others):
    """Return the rows of all claims about a run with planted scores, by claim."""
    tables = {key: others.pop(key) for key in ("scores", "training") if key in others}
    frame = query_frame(means, widths, **others)
    return embedding_claims(
        collections=["SCIDOCS"],
        query_scores=frame,
        scores=tables.get("scores", empty(retrieval_scores.SCHEMA)),
        training=tables.get("training", empty(embedding_training.SCHEMA)),
        models=models or entries(widths, suite),
        published=published,
    )


def verdicts(rows, claim, about=None):
    """Return the verdicts of a claim, one per metric."""
    rows = rows[rows["claim"] == claim]
    return list(rows.loc[rows["about"] == about if about else rows.index, "verdict"])


def both(verdict):
    return [verdict] * 2


# -- the rule ----------------------------------------------------------------------------------------------------------


def outcome(p, supports=True, **obstacles):
    return Outcome(Evidence(0.1, 0.0, 0.2, p, supports, 100), "compared", **obstacles)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (outcome(0.049), "holds"),
        (outcome(0.05), "undecided"),
        (outcome(0.049, supports=False), "refuted"),
        (outcome(0.05, supports=False), "undecided"),
        (outcome(None), "holds"),
        (outcome(None, supports=False), "refuted"),
        (outcome(0.01, cannot_hold="x is missing"), "undecided"),
        (outcome(0.01, supports=False, cannot_hold="x is missing"), "refuted"),
        (outcome(0.01, supports=False, cannot_refute="x is missing"), "undecided"),
        (outcome(0.01, cannot_refute="x is missing"), "holds"),
        ("x is not in this config", "not run"),
    ],
)
def test_the_rule(found, verdict):
    row = judge([Finding(Claim("c", "It is so."), "a", "SCIDOCS", "m", found)], study="embedding_scaling").iloc[0]
    assert row["verdict"] == verdict
    assert ("missing" in row["detail"]) == (verdict == "undecided" and row["p_holm"] < 0.05)


def test_p_values_are_corrected_over_the_rows_of_the_same_claim_only():
    one, other = Claim("one", "It is so."), Claim("other", "That is so.")
    findings = [
        Finding(one, "a", "SCIDOCS", "m", outcome(0.03)),
        Finding(one, "b", "SCIDOCS", "m", outcome(0.02)),
        Finding(one, "c", "SCIDOCS", "m", "not there"),
        Finding(other, "a", "SCIDOCS", "m", outcome(0.03)),
    ]
    rows = judge(findings, study="embedding_scaling")
    assert list(rows["p_holm"].fillna(-1)) == pytest.approx([0.04, 0.04, -1, 0.03])
    findings[0] = Finding(one, "a", "SCIDOCS", "m", outcome(0.051))
    assert list(judge(findings, study="embedding_scaling")["verdict"]) == ["undecided", "holds", "not run", "holds"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("hh", ["undecided"] * 2),
        ("hh hh", ["undecided"] * 4),
        ("hh hh hh", ["holds"] * 6),
        ("hh hh hu", ["undecided"] * 6),
        ("hh hh hh uu", ["holds"] * 6 + ["undecided"] * 2),
        ("hh hh hh rh", ["undecided"] * 6 + ["refuted", "undecided"]),
        ("rr", ["refuted"] * 2),
    ],
)
def test_a_claim_of_several_collections_holds_on_no_fewer_and_with_none_against_it(found, expected):
    claim = Claim("c", "It is so everywhere.", collections_needed=3)
    kinds = {"h": outcome(0.0001), "u": outcome(0.5), "r": outcome(0.0001, supports=False)}
    findings = [
        Finding(claim, "a", f"collection {number}", metric, kinds[kind])
        for number, both_metrics in enumerate(found.split())
        for metric, kind in zip(METRICS, both_metrics, strict=True)
    ]
    rows = judge(findings, study="embedding_scaling")
    assert list(rows["verdict"]) == expected
    if found == "hh":
        assert "it holds on this collection" in rows["detail"].iloc[0]
        assert "needs 3 or more" in rows["detail"].iloc[0]


# -- the tests ---------------------------------------------------------------------------------------------------------


def test_one_difference_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.2, 1, size=60)
    peer = stats.ttest_1samp(differences, 0)
    found = above_all(differences)
    assert found.p == pytest.approx(peer.pvalue, abs=0.01)
    assert found.p >= peer.pvalue  # the sign-flip test must agree
    assert (found.low, found.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert found.supports
    assert found.n == 60


def test_both_tests_of_a_difference_must_agree():
    steady, one_outlier = np.ones(12), np.array([10.0] + [0.01] * 11)
    # No t test can tell that twelve equal differences may be chance; their signs can.
    assert above_all(steady).p == pytest.approx(2 * 0.5**12, abs=2e-4)
    assert above_all(steady).p > 0
    # The signs of twelve differences agree, but all depends on one of them.
    assert above_all(one_outlier).p == pytest.approx(stats.ttest_1samp(one_outlier, 0).pvalue)
    assert above_all(one_outlier).p > 0.05


def test_all_statements_must_hold_and_one_that_fails_is_corrected_for_being_chosen():
    generator = np.random.default_rng(1)
    clear, weak = generator.normal(1, 1, size=80), generator.normal(0, 1, size=80)
    weak += 0.15 - weak.mean()
    together = above_all(np.column_stack([clear, weak]))
    assert together.supports
    assert together.p == pytest.approx(above_all(weak).p)
    assert together.p > 0.05
    assert together.estimate == pytest.approx(0.15)
    failing = above_all(np.column_stack([clear, clear, -clear]))
    assert not failing.supports
    assert failing.p == pytest.approx(3 * above_all(clear).p)


def test_a_ratio_s_interval_ends_where_the_t_test_of_its_combination_turns():
    generator = np.random.default_rng(2)
    b = generator.gamma(2, 0.02, size=300)
    a = 1.05 * b + generator.normal(0, 0.01, size=300)
    found = ratio_within(a, b, margin=0.2)
    for end in (found.low, found.high):
        assert stats.ttest_1samp(a - (1 + end) * b, 0).pvalue == pytest.approx(0.05)
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(a.mean() / b.mean() - 1)
    peers = [stats.ttest_1samp(values, 0).pvalue for values in (a - 0.8 * b, 1.2 * b - a)]
    assert found.p == pytest.approx(max(peers))
    assert found.supports
    # b is noise about zero: the ratio might be anything.
    assert ratio_within(a, generator.normal(0.0001, 1, size=300), margin=0.2).low is None


def test_two_one_sided_tests_of_a_ratio_agree_with_its_interval():
    generator = np.random.default_rng(3)
    kinds = set()
    for ratio in np.linspace(0.6, 1.4, 41):
        b = generator.gamma(2, 0.02, size=200)
        found = ratio_within(ratio * b + generator.normal(0, 0.02, size=200), b, margin=0.2)
        inside = found.low > -0.2 and found.high < 0.2
        outside = found.low > 0.2 or found.high < -0.2
        assert (found.supports and found.p < 0.05) == inside
        assert (not found.supports and found.p < 0.05) == outside
        kinds.add((inside, outside))
    assert len(kinds) == 3


def test_a_difference_within_a_margin_is_schuirmann_s_test():
    values = np.random.default_rng(4).normal(0.0005, 0.01, size=150)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = difference_within(values.mean(), *interval, len(values), margin=0.003)
    peers = [stats.ttest_1samp(values, -0.003).pvalue, stats.ttest_1samp(values, 0.003).pvalue]
    assert found.p == pytest.approx(max(peers))
    assert found.supports
    outside = difference_within(values.mean() + 0.01, *(np.array(interval) + 0.01), len(values), margin=0.003)
    assert not outside.supports
    assert outside.p < 0.05
    same = difference_within(0.0, 0.0, 0.0, 150, margin=0.003)
    assert same.supports
    assert same.p == 0


def draws(n_draws, *, low_start):
    """Yield scores of ten equal models over 200 queries; with ``low_start`` the smallest one is clearly worse."""
    generator = np.random.default_rng(5)
    for _ in range(n_draws):
        values = generator.normal(size=(200, 1)) + generator.normal(size=(200, 10))
        yield values[:, 1:9], values[:, [0, 9]] - [2.0 if low_start else 0.0, 0.0]


@pytest.mark.parametrize("low_start", [False, True])
@pytest.mark.parametrize("n_splits", [1, 5])  # the median of many is so careful that it would hide a wrong split
def test_without_a_peak_none_is_found_more_often_than_chance_allows(n_splits, low_start):
    n_draws = 200
    false, naive = 0, 0
    for interior, ends in draws(n_draws, low_start=low_start):
        found = interior_peak(interior, ends, n_splits=n_splits)
        false += found.supports and found.p < 0.05
        if n_splits == 1:
            best = interior[:, [interior.mean(axis=0).argmax()]]
            same_queries = above_all(best - ends)
            naive += same_queries.supports and same_queries.p < 0.05
    assert false <= stats.binom.ppf(0.995, n_draws, 0.05)
    if (
        n_splits == 1 and low_start
    ):  # a rise and then a plateau, where only the widest model stands against the best of eight
        assert naive > stats.binom.ppf(0.995, n_draws, 0.05), "choosing on the tested queries would do: no guard needed"


def test_a_suite_without_a_peak_above_its_end_is_refuted_only_where_the_end_is_above_all():
    n_draws, false = 200, 0
    for interior, ends in draws(n_draws, low_start=True):
        found = interior_peak(interior, ends, n_splits=5)
        false += not found.supports and found.p < 0.05
    assert false <= stats.binom.ppf(0.995, n_draws, 0.025)
    generator = np.random.default_rng(6)
    rising = np.arange(10) * 0.5 + generator.normal(size=(100, 10))
    for ends in ([0, 9], [9, 0]):
        found = interior_peak(rising[:, 1:9], rising[:, ends])
        assert not found.supports
        assert found.p < 0.01
        assert found.high < 0


def test_a_peak_is_found_and_measured_without_the_gain_of_choosing_it():
    generator = np.random.default_rng(7)
    shape = -0.2 * np.abs(np.arange(10) - 5.0)
    values = shape + generator.normal(size=(1000, 1)) + 0.5 * generator.normal(size=(1000, 10))
    found = interior_peak(values[:, 1:9], values[:, [0, 9]])
    assert found.supports
    assert found.p < 0.001
    assert found.low < 0.8 < found.high  # 0.8 is the peak less the wider end
    assert found == interior_peak(values[:, 1:9], values[:, [0, 9]])


def test_the_interval_of_a_peak_agrees_with_its_p():
    generator = np.random.default_rng(8)
    decided = []
    for height in np.linspace(0.1, 0.7, 25):
        values = np.array([-1, 0, height, 0, 0]) + generator.normal(size=(200, 5))
        found = interior_peak(values[:, 1:4], values[:, [0, 4]], n_splits=25)
        if found.supports and not 0.03 < found.p < 0.07:  # apart from where t and sign-flip might differ
            decided.append(found.p < 0.05)
            assert (found.p < 0.05) == (found.low > 0)
    assert 5 < sum(decided) < len(decided) - 5


# -- the claims --------------------------------------------------------------------------------------------------------


def test_the_suites_are_the_reference_s_narrowest_first(published):
    models = pd.read_csv(FILES[0])
    in_study = models[models["in_blog"]].sort_values("emb_dim", kind="stable")
    expected = {suite: tuple(rows["model"]) for suite, rows in in_study.groupby("suite")}
    assert {suite: tuple(names) for suite, names in SUITES.items()} == expected


def test_every_claim_has_a_row_per_metric_though_nothing_can_be_tested(published):
    rows = judged(published, {}, {}, models=entries(["gpt2"]))
    assert set(rows["claim"]) == CLAIMS
    assert set(rows["verdict"]) == {"not run"}
    assert (rows["detail"].str.len() > 10).all()
    assert (rows.groupby(["claim", "about"])["metric"].apply(tuple) == METRICS).all()
    detail = dict(zip(rows["claim"], rows["detail"], strict=True))
    assert "pythia-160m is not in this config" in detail["crop128_peaks_at_160m"]
    assert "pythia-1b is not in this config; pythia-1.4b is not in this config" in detail["pythia_1b_above_1_4b"]
    assert "0 scored models" in detail["peak_inside_suite"]


WIDTHS = {"a": 128, "b": 256, "c": 512, "d": 1024}


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([0.02, 0.06, 0.04, 0.03], "holds"),
        ([0.02, 0.03, 0.04, 0.05], "refuted"),
        ([0.05, 0.04, 0.03, 0.02], "refuted"),
        ([0.02, 0.05, 0.04, 0.0499], "undecided"),
        ([0.0499, 0.05, 0.04, 0.02], "undecided"),
    ],
)
def test_a_suite_of_the_user_s_own_peaks_inside(published, means, verdict):
    scores = {(model, "as_is"): mean for model, mean in zip(WIDTHS, means, strict=True)}
    models = [{"model": mine(name), "suite": "A suite", "hub_id": None, "reference": None} for name in WIDTHS]
    assert verdicts(judged(published, scores, WIDTHS, models=models), "peak_inside_suite") == both(verdict)
    # A model that was not run may be an end of the suite.
    absent = [*models, {"model": "e", "suite": "A suite", "hub_id": None, "reference": None}]
    rows = judged(published, scores, WIDTHS, models=absent)
    assert verdicts(rows, "peak_inside_suite") == both("undecided")


def test_a_peak_needs_three_widths(published):
    rows = judged(
        published,
        {("pythia-70m", "as_is"): 0.01, ("pythia-1b", "as_is"): 0.03, ("pythia-1.4b", "as_is"): 0.02},
        {"pythia-70m": 512, "pythia-1b": 2048, "pythia-1.4b": 2048},
    )
    assert verdicts(rows, "peak_inside_suite") == both("not run")
    assert "3 scored models have 2: my pythia-70m 512, my pythia-1b 2048" in rows["detail"].iloc[0]


def study(names, peak):
    """Return scores that peak at one model, and widths."""
    return {(name, "as_is"): 0.05 if name == peak else 0.03 for name in names}, {
        name: 100 * place for place, name in enumerate(names, start=1)
    }


def test_a_suite_of_the_study_without_its_widest_model_has_no_known_peak(published):
    names = SUITES["OPT"]
    whole = judged(published, *study(names, "opt-13b"))
    assert verdicts(whole, "peak_inside_suite") == both("holds")
    assert verdicts(whole, "peak_at_named_model", "OPT: opt-13b") == both("holds")
    without = judged(published, *study(names[:-1], "opt-13b"))
    assert verdicts(without, "peak_inside_suite") == both("undecided")
    assert verdicts(without, "peak_at_named_model", "OPT: opt-13b") == both("undecided")
    assert without.loc[without["claim"].str.startswith("peak"), "detail"].str.contains("opt-175b").any()
    # A model between that is missing takes nothing from a peak that is there, but might have been one.
    inner_missing = [name for name in names if name != "opt-1.3b"]
    assert verdicts(judged(published, *study(inner_missing, "opt-13b")), "peak_inside_suite") == both("holds")
    assert verdicts(judged(published, *study(inner_missing, "opt-175b")), "peak_inside_suite") == both("undecided")
    assert verdicts(judged(published, *study(names, "opt-175b")), "peak_inside_suite") == both("refuted")


@pytest.mark.parametrize(
    ("claim", "about", "named", "rival", "variant", "suite"),
    [
        ("peak_at_named_model", "Pythia: pythia-1b", "pythia-1b", "pythia-2.8b", "as_is", "Pythia"),
        ("peak_at_named_model", "BLOOM: bloom-1b7", "bloom-1b7", "bloom", "as_is", "BLOOM"),
        ("crop128_peaks_at_160m", None, "pythia-160m", "pythia-410m", "crop_128", "Pythia"),
    ],
)
def test_a_named_peak(published, claim, about, named, rival, variant, suite):
    names = SUITES[suite]
    widths = {name: 100 * place for place, name in enumerate(names, start=2)}

    def found(gain, names=names):
        scores = {
            (name, variant): 0.05 + gain * (name == rival) - 0.02 * (name not in (named, rival)) for name in names
        }
        return judged(published, scores, {name: widths[name] for name in names})

    assert verdicts(found(-0.01), claim, about) == both("holds")
    assert verdicts(found(0.01), claim, about) == both("refuted")
    undecided = found(0.0)
    assert verdicts(undecided, claim, about) == both("undecided")
    details = undecided.loc[(undecided["claim"] == claim) & (undecided["verdict"] != "not run"), "detail"]
    assert details.str.contains("% of resamples of queries").all()
    # A claim about all models of a suite is refuted by one of them, and holds of no fewer than all.
    assert verdicts(found(-0.01, [named, rival]), claim, about) == both("undecided")
    assert verdicts(found(0.01, [named, rival]), claim, about) == both("refuted")
    assert verdicts(found(0.0, [named]), claim, about) == both("not run")


def pair(published, difference, collections):
    widths = {"pythia-1b": 2048, "pythia-1.4b": 2048}
    scores = {("pythia-1b", "as_is"): 0.05 + difference, ("pythia-1.4b", "as_is"): 0.05}
    frames = [
        query_frame(scores, widths, collection=name, random_state=place) for place, name in enumerate(collections)
    ]
    rows = embedding_claims(
        collections=collections,
        query_scores=pd.concat(frames),
        scores=empty(retrieval_scores.SCHEMA),
        training=empty(embedding_training.SCHEMA),
        models=entries(widths),
        published=published,
    )
    return rows[rows["claim"] == "pythia_1b_above_1_4b"]


def test_the_pair_of_equal_width_needs_three_collections(published):
    one = pair(published, 0.01, ["SCIDOCS"])
    assert list(one["verdict"]) == both("undecided")
    assert one["detail"].str.contains("it holds on this collection in this metric").all()
    assert one["estimate"].to_numpy() == pytest.approx(0.01)
    assert list(pair(published, 0.01, ["a", "b", "c"])["verdict"]) == ["holds"] * 6
    assert list(pair(published, -0.01, ["SCIDOCS"])["verdict"]) == both("refuted")
    equal = pair(published, 0.0, ["SCIDOCS"])
    assert list(equal["verdict"]) == both("undecided")
    assert not equal["detail"].str.contains("it holds").any()


def baselines(slopes, widths=(128, 256, 1024), tokenizer="a tokenizer"):
    """Return rows of random tokenizers whose score is a line in log2 of the width, one slope per seed."""
    rows = [
        {"variant": "random_tokenizer", "tokenizer": tokenizer, "width": width, "seed": seed, "metric": metric,
         "value": 0.02 + slope * np.log2(width), "status": "ok", "collection": "SCIDOCS"}
        for seed, slope in enumerate(slopes) for width in widths for metric in METRICS
    ]  # fmt: skip
    return pd.concat([empty(retrieval_scores.SCHEMA), pd.DataFrame(rows)], ignore_index=True)


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [
        ([0.002, 0.0021, 0.0019, 0.002], "holds"),
        ([-0.002, -0.0021, -0.0019], "refuted"),
        ([0.002, -0.002, 0.001], "undecided"),
        ([0.002, 0.0021], "undecided"),
        ([0.002], "undecided"),
    ],
)
def test_width_alone(published, slopes, verdict):
    rows = judged(published, {}, {}, models=entries(["gpt2"]), scores=baselines(slopes))
    found = rows[rows["claim"] == "width_alone_gains"]
    assert list(found["verdict"]) == both(verdict)
    assert list(found["about"]) == both("a tokenizer")
    assert found["estimate"].to_numpy() == pytest.approx(np.mean(slopes))
    assert list(found["n"]) == both(len(slopes))
    if len(slopes) < 3:
        assert found["detail"].str.contains("needs 3 or more").all()
    else:
        peer = stats.ttest_1samp(slopes, 0)
        assert found["ci_low"].iloc[0] == pytest.approx(peer.confidence_interval(0.95).low)


def test_width_alone_needs_two_widths_and_the_same_ones_for_all_seeds(published):
    uneven = baselines([0.1, 0.2, 0.3])
    uneven = uneven[(uneven["seed"] != 1) | (uneven["width"] != 256)]
    rows = judged(published, {}, {}, models=entries(["gpt2"]), scores=uneven)
    assert verdicts(rows, "width_alone_gains") == both("not run")
    rows = judged(published, {}, {}, models=entries(["gpt2"]), scores=baselines([0.1, 0.2, 0.3], widths=(128,)))
    assert verdicts(rows, "width_alone_gains") == both("not run")


@pytest.mark.parametrize(
    ("padded", "as_is", "random", "verdict"),
    [
        (0.05, 0.03, 0.02, "holds"),
        (0.05, 0.06, 0.02, "refuted"),
        (0.05, 0.03, 0.06, "refuted"),
        (0.05, 0.05, 0.02, "undecided"),
    ],
)
def test_padding_is_above_the_table_and_above_random_ones(published, padded, as_is, random, verdict):
    widths = {"pythia-70m": 512, "pythia-160m": 768}
    scores = {("pythia-70m", "as_is"): as_is, ("pythia-160m", "pad_14336", 42): 0.9}
    for seed in (42, 43):
        # The widest pad would say otherwise; the study's is taken. Seeds are averaged.
        scores["pythia-70m", "pad_14336", seed] = padded + (seed - 42.5) * 0.01
        scores["pythia-70m", "pad_15000", seed] = 0.5 if verdict == "refuted" else 0.0
        scores["pythia-70m", "pad_14336_matched", seed] = 0.5 if verdict == "refuted" else 0.0
        scores["pythia-70m", "random", seed] = random
    rows = judged(published, scores, widths)
    found = rows[rows["claim"] == "padding_helps_up_to_512"]
    assert list(found["about"]) == both("my pythia-70m")
    assert list(found["verdict"]) == both(verdict)
    assert found["detail"].str.contains("pad_14336 5.00, mean of 2 seeds").all()


def test_padding_is_held_against_random_tables_of_the_pad_s_width_too(published):
    scores = {("a", "as_is"): 0.03, ("a", "random", 42): 0.02, ("a", "pad_2048", 42): 0.05}
    scores |= {("a", "pad_1024", 42): 0.9, ("a", "pad_4096_matched", 42): 0.9}  # not the widest, not the study's scale
    wide = {("b", "random_tokenizer", 42): 0.06}
    frame = query_frame({**scores, **wide}, {"a": 128, "b": 2048})
    baseline = frame["variant"] == "random_tokenizer"
    frame.loc[baseline, ["model", "suite", "revision"]] = None

    def found(query_scores):
        return embedding_claims(
            collections=["SCIDOCS"], query_scores=query_scores, scores=empty(retrieval_scores.SCHEMA),
            training=empty(embedding_training.SCHEMA), published=published,
            models=[{"model": mine("a"), "suite": "s", "hub_id": None, "reference": None}],
        )  # fmt: skip

    assert verdicts(found(frame), "padding_helps_up_to_512") == both("refuted")
    assert verdicts(found(frame[~baseline]), "padding_helps_up_to_512") == both("holds")
    assert verdicts(found(frame[frame["variant"] != "random"]), "padding_helps_up_to_512") == both("not run")
    # A pad as wide as the table is the table itself: nothing is padded.
    as_wide = frame[~frame["variant"].isin(["pad_1024", "pad_4096_matched"])].replace({"pad_2048": "pad_128"})
    assert verdicts(found(as_wide), "padding_helps_up_to_512", "narrow tables") == both("not run")


@pytest.mark.parametrize(
    ("large", "verdict"),
    [(0.052, "holds"), (0.048, "holds"), (0.07, "refuted"), (0.03, "refuted"), (0.06, "undecided")],
)
def test_the_crop_of_the_largest_is_equivalent_to_the_smallest_within_a_fifth(published, large, verdict):
    widths = {"pythia-14m": 128, "pythia-12b": 5120}
    scores = {("pythia-14m", "crop_128"): 0.05, ("pythia-12b", "crop_128"): large}
    found = judged(published, scores, widths)
    assert verdicts(found, "12b_crop_equals_14m") == both(verdict)
    row = found[found["claim"] == "12b_crop_equals_14m"].iloc[0]
    assert row["estimate"] == pytest.approx(large / 0.05 - 1)
    scores["pythia-14m", "crop_128"] = 0.0
    assert verdicts(judged(published, scores, widths, noise=0.0), "12b_crop_equals_14m") == both("not run")


def test_trained_below_random_has_a_row_for_each_model_it_is_claimed_of(published):
    widths = {"Cerebras-GPT-111M": 768, "Cerebras-GPT-13B": 5120, "bloom-560m": 1024, "bloom": 14336, "gpt2": 768}
    trained = {"Cerebras-GPT-111M": 0.01, "Cerebras-GPT-13B": 0.05, "bloom-560m": 0.03, "bloom": 0.9, "gpt2": 0.9}
    scores = {(name, "as_is"): value for name, value in trained.items()}
    scores |= {(name, "random", seed): 0.03 for name in widths for seed in (42, 43)}
    rows = judged(published, scores, widths)
    found = rows[(rows["claim"] == "trained_below_random") & (rows["metric"] == METRICS[0])]
    assert dict(zip(found["about"], found["verdict"], strict=True)) == {
        "Cerebras-GPT-111M": "holds",
        "Cerebras-GPT-13B": "refuted",
        "the rest of Cerebras-GPT": "not run",
        "bloom-560m": "undecided",
        "the rest of BLOOM": "not run",
    }
    assert "Cerebras-GPT-256M is not in this config" in found["detail"].iloc[2]


@pytest.mark.parametrize(("opt", "verdict"), [(0.04, "holds"), (0.06, "refuted"), (0.05, "undecided")])
def test_a_wide_table_of_one_suite_below_a_narrow_one_of_another(published, opt, verdict):
    widths = {"pythia-70m": 512, "opt-66b": 9216}
    scores = {("pythia-70m", "as_is"): 0.05, ("opt-66b", "as_is"): opt}
    assert verdicts(judged(published, scores, widths), "opt_66b_below_pythia_70m") == both(verdict)


def training(steps, model="pythia-14m"):
    """Return rows over training: (step, cosine, score difference, duplicate_of)."""
    rows = [
        {"model": mine(model), "suite": "s", "revision": f"step{step}", "step": step, "final_revision": "main",
         "collection": "SCIDOCS", "statistic": statistic, "value": value, "ci_low": value - 0.001,
         "ci_high": value + 0.001, "n": 1000, "duplicate_of": copy, "status": "ok"}
        for step, cosine, difference, copy in steps
        for statistic, value in (("cosine", cosine), *((f"{metric}_difference", difference) for metric in METRICS))
    ]  # fmt: skip
    return pd.concat([empty(embedding_training.SCHEMA), pd.DataFrame(rows)], ignore_index=True)


START, END = (0, 0.1, -0.04, None), (100, 1.0, 0.0, "main")


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ([START, (10, 0.95, 0.001, None), (50, 0.5, 0.1, None), END], "holds"),
        ([START, (9, 0.5, 0.1, None), (10, 0.95, -0.001, None), END], "holds"),
        ([START, (10, 0.95, 0.01, None), END], "refuted"),
        ([START, (10, 0.89, 0.0, None), END], "refuted"),
        ([START, (10, 0.95, 0.0029, None), END], "undecided"),
        ([START, (50, 0.95, 0.001, None), END], "undecided"),
        ([START, (50, 0.85, 0.001, None), END], "refuted"),
        ([START, (10, 0.5, 0.1, "step0"), (12, 0.95, 0.001, None), END], "holds"),
        ([START, END], "not run"),
        ([START, (10, 0.7, 0.1, None), (40, 0.93, 0.02, None)], "not run"),
        ([START, (100, 1.0, 0.0, None)], "not run"),
        ([START, (10, 0.95, 0.001, "main"), END], "not run"),
    ],
)
def test_tables_settle_early(published, steps, verdict):
    rows = judged(published, {}, {}, models=entries(["pythia-14m"]), training=training(steps))
    assert verdicts(rows, "tables_settle_early") == both(verdict)


def test_a_checkpoint_without_a_value_is_not_passed_over(published):
    steps = training([START, (10, 0.95, 0.001, None), (20, 0.95, 0.001, None), END])
    broken = (steps["step"] == 10) & (steps["statistic"] == "cosine")
    steps.loc[broken, "value"], steps.loc[broken, "status"] = None, "no rows"
    rows = judged(published, {}, {}, models=entries(["pythia-14m"]), training=steps)
    assert verdicts(rows, "tables_settle_early") == both("not run")
    assert "cosine at step 10: no rows" in rows.loc[rows["claim"] == "tables_settle_early", "detail"].iloc[0]


# -- which models, which queries ---------------------------------------------------------------------------------------


def test_a_model_is_the_study_s_by_hub_id_or_reference_and_never_by_name(published):
    widths = {"pythia-70m": 512, "opt-66b": 9216}
    scores = {("pythia-70m", "as_is"): 0.05, ("opt-66b", "as_is"): 0.04}

    def found(**facts):
        models = [
            {"model": mine("pythia-70m"), "suite": "s", "hub_id": None, "reference": None, **facts},
            *entries(["opt-66b"]),
        ]
        return verdicts(judged(published, scores, widths, models=models), "opt_66b_below_pythia_70m")

    assert found(reference="pythia-70m") == both("holds")
    assert found(hub_id="EleutherAI/pythia-70m") == both("holds")
    assert found() == both("not run")


def test_a_model_that_the_config_has_twice_is_none_that_a_claim_means(published):
    widths = {"pythia-70m": 512, "opt-66b": 9216, "other": 512}
    scores = {(name, "as_is"): 0.05 for name in widths}
    models = [*entries(["pythia-70m", "opt-66b"]), {**entries(["pythia-70m"])[0], "model": mine("other")}]
    rows = judged(published, scores, widths, models=models)
    row = rows[rows["claim"] == "opt_66b_below_pythia_70m"].iloc[0]
    assert row["verdict"] == "not run"
    assert "my pythia-70m and my other" in row["detail"]


def test_a_variant_that_a_table_cannot_have_says_why(published):
    widths = {"pythia-14m": 128, "pythia-12b": 5120}
    scores = pd.concat(
        [
            empty(retrieval_scores.SCHEMA),
            pd.DataFrame(
                {
                    "model": [mine("pythia-12b")],
                    "variant": ["crop_128"],
                    "collection": "SCIDOCS",
                    "status": "no columns left",
                }
            ),
        ]
    )
    rows = judged(published, {("pythia-14m", "crop_128"): 0.05}, widths, scores=scores)
    row = rows[rows["claim"] == "12b_crop_equals_14m"].iloc[0]
    assert row["detail"] == "my pythia-12b has no scores of crop_128: no columns left"


def test_too_few_queries_are_not_tested(published):
    widths = {"pythia-70m": 512, "opt-66b": 9216}
    scores = {("pythia-70m", "as_is"): 0.05, ("opt-66b", "as_is"): 0.04}
    assert verdicts(judged(published, scores, widths, n_queries=12), "opt_66b_below_pythia_70m") == both("holds")
    rows = judged(published, scores, widths, n_queries=11)
    assert verdicts(rows, "opt_66b_below_pythia_70m") == both("not run")
    assert rows["detail"].str.contains("11 judged queries; a test needs 12").any()


def test_scores_that_are_not_paired_are_an_error():
    frame = query_frame({("a", "as_is"): 0.1, ("b", "as_is"): 0.1}, {"a": 128, "b": 128})
    lookup = ScoredQueries(frame.iloc[:-1], METRICS)
    assert lookup.of_model(mine("a"), "as_is").of(METRICS[0]).shape == (100,)
    with pytest.raises(ValueError, match=r"my b, as_is: 1 of 100 queries .* query 'q99' first"):
        lookup.of_model(mine("b"), "as_is")
    holed = frame.copy()
    holed.loc[150, METRICS[1]] = np.nan
    with pytest.raises(ValueError, match=r"query 'q50' first"):
        ScoredQueries(holed, METRICS).of_model(mine("b"), "as_is")
    with pytest.raises(ValueError, match=r"more than one revision: main, step0"):
        ScoredQueries(pd.concat([frame, frame.assign(revision="step0")]), METRICS)


def test_queries_are_paired_by_id_and_seeds_averaged():
    frame = query_frame({("a", "random", 1): 0.1, ("a", "random", 2): 0.3, ("b", "as_is"): 0.2}, {"a": 128, "b": 128})
    shuffled = ScoredQueries(frame.sample(frac=1, random_state=0), METRICS)
    expected = frame[frame["variant"] == "random"].groupby("query_id")[METRICS[0]].mean()
    found = shuffled.of_model(mine("a"), "random")
    assert found.n_seeds == 2
    assert found.values[METRICS[0]].to_dict() == pytest.approx(expected.to_dict())
    assert list(found.values.index) == list(shuffled.of_model(mine("b"), "as_is").values.index)


# -- the study's own numbers -------------------------------------------------------------------------------------------


def published_means():
    """Return the published scores as planted means, and the models' suites."""
    table = pd.read_csv(FILES[1])
    table = table[table["status"] != "bug"]
    names = {name.casefold(): name for suite in SUITES.values() for name in suite}
    table["model"] = table["model"].str.casefold().map(names)
    wide = table.pivot(index=["model", "variant"], columns="metric", values="published_percent") / 100
    scores = {
        (model, variant, 42) if variant.startswith(("random", "pad")) else (model, variant): row[
            list(METRICS)
        ].to_numpy()
        for (model, variant), row in wide.dropna().iterrows()
    }
    return scores, table.drop_duplicates("model").set_index("model")["embedding_dim"].to_dict()


@pytest.fixture(scope="module")
def judged_study(published):
    scores, widths = published_means()
    models = [entry for suite, names in SUITES.items() for entry in entries(names, suite)]
    return {
        "without noise": judged(published, scores, widths, models=models, noise=1e-5),
        "1,000 queries": judged(published, scores, widths, models=models, noise=0.07, n_queries=1000),
    }


def test_the_study_s_own_numbers_refute_what_they_refute(judged_study):
    """METHODS, "Claims its own data refute"."""
    rows = judged_study["without noise"]
    suites = {suite: verdicts(rows, "peak_inside_suite", suite) for suite in SUITES}
    assert suites == {
        "Pythia": both("holds"), "BLOOM": both("holds"),
        "OPT": both("refuted"), "Cerebras-GPT": both("refuted"), "T5-v1.1": both("refuted"),
    }  # fmt: skip
    assert verdicts(rows, "crop128_peaks_at_160m") == both("refuted")
    assert (
        rows.loc[rows["claim"] == "crop128_peaks_at_160m", "detail"]
        .str.contains("the best of these is pythia-410m")
        .all()
    )
    named = {about: verdicts(rows, "peak_at_named_model", about) for about in set(rows["about"]) if ": " in about}
    named.pop("Pythia: pythia-160m")
    assert named == {
        "Pythia: pythia-1b": both("holds"),
        "OPT: opt-13b": both("refuted"),
        "BLOOM: bloom-1b7": both("holds"),
    }
    assert verdicts(rows, "opt_66b_below_pythia_70m") == both("holds")
    assert verdicts(rows, "12b_crop_equals_14m") == both("refuted")  # 2.360 against 1.797, 1.363 against 1.127
    assert verdicts(rows, "trained_below_random", "Cerebras-GPT-6.7B") == both("holds")
    assert verdicts(rows, "trained_below_random", "Cerebras-GPT-13B") == both("refuted")
    assert verdicts(rows, "padding_helps_up_to_512", mine("pythia-70m")) == both("holds")
    # Padded, opt-350m is better than before and worse than random.
    assert verdicts(rows, "padding_helps_up_to_512", mine("opt-350m")) == both("refuted")


def test_at_the_study_s_size_no_verdict_is_turned_round(judged_study):
    sure, noisy = judged_study["without noise"], judged_study["1,000 queries"]
    pairs = list(zip(sure["verdict"], noisy["verdict"], strict=True))
    assert all(after in (before, "undecided") for before, after in pairs if before != "undecided")
    assert sum(after == before for before, after in pairs if before in ("holds", "refuted")) > 10
    opt = [*verdicts(noisy, "peak_at_named_model", "OPT: opt-13b"), *verdicts(noisy, "crop128_peaks_at_160m")]
    assert "holds" not in opt


# -- the script and the page -------------------------------------------------------------------------------------------


def test_the_script_writes_the_table(tmp_path, published):
    import pyarrow as pa

    widths = {"pythia-70m": 512, "opt-66b": 9216}
    frame = query_frame({("pythia-70m", "as_is"): 0.05, ("opt-66b", "as_is"): 0.04}, widths)
    # As in a run: one file per model, with more metrics than are tested.
    schema = query_scores.schema((*METRICS, "recall_at_10"))
    paths = []
    for _, rows in frame.assign(recall_at_10=0.5).groupby("model"):
        paths.append(tmp_path / f"{len(paths)}.parquet")
        write_table(paths[-1], pa.Table.from_pandas(rows, schema=schema, preserve_index=False), schema)
    scores, steps = tmp_path / "scores.parquet", tmp_path / "training.parquet"
    write_table(scores, retrieval_scores.SCHEMA.empty_table(), retrieval_scores.SCHEMA)
    rows = training([START, (10, 0.95, 0.001, None), END])
    write_table(
        steps,
        pa.Table.from_pandas(rows, schema=embedding_training.SCHEMA, preserve_index=False),
        embedding_training.SCHEMA,
    )
    claims = tmp_path / "claims.parquet"
    job = {"scores": scores, "claims": claims, "models": entries(widths), "collection": "SCIDOCS"}
    judge_scaling_claims(query_scores=paths, training=[steps], **job)
    table = read_table(claims)
    assert table.schema.equals(SCHEMA)
    found = table.to_pandas()
    assert set(found["claim"]) == CLAIMS
    assert set(found["collection"]) == {"SCIDOCS"}
    assert verdicts(found, "opt_66b_below_pythia_70m") == both("holds")
    assert verdicts(found, "tables_settle_early") == both("holds")
    assert found["n"].dropna().unique().tolist() == [100, 1000]
    assert read_provenance(claims)["settings"]["collection"] == "SCIDOCS"
    before = claims.read_bytes()
    judge_scaling_claims(query_scores=paths, training=[steps], **job)
    assert claims.read_bytes() == before
    judge_scaling_claims(query_scores=[], training=[], **job)
    assert set(read_table(claims)["verdict"].to_pylist()) == {"not run"}
    with pytest.raises(ValueError, match=r"there are query_scores of SCIDOCS; the claims are tested on cranfield"):
        judge_scaling_claims(query_scores=paths, training=[], **{**job, "collection": "cranfield"})


def test_the_words_count_the_verdicts():
    rows = pd.DataFrame(
        {
            "study": ["embedding_scaling"] * 5 + ["representation_dynamics"],
            "verdict": ["holds", "refuted", "refuted", "not run", "undecided", "holds"],
        }
    )
    assert claims_words(rows) == [
        "Of 5 tests of what the study of embedding scaling claims, 1 holds, 2 are refuted, 1 is undecided and 1 was "
        "not run.",
        "Of 1 test of what the study of representation dynamics claims, 1 holds.",
    ]
    assert claims_words(rows.iloc[:0]) == []

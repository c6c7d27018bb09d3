"""The dynamics study's claims: planted truths get their verdicts, chance does not, and what is missing is said."""

import itertools

import numpy as np
import pyarrow.csv
import pytest
from scipy import stats

from lm_geometry import provenance
from lm_geometry.claims.dynamics_evidence import bell, flatness, growth, rise_and_fall, settling
from lm_geometry.claims.evidence import Evidence, held_out_peak, held_out_range, true_of_most
from lm_geometry.claims.representation_dynamics import BELL_STATISTICS, DIMENSIONS, NEEDED
from lm_geometry.claims.verdict import Claim, Finding, Outcome, judge
from lm_geometry.claims.words import claims_words
from lm_geometry.tables.claims import SCHEMA
from lm_geometry.tables.files import read_table, write_table
from scripts.collect_claims import collect_claims
from scripts.judge_dynamics_claims import judge_dynamics_claims
from tests.batch_tables import batch_rows, of_run, write_batches, write_duplicates

BATCHES = 8
STEPS = np.array([0.0, 10, 100, 400, 800, 900, 1000])
MATCHED = "_type_matched"


def noisy(means, generator, scale=0.1):
    """Return batches of ``means`` with a common part, as the same text has in every layer, and noise of their own."""
    means = np.asarray(means, dtype=float)
    own = generator.normal(scale=scale, size=(BATCHES, means.size))
    return means + generator.normal(scale=scale, size=(BATCHES, 1)) + own


# -- the tests, as peers have them -------------------------------------------------------------------------------------


def test_a_bell_is_the_middle_third_against_each_of_the_others():
    values = noisy([0, 1, 2, 5, 6, 7, 8, 2, 1, 0], np.random.default_rng(0))
    found, words = bell(values)
    middle = values[:, 3:7].mean(axis=1)
    tests = [stats.ttest_rel(middle, values[:, part].mean(axis=1)) for part in (slice(3), slice(7, None))]
    assert found.p == pytest.approx(max(test.pvalue for test in tests))
    assert found.estimate == pytest.approx((middle - values[:, 7:].mean(axis=1)).mean())
    assert (found.supports, found.n) == (True, BATCHES)
    assert "the middle 4 of 10 layers" in words
    assert "the first and the last 3" in words
    falling, _ = bell(np.sort(values, axis=1)[:, ::-1])
    assert not falling.supports


def test_growth_is_the_mean_of_the_batches_rank_correlations():
    means = noisy([0, 1, 1, 2, 1.5, 2, 2], np.random.default_rng(1), scale=0.4)
    means[2, 1] = means[2, 3]  # a tie
    peers = [stats.spearmanr(STEPS, batch).statistic for batch in means]
    found, _ = growth(STEPS, means)
    assert found.estimate == pytest.approx(np.mean(peers))
    batches = stats.ttest_1samp(peers, 0).pvalue
    assert found.p == pytest.approx(max(batches, p_of_orders(means.mean(axis=0))), abs=0.005)


def p_of_orders(profile):
    """Return the exact share of all orders of a profile whose rank correlation with the step is as far from 0."""
    orders = np.array(list(itertools.permutations(stats.rankdata(profile))))
    place = np.arange(len(profile)) - (len(profile) - 1) / 2
    correlations = np.abs(orders @ place)
    return np.mean(correlations >= correlations[0] - 1e-9)


def test_a_curve_that_rises_and_then_halves_does_not_grow_however_sure_its_batches_are():
    means = np.array([0.130, 0.132, 0.149, 0.478, 0.448, 0.283, 0.235]) + np.zeros((BATCHES, 1))
    found, words = growth(STEPS, means)
    assert found.p == pytest.approx(p_of_orders(means[0]), abs=0.015)
    assert found.p > 0.05
    assert "p among orders of the checkpoints is 0.1" in words


def test_wiggles_without_a_trend_are_seldom_taken_for_growth():
    """All batches share the wiggles, so that a t test over batches alone decides nine times of ten."""
    random = np.random.default_rng(3)
    p = []
    for _ in range(300):
        wiggles = random.standard_normal(7)
        p.append(growth(STEPS, wiggles + 0.1 * random.standard_normal((BATCHES, 7)))[0].p)
    assert np.mean(np.array(p) < 0.05) < 0.09  # 0.05 and three standard errors


def test_settling_is_the_line_through_the_last_fifth_over_the_range():
    means = noisy([0, 3, 8, 10, 10, 10.02, 10.03], np.random.default_rng(2), scale=0.01)
    found, words = settling(STEPS, means)
    slopes = np.array([stats.linregress(STEPS[4:], batch[4:]).slope for batch in means])
    ranges = means[:, 4:].max(axis=1) - means[:, 0]
    assert found.estimate == pytest.approx((slopes * 200).mean() / ranges.mean(), rel=0.02)
    assert "from 3 of 7 distinct checkpoints" in words
    assert found.supports
    assert found.low > -0.05
    assert found.high < 0.05


def test_a_held_out_range_is_the_range_where_it_is_clear_and_zero_where_there_is_none():
    generator = np.random.default_rng(3)
    clear = noisy([0, 1, 5, 2], generator, scale=0.01)
    assert held_out_range(clear) == pytest.approx(clear[:, 2] - clear[:, 0])
    flat = np.array([held_out_range(noisy(np.zeros(13), generator)).mean() for _ in range(2000)])
    assert abs(flat.mean()) < 4 * flat.std() / np.sqrt(flat.size)
    naive = np.array([np.ptp(noisy(np.zeros(13), generator).mean(axis=0)) for _ in range(50)])
    assert naive.mean() > 0.05  # what the guard is for


def test_the_measure_of_flatness_is_the_median_model_s():
    generator = np.random.default_rng(4)
    flat = noisy(np.zeros(5), generator, scale=0.001)
    ranges = [1.0, 9.0, 3.0, 4.0]
    models = [noisy([0, top, 0.5], generator, scale=0.001) for top in ranges]
    found, words = flatness(flat, models)
    assert found.estimate == pytest.approx((3 + 4) / 2 / 2, abs=0.01)
    assert flatness(flat, models[:3])[0].estimate == pytest.approx(3 / 2, abs=0.01)
    assert "of 4 decoders, 1.75, less the range over 5 layers" in words
    # The bound is on the layers that are furthest apart.
    assert flatness(noisy([0, 0, 0, 1.8, 0], generator, 0.001), models)[0].supports is False
    assert flatness(noisy([0, 0, 0, -1.8, 0], generator, 0.001), models)[0].supports is False


# -- calibration -------------------------------------------------------------------------------------------------------

N_RUNS = 2000


def shares(test, means, *, scale=0.1, seed=0):
    """Return in what share of noisy runs a test holds, and in what share it is refuted."""
    generator = np.random.default_rng(seed)
    decided = {True: 0, False: 0}
    for _ in range(N_RUNS):
        found = test(noisy(means, generator, scale))
        decided[found.supports] += found.p < 0.05
    return decided[True] / N_RUNS, decided[False] / N_RUNS


# One side of a two-sided test at 5 %, and by how much chance may exceed it in so many runs.
MOST = stats.binom.ppf(0.999, N_RUNS, 0.025) / N_RUNS
DECODERS = [noisy([0, 2, 0], np.random.default_rng(9), 0.01)]  # of range 2: the limit is 1


NULLS = {
    "no bell": (lambda values: bell(values)[0], np.zeros(12)),
    "a rise without a fall": (lambda values: bell(values)[0], [*[0] * 4, *[1] * 8]),
    "no growth": (lambda means: growth(STEPS[:5], means)[0], np.zeros(5)),
    "a rise to a level": (lambda means: rise_and_fall(STEPS, means)[0], [0, 1, 1, 1, 1, 1, 1]),
    "no rise": (lambda means: rise_and_fall(STEPS, means)[0], np.zeros(7)),
    "a change of 5 %": (lambda means: settling(STEPS, means)[0], [0, 19, 19, 19, 19, 19.5, 20]),
    "a change of -5 %": (lambda means: settling(STEPS, means)[0], [0, 20, 20, 20, 20, 19.5, 19]),
    "a range at the limit": (lambda values: flatness(values, DECODERS)[0], [0, 0.5, 1]),
}


@pytest.mark.parametrize("case", NULLS)
def test_chance_makes_a_claim_hold_or_refuted_no_oftener_than_its_level(case):
    test, means = NULLS[case]
    holds, refuted = shares(test, means)
    assert holds <= MOST
    assert refuted <= MOST


TRUTHS = {
    "a bell": (NULLS["no bell"][0], [*[0] * 4, *[0.5] * 4, *[0] * 4], True),
    "a fall": (NULLS["no bell"][0], [*[1] * 4, *[0.5] * 4, *[0] * 4], False),
    "growth": (lambda means: growth(STEPS, means)[0], np.log1p(STEPS), True),
    "decline": (lambda means: growth(STEPS, means)[0], -np.log1p(STEPS), False),
    "a peak": (NULLS["no rise"][0], [0, 0.5, 1.5, 1, 0.8, 0.6, 0.5], True),
    "a rise to the end": (NULLS["no rise"][0], [0, 1, 2, 3, 4, 5, 6], False),
    "settled": (NULLS["a change of 5 %"][0], [0, 10, 20, 20, 20, 20, 20], True),
    "not settled": (NULLS["a change of 5 %"][0], [0, 1, 2, 4, 8, 9, 10], False),
    "flat": (NULLS["a range at the limit"][0], np.zeros(3), True),
    "not flat": (NULLS["a range at the limit"][0], [0, 0, 2], False),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_a_planted_effect_is_found(case, monkeypatch):
    monkeypatch.setattr(f"{__name__}.N_RUNS", 100)
    test, means, holds = TRUTHS[case]
    found = shares(test, means)
    assert found[not holds] > 0.9
    assert found[holds] == 0


def test_a_range_of_noise_is_no_measure_to_be_flat_by():
    """Neither models have a range: noise's own largest less least would call some of the first flat."""
    generator = np.random.default_rng(5)
    held = [
        flatness(noisy(np.zeros(2), generator, 0.02), [noisy(np.zeros(40), generator) for _ in range(3)])[0]
        for _ in range(N_RUNS)
    ]
    assert np.mean([found.supports and found.p < 0.05 for found in held]) <= MOST


def test_a_peak_chosen_on_the_batches_that_test_it_would_be_chance():
    generator = np.random.default_rng(6)
    held, naive = 0, 0
    for _ in range(N_RUNS):
        means = noisy([0, *[1] * 30], generator)
        found = held_out_peak(means[:, 1:-1], means[:, [0, -1]])
        held += found.supports and found.p < 0.05
        best = means[:, 1:-1].mean(axis=0).argmax() + 1
        naive += (means[:, best] - means[:, -1]).mean() > 0 and stats.ttest_rel(means[:, best], means[:, -1])[1] < 0.05
    assert held / N_RUNS <= MOST
    assert naive / N_RUNS > 4 * MOST


# -- most of several models --------------------------------------------------------------------------------------------


def of_p(p, supports=True):
    return Evidence(1.0, None, None, p, supports, BATCHES)


@pytest.mark.parametrize(
    ("evidence", "share", "p", "supports"),
    [
        ([of_p(0.01)], 1, 0.01, True),
        ([of_p(0.01), of_p(0.02), of_p(0.03), of_p(0.04), of_p(0.5)], 1, 2 * 0.04, True),  # 4 of 5, of which it needs 4
        ([of_p(0.01)] * 4 + [of_p(0.001, supports=False)], 0.8, 2 * 0.01, True),
        ([of_p(0.01)] * 3 + [of_p(0.002, supports=False), of_p(0.001, supports=False)], 0.6, 4 * 0.002, False),
        ([of_p(0.01)] * 4 + [None], 0.8, 2 * 0.01, True),
        ([of_p(0.01)] * 3 + [None, of_p(0.001, supports=False)], 0.6, 1.0, False),
        ([of_p(0.01), of_p(0.001, supports=False)], 0.5, 2 * 0.001, False),
    ],
)
def test_the_p_of_most_models_is_that_of_the_last_one_needed(evidence, share, p, supports):
    found = true_of_most(evidence, share=0.8)
    assert (found.estimate, found.supports) == (share, supports)
    assert found.p == pytest.approx(p)
    assert (found.low, found.n) == (None, len(evidence))


def test_most_models_are_seldom_taken_for_bells_that_are_none():
    """Three of five models have a clear bell; the two others are on the verge. 80 % are four."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(N_RUNS):
        found = [bell(noisy([0, top, 0], generator))[0] for top in (9, 9, 9, 0, 0)]
        most = true_of_most(found, share=0.8)
        held += most.supports and most.p < 0.05
    assert held / N_RUNS <= MOST


# -- the verdicts ------------------------------------------------------------------------------------------------------

PEAKED = [0, 0.1, 0.9, 1, 0.1, 0]
LEVEL = np.full(6, 0.3)


def stack_rows(shapes, generator, *, default=LEVEL, scale=0.02, **facts):
    """Return rows of all statistics that the tests read; ``shapes`` holds the means over layers of some."""
    return [
        row for name in NEEDED
        for row in batch_rows(name, noisy(shapes.get(name, default), generator, scale), **facts)
    ]  # fmt: skip


def model(name, shapes, *, kind="decoder", seed=0, **facts):
    stack = {"stack": "encoder"} if kind == "encoder" else {}
    return of_run(stack_rows(shapes, np.random.default_rng(seed), **{**stack, **facts}), name, kind=kind)


def bells(shape=PEAKED):
    return dict.fromkeys(BELL_STATISTICS, shape)


def judged(folder, rows, *, profiles=(), training=None, copies=(), differing=None):
    claims = folder / "claims.parquet"
    judge_dynamics_claims(
        batches=write_batches(folder / "batches.parquet", rows, differing=differing),
        duplicates=write_duplicates(folder / "duplicates.parquet", copies),
        claims=claims,
        profiles=[[name, "main"] for name in profiles],
        training=training or {},
        corpus="enwik8",
    )
    return read_table(claims).to_pandas()


def found(rows, claim, about=None):
    """Return the verdicts of a claim by statistic."""
    rows = rows[rows["claim"] == claim]
    rows = rows[rows["about"] == about] if about else rows
    return dict(zip(rows["metric"], rows["verdict"], strict=True))


def all_of(statistics, verdict):
    return dict.fromkeys(statistics, verdict)


ANISOTROPIES = ("anisotropy", "anisotropy" + MATCHED)
STATISTICS = {
    "bell_in_decoder": BELL_STATISTICS, "bell_in_decoders": BELL_STATISTICS, "encoders_flat": ANISOTROPIES,
    "anisotropy_grows": ANISOTROPIES, "anisotropy_settles": ANISOTROPIES, "dimension_rises_then_falls": DIMENSIONS,
}  # fmt: skip


def test_without_models_every_claim_is_not_run_and_says_why(tmp_path):
    rows = judged(tmp_path, model("m", {}, kind="encoder-decoder"), profiles=["m"])
    for claim, statistics in STATISTICS.items():
        assert found(rows, claim) == all_of(statistics, "not run")
    assert set(rows["claim"]) == set(STATISTICS)
    assert set(rows["detail"]) == {
        "no decoder is profiled here", "no encoder is profiled here", "no model is followed over training here"
    }  # fmt: skip
    assert set(rows["collection"]) == {"enwik8"}
    assert claims_words(rows) == [
        "Of 18 tests of what the study of representation dynamics claims, 18 were not run."
    ]  # fmt: skip


def test_bells_of_decoders_and_of_most_of_them(tmp_path):
    shapes = {"a": bells(), "b": bells(), "c": bells(), "d": bells(), "e": bells([1, 1, 0, 0, 0.5, 0.5])}
    measured = [row for seed, (name, shape) in enumerate(shapes.items()) for row in model(name, shape, seed=seed)]
    rows = judged(tmp_path, measured, profiles=shapes)
    for name in "abcd":
        assert found(rows, "bell_in_decoder", name) == all_of(BELL_STATISTICS, "holds")
    assert found(rows, "bell_in_decoder", "e") == all_of(BELL_STATISTICS, "refuted")
    assert found(rows, "bell_in_decoders", "5 decoders") == all_of(BELL_STATISTICS, "holds")
    assert set(rows.loc[rows["claim"] == "bell_in_decoders", "estimate"]) == {0.8}
    assert rows.loc[rows["claim"] == "bell_in_decoders", "detail"].str.contains("a, b, c and d").all()
    fewer = judged(tmp_path, measured, profiles=["a", "b", "e"])
    assert found(fewer, "bell_in_decoders", "3 decoders") == all_of(BELL_STATISTICS, "refuted")


@pytest.mark.parametrize("odd", BELL_STATISTICS)
def test_a_bell_counts_only_if_all_statistics_agree(tmp_path, odd):
    rows = judged(tmp_path, model("a", {**bells(), odd: LEVEL}), profiles=["a"])
    for claim in ("bell_in_decoder", "bell_in_decoders"):
        assert set(found(rows, claim).values()) == {"undecided"}
    held = rows[(rows["claim"] == "bell_in_decoder") & (rows["metric"] != odd)]
    assert held["detail"].str.endswith(f"it holds in this statistic, but not in {odd} (undecided)").all()
    rows = judged(tmp_path, model("a", {**bells(), odd: [1, 1, 0, 0, 1, 1]}), profiles=["a"])
    assert found(rows, "bell_in_decoder") == all_of(BELL_STATISTICS, "undecided") | {odd: "refuted"}


def test_a_claim_that_needs_no_agreement_is_judged_row_by_row():
    findings = [
        Finding(Claim("c", "It is so.", in_every_metric=agree), "a", "x", metric, Outcome(of_p(p), "compared"))
        for agree in (False, True)
        for metric, p in (("m", 0.001), ("n", 0.9))
    ]
    assert list(judge(findings, study="s")["verdict"]) == ["holds", "undecided", "undecided", "undecided"]


def gap(rows, **where):
    """Return the rows with one value taken out."""
    (row,) = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return [{**row, "value": None, "status": "all equal"} if one is row else one for one in rows]


def test_a_gap_is_a_reason_not_to_run_and_speaks_for_neither(tmp_path):
    rows = [*model("a", bells()), *gap(model("b", bells()), statistic="anisotropy", layer=2, batch=3)]
    rows = judged(tmp_path, rows, profiles=["a", "b"])
    verdicts = found(rows, "bell_in_decoder", "b")
    assert verdicts == all_of(BELL_STATISTICS, "undecided") | {"anisotropy": "not run"}
    why = rows[(rows["claim"] == "bell_in_decoder") & (rows["verdict"] == "not run")].iloc[0]["detail"]
    assert why == (
        "b main, decoder: anisotropy: 1 of 48 values are missing, the first in layer 2, batch 3: all equal"
    )  # fmt: skip
    assert found(rows, "bell_in_decoders")["anisotropy"] == "undecided"
    assert found(rows, "bell_in_decoder", "a") == all_of(BELL_STATISTICS, "holds")


def test_a_stack_of_two_layers_has_no_thirds(tmp_path):
    rows = judged(tmp_path, model("a", {}, default=[1, 2]), profiles=["a"])
    assert found(rows, "bell_in_decoder") == all_of(BELL_STATISTICS, "not run")
    assert "2 layers cannot be cut into thirds" in set(rows["detail"])


def test_flat_encoders(tmp_path):
    rows = [
        *model("decoder", bells()),
        *model("flat", {}, kind="encoder", seed=1, n_vectors=1000),  # another tokenizer has other numbers of types
        *model("steep", bells(), kind="encoder", seed=2),
        *model("t5", bells(), kind="encoder-decoder", stack="encoder", seed=3),
    ]
    verdicts = judged(tmp_path, rows, profiles=["decoder", "flat", "steep", "t5"])
    assert found(verdicts, "encoders_flat", "flat") == all_of(ANISOTROPIES, "holds")
    assert found(verdicts, "encoders_flat", "steep") == all_of(ANISOTROPIES, "refuted")
    assert set(verdicts.loc[verdicts["claim"] == "encoders_flat", "about"]) == {"flat", "steep"}
    assert "t5" not in set(verdicts["about"])
    alone = judged(tmp_path, rows, profiles=["flat"])
    assert found(alone, "encoders_flat") == all_of(ANISOTROPIES, "not run")
    other = judged(
        tmp_path, rows, profiles=["decoder", "flat"],
        differing={name: {"seed": seed} for seed, name in enumerate(("decoder", "flat", "steep", "t5"))},
    )  # fmt: skip
    assert found(other, "encoders_flat") == all_of(ANISOTROPIES, "not run")
    assert "were measured with different seed" in other.loc[other["claim"] == "encoders_flat", "detail"].iloc[0]


# -- training ----------------------------------------------------------------------------------------------------------

GROWTH = {0: 0.05, 10: 0.1, 100: 0.3, 400: 0.6, 800: 0.7, 900: 0.7, 1000: 0.7}
PEAK = {0: 4.0, 10: 6, 100: 12, 400: 10, 800: 9, 900: 8, 1000: 7}


def followed(anisotropy=GROWTH, dimension=PEAK, *, name="m", scale=0.002, different=None, **facts):
    """Return rows of checkpoints whose means over layers are as given; ``different`` holds those of some statistics."""
    generator = np.random.default_rng(8)
    rows = []
    for step in anisotropy:
        shapes = {}
        for statistic in NEEDED:
            of_statistic = dimension if statistic in DIMENSIONS else anisotropy
            shapes[statistic] = np.full(4, (different or {}).get(statistic, of_statistic)[step])
        rows += of_run(stack_rows(shapes, generator, scale=scale, **facts), name, revision=f"step{step}", step=step)
    return rows


def over_training(folder, rows, **others):
    revisions = list(dict.fromkeys(row["revision"] for row in rows))
    # In another order than that of the steps, and of none.
    return judged(folder, rows, training={rows[0]["model"]: sorted(revisions)}, **others)


TRAINING_CLAIMS = ("anisotropy_grows", "anisotropy_settles", "dimension_rises_then_falls")


def test_claims_about_training_hold_where_they_are_true(tmp_path):
    rows = over_training(tmp_path, followed())
    for claim in TRAINING_CLAIMS:
        assert found(rows, claim, "m") == all_of(STATISTICS[claim], "holds")
        # Half of the batches choose a peak, the others test it.
        tested = BATCHES // 2 if claim == "dimension_rises_then_falls" else BATCHES
        assert set(rows.loc[rows["claim"] == claim, "n"]) == {tested}
    assert rows["detail"].str.contains("12 at step 100").any()


def test_claims_about_training_are_refuted_where_they_are_false(tmp_path):
    falling = {step: 1 - value for step, value in GROWTH.items()}
    rising = {step: place / 10 for place, step in enumerate(GROWTH)}
    rows = over_training(tmp_path, followed(falling, rising))
    assert found(rows, "anisotropy_grows") == all_of(ANISOTROPIES, "refuted")
    assert found(rows, "dimension_rises_then_falls") == all_of(DIMENSIONS, "refuted")
    late = {**GROWTH, 800: 0.7, 900: 0.9, 1000: 1.1}
    rows = over_training(tmp_path, followed(late))
    assert found(rows, "anisotropy_settles") == all_of(ANISOTROPIES, "refuted")


@pytest.mark.parametrize("odd", DIMENSIONS)
def test_a_dimension_counts_only_if_both_fits_and_the_type_matched_ones_agree(tmp_path, odd):
    rows = over_training(tmp_path, followed(different={odd: dict.fromkeys(PEAK, 5.0)}))
    assert found(rows, "dimension_rises_then_falls") == all_of(DIMENSIONS, "undecided")


def test_copies_are_no_checkpoints_of_their_own(tmp_path):
    """The copy of the final weights would be a second end, and the best of all between."""
    shifted = {step: (20.0 if step == 400 else 4 + place) for place, step in enumerate(PEAK)}
    rows = followed(dimension=shifted)
    copies = [("m", "step400", "main")]
    assert found(over_training(tmp_path, rows), "dimension_rises_then_falls") == all_of(DIMENSIONS, "holds")
    marked = over_training(tmp_path, rows, copies=copies)
    assert found(marked, "dimension_rises_then_falls") == all_of(DIMENSIONS, "refuted")
    assert marked["detail"].str.contains("over 6 distinct checkpoints").any()
    dropped = judged(
        tmp_path, [row for row in rows if row["step"] != 400], copies=copies,
        training={"m": [f"step{step}" for step in PEAK]},
    )  # fmt: skip
    assert dropped.equals(marked)
    all_copies = [("m", f"step{step}", "main") for step in PEAK]
    none = over_training(tmp_path, rows, copies=all_copies)
    assert set(none.loc[none["about"] == "m", "detail"]) == {"0 distinct checkpoints here; a test needs 5 or more"}


def test_too_few_checkpoints(tmp_path):
    four = followed({step: GROWTH[step] for step in (0, 800, 900, 1000)})
    rows = over_training(tmp_path, four)
    for claim in TRAINING_CLAIMS:
        assert found(rows, claim) == all_of(STATISTICS[claim], "not run")
    assert "4 distinct checkpoints here; a test needs 5 or more" in set(rows["detail"])
    sparse = followed({step: GROWTH[step] for step in (0, 10, 100, 400, 900, 1000)})
    rows = over_training(tmp_path, sparse)
    assert found(rows, "anisotropy_grows") == all_of(ANISOTROPIES, "holds")
    assert found(rows, "anisotropy_settles") == all_of(ANISOTROPIES, "not run")
    assert rows["detail"].str.contains("2 distinct checkpoints from step 800 on").any()


def test_without_its_beginning_nothing_is_told_of_training(tmp_path):
    late = {step: GROWTH[0 if step == 101 else step] for step in (101, 400, 800, 900, 1000)}
    dimension = {101: 4.0, 400: 9, 800: 8, 900: 7, 1000: 5}
    rows = over_training(tmp_path, followed(late, dimension))
    for claim in TRAINING_CLAIMS:
        assert set(found(rows, claim).values()) == {"undecided"}
    assert rows["detail"].str.contains("the first checkpoint here is of step 101 of 1000").any()


def test_each_stack_is_followed_by_itself(tmp_path):
    two = [*followed(stack="encoder"), *followed(dict.fromkeys(GROWTH, 0.5), stack="decoder", scale=0.1)]
    rows = over_training(tmp_path, two)
    assert found(rows, "anisotropy_grows", "m, encoder") == all_of(ANISOTROPIES, "holds")
    assert found(rows, "anisotropy_grows", "m, decoder") == all_of(ANISOTROPIES, "undecided")


def test_values_that_do_not_change_have_no_correlation(tmp_path):
    rows = over_training(tmp_path, followed(dict.fromkeys(GROWTH, 0.5), scale=0.0))
    assert found(rows, "anisotropy_grows") == all_of(ANISOTROPIES, "not run")
    assert found(rows, "anisotropy_settles") == all_of(ANISOTROPIES, "not run")
    assert rows["detail"].str.contains("in batch 0 it is the same at all 7 checkpoints").any()
    assert rows["detail"].str.contains("its range over training is 0: nothing to settle within").any()


def test_a_run_that_is_neither_measured_nor_a_copy_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the table of batches has no rows of n main"):
        judged(tmp_path, followed(), profiles=["n"])
    with pytest.raises(ValueError, match="no rows of m step5"):
        judged(tmp_path, followed(), training={"m": ["step0", "step5"]})


# -- all studies together ----------------------------------------------------------------------------------------------


def claims_file(path, study):
    row = dict.fromkeys(SCHEMA.names) | {
        "study": study, "claim": "c", "statement": "It is so.", "about": "a", "collection": "x", "verdict": "holds",
        "detail": "compared",
    }  # fmt: skip
    table = read_claims([row])
    write_table(path, table, SCHEMA, settings={"of": study}, origin={study: "a commit"})
    return path


def read_claims(rows):
    return SCHEMA.empty_table().from_pylist(rows, schema=SCHEMA)


def test_the_claims_of_all_studies_are_one_table(tmp_path):
    studies = ("embedding_scaling", "representation_dynamics")
    files = [claims_file(tmp_path / f"{study}.parquet", study) for study in studies]
    table, csv = tmp_path / "claims.parquet", tmp_path / "claims.csv"
    collect_claims(claims=files, table=table, csv=csv)
    assert read_table(table).column("study").to_pylist() == list(studies)
    assert read_table(table).schema.names == SCHEMA.names
    assert pyarrow.csv.read_csv(csv).column_names == SCHEMA.names
    facts = provenance.read(table)
    assert facts["origin"] == dict.fromkeys(studies, "a commit")
    assert facts["settings"] == {study: {"of": study} for study in studies}
    assert len(claims_words(read_table(table).to_pandas())) == 2
    collect_claims(claims=files[:1], table=table, csv=csv)
    assert read_table(table).num_rows == 1
    with pytest.raises(ValueError, match="both hold claims of embedding_scaling"):
        collect_claims(claims=[files[0], files[0]], table=table, csv=csv)

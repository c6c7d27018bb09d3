"""Every published value stands beside ours, its verdict is what its tolerance says; nothing compared is no success."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from lm_geometry import provenance, published
from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.figures import published_comparison as figure
from lm_geometry.figures import style
from lm_geometry.published import read_published, read_published_baselines
from lm_geometry.published_comparison import compare_with_published, comparison_words, difference_of_draws
from lm_geometry.tables import figure_data, retrieval_scores
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.published_comparison import AGREES, DIFFERS, KNOWN_BUG, NOT_REPRODUCIBLE, NOT_RUN, SCHEMA
from scripts.compare_published import compare_published
from scripts.plot_published_comparison import plot_published_comparison

STUDY = read_published()
BASELINES = read_published_baselines()
STATED = [*STUDY.stated(), *BASELINES]
N_STATED = 315 + 600
TOKENIZERS = {
    "GPT-NeoX": "EleutherAI/gpt-neox-20b",
    "OPT": "facebook/opt-350m",
    "Cerebras": "cerebras/Cerebras-GPT-111M",
    "Bloom": "bigscience/bloom",
    "T5": "google/t5-v1_1-small",
}


def score_of(stated, *, percent=None, **changes):
    """Return a row of retrieval_scores that holds what the study states, or ``percent``."""
    value = (stated.percent if percent is None else percent) / 100
    return {
        "model": stated.model, "suite": stated.model and "A", "revision": stated.model and "main",
        "tokenizer": TOKENIZERS[stated.tokenizer], "vocab_rows": stated.vocab_rows,
        "embedding_dim": stated.embedding_dim, "variant": stated.variant, "width": stated.embedding_dim,
        "seed": stated.seed, "table_precision": "bfloat16", "collection": "SCIDOCS", "metric": stated.metric,
        "value": value, "ci_low": value - 0.01, "ci_high": value + 0.01, "tie_span": 0.0, "n_queries": 1000,
        "status": "ok", **changes,
    }  # fmt: skip


def all_models():
    facts = STUDY.models[STUDY.models["model"].str.casefold().isin({s.model.casefold() for s in STUDY.stated()})]
    return [
        {"model": name, "suite": "A", "hub_id": hub_id or None, "reference": None if hub_id else name}
        for name, hub_id in zip(facts["model"], facts["hub_id"], strict=True)
    ]


MODELS = all_models()
NAMES = {entry["model"].casefold(): entry["model"] for entry in MODELS}


def rows_of(chosen=STATED, **changes):
    return [
        score_of(stated, **{"model": stated.model and NAMES[stated.model.casefold()], **changes}) for stated in chosen
    ]


def chosen(**facts):
    return [stated for stated in STATED if all(getattr(stated, name) == value for name, value in facts.items())]


def one(**facts):
    (stated,) = chosen(**facts)
    return stated


def compare(rows, *, models=MODELS, generator="legacy_bf16"):
    table = pa.Table.from_pylist(rows, schema=retrieval_scores.SCHEMA)
    compared = compare_with_published(table, STUDY, BASELINES, models, random_generator=generator)
    assert compared.schema.equals(SCHEMA)
    assert len(compared) == N_STATED
    return compared.to_pandas()


def row_of(frame, stated):
    assert len(frame) == len(STATED)
    return frame.iloc[STATED.index(stated)]


FIRST = one(model="pythia-14m", variant="as_is", metric="ndcg_at_10")
RANDOM = one(model=None, tokenizer="OPT", embedding_dim=2048, seed=43, metric="map_at_100")


# -- all of it ---------------------------------------------------------------------------------------------------------


def n_distinct_by_hand():
    """Count from the files what the study states once: random models are the baseline, own widths the table itself."""
    models, baselines = (pd.read_csv(path) for path in published.FILES_WITH_BASELINES[1:])
    random = models[(models["variant"] == "random") & (models["status"] == "valid")]
    found = random.merge(
        baselines[baselines["seed"] == 42], on=["tokenizer", "embedding_dim", "metric", "published_percent"]
    )
    assert len(found) == len(random) == 32
    whole = models[models["variant"].str.extract(r"_(\d+)$")[0].astype(float) == models["embedding_dim"]]
    as_is = models[models["variant"] == "as_is"]
    found = whole.merge(as_is, on=["model", "metric", "published_percent"])
    assert len(found) == len(whole) == 6
    return len(models) + len(baselines) - len(random) - len(whole)


def test_the_published_values_agree_with_themselves_each_counted_once():
    frame = compare(rows_of())
    counts = frame.groupby(["verdict", "repeats"]).size().to_dict()
    distinct = n_distinct_by_hand()
    assert distinct == 877
    assert counts == {
        (AGREES, False): distinct - 10 - 42, (AGREES, True): 38, (KNOWN_BUG, False): 10, (NOT_REPRODUCIBLE, False): 42,
    }  # fmt: skip
    assert (frame["difference"].abs() < 1e-9).all()
    assert comparison_words(frame).startswith(
        "825 of the 877 distinct values that the study published were compared with this run: 825 agree within their "
        "tolerance, 0 differ. 10 are published with a known bug and 42 cannot be reproduced"
    )
    assert "not run" not in comparison_words(frame)


def test_the_table_states_what_the_files_state_in_their_order():
    frame = compare([])
    models, baselines = (pd.read_csv(path) for path in published.FILES_WITH_BASELINES[1:])
    for name in ("tokenizer", "embedding_dim", "metric", "published_percent"):
        assert list(frame[name]) == [*models[name], *baselines[name]]
    assert list(frame["published_model"].fillna("")) == [*models["model"], *[""] * 600]
    assert list(frame["published_status"]) == [*models["status"], *["valid"] * 600]
    assert frame["seed"].notna().sum() == models["variant"].str.match("random|pad").sum() + 600


@pytest.mark.parametrize("rows", [[], rows_of(collection="cranfield")], ids=["no scores", "another collection"])
def test_nothing_compared_is_said_in_plain_words_and_is_no_success(rows):
    frame = compare(rows)
    assert set(frame["verdict"]) == {NOT_RUN, KNOWN_BUG, NOT_REPRODUCIBLE}
    assert frame["value_percent"].isna().all()
    said = comparison_words(frame)
    assert said.startswith("None of the 877 distinct values that the study published was compared with this run.")
    assert re.search(r"825 were not run: (no scores|another collection: cranfield here, SCIDOCS in the study)", said)
    assert not re.search("agree|confirm|match|pass|success|differ|reproduced here", said.replace("cannot be", ""))
    drawing = figure.published_comparison(frame)
    assert {text.get_text() for axes in drawing.figure.axes for text in axes.texts} == {figure.NOTHING}
    assert not any(len(axes.get_lines()) for axes in drawing.figure.axes)
    assert said in drawing.caption
    assert drawing.data.num_rows == N_STATED


# -- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "tolerance"),
    [
        ({"model": "pythia-70m", "variant": "as_is", "metric": "ndcg_at_10"}, 0.012),
        ({"model": "pythia-70m", "variant": "as_is", "metric": "map_at_100"}, 0.003),
        ({"model": "opt-66b", "variant": "crop_128", "metric": "ndcg_at_10"}, 0.012),
        ({"model": "t5-v1_1-xl", "variant": "pad_14336", "metric": "ndcg_at_10"}, 0.012),
        ({"model": "t5-v1_1-xl", "variant": "pad_14336", "metric": "map_at_100"}, 0.003),
        ({"model": "bloom-3b", "variant": "random", "metric": "ndcg_at_10"}, 0.003),
        ({"model": None, "tokenizer": "T5", "embedding_dim": 9216, "seed": 7776, "metric": "ndcg_at_10"}, 0.003),
        ({"model": None, "tokenizer": "T5", "embedding_dim": 9216, "seed": 7776, "metric": "map_at_100"}, 0.003),
    ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tolerance_is_the_last_that_agrees(facts, tolerance, sign):
    stated = one(**facts)
    for apart, verdict in ((tolerance, AGREES), (tolerance + 0.001, DIFFERS)):
        found = row_of(compare(rows_of([stated], percent=stated.percent + sign * apart)), stated)
        assert (found["verdict"], found["tolerance"]) == (verdict, tolerance)
        assert found["difference"] == pytest.approx(sign * apart)
        assert found["reason"] == f"{apart:.3f} apart, {tolerance:.3f} allowed"


def test_our_value_and_its_interval_stand_beside_the_published_one_in_percent():
    found = row_of(compare(rows_of([FIRST], percent=2.5)), FIRST)
    assert (found["value_percent"], found["ci_low"], found["ci_high"]) == (2.5, 1.5, 3.5)
    assert (found["model"], found["vocab_rows"], found["published_percent"]) == ("pythia-14m", 50304, 1.797)


@pytest.mark.parametrize(("status", "verdict"), [("bug", KNOWN_BUG), ("not_reproducible", NOT_REPRODUCIBLE)])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_a_value_that_is_no_target_is_never_agreed_with(status, verdict, apart):
    targets = [stated for stated in STATED if stated.status == status]
    frame = compare([row for stated in targets for row in rows_of([stated], percent=stated.percent + apart)])
    found = frame[frame["published_status"] == status]
    assert set(found["verdict"]) == {verdict}
    assert found["difference"].to_list() == pytest.approx([apart] * len(targets))
    assert found["tolerance"].isna().all()
    assert list(found["reason"]) == [stated.note for stated in targets]
    assert comparison_words(frame).startswith("None of the 877")


def test_ties_widen_the_tolerance_and_say_so():
    apart = FIRST.percent + 0.02
    frame = compare(rows_of([FIRST], percent=apart, tie_span=0.0001))
    found = row_of(frame, FIRST)
    assert (found["verdict"], found["tolerance"]) == (AGREES, pytest.approx(0.022))
    assert "agrees only by the order of ties in float32, which moves the score by up to 0.010" in found["reason"]
    assert "1 agree only by the order of ties" in comparison_words(frame)
    close = compare(rows_of([FIRST], tie_span=0.0001))
    assert "0.010 of that for the order of ties" in row_of(close, FIRST)["reason"]
    assert "ties" not in comparison_words(close)
    assert row_of(compare(rows_of([FIRST], percent=apart, tie_span=0.00007)), FIRST)["verdict"] == DIFFERS


def test_the_one_that_differs_most_is_named():
    rows = rows_of()
    for place, apart in ((STATED.index(FIRST), 0.1), (STATED.index(RANDOM), -0.2)):
        rows[place]["value"] += apart / 100
    said = comparison_words(compare(rows))
    assert "823 agree within their tolerance, 2 differ, most of all random table of OPT, 2048 columns, seed 43," in said
    assert f"MAP@100: {RANDOM.percent:.3f} published, {RANDOM.percent - 0.2:.3f} here" in said
    rows[STATED.index(RANDOM)]["value"] += 0.2 / 100
    assert "most of all pythia-14m as_is, nDCG@10: 1.797 published, 1.897 here" in comparison_words(compare(rows))


# -- why there is no value of ours -------------------------------------------------------------------------------------

PAD = one(model="pythia-70m", variant="pad_14336", metric="ndcg_at_10")


@pytest.mark.parametrize(
    ("stated", "rows", "why"),
    [
        (FIRST, rows_of([FIRST], collection="cacm"), "another collection: cacm here, SCIDOCS in the study"),
        (PAD, rows_of([PAD], table_precision="fp32"), "another table precision: fp32 here, bfloat16 in the study"),
        (FIRST, rows_of([FIRST], n_queries=999), "another number of judged queries: 999 here, 1000 in the study"),
        (FIRST, rows_of([FIRST], embedding_dim=64), "another number of columns: 64 here, 128 in the study"),
        (FIRST, rows_of(metric="recall_at_10"), "no scores: this run has none"),
        (FIRST, rows_of([PAD]), "left out of this run: pythia-14m"),
        (PAD, rows_of(chosen(model="pythia-70m", variant="as_is")), "variant not scored: pad_14336"),
        (PAD, rows_of([PAD], metric="map_at_100"), "metric not scored: ndcg_at_10"),
        (PAD, rows_of([PAD], seed=43), "seed not run: 42"),
        (PAD, rows_of([PAD], value=None, status="the table is broken"), "no score: the table is broken"),
        (RANDOM, rows_of([FIRST]), "no random baseline of the tokenizer: OPT"),
        (RANDOM, rows_of([RANDOM], tokenizer="bigscience/bloom"), "no random baseline of the tokenizer: OPT"),
        (RANDOM, rows_of([RANDOM], vocab_rows=50265), "another number of rows: 50265 here, 50272 in the study"),
        (RANDOM, rows_of([RANDOM], embedding_dim=1024), "width not run: 2048"),
        (RANDOM, rows_of([RANDOM], seed=42), "seed not run: 43"),
    ],
)  # fmt: skip
def test_what_was_not_run_says_why(stated, rows, why):
    frame = compare(rows)
    found = row_of(frame, stated)
    assert (found["verdict"], found["reason"]) == (NOT_RUN, why)
    assert found[["value_percent", "ci_low", "ci_high", "difference", "tolerance"]].isna().all()


def test_a_model_that_the_config_does_not_have_is_told_from_one_that_was_left_out():
    frame = compare(rows_of([PAD]), models=[entry for entry in MODELS if entry["model"] in ("pythia-70m", "opt-175b")])
    assert row_of(frame, FIRST)["reason"] == "not in this config: pythia-14m"
    left_out = one(model="opt-175b", variant="as_is", metric="ndcg_at_10")
    assert row_of(frame, left_out)["reason"] == "left out of this run: opt-175b"
    assert "not in this config (" in comparison_words(frame)
    bug = one(model="t5-v1_1-xl", variant="crop_128", metric="ndcg_at_10")
    assert row_of(frame, bug)["reason"] == f"{bug.note}; no value here (not in this config: t5-v1_1-xl)"


# -- who is who --------------------------------------------------------------------------------------------------------


def test_models_join_by_hub_id_or_reference_and_never_by_the_users_name():
    models = [
        {"model": "pythia-14m", "hub_id": "facebook/OPT-125M", "reference": None},
        {"model": "mine", "hub_id": None, "reference": "pythia-14m"},
    ]
    frame = compare([score_of(FIRST, model="mine"), score_of(FIRST, percent=7.0)], models=models)
    found = row_of(frame, FIRST)
    assert (found["model"], found["verdict"]) == ("mine", AGREES)
    assert frame["model"].dropna().to_list() == ["mine"]


def test_the_final_revision_goes_before_a_checkpoint_and_the_config_decides_between_models():
    models = [{"model": name, "hub_id": "EleutherAI/pythia-14m", "reference": None} for name in ("b", "a")]
    rows = [
        score_of(FIRST, model="b", revision="step0", percent=0.5),
        score_of(FIRST, model="a", percent=1.0),
        score_of(FIRST, model="b", percent=1.5),
    ]
    assert row_of(compare(rows, models=models), FIRST)["value_percent"] == 1.5
    assert row_of(compare(rows[:2], models=models), FIRST)["value_percent"] == 1.0
    only = row_of(compare(rows[:1], models=models), FIRST)
    assert (only["value_percent"], only["verdict"]) == (0.5, DIFFERS)
    assert only["reason"].endswith("; revision step0 here")


def test_every_tokenizer_of_the_study_has_a_source_and_no_other_name_is_taken_for_one():
    found = STUDY.study_tokenizers()
    assert set(found.values()) == {stated.tokenizer for stated in STATED}
    for name, source in TOKENIZERS.items():
        assert found[source.casefold()] == name
    assert "openai-community/gpt2" not in found


@pytest.mark.parametrize("source", ["facebook/opt-66b", "./tokenizers/opt"])
def test_baselines_join_by_a_tokenizer_that_comes_with_a_model_or_lies_in_a_folder(source):
    model = one(model="opt-66b", variant="as_is", metric="map_at_100")
    rows = rows_of([RANDOM, model], tokenizer=source)
    rows[1]["model"] = "local"
    models = [{"model": "local", "hub_id": None, "reference": "OPT-66b"}]
    assert row_of(compare(rows, models=models), RANDOM)["verdict"] == AGREES
    alone = row_of(compare(rows[:1], models=[]), RANDOM)["verdict"]
    assert alone == (NOT_RUN if source.startswith(".") else AGREES)


def test_two_scores_for_one_value_are_an_error():
    rows = rows_of([FIRST, FIRST])
    with pytest.raises(ValueError, match=r"2 scores where one is expected.*pythia-14m"):
        compare(rows)


def test_unknown_words_are_an_error():
    with pytest.raises(ValueError, match=r"random_generator: 'numpy' is unknown: use one of legacy_bf16, torch"):
        compare([], generator="numpy")
    with pytest.raises(ValueError, match=r"reference: 'pythia' is no model"):
        compare([], models=[{"model": "m", "hub_id": None, "reference": "pythia"}])
    with pytest.raises(ValueError, match=r"unknown verdicts \['perhaps'\]"):
        comparison_words(compare([]).replace({"verdict": {NOT_RUN: "perhaps"}}))


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_of_values_that_are_stated_twice_the_one_that_was_compared_counts():
    twins = [one(model=name, variant="random", metric="ndcg_at_10") for name in ("pythia-1b", "pythia-1.4b")]
    baseline = one(model=None, tokenizer="GPT-NeoX", embedding_dim=2048, seed=42, metric="ndcg_at_10")
    assert {stated.percent for stated in (*twins, baseline)} == {baseline.percent}
    for run in ([twins[1]], [baseline], twins, [*twins, baseline]):
        frame = compare(rows_of(run))
        counted = [stated for stated in (*twins, baseline) if not row_of(frame, stated)["repeats"]]
        assert counted == run[:1]
        assert comparison_words(frame).startswith("1 of the 877 distinct values")
        assert "1 agree within their tolerance, 0 differ" in comparison_words(frame)


def test_a_difference_does_not_hide_behind_a_repeat_that_agrees():
    whole = one(model="pythia-12b", variant="pad_5120", metric="ndcg_at_10")
    table = one(model="pythia-12b", variant="as_is", metric="ndcg_at_10")
    frame = compare([*rows_of([table]), *rows_of([whole], percent=whole.percent + 0.1)])
    assert row_of(frame, table)["repeats"]
    assert not row_of(frame, whole)["repeats"]
    assert "0 agree within their tolerance, 1 differ" in comparison_words(frame)


def test_equal_values_of_different_tables_are_no_repeats():
    # OPT-175B padded to 14336 scores as it does alone, and a T5 padded does: results, not the same table.
    for name, variant in (("opt-175b", "pad_14336"), ("t5-v1_1-xl", "pad_14336")):
        padded, table = (one(model=name, variant=kind, metric="ndcg_at_10") for kind in (variant, "as_is"))
        assert padded.percent == table.percent
        frame = compare([])
        assert not row_of(frame, padded)["repeats"]
        assert not row_of(frame, table)["repeats"]


def test_the_study_draws_pythias_tables_of_more_rows_as_it_draws_the_baseline():
    first = [next(random_blocks(rows, 14336, 42, n_columns=8, block_rows=16)) for rows in (50304, 50432, 50688)]
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(first[0], first[2])


# -- another generator -------------------------------------------------------------------------------------------------


def test_another_draw_is_judged_by_the_spread_of_the_seeds_of_both():
    run = chosen(model=None, tokenizer="OPT", embedding_dim=2048, metric="map_at_100")
    theirs = np.array([stated.percent for stated in run])
    ours = theirs + np.array([0.02, -0.03, 0.05, 0.01])
    rows = [row for stated, percent in zip(run, ours, strict=True) for row in rows_of([stated], percent=percent)]
    s = np.sqrt((theirs.var(ddof=1) + ours.var(ddof=1)) / 2)
    tolerance = stats.t.ppf(0.975, 6) * s * np.sqrt(2)
    frame = compare(rows, generator="torch")
    for stated in run:
        found = row_of(frame, stated)
        assert found["tolerance"] == pytest.approx(tolerance, rel=1e-6)
        assert found["verdict"] == (AGREES if abs(found["difference"]) <= tolerance else DIFFERS)
        assert "another draw" in found["reason"]
    assert "4 are another draw of random columns than the study's" in comparison_words(frame)
    alone = row_of(compare(rows[:1], generator=None), run[0])
    assert alone["tolerance"] == pytest.approx(stats.t.ppf(0.975, 3) * theirs.std(ddof=1) * np.sqrt(2), rel=1e-6)


def test_another_padding_needs_seeds_of_ours_and_trained_tables_do_not():
    table = one(model="pythia-70m", variant="as_is", metric="ndcg_at_10")
    own_width = one(model="pythia-12b", variant="pad_5120", metric="ndcg_at_10")
    frame = compare(rows_of([PAD, table, own_width]), generator="torch")
    assert (row_of(frame, table)["verdict"], row_of(frame, table)["tolerance"]) == (AGREES, 0.012)
    assert (row_of(frame, own_width)["verdict"], row_of(frame, own_width)["tolerance"]) == (AGREES, 0.012)
    assert row_of(frame, PAD)["verdict"] == NOT_RUN
    assert row_of(frame, PAD)["reason"].startswith("no spread to judge another draw of random columns by")
    seeds = [*rows_of([PAD], percent=5.0), *rows_of([PAD], seed=43, percent=5.4)]
    assert row_of(compare(seeds, generator="torch"), PAD)["verdict"] == NOT_RUN
    seeds += rows_of([PAD], seed=44, percent=5.1)
    found = row_of(compare(seeds, generator="torch"), PAD)
    assert found["tolerance"] == pytest.approx(stats.t.ppf(0.975, 2) * np.std([5.0, 5.4, 5.1], ddof=1) * np.sqrt(2))
    alike = [*rows_of([PAD]), *rows_of([PAD], seed=43), *rows_of([PAD], seed=44)]
    assert row_of(compare(alike, generator="torch"), PAD)["tolerance"] == 0.012


def test_two_draws_are_within_their_interval_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for n_ours, n_theirs in ((1, 4), (4, 4), (4, 0)):
        inside = missed = 0
        for _ in range(1000):
            ours, theirs = rng.normal(size=n_ours), rng.normal(size=max(n_theirs, 1))
            reach = difference_of_draws(ours, theirs[:n_theirs])
            inside += abs(ours[0] - theirs[0]) <= reach
            missed += abs(ours[0] - theirs[0] + 12) <= reach
        assert 0.94 < inside / 1000 < 0.995
        assert missed / 1000 < 0.05
    assert difference_of_draws([1.0], [2.0]) is None
    assert difference_of_draws([1.0, 2.0], [2.0]) is None
    assert difference_of_draws([], []) is None


# -- scripts and figure ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    """A run that has nearly everything, off by a little more than most tolerances."""
    rng = np.random.default_rng(1)
    rows = rows_of([stated for stated in STATED if stated.model != "opt-175b"])
    for row in rows:
        row["value"] += rng.normal() * 3e-5
    return compare(rows)


def test_the_figure_shows_each_distinct_value_that_was_compared(noisy):
    drawing = figure.published_comparison(noisy)
    data = drawing.data.to_pandas()
    wanted = noisy[noisy["value_percent"].notna() & ~noisy["repeats"]]
    for column, metric in enumerate(figure.METRICS):
        values, differences = drawing.figure.axes[column], drawing.figure.axes[2 + column]
        here = wanted[wanted["metric"] == metric]
        # The first line is the identity.
        assert points_of(values, skip=1) == sorted(zip(here["published_percent"], here["value_percent"], strict=True))
        judged = here[here["tolerance"].notna()]
        apart = judged["difference"] / judged["tolerance"]
        assert points_of(differences, skip=1) == sorted(zip(judged["published_percent"], apart, strict=True))
    drawn = data[data["mark"] != figure.NOT_DRAWN]
    assert len(drawn) == len(wanted)
    assert set(drawn.loc[drawn["mark"] == figure.HOLLOW, "verdict"]) == {KNOWN_BUG, NOT_REPRODUCIBLE}
    assert set(drawn.loc[drawn["mark"] == figure.SOLID, "verdict"]) == {AGREES, DIFFERS}
    hollow = [line for line in drawing.figure.axes[0].get_lines() if line.get_markerfacecolor() == "none"]
    n_hollow = sum(len(line.get_xdata()) for line in hollow)
    assert n_hollow == ((drawn["mark"] == figure.HOLLOW) & (drawn["metric"] == "ndcg_at_10")).sum() > 0
    assert comparison_words(noisy) in drawing.caption


def points_of(axes, *, skip):
    return sorted(point for line in axes.get_lines()[skip:] for point in zip(*line.get_data(), strict=True))


def test_shade_and_interval_say_what_agrees(noisy):
    drawing = figure.published_comparison(noisy)
    judged = drawing.data.to_pandas().query("mark == 'solid'")
    assert ((judged["in_tolerances"].abs() <= 1) == (judged["verdict"] == AGREES)).all()
    shade = drawing.figure.axes[2].patches[0].get_extents().transformed(drawing.figure.axes[2].transData.inverted())
    assert (shade.y0, shade.y1) == (pytest.approx(-1), pytest.approx(1))
    whiskers = [path for collection in drawing.figure.axes[0].collections for path in collection.get_paths()]
    ends = sorted(tuple(path.vertices[:, 1]) for path in whiskers)
    drawn = drawing.data.to_pandas().query("mark != 'not drawn' and metric == 'ndcg_at_10'")
    assert ends == sorted(zip(drawn["ci_low"], drawn["ci_high"], strict=True))


def test_no_target_alone_leaves_the_lower_panel_to_words():
    bug = one(model="t5-v1_1-xl", variant="crop_128", metric="ndcg_at_10")
    drawing = figure.published_comparison(compare(rows_of([bug], percent=3.0)))
    upper, _, lower, _ = drawing.figure.axes
    assert points_of(upper, skip=1) == [(bug.percent, 3.0)]
    assert len(upper.get_xticks())
    assert [text.get_text() for text in lower.texts] == [figure.NOTHING]


def test_the_scripts_write_table_and_figure(tmp_path: Path):
    scores, table, csv = (tmp_path / name for name in ("scores.parquet", "out.parquet", "out.csv"))
    rows = pa.Table.from_pylist(rows_of(), schema=retrieval_scores.SCHEMA)
    origin = {"collection_sha256": "ab", "mteb_task": "SCIDOCS"}
    for settings, source, reason in (
        ({"max_length": 16}, origin, "another length of texts: max_length is 16 here, 2048 in the study"),
        ({"max_length": 2048}, {}, "another collection: a folder of the name SCIDOCS here, the MTEB task in the study"),
        ({"max_length": 2048}, origin, ""),
    ):
        write_table(scores, rows, retrieval_scores.SCHEMA, settings=settings, origin=source)
        compare_published(scores=scores, table=table, csv=csv, models=MODELS, random_generator="legacy_bf16")
        written = read_table(table)
        judged = {row["reason"] for row in written.to_pylist() if row["published_status"] == "valid"}
        assert (judged == {reason}) == bool(reason)
    assert "agrees" in written["verdict"].to_pylist()
    assert written.num_rows == N_STATED == len(pd.read_csv(csv))
    facts = provenance.read(table)
    assert facts["settings"]["random_generator"] == "legacy_bf16"
    assert facts["origin"]["collection_sha256"] == "ab"
    endings = {"png": "png", "svg": "svg", "pdf": "pdf", "data": "parquet", "csv": "csv", "caption": "rst"}
    files = {kind: tmp_path / f"figure.{ending}" for kind, ending in endings.items()}
    plot_published_comparison(comparison=table, **files)
    assert all(path.stat().st_size for path in files.values())
    assert read_table(files["data"]).schema.names == figure_data.PUBLISHED_COMPARISON.names
    assert style.caption_from_rst(files["caption"].read_text()).startswith("Published values and ours.")

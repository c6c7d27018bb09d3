"""What the embedding study claims, tested on one or several collections.

Source: J. S. Corey, "How do the Embedding Layers of LLMs change with scale?". A model counts as one of the study's by
its hub id or its key ``reference``, never by the user's name for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lm_geometry.claims.evaluation import Evaluation, NotTestableError
from lm_geometry.claims.evidence import (
    Evidence,
    above_all,
    difference_within,
    interior_peak,
    mean_above_zero,
    ratio_within,
)
from lm_geometry.claims.scored_queries import ScoredQueries
from lm_geometry.claims.thresholds import EQUIVALENT_DIFFERENCE, EQUIVALENT_RATIO, SETTLED_BY, SETTLED_COSINE
from lm_geometry.claims.verdict import Claim, Finding, Outcome, judge
from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, parse_variant
from lm_geometry.published import Published
from lm_geometry.statistics.resampling import share_best
from lm_geometry.tables.retrieval_scores import OK

STUDY = "embedding_scaling"
METRICS = ("ndcg_at_10", "map_at_100")

MIN_SEEDS = 3
# A step later than this share of training says nothing of a tenth of it.
_NEAR_SETTLED_BY = 0.2
# Mean cosine from which on two tables are taken for the same one.
_SAME_TABLE = 0.9999
PADDED_UP_TO = 512
STUDY_PAD = "pad_14336"
STUDY_CROP = "crop_128"

SUITES = {
    "Pythia": (
        "pythia-14m", "pythia-31m", "pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b",
        "pythia-2.8b", "pythia-6.9b", "pythia-12b",
    ),
    "OPT": (
        "opt-350m", "opt-125m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b", "opt-66b", "opt-175b",
    ),
    "Cerebras-GPT": (
        "Cerebras-GPT-111M", "Cerebras-GPT-256M", "Cerebras-GPT-590M", "Cerebras-GPT-1.3B", "Cerebras-GPT-2.7B",
        "Cerebras-GPT-6.7B", "Cerebras-GPT-13B",
    ),
    "BLOOM": ("bloom-560m", "bloom-1b1", "bloom-1b7", "bloom-3b", "bloom-7b1", "bloom"),
    "T5-v1.1": ("t5-v1_1-small", "t5-v1_1-base", "t5-v1_1-large", "t5-v1_1-xl", "t5-v1_1-xxl"),
}  # fmt: skip
"""The study's suites, by the names of reference/models.csv, narrowest table first."""

PEAKS = {"Pythia": "pythia-1b", "OPT": "opt-13b", "BLOOM": "bloom-1b7"}
BELOW_RANDOM = {"Cerebras-GPT": SUITES["Cerebras-GPT"], "BLOOM": ("bloom-560m", "bloom-1b1")}
"""'Worse than random for most of it', and 'worse than random in small models': those narrower than BLOOM's peak."""

PEAK_INSIDE = Claim(
    "peak_inside_suite", "Inside a suite retrieval quality peaks, then falls: a model of middling width is the best."
)
PAIR = Claim("pythia_1b_above_1_4b", "pythia-1b's table is better than pythia-1.4b's of the same width.", 3)
WIDTH_ALONE = Claim("width_alone_gains", "A wider random table scores higher: some of the gain comes from width alone.")
PADDING = Claim(
    "padding_helps_up_to_512",
    f"A table up to {PADDED_UP_TO} wide scores higher filled up with random columns than it or they do on their own.",
)
CROP_PEAK = Claim(
    "crop128_peaks_at_160m",
    "Of all Pythia models, pythia-160m has the best first 128 columns: information per dimension.",
)
CROP_EQUAL = Claim(
    "12b_crop_equals_14m", "The first 128 columns of pythia-12b are worth about what pythia-14m's 128 are: within 20 %."
)
TRAINED_BELOW_RANDOM = Claim(
    "trained_below_random", "The trained table scores below a random one: most of Cerebras-GPT, the small BLOOM models."
)
OPT_BELOW_PYTHIA = Claim("opt_66b_below_pythia_70m", "opt-66b's table, 9216 wide, scores below pythia-70m's, 512 wide.")
SETTLED = Claim(
    "tables_settle_early",
    "After a tenth of training the table is near its final state: cosine 0.9 or more, score within 0.3 points.",
)
NAMED_PEAK = Claim("peak_at_named_model", "Pythia's best table is pythia-1b's, OPT's opt-13b's, BLOOM's bloom-1b7's.")


def embedding_claims(
    *,
    collections: Sequence[str],
    query_scores: pd.DataFrame,
    scores: pd.DataFrame,
    training: pd.DataFrame,
    models: Sequence[Mapping[str, str | None]],
    published: Published,
) -> pd.DataFrame:
    """Return the study's claims with their verdicts, as rows of the table ``claims``.

    Parameters
    ----------
    collections : sequence of str
        What to test them on. A claim that needs several collections cannot hold on one.
    query_scores : DataFrame
        Rows of the tables ``query_scores`` of these collections: all models, variants and random tokenizers.
    scores, training : DataFrame
        The tables ``retrieval_scores`` and ``embedding_training``; the latter may have no rows.
    models : sequence of mappings
        The config's models, run or not: model, suite, hub_id and reference (None where the config has none).
    published : Published
        The reference tables, for the study's names.
    """
    named = {
        entry["model"]: published.name_of(hub_id=entry["hub_id"], reference=entry["reference"]) for entry in models
    }
    findings = []
    for collection in collections:
        evaluation = Evaluation(
            collection=collection,
            queries=ScoredQueries(query_scores[query_scores["collection"] == collection], METRICS),
            scores=scores[scores["collection"] == collection],
            training=training[training["collection"] == collection],
            models=models,
            names={model: name for model, name in named.items() if name},
        )
        findings += [finding for claim in _CLAIMS for finding in claim(evaluation)]
    order = {claim: place for place, claim in enumerate(dict.fromkeys(finding.claim for finding in findings))}
    return judge(sorted(findings, key=lambda finding: order[finding.claim]), study=STUDY)


def _findings(evaluation: Evaluation, claim: Claim, about: str, test: Callable[[str], Outcome]) -> Iterator[Finding]:
    """Yield a claim's row in each metric: the test's outcome, or what it lacks."""
    for metric in METRICS:
        try:
            found: Outcome | str = test(metric)
        except NotTestableError as reason:
            found = str(reason)
        yield Finding(claim, about, evaluation.collection, metric, found)


def _not_run(evaluation: Evaluation, claim: Claim, about: str, reason: str) -> Iterator[Finding]:
    for metric in METRICS:
        yield Finding(claim, about, evaluation.collection, metric, reason)


# -- inside suites -----------------------------------------------------------------------------------------------------


def _peak_inside_suite(evaluation: Evaluation) -> Iterator[Finding]:
    for suite in dict.fromkeys(entry["suite"] for entry in evaluation.models):
        listed = [entry["model"] for entry in evaluation.models if entry["suite"] == suite]
        yield from _findings(
            evaluation, PEAK_INSIDE, suite, lambda metric, listed=listed: _peak(evaluation, listed, metric)
        )


def _peak(evaluation: Evaluation, listed: Sequence[str], metric: str) -> Outcome:
    """Test the models between a suite's narrowest and widest against both."""
    present = [model for model in listed if "as_is" in evaluation.queries.variants(model)]
    widths = evaluation.queries.models["embedding_dim"].reindex(present)
    inner = [model for model in present if widths.min() < widths[model] < widths.max()]
    if not inner:
        raise NotTestableError(
            f"a peak inside needs tables of three widths or more, and {len(present)} scored models have "
            f"{widths.nunique()}: {', '.join(f'{model} {widths[model]}' for model in present) or 'none'}"
        )
    outer = [model for model in present if model not in inner]
    scored = {model: evaluation.scored(model, "as_is") for model in present}
    evidence = interior_peak(*(np.column_stack([scored[m].of(metric) for m in group]) for group in (inner, outer)))
    best = max(inner, key=lambda model: scored[model].of(metric).mean())
    detail = (
        f"the best of {len(inner)} models between, chosen on half of the queries and tested on the other (medians over "
        f"splits), less the narrowest and the widest, {', '.join(f'{m} {scored[m].points(metric)}' for m in outer)}; "
        f"on all queries the best between is {best}, {scored[best].points(metric)}"
    )
    return Outcome(evidence, detail, *_peak_obstacles(evaluation, listed, present))


def _peak_obstacles(evaluation: Evaluation, listed: Sequence[str], present: Sequence[str]) -> tuple[str, str]:
    """Return why the suite's claim cannot hold and cannot be refuted, where models of the suite are missing."""
    names = {evaluation.names.get(model) for model in listed}
    whole = next((suite for suite in SUITES.values() if names <= set(suite)), None)
    if whole is None:  # a suite of the user's own
        missing = [model for model in listed if model not in present]
        ends_missing = missing
    else:
        here = {evaluation.names.get(model) for model in present}
        missing = [name for name in whole if name not in here]
        ends_missing = [name for name in (whole[0], whole[-1]) if name in missing]
    return _lacking(ends_missing, "which may be at an end of the suite"), _lacking(missing, "of the suite")


def _lacking(missing: Sequence[str], what: str) -> str:
    return f"{', '.join(missing)}, {what}, {'is' if len(missing) == 1 else 'are'} not scored here" if missing else ""


def _named_peaks(evaluation: Evaluation) -> Iterator[Finding]:
    for suite, named in PEAKS.items():
        yield from _named_best(evaluation, NAMED_PEAK, f"{suite}: {named}", named, SUITES[suite], "as_is")


def _crop_peak(evaluation: Evaluation) -> Iterator[Finding]:
    return _named_best(evaluation, CROP_PEAK, "Pythia: pythia-160m", "pythia-160m", SUITES["Pythia"], STUDY_CROP)


def _named_best(
    evaluation: Evaluation, claim: Claim, about: str, named: str, suite: Sequence[str], variant: str
) -> Iterator[Finding]:
    """Test whether one model is better than every other one of its suite."""
    rivals = [name for name in suite if name != named]

    def test(metric: str) -> Outcome:
        own = evaluation.scored(evaluation.model(named), variant)
        others, missing = evaluation.scored_of(rivals, variant)
        if not others:
            raise NotTestableError(f"no other model of the suite has scores of {variant}: {'; '.join(missing)}")
        columns = np.column_stack([own.of(metric), *(other.of(metric) for other in others.values())])
        best = max(others, key=lambda name: others[name].of(metric).mean())
        share = share_best(columns)[0]
        detail = (
            f"{variant} of {named}, {own.points(metric)}, less that of each of {len(others)} others; the best of these "
            f"is {best}, {others[best].points(metric)}; {named} is best of all in {share:.0%} of resamples of queries"
        )
        return Outcome(above_all(columns[:, :1] - columns[:, 1:]), detail, cannot_hold="; ".join(missing))

    yield from _findings(evaluation, claim, about, test)


# -- pairs -------------------------------------------------------------------------------------------------------------


def _pythia_pair(evaluation: Evaluation) -> Iterator[Finding]:
    return _one_above(evaluation, PAIR, "pythia-1b", "pythia-1.4b")


def _opt_below_pythia(evaluation: Evaluation) -> Iterator[Finding]:
    return _one_above(evaluation, OPT_BELOW_PYTHIA, "pythia-70m", "opt-66b")


def _one_above(evaluation: Evaluation, claim: Claim, above: str, below: str) -> Iterator[Finding]:
    def test(metric: str) -> Outcome:
        scored, missing = evaluation.scored_of([above, below], "as_is")
        if missing:
            raise NotTestableError("; ".join(missing))
        detail = f"{above} {scored[above].points(metric)} less {below} {scored[below].points(metric)}"
        return Outcome(above_all(scored[above].of(metric) - scored[below].of(metric)), detail)

    yield from _findings(evaluation, claim, f"{above}, {below}", test)


def _crop_equal(evaluation: Evaluation) -> Iterator[Finding]:
    names = ["pythia-12b", "pythia-14m"]

    def test(metric: str) -> Outcome:
        scored, missing = evaluation.scored_of(names, STUDY_CROP)
        if missing:
            raise NotTestableError("; ".join(missing))
        large, small = (scored[name].of(metric) for name in names)
        if small.mean() <= 0:
            raise NotTestableError(f"pythia-14m scores {small.mean():.3g}: nothing to be within 20 % of")
        detail = (
            f"{STUDY_CROP} of {names[0]}, {scored[names[0]].points(metric)}, relative to that of {names[1]}, "
            f"{scored[names[1]].points(metric)}, less 1; equivalent within {EQUIVALENT_RATIO:.0%}: two one-sided tests"
        )
        return Outcome(ratio_within(large, small, margin=EQUIVALENT_RATIO), detail)

    yield from _findings(evaluation, CROP_EQUAL, ", ".join(names), test)


# -- against random tables ---------------------------------------------------------------------------------------------


def _width_alone(evaluation: Evaluation) -> Iterator[Finding]:
    baselines = evaluation.scores[
        (evaluation.scores["variant"] == RANDOM_TOKENIZER) & (evaluation.scores["status"] == OK)
    ]
    if baselines.empty:
        yield from _not_run(evaluation, WIDTH_ALONE, "random tokenizers", "this config scores no random tokenizers")
    for tokenizer, rows in baselines.groupby("tokenizer"):
        yield from _findings(
            evaluation, WIDTH_ALONE, tokenizer, lambda metric, rows=rows: _slope(rows[rows["metric"] == metric])
        )


def _slope(rows: pd.DataFrame) -> Outcome:
    """Test the slope of a tokenizer's random baselines over the width, one slope per seed."""
    values = rows.pivot(index="width", columns="seed", values="value")
    if values.isna().any(axis=None):
        raise NotTestableError("the seeds do not have the same widths")
    if len(values) < 2:
        raise NotTestableError(f"one width, {values.index[0]}: a slope needs two or more")
    # One column of values per seed: neighbouring widths of a seed are prefixes of one table, and not independent.
    slopes = np.polyfit(np.log2(values.index.to_numpy(dtype=float)), values.to_numpy(), 1)[0]
    detail = (
        f"slope of the score over log2 of the width, per doubling, {len(values)} widths from {values.index.min()} to "
        f"{values.index.max()}; mean over {len(slopes)} {'seed' if len(slopes) == 1 else 'seeds'}"
    )
    if len(slopes) < MIN_SEEDS:
        few = f"a test over seeds needs {MIN_SEEDS} or more, and there are {len(slopes)}"
        mean = float(slopes.mean())
        return Outcome(Evidence(mean, None, None, None, mean > 0, len(slopes)), detail, few, few)
    return Outcome(mean_above_zero(slopes), detail)


def _padding(evaluation: Evaluation) -> Iterator[Finding]:
    widths = evaluation.queries.models["embedding_dim"]
    padded = {model: _pad(evaluation, model, width) for model, width in widths[widths <= PADDED_UP_TO].items()}
    padded = {model: variant for model, variant in padded.items() if variant}
    if not padded:
        reason = f"no model of this config with a table up to {PADDED_UP_TO} wide has scores of a wider pad_<n>"
        yield from _not_run(evaluation, PADDING, "narrow tables", reason)
    for model, variant in padded.items():
        yield from _findings(
            evaluation, PADDING, model, lambda metric, pair=(model, variant): _padded(evaluation, *pair, metric)
        )


def _pad(evaluation: Evaluation, model: str, width: int) -> str | None:
    """Return the study's pad if the model has it, else its widest unscaled one, None for none."""
    variants = [parse_variant(name) for name in evaluation.queries.variants(model)]
    pads = [variant for variant in variants if variant.kind == "pad" and variant.size > width]
    return max(pads, key=lambda pad: (pad.name == STUDY_PAD, pad.size)).name if pads else None


def _padded(evaluation: Evaluation, model: str, variant: str, metric: str) -> Outcome:
    """Test a padded table against what it is made of: the table, and random tables of its width and of the pad's."""
    own = evaluation.scored(model, variant)
    parts = {"as_is": evaluation.scored(model, "as_is"), "random": evaluation.scored(model, "random")}
    width = parse_variant(variant).size
    wide = evaluation.queries.of_baseline(evaluation.queries.models.loc[model, "tokenizer"], width)
    if wide is not None:
        parts[f"a random table {width} wide"] = wide
    detail = f"{variant} {own.points(metric)} against " + ", ".join(
        f"{name} {part.points(metric)}" for name, part in parts.items()
    )
    columns = np.column_stack([part.of(metric) for part in parts.values()])
    return Outcome(above_all(own.of(metric)[:, None] - columns), detail)


def _below_random(evaluation: Evaluation) -> Iterator[Finding]:
    for suite, names in BELOW_RANDOM.items():
        absent = []
        for name in names:
            try:
                model = evaluation.model(name)
            except NotTestableError as reason:
                absent.append(str(reason))
                continue
            yield from _findings(
                evaluation,
                TRAINED_BELOW_RANDOM,
                name,
                lambda metric, model=model: _random_less_trained(evaluation, model, metric),
            )
        if absent:
            about = suite if len(absent) == len(names) else f"the rest of {suite}"
            yield from _not_run(evaluation, TRAINED_BELOW_RANDOM, about, "; ".join(absent))


def _random_less_trained(evaluation: Evaluation, model: str, metric: str) -> Outcome:
    random, trained = evaluation.scored(model, "random"), evaluation.scored(model, "as_is")
    detail = f"random {random.points(metric)} less trained {trained.points(metric)}"
    return Outcome(above_all(random.of(metric) - trained.of(metric)), detail)


# -- over training -----------------------------------------------------------------------------------------------------


def _settled(evaluation: Evaluation) -> Iterator[Finding]:
    if evaluation.training.empty:
        reason = "this config follows no table over training"
        yield from _not_run(evaluation, SETTLED, "tables over training", reason)
    for model, rows in evaluation.training.groupby("model", sort=False):
        yield from _findings(evaluation, SETTLED, model, lambda metric, rows=rows: _settled_by(rows, metric))


def _settled_by(rows: pd.DataFrame, metric: str) -> Outcome:
    """Test the first checkpoint after a tenth of training against the final table."""
    rows = rows[rows["step"].notna()].astype({"step": int})
    last = rows["step"].max()
    _check_that_training_ends(rows, last)
    genuine = rows[rows["duplicate_of"].isna() & (rows["step"] >= SETTLED_BY * last) & (rows["step"] < last)]
    if genuine.empty:
        raise NotTestableError(
            f"between {SETTLED_BY:.0%} of the last listed step, {last}, and that step lies no checkpoint but copies"
        )
    step = genuine["step"].min()
    found = genuine[genuine["step"] == step].set_index("statistic")
    difference = f"{metric}_difference"
    for statistic in ("cosine", difference):
        status = found["status"].get(statistic, "not measured")
        if status != OK:
            raise NotTestableError(f"{statistic} at step {step}: {status}")
    cosine, scores = float(found.loc["cosine", "value"]), found.loc[difference]
    evidence = difference_within(
        *(float(scores[name]) for name in ("value", "ci_low", "ci_high")),
        int(scores["n"]),
        margin=EQUIVALENT_DIFFERENCE,
    )
    if cosine < SETTLED_COSINE:
        # A fact about two tables, without chance: no score can mend it.
        evidence = Evidence(evidence.estimate, evidence.low, evidence.high, None, False, evidence.n)
    late = f"the first checkpoint that can be tested lies at {step / last:.0%} of training"
    detail = (
        f"step {step} of {last}: cosine to the final table {cosine:.3f}, at least {SETTLED_COSINE} claimed; score less "
        f"the final one's, within {100 * EQUIVALENT_DIFFERENCE:.1f} points is equivalent: two one-sided tests"
    )
    return Outcome(evidence, detail, cannot_hold=late if step > _NEAR_SETTLED_BY * last else "")


def _check_that_training_ends(rows: pd.DataFrame, last: int) -> None:
    """Refuse to take a tenth of the listed steps for a tenth of training where they end early."""
    found = rows[(rows["step"] == last) & (rows["statistic"] == "cosine") & (rows["status"] == OK)]
    cosine = found["value"].max()
    if not cosine >= _SAME_TABLE:
        raise NotTestableError(
            f"the last listed step, {last}, is not where training ended: its table's cosine to the final one is "
            f"{cosine:.4f}; list the last step too"
        )


_CLAIMS = (
    _peak_inside_suite,
    _named_peaks,
    _pythia_pair,
    _width_alone,
    _padding,
    _crop_peak,
    _crop_equal,
    _below_random,
    _opt_below_pythia,
    _settled,
)

"""Every published value beside ours, with a verdict, and what it comes to in words. Tables in, tables out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import stdtrit  # scipy.stats would take a second to import

from lm_geometry import published as study
from lm_geometry.embeddings.random_table import GENERATORS
from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, parse_variant
from lm_geometry.published import BUG, NOT_REPRODUCIBLE, Published, Stated
from lm_geometry.tables.published_comparison import (
    AGREES,
    COLLECTION,
    DIFFERS,
    KNOWN_BUG,
    NOT_RUN,
    SCHEMA,
)
from lm_geometry.tables.published_comparison import NOT_REPRODUCIBLE as CANNOT_BE_REPRODUCED
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import listing, metric_name

TOLERANCES = {"ndcg_at_10": 0.012, "map_at_100": 0.003}
"""How far, in percent, a trained table's score may be from the published one."""

RANDOM_TOLERANCE = 0.003
"""The same for a random table that is the study's own, bit for bit."""

STUDY_GENERATOR = "legacy_bf16"

ANOTHER_DRAW = "another draw of random columns"
ONLY_BY_TIES = "only by the order of ties"
_REASONS_NAMED = 4

_WEIGHT = {DIFFERS: 0, AGREES: 1, KNOWN_BUG: 2, CANNOT_BE_REPRODUCED: 3, NOT_RUN: 4}
_NO_TARGETS = {BUG: KNOWN_BUG, NOT_REPRODUCIBLE: CANNOT_BE_REPRODUCED}

Row = Mapping[str, Any]


_LEAST_FREEDOM = 2


def compare_with_published(
    scores: pa.Table,
    published: Published,
    baselines: Sequence[Stated],
    models: Sequence[Row],
    *,
    random_generator: str | None,
    unlike: str = "",
) -> pa.Table:
    """Set every published value beside ours.

    Values join by the model's hub id or its key ``reference``, those of no model by tokenizer and shape of the table.
    Where several models or revisions of a config belong to one published model, the revision 'main' goes first, then
    the config's order.

    A random table of another generator is another draw. Two draws are compared by the 95 % t interval of their
    difference, t s sqrt(2), where s is pooled over the seeds here and the study's seeds of the same shape.

    Parameters
    ----------
    scores : pa.Table
        The table ``retrieval_scores``.
    published : Published
        The published scores of models.
    baselines : sequence of Stated
        The published scores of random tables (``read_published_baselines``).
    models : sequence of mappings
        Every model of the config, run or not: model, hub_id and reference (None for none).
    random_generator : str or None
        The config's key; None where it is not known.
    unlike : str
        In which setting, beyond those that the scores state, this run is not the study's; then nothing is compared.

    Returns
    -------
    pa.Table
        The table ``published_comparison``: one row per published value, models first, in the published order.

    Raises
    ------
    ValueError
        If the generator is unknown, ``reference`` names no published model, or the scores hold two values for one.
    """
    if random_generator not in (None, *GENERATORS):
        raise ValueError(f"random_generator: '{random_generator}' is unknown: use one of {', '.join(GENERATORS)}")
    ours = _Ours(scores, published, models, unlike)
    draws = None if random_generator == STUDY_GENERATOR else _draws_by_table(baselines)
    rows = [_compared(stated, ours.find(stated), draws) for stated in [*published.stated(), *baselines]]
    marked = [{**row, "repeats": repeats} for row, repeats in zip(rows, _repeats(rows), strict=True)]
    return pa.Table.from_pylist(marked, schema=SCHEMA)


def comparison_words(rows: pa.Table | pd.DataFrame) -> str:
    """Say how many distinct published values were compared and what came of it; that none was, where none was.

    Parameters
    ----------
    rows : table
        The table ``published_comparison``.

    Raises
    ------
    ValueError
        If a verdict is unknown.
    """
    frame = rows.to_pandas() if isinstance(rows, pa.Table) else rows
    unknown = sorted(set(frame["verdict"]) - set(_WEIGHT))
    if unknown:
        raise ValueError(f"unknown verdicts {unknown}: use {sorted(_WEIGHT)}")
    frame = frame[~frame["repeats"]]
    by_verdict = {verdict: frame[frame["verdict"] == verdict] for verdict in _WEIGHT}
    agreeing, differing = by_verdict[AGREES], by_verdict[DIFFERS]
    said = [
        _words_of_compared(len(frame), agreeing, differing),
        _words_of_no_targets(len(by_verdict[KNOWN_BUG]), len(by_verdict[CANNOT_BE_REPRODUCED])),
        _words_of_not_run(by_verdict[NOT_RUN]),
    ]
    return " ".join(filter(None, said))


# -- finding ours ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Match:
    """Our row for a published value, or why there is none; the same table's values of all seeds, in percent."""

    row: Row | None
    why_not: str = ""
    seeds: tuple[float, ...] = ()


class _Ours:
    """A run's scores, as far as they can stand beside the study's, and whose they are by the study's names."""

    def __init__(self, scores: pa.Table, published: Published, models: Sequence[Row], unlike: str) -> None:
        rows = [row for row in scores.to_pylist() if row["metric"] in TOLERANCES]
        rows, self.why_none = _narrowed(rows, _SETTING) if rows else (rows, "no scores: this run has none")
        if rows and unlike:
            rows, self.why_none = [], unlike
        self.names: dict[str, list[str]] = {}
        for entry in models:
            name = published.name_of(hub_id=entry.get("hub_id"), reference=entry.get("reference"))
            if name is not None:
                self.names.setdefault(name.casefold(), []).append(entry["model"])
        order = {entry["model"]: place for place, entry in enumerate(models)}
        # Stable: of several tables for one published model, the final one goes first.
        of_models = [row for row in rows if row["model"] in order]
        self.of_models = sorted(of_models, key=lambda row: (row["revision"] != "main", order[row["model"]]))
        self.baselines = [row for row in rows if row["variant"] == RANDOM_TOKENIZER]
        self.tokenizers = self._local_tokenizers(published) | published.study_tokenizers()

    def _local_tokenizers(self, published: Published) -> dict[str, str]:
        """Return the study's names of the tokenizers that come with the models here, by their source."""
        study_name = {stated.model.casefold(): stated.tokenizer for stated in published.stated()}
        published_name = {model: name for name, models in self.names.items() for model in models}
        return {
            row["tokenizer"].casefold(): study_name[published_name[row["model"]]]
            for row in self.of_models
            if published_name.get(row["model"]) in study_name
        }

    def find(self, stated: Stated) -> _Match:
        """Return our row for a published value, or why there is none."""
        if self.why_none:
            return _Match(None, self.why_none)
        names = self.names.get(stated.model.casefold(), []) if stated.model else []
        if stated.model and not names:
            return _Match(None, f"not in this config: {stated.model}")
        rows, steps = self._table_of(stated, names)
        table, why_not = _narrowed(rows, [*steps, _has("metric", stated.metric, "metric not scored")])
        found, why_not = (table, why_not) if why_not else _narrowed(table, _one_value(stated))
        if why_not:
            return _Match(None, why_not)
        # Of several models, revisions or tokenizers that the study's one may be, the first has gone before.
        mine = [row for row in found if _owner(row) == _owner(found[0])]
        if len(mine) > 1:
            raise ValueError(f"{len(mine)} scores where one is expected: {_owner(mine[0])}, {stated}")
        seeds = [100 * row["value"] for row in table if _owner(row) == _owner(mine[0]) and row["status"] == OK]
        return _Match(mine[0], seeds=tuple(seeds))

    def _table_of(self, stated: Stated, names: Sequence[str]) -> tuple[list[Row], "list[_Step]"]:
        """Return where the table of a published value is looked for, and by what."""
        if stated.model is None:
            steps = [
                _Step(
                    lambda row: self.tokenizers.get(row["tokenizer"].casefold()) == stated.tokenizer,
                    lambda _: f"no random baseline of the tokenizer: {stated.tokenizer}",
                ),
                _as_in_the_study("vocab_rows", stated.vocab_rows, "another number of rows"),
                _has("embedding_dim", stated.embedding_dim, "width not run"),
            ]
            return self.baselines, steps
        of_model = _Step(lambda row: row["model"] in names, lambda _: f"left out of this run: {listing(names)}")
        width = _as_in_the_study("embedding_dim", stated.embedding_dim, "another number of columns")
        return self.of_models, [of_model, width, _has("variant", stated.variant, "variant not scored")]


@dataclass(frozen=True)
class _Step:
    """A condition that our rows must meet, and what to say of the rows if none does."""

    keeps: Callable[[Row], bool]
    why_not: Callable[[Sequence[Row]], str]


def _narrowed(rows: list[Row], steps: Iterable[_Step]) -> tuple[list[Row], str]:
    """Return the rows that meet all conditions; with none left, why: the first condition that no row met."""
    for step in steps:
        kept = [row for row in rows if step.keeps(row)]
        if not kept:
            return [], step.why_not(rows)
        rows = kept
    return rows, ""


def _has(column: str, value: Any, why_not: str) -> _Step:
    return _Step(lambda row: row[column] == value, lambda _: f"{why_not}: {value}")


def _as_in_the_study(column: str, value: Any, what: str) -> _Step:
    """Return the condition that a setting is the study's."""

    def why_not(rows: Sequence[Row]) -> str:
        here = listing(sorted({row[column] for row in rows}, key=str))
        return f"{what}: {here} here, {value} in the study"

    return _Step(lambda row: row[column] == value, why_not)


_SETTING = [
    _as_in_the_study("collection", COLLECTION, "another collection"),
    _as_in_the_study("table_precision", study.TABLE_PRECISION, "another table precision"),
    _as_in_the_study("n_queries", study.N_QUERIES, "another number of judged queries"),
]


def _one_value(stated: Stated) -> list[_Step]:
    return [
        _has("seed", stated.seed, "seed not run"),
        _Step(lambda row: row["status"] == OK, lambda rows: f"no score: {rows[0]['status']}"),
    ]


def _owner(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "revision", "tokenizer"))


# -- the verdict -------------------------------------------------------------------------------------------------------


def _compared(stated: Stated, match: _Match, draws: Mapping[Any, Sequence[float]] | None) -> dict[str, Any]:
    """Return a row of the table, but for what it repeats.

    ``draws`` are the study's seeds by random table, where ours are of another generator; None where they are its own.
    """
    row = match.row
    percent = {name: _percent(row, name) for name in ("value", "ci_low", "ci_high")}
    # Both are rounded; what is left of binary fractions must not decide.
    difference = None if row is None else round(percent["value"] - stated.percent, 9)
    facts = {
        "published_model": stated.model,
        "model": None if row is None else row["model"],
        **{name: getattr(stated, name) for name in ("tokenizer", "vocab_rows", "variant", "embedding_dim", "seed")},
        "metric": stated.metric,
        "published_percent": stated.percent,
        "published_status": stated.status,
        "value_percent": percent["value"],
        "ci_low": percent["ci_low"],
        "ci_high": percent["ci_high"],
        "difference": difference,
        "tolerance": None,
    }
    if stated.status in _NO_TARGETS:
        absent = f"; no value here ({match.why_not})" if row is None else ""
        return facts | {"verdict": _NO_TARGETS[stated.status], "reason": stated.note + absent}
    if row is None:
        return facts | {"verdict": NOT_RUN, "reason": match.why_not}
    return facts | _judged(stated, match, difference, draws)


def _judged(
    stated: Stated, match: _Match, difference: float, draws: Mapping[Any, Sequence[float]] | None
) -> dict[str, Any]:
    """Return tolerance, verdict and reason for a difference from a value that is a target."""
    plain, how = _tolerance(stated), ""
    if draws is not None and _has_random_columns(stated):
        spread = difference_of_draws(match.seeds, draws.get(_random_table(stated), ()))
        if spread is None:
            return {
                "verdict": NOT_RUN,
                "reason": f"no spread to judge {ANOTHER_DRAW} by: three seeds or more are needed",
            }
        plain, how = max(plain, spread), f"; {ANOTHER_DRAW}, judged by the spread of seeds"
    ties = _percent(match.row, "tie_span") or 0.0
    tolerance = round(plain + ties, 9)
    agrees = abs(difference) <= tolerance
    if agrees and abs(difference) > plain:
        how += f"; agrees {ONLY_BY_TIES} in float32, which moves the score by up to {ties:.3f}"
    elif ties:
        how += f"; {ties:.3f} of that for the order of ties in float32"
    if match.row["model"] is not None and match.row["revision"] != "main":
        how += f"; revision {match.row['revision']} here"
    return {
        "tolerance": tolerance,
        "verdict": AGREES if agrees else DIFFERS,
        "reason": f"{abs(difference):.3f} apart, {tolerance:.3f} allowed{how}",
    }


def difference_of_draws(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> float | None:
    """Return how far one draw of each kind may be apart: half the t interval of their difference, t s sqrt(2).

    The standard deviation is pooled over both; None where they leave less than two degrees of freedom: from two seeds,
    with t = 12.7, anything would agree.
    """
    freedom = sum(max(len(values) - 1, 0) for values in (first, second))
    if freedom < _LEAST_FREEDOM:
        return None
    squares = sum(float(np.var(values)) * len(values) for values in (first, second) if len(values))
    return float(stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(2 * squares / freedom))


def _tolerance(stated: Stated) -> float:
    return RANDOM_TOLERANCE if stated.variant in ("random", RANDOM_TOKENIZER) else TOLERANCES[stated.metric]


def _draws_by_table(baselines: Sequence[Stated]) -> dict[Any, list[float]]:
    """Return the study's values of all seeds of each random table and metric."""
    draws: dict[Any, list[float]] = {}
    for stated in baselines:
        draws.setdefault(_random_table(stated), []).append(stated.percent)
    return draws


def _has_random_columns(stated: Stated) -> bool:
    return stated.variant == RANDOM_TOKENIZER or (
        parse_variant(stated.variant).uses_seed and not _is_whole(stated.variant, stated.embedding_dim)
    )


def _is_whole(variant: str, embedding_dim: int) -> bool:
    """Say whether a variant is the trained table itself: as it is, or cropped or padded to its own width."""
    parsed = parse_variant(variant)
    return parsed.kind != "random" and parsed.width(embedding_dim) == embedding_dim


def _random_table(stated: Stated) -> tuple[Any, ...] | None:
    """Return what tells random tables apart but for their seed; None for a table that holds a trained one."""
    if stated.variant not in ("random", RANDOM_TOKENIZER):
        return None
    return stated.tokenizer, stated.embedding_dim, stated.metric


def _percent(row: Row | None, column: str) -> float | None:
    """Return a fraction of our row in percent, to the nine digits that binary fractions leave sure."""
    return None if row is None or row[column] is None else round(100 * row[column], 9)


# -- repeats -----------------------------------------------------------------------------------------------------------


def _repeats(rows: Sequence[Row]) -> list[bool]:
    """Return which rows state what another row states: the same table's score, by the recipe and by its value.

    Of rows that do, the one that counts is that with the gravest verdict: what was compared goes before what was not.
    """
    counts: dict[Any, int] = {}
    for place in sorted(range(len(rows)), key=lambda place: _WEIGHT[rows[place]["verdict"]]):
        counts.setdefault(_scored_table(rows[place]), place)
    counted = set(counts.values())
    return [place not in counted for place in range(len(rows))]


def _scored_table(row: Row) -> tuple[Any, ...]:
    """Return what tells one published score from another.

    A random table is the tokenizer's: Pythia's larger models have more rows than its baseline, but none of their tokens
    lies there, and their entries are scaled alike once the scale is rounded to bfloat16. A crop or a pad to the table's
    own width is the table itself.
    """
    if row["variant"] in ("random", RANDOM_TOKENIZER):
        table = (row["tokenizer"], row["embedding_dim"], row["seed"])
    else:
        whole = _is_whole(row["variant"], row["embedding_dim"])
        table = (row["published_model"], "as_is" if whole else row["variant"])
    return *table, row["metric"], row["published_percent"]


# -- words -------------------------------------------------------------------------------------------------------------


def _words_of_compared(n_distinct: int, agreeing: pd.DataFrame, differing: pd.DataFrame) -> str:
    n_compared = len(agreeing) + len(differing)
    if not n_compared:
        return f"None of the {n_distinct} distinct values that the study published was compared with this run."
    said = (
        f"{n_compared} of the {n_distinct} distinct values that the study published were compared with this run: "
        f"{len(agreeing)} agree within their tolerance, {len(differing)} differ"
    )
    if len(differing):
        said += f", most of all {_worst(differing)}"
    another = sum(frame["reason"].str.contains(ANOTHER_DRAW).sum() for frame in (agreeing, differing))
    by_ties = agreeing["reason"].str.contains(ONLY_BY_TIES).sum()
    remarks = [
        f"{another} are {ANOTHER_DRAW} than the study's and were judged by the spread of seeds" if another else "",
        f"{by_ties} agree {ONLY_BY_TIES} in float32" if by_ties else "",
    ]
    return ". ".join([said, *filter(None, remarks)]) + "."


def _worst(differing: pd.DataFrame) -> str:
    worst = differing.loc[differing["difference"].abs().idxmax()]
    values = f"{worst['published_percent']:.3f} published, {worst['value_percent']:.3f} here"
    return f"{scored_name(worst)}, {metric_name(worst['metric'])}: {values}"


def scored_name(row: Row | pd.Series) -> str:
    """Return what a row of the table compares: the model and its variant, or the random table; with its seed."""
    if pd.isna(row["published_model"]):
        what = f"random table of {row['tokenizer']}, {row['embedding_dim']} columns"
    else:
        what = f"{row['published_model']} {row['variant']}"
    return what if pd.isna(row["seed"]) else f"{what}, seed {int(row['seed'])}"


def _words_of_no_targets(n_bugs: int, n_not_reproducible: int) -> str:
    said = [
        f"{n_bugs} are published with a known bug" if n_bugs else "",
        f"{n_not_reproducible} cannot be reproduced" if n_not_reproducible else "",
    ]
    said = list(filter(None, said))
    return f"{' and '.join(said)}: nothing is judged by these." if said else ""


def _words_of_not_run(rows: pd.DataFrame) -> str:
    """Say how many values were not run and the main reasons, each in full where its rows share it."""
    if rows.empty:
        return ""
    kinds = rows.groupby(rows["reason"].str.partition(":")[0])["reason"].agg(["size", "nunique", "first"])
    kinds = kinds.sort_values("size", ascending=False, kind="stable")
    said = [
        f"{row['first'] if row['nunique'] == 1 else kind} ({row['size']})"
        for kind, row in kinds.head(_REASONS_NAMED).iterrows()
    ]
    rest = kinds["size"][_REASONS_NAMED:].sum()
    said += [f"other reasons ({rest})"] if rest else []
    return f"{len(rows)} were not run: {'; '.join(said)}."

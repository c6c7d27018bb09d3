"""What the page says of the studies: the verdicts on their claims, and their published values beside ours."""

from collections.abc import Iterable

import pandas as pd

from lm_geometry.claims.words import claims_words
from lm_geometry.published_comparison import comparison_words, scored_name
from lm_geometry.summary.markup import counted, folded, interval, paragraph, table
from lm_geometry.tables.claims import NOT_RUN
from lm_geometry.tables.published_comparison import DIFFERS
from lm_geometry.wording import listing, metric_name

MOST_DIFFERING = 20
"""So many published values that ours differ from are on the page; the table has all."""


def about_claims(claims: pd.DataFrame | None) -> list[str]:
    """Return the section on the studies' claims, one study after the other; nothing where none was tested."""
    if claims is None or claims.empty:
        return []
    return [
        "<h2>Claims</h2>",
        *(part for _, of_study in claims.groupby("study", sort=False) for part in _study(of_study)),
    ]


def _study(claims: pd.DataFrame) -> list[str]:
    """Return what came of one study's claims: counts, the tests, and those that were not run."""
    tested, not_run = (claims[(claims["verdict"] == NOT_RUN) == left_out] for left_out in (False, True))
    note = "Estimates with their 95 % intervals, in the unit that the last column names; p after Holm's correction."
    return [
        *map(paragraph, claims_words(claims)),
        table(tested_claims(tested), note, kind="claims") if len(tested) else "",
        folded(f"{counted(len(not_run), 'test')} not run", _not_run_lines(not_run)) if len(not_run) else "",
    ]


def tested_claims(tested: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tested claims as texts; a claim is stated in its first row only."""
    return pd.DataFrame(
        {
            "claim": tested["statement"].where(tested["statement"] != tested["statement"].shift(), ""),
            "about": tested["about"],
            "metric": [_metric_words(name) for name in tested["metric"]],
            "verdict": tested["verdict"],
            "estimate": [_number(value) for value in tested["estimate"]],
            "interval": [interval(*ends, form=".3g") for ends in zip(tested["ci_low"], tested["ci_high"], strict=True)],
            "p": [_number(value, ".2g") for value in tested["p_holm"]],
            "detail": tested["detail"],
        }
    )


def about_published(published: pd.DataFrame | None) -> list[str]:
    """Return the section on the published values; nothing where the study was not run."""
    if published is None:
        return []
    differing = differing_values(published)
    note = "Published values that ours differ from, in percent, with our 95 % interval over queries."
    if len(differing) > MOST_DIFFERING:
        note = f"The {MOST_DIFFERING} that are furthest apart of {len(differing)}. {note}"
    return [
        "<h2>Published values</h2>",
        paragraph(comparison_words(published)),
        table(differing.head(MOST_DIFFERING), note) if len(differing) else "",
    ]


def differing_values(published: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct published values that ours differ from as texts, the furthest apart first."""
    rows = published[(published["verdict"] == DIFFERS) & ~published["repeats"]]
    rows = rows.sort_values("difference", key=lambda difference: -difference.abs(), kind="stable")
    return pd.DataFrame(
        {
            "what": [scored_name(row) for _, row in rows.iterrows()],
            "metric": rows["metric"].map(metric_name),
            "published": [_number(value, ".3f") for value in rows["published_percent"]],
            "here": [_number(value, ".3f") for value in rows["value_percent"]],
            "interval": [interval(*ends) for ends in zip(rows["ci_low"], rows["ci_high"], strict=True)],
            "difference": [_number(value, "+.3f") for value in rows["difference"]],
            "why": rows["reason"],
        }
    )


def _not_run_lines(not_run: pd.DataFrame) -> Iterable[str]:
    """Return one line per claim and reason, with all that it was not tested on."""
    for (statement, why), rows in not_run.groupby(["statement", "detail"], sort=False):
        yield f"{statement} ({listing(dict.fromkeys(rows['about']))}): {why}"


def _metric_words(metric: str | None) -> str:
    return "" if pd.isna(metric) else metric_name(metric)


def _number(value: float | None, form: str = ".3g") -> str:
    return "" if pd.isna(value) else format(value, form)

"""The table of claims in sentences."""

import pandas as pd

from lm_geometry.tables.claims import HOLDS, NOT_RUN, REFUTED, UNDECIDED

_STUDIES = {
    "embedding_scaling": "the study of embedding scaling",
    "representation_dynamics": "the study of representation dynamics",
}
_COUNTED = {
    HOLDS: ("holds", "hold"),
    REFUTED: ("is refuted", "are refuted"),
    UNDECIDED: ("is undecided", "are undecided"),
    NOT_RUN: ("was not run", "were not run"),
}


def claims_words(rows: pd.DataFrame) -> list[str]:
    """Return one sentence per study: how many tests of its claims came to each verdict.

    Parameters
    ----------
    rows : DataFrame
        The table ``claims``.
    """
    return [_counts(study, found["verdict"]) for study, found in rows.groupby("study", sort=False)]


def _counts(study: str, verdicts: pd.Series) -> str:
    counted = {verdict: int((verdicts == verdict).sum()) for verdict in _COUNTED}
    parts = [f"{count} {_COUNTED[verdict][count != 1]}" for verdict, count in counted.items() if count]
    words = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    tests = "test" if len(verdicts) == 1 else "tests"
    return f"Of {len(verdicts)} {tests} of what {_STUDIES[study]} claims, {words}."

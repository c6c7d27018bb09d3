"""When a claim holds, is refuted, or stays undecided: one rule for all claims."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lm_geometry.claims.evidence import Evidence
from lm_geometry.statistics.paired import holm
from lm_geometry.tables.claims import HOLDS, NOT_RUN, REFUTED, SCHEMA, UNDECIDED

ALPHA = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim of a study.

    Parameters
    ----------
    name : str
        Its short name.
    statement : str
        What is claimed, in a sentence.
    collections_needed : int
        On how many collections, and in every metric of each, it must hold, and be refuted on none, for it to hold.
    in_every_metric : bool
        Whether it must hold in every metric that it is tested in, for it to hold of what it is about in any.
    """

    name: str
    statement: str
    collections_needed: int = 1
    in_every_metric: bool = False


@dataclass(frozen=True)
class Outcome:
    """A claim's test on one collection, in one metric.

    Parameters
    ----------
    evidence : Evidence
        What the test found.
    detail : str
        What was compared with what.
    cannot_hold, cannot_refute : str
        Why what was tested is too little for the claim to hold, or to be refuted; empty where it is not. A claim about
        all models of a suite is refuted by some of them, but holds only of all.
    """

    evidence: Evidence
    detail: str
    cannot_hold: str = ""
    cannot_refute: str = ""


@dataclass(frozen=True)
class Finding:
    """A row of the table of claims before its verdict.

    Parameters
    ----------
    claim : Claim
        The claim.
    about, collection, metric : str
        As in the table.
    found : Outcome or str
        The test, or what was missing for it.
    """

    claim: Claim
    about: str
    collection: str
    metric: str
    found: Outcome | str


def judge(findings: Sequence[Finding], *, study: str) -> pd.DataFrame:
    """Return the rows of the table ``claims``, with p values corrected over the rows of the same claim.

    A claim holds if the evidence supports it with a corrected p below 0.05, and is refuted if it contradicts it with
    such a p. Anything else is undecided, or not run where there was no evidence to be had.
    """
    p = _corrected(findings)
    verdicts = [_verdict(finding.found, p_holm) for finding, p_holm in zip(findings, p, strict=True)]
    _hold_in_every_metric(verdicts, findings)
    _hold_on_enough_collections(verdicts, findings)
    rows = [
        _row(finding, study=study, p_holm=p_holm, verdict=verdict)
        for finding, p_holm, verdict in zip(findings, p, verdicts, strict=True)
    ]
    return pd.DataFrame(rows, columns=SCHEMA.names)


def _corrected(findings: Sequence[Finding]) -> list[float | None]:
    """Return Holm's p over the rows of each claim; None for rows without one."""
    families: dict[Claim, list[int]] = {}
    for place, finding in enumerate(findings):
        if isinstance(finding.found, Outcome) and finding.found.evidence.p is not None:
            families.setdefault(finding.claim, []).append(place)
    p: list[float | None] = [None] * len(findings)
    for places in families.values():
        raw = np.array([findings[place].found.evidence.p for place in places])
        for place, value in zip(places, holm(raw), strict=True):
            p[place] = float(value)
    return p


def _verdict(found: Outcome | str, p_holm: float | None) -> tuple[str, str]:
    """Return the verdict, and why it is what it is where the evidence does not say so by itself."""
    if isinstance(found, str):
        return NOT_RUN, found
    if p_holm is not None and p_holm >= ALPHA:
        return UNDECIDED, f"p after Holm's correction is {p_holm:.2g}, not below {ALPHA}"
    if found.evidence.supports:
        verdict, side, obstacle = HOLDS, "for", found.cannot_hold
    else:
        verdict, side, obstacle = REFUTED, "against", found.cannot_refute
    return (UNDECIDED, f"the test speaks {side} the claim, but {obstacle}") if obstacle else (verdict, "")


def _hold_in_every_metric(verdicts: list[tuple[str, str]], findings: Sequence[Finding]) -> None:
    """Leave undecided what does not hold in all metrics of a claim that counts only if they agree."""
    groups: dict[tuple[Claim, str, str], list[int]] = {}
    for place, finding in enumerate(findings):
        if finding.claim.in_every_metric:
            groups.setdefault((finding.claim, finding.about, finding.collection), []).append(place)
    for places in groups.values():
        others = [f"{findings[place].metric} ({verdicts[place][0]})" for place in places if verdicts[place][0] != HOLDS]
        for place in places if others else []:
            if verdicts[place][0] == HOLDS:
                verdicts[place] = UNDECIDED, f"it holds in this statistic, but not in {', '.join(others)}"


def _hold_on_enough_collections(verdicts: list[tuple[str, str]], findings: Sequence[Finding]) -> None:
    """Leave undecided what holds on fewer collections than its claim needs, or is refuted on one of them."""
    for claim in dict.fromkeys(finding.claim for finding in findings if finding.claim.collections_needed > 1):
        places = [place for place, finding in enumerate(findings) if finding.claim == claim]
        by_collection: dict[str, set[str]] = {}
        for place in places:
            by_collection.setdefault(findings[place].collection, set()).add(verdicts[place][0])
        holding = sum(found == {HOLDS} for found in by_collection.values())
        against = [name for name, found in by_collection.items() if REFUTED in found]
        if against:
            why = f"the claim is refuted on {', '.join(against)}"
        elif holding < claim.collections_needed:
            why = (
                f"the claim needs {claim.collections_needed} or more on which it holds in every metric, and of the "
                f"{len(by_collection)} here it does on {holding}"
            )
        else:
            continue
        for place in places:
            if verdicts[place][0] == HOLDS:
                verdicts[place] = UNDECIDED, f"it holds on this collection in this metric, but {why}"


def _row(finding: Finding, *, study: str, p_holm: float | None, verdict: tuple[str, str]) -> dict[str, object]:
    outcome = finding.found if isinstance(finding.found, Outcome) else None
    evidence = outcome.evidence if outcome else None
    word, reason = verdict
    return {
        "study": study,
        "claim": finding.claim.name,
        "statement": finding.claim.statement,
        "about": finding.about,
        "collection": finding.collection,
        "metric": finding.metric,
        "verdict": word,
        "estimate": evidence.estimate if evidence else None,
        "ci_low": evidence.low if evidence else None,
        "ci_high": evidence.high if evidence else None,
        "p_holm": p_holm,
        "n": evidence.n if evidence else None,
        "detail": "; ".join(filter(None, [outcome.detail if outcome else "", reason])),
    }

"""What the page says of the embedding tables in themselves: their geometry, and their way over training."""

from collections.abc import Callable

import pandas as pd

from lm_geometry.claims.thresholds import EQUIVALENT_DIFFERENCE, SETTLED_COSINE
from lm_geometry.figures.embedding_geometry import ANISOTROPY, COSINE, RANK, TWONN_020, TWONN_090, WITHOUT_TOKEN
from lm_geometry.figures.score_points import METRICS
from lm_geometry.natural_order import natural_key
from lm_geometry.summary.markup import table
from lm_geometry.tables.embedding_geometry import OK
from lm_geometry.wording import listing, metric_name

_MEASURES = {
    ANISOTROPY: "anisotropy",
    COSINE: "mean cosine",
    RANK: "effective rank",
    TWONN_090: "TwoNN, fit 0.9",
    TWONN_020: "TwoNN, fit 0.2",
    WITHOUT_TOKEN: "rows without a token",
}
_DIGITS = {ANISOTROPY: ".4f", COSINE: ".4f", RANK: ".1f", TWONN_090: ".1f", TWONN_020: ".1f", WITHOUT_TOKEN: ".2%"}


def about_embedding_tables(geometry: pd.DataFrame | None, training: pd.DataFrame | None) -> list[str]:
    """Return one row per model of each of the two tables; nothing for a table that was not made."""
    about_geometry = "The tables in themselves: means over batches of rows. They compare at equal rows per batch only."
    about_training = (
        "From which checkpoint on, to the last, a table is near the final one: rows by their mean cosine, scores by "
        "their difference. Checkpoints with another's weights are left out."
    )
    heads = [(geometry, geometry_of_tables, about_geometry), (training, settled_tables, about_training)]
    found = [(make(rows), note) for rows, make, note in heads if rows is not None]
    return [table(rows, note, kind="heads") for rows, note in found if len(rows)]


def geometry_of_tables(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model and revision with the main measures of its table, as texts.

    Parameters
    ----------
    geometry : DataFrame
        The table ``embedding_geometry``.
    """
    heads = []
    for (suite, model, revision), rows in geometry.groupby(["suite", "model", "revision"], sort=False):
        by_statistic = rows.set_index("statistic")
        batches = by_statistic.loc[ANISOTROPY, "n_vectors"] if ANISOTROPY in by_statistic.index else None
        values = {_MEASURES[name]: _measure(by_statistic["value"].get(name), name) for name in _MEASURES}
        columns = int(rows["embedding_dim"].iloc[0])
        facts = {"suite": suite, "model": model, "revision": revision, "columns": columns, "rows per batch": batches}
        heads.append(facts | values)
    heads.sort(key=lambda head: (head["suite"], head["columns"], natural_key(head["model"])))
    return pd.DataFrame(heads)


def settled_tables(training: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model: from which of its checkpoints on the table is near the final one, to the last.

    Parameters
    ----------
    training : DataFrame
        The table ``embedding_training``.
    """
    rows = training[(training["status"] == OK) & training["step"].notna() & training["duplicate_of"].isna()]
    heads = []
    for model, of_model in rows.groupby("model", sort=False):
        by_statistic = of_model.pivot(index="step", columns="statistic", values="value").sort_index()
        head = {"model": model, "checkpoints": len(by_statistic)}
        head[f"cosine {SETTLED_COSINE:g} or more from step"] = _from_step(
            by_statistic, "cosine", lambda cosine: cosine >= SETTLED_COSINE
        )
        for metric in METRICS:
            head[f"{metric_name(metric)} within {100 * EQUIVALENT_DIFFERENCE:g} points from step"] = _from_step(
                by_statistic, f"{metric}_difference", lambda difference: difference.abs() <= EQUIVALENT_DIFFERENCE
            )
        heads.append(head)
    return pd.DataFrame(heads)


def gaps_of_tables(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what has no value in either of the two tables: columns who, what, why; what fails alike is one row."""
    missing = rows[rows["status"] != OK]
    groups = missing.groupby(["model", "revision", "status"], sort=False)["statistic"]
    said = [(f"{model} {revision}", listing(names), why) for (model, revision, why), names in groups]
    return pd.DataFrame(said, columns=["who", "what", "why"])


def _measure(value: float | None, name: str) -> str:
    return "none" if value is None or pd.isna(value) else format(value, _DIGITS[name])


def _from_step(by_statistic: pd.DataFrame, name: str, near: Callable[[pd.Series], pd.Series]) -> str:
    """Return the first step from which on a statistic is near its final value at every later checkpoint."""
    if name not in by_statistic.columns:
        return "none"
    values = by_statistic[name].dropna()
    far = values.index[~near(values)]
    later = values.index[values.index > far.max()] if len(far) else values.index
    return str(int(later[0])) if len(later) else "none"

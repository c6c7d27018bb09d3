"""Test what the embedding study claims, on the scores of this run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lm_geometry.claims.embedding_scaling import METRICS, embedding_claims
from lm_geometry.job import run_job
from lm_geometry.published import FILES, read_published
from lm_geometry.tables import embedding_training, retrieval_scores
from lm_geometry.tables import query_scores as per_query
from lm_geometry.tables.claims import SCHEMA
from lm_geometry.tables.files import read_table, write_table


def judge_scaling_claims(
    *,
    query_scores: list[Path],
    scores: Path,
    training: list[Path],
    claims: Path,
    models: list[Mapping[str, str | None]],
    collection: str,
    reference: Sequence[Path] = FILES,
) -> None:
    """Write a verdict on each claim of the embedding study.

    Parameters
    ----------
    query_scores : list of Path
        Scores of single queries of all models, variants and random tokenizers.
    scores : Path
        The table ``retrieval_scores``.
    training : list of Path
        The table ``embedding_training``; none where no model is followed over training.
    claims : Path
        Output.
    models : list of mappings
        The config's models, run or not: model, suite, hub_id and reference (None where the config has none).
    collection : str
        The collection that all scores are of.
    reference : sequence of Path
        models.csv and published_embedding_scaling.csv, in this order.

    Raises
    ------
    ValueError
        If a file has scores of another collection.
    """
    queries = _read(query_scores, per_query.schema(METRICS))
    others = sorted(set(queries["collection"]) - {collection})
    if others:
        raise ValueError(f"there are query_scores of {', '.join(others)}; the claims are tested on {collection}")
    rows = embedding_claims(
        collections=[collection],
        query_scores=queries,
        scores=_read([scores], retrieval_scores.SCHEMA),
        training=_read(training, embedding_training.SCHEMA),
        models=models,
        published=read_published(reference),
    )
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)
    settings = {"collection": collection, "models": [entry["model"] for entry in models]}
    write_table(claims, table, SCHEMA, inputs=[*query_scores, scores, *training], settings=settings)


def _read(paths: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
    """Return the columns of ``schema`` from all files; no rows where there are none."""
    tables = [read_table(path, schema.names).cast(schema) for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables]).to_pandas()


if __name__ == "__main__":
    run_job(snakemake, judge_scaling_claims)

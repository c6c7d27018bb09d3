"""Score random columns, alone and behind the embedding tables of all models that share a tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_geometry import provenance
from lm_geometry.embeddings.variants import parse_variant
from lm_geometry.job import run_job
from lm_geometry.retrieval.collection_tables import ignores_identical_ids
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.inner_products import Pair
from lm_geometry.retrieval.pooled_vectors import open_pooled_vectors
from lm_geometry.retrieval.random_columns import score_random_columns as score_tables
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.variant_scores import write_scores


def score_random_columns(
    *,
    pooled: list[Path],
    counts: Path,
    corpus: Path,
    queries: Path,
    judgements: Path,
    scores: Path,
    query_scores: Path,
    runs: list[Mapping[str, Any]],
    tokenizer_name: str,
    collection: str,
    variants: list[str],
    random_seeds: list[int],
    table_precision: str,
    random_generator: str,
    ignore_identical_ids: bool | None,
    threads: int,
) -> None:
    """Write the scores of ``variants`` of the tables that ``pooled`` were made from, whose ``runs`` are in their order.

    Random tables have as many rows as the table that they belong to. They are bfloat16 whatever ``table_precision``
    says, which describes the models' own tables.
    """
    ignores_own = ignores_identical_ids(judgements, ignore_identical_ids)
    counted = read_counted_collection(corpus, queries, counts, judgements)
    scorer = RetrievalScorer(
        counted.query_ids,
        counted.document_ids,
        counted.judgements,
        ignore_identical_ids=ignores_own,
        threads=threads,
    )
    tables = [open_pooled_vectors(path, len(counted.document_ids), counted.counts.shape[0]) for path in pooled]

    def pool_draw(rows: int, columns: int, n_columns: int, seed: int) -> Pair:
        vectors = pool_random_table(
            counted.counts, rows, columns, seed, generator=random_generator, n_columns=n_columns, threads=threads
        )
        return counted.split(vectors)

    scores.parent.mkdir(parents=True, exist_ok=True)
    found = score_tables(
        tables,
        [parse_variant(name) for name in variants],
        random_seeds,
        pool_draw=pool_draw,
        generator=random_generator,
        scorer=scorer,
        scratch=scores.parent,
    )
    descriptions = [
        {name: run[name] for name in ("model", "suite", "revision")}
        | {"vocab_rows": table.vocab_rows, "embedding_dim": table.embedding_dim}
        for run, table in zip(runs, tables, strict=True)
    ]
    write_scores(
        scores,
        query_scores,
        zip(descriptions, found, strict=True),
        scorer,
        shared={"tokenizer": tokenizer_name, "table_precision": table_precision, "collection": collection},
        inputs=[*pooled, counts, corpus, queries, judgements],
        settings={
            "variants": variants,
            "random_seeds": random_seeds,
            "table_precision": table_precision,
            "random_generator": random_generator,
            "ignore_identical_ids": ignores_own,
            "max_length": provenance.read(counts)["settings"]["max_length"],
        },
    )


if __name__ == "__main__":
    run_job(snakemake, score_random_columns)

"""Score all variants of one model's embedding table at retrieval."""

from pathlib import Path

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import Pair, RetrievalScorer
from lm_geometry.retrieval.variant_scores import score_each_variant, scores_table
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.retrieval_scores import SCHEMA
from lm_geometry.tables.schema import vector_matrix


def score_variants(
    *,
    pooled: Path,
    counts: Path,
    corpus: Path,
    queries: Path,
    judgements: Path,
    scores: Path,
    model: str,
    suite: str,
    revision: str,
    tokenizer_name: str,
    collection: str,
    variants: list[str],
    random_seeds: list[int],
    table_precision: str,
    random_generator: str,
    ignore_identical_ids: bool,
) -> None:
    """Write the scores of ``variants`` of the table that ``pooled`` was made from.

    Random tables have as many rows as that table and are pooled here, block by block. They are bfloat16 whatever
    ``table_precision`` says, which describes the model's own table.
    """
    counted = read_counted_collection(corpus, queries, counts, judgements)
    vectors = vector_matrix(read_table(pooled, ["vector"])["vector"])
    table = provenance.read(pooled)["settings"]

    def pool_draw(columns: int, n_columns: int, seed: int) -> Pair:
        return counted.split(
            pool_random_table(
                counted.counts, table["vocab_rows"], columns, seed, generator=random_generator, n_columns=n_columns
            )
        )

    scorer = RetrievalScorer(
        counted.query_ids, counted.document_ids, counted.judgements, ignore_identical_ids=ignore_identical_ids
    )
    found = score_each_variant(
        variants, random_seeds, pooled=counted.split(vectors), pool_draw=pool_draw, scorer=scorer
    )
    rows = scores_table(
        list(found),
        model=model,
        suite=suite,
        revision=revision,
        tokenizer=tokenizer_name,
        vocab_rows=table["vocab_rows"],
        embedding_dim=table["embedding_dim"],
        table_precision=table_precision,
        collection=collection,
        n_queries=scorer.n_queries,
    )
    write_table(
        scores,
        rows,
        SCHEMA,
        inputs=[pooled, counts, corpus, queries, judgements],
        settings={
            "variants": variants,
            "random_seeds": random_seeds,
            "table_precision": table_precision,
            "random_generator": random_generator,
            "ignore_identical_ids": ignore_identical_ids,
            "max_length": provenance.read(counts)["settings"]["max_length"],
        },
    )


if __name__ == "__main__":
    run_job(snakemake, score_variants)

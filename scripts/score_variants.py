"""Score the variants of one model's embedding table that no random columns are needed for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lm_geometry import provenance
from lm_geometry.embeddings.principal_components import Components, project, read_components
from lm_geometry.embeddings.variants import Variant, parse_variant
from lm_geometry.job import run_job
from lm_geometry.retrieval.collection_tables import ignores_identical_ids
from lm_geometry.retrieval.counted_collection import CountedCollection, read_counted_collection
from lm_geometry.retrieval.pooled_vectors import PooledVectors, open_pooled_vectors
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.variant_scores import VariantScore, score_first_columns, write_scores


def score_variants(
    *,
    pooled: Path,
    counts: Path,
    corpus: Path,
    queries: Path,
    judgements: Path,
    components: list[Path],
    scores: Path,
    query_scores: Path,
    model: str,
    suite: str,
    revision: str,
    tokenizer_name: str,
    collection: str,
    variants: list[str],
    table_precision: str,
    ignore_identical_ids: bool | None,
    threads: int,
) -> None:
    """Write the scores of ``variants`` of the table that ``pooled`` was made from.

    ``components``, the table's mean row and leading directions, is one file where a variant takes them away, and else
    none.
    """
    ignores_own = ignores_identical_ids(judgements, ignore_identical_ids)
    # Which texts have tokens matters only where a mean is taken away; millions of counts take a second to read.
    counted = read_counted_collection(corpus, queries, counts if components else None, judgements)
    scorer = RetrievalScorer(
        counted.query_ids,
        counted.document_ids,
        counted.judgements,
        ignore_identical_ids=ignores_own,
        threads=threads,
    )
    vectors = open_pooled_vectors(pooled, len(counted.document_ids), counted.n_texts)
    parsed = [parse_variant(name) for name in variants]
    found = _score_plain([variant for variant in parsed if not variant.uses_components], vectors, counted, scorer)
    taken = [read_components(path) for path in components]
    for variant in parsed:
        if variant.uses_components:
            found.append(_score_projected(variant, vectors, *taken, counted, scorer))
    write_scores(
        scores,
        query_scores,
        [({"vocab_rows": vectors.vocab_rows, "embedding_dim": vectors.embedding_dim}, found)],
        scorer,
        shared={
            "model": model,
            "suite": suite,
            "revision": revision,
            "tokenizer": tokenizer_name,
            "table_precision": table_precision,
            "collection": collection,
        },
        inputs=[pooled, counts, corpus, queries, judgements, *components],
        settings={
            "variants": variants,
            "table_precision": table_precision,
            "ignore_identical_ids": ignores_own,
            "max_length": provenance.read(counts)["settings"]["max_length"],
        },
    )


def _score_plain(
    variants: Sequence[Variant], vectors: PooledVectors, counted: CountedCollection, scorer: RetrievalScorer
) -> list[VariantScore]:
    return list(score_first_columns(variants, vectors.embedding_dim, counted.split(vectors.read()), scorer))


def _score_projected(
    variant: Variant,
    vectors: PooledVectors,
    components: Components,
    counted: CountedCollection,
    scorer: RetrievalScorer,
) -> VariantScore:
    has_tokens, directions = counted.has_tokens, variant.kind == "all_but_the_top"

    def change(block: np.ndarray, texts: slice) -> np.ndarray:
        return project(block, has_tokens[texts], components, directions=directions)

    scores = scorer.score_queries([counted.split(vectors.read(change))])
    return VariantScore(variant.name, vectors.embedding_dim, None, scores)


if __name__ == "__main__":
    run_job(snakemake, score_variants)

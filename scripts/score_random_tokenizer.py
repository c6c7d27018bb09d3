"""Score random tables over a tokenizer's vocabulary at many widths: what the tokenizer alone gives."""

from pathlib import Path

from lm_geometry import provenance
from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, STUDY_COLUMNS
from lm_geometry.job import run_job
from lm_geometry.retrieval.collection_tables import ignores_identical_ids
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.tokenization import load_tokenizer
from lm_geometry.retrieval.variant_scores import VariantScore, write_scores


def score_random_tokenizer(
    *,
    counts: Path,
    corpus: Path,
    queries: Path,
    judgements: Path,
    tokenizer: Path,
    scores: Path,
    query_scores: Path,
    tokenizer_name: str,
    collection: str,
    widths: list[int],
    random_seeds: list[int],
    vocab_rows: int | None,
    table_precision: str,
    random_generator: str,
    ignore_identical_ids: bool | None,
    threads: int,
) -> None:
    """Write the scores of the first ``widths`` columns of one random table per seed.

    The table has ``vocab_rows`` rows, or one per token of ``tokenizer`` if that is None, and is bfloat16 whatever
    ``table_precision`` says, which is repeated in the rows.
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
    rows = vocab_rows or load_tokenizer(tokenizer).get_vocab_size(with_added_tokens=True)
    ascending = sorted(set(widths))
    columns = max(STUDY_COLUMNS, *ascending)
    found = []
    for seed in random_seeds:
        vectors = pool_random_table(
            counted.counts,
            rows,
            columns,
            seed,
            generator=random_generator,
            n_columns=ascending[-1],
            threads=threads,
        )
        by_width = zip(ascending, scorer.score_prefixes(*counted.split(vectors), ascending), strict=True)
        found += [
            ({"embedding_dim": width}, [VariantScore(RANDOM_TOKENIZER, width, seed, values)])
            for width, values in by_width
        ]
        # Else it is held while the next one is made.
        del vectors
    write_scores(
        scores,
        query_scores,
        found,
        scorer,
        shared={
            "model": None,
            "suite": None,
            "revision": None,
            "tokenizer": tokenizer_name,
            "vocab_rows": rows,
            "table_precision": table_precision,
            "collection": collection,
        },
        inputs=[counts, corpus, queries, judgements],
        settings={
            "widths": ascending,
            "random_seeds": random_seeds,
            "random_generator": random_generator,
            "ignore_identical_ids": ignores_own,
            "max_length": provenance.read(counts)["settings"]["max_length"],
        },
    )


if __name__ == "__main__":
    run_job(snakemake, score_random_tokenizer)

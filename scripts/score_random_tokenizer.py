"""Score random tables over a tokenizer's vocabulary at many widths: what the tokenizer alone gives."""

from pathlib import Path

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, STUDY_COLUMNS
from lm_geometry.job import run_job
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.tokenization import load_tokenizer
from lm_geometry.retrieval.variant_scores import VariantScore, scores_table
from lm_geometry.tables.files import write_table
from lm_geometry.tables.retrieval_scores import OK, SCHEMA


def score_random_tokenizer(
    *,
    counts: Path,
    corpus: Path,
    queries: Path,
    judgements: Path,
    tokenizer: Path,
    scores: Path,
    tokenizer_name: str,
    collection: str,
    widths: list[int],
    random_seeds: list[int],
    vocab_rows: int | None,
    table_precision: str,
    random_generator: str,
    ignore_identical_ids: bool,
) -> None:
    """Write the scores of the first ``widths`` columns of one random table per seed.

    The table has ``vocab_rows`` rows, or one per token of ``tokenizer`` if that is None, and is bfloat16 whatever
    ``table_precision`` says, which is repeated in the rows.
    """
    counted = read_counted_collection(corpus, queries, counts, judgements)
    scorer = RetrievalScorer(
        counted.query_ids, counted.document_ids, counted.judgements, ignore_identical_ids=ignore_identical_ids
    )
    rows = vocab_rows or load_tokenizer(tokenizer).get_vocab_size(with_added_tokens=True)
    ascending = sorted(set(widths))
    columns = max(STUDY_COLUMNS, *ascending)
    facts = {
        "model": None,
        "suite": None,
        "revision": None,
        "tokenizer": tokenizer_name,
        "vocab_rows": rows,
        "table_precision": table_precision,
        "collection": collection,
        "n_queries": scorer.n_queries,
    }
    tables = []
    for seed in random_seeds:
        vectors = pool_random_table(
            counted.counts, rows, columns, seed, generator=random_generator, n_columns=ascending[-1]
        )
        for width, values in zip(ascending, scorer.score_prefixes(*counted.split(vectors), ascending), strict=True):
            score = VariantScore(RANDOM_TOKENIZER, width, seed, values, OK)
            tables.append(scores_table([score], embedding_dim=width, **facts))
    write_table(
        scores,
        pa.concat_tables(tables),
        SCHEMA,
        inputs=[counts, corpus, queries, judgements],
        settings={
            "widths": ascending,
            "random_seeds": random_seeds,
            "random_generator": random_generator,
            "ignore_identical_ids": ignore_identical_ids,
            "max_length": provenance.read(counts)["settings"]["max_length"],
        },
    )


if __name__ == "__main__":
    run_job(snakemake, score_random_tokenizer)

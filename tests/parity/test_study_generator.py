"""The study's random table and today's torch's are different tables, and score as METHODS computed for each."""

import pytest
from transformers import AutoTokenizer

from lm_geometry.retrieval.collection import read_beir_folder
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer

PYTHIA_ROWS, STUDY_COLUMNS, WIDTH, SEED = 50304, 14336, 512, 42


@pytest.mark.parametrize(("generator", "ndcg_at_10"), [("legacy_bf16", 0.192), ("torch", 0.184)])
def test_cranfield_under_seed_42(generator, ndcg_at_10, shared_data, tmp_path):
    collection = read_beir_folder(shared_data / "collections/cranfield").lowercase()
    AutoTokenizer.from_pretrained(shared_data / "tokenizers/gpt-neox-20b").save_pretrained(tmp_path)
    texts = [*collection.documents.values(), *collection.queries.values()]
    counts = count_tokens(texts, load_tokenizer(tmp_path / "tokenizer.json"))
    pooled = pool_random_table(counts, PYTHIA_ROWS, STUDY_COLUMNS, SEED, generator=generator, n_columns=WIDTH)
    n_documents = len(collection.documents)
    scorer = RetrievalScorer(list(collection.queries), list(collection.documents), collection.judgements)
    scores = scorer.score([(pooled[n_documents:], pooled[:n_documents])])
    assert scores["ndcg_at_10"] == pytest.approx(ndcg_at_10, abs=5e-4)

"""Scores against ``mteb.evaluate`` of a plain encoder, which tokenizes, averages and compares on its own."""

import mteb
import numpy as np
import pytest
from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.retrieval.collection import load_mteb_task, read_beir_folder
from lm_geometry.retrieval.pooling import mean_pool
from lm_geometry.retrieval.scoring import METRICS, RetrievalScorer
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer


class PlainEncoder(AbsEncoder):
    """The mean of the table's rows over the tokens that the model's own tokenizer gives, text by text."""

    def __init__(self, tokenizer, table):
        self.tokenizer, self.table = tokenizer, table
        self.mteb_model_meta = ModelMeta.create_empty({"name": "test/plain", "revision": "1"})

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
        return np.stack([self.mean(text) for batch in inputs for text in batch["text"]])

    def mean(self, text):
        ids = self.tokenizer(text, truncation=True, max_length=2048)["input_ids"]
        return self.table[ids].mean(axis=0) if ids else np.zeros(self.table.shape[1], dtype=np.float32)


def local_task(folder, *, ignore_identical_ids):
    """MTEB's SCIDOCS with the data of a folder in BEIR shape, read by the ``datasets`` library."""
    task = mteb.get_task("SCIDOCS")
    texts = {
        name: Dataset.from_json(str(folder / f"{name}.jsonl")).rename_column("_id", "id")
        for name in ("corpus", "queries")
    }
    relevant = {}
    for row in Dataset.from_csv(str(folder / "qrels" / "test.tsv"), sep="\t"):
        relevant.setdefault(str(row["query-id"]), {})[str(row["corpus-id"])] = row["score"]
    data = RetrievalSplitData(corpus=texts["corpus"], queries=texts["queries"], relevant_docs=relevant, top_ranked=None)
    task.dataset = {"default": {"test": data}}
    task.data_loaded = True
    task.ignore_identical_ids = ignore_identical_ids
    # mteb ranks 1000 and then drops the query's own document; the study's version ranked one more for it.
    task._top_k += int(ignore_identical_ids)
    return task


def mteb_scores(task, encoder):
    results = mteb.evaluate(
        encoder, task, cache=None, co2_tracker=False, show_progress_bar=False, overwrite_strategy="always"
    )
    return results.task_results[0].scores["test"][0]


def our_scores(collection, tokenizer_file, table, *, ignore_identical_ids):
    texts = [*collection.documents.values(), *collection.queries.values()]
    counts = count_tokens(texts, load_tokenizer(tokenizer_file))
    vectors = mean_pool(counts, [table], rows=table.shape[0], columns=table.shape[1])
    scorer = RetrievalScorer(
        list(collection.queries),
        list(collection.documents),
        collection.judgements,
        ignore_identical_ids=ignore_identical_ids,
    )
    n_documents = len(collection.documents)
    return scorer.score([(vectors[n_documents:], vectors[:n_documents])])


@pytest.fixture(scope="module")
def cranfield(shared_data):
    return shared_data / "collections" / "cranfield"


def random_table(tokenizer):
    """A draw without a common mean, so that float32 similarities are ties only where documents are equal."""
    return np.concatenate(list(random_blocks(len(tokenizer), 256, 42)))


def trained_table(folder):
    return round_to_bfloat16(load_file(folder / "model.safetensors")["model.embed_tokens.weight"])


@pytest.mark.parametrize("ignore_identical_ids", [False, True])
@pytest.mark.parametrize("name", ["gpt-neox-20b", "opt", "stories260K"])
def test_scores_equal_mtebs(shared_data, cranfield, tmp_path, name, ignore_identical_ids):
    trained = name == "stories260K"
    folder = shared_data / ("models" if trained else "tokenizers") / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    table = trained_table(folder) if trained else random_table(tokenizer)
    ours = our_scores(
        read_beir_folder(cranfield), tmp_path / "tokenizer.json", table, ignore_identical_ids=ignore_identical_ids
    )
    task = local_task(cranfield, ignore_identical_ids=ignore_identical_ids)
    theirs = mteb_scores(task, PlainEncoder(tokenizer, table))
    assert {metric: theirs[metric] for metric in METRICS} == pytest.approx(ours, abs=1e-5)


def test_cranfields_query_ids_are_document_ids(cranfield):
    """By mere numbering; so the parity above tells the two settings apart."""
    found = read_beir_folder(cranfield)
    assert found.queries.keys() <= found.documents.keys()


def test_an_mteb_task_is_read_as_its_folder(cranfield, monkeypatch):
    task = local_task(cranfield, ignore_identical_ids=False)
    monkeypatch.setattr(mteb, "get_task", lambda name: task)
    found, expected = load_mteb_task("SCIDOCS"), read_beir_folder(cranfield)
    assert found == expected
    assert found.sha256() == expected.sha256()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSuchTask", "collection 'NoSuchTask' is no MTEB task"),
        ("Banking77Classification", "is an MTEB task of type Classification; name an MTEB text retrieval task"),
        ("MSMARCO", "has no test split, only dev"),
        ("MIRACLRetrieval", "collection 'MIRACLRetrieval' has"),
    ],
)
def test_tasks_that_are_no_plain_text_retrieval_are_errors(name, message):
    with pytest.raises(ValueError, match=message):
        load_mteb_task(name)


def test_data_that_cannot_be_fetched_are_named():
    with pytest.raises(OSError, match=r"its data \(mteb/scidocs, revision f8c2fcf.*\) cannot be fetched"):
        load_mteb_task("SCIDOCS")

"""MTEB as a peer: a plain encoder, which tokenizes and averages text by text, and tasks of local data."""

import mteb
import numpy as np
from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta

from lm_geometry.retrieval.scoring import METRICS


class PlainEncoder(AbsEncoder):
    """The mean of the table's rows over the tokens that the model's own tokenizer gives, text by text."""

    def __init__(self, tokenizer, table, name="test/plain"):
        self.tokenizer, self.table = tokenizer, table
        self.mteb_model_meta = ModelMeta.create_empty({"name": name, "revision": "1"})

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
        return np.stack([self.mean(ids) for batch in inputs for ids in self.token_ids(batch["text"])])

    def token_ids(self, texts):
        return self.tokenizer(texts, truncation=True, max_length=2048)["input_ids"]

    def mean(self, ids):
        return self.table[ids].mean(axis=0) if ids else np.zeros(self.table.shape[1], dtype=np.float32)


def folder_task(folder, *, lowercase=False, ignore_identical_ids=False):
    """Return MTEB's SCIDOCS with the data of a folder in BEIR shape, read by the ``datasets`` library.

    MTEB ranks 1,000 documents and then drops the query's own; the study's version ranked one more for it, and so does
    this task.
    """
    parts = {}
    for name in ("corpus", "queries"):
        part = Dataset.from_json(str(folder / f"{name}.jsonl")).rename_column("_id", "id")
        parts[name] = part.map(lower_case) if lowercase else part
    relevant = {}
    for row in Dataset.from_csv(str(folder / "qrels" / "test.tsv"), sep="\t"):
        relevant.setdefault(str(row["query-id"]), {})[str(row["corpus-id"])] = row["score"]
    task = mteb.get_task("SCIDOCS")
    task.dataset = {"default": {"test": RetrievalSplitData(**parts, relevant_docs=relevant, top_ranked=None)}}
    task.data_loaded = True
    task.ignore_identical_ids = ignore_identical_ids
    task._top_k += int(ignore_identical_ids)
    return task


def lower_case(row):
    return {key: row[key].lower() for key in ("title", "text") if key in row}


def mteb_scores(task, encoder, cache=None):
    """Return all that ``mteb.evaluate`` says of an encoder on a task of one subset."""
    results = mteb.evaluate(
        encoder, task, cache=cache, co2_tracker=False, show_progress_bar=False, overwrite_strategy="always"
    )
    return results.task_results[0].scores["test"][0]


def differences(theirs, ours):
    """Return the metrics that differ by more than 1e-5 and the span that equal similarities leave open.

    Parameters
    ----------
    theirs : dict of str to float
        As ``mteb_scores`` returns them.
    ours : pair of dict of str to float
        Scores and spans by metric.
    """
    scores, spans = ours
    assert set(scores) == set(METRICS)
    # A score that MTEB rounds to 5 digits, and one of ours, are up to 1e-5 apart where they lie beside a half.
    far = {metric: abs(theirs[metric] - scores[metric]) for metric in METRICS}
    return {metric: value for metric, value in far.items() if not value <= 1.0001e-5 + spans[metric]}

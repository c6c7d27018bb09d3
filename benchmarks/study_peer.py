"""The embedding study's own way: a sentence-transformers module of look-up and mean, evaluated by MTEB each time."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.input_module import InputModule
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoTokenizer

from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.table import read_embedding_table
from lm_geometry.retrieval.collection import Collection
from lm_geometry.retrieval.scoring import METRICS
from lm_geometry.retrieval.tokenization import STUDY_MAX_LENGTH
from tests.variant_tables import variant_table


class EmbeddingTable(InputModule):
    """The table's rows of a text's tokens, special tokens among them."""

    def __init__(self, tokenizer: Any, table: np.ndarray) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(table))

    def preprocess(self, inputs: Any, prompt: str | None = None, **_: Any) -> dict[str, torch.Tensor]:
        """Return the token ids of texts and which of them are no padding."""
        options = {"padding": True, "truncation": True, "max_length": STUDY_MAX_LENGTH, "return_tensors": "pt"}
        return dict(self.tokenizer([(prompt or "") + text for text in inputs], **options))

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add the embedding of each token."""
        return {**features, "token_embeddings": self.embedding(features["input_ids"])}

    def save(self, *_: Any, **__: Any) -> None:
        """Do nothing, as nobody saves it; ``InputModule`` asks for the method."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation by MTEB: columns of the table, seconds and metrics."""

    width: int
    seconds: float
    scores: dict[str, float]


def evaluate(
    collection: Collection, tokenizer: Path, tables: list[Path], variants: list[str], seed: int, threads: int
) -> list[Evaluation]:
    """Evaluate a variant of each table; what is loaded once per process is loaded before the first is timed."""
    torch.set_num_threads(threads)
    disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="mteb")
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    few = Collection(*(dict(list(part.items())[:50]) for part in (collection.documents, collection.queries)), {})
    judged = {query: dict.fromkeys(few.documents, 1) for query in few.queries}
    _evaluate(Collection(few.documents, few.queries, judged), loaded, np.eye(len(loaded), 8, dtype=np.float32))
    found = []
    for path, variant in zip(tables, variants, strict=True):
        table = variant_table(round_to_bfloat16(read_embedding_table(path)), variant, seed=seed)
        started = time.perf_counter()
        scores = _evaluate(collection, loaded, table)
        found.append(Evaluation(table.shape[1], time.perf_counter() - started, scores))
    return found


def _evaluate(collection: Collection, tokenizer: Any, table: np.ndarray) -> dict[str, float]:
    model = SentenceTransformer(
        modules=[EmbeddingTable(tokenizer, table), Pooling(table.shape[1], "mean")], device="cpu"
    )
    results = mteb.evaluate(
        model, _task(collection), cache=None, co2_tracker=False, show_progress_bar=False, overwrite_strategy="always"
    )
    scores = results.task_results[0].scores["test"][0]
    return {metric: scores[metric] for metric in METRICS}


def _task(collection: Collection) -> Any:
    task = mteb.get_task("SCIDOCS")
    corpus, queries = (
        Dataset.from_dict({"id": list(texts), "text": list(texts.values())})
        for texts in (collection.documents, collection.queries)
    )
    judgements = {query: dict(relevances) for query, relevances in collection.judgements.items()}
    data = RetrievalSplitData(corpus=corpus, queries=queries, relevant_docs=judgements, top_ranked=None)
    task.dataset = {"default": {"test": data}}
    task.data_loaded = True
    return task

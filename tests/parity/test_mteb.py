"""Scores against ``mteb.evaluate`` of a plain encoder, which tokenizes, averages and compares on its own."""

import json

import mteb
import numpy as np
import pytest
import pytrec_eval
from mteb_peer import PlainEncoder, differences, folder_task, mteb_scores
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.retrieval.collection import load_mteb_task, read_beir_folder
from lm_geometry.retrieval.pooling import mean_pool
from lm_geometry.retrieval.scoring import METRICS, RetrievalScorer
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer

TOKENIZERS = ["bert-base-uncased", "falcon", "gpt-neox-20b", "gpt2", "opt", "roberta-base", "t5"]
WIDTH = 96


def our_scores(folder, tokenizer_file, table, *, lowercase=False, ignore_identical_ids=False):
    """Return the mean scores of a collection, and the spans that equal similarities leave them."""
    collection = read_beir_folder(folder)
    collection = collection.lowercase() if lowercase else collection
    texts = [*collection.documents.values(), *collection.queries.values()]
    vectors = mean_pool(
        count_tokens(texts, load_tokenizer(tokenizer_file)), [table], rows=table.shape[0], columns=table.shape[1]
    )
    scorer = RetrievalScorer(
        list(collection.queries),
        list(collection.documents),
        collection.judgements,
        ignore_identical_ids=ignore_identical_ids,
    )
    n_documents = len(collection.documents)
    found = scorer.score_queries([(vectors[n_documents:], vectors[:n_documents])])
    return found.means(), found.mean_tie_spans()


def random_table(tokenizer):
    """A draw without a common mean, so that float32 similarities are ties only where documents are equal."""
    return np.concatenate(list(random_blocks(len(tokenizer), WIDTH, 42)))


@pytest.fixture(scope="module")
def tokenizer(request, shared_data, tmp_path_factory):
    """A family's tokenizer as ``transformers`` loads it, and its tokenizer.json."""
    folder = tmp_path_factory.mktemp(request.param)
    loaded = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / request.param)
    loaded.save_pretrained(folder)
    return loaded, folder / "tokenizer.json"


# The largest collection takes as long as the others together; a byte-level and a Unigram tokenizer stand for the rest.
CASES = [
    pytest.param(
        tokenizer, collection,
        marks=pytest.mark.slow if collection == "vaswani_npl" and tokenizer not in ("gpt2", "t5") else [],
    )
    for tokenizer in TOKENIZERS for collection in ("cranfield", "cacm", "vaswani_npl")
]  # fmt: skip


@pytest.mark.parametrize(("tokenizer", "collection"), CASES, indirect=["tokenizer"])
def test_scores_equal_mtebs(shared_data, tokenizer, collection, record_property):
    loaded, file = tokenizer
    folder, lowercase = shared_data / "collections" / collection, collection == "vaswani_npl"
    table = random_table(loaded)
    theirs = mteb_scores(folder_task(folder, lowercase=lowercase), PlainEncoder(loaded, table))
    ours = our_scores(folder, file, table, lowercase=lowercase)
    assert differences(theirs, ours) == {}
    record_property("shown", f"{len(ours[0])} mean scores equal MTEB's")


def trained_table(folder):
    return round_to_bfloat16(load_file(folder / "model.safetensors")["model.embed_tokens.weight"])


@pytest.mark.parametrize("ignore_identical_ids", [False, True])
def test_a_trained_tables_scores_equal_mtebs(shared_data, tmp_path, ignore_identical_ids):
    """Its rows share a mean, so that similarities lie close together. Cranfield's query ids are document ids too."""
    folder, model = shared_data / "collections" / "cranfield", shared_data / "models" / "stories260K"
    loaded, table = AutoTokenizer.from_pretrained(model), trained_table(model)
    loaded.save_pretrained(tmp_path)
    ours = our_scores(folder, tmp_path / "tokenizer.json", table, ignore_identical_ids=ignore_identical_ids)
    task = folder_task(folder, ignore_identical_ids=ignore_identical_ids)
    assert differences(mteb_scores(task, PlainEncoder(loaded, table)), ours) == {}


def test_cranfields_query_ids_are_document_ids(shared_data):
    """By mere numbering; so the parity above tells the two settings apart."""
    found = read_beir_folder(shared_data / "collections" / "cranfield")
    assert found.queries.keys() <= found.documents.keys()


# -- rough edges, each in a collection made for it ---------------------------------------------------------------------

WORDS = ["wing", "flow", "heat", "shock", "body", "speed", "layer", "plate", "drag", "lift", "jet", "nose", "tail"]


def made_collection(folder, *, documents=None, queries=None, judgements=None):
    """Write 40 documents and 6 queries of words at random in BEIR's shape, some of them replaced or added to."""
    generator = np.random.default_rng(0)
    texts = {
        **{f"d{i}": {"title": "", "text": " ".join(generator.choice(WORDS, 12))} for i in range(40)},
        **(documents or {}),
    }
    asked = {**{f"q{i}": " ".join(generator.choice(WORDS, 4)) for i in range(6)}, **(queries or {})}
    relevant = {f"q{i}": {f"d{(7 * i + j) % 40}": j % 3 for j in range(9)} for i in range(6)} | (judgements or {})
    write_beir(folder, texts, asked, relevant)
    return folder


def write_beir(folder, documents, queries, judgements):
    rows = {
        "corpus.jsonl": [{"_id": key, **fields} for key, fields in documents.items()],
        "queries.jsonl": [{"_id": key, "text": text} for key, text in queries.items()],
    }
    for name, lines in rows.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "qrels").mkdir()
    lines = [f"{q}\t{d}\t{score}\n" for q, relevances in judgements.items() for d, score in relevances.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


# As MTEB takes them: in a column of titles all must be strings.
ROUGH = {
    "a text of more than 2,048 tokens": {
        "documents": {"d1": {"title": "", "text": "wing flow " * 1500 + "heat " * 4000}},
        "queries": {"q1": "heat " * 3000 + "wing " * 100},
    },
    "an empty text": {"documents": {"d1": {"title": "", "text": ""}}, "queries": {"q1": ""}},
    "a text of white space": {"documents": {"d1": {"title": " ", "text": " \n\t "}}},
    "a text of unknown characters": {
        "documents": {"d1": {"title": "", "text": "\U0001f6e9 漢字 \u0378\ue000"}},
        "queries": {"q1": "\u0378\ue000 漢"},
    },
    "a document with a title and one without a text": {
        "documents": {"d1": {"title": "Wing flow", "text": "heat"}, "d2": {"title": "heat", "text": ""}}
    },
    "a query without judgements": {"queries": {"q77": "wing flow", "a": "heat"}},
    "a query whose judgements are all 0": {"judgements": {"q0": {"d1": 0, "d2": 0}}},
    "equal scores": {
        # Ids in which the order as text is not that of the rows: d9 stands above d10.
        "documents": {f"d{i}": {"title": "", "text": "wing flow heat"} for i in (9, 10, 2, 30, 31)},
        "judgements": {"q0": {"d9": 1, "d10": 0}, "q1": {"d10": 1, "d2": 0}, "q2": {"d30": 2, "d31": 1}},
        "queries": {"q0": "wing flow", "q1": "heat", "q2": "flow heat"},
    },
    "a line separator inside a string": {
        "documents": {"d1": {"title": "wing\u2028flow", "text": "heat\u2029shock\x85body\x0blift"}},
        "queries": {"q1": "wing\u2028flow"},
    },
    "judgements that name some documents which are absent": {
        "judgements": {"q0": {"d0": 1, "absent": 2}, "q1": {"absent": 1}}
    },
    "judgements of a query that is absent": {"judgements": {"absent": {"d1": 1}}},
}


# One that makes nothing of an empty text, and one that puts special tokens around it.
@pytest.mark.parametrize("tokenizer", ["gpt-neox-20b", "bert-base-uncased"], indirect=True)
@pytest.mark.parametrize("edge", ROUGH)
def test_a_rough_edge_scores_as_in_mteb(tokenizer, tmp_path, edge):
    loaded, file = tokenizer
    folder, table = made_collection(tmp_path, **ROUGH[edge]), random_table(loaded)
    theirs = mteb_scores(folder_task(folder), PlainEncoder(loaded, table))
    ours = our_scores(folder, file, table)
    # Not outside the ties only: MTEB's encoder gives equal texts equal vectors, and ties must be broken as it does.
    assert differences(theirs, (ours[0], dict.fromkeys(METRICS, 0.0))) == {}
    assert 0 < theirs["ndcg_at_10"] < 1


@pytest.mark.parametrize("tokenizer", ["gpt-neox-20b"], indirect=True)
def test_equal_scores_leave_a_span(tokenizer, tmp_path):
    """So the collection of equal scores holds ties indeed: the order of documents of one text is one of their ids."""
    loaded, file = tokenizer
    _, spans = our_scores(made_collection(tmp_path, **ROUGH["equal scores"]), file, random_table(loaded))
    assert spans["mrr_at_10"] > 0.01


@pytest.mark.parametrize("tokenizer", ["opt"], indirect=True)
@pytest.mark.parametrize("ignore_identical_ids", [False, True])
def test_ids_that_coincide_are_scored_as_in_mteb(tokenizer, tmp_path, ignore_identical_ids):
    """More documents than are ranked, where the query's own text is the best."""
    loaded, file = tokenizer
    generator = np.random.default_rng(1)
    documents = {str(i): {"title": "", "text": " ".join(generator.choice(WORDS, 8))} for i in range(1100)}
    queries = {str(i): documents[str(i)]["text"] for i in range(5)}
    relevant = {query: {query: 1, **{str(j): 1 for j in range(200, 900, 7)}} for query in queries}
    write_beir(tmp_path, documents, queries, relevant)
    table = random_table(loaded)
    task = folder_task(tmp_path, ignore_identical_ids=ignore_identical_ids)
    theirs = mteb_scores(task, PlainEncoder(loaded, table))
    ours = our_scores(tmp_path, file, table, ignore_identical_ids=ignore_identical_ids)
    assert differences(theirs, ours) == {}
    assert (theirs["mrr_at_1"] == 1) is not ignore_identical_ids
    # Today's MTEB ranks 1,000 and drops the query's own of them: 999 are left, and no metric at a smaller rank changes.
    task._top_k = 1000
    theirs = mteb_scores(task, PlainEncoder(loaded, table))
    far = differences(theirs, ours)
    assert {metric.rsplit("_", 1)[1] for metric in far} <= ({"1000"} if ignore_identical_ids else set())


@pytest.mark.parametrize("tokenizer", ["gpt2"], indirect=True)
def test_a_collection_of_one_document_scores_as_in_pytrec_eval(tokenizer, tmp_path):
    """MTEB evaluates it with the same result."""
    loaded, file = tokenizer
    write_beir(tmp_path, {"d": {"text": "wing"}}, {"q": "flow", "r": "wing"}, {"q": {"d": 1, "e": 1}, "r": {"d": 0}})
    ours, spans = our_scores(tmp_path, file, random_table(loaded))
    measures = {"map_cut.10", "ndcg_cut.10", "recall.10", "P.10", "success.10"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": {"d": 1, "e": 1}, "r": {"d": 0}}, measures)
    found = evaluator.evaluate({"q": {"d": 0.5}, "r": {"d": 0.5}})
    for metric, measure in (("map", "map_cut"), ("ndcg", "ndcg_cut"), ("recall", "recall"), ("precision", "P")):
        expected = np.mean([one[f"{measure}_10"] for one in found.values()])
        assert ours[f"{metric}_at_10"] == pytest.approx(expected, abs=1e-5)
    assert ours["mrr_at_10"] == 0.5
    theirs = mteb_scores(folder_task(tmp_path), PlainEncoder(loaded, random_table(loaded)))
    assert differences(theirs, (ours, spans)) == {}


def test_judgements_that_name_no_document_are_an_error(tmp_path):
    folder = made_collection(tmp_path, judgements={f"q{i}": {f"absent{i}": 1} for i in range(6)})
    with pytest.raises(ValueError, match="no judgement names a query and a document of the collection"):
        read_beir_folder(folder)


# -- tasks in place of folders -----------------------------------------------------------------------------------------


def stub_task(monkeypatch, folder, **attributes):
    """Let MTEB find the task of a folder's data whatever it is asked for."""
    task = folder_task(folder)
    for name, value in attributes.items():
        setattr(task, name, value)
    monkeypatch.setattr(mteb, "get_task", lambda name: task)
    return task


def test_an_mteb_task_is_read_as_its_folder(shared_data, monkeypatch):
    folder = shared_data / "collections" / "cranfield"
    stub_task(monkeypatch, folder)
    found, expected = load_mteb_task("SCIDOCS"), read_beir_folder(folder)
    assert found == expected
    assert found.sha256() == expected.sha256()
    assert expected.origin == {}
    assert found.origin == {
        "mteb_task": "SCIDOCS",
        "mteb_revision": mteb.get_task("SCIDOCS").metadata.revision,
        "mteb_split": "test",
        "mteb_subset": "default",
    }


def test_the_only_split_of_a_task_is_read_where_it_is_not_the_test_split(tmp_path, monkeypatch):
    """MSMARCO, FEVER's relatives and some 80 others are judged on a split of another name."""
    task = stub_task(monkeypatch, made_collection(tmp_path))
    expected = load_mteb_task("SCIDOCS")
    monkeypatch.setattr(type(task), "eval_splits", ["dev"])
    task.dataset["default"] = {"dev": task.dataset["default"]["test"]}
    found = load_mteb_task("SCIDOCS")
    assert found == expected
    assert found.origin["mteb_split"] == "dev"


def test_a_task_in_mtebs_older_form_is_read(tmp_path, monkeypatch):
    task = stub_task(monkeypatch, made_collection(tmp_path))
    expected = load_mteb_task("SCIDOCS")
    data = task.dataset.pop("default")["test"]
    task.corpus = {"test": {row["id"]: {"title": row["title"], "text": row["text"]} for row in data["corpus"]}}
    task.queries = {"test": {row["id"]: row["text"] for row in data["queries"]}}
    task.relevant_docs = {"test": data["relevant_docs"]}
    assert load_mteb_task("SCIDOCS") == expected


@pytest.mark.parametrize(("name", "ignored"), [("SCIDOCS", False), ("FiQA2018", True), ("ArguAna", True)])
def test_whether_identical_ids_are_ignored_is_the_tasks_attribute(tmp_path, monkeypatch, name, ignored):
    attribute = mteb.get_task(name).ignore_identical_ids
    assert attribute is ignored
    stub_task(monkeypatch, made_collection(tmp_path), ignore_identical_ids=attribute)
    assert load_mteb_task(name).ignore_identical_ids is ignored


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSuchTask", "collection 'NoSuchTask' is no MTEB task"),
        ("Banking77Classification", "is an MTEB task of type Classification; name an MTEB text retrieval task"),
        ("MSMARCOv2", "has no test split, but train, dev, dev2"),
        ("MIRACLRetrieval", "collection 'MIRACLRetrieval' has 18 subsets and one is needed"),
        ("LIMITSmallRetrieval", "is judged by recall_at_2, no metric here"),
    ],
)
def test_tasks_that_are_no_plain_text_retrieval_are_errors(name, message):
    with pytest.raises(ValueError, match=message):
        load_mteb_task(name)


def turn_into_conversations(task, data):
    turns = [[{"role": "user", "content": text}] for text in data["queries"]["text"]]
    data["queries"] = data["queries"].remove_columns("text").add_column("text", turns)


def give_instructions(task, data):
    data["queries"] = data["queries"].add_column("instruction", ["Find."] * len(data["queries"]))


def give_documents_to_rank(task, data):
    data["top_ranked"] = {"q0": ["d0"]}


def repeat_an_id(task, data):
    data["corpus"] = data["corpus"].select([0, 1, 0])


def skip_the_first_result(task, data):
    task.skip_first_result = True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turn_into_conversations, "'SCIDOCS', id 'q0': key 'text' is .* and must be a string; .*name an MTEB text"),
        (give_instructions, "gives an instruction with each query"),
        (give_documents_to_rank, "re-ranks given documents"),
        (repeat_an_id, "id 'd0' occurs twice"),
        (skip_the_first_result, "does not count the first document found"),
    ],
)
def test_data_that_are_no_plain_text_retrieval_are_errors(tmp_path, monkeypatch, change, message):
    task = stub_task(monkeypatch, made_collection(tmp_path))
    change(task, task.dataset["default"]["test"])
    with pytest.raises(ValueError, match=message):
        load_mteb_task("SCIDOCS")


def test_data_that_cannot_be_fetched_are_named():
    with pytest.raises(OSError, match=r"its data \(mteb/scidocs, revision f8c2fcf.*\) cannot be fetched"):
        load_mteb_task("SCIDOCS")

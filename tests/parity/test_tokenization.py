"""Token counts against ``transformers``' own tokenizers, for the seven families of the studies."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from lm_geometry.retrieval.collection import read_beir_folder
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer

NAMES = ["bert-base-uncased", "falcon", "gpt-neox-20b", "gpt2", "opt", "roberta-base", "t5"]
EMPTY = {"gpt-neox-20b": [], "gpt2": [], "falcon": [], "opt": [2], "t5": [1], "roberta-base": [0, 2]}


@pytest.fixture(scope="module")
def texts(shared_data):
    found = read_beir_folder(shared_data / "collections" / "cranfield")
    some = [*found.documents.values()][:200] + [*found.queries.values()][:100]
    return [*some, "", " ", "\n\n  tabs\tand café \u2028 漢字 🙂", "<s> </s> [CLS] <|endoftext|>", "long text " * 3000]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_transformers(shared_data, tmp_path, texts, name):
    theirs = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name)
    theirs.save_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path / "tokenizer.json")
    expected = theirs(texts, truncation=True, max_length=2048)["input_ids"]
    # The ids in their order, not only their counts: the encodings are what is counted.
    assert [encoding.ids for encoding in ours.encode_batch(texts)] == expected
    counts = count_tokens(texts, ours)
    for row, ids in zip(counts.toarray(), expected, strict=True):
        assert np.array_equal(row, np.bincount(ids, minlength=counts.shape[1]))
    assert len(expected[-1]) == 2048
    assert expected[texts.index("")] == EMPTY.get(name, [101, 102])

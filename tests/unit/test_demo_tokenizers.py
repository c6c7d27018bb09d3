"""The byte-level BPE tokenizers of the embedded models."""

import json
import sysconfig
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from lm_geometry.demo.byte_level_bpe import VOCABULARY_SIZE, train_byte_level_bpe
from lm_geometry.demo.prose import Passage, parse_docstrings
from lm_geometry.demo.token_streams import choose_heldout, join_texts
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.prose import SCHEMA
from scripts.tokenize_prose import tokenize_prose
from scripts.train_tokenizer import train_tokenizer

MODULES = ("_pydecimal", "turtle", "typing", "doctest", "difflib", "ipaddress", "statistics", "threading", "optparse")


@pytest.fixture(scope="module")
def texts():
    folder = Path(sysconfig.get_path("stdlib"))
    sources = {name: (folder / f"{name}.py").read_bytes() for name in MODULES}
    return [passage.text for name, source in sources.items() for passage in parse_docstrings(source, name)]


@pytest.fixture(scope="module", params=["gpt_neox", "bert"])
def folder(request, tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp(request.param)
    rows = pa.Table.from_pylist([Passage("m", "n", text)._asdict() for text in texts], schema=SCHEMA)
    write_table(folder / "prose.parquet", rows, SCHEMA, origin={"prose_sha256": "0"})
    train_tokenizer(
        prose=folder / "prose.parquet",
        tokenizer=folder / "tokenizer.json",
        tokenizer_config=folder / "tokenizer_config.json",
        listing=folder / "listing.parquet",
        recipe=request.param,
    )
    # AutoTokenizer chooses its class by the model beside the files.
    (folder / "config.json").write_text(json.dumps({"model_type": request.param}))
    return folder


def test_any_text_goes_there_and_back(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "Plain text, été, 語, \U0001f600\n\ttabs"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert tokenizer.get_vocab_size() == VOCABULARY_SIZE


def test_auto_tokenizer_frames_texts_as_the_family_does(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bare = tokenizer.tokenize("Return the next item.")
    framed = tokenizer.convert_ids_to_tokens(tokenizer("Return the next item.")["input_ids"])
    assert len(tokenizer) == VOCABULARY_SIZE
    if folder.name.startswith("bert"):
        assert framed == ["[CLS]", *bare, "[SEP]"]
        assert (tokenizer.mask_token, tokenizer.pad_token, tokenizer.unk_token) == ("[MASK]", "[PAD]", "[UNK]")
    else:
        assert framed == bare
        assert tokenizer.eos_token == "<|endoftext|>"
        assert tokenizer.eos_token_id == 0
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == tokenizer.model_max_length


def test_training_twice_gives_the_same_tokenizer(folder, texts):
    name = folder.name.rstrip("0123456789")
    assert json.loads(train_byte_level_bpe(texts, name).to_str()) == json.loads((folder / "tokenizer.json").read_text())


def test_the_prose_is_tokenized_without_special_tokens(folder, texts):
    tokenize_prose(
        prose=folder / "prose.parquet",
        tokenizer=folder / "tokenizer.json",
        tokenizer_listing=folder / "listing.parquet",
        tokens=folder / "tokens",
    )
    rows = read_table(folder / "tokens").to_pylist()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [tokenizer.decode(row["token_ids"], skip_special_tokens=False) for row in rows] == texts
    assert [row["heldout"] for row in rows] == choose_heldout(texts)


def test_unknown_recipes_and_too_little_text_are_refused():
    with pytest.raises(ValueError, match="'t5': use one of gpt_neox, bert"):
        train_byte_level_bpe(["text"], "t5")
    with pytest.raises(ValueError, match=r"the texts give 2\d\d tokens, 2048 are wanted"):
        train_byte_level_bpe(["text"], "gpt_neox")


def test_one_text_in_twenty_is_held_out_in_runs():
    held = choose_heldout(["x" * 100] * 10_000)
    assert sum(held) == 500
    changes = sum(a != b for a, b in pairwise(held))
    assert changes == 19  # ten runs of fifty texts, the last of them at the end


def test_streams_join_texts_with_separators(folder):
    name = folder.name.rstrip("0123456789")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [np.array([10, 11]), np.array([12]), np.array([13, 14])]
    streams = join_texts(ids, [False, True, False], tokenizer, name)
    separator = tokenizer.token_to_id("[SEP]" if name == "bert" else "<|endoftext|>")
    assert streams.training.tolist() == [10, 11, separator, 13, 14, separator]
    assert streams.heldout.tolist() == [12, separator]
    assert (streams.mask is not None, len(streams.frame)) == ((True, 2) if name == "bert" else (False, 0))
    with pytest.raises(ValueError, match="3 texts to train on and 0 held out"):
        join_texts(ids, [False] * 3, tokenizer, name)

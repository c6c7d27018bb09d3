"""The embedding table of every family, bit for bit, and every way in which a table can be wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import FAMILIES, VOCAB_ROWS, WORDS, build_model, save_bin, save_safetensors, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.weights import Weights
from lm_geometry.embeddings.table import (
    check_table,
    find_embedding,
    is_embedding_name,
    read_embedding_table,
    token_texts,
    write_embedding_table,
)
from lm_geometry.tables.files import file_sha256, read_table
from scripts.extract_embedding_table import extract_embedding_table
from scripts.resolve_model import resolve_model


def weights_of(folder):
    revision = open_revision(parse_source(str(folder)), "main")
    return Weights(revision, revision.listing())


def weights_with(folder, tensors):
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return weights_of(folder)


def extract(folder, tokenizer, out):
    arguments = {"source": str(folder), "revision": "main"}
    resolve_model(files=[], listing=out / "listing.parquet", **arguments)
    extract_embedding_table(
        listing=out / "listing.parquet",
        tokenizer=tokenizer,
        table=out / "table.parquet",
        cache_dir="unused",
        **arguments,
    )
    return out / "table.parquet"


@pytest.mark.parametrize(
    ("save", "sharded"), [(save_safetensors, False), (save_safetensors, True), (save_bin, False), (save_bin, True)]
)
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_table_is_the_models_own(tmp_path, family, head, save, sharded):
    model = build_model(family, head=head)
    _, table = find_embedding(weights_of(save(model, tmp_path, sharded=sharded)))
    np.testing.assert_array_equal(table, model.get_input_embeddings().weight.detach().numpy())
    assert table.shape == (VOCAB_ROWS, FAMILIES[family].embedding_width)
    check_table(table, json.loads((tmp_path / "config.json").read_text()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt_neox.embed_in.weight", True),
        ("model.decoder.embed_tokens.weight", True),
        ("transformer.wte.weight", True),
        ("wte.weight", True),
        ("bert.embeddings.word_embeddings.weight", True),
        ("shared.weight", True),
        ("word_embeddings_layernorm.weight", False),
        ("word_embeddings.bias", False),
        ("bert.embeddings.position_embeddings.weight", False),
        ("bert.embeddings.token_type_embeddings.weight", False),
        ("bert.embeddings.LayerNorm.weight", False),
        ("decoder.embed_positions.weight", False),
        ("embed_out.weight", False),
        ("mlp.not_shared.weight", False),
    ],
)
def test_names(name, expected):
    assert is_embedding_name(name) is expected


def test_equal_copies_are_one_table_and_others_are_listed(tmp_path):
    table = torch.arange(12.0).reshape(4, 3)
    tensors = {"shared.weight": table, "encoder.embed_tokens.weight": table.clone()}
    (tmp_path / "equal").mkdir()
    name, found = find_embedding(weights_with(tmp_path / "equal", tensors))
    assert name == "shared.weight"
    np.testing.assert_array_equal(found, table.numpy())
    for case, other in {"values": table + 1, "shape": table[:2].clone()}.items():
        (tmp_path / case).mkdir()
        weights = weights_with(tmp_path / case, {**tensors, "decoder.embed_tokens.weight": other})
        with pytest.raises(ValueError, match=r"differ in shape or values: decoder\.embed_tokens\.weight \dx3, encoder"):
            find_embedding(weights)


def test_without_a_candidate_the_matrices_are_listed(tmp_path):
    tensors = {"lookup.weight": torch.zeros(4, 3), "norm.weight": torch.zeros(3), "x.wte.weight": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"no token-embedding tensor: .*; there are lookup\.weight 4x3$"):
        find_embedding(weights_with(tmp_path, tensors))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 5}, "has 4 rows, but config.json says vocab_size 5"),
        ({"hidden_size": 8}, "has 3 columns, but config.json says hidden_size 8"),
        ({"hidden_size": 3, "word_embed_proj_dim": 2}, "has 3 columns, but config.json says word_embed_proj_dim 2"),
        ({"hidden_size": 3, "embedding_size": 2}, "has 3 columns, but config.json says embedding_size 2"),
        ({"d_model": 2}, "says d_model 2"),
        ({"n_embd": 2}, "says n_embd 2"),
    ],
)
def test_a_table_that_does_not_fit_its_config(config, message):
    with pytest.raises(ValueError, match=message):
        check_table(np.zeros((4, 3), dtype=np.float32), config)


def test_a_table_that_fits_its_config():
    table = np.zeros((4, 3), dtype=np.float32)
    for config in ({}, {"vocab_size": 4, "hidden_size": 3}, {"hidden_size": 9, "embedding_size": 3}):
        check_table(table, config)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named_with_row_and_column(value):
    table = np.zeros((9000, 3), dtype=np.float32)
    table[8500, 2] = value
    with pytest.raises(ValueError, match=f"holds {value} at row 8500, column 2"):
        check_table(table, {})


def test_extraction_keeps_tokens_and_provenance(tmp_path):
    folder = save_safetensors(build_model("gpt_neox").bfloat16(), tmp_path / "mine")
    tokenizer = save_tokenizer(tmp_path / "tokenizer") / "tokenizer.json"
    path = extract(folder, tokenizer, tmp_path)
    known = 5 + len(WORDS)
    rows = read_table(path)
    assert rows["token_id"].to_pylist() == list(range(VOCAB_ROWS))
    assert rows["token"].to_pylist() == ["<unk>", "<pad>", "<none>", "<s>", "</s>", *WORDS] + [None] * (
        VOCAB_ROWS - known
    )
    assert rows["in_tokenizer"].to_pylist() == [True] * known + [False] * (VOCAB_ROWS - known)
    facts = provenance.read(path)
    assert facts["settings"] == {
        "tensor": "gpt_neox.embed_in.weight",
        "stored_dtype": "bfloat16",
        "revision": "main",
        "rows_beyond_tokenizer": VOCAB_ROWS - known,
    }
    assert facts["origin"]["model_id"] == "mine"
    assert facts["origin"]["tokenizer_sha256"] == file_sha256(tokenizer)
    assert str(tmp_path) not in json.dumps(facts)
    expected = build_model("gpt_neox").bfloat16().get_input_embeddings().weight.detach().float().numpy()
    np.testing.assert_array_equal(read_embedding_table(path), expected)


def test_a_checkpoint_that_changed_since_it_was_listed_is_refused(tmp_path):
    folder = save_safetensors(build_model("llama"), tmp_path / "mine")
    tokenizer = save_tokenizer(tmp_path / "tokenizer") / "tokenizer.json"
    extract(folder, tokenizer, tmp_path)
    save_safetensors(build_model("llama", seed=1), folder)
    with pytest.raises(ValueError, match=r"model\.safetensors: sha256 .* was listed"):
        extract_embedding_table(
            listing=tmp_path / "listing.parquet",
            tokenizer=tokenizer,
            table=tmp_path / "again.parquet",
            source=str(folder),
            revision="main",
            cache_dir="unused",
        )
    assert not (tmp_path / "again.parquet").exists()


def test_a_tokenizer_larger_than_the_table_is_refused(tmp_path):
    tokenizer = save_tokenizer(tmp_path) / "tokenizer.json"
    needed = 5 + len(WORDS)
    assert token_texts(tokenizer, needed)[-1] == WORDS[-1]
    with pytest.raises(ValueError, match=f"needs {needed} rows, but the embedding table has {needed - 1}"):
        token_texts(tokenizer, needed - 1)


def test_many_row_groups_come_back_in_order_within_memory(tmp_path):
    # 80 MB: large against what the reader may hold beside its result, one row group of 8192 rows.
    table = np.arange(40_000 * 512, dtype=np.float32).reshape(40_000, 512)
    write_embedding_table(tmp_path / "table.parquet", table, [None] * len(table))
    np.testing.assert_array_equal(read_embedding_table(tmp_path / "table.parquet"), table)
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from lm_geometry.embeddings.table import read_embedding_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_embedding_table(Path(sys.argv[1]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "table.parquet")], capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) * 1024 < 2 * table.nbytes


def test_other_files_are_no_embedding_tables(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"x\.parquet: not a readable Parquet file"):
        read_embedding_table(tmp_path / "x.parquet")
    folder = save_safetensors(build_model("gpt2"), tmp_path / "mine")
    resolve_model(files=[], listing=tmp_path / "listing.parquet", source=str(folder), revision="main")
    with pytest.raises(ValueError, match="has no column 'vector'"):
        read_embedding_table(tmp_path / "listing.parquet")


def test_a_real_model(shared_data, tmp_path):
    folder = shared_data / "models" / "stories260K"
    from transformers import AutoModel

    table = read_embedding_table(extract(folder, folder / "tokenizer.json", tmp_path))
    assert table.shape == (512, 64)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    np.testing.assert_array_equal(table, model.get_input_embeddings().weight.detach().numpy())

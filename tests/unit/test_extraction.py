"""Which tensor is the table, what it must fit, and each way in which a checkpoint has no table to give."""

import json
import logging

import numpy as np
import pytest
import torch
from extracted import extract, extract_listed, resolve
from safetensors.torch import save_file
from tiny_models import VOCAB_ROWS, WORDS, build_model, save_bin, save_safetensors, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.tensors.tensor import StoredTensor
from lm_geometry.checkpoints.tensors.weights import Weights
from lm_geometry.embeddings.extraction import check_shape, find_embedding, token_texts
from lm_geometry.embeddings.table import read_embedding_table
from lm_geometry.tables.files import file_sha256, read_table

KNOWN = 5 + len(WORDS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"


def weights_with(folder, tensors):
    save(folder, tensors)
    revision = open_revision(parse_source(str(folder)), "main")
    return Weights(revision, revision.listing())


def save(folder, tensors, config=None):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {}))
    save_file(tensors, folder / "model.safetensors")
    return folder


def table(rows=VOCAB_ROWS, width=3):
    return torch.arange(float(rows * width)).reshape(rows, width)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt_neox.embed_in.weight", True),
        ("model.decoder.embed_tokens.weight", True),
        ("language_model.model.embed_tokens.weight", True),
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
def test_names(tmp_path, name, found):
    weights = weights_with(tmp_path, {name: table()})
    if found:
        assert find_embedding(weights) == name
    else:
        with pytest.raises(ValueError, match="no token-embedding table"):
            find_embedding(weights)


def test_equal_copies_are_one_table(tmp_path):
    tensors = {
        "shared.weight": table(4),
        "encoder.embed_tokens.weight": table(4),
        "decoder.embed_tokens.weight": table(4),
    }
    assert find_embedding(weights_with(tmp_path, tensors)) == "shared.weight"


@pytest.mark.parametrize("other", [table(4) + 1, table(2), table(4).half()], ids=["values", "shape", "type"])
def test_tables_that_differ_are_listed_and_the_key_decides(tmp_path, other):
    weights = weights_with(tmp_path, {"shared.weight": table(4), "decoder.embed_tokens.weight": other})
    with pytest.raises(ValueError, match=r"tables that differ: .* by the key embedding_tensor: .*") as raised:
        find_embedding(weights)
    assert "shared.weight 4x3" in str(raised.value)
    assert f"decoder.embed_tokens.weight {len(other)}x3" in str(raised.value)
    assert find_embedding(weights, "decoder.embed_tokens.weight") == "decoder.embed_tokens.weight"


def test_without_a_candidate_the_matrices_are_listed_with_the_key(tmp_path):
    tensors = {"lookup.weight": table(4), "norm.weight": torch.zeros(3), "x.wte.weight": torch.zeros(3)}
    weights = weights_with(tmp_path, {**tensors, "up.weight": torch.zeros(2, 9)})
    with pytest.raises(
        ValueError,
        match=r"no token-embedding table: .* by the key embedding_tensor: lookup\.weight 4x3, up\.weight 2x9$",
    ):
        find_embedding(weights)
    assert find_embedding(weights, "lookup.weight") == "lookup.weight"


def test_a_long_list_is_cut(tmp_path):
    weights = weights_with(tmp_path, {f"layer.{row}": torch.zeros(row, 2) for row in range(1, 31)})
    with pytest.raises(ValueError, match=r": layer\.30 30x2, layer\.29 .* layer\.19 19x2, and 18 with fewer rows$"):
        find_embedding(weights)


def test_a_key_that_names_no_tensor_is_refused(tmp_path):
    weights = weights_with(tmp_path, {"wte.weight": table(4)})
    with pytest.raises(
        ValueError, match=r"embedding_tensor: .* no tensor wpe\.weight; its 2-D tensors are wte\.weight 4x3$"
    ):
        find_embedding(weights, "wpe.weight")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 5}, "has 4 rows, but config.json says vocab_size 5"),
        ({"hidden_size": 8}, "has 3 columns, but config.json says hidden_size 8"),
        ({"hidden_size": 3, "word_embed_proj_dim": 2}, "has 3 columns, but config.json says word_embed_proj_dim 2"),
        ({"hidden_size": 3, "embedding_size": 2}, "has 3 columns, but config.json says embedding_size 2"),
        ({"d_model": 2}, "says d_model 2"),
        ({"n_embd": 2}, "says n_embd 2"),
        ({"text_config": {"vocab_size": 5}}, r"has 4 rows, but config.json says text_config\.vocab_size 5"),
        ({"hidden_size": 3, "text_config": {"hidden_size": 2}}, r"3 columns, but .* says text_config\.hidden_size 2"),
    ],
)
def test_a_table_that_does_not_fit_its_config(config, message):
    with pytest.raises(ValueError, match=message):
        check_shape(StoredTensor((4, 3), "float32", 0, 48), config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vocab_size": 4, "hidden_size": 3},
        {"hidden_size": 9, "embedding_size": 3},
        {"hidden_size": 9, "vocab_size": 7, "text_config": {"hidden_size": 3, "vocab_size": 4}},
        {"vocab_size": None, "word_embed_proj_dim": None, "hidden_size": 3},
    ],
)
def test_a_table_that_fits_its_config(config):
    check_shape(StoredTensor((4, 3), "float32", 0, 48), config)


def test_the_tensor_that_the_key_names_must_be_a_matrix():
    with pytest.raises(ValueError, match="has 3 dimensions, not 2: 4x3x2"):
        check_shape(StoredTensor((4, 3, 2), "float32", 0, 96), {})


def test_a_tokenizer_larger_than_the_table_is_refused(tokenizer):
    assert token_texts(tokenizer, KNOWN)[-1] == WORDS[-1]
    with pytest.raises(ValueError, match=f"needs {KNOWN} rows, but the embedding table has {KNOWN - 1}"):
        token_texts(tokenizer, KNOWN - 1)


def test_extraction_keeps_tokens_and_provenance_and_says_what_it_read(tmp_path, tokenizer, caplog):
    folder = save_safetensors(build_model("gpt_neox").bfloat16(), tmp_path / "mine")
    with caplog.at_level(logging.INFO):
        path = extract(folder, tokenizer, tmp_path)
    rows = read_table(path)
    assert rows["token_id"].to_pylist() == list(range(VOCAB_ROWS))
    assert rows["token"].to_pylist() == ["<unk>", "<pad>", "<none>", "<s>", "</s>", *WORDS] + [None] * (
        VOCAB_ROWS - KNOWN
    )
    assert rows["in_tokenizer"].to_pylist() == [True] * KNOWN + [False] * (VOCAB_ROWS - KNOWN)
    facts = provenance.read(path)
    bytes_read = facts["settings"].pop("bytes_read")
    header = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    assert VOCAB_ROWS * 16 * 2 + header <= bytes_read <= (folder / "model.safetensors").stat().st_size
    assert facts["settings"] == {
        "tensor": "gpt_neox.embed_in.weight",
        "file": "model.safetensors",
        "stored_dtype": "bfloat16",
        "model": "mine",
        "revision": "main",
        "rows_beyond_tokenizer": VOCAB_ROWS - KNOWN,
        "verified": "listed",
    }
    assert facts["origin"]["model_id"] == "mine"
    assert facts["origin"]["tokenizer_sha256"] == file_sha256(tokenizer)
    assert str(tmp_path) not in json.dumps(facts)
    expected = build_model("gpt_neox").bfloat16().get_input_embeddings().weight.detach().float().numpy()
    np.testing.assert_array_equal(read_embedding_table(path), expected)
    size = (folder / "model.safetensors").stat().st_size
    assert (
        f"gpt_neox.embed_in.weight: {VOCAB_ROWS} x 16, {VOCAB_ROWS - KNOWN} rows beyond the tokenizer; read "
        f"{bytes_read} of the checkpoint's {size} bytes, from a local file that was hashed when it was listed"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("save_as", "verify", "verified", "said"),
    [
        (save_safetensors, "full", "sha256", "verified by the sha256 of the whole file"),
        (save_bin, "ranges", "crc32", "verified by the crc32 of the tensor"),
        (save_bin, "full", "sha256", "verified by the sha256 of the whole file"),
    ],
)
def test_how_far_a_table_was_verified_is_said(tmp_path, tokenizer, caplog, save_as, verify, verified, said):
    (tmp_path / "mine").mkdir()
    folder = save_as(build_model("gpt2"), tmp_path / "mine")
    with caplog.at_level(logging.INFO):
        path = extract(folder, tokenizer, tmp_path, verify=verify)
    assert provenance.read(path)["settings"]["verified"] == verified
    assert said in caplog.text


def test_a_local_file_in_the_metaseq_layout_is_enough(tmp_path, tokenizer):
    expected = torch.randn(VOCAB_ROWS, 4).half()
    state = {"decoder.embed_tokens.weight": expected, "decoder.layers.0.fc1.weight": torch.randn(9, 4).half()}
    torch.save({"model": state, "cfg": {"arch": "transformer_lm_gpt"}}, tmp_path / "restored.pt")
    path = extract(tmp_path / "restored.pt", tokenizer, tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}\n"
    np.testing.assert_array_equal(read_embedding_table(path), expected.float().numpy())
    assert provenance.read(path)["settings"]["file"] == "restored.pt"


def int8(**others):
    return {"wte.weight": torch.zeros(VOCAB_ROWS, 3, dtype=torch.int8), **others}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (
            {"wte.weight": table()},
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            r"config\.json: quantization_config .* \(method gptq\): take the repository of the original weights",
        ),
        ({"wte.weight": table()}, {"text_config": {"quantization_config": {"quant_method": "awq"}}}, "method awq"),
        (int8(), {}, r"wte\.weight .*int8.* unquantized"),
        ({"wte.weight": table().to(torch.float8_e4m3fn)}, {}, r"wte\.weight .*float8_e4m3fn.* unquantized"),
        # Four bits each, two in a byte, in one column: what bitsandbytes leaves; the type is told before the shape.
        ({"wte.weight": torch.zeros(108, 1, dtype=torch.uint8)}, {"vocab_size": VOCAB_ROWS}, r"wte\.weight .*uint8"),
        (
            {"wte.weight": table(), "wte.weight_scale": torch.ones(VOCAB_ROWS, 1)},
            {},
            r"wte\.weight has wte\.weight_scale beside it: .* take the repository of the original weights",
        ),
        ({"wte.weight": table()}, {"vocab_size": 99}, f"has {VOCAB_ROWS} rows, but config.json says vocab_size 99"),
        ({"wte.weight": table()}, {"n_embd": 9}, "has 3 columns, but config.json says n_embd 9"),
        ({"wte.weight": table(20)}, {}, f"needs {KNOWN} rows, but the embedding table has 20"),
        ({"lookup.weight": table()}, {}, r"no token-embedding table: .* embedding_tensor: lookup\.weight 72x3"),
        ({"a\nb.weight": table()}, {}, r"embedding_tensor: a\\nb\.weight 72x3"),
        ({"wte.weight": table(), "x.wte.weight": table() + 1}, {}, r"that differ: .* embedding_tensor: "),
        ({"wte.weight": table().index_fill(0, torch.tensor(40), float("nan"))}, {}, "holds nan in row 40, column 0"),
        ({"wte.weight": table()}, [1], r"config\.json: holds a list, not an object"),
    ],
)
def test_each_failure_is_one_line_and_leaves_nothing_behind(tmp_path, tokenizer, tensors, config, message):
    out = tmp_path / "out"
    out.mkdir()
    folder = save(tmp_path / "mine", tensors)
    resolve(folder, out)
    (out / "config.json").write_text(json.dumps(config))
    before = sorted(out.iterdir())
    with pytest.raises(ValueError, match=message) as raised:
        extract_listed(folder, tokenizer, out)
    assert "\n" not in str(raised.value)
    assert sorted(out.iterdir()) == before


def test_the_key_reaches_the_table(tmp_path, tokenizer):
    tensors = {"wte.weight": table(), "x.wte.weight": table() + 1}
    path = extract(save(tmp_path / "mine", tensors), tokenizer, tmp_path, embedding_tensor="x.wte.weight")
    np.testing.assert_array_equal(read_embedding_table(path), tensors["x.wte.weight"].numpy())


@pytest.mark.parametrize("verify", ["ranges", "full"])
def test_a_checkpoint_that_changed_since_it_was_listed_is_refused(tmp_path, tokenizer, verify):
    folder = save_safetensors(build_model("llama"), tmp_path / "mine")
    out = tmp_path / "out"
    out.mkdir()
    resolve(folder, out)
    # Of the same size where the whole file is hashed; a range shows another size only.
    save_safetensors(build_model("llama", seed=1) if verify == "full" else build_model("gpt2"), folder)
    with pytest.raises(ValueError, match=r"model\.safetensors: .* listed"):
        extract_listed(folder, tokenizer, out, verify=verify)
    assert not (out / "table.parquet").exists()


def test_torch_is_not_imported(tmp_path, tokenizer):
    import subprocess
    import sys

    folder = save_safetensors(build_model("gpt2"), tmp_path / "mine")
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = ['tests', '.']\n"
        "from extracted import extract\n"
        "extract(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    )
    command = [sys.executable, "-c", code, str(folder), str(tokenizer), str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)


def test_a_real_model(shared_data, tmp_path):
    folder = shared_data / "models" / "stories260K"
    from transformers import AutoModel

    found = read_embedding_table(extract(folder, folder / "tokenizer.json", tmp_path))
    assert found.shape == (512, 64)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    np.testing.assert_array_equal(found, model.get_input_embeddings().weight.detach().numpy())

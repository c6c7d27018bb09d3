"""What a listing and config.json tell of a model."""

import pytest

from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.plan.model_facts import model_facts
from lm_geometry.plan.reference_models import reference_config, reference_rows

_ROWS = {row["model"]: row for row in reference_rows()}


def _facts(model, value_bytes, extra=0):
    row = _ROWS[model]
    size = value_bytes * int(row["n_params"]) + extra
    return model_facts([ListedFile("model.safetensors", "weights", size, None, True)], reference_config(row))


@pytest.mark.parametrize(
    ("model", "table", "hidden", "layers", "states"),
    [
        ("pythia-70m", (50304, 512), 512, (6,), 8),
        ("opt-350m", (50272, 512), 1024, (24,), 26),
        ("albert-base-v2", (30000, 128), 768, (12,), 13),
        ("t5-v1_1-xxl", (32128, 4096), 4096, (24, 24), 52),
        ("bloom", (250880, 14336), 14336, (70,), 72),
        ("bert-base-uncased", (30522, 768), 768, (12,), 13),
    ],
)
def test_sizes_are_those_of_config_json(model, table, hidden, layers, states):
    facts = _facts(model, 2)
    assert (facts.vocab_rows, facts.embedding_width) == table
    assert (facts.hidden_width, facts.n_layers, facts.n_states) == (hidden, layers, states)
    assert facts.counted


@pytest.mark.parametrize("model", ["pythia-14m", "opt-66b", "t5-v1_1-xxl"])
@pytest.mark.parametrize("value_bytes", [2, 4])
def test_bytes_of_a_value_follow_from_the_files(model, value_bytes):
    assert _facts(model, value_bytes).value_bytes == value_bytes
    assert _facts(model, value_bytes).table_bytes == value_bytes * int(_ROWS[model]["vocab_rows"]) * int(
        _ROWS[model]["emb_dim"]
    )


def test_masks_in_the_file_are_not_taken_for_parameters():
    """pythia-14m's .bin: a mask of 2048 x 2048 bytes in each of 6 layers, nearly as much as its float16 weights."""
    assert _facts("pythia-14m", 2, extra=6 * 2048 * 2048).value_bytes == 2


def test_only_the_format_that_is_read_counts():
    shards = [
        ListedFile("model-00001-of-00002.safetensors", "weights", 900, None, True),
        ListedFile("model-00002-of-00002.safetensors", "weights", 500, None, False),
        ListedFile("pytorch_model.bin", "weights", 1400, None),
        ListedFile("model.safetensors.index.json", "index", 70, None),
    ]
    facts = model_facts(shards, {})
    assert (facts.weight_bytes, facts.table_file_bytes) == (1400, 900)


def test_text_model_inside_a_model_of_texts_and_images():
    text = {
        "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000,
    }  # fmt: skip
    files = [ListedFile("model.safetensors", "weights", 2 * 10**6, None, True)]
    facts = model_facts(files, {"model_type": "gemma3", "text_config": text})
    assert (facts.vocab_rows, facts.embedding_width, facts.n_layers) == (1000, 64, (2,))
    # What sees images is in the files, not in the count.
    assert facts.parameters.total == 10**6


def test_unknown_architecture_is_told_from_the_bytes_and_marked():
    files = [ListedFile("model.safetensors", "weights", 2 * 10**9, None, True)]
    facts = model_facts(files, {"model_type": "mamba", "vocab_size": 50280, "hidden_size": 2048})
    assert not facts.counted
    assert facts.parameters.total == 10**9
    assert (facts.vocab_rows, facts.embedding_width) == (50280, 2048)
    assert model_facts(files, {"model_type": "mamba", "torch_dtype": "float32"}).parameters.total == 5 * 10**8


@pytest.mark.parametrize("model", ["gpt2", "pythia-1b", "opt-13b", "opt-175b"])
def test_width_guessed_from_bytes_alone_is_right_within_a_half(model):
    row = _ROWS[model]
    files = [ListedFile("model.pt", "weights", 2 * int(row["n_params"]), None, True)]
    assert model_facts(files, {}).hidden_width == pytest.approx(int(row["d_model"]), rel=0.5)

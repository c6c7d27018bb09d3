"""What jobs ask for follows from what is known of their inputs."""

import json
import lzma

import numpy as np
import pyarrow as pa
import pytest
from peak_memory import peak_bytes

from lm_geometry import plan
from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.plan import cost, forward
from lm_geometry.plan.embedding_jobs import score_widths, variant_draws
from lm_geometry.plan.forward import ON_CPU
from lm_geometry.plan.model_facts import model_facts
from lm_geometry.plan.passing import Passing, passing_of
from lm_geometry.plan.reference_models import reference_config, reference_rows
from lm_geometry.tables import hidden_states, listing, token_counts
from lm_geometry.tables.collection import TEXTS
from lm_geometry.tables.files import write_table

_ROWS = {row["model"]: row for row in reference_rows()}
ON_GPU = Passing(gpu_bytes=80 * 10**9, most_gpus=8)
_HUB, _FOLDER = "EleutherAI/pythia-1b", "./folder"


def _files(tmp_path, model, value_bytes=2):
    size = value_bytes * int(_ROWS[model]["n_params"])
    files = [ListedFile("model.safetensors", "weights", size, None, True)]
    listed, config = tmp_path / "listing.parquet", tmp_path / "config.json"
    write_table(listed, listing_table(files), listing.SCHEMA)
    config.write_text(json.dumps(reference_config(_ROWS[model])))
    return str(listed), str(config)


def _texts(tmp_path, name, rows):
    path = tmp_path / f"{name}.parquet"
    write_table(path, pa.table({"id": [str(row) for row in range(rows)], "text": [""] * rows}, schema=TEXTS), TEXTS)
    return str(path)


def _counts(tmp_path, rows):
    path = tmp_path / "counts.parquet"
    columns = {"side": ["corpus"] * rows, "row": range(rows), "token_id": range(rows), "count": [1] * rows}
    write_table(path, pa.table(columns, schema=token_counts.SCHEMA), token_counts.SCHEMA)
    return str(path)


def _table(tmp_path, rows, width):
    path = tmp_path / "table.parquet"
    write_embedding_table(path, [np.zeros((rows, width), np.float32)], (rows, width), [None] * rows)
    return str(path)


# -- Snakemake's side ------------------------------------------------------------------------------------------------


def test_an_input_that_is_yet_to_be_made_raises_the_error_that_snakemake_waits_for(tmp_path):
    """Snakemake knows it by the name in the error, which must be just the one it gave."""
    listed, config = _files(tmp_path, "pythia-70m")
    absent = f"{tmp_path}/./none.parquet"
    corpus, counts, table = _texts(tmp_path, "corpus", 3), _counts(tmp_path, 3), _table(tmp_path, 4, 2)
    for call in (
        lambda: plan.extraction_mb(absent, config),
        lambda: plan.extraction_mb(listed, absent),
        lambda: plan.extraction_minutes(absent, config, _HUB, "ranges"),
        lambda: plan.extraction_disk_mb(absent, config, _HUB, "ranges"),
        lambda: plan.fetch_minutes(absent, config, _HUB),
        lambda: plan.fetch_disk_mb(listed, absent, _HUB),
        lambda: plan.gpus(absent, config, {"device": "cuda"}),
        lambda: plan.dump_mb(absent, config, {}),
        lambda: plan.dump_minutes(absent, config, 10**5, {}),
        lambda: plan.dump_disk_mb(listed, absent, 10**5, {}),
        lambda: plan.stream_mb(absent, config, 512, 4096, {}),
        lambda: plan.stream_minutes(listed, absent, 10**5, 512, 8, 4096, {}),
        lambda: plan.stream_disk_mb(absent, config, {}),
        lambda: plan.measuring_mb(absent, 4096),
        lambda: plan.measuring_minutes(absent, 8, 4096, 1),
        lambda: plan.pooling_mb([corpus, absent], counts, table),
        lambda: plan.pooling_minutes([corpus, corpus], absent, table),
        lambda: plan.pooling_disk_mb([corpus, corpus], absent),
        lambda: plan.scoring_mb([corpus, corpus], counts, absent),
        lambda: plan.scoring_minutes([absent, corpus], table, ["as_is"]),
        lambda: plan.random_columns_mb([corpus, corpus], counts, [table, absent], ["random"], "torch"),
        lambda: plan.random_columns_minutes([corpus, corpus], absent, [table], ["random"], 1),
        lambda: plan.components_mb(absent),
        lambda: plan.components_minutes(absent),
        lambda: plan.table_geometry_mb(absent, 2, 16),
        lambda: plan.table_geometry_minutes(absent, 2, 16),
        lambda: plan.table_comparison_mb(absent),
        lambda: plan.table_comparison_minutes(absent),
        lambda: plan.random_scoring_mb([corpus, corpus], absent, [128], "torch"),
        lambda: plan.random_scoring_minutes([corpus, absent], counts, [128], 1),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.filename == absent


def test_light_rules_grow_with_the_inputs_and_with_each_retry():
    class Inputs:
        size_mb = 2000

    assert plan.memory_mb(400, per_input=2)(None, Inputs) == 4400
    assert plan.minutes(5, per_gb=3)(None, Inputs) == 11
    assert plan.memory_mb(400)(None, None) == 400
    assert plan.memory_mb(400)(None, None, attempt=2) == 800
    assert plan.minutes(5)(None, None, attempt=3) == 15


def test_heavy_rules_ask_for_more_on_each_retry(tmp_path):
    listed, config = _files(tmp_path, "pythia-1b")
    assert plan.dump_mb(listed, config, {}, attempt=2) == pytest.approx(2 * plan.dump_mb(listed, config, {}), abs=2)
    once, twice = (plan.extraction_minutes(listed, config, _HUB, "full", attempt=attempt) for attempt in (1, 2))
    assert twice == pytest.approx(2 * once, abs=2)


@pytest.mark.parametrize(
    ("device", "visible", "present", "found"),
    [
        ("cpu", None, True, False),
        ("cuda", None, False, True),
        ("auto", None, True, True),
        ("auto", "0", True, True),
        ("auto", None, False, False),
        ("auto", "0", False, False),
        ("auto", "", True, False),
        ("auto", "-1", True, False),
        (None, None, True, False),
    ],
)
def test_a_gpu_is_asked_for_where_the_forward_pass_will_use_one(device, visible, present, found, monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("pathlib.Path.glob", lambda folder, pattern: iter(["/dev/nvidia0"] if present else []))
    listed, config = _files(tmp_path, "pythia-70m")
    assert plan.gpus(listed, config, {"device": device}) == int(found)
    assert passing_of({"device": device}).on_gpu == found


# -- what the numbers must be ----------------------------------------------------------------------------------------


def test_a_table_costs_its_bytes_over_the_network_and_not_the_checkpoint(tmp_path):
    row = _ROWS["pythia-1b"]
    files = [ListedFile("model.safetensors", "weights", 2 * int(row["n_params"]), None, True)]
    facts = model_facts(files, reference_config(row))
    tensor = 50304 * 2048 * 2
    assert tensor < cost.table_fetch_bytes(facts, "ranges") < tensor + 10**6
    assert cost.table_fetch_bytes(facts, "full") == files[0].size
    listed, config = _files(tmp_path, "pythia-1b")
    local, remote = (plan.extraction_disk_mb(listed, config, source, "ranges") for source in (_FOLDER, _HUB))
    assert remote - local == pytest.approx(tensor / 1e6, rel=0.01)
    assert plan.fetch_disk_mb(listed, config, _HUB) == -(-files[0].size // 10**6)
    assert plan.fetch_disk_mb(listed, config, _FOLDER) == 0


def test_a_table_is_never_larger_than_the_files_that_may_hold_it():
    shards = [ListedFile("a.safetensors", "weights", 10**6, None, True)]
    facts = model_facts(shards, {"vocab_size": 10**6, "hidden_size": 4096})
    assert cost.table_fetch_bytes(facts, "ranges") == 10**6


def test_extraction_of_the_widest_table_stays_under_four_gigabytes():
    assert cost.extraction_memory(250_880, 14_336) < 1e9
    assert cost.extraction_memory(250_880, 14_336) < 2 * cost.extraction_memory(250_880, 1024)


def test_a_forward_pass_holds_float32_weights_and_half_precision_ones_beside_them_while_it_loads(tmp_path):
    weights = 4 * int(_ROWS["opt-13b"]["n_params"]) / 1e6
    half = plan.dump_mb(*_files(tmp_path, "opt-13b"), {})
    full = plan.dump_mb(*_files(tmp_path, "opt-13b", value_bytes=4), {})
    assert half > 1.5 * weights
    assert weights < full < half


def test_output_matrix_is_not_loaded():
    row = _ROWS["pythia-1b"]
    files = [ListedFile("model.safetensors", "weights", 4 * int(row["n_params"]), None, True)]
    untied, tied = (
        model_facts(files, {**reference_config(row), "tie_word_embeddings": tied}) for tied in (False, True)
    )
    assert forward.loaded_bytes(untied, ON_GPU) == forward.loaded_bytes(tied, ON_GPU)


def test_forward_passes_take_two_operations_for_each_token_and_multiplied_parameter():
    row = _ROWS["opt-6.7b"]
    facts = model_facts([ListedFile("m", "weights", 2 * int(row["n_params"]), None, True)], reference_config(row))
    tokens, blocks = 10**5, 32 * 12 * 4096**2
    for passing, rate in ((ON_CPU, forward.CPU_FLOPS["float32"]), (ON_GPU, forward.GPU_FLOPS["float32"])):
        assert forward.compute_seconds(facts, tokens, passing) == pytest.approx(tokens * 2 * blocks / rate, rel=0.01)


def test_random_columns_hold_the_widest_random_table_once_for_all_models(tmp_path):
    texts = [_texts(tmp_path, "corpus", 5000), _texts(tmp_path, "queries", 100)]
    counts, pooled = _counts(tmp_path, 10), [_table(tmp_path, 8, 64)]

    def needed(tables, variant, generator="legacy_bf16"):
        return plan.random_columns_mb(texts, counts, tables, [variant], generator)

    narrow, wide = needed(pooled, "pad_128"), needed(pooled, "pad_14336")
    assert wide - narrow >= 4 * 5100 * (14336 - 128) / 1e6
    assert needed(pooled, "pad_128", "torch") > narrow
    two = needed(pooled * 2, "pad_14336")
    assert 8 * 100 * 5000 / 1e6 <= two - wide < 4 * 5100 * 14336 / 1e6
    assert plan.random_scoring_mb(texts, counts, [128, 14336], "legacy_bf16") <= wide


def test_variants_that_a_table_cannot_have_cost_nothing():
    assert variant_draws(["as_is", "crop_128", "pad_32", "random"], [64]) == {14336: 64}
    assert variant_draws(["as_is", "pad_32", "random"], [64, 16]) == {14336: 64, 32: 32}
    assert score_widths(["as_is", "crop_128", "crop_16", "pad_96", "random"], 64, n_seeds=2) == [64, 16, 96, 96, 64, 64]


def test_measuring_holds_two_layers_and_a_batch(tmp_path):
    path = tmp_path / "manifest.parquet"
    row = {"file": "x", "stack": "decoder", "after_final_norm": False, "context_free": False, "size": 1, "sha256": ""}
    rows = [{**row, "layer": layer, "n_rows": 10**5, "width": width} for layer, width in enumerate((64, 1000))]
    write_table(path, pa.Table.from_pylist(rows, schema=hidden_states.MANIFEST), hidden_states.MANIFEST)
    assert plan.measuring_mb(str(path), 2048) > 2 * 2 * 4 * 10**5 * 1000 / 1e6
    assert plan.measuring_minutes(str(path), 80, 4096, 1) > plan.measuring_minutes(str(path), 8, 4096, 1) > 0


# -- peers in the same test ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [768, 2048])
def test_memory_and_size_of_writing_a_table_are_right_within_a_factor_of_two(width, tmp_path, request):
    rows = 40_000
    peak = peak_bytes(
        f"""
import numpy as np
from pathlib import Path
from lm_geometry.embeddings.blocks import block_rows
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.table import write_embedding_table
random = np.random.default_rng(0)
size = block_rows({width})
bounds = [(start, min(start + size, {rows})) for start in range(0, {rows}, size)]
blocks = (round_to_bfloat16(random.random((stop - start, {width}), dtype=np.float32)) for start, stop in bounds)
write_embedding_table(Path({str(tmp_path / "table.parquet")!r}), blocks, ({rows}, {width}), ["token"] * {rows})
""",
        cwd=request.config.rootpath,
    )
    assert 0.5 < cost.extraction_memory(rows, width) / peak < 2
    assert 0.5 < cost.table_disk_bytes(rows, width, 2) / (tmp_path / "table.parquet").stat().st_size < 2


@pytest.mark.parametrize("value_bytes", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_memory_of_loading_a_model_is_right_within_a_factor_of_two(value_bytes, tmp_path, request, record_property):
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"vocab_size": 40_000, "hidden_size": 1024, "num_hidden_layers": 2, "intermediate_size": 4096}
    with torch.device("meta"):
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, num_attention_heads=8))
    model = model.to({2: torch.float16, 4: torch.float32}[value_bytes]).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.save_pretrained(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    facts = model_facts(
        [ListedFile("model.safetensors", "weights", size, None, True)],
        json.loads((tmp_path / "config.json").read_text()),
    )
    assert facts.value_bytes == value_bytes
    peak = peak_bytes(
        f"""
import numpy as np
from pathlib import Path
from lm_geometry.hidden_states import LayerModel
model = LayerModel(Path({str(tmp_path)!r}), device="cpu")
# A long text reads every page of the mapped table.
for start in range(0, 40_000, 256):
    model.states(np.arange(start, min(start + 256, 40_000))[None, ::8])
""",
        cwd=request.config.rootpath,
    )
    assert 0.5 < forward.forward_memory(facts) / peak < 2
    record_property("shown", f"planned {forward.forward_memory(facts) / peak:.2f} times the peak")


@pytest.mark.parametrize("name", ["falcon", "gpt-neox-20b", "roberta-base", "t5"])
def test_tokens_lie_between_those_of_plain_abstracts_and_of_markup(name, shared_data):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(shared_data / "tokenizers" / name / "tokenizer.json"))
    tokenizer.no_truncation()
    with (shared_data / "collections" / "cranfield" / "corpus.jsonl").open(encoding="utf-8", newline="\n") as stream:
        plain = " ".join(json.loads(line)["text"] for line in stream)[:200_000]
    with lzma.open(next((shared_data / "enwik8_prefix").glob("*.xz"))) as stream:
        markup = stream.read(200_000).decode(errors="ignore")
    fewest, most = (len(tokenizer.encode(text).ids) / len(text) for text in (plain, markup))
    assert fewest < forward.n_tokens(10**6, tokenizer.get_vocab_size()) / 10**6 < most

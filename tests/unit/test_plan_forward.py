"""What the plan says of forward passes: against accelerate's own placement, and against measured streams."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from peak_memory import peak_bytes

from lm_geometry import plan
from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.plan import cost, forward
from lm_geometry.plan.forward import ON_CPU
from lm_geometry.plan.model_facts import model_facts
from lm_geometry.plan.passing import ASSUMED_GPU_BYTES, ASSUMED_GPUS, Passing, passing_of
from lm_geometry.plan.reference_models import reference_config, reference_rows
from lm_geometry.tables import listing
from lm_geometry.tables.files import write_table

_ROWS = {row["model"]: row for row in reference_rows()}
_GB = 10**9
_LLAMA_405B = {
    "model_type": "llama",
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


def _config(model):
    return _LLAMA_405B if model == "405b" else reference_config(_ROWS[model])


def _facts(model, value_bytes=2, **config):
    n_params = 405_853_388_800 if model == "405b" else int(_ROWS[model]["n_params"])
    return model_facts(
        [ListedFile("model.safetensors", "weights", value_bytes * n_params, None, True)], {**_config(model), **config}
    )


def _gpu(memory, **changed):
    return Passing(**{"gpu_bytes": memory * _GB, "most_gpus": 40, **changed})


# -- GPUs --------------------------------------------------------------------------------------------------------------


def _gpus_of_accelerate(model, dtype, room, at_most):
    """Return how many GPUs with room for so many bytes accelerate needs, None if more."""
    from accelerate.utils import infer_auto_device_map

    for gpus in range(2, at_most + 1):
        memory = {**dict.fromkeys(range(gpus), room), "cpu": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = infer_auto_device_map(
                model, max_memory=memory, no_split_module_classes=model._no_split_modules, dtype=getattr(torch, dtype)
            )
        if not {"cpu", "disk"} & set(found.values()):
            return gpus
    return None


@pytest.mark.parametrize(
    ("model", "memory", "dtype"),
    [
        ("405b", 141, "bfloat16"),
        ("405b", 80, "bfloat16"),
        ("pythia-12b", 24, "float32"),
        ("pythia-12b", 24, "bfloat16"),
        ("pythia-12b", 40, "float32"),
        ("Llama-2-13b-hf", 24, "float32"),
        ("t5-v1_1-xxl", 24, "float32"),
    ],
)
def test_a_model_takes_as_many_gpus_as_accelerate_fills(model, memory, dtype, monkeypatch):
    """accelerate leaves out devices that are not here; but for that, its own placement of the empty model."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModel

    monkeypatch.setattr("accelerate.utils.modeling.get_max_memory", lambda max_memory: max_memory)
    config = _config(model)
    with init_empty_weights():
        empty = AutoModel.from_config(AutoConfig.for_model(**config))
    passing = _gpu(memory, dtype=dtype)
    found = forward.places(_facts(model), passing)
    assert (found.in_memory, found.on_disk) == (0, 0)
    room = round(0.8 * (memory * _GB - 600e6))
    assert found.gpus == _gpus_of_accelerate(empty, dtype, room, found.gpus)


def test_a_small_model_takes_one_gpu_and_none_without():
    assert forward.places(_facts("pythia-1b"), _gpu(24)) == (
        1,
        forward.loaded_bytes(_facts("pythia-1b"), _gpu(24)),
        0,
        0,
    )
    assert forward.places(_facts("pythia-1b"), ON_CPU)[:2] == (0, 0)


def test_what_the_gpus_do_not_hold_lies_in_memory_and_then_on_disk():
    facts = _facts("405b")
    eight = _gpu(80, dtype="bfloat16", most_gpus=8)
    weights = forward.loaded_bytes(facts, eight)
    held = forward.places(facts, eight)
    assert (held.gpus, held.on_disk) == (8, 0)
    assert sum(held[1:]) == weights
    assert 0.6 < held.on_gpus / (8 * 80 * _GB) < 0.8
    limited = forward.places(facts, replace(eight, cpu_weights=100 * _GB))
    assert (limited.on_gpus, limited.in_memory) == (held.on_gpus, 100 * _GB)
    assert sum(limited[1:]) == weights
    # Each pass brings them in: at 8,192 tokens a pass or less, thousands of seconds for a million tokens.
    assert forward.forward_seconds(facts, 10**6, replace(eight, cpu_weights=100 * _GB)) > forward.forward_seconds(
        facts, 10**6, eight
    )


def test_max_memory_of_a_gpu_is_what_its_weights_take():
    facts = _facts("pythia-12b")
    assert forward.places(facts, _gpu(80)).gpus == 1
    assert forward.places(facts, _gpu(80, gpu_weights=20 * _GB)).gpus == 3


def test_max_memory_of_a_cpu_leaves_the_rest_on_disk(tmp_path):
    facts = _facts("pythia-12b")
    limited = passing_of({"device": "cpu", "max_memory": {"cpu": "10GB"}})
    held = forward.places(facts, limited)
    block = 4 * 12 * 5120**2  # kept free for the one that is brought in
    assert 10 * _GB - 2.2 * block < held.in_memory <= 10 * _GB - block
    assert held.in_memory + held.on_disk == forward.loaded_bytes(facts, ON_CPU)
    assert forward.forward_memory(_facts("pythia-12b", 4), limited) < 16 * _GB
    slower = forward.forward_seconds(facts, 10**5, limited) - forward.forward_seconds(facts, 10**5, ON_CPU)
    assert slower == pytest.approx(-(-(10**5) // 2048) * held.on_disk / 300e6)
    listed, config = _files(tmp_path, "pythia-12b")
    settings = {"device": "cpu", "max_memory": {"cpu": "10GB"}}
    assert plan.stream_disk_mb(listed, config, settings) == -(-held.on_disk // 10**6)
    more = plan.dump_disk_mb(listed, config, 10**5, settings) - plan.dump_disk_mb(listed, config, 10**5, {})
    assert more == pytest.approx(held.on_disk / 1e6, abs=1)


# -- what the config says ----------------------------------------------------------------------------------------------


def test_settings_of_the_config_are_reckoned_with(monkeypatch):
    monkeypatch.setattr("lm_geometry.plan.passing.gpu_memory", lambda: 24 * _GB)
    monkeypatch.setattr("lm_geometry.plan.passing.visible_gpus", lambda: ["0", "1"])
    settings = {"device": "auto", "dtype": "bfloat16", "batch_tokens": 512, "threads": 4}
    found = passing_of({**settings, "max_memory": {"gpu": "1.5GB", "cpu": "2GiB"}, "gpus": None})
    assert found == Passing("bfloat16", 512, 4, 24 * _GB, 2, 15 * 10**8, 2**31)
    of_cluster = passing_of({"device": "cuda", "gpus": {"memory": "40GB", "count": 4}})
    assert (of_cluster.gpu_bytes, of_cluster.most_gpus) == (40 * _GB, 4)
    assert passing_of({"device": "cpu", "max_memory": {"gpu": "1GB"}}) == replace(ON_CPU, most_gpus=2)


def test_gpus_that_nobody_knows_are_assumed(monkeypatch):
    monkeypatch.setattr("lm_geometry.plan.passing.gpu_memory", lambda: None)
    monkeypatch.setattr("lm_geometry.plan.passing.visible_gpus", list)
    found = passing_of({"device": "cuda"})
    assert (found.gpu_bytes, found.most_gpus) == (ASSUMED_GPU_BYTES, ASSUMED_GPUS)


def test_half_precision_takes_half_the_weights_and_no_copy_where_files_hold_the_same():
    loaded = _facts("opt-13b").parameters.loaded
    half = replace(ON_CPU, dtype="float16", batch_tokens=64)
    same, other = (
        forward.forward_memory(_facts("opt-13b", torch_dtype=name), half) for name in ("float16", "bfloat16")
    )
    assert 2 * loaded < same < 2.2 * loaded
    assert other == pytest.approx(4 * loaded, rel=0.05)
    # What the files hold is believed no more than their size bears out.
    assert _facts("opt-13b", 4, torch_dtype="float16").stored_dtype == "float32"
    assert _facts("opt-13b", 2, torch_dtype="float32").stored_dtype == ""


def test_states_of_half_precision_stand_beside_their_copies_in_float32():
    """Per token and layer 2 + 4 bytes a component, where float32 has 4."""
    facts = _facts("pythia-1b")
    states = 2048 * facts.n_states * facts.hidden_width
    blocks = 2048 * (8 * facts.hidden_width + 3 * facts.inner_width)
    full, half = (forward.activation_bytes(facts, replace(ON_CPU, dtype=name)) for name in ("float32", "bfloat16"))
    assert full - half == pytest.approx(2 * (4 - 6) * states + 2 * 2 * blocks)


def test_larger_passes_take_more_memory_and_more_threads_less_time():
    facts = _facts("pythia-1b", 4)
    large = replace(ON_CPU, batch_tokens=8192)
    per_token = 4 * (facts.hidden_width * (facts.n_states + 8) + 3 * facts.inner_width)
    grown = forward.forward_memory(facts, large) - forward.forward_memory(facts, ON_CPU)
    assert grown == pytest.approx(6144 * (2 * per_token + 4 * facts.n_states * facts.hidden_width))
    one, four = (forward.forward_seconds(facts, 10**6, replace(ON_CPU, threads=threads)) for threads in (1, 4))
    assert one / 4 < four < one / 3
    assert cost.geometry_seconds(8, 8, 4096, 512, tokens=10**5, threads=4) < 0.3 * cost.geometry_seconds(
        8, 8, 4096, 512, tokens=10**5
    )


def test_a_pass_on_a_gpu_is_as_large_as_fits():
    facts = _facts("pythia-1b")
    assert forward.pass_tokens(facts, _gpu(80)) == 16_384
    assert forward.pass_tokens(facts, _gpu(80, batch_tokens=100)) == 100
    small = forward.pass_tokens(facts, _gpu(6))
    assert small < 16_384
    assert small.bit_count() == 1
    free = 6 * _GB - 600e6 - forward.loaded_bytes(facts, _gpu(6))
    assert small * forward._token_bytes(facts, _gpu(6)) <= 0.5 * free < 2 * small * forward._token_bytes(facts, _gpu(6))


def test_of_a_gpus_passes_the_states_come_to_memory():
    """Whole, and of two passes: one is written while the next one runs."""
    facts = _facts("opt-13b", torch_dtype="bfloat16")
    states = 4 * 16_384 * facts.n_states * facts.hidden_width
    small = forward.forward_memory(facts, _gpu(141, dtype="bfloat16", batch_tokens=64))
    assert small < forward.forward_memory(facts, _gpu(141, dtype="bfloat16", batch_tokens=16_384))
    assert forward.forward_memory(facts, _gpu(141, dtype="bfloat16", batch_tokens=16_384)) > 2 * states


# -- measuring while the model runs ------------------------------------------------------------------------------------


def test_layers_that_no_gpu_holds_are_held_in_memory_and_measured_there():
    facts = _facts("405b")
    eight = _gpu(141, dtype="bfloat16", most_gpus=8)
    held = forward.held_of_all_layers(facts, 512, 4096)
    matrices = 128 * 8 * 16384**2
    assert matrices < held < 2.5 * matrices
    on_gpus = forward.held_on_gpus(facts, 512, 4096, eight)
    assert 0 < on_gpus < held
    without = forward.forward_memory(facts, eight)
    assert forward.streaming_memory(facts, 512, 4096, eight) - without > held - on_gpus
    small = _facts("pythia-1b")
    assert forward.held_on_gpus(small, 512, 4096, _gpu(80)) == forward.held_of_all_layers(small, 512, 4096)
    on_gpu, on_cpu = (forward.streaming_seconds(small, 10**5, 512, 8, 4096, one) for one in (_gpu(80), ON_CPU))
    assert on_gpu < on_cpu / 10
    assert forward.held_on_gpus(small, 512, 4096, ON_CPU) == 0


_STREAM = """
import sys
import time
from pathlib import Path
import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXModel
from lm_geometry.geometry.layers import Settings
from lm_geometry.hidden_states import LayerModel, TokenSequence
from lm_geometry.hidden_states.passes import ForwardPasses
from lm_geometry.hidden_states.streaming import measure_while_running
torch.set_num_threads(1)
folder = Path(sys.argv[1])
sizes = {"hidden_size": 384, "num_hidden_layers": 8, "intermediate_size": 1536, "num_attention_heads": 8}
GPTNeoXModel(GPTNeoXConfig(vocab_size=8000, **sizes)).save_pretrained(folder)
ids = np.minimum(np.random.default_rng(0).zipf(1.2, (64, 64)), 8000).astype(np.int32) - 1
sequences = [TokenSequence(chunk, row, np.zeros(64, bool), truncated=False) for chunk, row in enumerate(ids)]
passes = ForwardPasses(LayerModel(folder, device="cpu"), 512)
start = time.process_time()
for passed in passes.over(sequences):
    pass
del passed
passed_at = time.process_time()
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
measure_while_running(passes, sequences, Settings(1, 1500, 1e-5, 0))
seconds = time.process_time() - passed_at - (passed_at - start)
(folder / "passes").write_text(f"{peak} {seconds}")
"""


@pytest.mark.slow
def test_memory_and_time_of_a_stream_are_right_beside_those_of_its_passes(tmp_path, request, record_property):
    """The difference, for the passes alone are most of a small stream's memory."""
    streamed = peak_bytes(_STREAM, str(tmp_path), cwd=request.config.rootpath)
    passes_alone, seconds = map(float, (tmp_path / "passes").read_text().split())
    size = (tmp_path / "model.safetensors").stat().st_size
    facts = model_facts(
        [ListedFile("model.safetensors", "weights", size, None, True)],
        json.loads((tmp_path / "config.json").read_text()),
    )
    small = Passing(batch_tokens=512)
    planned = forward.streaming_memory(facts, 64, 1500, small) - forward.forward_memory(facts, small)
    assert 0.5 < planned / (streamed - passes_alone) < 2
    assert 0.8 < forward.streaming_memory(facts, 64, 1500, small) / streamed < 1.3
    # A busy machine takes half as long again.
    planned_seconds = forward.streaming_seconds(facts, 64 * 64, 64, 1, 1500, small)
    assert 0.4 < planned_seconds / seconds < 2
    memory = planned / (streamed - passes_alone)
    record_property("shown", f"planned memory {memory:.2f}, time {planned_seconds / seconds:.2f} of the measured")


def _files(tmp_path, model):
    listed, config = tmp_path / "listing.parquet", tmp_path / "config.json"
    files = [ListedFile("model.safetensors", "weights", 2 * int(_ROWS[model]["n_params"]), None, True)]
    write_table(listed, listing_table(files), listing.SCHEMA)
    config.write_text(json.dumps(_config(model)))
    return str(listed), str(config)


def test_a_streaming_job_asks_for_its_passes_and_its_measures(tmp_path):
    listed, config = _files(tmp_path, "pythia-1b")
    eight, sixteen = (plan.stream_minutes(listed, config, 512 * 512, 512, n, 4096, {}) for n in (8, 16))
    # 18 layers of 4,096 x 2,048, more than 6 s a batch.
    assert sixteen - eight >= 18 * 8 * 6 / 60
    assert eight >= 18 * 8 * 6 / 60
    assert plan.stream_mb(listed, config, 512, 4096, {}) > plan.dump_mb(listed, config, {}) + 18 * 8 * 4096 * 2048 / 1e6

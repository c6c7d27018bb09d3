"""Hidden states of every family against transformers' own, and the dump's files."""

import json
import logging
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import (
    FAMILIES,
    VOCAB_ROWS,
    build_model,
    build_text_and_image_model,
    save_bin,
    save_safetensors,
    save_tokenizer,
)
from tiny_run import Run

from lm_geometry import provenance
from lm_geometry.hidden_states import (
    LayerKey,
    LayerModel,
    TokenSequence,
    equal_length_batches,
    listed_checkpoint,
    model_kind,
    passes,
    placement,
    tokenize_chunks,
)
from lm_geometry.hidden_states.layer_files import LayerFiles, file_name, open_layer_files
from lm_geometry.hidden_states.listed_checkpoint import open_model
from lm_geometry.hidden_states.passes import ForwardPasses, Pass, fitting_batch_tokens, refuse_non_finite
from lm_geometry.hidden_states.placement import spread_over
from lm_geometry.tables.files import file_sha256, read_table
from lm_geometry.tables.schema import vector_matrix

IDS = np.random.default_rng(0).integers(5, VOCAB_ROWS, size=(3, 11)).astype(np.int32)


def plain_pass(model, ids):
    """Return transformers' own hidden states per stack, and the output of each stack's last block."""
    model = model.base_model
    facts = FAMILIES[family_of(model)]
    taken = {}

    def keep(stack):
        def hook(_module, _inputs, output):
            taken[stack] = output[0] if isinstance(output, tuple) else output

        return hook

    for stack, path in facts.blocks.items():
        if path is not None:
            model.get_submodule(path)[-1].register_forward_hook(keep(stack))
    tokens = torch.from_numpy(ids.astype(np.int64))
    inputs = {"input_ids": tokens}
    if facts.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = tokens
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    if facts.kind == "encoder-decoder":
        return {stack: output[f"{stack}_hidden_states"] for stack in facts.blocks}, taken
    return {facts.kind: output.hidden_states}, taken


def family_of(model):
    if model.config.model_type == "opt" and not model.config.do_layer_norm_before:
        return "opt_350m"
    return model.config.model_type


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_layers_are_transformers_own_and_the_norm_is_told_apart(tmp_path, family):
    facts = FAMILIES[family]
    model = build_model(family)
    layers = LayerModel(save_safetensors(model, tmp_path), device="cpu")
    assert layers.kind == facts.kind
    states = layers.states(IDS)
    expected, last_blocks = plain_pass(model, IDS)
    keys = set()
    for stack, theirs in expected.items():
        last = len(theirs) - 1
        for layer, state in enumerate(theirs):
            after = layer == last and facts.final_norm[stack] is not None
            keys.add(LayerKey(stack, layer, after))
            assert torch.equal(states[LayerKey(stack, layer, after)], state)
        if facts.final_norm[stack] is not None:
            keys.add(LayerKey(stack, last, False))
            before = states[LayerKey(stack, last, False)]
            assert torch.equal(before, last_blocks[stack])
            norm = model.base_model.get_submodule(facts.final_norm[stack])
            with torch.no_grad():
                assert torch.equal(norm(before.clone()), theirs[-1])
            assert not torch.equal(before, theirs[-1])
    assert set(states) == keys


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_length_that_a_model_takes_is_known(tmp_path, family):
    layers = LayerModel(save_safetensors(build_model(family), tmp_path), device="cpu")
    assert layers.max_length == (None if family in ("t5", "bloom") else 24)
    ids = np.resize(IDS, (1, layers.max_length or 40))
    assert all(torch.isfinite(state).all() for state in layers.states(ids).values())


def test_a_batch_is_the_plain_pass_over_the_same_tokens(tmp_path):
    model = build_model("gpt_neox")
    layers = LayerModel(save_safetensors(model, tmp_path), device="cpu")
    layers.states(IDS[:, :5])
    again = layers.states(IDS)
    for key, state in layers.states(IDS).items():
        assert torch.equal(state, again[key])


def test_a_checkpoint_without_all_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_safetensors(build_model("llama"), tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors of LlamaModel, first layers\.1\.mlp\.up_proj\.weight"):
        LayerModel(folder, device="cpu")


def test_a_projection_behind_the_final_norm_is_refused(tmp_path):
    import transformers

    config = transformers.OPTConfig(
        vocab_size=VOCAB_ROWS,
        hidden_size=16,
        word_embed_proj_dim=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
    )
    layers = LayerModel(save_safetensors(transformers.OPTForCausalLM(config), tmp_path), device="cpu")
    with pytest.raises(ValueError, match=r"decoder\.final_layer_norm runs after the last block, but its output"):
        layers.states(IDS)


def test_kinds():
    import transformers

    assert model_kind(transformers.BertConfig()) == "encoder"
    assert model_kind(transformers.BertConfig(is_decoder=True)) == "decoder"
    assert model_kind(transformers.T5Config()) == "encoder-decoder"
    with pytest.raises(ValueError, match=r"model_type 'vit' of config\.json is neither"):
        model_kind(transformers.ViTConfig())


def sequence(chunk, length):
    return TokenSequence(chunk, np.zeros(length, np.int32), np.zeros(length, bool), truncated=False)


def test_batches_hold_one_length_and_every_chunk_once():
    lengths = np.random.default_rng(1).integers(1, 9, size=60)
    batches = list(equal_length_batches([sequence(chunk, n) for chunk, n in enumerate(lengths)], batch_tokens=16))
    for batch in batches:
        assert len({len(item.ids) for item in batch}) == 1
        assert sum(len(item.ids) for item in batch) <= 16
    assert sorted(item.chunk for batch in batches for item in batch) == list(range(60))
    assert len(list(equal_length_batches([sequence(0, 40)], batch_tokens=16))) == 1


def test_tokens_come_with_their_special_ones_and_long_texts_are_cut_inside_them(tmp_path):
    tokenizer = save_tokenizer(tmp_path) / "tokenizer.json"
    texts = ["the cat sat on", "cat", ""]
    whole = tokenize_chunks(tokenizer, [7, 8, 9], texts, None)
    assert [found.chunk for found in whole] == [7, 8, 9]
    assert whole[0].ids.tolist() == [3, 5, 6, 7, 8, 4]
    assert whole[0].special.tolist() == [True, False, False, False, False, True]
    assert not any(found.truncated for found in whole)
    cut = tokenize_chunks(tokenizer, [7, 8, 9], texts, 4)
    assert cut[0].ids.tolist() == [3, 5, 6, 4]
    assert [found.truncated for found in cut] == [True, False, False]
    bare = tokenize_chunks(save_tokenizer(tmp_path, special=False) / "tokenizer.json", [7, 8, 9], texts, None)
    assert [found.chunk for found in bare] == [7, 8]


@pytest.mark.parametrize("family", ["gpt_neox", "opt_350m", "t5", "bert"])
def test_the_dump_holds_every_token_at_every_layer(tmp_path, family):
    run = Run(tmp_path, family, save_bin if family == "t5" else save_safetensors)
    manifest = run.dump()
    facts = FAMILIES[family]
    tokens = tokenize_chunks(run.tokenizer, range(len(run.texts)), run.texts, None)
    n_tokens = sum(len(found.ids) for found in tokens)
    assert {row["file"] for row in manifest} == {path.name for path in (tmp_path / "layers").iterdir()}
    expected, _ = plain_pass(run.model, tokens[5].ids[None])
    first_columns = None
    for row in manifest:
        path = tmp_path / "layers" / row["file"]
        assert (row["size"], row["sha256"]) == (path.stat().st_size, file_sha256(path))
        assert row["n_rows"] == n_tokens
        assert row["context_free"] == (row["layer"] == 0 and facts.context_free)
        layer = read_table(path)
        columns = layer.drop_columns("vector")
        first_columns = first_columns or columns
        assert columns.equals(first_columns)
        vectors = vector_matrix(layer["vector"])
        assert vectors.shape == (n_tokens, row["width"])
        last = row["layer"] == len(expected[row["stack"]]) - 1
        if last and facts.final_norm[row["stack"]] is not None and not row["after_final_norm"]:
            continue
        rows = np.flatnonzero(layer["chunk"].to_numpy() == 5)
        np.testing.assert_allclose(vectors[rows], expected[row["stack"]][row["layer"]][0].numpy(), rtol=1e-4, atol=1e-5)
    layer = first_columns.to_pandas().sort_values(["chunk", "position"])
    assert layer["token_id"].tolist() == [int(token) for found in tokens for token in found.ids]
    assert layer["special"].tolist() == [bool(flag) for found in tokens for flag in found.special]


def test_the_dump_tells_what_made_it_and_the_same_run_gives_the_same_bytes(tmp_path):
    run = Run(tmp_path)
    first, second = run.dump("first"), run.dump("second")
    assert first == second
    facts = provenance.read(tmp_path / "first.parquet")
    assert facts["settings"] == {
        "kind": "decoder",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "batch_tokens": 2048,
        "model_id": "mine",
        "revision": "main",
        "chunks": {"seed": 3},
    }
    assert facts["origin"]["corpus_sha256"] == "c0"
    assert facts["origin"]["tokenizer_commit"] == "t0"
    assert facts["origin"]["model_id"] == "mine"
    assert provenance.read(tmp_path / "first" / first[0]["file"]) == facts
    assert str(tmp_path) not in json.dumps(facts)
    assert run.dump("first") == first
    assert not list(tmp_path.glob(".*"))


def test_chunks_that_are_too_long_are_cut_and_counted(tmp_path, caplog):
    run = Run(tmp_path, texts=["the cat " * 20, "the dog"])
    manifest = run.dump()
    assert manifest[0]["n_rows"] == 24 + 4
    assert "1 of 2 chunks are longer than the model's 24 positions and were cut" in caplog.text


def test_a_state_that_is_no_number_is_named(tmp_path):
    model = build_model("gpt_neox")
    with torch.no_grad():
        model.get_input_embeddings().weight[6, 3] = float("nan")
    run = Run(tmp_path, model=model, texts=["the dog", "the cat"])
    with pytest.raises(
        ValueError, match=r"decoder layer 0: a hidden state is NaN or infinite, first at chunk 1, position 2"
    ):
        run.dump()
    assert not (tmp_path / "layers").exists()
    assert not (tmp_path / "layers.parquet").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_that_changed_is_refused_before_it_runs(tmp_path):
    run = Run(tmp_path)
    save_safetensors(build_model("gpt_neox", seed=1), run.source)
    with pytest.raises(ValueError, match=r"model\.safetensors: sha256 .* was listed"):
        run.dump()


def test_a_foreign_tokenizer_and_an_empty_corpus_are_refused(tmp_path):
    import transformers

    config = transformers.GPTNeoXConfig(vocab_size=6, **FAMILIES["gpt_neox"].settings)
    small = transformers.GPTNeoXForCausalLM(config)
    run = Run(tmp_path / "foreign", model=small, texts=["the cat"])
    with pytest.raises(ValueError, match="gives token id 6, but the model's embedding table has 6 rows"):
        run.dump()
    with pytest.raises(ValueError, match="no token in any of 0 chunks"):
        Run(tmp_path / "empty", texts=[]).dump()


def test_a_real_model(shared_data):
    folder = shared_data / "models" / "stories260K"
    from transformers import AutoModelForCausalLM

    layers = LayerModel(folder, device="cpu")
    text = "Once upon a time, there was a little girl named Lily."
    found = tokenize_chunks(folder / "tokenizer.json", [0], [text], layers.max_length)[0]
    assert found.ids.tolist() == [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426]
    assert found.special.tolist() == [True] + [False] * 15
    states = layers.states(found.ids[None])
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(found.ids[None].astype(np.int64)), output_hidden_states=True).hidden_states
    assert len(theirs) == 6
    for layer, state in enumerate(theirs):
        assert torch.equal(states[LayerKey("decoder", layer, layer == 5)], state)


@pytest.mark.parametrize(("save", "name"), [(save_safetensors, "model.safetensors"), (save_bin, "pytorch_model.bin")])
def test_weights_that_are_cut_short_are_one_line(save, name, tmp_path):
    save(build_model("gpt_neox"), tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"the weights cannot be loaded \(.*\); is the file whole\?"):
        LayerModel(tmp_path, device="cpu", safetensors=name.endswith(".safetensors"))


def test_code_that_comes_with_a_model_runs_only_if_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    ran = tmp_path / "ran"
    folder = save_safetensors(build_model("llama", head=False), tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    auto_map["AutoModelForCausalLM"] = "own_code.OwnModel"
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto_map}))
    (folder / "own_code.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaModel\n"
        f"Path({str(ran)!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(ValueError, match=r"'own' is Python code .* set `trust_remote_code: true`"):
        LayerModel(folder, device="cpu")
    # A type that transformers knows, with the same line in config.json: nobody needs the code.
    named = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto_map}))
    plain = LayerModel(folder, device="cpu").states(IDS)
    assert not ran.exists()
    (folder / "config.json").write_text(named)
    trusted = LayerModel(folder, device="cpu", trust_remote_code=True)
    assert ran.exists()
    assert trusted.kind == "decoder"
    for key, states in trusted.states(IDS).items():
        assert torch.equal(states, plain[key])


def test_a_pickle_with_more_than_tensors_is_refused_and_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    folder = save_bin(build_model("gpt_neox"), tmp_path / "mine")
    torch.save({"gpt_neox.embed_in.weight": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded") as refused:
        LayerModel(folder, device="cpu", safetensors=False)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


# -- larger than the device --------------------------------------------------------------------------------------------


def half_of(model):
    """Return half the bytes of a model's weights in float32."""
    return 2 * sum(weight.numel() for weight in model.base_model.parameters())


@pytest.mark.parametrize(
    ("family", "save", "room"),
    [
        ("gpt_neox", save_safetensors, None),
        ("t5", save_bin, None),
        ("t5", save_safetensors, None),
        ("bert", save_safetensors, 1000),
        ("albert", save_safetensors, 1000),
        ("opt", save_safetensors, None),
        ("gemma3_text", save_safetensors, None),
    ],
)
def test_a_model_that_is_read_from_disk_while_it_runs_gives_the_same_bits(tmp_path, caplog, family, save, room):
    model = build_model(family)
    folder = save(model, tmp_path / "mine")
    facts = {"files": sorted(path.name for path in folder.iterdir()), "safetensors": save is save_safetensors}
    plain = LayerModel(folder, device="cpu", **facts).states(IDS)
    room = {"cpu": room or half_of(model)}
    with LayerModel(folder, device="cpu", max_memory=room, offload_dir=tmp_path / "offload", **facts) as spread:
        assert spread.reads_files
        assert len(list((tmp_path / "offload").iterdir())) == 1
        for _ in range(2):
            states = spread.states(IDS)
            assert states.keys() == plain.keys()
            assert all(torch.equal(states[key], plain[key]) for key in plain)
    assert "is spread over cpu" in caplog.text
    assert list((tmp_path / "offload").iterdir()) == []


def test_a_model_that_fits_is_not_spread(tmp_path):
    model = build_model("gpt_neox")
    folder = save_safetensors(model, tmp_path / "mine")
    layers = LayerModel(folder, device="cpu", max_memory={"cpu": 2 * half_of(model)}, offload_dir=tmp_path / "offload")
    assert not layers.reads_files
    assert not (tmp_path / "offload").exists()


def test_room_for_weights_is_what_is_given_or_most_of_what_is_free(monkeypatch):
    monkeypatch.setattr(placement, "available_memory", lambda: 1000)
    assert spread_over(800, "cpu", None) is None
    assert spread_over(801, "cpu", None) == {"cpu": 800}
    assert spread_over(2001, "cpu", {"cpu": "2KB", "gpu": "5GB"}) == {"cpu": 2000}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (500 * (gpu + 1), 9999))
    assert spread_over(400, "cuda", None) is None
    assert list(spread_over(401, "cuda", None).items()) == [(0, 400), (1, 800), ("cpu", 800)]
    assert list(spread_over(41, "cuda", {"cpu": 7, "gpu": 40}).items()) == [(0, 40), (1, 40), ("cpu", 7)]
    with pytest.raises(ValueError, match="max_memory: the device is cuda, but it does not name gpu"):
        spread_over(1, "cuda", {"cpu": 50})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"disk": "1GB"}, "'disk' is neither cpu nor gpu"),
        ({"cpu": "much"}, "cpu: 'much' is no size"),
        ({"gpu": "1GB"}, "the device is cpu, but it does not name cpu"),
    ],
)
def test_a_max_memory_that_cannot_be_is_refused(tmp_path, asked, message):
    folder = save_safetensors(build_model("gpt_neox"), tmp_path)
    with pytest.raises(ValueError, match=f"max_memory: {message}"):
        LayerModel(folder, device="cpu", max_memory=asked)


def test_devices_and_types_that_are_not_here_are_refused(tmp_path):
    with pytest.raises(ValueError, match="device: 'tpu' is not one of auto, cpu, cuda"):
        LayerModel(tmp_path, device="tpu")
    with pytest.raises(ValueError, match="dtype: 'int8' is not one of float32, bfloat16, float16"):
        LayerModel(tmp_path, device="cpu", dtype="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_cuda_without_a_gpu_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="torch sees no CUDA device here; set `device: auto` or cpu"):
        LayerModel(tmp_path, device="cuda")
    assert placement.resolve_device("auto") == "cpu"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_transformers_own_handed_out_as_float32_and_flagged(tmp_path, caplog, dtype):
    from transformers import AutoModel

    run = Run(tmp_path)
    with LayerModel(run.source, device="cpu", dtype=dtype) as layers:
        states = layers.states(IDS)
    assert f"the model runs in {dtype}" in caplog.text
    model = AutoModel.from_pretrained(run.source, dtype=getattr(torch, dtype), local_files_only=True).eval()
    with torch.no_grad():
        theirs = model(torch.from_numpy(IDS.astype(np.int64)), output_hidden_states=True).hidden_states
    for layer, state in enumerate(theirs):
        ours = states[LayerKey("decoder", layer, layer == 3)]
        assert ours.dtype == torch.float32
        assert torch.equal(ours, state.float())
    run.dump(dtype=dtype)
    assert provenance.read(tmp_path / "layers.parquet")["settings"]["dtype"] == dtype


def test_a_dump_from_disk_is_the_dump_and_leaves_nothing_in_the_cache(tmp_path):
    run = Run(tmp_path)
    room = {"cpu": half_of(run.model)}
    plain, spread = run.dump("plain"), run.dump("spread", max_memory=room, cache_dir=str(tmp_path / "cache"))
    assert [row["sha256"] for row in plain] == [row["sha256"] for row in spread]
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("spread", [False, True])
def test_files_in_the_cache_are_held_as_long_as_they_are_read(tmp_path, monkeypatch, spread):
    run = Run(tmp_path)
    events = []

    @contextmanager
    def lock():
        events.append("held")
        yield
        events.append("free")

    cached = SimpleNamespace(lock=lock, fetch=lambda files: None, folder=run.source)
    monkeypatch.setattr(listed_checkpoint, "_cached", lambda *_: cached)
    settings = {"device": "cpu", "dtype": "float32", "cache_dir": str(tmp_path), "trust_remote_code": False}
    room = {"cpu": half_of(run.model)} if spread else None
    with open_model(tmp_path / "checkpoint.parquet", max_memory=room, **settings) as model:
        assert model.reads_files == spread
        events.append("runs")
    assert events == (["held", "runs", "free"] if spread else ["held", "free", "runs"])


# -- batches that fit --------------------------------------------------------------------------------------------------


class SmallMemory:
    """A model whose passes fit into memory up to so many tokens; larger ones end as the allocator ends them."""

    device = "cpu"
    dtype = "float32"

    def __init__(self, tokens):
        self.tokens = tokens
        self.ran = []

    def states(self, ids):
        if ids.size > self.tokens:
            torch.empty(2**60)
        self.ran.append(ids.shape)
        return {LayerKey("decoder", 0, False): torch.from_numpy(ids[..., None].astype(np.float32))}


def numbered(chunk, length):
    ids = 100 * chunk + np.arange(length, dtype=np.int32)
    return TokenSequence(chunk, ids, np.zeros(length, bool), truncated=False)


def tokens_of(found):
    return np.concatenate([passed.states[LayerKey("decoder", 0, False)].numpy().ravel() for passed in found])


def test_a_batch_that_does_not_fit_is_halved_and_the_order_of_tokens_stays(caplog):
    sequences = [numbered(chunk, 5 + chunk % 2) for chunk in range(20)]
    small = SmallMemory(13)
    halving = ForwardPasses(small, 64)
    found = list(halving.over(sequences))
    assert np.array_equal(tokens_of(found), tokens_of(ForwardPasses(SmallMemory(10**6), 64).over(sequences)))
    assert "a batch of 50 tokens does not fit, going on with 25" in caplog.text
    assert [shape for shape in small.ran if shape[1] == 5] == [(2, 5)] * 5
    assert halving.batch_tokens == 10
    list(halving.over(sequences))  # what was learnt holds for the next group of chunks
    assert caplog.text.count("does not fit") == 2


def test_a_single_sequence_that_does_not_fit_says_what_to_change():
    with pytest.raises(ValueError, match=r"chunk 7: its 14 tokens do not fit into the memory of cpu .*make chunks sho"):
        list(ForwardPasses(SmallMemory(13), 64).over([numbered(chunk, 14) for chunk in (7, 8, 9)]))


def test_other_errors_of_a_pass_are_not_taken_for_memory(monkeypatch):
    model = SmallMemory(100)
    monkeypatch.setattr(model, "states", lambda ids: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        list(ForwardPasses(model, 64).over([numbered(0, 3), numbered(1, 3)]))


def test_the_batch_is_what_free_memory_holds_and_no_more_than_is_of_use(monkeypatch):
    sequences = [numbered(chunk, length) for chunk, length in enumerate((3, 8, 5))]
    model = SmallMemory(10**6)
    per_token = 2 * 4 * (1 + 20)  # a state of one component, and 20 such of activations, twice
    monkeypatch.setattr(passes, "available_memory", lambda: 10**12)
    assert fitting_batch_tokens(model, sequences) == 2048
    monkeypatch.setattr(passes, "available_memory", lambda: 2 * 300 * per_token)
    assert fitting_batch_tokens(model, sequences) == 256
    monkeypatch.setattr(passes, "available_memory", lambda: 1)
    assert fitting_batch_tokens(model, sequences) == 1
    assert model.ran == [(1, 8)] * 3


def test_large_numbers_are_numbers():
    key, batch = LayerKey("decoder", 4, False), [numbered(6, 3), numbered(7, 3)]
    states = torch.full((2, 3, 5), 3e38)
    refuse_non_finite(states, key, batch, "float32")
    states[1, 2, 4] = -torch.inf
    with pytest.raises(ValueError, match=r"decoder layer 4: .* first at chunk 7, position 2; .* overflows float16"):
        refuse_non_finite(states, key, batch, "float16")


# -- writing in the background -----------------------------------------------------------------------------------------


def passes_of(model, n_passes):
    return [Pass([numbered(chunk, 4)], model.states(numbered(chunk, 4).ids[None])) for chunk in range(n_passes)]


def test_an_error_of_the_writing_is_the_runs_and_leaves_nothing(tmp_path, monkeypatch):
    run = Run(tmp_path)
    write = LayerFiles._write

    def fail(self, key, tokens, values):
        if key.layer == 2:
            raise OSError("no space left")
        write(self, key, tokens, values)

    monkeypatch.setattr(LayerFiles, "_write", fail)
    with pytest.raises(OSError, match="no space left"):
        run.dump()
    # Also where it was the last pass, after which nothing is handed over.
    with pytest.raises(OSError, match="no space left"), open_layer_files(tmp_path / "alone", {}, 1) as layers:
        (passed,) = passes_of(SmallMemory(100), 1)
        layers.write(passed._replace(states={LayerKey("decoder", 2, False): torch.ones(1, 4, 3)}))
    assert not (tmp_path / "layers").exists()
    assert list((tmp_path / "alone").iterdir()) == []
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    run = Run(tmp_path)
    states, calls = LayerModel.states, []

    def interrupted(self, ids):
        calls.append(ids)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return states(self, ids)

    monkeypatch.setattr(LayerModel, "states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.dump()
    assert not (tmp_path / "layers").exists()
    assert not (tmp_path / "layers.parquet").exists()
    assert not list(tmp_path.glob(".*"))


def test_one_pass_waits_to_be_written_and_no_more(tmp_path, monkeypatch):
    write, may_write, handed = LayerFiles._write, threading.Event(), []

    def slow(self, *arguments):
        assert may_write.wait(timeout=5)
        write(self, *arguments)

    monkeypatch.setattr(LayerFiles, "_write", slow)
    first, second = passes_of(SmallMemory(100), 2)

    def hand_over(layers):
        layers.write(second)
        handed.append(second)

    with open_layer_files(tmp_path, {}, 1) as layers:
        layers.write(first)  # at once, though nothing can be written yet
        other = threading.Thread(target=hand_over, args=(layers,))
        other.start()
        other.join(timeout=0.2)
        assert handed == []
        may_write.set()
        other.join(timeout=5)
        assert handed == [second]
    rows = read_table(tmp_path / file_name(LayerKey("decoder", 0, False)))
    assert rows["token_id"].to_pylist() == [0, 1, 2, 3, 100, 101, 102, 103]


# -- models that are more than a text model ----------------------------------------------------------------------------


def test_of_a_model_that_reads_images_too_the_text_model_runs_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="lm_geometry")
    model = build_text_and_image_model()
    layers = LayerModel(save_safetensors(model, tmp_path), device="cpu")
    assert layers.kind == "decoder"
    assert "model_type 'gemma3' reads more than text; its text model 'gemma3_text' runs alone" in caplog.text
    assert not [name for name, _ in layers._model.named_modules() if "vision" in name]
    with torch.no_grad():
        theirs = model(input_ids=torch.from_numpy(IDS.astype(np.int64)), output_hidden_states=True).hidden_states
    states = layers.states(IDS)
    assert len(states) == len(theirs) + 1
    for layer, state in enumerate(theirs):
        assert torch.equal(states[LayerKey("decoder", layer, layer == len(theirs) - 1)], state)


def test_a_model_whose_text_part_is_no_language_model_is_named(tmp_path):
    import transformers

    transformers.CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model_type 'clip_text_model' of config\.json is neither"):
        LayerModel(tmp_path, device="cpu")


def test_a_chat_model_reads_plain_text(tmp_path):
    from transformers import AutoTokenizer

    texts = ["the cat sat", "that dog run"]
    folder = save_tokenizer(tmp_path)
    plain = tokenize_chunks(folder / "tokenizer.json", [0, 1], texts, None)
    chat = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    chat.chat_template = "{% for message in messages %}one two {{ message.content }} three{% endfor %}"
    chat.save_pretrained(folder)
    # As the template would have it, other tokens stand around the text.
    messages = [{"role": "user", "content": texts[0]}]
    told = AutoTokenizer.from_pretrained(folder, local_files_only=True).apply_chat_template(messages, tokenize=False)
    assert told == "one two the cat sat three"
    again = tokenize_chunks(folder / "tokenizer.json", [0, 1], texts, None)
    assert again[0].ids.tolist() == plain[0].ids.tolist() == [3, 5, 6, 7, 4]
    assert again[1].ids.tolist() == plain[1].ids.tolist() == [3, 13, 14, 15, 4]

"""Hidden states of every family against transformers' own, and the dump's files."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_models import (
    FAMILIES,
    VOCAB_ROWS,
    build_model,
    save_bin,
    save_safetensors,
    save_tokenizer,
    sentences,
)

from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.hidden_states import (
    LayerKey,
    LayerModel,
    TokenSequence,
    equal_length_batches,
    model_kind,
    tokenize_chunks,
)
from lm_geometry.tables.chunks import SCHEMA as CHUNKS
from lm_geometry.tables.files import file_sha256, read_table, write_table
from lm_geometry.tables.listing import SCHEMA as LISTING
from lm_geometry.tables.schema import vector_matrix
from scripts.dump_hidden_states import dump_hidden_states
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.resolve_model import resolve_model

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


class Run:
    """A dump of a tiny model in a folder of its own."""

    def __init__(self, folder, family="gpt_neox", save=save_safetensors, texts=None, model=None):
        self.folder = folder
        self.texts = list(sentences(40)) if texts is None else texts
        self.model = build_model(family) if model is None else model
        self.source = save(self.model, folder / "mine")
        self.tokenizer = save_tokenizer(folder / "tokenizer") / "tokenizer.json"
        rows = [{"chunk": chunk, "page": 0, "text": text} for chunk, text in enumerate(self.texts)]
        write_table(
            folder / "chunks.parquet",
            pa.Table.from_pylist(rows, schema=CHUNKS),
            CHUNKS,
            settings={"seed": 3},
            origin={"corpus_sha256": "c0"},
        )
        tokenizer_is = {"tokenizer_id": "tiny", "tokenizer_commit": "t0"}
        write_table(folder / "tokenizer.parquet", listing_table([]), LISTING, origin=tokenizer_is)
        where = {"source": str(self.source), "revision": "main", "cache_dir": "unused"}
        resolve_model(files=[], listing=folder / "listing.parquet", config=folder / "config.json", **where)
        fetch_checkpoint(
            listing=folder / "listing.parquet",
            config=folder / "config.json",
            checkpoint=folder / "checkpoint.parquet",
            **where,
        )

    def dump(self, name="layers"):
        manifest = self.folder / f"{name}.parquet"
        dump_hidden_states(
            checkpoint=self.folder / "checkpoint.parquet",
            config=self.folder / "config.json",
            chunks=self.folder / "chunks.parquet",
            tokenizer=self.tokenizer,
            tokenizer_listing=self.folder / "tokenizer.parquet",
            folder=self.folder / name,
            manifest=manifest,
            device="cpu",
            cache_dir="unused",
        )
        return read_table(manifest).to_pylist()


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

"""Models that are damaged, incomplete or not what they say: from the listing of their files to the forward pass."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from entry_points import BadInput, Ran
from hostile_pickles import archive_file, call, program
from model_jobs import (
    BIN,
    CONFIG,
    INDEX,
    ROWS,
    TABLE,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    Files,
    config,
    extracted,
    extraction,
    fetched,
    fetching,
    header_only,
    listed,
    listing,
    measured,
    model,
    passed,
    pooled,
    sound_files,
    tensors,
    tokenized,
    tokenizer,
    weights,
    with_tensor,
    with_value,
)
from safetensors.numpy import save
from tiny_models import WORDS

MLP = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
NAN, INFINITY = float("nan"), float("inf")
# Deeper than json's parser goes.
TOO_DEEP = b"[" * 100_000
# What is run, and the regular expressions of its error line.
Case = tuple[Callable[[Path], Ran] | str, ...]
SIZE = len(sound_files()[WEIGHTS])


def good_models(folder: Path) -> list[Ran]:
    """Run every job on the sound model, each in a folder of its own."""
    sound, table = sound_files(), np.random.default_rng(0).normal(size=(ROWS, 16)).astype(np.float32)
    jobs = [
        listed({}), extracted({}), tokenizer({}), fetched({}), passed({}), tokenized(sound[TOKENIZER]), measured(table),
        pooled(table), of_file(sound[WEIGHTS]), passed({}, stream=True, texts=[" ".join(WORDS)] * 12),
    ]  # fmt: skip
    seen = []
    for number, job in enumerate(jobs):
        (folder / str(number)).mkdir()
        seen.append(job(folder / str(number)))
    return seen


# -- damage ------------------------------------------------------------------------------------------------------------


def indexed(shards: Any, **files: bytes) -> Files:
    """Return the changes that put an index of shards in the place of the weights."""
    return {WEIGHTS: None, INDEX: json.dumps(shards).encode(), **files}


def vocabulary(**changes: Any) -> bytes:
    """Return the sound tokenizer.json with other parts."""
    return json.dumps({**json.loads(sound_files()[TOKENIZER]), **changes}).encode()


def words(**vocabulary_of: int) -> bytes:
    """Return a tokenizer.json of these words alone, which wraps texts in nothing."""
    model = {"type": "WordLevel", "vocab": vocabulary_of, "unk_token": "<unk>"}
    return vocabulary(model=model, added_tokens=[], post_processor=None)


def rows(count: int) -> dict[str, Any]:
    """Return the changes that leave the model that many rows of its table."""
    kept = {name: tensor[:count].copy() if len(tensor) == ROWS else tensor for name, tensor in tensors().items()}
    return {WEIGHTS: save(kept), CONFIG: config(vocab_size=count)}


def linked(target: str, elsewhere: bool = False) -> Callable[[Path], Ran]:
    """List a model whose weights are a link."""

    def run(folder: Path) -> Ran:
        mine = model(folder, {WEIGHTS: None})
        if elsewhere:
            (mine / target).write_bytes(sound_files()[WEIGHTS])
        (mine / WEIGHTS).symlink_to(target)
        return listing(folder, mine)

    return run


def of_file(content: bytes) -> Callable[[Path], Ran]:
    """Extract the table of a source that is one file."""

    def run(folder: Path) -> Ran:
        (folder / "mine").write_bytes(content)
        return extraction(folder, folder / "mine")

    return run


def alone(folder: Path) -> Ran:
    """Have the files for a forward pass of a source that is one file of weights."""
    (folder / "mine").write_bytes(sound_files()[WEIGHTS])
    return fetching(folder, folder / "mine")


def unreadable(folder: Path) -> Ran:
    """List a model whose weights their owner may not read."""
    mine = model(folder, {})
    (mine / WEIGHTS).chmod(0)
    return listing(folder, mine)


def truncated(path: Path) -> None:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:-20])


def hostile_bin(folder: Path) -> bytes:
    """Return a .bin that would make a folder if it were run."""
    return archive_file(program(call("os", "system", f"mkdir '{folder / 'ran'}'")), {"version": b"3\n"})


def hostile(job: Callable[[Files], Callable[[Path], Ran]]) -> Callable[[Path], Ran]:
    """Run a job on a hostile .bin, and see that nothing of it was run."""

    def run(folder: Path) -> Ran:
        seen = job({WEIGHTS: None, BIN: hostile_bin(folder)})(folder)
        assert not (folder / "ran").exists()
        return seen

    return run


# -- the cases: name, what is run, and what the error line says --------------------------------------------------------

NOTHING_LEFT = vocabulary(
    normalizer={"type": "Replace", "pattern": {"Regex": ".+"}, "content": ""}, post_processor=None
)
EIGHT_BIT = {"dtype": "F8_E4M3", "shape": [ROWS, 16], "data_offsets": [0, ROWS * 16]}
OVERLAPPING = {
    "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    TABLE: {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
}

SOURCES: dict[str, Case] = {
    "model: no folder": (lambda folder: listing(folder, folder / "mine"), r"/mine: no such folder; correct"),
    "model: no config.json": (listed({CONFIG: None}), r"/mine: neither .* config\.json; add it"),
    "model: config.json is cut short": (listed({CONFIG: config()[:40]}), r"mine/config\.json: not JSON", "fetch"),
    "model: config.json is a list": (listed({CONFIG: b"[1]"}), r"config\.json: holds a list", "fetch it again"),
    "model: config.json is Latin-1": (
        listed({CONFIG: b'{"a": "\xe9"}'}),
        r"config\.json: not JSON .*0xe9",
        "fetch it again",
    ),
    "model: config.json without end": (
        listed({CONFIG: TOO_DEEP}),
        r"config\.json: not JSON .*recursion",
        "fetch it again",
    ),
    "model: quantized by its config": (
        listed({CONFIG: config(quantization_config={"quant_method": "gptq", "bits": 4})}),
        r"/mine .*config\.json: quantization_config .*gptq",
        "take the repository of the original",
    ),
    "model: no weights": (
        listed({WEIGHTS: None}),
        r"/mine .*: no weights: looked for model\.safetensors",
        "put them there",
    ),
    "model: weights are a link to nothing": (linked("../blobs/a1"), r"mine/model.safetensors: .*blobs/a1", "put"),
    "model: weights are a link to themselves": (linked(WEIGHTS), r"mine/model.safetensors: is a link", "put"),
    "model: weights lie elsewhere": (linked("../w", elsewhere=True), r"model.safetensors: .*leads out", "put"),
    "model: weight files that differ in case only": (
        listed({"Model.safetensors": b""}),
        r"/mine: .*Model\.safetensors and model\.safetensors are one file where a disk ignores case; take",
    ),
    "model: index is a page": (listed(indexed("<html>")), r"model\.safetensors\.index\.json:", "fetch it again"),
    "model: index without a map": (listed(indexed({"metadata": {}})), r"index\.json: .*weight_map", "fetch it again"),
    "model: index of nothing": (listed(indexed({"weight_map": {}})), r"index\.json names no tensor", "fetch it again"),
    "model: shard is absent": (
        listed(indexed({"weight_map": {TABLE: "model-00001-of-00002.safetensors"}})),
        r"/mine .*index\.json names model-00001-of-00002\.safetensors, .*not among the 4",
        "fetch the model whole",
    ),
    "model: shard leads out of the folder": (
        listed(indexed({"weight_map": {TABLE: "../x.safetensors"}})),
        r"mine/model\.safetensors\.index\.json: .*'\.\./x\.safetensors' is refused:",
        "leads out",
    ),
    "model: asked for in a format that it lacks": (
        listed({}, weight_files=[BIN]),
        r"/mine .*weight_files: pytorch_model\.bin: none of them .* which has model\.safetensors",
    ),
}
if os.geteuid() != 0:  # who is root reads everything
    SOURCES["model: may not be read"] = (unreadable, r"Permission denied: .*mine/model\.safetensors")

TABLES: dict[str, Case] = {
    "table: NaN": (weights(with_value(TABLE, (3, 5), NAN)), r"/mine .*nan in row 3, column 5 \(1", "fetch them"),
    "table: infinite": (weights(with_value(TABLE, (3, 5), INFINITY)), r"/mine .*inf in row 3, column 5", "fetch"),
    "table: beyond float32": (
        weights(with_tensor(TABLE, lambda table: np.full(table.shape, 1e300))),
        r"/mine .*embed_in\.weight holds float64 values .*up to 1e\+300: it is damaged",
    ),
    "table: all zero": (weights(with_tensor(TABLE, np.zeros_like)), r"/mine .*embed_in\.weight is zero", "fetch"),
    "table: no rows": (extracted(rows(0)), r"/mine .*0 rows x 16 columns.*2 x 1", "embedding_tensor"),
    "table: one token": (extracted(rows(1)), r"/mine .*1 rows x 16 columns.*2 x 1", "embedding_tensor"),
    "table: no columns": (
        weights(with_tensor(TABLE, lambda table: table[:, :0].copy())),
        r"/mine .*72 rows x 0 columns",
        "embedding_tensor",
    ),
    "table: width is not the config's": (
        extracted({CONFIG: config(hidden_size=32)}),
        r"/mine .*16 .*hidden_size 32",
        "fetch both again",
    ),
    "table: rows are not the config's": (
        extracted({CONFIG: config(vocab_size=80)}),
        r"/mine .*72 .*vocab_size 80",
        "fetch both again",
    ),
    "table: rows are words": (
        extracted({CONFIG: config(vocab_size="72")}),
        r"/mine .*72 rows.*vocab_size '72'",
        "fetch both again",
    ),
    "table: too small for the tokenizer": (
        extracted(rows(10)),
        r"tokenizer\.json needs 25 rows.* has 10:",
        "set `tokenizer` to",
    ),
    "table: absent": (weights(save({"head": np.ones((3, 2))})), r"/mine .*key embedding_tensor: head 3x2"),
    "table: no matrix at all": (
        weights(header_only({})),
        r"/mine .*no token-embedding table: of 0 tensors",
        "fetch them again",
    ),
    "table: two that differ": (
        weights(save({TABLE: np.ones((ROWS, 16)), "encoder.embed_tokens.weight": np.zeros((ROWS, 16))})),
        r"/mine .*several .*key embedding_tensor: encoder\.embed_tokens\.weight 72x16, gpt_neox",
    ),
    "table: no tensor of the key's name": (
        extracted({}, embedding_tensor="wte"),
        r"embedding_tensor: .*no tensor wte; its 2-D tensors are",
    ),
    "table: the key names a vector": (
        extracted({}, embedding_tensor="gpt_neox.final_layer_norm.bias"),
        r"/mine .*has 1 dimensions, not 2: 16; name another tensor by the key embedding_tensor",
    ),
    "table: beyond its precision, measured": (
        measured(np.full((ROWS, 16), 3.4e38)),
        r"table\.parquet:",
        "inf in row 0",
    ),
    "table: beyond its precision, pooled": (pooled(np.full((ROWS, 16), 3.4e38)), r"table\.parquet: .*inf in row 0"),
    "table: of another tokenizer": (
        pooled(np.ones((4, 16))),
        r"table\.parquet: token id 10 .*4 rows",
        "set `tokenizer` to",
    ),
    "table: cut short": (measured(np.ones((ROWS, 16)), truncated), r"table\.parquet:", "remove it and run again"),
}

WEIGHT_FILES: dict[str, Case] = {
    "weights: empty": (weights(b""), r"model\.safetensors: .* 0 bytes", "fetch it again"),
    "weights: data cut short": (
        weights(sound_files()[WEIGHTS][:-100]),
        rf"model\.safetensors: .*{SIZE}, but it has {SIZE - 100}",
        "fetch it again",
    ),
    "weights: header cut short": (
        weights(sound_files()[WEIGHTS][:200]),
        r"safetensors: .* 200 bytes",
        "fetch it again",
    ),
    "weights: absurd header": (weights(struct.pack("<Q", 1 << 62) + b"{}"), r"safetensors: .* 10 bytes", "fetch"),
    "weights: header is no JSON": (
        weights(struct.pack("<Q", 3) + b"{,} "),
        r"model\.safetensors: .*its header is no JSON",
        "fetch it again",
    ),
    "weights: tensors overlap": (
        weights(header_only(OVERLAPPING, bytes(24))),
        r"model\.safetensors: .*begins at byte",
        "fetch it again",
    ),
    "weights: shape is not the data's": (
        weights(header_only({TABLE: {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}, bytes(16))),
        r"safetensors: .*embed_in\.weight of float32 \[5\] is no 16 bytes; fetch it again",
    ),
    "weights: 8-bit floats": (
        weights(header_only({TABLE: EIGHT_BIT}, bytes(ROWS * 16))),
        r"/mine .*embed_in\.weight is stored as float8_e4m3fn: .*take the model's unquantized weights",
    ),
    "weights: a type that nobody knows": (
        weights(header_only({TABLE: {**EIGHT_BIT, "dtype": "F9"}}, bytes(ROWS * 16))),
        r"/mine .*embed_in\.weight is stored as f9: .*take the model's unquantized weights",
    ),
    "weights: scales beside the table": (
        weights(save({TABLE: np.ones((ROWS, 16)), TABLE.replace("weight", "scale"): np.ones(72)})),
        r"/mine .*embed_in\.scale beside it:",
        "quantized or packed; take",
    ),
    "weights: a pointer of Git LFS": (
        weights(b"version https://git-lfs.github.com/spec/v1\n"),
        r"model\.safetensors: .*git lfs pull",
    ),
    "weights: a page of HTML": (weights(b"<!DOCTYPE html><html>403"), r"safetensors: .*'<!DOCTYP'; fetch it again"),
    "weights: a text file as source": (of_file(b"hello"), r"mine: .*5 bytes and begins with b'hello'; fetch"),
    "weights: .bin is text": (extracted({WEIGHTS: None, BIN: b"hello"}), r"pytorch_model\.bin: .*b'hello'; fetch"),
    "weights: .bin is cut short": (
        extracted({WEIGHTS: None, BIN: archive_file(program(b"}"))[:-20]}),
        r"model\.bin:",
        "fetch it again",
    ),
    "weights: .bin holds a list": (extracted({WEIGHTS: None, BIN: archive_file(program(b"]"))}), r"\.bin:", "list"),
    "weights: .bin runs a shell": (hostile(extracted), r"pytorch_model\.bin: .*os\.system,", "not allowed"),
    "weights: shard without its tensor": (
        extracted(
            indexed({"weight_map": {TABLE: "model-1-of-1.safetensors"}})
            | {"model-1-of-1.safetensors": save({"x": np.ones(3)})}
        ),
        r"model-1-of-1\.safetensors: the index says that it holds gpt_neox",
        "fetch both again",
    ),
}

TOKENIZERS: dict[str, Case] = {
    "tokenizer: absent": (tokenizer({TOKENIZER: None, TOKENIZER_CONFIG: None}), r"/mine", "set `tokenizer` to"),
    "tokenizer: settings alone": (
        tokenizer({TOKENIZER: None}),
        r"/mine: .*tokenizer_config\.json",
        "set `tokenizer` to",
    ),
    "tokenizer: no JSON": (tokenizer({TOKENIZER: b"{"}), r"mine/tokenizer\.json: not a tokenizer", "fetch it again"),
    "tokenizer: null": (tokenizer({TOKENIZER: b"null"}), r"mine/tokenizer\.json: .*invalid type: null", "fetch"),
    "tokenizer: no model": (
        tokenizer({TOKENIZER: b'{"version": "1.0"}'}),
        r"tokenizer\.json: .*Model missing",
        "fetch it again",
    ),
    "tokenizer: no vocabulary": (
        tokenizer({TOKENIZER: vocabulary(model={"type": "WordLevel", "unk_token": "<unk>"})}),
        r"mine/tokenizer\.json: .*missing field `vocab`",
        "fetch it again",
    ),
    "tokenizer: merges that its vocabulary lacks": (
        tokenizer({TOKENIZER: vocabulary(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]})}),
        r"mine/tokenizer\.json: .*Token `b` out of vocabulary",
        "fetch it again",
    ),
    "tokenizer: no token for the unknown": (
        tokenizer({TOKENIZER: words(the=0)}),
        r"tokenizer\.json: .*UNK",
        "set `tokenizer` to",
    ),
    "tokenizer: settings are a list": (
        tokenizer({TOKENIZER_CONFIG: b"[]"}),
        r"tokenizer_config\.json: holds a list",
        "fetch it again",
    ),
    "tokenizer: settings without end": (
        tokenizer({TOKENIZER_CONFIG: TOO_DEEP}),
        r"_config\.json: not JSON",
        "fetch it again",
    ),
    "tokenizer: vocabulary is no sentencepiece model": (
        tokenizer({TOKENIZER: None, TOKENIZER_CONFIG: b'{"tokenizer_class": "T5Tokenizer"}', "spiece.model": b"x"}),
        r"/mine: .*could not be loaded from .*spiece\.model.*set `tokenizer` to a source with a tokenizer\.json",
    ),
    "tokenizer: no JSON beside the table": (
        lambda folder: extraction(folder, model(folder, {}), b"{"),
        r"/tokenizer\.json: not a tokenizer\.json",
        "fetch it again",
    ),
    "tokenizer: no JSON for a collection": (
        tokenized(b"{"),
        r"/tokenizer\.json: not a tokenizer\.json",
        "fetch it again",
    ),
    "tokenizer: cannot encode a collection": (
        tokenized(words(the=0)),
        r"/tokenizer\.json: .*UNK",
        "set `tokenizer` to",
    ),
    "tokenizer: makes nothing of a collection": (
        tokenized(NOTHING_LEFT),
        r"no token .*corpus\.parquet; set `tokenizer` to",
    ),
    "tokenizer: more special tokens than room": (
        tokenized(sound_files()[TOKENIZER], 2),
        r"max_length: 2 .*2 special tokens; raise it",
    ),
}

PASSES: dict[str, Case] = {
    "pass: NaN in a weight of layer 1": (
        passed({WEIGHTS: with_value(MLP, (0, 0), NAN)}),
        r"mine \(main\): decoder layer 2: .*chunk 0, position 0; 3 of 3 vectors .*float32: fetch it again",
    ),
    "pass: NaN in a weight, streamed": (
        passed({WEIGHTS: with_value(MLP, (0, 0), NAN)}, stream=True),
        r"mine \(main\): decoder layer 2: .*chunk \d+, position 0; \d+ of \d+ vectors",
        "fetch it again",
    ),
    "pass: infinity in the final norm": (
        passed({WEIGHTS: with_value("gpt_neox.final_layer_norm.weight", (0,), INFINITY)}),
        r"mine \(main\): decoder layer 3: .*infinite.* 3 of 3 vectors",
        "fetch it again",
    ),
    "pass: overflow in float16": (
        passed({WEIGHTS: with_tensor(MLP, lambda weight: weight * np.float32(1e6))}, dtype="float16"),
        r"mine \(main\): decoder layer 2: .*overflows float16: .*set dtype: float32",
    ),
    "pass: no config.json beside the file": (alone, r"/mine .*no config\.json beside the weights", "add it"),
    "pass: no model_type": (fetched({CONFIG: config(model_type=None)}), r"/mine .*config\.json: model_type None"),
    "pass: unknown model_type": (fetched({CONFIG: config(model_type="retnet9")}), r"model_type 'retnet9'", "leave"),
    "pass: model_type is a list": (fetched({CONFIG: config(model_type=["a"])}), r"model_type \['a'\]", "leave"),
    "pass: a model that is code": (
        fetched({CONFIG: config(model_type="own", auto_map={"AutoModel": "own.Model"})}),
        r"/mine .*config\.json: model_type 'own' is Python code .*set `trust_remote_code: true`",
    ),
    "pass: a model of images": (passed({CONFIG: b'{"model_type": "vit"}'}), r"/mine: model_type 'vit'", "leave"),
    "pass: weights lack a layer": (
        passed({WEIGHTS: save({name: tensor for name, tensor in tensors().items() if ".layers.1." not in name})}),
        r"/mine: the weights lack 12 tensors .*layers\.1\.",
        "fetch the checkpoint whole",
    ),
    "pass: a weight of another shape": (
        passed({WEIGHTS: with_tensor(MLP, lambda weight: weight[:8].copy())}),
        r"/mine: .*dense_4h_to_h\.weight has the shape \(8, 32\) .*config\.json makes it \(16, 32\)",
        "fetch both",
    ),
    "pass: no heads": (passed({CONFIG: config(num_attention_heads=0)}), r"/mine: config\.json:", "correct the value"),
    "pass: no layers": (
        passed({CONFIG: config(num_hidden_layers=0)}),
        r"config\.json: num_hidden_layers 0:",
        "correct the value",
    ),
    "pass: a layer less than the weights": (
        passed({CONFIG: config(num_hidden_layers=2)}),
        r"/mine: config\.json makes a GPTNeoXModel of 2 layers that leaves out 12 tensors .*gpt_neox\.layers\.2\.",
        "fetch both",
    ),
    "pass: biases of which config.json says nothing": (
        passed({CONFIG: config(attention_bias=False)}),
        r"/mine: config\.json makes a GPTNeoXModel of 3 layers that leaves out 6 tensors .*\.attention\.dense\.bias",
        "fetch both",
    ),
    "pass: layers without end": (
        passed({CONFIG: config(num_hidden_layers=10**9)}),
        r"config\.json: num_hidden_layers 1000000000: it must be between 1 and 10000",
        "correct the value",
    ),
    "pass: half a rotation too many": (
        passed({CONFIG: config(rotary_pct=2.0, rope_parameters=None)}),
        r"config\.json: the decoder that transformers builds from it cannot run",
        "correct the value",
    ),
    "pass: one stack that should be two": (
        passed({CONFIG: config(is_encoder_decoder=True)}),
        r"config\.json: is_encoder_decoder true, but a GPTNeoXModel has one stack",
        "correct the value",
    ),
    "pass: no positions": (
        passed({CONFIG: config(max_position_embeddings=0)}),
        r"max_position_embeddings 0:",
        "correct the value",
    ),
    "pass: width is a word": (passed({CONFIG: config(hidden_size="wide")}), r"config\.json: .*'hidden_size'.*'wide'"),
    "pass: unknown activation": (
        passed({CONFIG: config(hidden_act="swoosh")}),
        r"config\.json: .*'swoosh'",
        "correct the value",
    ),
    "pass: unknown dtype": (passed({CONFIG: config(dtype="float7")}), r"/mine: config\.json: .*float7", "correct"),
    "pass: .bin is text": (
        passed({WEIGHTS: None, BIN: b"hello"}),
        r"/mine: the weights cannot be loaded",
        "is the file whole",
    ),
    "pass: .bin runs a shell": (hostile(passed), r"/mine: the weights cannot be loaded", "is the file whole"),
    "pass: weights cut short": (
        passed({WEIGHTS: sound_files()[WEIGHTS][:-100]}),
        r"/mine: the weights cannot be loaded",
        "is the file whole",
    ),
    "pass: weights changed since they were listed": (
        passed({}, before=lambda source: truncated(source / WEIGHTS)),
        rf"mine/model\.safetensors: {SIZE - 20} bytes, but {SIZE} were listed; remove the listing",
    ),
    "pass: tokenizer of a larger model": (
        passed(rows(10)),
        r"mine .*tokenizer\.json gives token id 24, .*10 rows",
        "set `tokenizer` to",
    ),
    "pass: tokenizer is no JSON": (
        passed({}, tokenizer=b"{"),
        r"mine .*/tokenizer\.json: not a tokenizer",
        "fetch it again",
    ),
    "pass: chunks that become nothing": (
        passed({}, tokenizer=NOTHING_LEFT),
        r"no token in any of 12 chunks of .*chunks\.parquet",
        "set another",
    ),
    "pass: no room for a token": (
        passed({CONFIG: config(max_position_embeddings=2)}),
        r"mine .*2 positions .*2 special",
        "correct config",
    ),
    "pass: chunks of one token": (
        passed({}, stream=True, texts=["the"] * 12, tokenizer=vocabulary(post_processor=None)),
        r"mine .*batch_size: 20 .*smallest holds 6",
        "raise n_chunks, or lower batch_size",
    ),
}

MODELS = [
    BadInput(name, run, tuple(says))
    for name, (run, *says) in (SOURCES | TABLES | WEIGHT_FILES | TOKENIZERS | PASSES).items()
]

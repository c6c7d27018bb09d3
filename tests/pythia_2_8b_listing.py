"""What the hub lists of two Pythia models whose step branches serve each other's weights, as it was published.

pythia-2.8b (github.com/EleutherAI/pythia/issues/205): 154 step branches and main, one file of weights in either format;
two digests of model.safetensors are served by many branches. pythia-12b (issue 206): three shards, of which the first
is one and the same on four branches. Published are the two first digests below and sixteen digits of SECOND; all other
digests are made up, and distinct.
"""

import hashlib
import json

from loopback_hub import OnlyListed

from lm_geometry.checkpoints.listed_file import ListedFile, role_of

SMALL, LARGE = "EleutherAI/pythia-2.8b", "EleutherAI/pythia-12b"
FINAL = "ab496f1c3fd79e3c749a9d5414136a2c8e4224f94eecb261970315cdb0f813fe"
FIRST_SHARD = "9d21715462588073675eca9c65ba55a47d911da460a6083938d04acd4589f542"
SECOND = "462f2b960062159c" + 48 * "0"

# Two bytes for each of 2,775,208,960 parameters, and 32 boolean masks of 2048 x 2048.
CHECKPOINT_BYTES = 5_684_635_648
SHARD_BYTES = (9_960_000_000, 9_870_000_000, 4_020_000_000)

# What serves what: F the final weights, S the second digest, a dot its own. From step 1000 on, a row per 10,000 steps.
EARLY = dict.fromkeys(["step0", *(f"step{2**power}" for power in range(10))], "F")
THOUSANDS = (
    " FFFFFFFFF"
    "FFFFFFFFFF"
    "FFFFFFFFFF"
    "FFFFFFFFFF"
    "FFFFFFFFFF"
    "FFFFSFSSSS"
    "FSSSSF...."
    "F........."
    "F........."
    "F........."
    "F..F......"
    "F........."
    "F........."
    "F........."
    "F..S"
)
SERVED = {
    **EARLY,
    **{f"step{1000 * number}": served for number, served in enumerate(THOUSANDS) if number},
    "main": "F",
}

LARGE_STEPS = ("step0", "step1000", "step49000", "step50000", "step51000", "step58000", "step142000", "step143000")
SHARING_FIRST_SHARD = ("main", "step143000", "step50000", "step58000")

CONFIG = json.dumps(
    {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_size": 2560, "num_hidden_layers": 32,
     "intermediate_size": 10240, "num_attention_heads": 32, "vocab_size": 50304, "torch_dtype": "float16"}
).encode()  # fmt: skip
LARGE_INDEX = json.dumps(
    {
        "metadata": {"total_size": sum(SHARD_BYTES)},
        "weight_map": {
            "gpt_neox.embed_in.weight": "pytorch_model-00001-of-00003.bin",
            "gpt_neox.layers.18.attention.dense.weight": "pytorch_model-00002-of-00003.bin",
            "gpt_neox.final_layer_norm.weight": "pytorch_model-00003-of-00003.bin",
            "embed_out.weight": "pytorch_model-00003-of-00003.bin",
        },
    }
).encode()


def own_digest(*names):
    """Return a digest that no other file has."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()


def small_files(revision):
    """Return the files of one branch of pythia-2.8b, as the hub holds them."""
    digest = {"F": FINAL, "S": SECOND}.get(SERVED[revision]) or own_digest(revision, "model.safetensors")
    return {
        "config.json": CONFIG,
        "model.safetensors": OnlyListed(CHECKPOINT_BYTES, digest),
        "pytorch_model.bin": OnlyListed(CHECKPOINT_BYTES + 50_000, own_digest(revision, "pytorch_model.bin")),
        "tokenizer.json": b"{}",
    }


def large_files(revision):
    """Return the files of one branch of pythia-12b."""
    first = FIRST_SHARD if revision in SHARING_FIRST_SHARD else own_digest(revision, "1")
    digests = (first, own_digest(revision, "2"), own_digest(revision, "3"))
    shards = {
        f"pytorch_model-{number:05}-of-00003.bin": OnlyListed(size, digest)
        for number, (size, digest) in enumerate(zip(SHARD_BYTES, digests, strict=True), start=1)
    }
    return {"config.json": CONFIG, "pytorch_model.bin.index.json": LARGE_INDEX, **shards}


def listed(files):
    """Return files as a source lists them: the hub knows no sha256 of small ones."""
    return [
        ListedFile(path, role_of(path), file.size, file.sha256)
        if isinstance(file, OnlyListed)
        else ListedFile(path, role_of(path), len(file), None)
        for path, file in sorted(files.items())
    ]

"""Training: recipes, targets, losses, the same bytes twice, layouts as on the hub, and the check that it worked."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints.listed_file import role_of
from lm_geometry.demo.byte_level_bpe import TOKENIZER_RECIPES, tokenizer_config, train_byte_level_bpe
from lm_geometry.demo.models import build_model, sinusoids
from lm_geometry.demo.recipes import RECIPES
from lm_geometry.demo.token_streams import TokenStreams
from lm_geometry.demo.training import (
    IGNORED,
    draw_batch,
    heldout_batches,
    learning_rate_share,
    mean_loss,
    train,
    unigram_cross_entropy,
)
from lm_geometry.tables import prose_tokens, training_curve
from lm_geometry.tables.files import file_sha256, read_table, write_table
from scripts.check_training import check_training
from scripts.resolve_model import resolve_model
from scripts.train_model import train_model

PROJECT = Path(__file__).resolve().parents[2]
TINY = ["tiny-neox-8", "tiny-neox-16", "tiny-bert-16"]

SEPARATOR, MASK, OPEN, CLOSE = 0, 1, 2, 0


def random_streams(*, encoder: bool = False, n_tokens: int = 3000, vocabulary_size: int = 64) -> TokenStreams:
    numbers = np.random.default_rng(0)
    training, heldout = (numbers.integers(0, vocabulary_size, size) for size in (n_tokens, n_tokens // 2))
    training[training == MASK] = heldout[heldout == MASK] = 3
    frame = {"frame": (OPEN, CLOSE), "mask": MASK} if encoder else {}
    return TokenStreams(training, heldout, SEPARATOR, vocabulary_size, **frame)


def periodic_streams() -> TokenStreams:
    stream = np.tile(np.arange(3, 13), 400)
    return TokenStreams(stream, stream[:1000], SEPARATOR, 64)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Folders with tokens.parquet and tokenizer files by tokenizer recipe, of made-up words."""
    numbers = np.random.default_rng(0)
    words = ["".join(numbers.choice(list("abcdefghijklmnop"), 6)) for _ in range(900)]
    texts = [" ".join(numbers.choice(words, 40)) for _ in range(300)]
    folders = {}
    for name in TOKENIZER_RECIPES:
        folders[name] = tmp_path_factory.mktemp(name)
        tokenizer = train_byte_level_bpe(texts, name)
        tokenizer.save(str(folders[name] / "tokenizer.json"))
        (folders[name] / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(name)))
        rows = {
            "text": pa.array(range(len(texts)), pa.int32()),
            "heldout": [row % 10 == 0 for row in range(len(texts))],
            "token_ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts],
        }
        write_table(folders[name] / "tokens", pa.table(rows), prose_tokens.SCHEMA, origin={"prose_sha256": "0"})
    return folders


def train_into(folder: Path, tokens: dict[str, Path], model: str) -> Path:
    source = tokens[RECIPES[model].tokenizer]
    train_model(
        tokens=source / "tokens",
        tokenizer=source / "tokenizer.json",
        tokenizer_config=source / "tokenizer_config.json",
        folder=folder / model,
        manifest=folder / f"{model}.parquet",
        curve=folder / f"{model}_curve.parquet",
        model=model,
    )
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tokens):
    folder = tmp_path_factory.mktemp("trained")
    for model in TINY:
        train_into(folder, tokens, model)
    return folder


# Recipes


def test_recipes_are_sound():
    for name, recipe in RECIPES.items():
        assert recipe.width % recipe.n_heads == 0, name
        assert recipe.tokenizer in TOKENIZER_RECIPES
        assert recipe.revisions[-1] == "main"
        assert len(set(recipe.revisions)) == len(recipe.revisions)
        assert recipe.sequence_length <= TOKENIZER_RECIPES[recipe.tokenizer].max_length
        assert max(recipe.checkpoint_steps, default=0) <= recipe.steps
        assert (recipe.expected_gain is None) == name.startswith("tiny-")


def test_the_suite_is_the_one_that_the_demo_promises():
    decoders = {name: recipe for name, recipe in RECIPES.items() if name.startswith("neox")}
    assert sorted(recipe.width for recipe in decoders.values()) == [16, 32, 64, 128]
    assert len(RECIPES["neox-64"].checkpoint_steps) >= 6
    assert 0 in RECIPES["neox-64"].checkpoint_steps
    assert len({recipe.layout for recipe in decoders.values()}) == 3
    assert [recipe.expected_gain for recipe in decoders.values()] == [0.7, 0.7, 1.0, 1.0]
    assert RECIPES["bert-64"].expected_gain == 0.0


def test_recipes_import_nothing_heavy():
    code = "import sys, lm_geometry.demo.recipes; print({'torch', 'tokenizers', 'numpy', 'pyarrow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Targets and losses


def test_a_decoder_predicts_the_following_token_but_no_separator():
    recipe, streams = RECIPES["tiny-neox-8"], random_streams()
    batch = draw_batch(recipe, streams, torch.Generator().manual_seed(0))
    following = batch.inputs[:, 1:]
    assert batch.inputs.shape == (recipe.batch_size, recipe.sequence_length)
    assert (following == SEPARATOR).any()
    assert torch.equal(batch.targets[:, :-1], torch.where(following == SEPARATOR, IGNORED, following))
    assert (batch.targets[:, -1] == IGNORED).all()


def test_an_encoder_predicts_hidden_tokens_but_no_special_ones():
    recipe, streams = RECIPES["tiny-bert-16"], random_streams(encoder=True)
    batch = draw_batch(replace(recipe, batch_size=200), streams, torch.Generator().manual_seed(0))
    asked = batch.targets != IGNORED
    assert not torch.isin(batch.targets[asked], torch.tensor([SEPARATOR, OPEN, CLOSE, MASK])).any()
    assert (batch.inputs[:, 0] == OPEN).all()
    assert (batch.inputs[:, -1] == CLOSE).all()
    # The shares of Devlin et al. 2019, section 3.1; 3 of 64 tokens are special, and a random one may be the true one.
    assert asked.float().mean().item() == pytest.approx(recipe.masked_share * 61 / 64, abs=0.02)
    assert (batch.inputs[asked] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (batch.inputs == batch.targets)[asked].float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert not (batch.inputs[~asked] == MASK).any()


def test_on_held_out_text_an_encoder_sees_none_of_its_targets():
    for batch in heldout_batches(RECIPES["tiny-bert-16"], random_streams(encoder=True)):
        assert torch.equal(batch.inputs == MASK, batch.targets != IGNORED)


def test_held_out_windows_cover_the_stream_once_with_the_same_masks_each_time():
    recipe, streams = RECIPES["tiny-bert-16"], random_streams(encoder=True)
    first, second = heldout_batches(recipe, streams), heldout_batches(recipe, streams)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))
    shown = torch.cat([torch.where(b.targets == IGNORED, b.inputs, b.targets)[:, 1:-1].flatten() for b in first])
    assert shown.tolist() == streams.heldout[: len(shown)].tolist()
    assert len(streams.heldout) - len(shown) < recipe.sequence_length


def test_the_held_out_loss_is_the_one_that_transformers_gives():
    recipe, streams = RECIPES["tiny-neox-8"], random_streams()
    model = build_model(recipe, streams)
    batches = heldout_batches(recipe, streams)
    with torch.no_grad():
        losses = [model(input_ids=batch.inputs, labels=batch.inputs).loss.item() for batch in batches]
    # transformers counts separators too: a stream without any is the common ground.
    without = random_streams()._replace(separator=-5)
    targets = [(batch.targets != IGNORED).sum().item() for batch in heldout_batches(recipe, without)]
    expected = np.average(losses, weights=targets)
    assert mean_loss(model, heldout_batches(recipe, without)) == pytest.approx(expected, rel=1e-5)


def test_unigram_cross_entropy_by_hand():
    streams = TokenStreams(np.array([5, 5, 6, SEPARATOR]), np.array([]), SEPARATOR, vocabulary_size=8)
    # Counts plus one over 8 rows: 3, 2 and 1 of 11; the separator's own occurrence is not counted.
    expected = -(np.log(3 / 11) + np.log(2 / 11) + np.log(1 / 11)) / 3
    assert unigram_cross_entropy(streams, np.array([5, IGNORED, 6, 7])) == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_rises_and_falls():
    shares = [learning_rate_share(step, 100) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(shares[9]) == pytest.approx(1, abs=0.03)
    assert shares[100] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(shares[9:]))


def test_sinusoids_are_those_of_the_paper():
    found = sinusoids(20, 6)
    for position in (0, 7, 19):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert found[position, 2 * pair] == pytest.approx(np.sin(angle), abs=1e-5)
            assert found[position, 2 * pair + 1] == pytest.approx(np.cos(angle), abs=1e-5)


# Training


def test_a_predictable_text_is_learned():
    recipe = replace(RECIPES["tiny-neox-16"], steps=60, learning_rate=2e-2, checkpoint_steps=())
    curve = train(recipe, periodic_streams(), lambda revision, model: None)
    assert [losses.step for losses in curve] == [0, 1, 4, 16, 60]
    assert curve[0].heldout > curve[0].unigram
    assert curve[-1].unigram == pytest.approx(np.log(10), rel=0.02)
    assert curve[-1].heldout < 0.5 * curve[-1].unigram


def test_training_leaves_torchs_threads_and_random_state_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(RECIPES["tiny-neox-8"], random_streams(), lambda revision, model: None)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("model", TINY)
def test_training_twice_gives_the_same_bytes(model, trained, tokens, tmp_path):
    torch.rand(3)
    again = train_into(tmp_path, tokens, model)
    for name in (f"{model}.parquet", f"{model}_curve.parquet"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_a_diverging_training_leaves_nothing_behind(tokens, tmp_path, monkeypatch):
    broken = {**RECIPES, "tiny-neox-8": replace(RECIPES["tiny-neox-8"], learning_rate=float("inf"))}
    monkeypatch.setattr("scripts.train_model.RECIPES", broken)
    with pytest.raises(ValueError, match="the training loss is nan at step 1; lower"):
        train_into(tmp_path, tokens, "tiny-neox-8")
    assert list(tmp_path.iterdir()) == []


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="a window is 64 tokens long, but a stream holds only 10"):
        train(RECIPES["tiny-neox-8"], random_streams(n_tokens=20), lambda revision, model: None)


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'neox-17': use one of neox-16,"):
        nothing = dict.fromkeys(("tokens", "tokenizer", "tokenizer_config", "folder", "manifest", "curve"), tmp_path)
        train_model(**nothing, model="neox-17")


# Layouts


@pytest.mark.parametrize("model", TINY)
def test_every_revision_loads_as_from_the_hub(model, trained):
    recipe = RECIPES[model]
    assert {path.name for path in (trained / model).iterdir()} == set(recipe.revisions)
    for revision in recipe.revisions:
        folder = trained / model / revision
        head = AutoModelForMaskedLM if recipe.tokenizer == "bert" else AutoModelForCausalLM
        loaded, info = head.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        bare = AutoModel.from_pretrained(folder)
        assert torch.equal(bare.get_input_embeddings().weight, loaded.get_input_embeddings().weight)
        assert bare.get_input_embeddings().weight.shape == (2048, recipe.width)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("some words").ids
        assert tokenizer("some words")["input_ids"] == ids


def test_the_three_weight_formats(trained):
    def weights(model: str) -> list[str]:
        names = (path.name for path in (trained / model / "main").iterdir())
        return sorted(name for name in names if name.startswith(("model", "pytorch")))

    assert weights("tiny-neox-8") == ["pytorch_model.bin"]
    assert weights("tiny-bert-16") == ["model.safetensors"]
    shards = weights("tiny-neox-16")
    assert "model.safetensors.index.json" in shards
    assert len(shards) >= 3
    stored = torch.load(trained / "tiny-neox-8" / "main" / "pytorch_model.bin", weights_only=True)
    assert {"gpt_neox.embed_in.weight", "embed_out.weight"} <= set(stored)


def test_the_saved_revisions_are_the_steps_they_are_named_after(trained, tokens):
    def table(revision: str) -> torch.Tensor:
        return AutoModel.from_pretrained(trained / "tiny-neox-16" / revision).get_input_embeddings().weight

    assert torch.equal(table("main"), table("step8"))
    assert not torch.equal(table("step0"), table("step2"))
    torch.manual_seed(RECIPES["tiny-neox-16"].seed)
    streams = random_streams(vocabulary_size=2048)
    untrained = build_model(RECIPES["tiny-neox-16"], streams).get_input_embeddings().weight
    assert torch.equal(table("step0"), untrained)


@pytest.mark.parametrize("model", TINY)
def test_the_manifest_lists_every_file_as_the_ledger_would(model, trained):
    rows = read_table(trained / f"{model}.parquet").to_pylist()
    files = [path for path in (trained / model).rglob("*") if path.is_file()]
    assert [row["path"] for row in rows] == sorted(path.relative_to(trained / model).as_posix() for path in files)
    for row in rows:
        file = trained / model / row["path"]
        assert (row["sha256"], row["size"]) == (file_sha256(file), file.stat().st_size)
        assert row["role"] == role_of(file.name)
    facts = provenance.read(trained / f"{model}.parquet")
    assert facts["origin"]["prose_sha256"] == "0"
    assert facts["settings"]["width"] == RECIPES[model].width


# The check


def write_curve(path: Path, model: str, losses: list[float], unigram: float = 6.0) -> Path:
    rows = [{"step": step, "heldout_loss": loss, "unigram_entropy": unigram} for step, loss in enumerate(losses)]
    settings = {"model": model, **asdict(RECIPES[model])}
    table = pa.Table.from_pylist(rows, schema=training_curve.SCHEMA)
    write_table(path, table, training_curve.SCHEMA, settings=settings)
    return path


@pytest.mark.parametrize(
    ("model", "enough", "too_little"),
    [("neox-16", 5.29, 5.31), ("neox-64", 4.99, 5.01), ("bert-64", 5.99, 6.0), ("bert-64", 5.99, float("nan"))],
)
def test_a_model_has_learned_or_not(model, enough, too_little, tmp_path):
    good = write_curve(tmp_path / "good", model, [7.0, enough])
    check_training(curves=[good], learned=tmp_path / "learned.parquet")
    (row,) = read_table(tmp_path / "learned.parquet").to_pylist()
    assert (row["model"], row["heldout_loss"]) == (model, enough)
    assert row["gain"] == pytest.approx(6.0 - enough)
    bad = write_curve(tmp_path / "bad", model, [enough, too_little])
    with pytest.raises(ValueError, match=rf"{model} has not learned: held-out loss {too_little:.3f} nats, unigram 6"):
        check_training(curves=[good, bad], learned=tmp_path / "red.parquet")
    assert not (tmp_path / "red.parquet").exists()


def test_all_models_that_did_not_learn_are_named(tmp_path):
    curves = [write_curve(tmp_path / model, model, [6.5]) for model in ("neox-16", "bert-64", "tiny-neox-8")]
    with pytest.raises(ValueError, match=r"neox-16 has not learned.*bert-64 has not learned") as raised:
        check_training(curves=curves, learned=tmp_path / "learned.parquet")
    assert "tiny" not in str(raised.value)


def test_a_model_that_is_not_what_was_written_is_refused(trained, tmp_path):
    model = "tiny-neox-16"
    folder = tmp_path / model
    shutil.copytree(trained / model, folder)
    arguments = {"files": [], "source": str(folder), "revision": "step2", "origins": [trained / f"{model}.parquet"]}
    arguments |= {"config": tmp_path / "config.json", "cache_dir": "unused"}
    resolve_model(listing=tmp_path / "listing.parquet", **arguments)
    (folder / "step2" / "config.json").write_text("{}")
    (folder / "step2" / "more.txt").write_text("")
    with pytest.raises(ValueError, match=r"step2/config\.json, step2/more\.txt: not what .* lists"):
        resolve_model(listing=tmp_path / "again.parquet", **arguments)
    assert not (tmp_path / "again.parquet").exists()

"""Tokenizers from folders and from a hub, as one tokenizer.json that stands alone."""

import json

import pytest
from loopback_hub import Repository, serve
from tiny_models import SENTENCE, WORDS, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints import folder as folder_module
from lm_geometry.checkpoints.ledger import read_listing
from lm_geometry.checkpoints.source import open_tokenizer_revision, parse_source
from lm_geometry.tables.files import file_sha256
from scripts.fetch_tokenizer import fetch_tokenizer

REPOSITORY = "tiny/model"
HELLO = {
    "bert-base-uncased": [101, 7592, 2088, 102],
    "falcon": [9856, 1079],
    "gpt-neox-20b": [12092, 1533],
    "gpt2": [15496, 995],
    "opt": [2, 31414, 232],
    "roberta-base": [0, 31414, 232, 2],
    "t5": [8774, 296, 1],
}
EMPTY = {
    "bert-base-uncased": [101, 102],
    "falcon": [],
    "gpt-neox-20b": [],
    "gpt2": [],
    "opt": [2],
    "roberta-base": [0, 2],
    "t5": [1],
}


def fetch(source, folder, revision="main", cache_dir="unused"):
    fetch_tokenizer(
        files=[],
        tokenizer=folder / "tokenizer.json",
        tokenizer_config=folder / "tokenizer_config.json",
        listing=folder / "listing.parquet",
        source=str(source),
        revision=revision,
        cache_dir=str(cache_dir),
    )
    return folder / "tokenizer.json"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one tokenizer, which this process takes for the hub."""
    source = save_tokenizer(tmp_path / "source")
    (source / "pytorch_model.bin").write_bytes(b"weights")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve({REPOSITORY: source}) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


# -- what it encodes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(HELLO))
def test_tokenizer_json_alone_encodes_as_the_real_tokenizer(shared_data, tmp_path, name):
    from tokenizers import Tokenizer

    path = fetch(shared_data / "tokenizers" / name, tmp_path)
    tokenizer = Tokenizer.from_file(str(path))
    assert tokenizer.encode("Hello world").ids == HELLO[name]
    assert tokenizer.encode("").ids == EMPTY[name]


@pytest.mark.parametrize("name", ["opt", "bert-base-uncased", "t5"])
def test_the_fetched_folder_is_a_tokenizer_for_transformers(shared_data, tmp_path, name):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    path = fetch(shared_data / "tokenizers" / name, tmp_path)
    texts = ["Ångström's 1,234 naïve  cafés\n\n\t東京 🙂", "<pad></s> [MASK]", "x" * 3000]
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    original = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name, local_files_only=True)
    alone = Tokenizer.from_file(str(path))
    for text in texts:
        assert alone.encode(text).ids == original(text)["input_ids"] == again(text)["input_ids"]


def test_padding_and_truncation_do_not_outlive_the_fetch(tmp_path):
    from tokenizers import Tokenizer

    source = save_tokenizer(tmp_path / "source")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(source / "tokenizer.json"))
    found = json.loads(fetch(source, tmp_path / "out").read_text())
    assert found["truncation"] is None
    assert found["padding"] is None


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_tokenizer_is_found_in_a_models_revision(tmp_path):
    save_tokenizer(tmp_path / "models" / "step0")
    (tmp_path / "models" / "step0" / "config.json").write_text('{"model_type": "gpt_neox"}')
    fetch(tmp_path / "models", tmp_path / "out", "step0")
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "</s>"
    assert str(tmp_path) not in json.dumps(config)


def test_sources_without_a_fast_tokenizer_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="none: holds no tokenizer file"):
        fetch(tmp_path / "none", tmp_path / "out")
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (slow / "merges.txt").write_text("#version: 0.2\n")
    (slow / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    with pytest.raises(ValueError, match="CTRLTokenizer is no fast tokenizer"):
        fetch(slow, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_folder_needs_no_config(tmp_path):
    save_tokenizer(tmp_path)
    assert {file.role for file in open_tokenizer_revision(parse_source(str(tmp_path)), "main").listing()} == {
        "tokenizer"
    }


def test_weights_beside_a_tokenizer_are_not_read(tmp_path, monkeypatch):
    source = save_tokenizer(tmp_path / "source")
    (source / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(folder_module, "file_sha256", lambda path: pytest.fail(f"{path} was read for its digest"))
    fetch(source, tmp_path / "out")


# -- the hub -----------------------------------------------------------------------------------------------------------


def test_what_a_tokenizer_came_from_is_written_for_others_to_inherit(hub, tmp_path):
    fetch(REPOSITORY, tmp_path / "out", cache_dir=tmp_path / "cache")
    facts = provenance.read(tmp_path / "out" / "listing.parquet")
    assert facts["origin"] == {"tokenizer_id": REPOSITORY, "tokenizer_commit": hub.commit(REPOSITORY)}
    listed = {file.path: file.sha256 for file in read_listing(tmp_path / "out" / "listing.parquet")}
    names = {"tokenizer.json", "tokenizer_config.json"}
    assert listed == {name: file_sha256(tmp_path / "source" / name) for name in names}
    # Neither the weights, nor anything that transformers might look for by itself.
    assert {request.path.rpartition("/")[2] for request in hub.file_requests()} == names

    fetch(tmp_path / "source", tmp_path / "folder")
    facts = provenance.read(tmp_path / "folder" / "listing.parquet")["origin"]
    assert facts["tokenizer_id"] == "source"
    assert facts["tokenizer_commit"].startswith("sha256:")
    assert (tmp_path / "folder" / "tokenizer.json").read_bytes() == (tmp_path / "out" / "tokenizer.json").read_bytes()


def test_without_network_the_cached_copy_is_used(hub, tmp_path, monkeypatch):
    online = fetch(REPOSITORY, tmp_path / "online", cache_dir=tmp_path / "cache")
    hub.close()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = fetch(REPOSITORY, tmp_path / "offline", cache_dir=tmp_path / "cache")
    for name in ("tokenizer.json", "tokenizer_config.json", "listing.parquet"):
        assert (offline.parent / name).read_bytes() == (online.parent / name).read_bytes()
    with pytest.raises(ValueError, match=r"^tiny/model \(main\): the hub cannot be reached"):
        fetch(REPOSITORY, tmp_path / "none", cache_dir=tmp_path / "empty")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "token", "message"),
    [
        ({"gated": True, "token": "hf_right"}, None, r"^tiny/model: the model is gated: .*set HF_TOKEN"),
        ({"gated": True, "token": "hf_right"}, "hf_wrong", r"^tiny/model: .*the account of HF_TOKEN has no access"),
        ({"private": True, "token": "hf_right"}, None, r"^tiny/model: the hub has no such model, or it is private"),
    ],
)
def test_a_closed_tokenizer_is_refused_in_one_line(hub, tmp_path, monkeypatch, change, token, message):
    hub.repositories[REPOSITORY] = Repository({"main": tmp_path / "source"}, **change)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match=message) as refused:
        fetch(REPOSITORY, tmp_path / "out", cache_dir=tmp_path / "cache")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetch(REPOSITORY, tmp_path / "out", cache_dir=tmp_path / "cache")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hf_right" not in path.read_bytes()


def test_a_revision_that_is_not_there_is_named_beside_those_that_are(hub, tmp_path):
    with pytest.raises(ValueError, match=r"^tiny/model: no revision 'man'; nearest of 1: main"):
        fetch(REPOSITORY, tmp_path / "out", "man", cache_dir=tmp_path / "cache")


def test_a_damaged_tokenizer_is_refused_and_not_left_behind(hub, tmp_path):
    # One byte of a word, so that the file is JSON all the same.
    content = (tmp_path / "source" / "tokenizer.json").read_bytes()
    place = content.index(b'"cat"') + 1
    hub.repositories[REPOSITORY] = Repository({"main": {"tokenizer.json": content}})
    fetch(REPOSITORY, tmp_path / "out", cache_dir=tmp_path / "cache")
    (blob,) = (tmp_path / "cache").glob("models--*/blobs/*")
    blob.write_bytes(content[:place] + b"b" + content[place + 1 :])
    with pytest.raises(ValueError, match=r"^tiny/model: tokenizer.json: its digest is .* it was removed"):
        fetch(REPOSITORY, tmp_path / "again", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "again").exists()
    fetch(REPOSITORY, tmp_path / "again", cache_dir=tmp_path / "cache")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (tmp_path / "out" / "tokenizer.json").read_bytes()


def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_converted(tmp_path):
    """As google/t5-v1_1-small comes: no tokenizer.json."""
    import sentencepiece
    from tokenizers import Tokenizer

    folder = tmp_path / "t5"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SENTENCE, *WORDS] * 20), model_prefix=str(folder / "spiece"), vocab_size=40,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.vocab").unlink()
    settings = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "extra_ids": 0}))
    peer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    converted = Tokenizer.from_file(str(fetch(folder, tmp_path)))
    for text in (SENTENCE, "that dog sat", ""):
        assert converted.encode(text).ids == [*peer.encode(text), 1]

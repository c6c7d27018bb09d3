"""The embedding table of every family in every form of checkpoint, over the loopback hub: its values and its bytes."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from extracted import extract
from huggingface_hub import constants
from loopback_hub import serve
from tiny_models import FAMILIES, VOCAB_ROWS, build_model, build_text_and_image_model, save_tokenizer

from lm_geometry import provenance
from lm_geometry.embeddings.table import read_embedding_table

MARGIN = 1_000_000
# One beside the table in every file: what a reader of whole files would fetch and break the bound.
BALLAST = 2_000_000
# Of a file below the hub's own address, as huggingface_hub makes it.
ADDRESS = "/{repo_id}/resolve/{revision}/{filename}"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TEXT_AND_IMAGE = "gemma3"


def safetensors(model, folder):
    model.save_pretrained(folder)


def sharded_safetensors(model, folder):
    model.save_pretrained(folder, max_shard_size=f"{BALLAST // 1000 + 200}KB")
    assert (folder / "model.safetensors.index.json").exists()


def torch_bin(model, folder):
    (folder / "pytorch_model.bin").write_bytes(torch_bytes(model.state_dict()))


def old_torch_bin(model, folder):
    content = torch_bytes(model.state_dict(), _use_new_zipfile_serialization=False)
    (folder / "pytorch_model.bin").write_bytes(content)


def sharded_torch_bin(model, folder):
    state = model.state_dict()
    shard_of = {}
    # Tied tensors lie in one shard, as they do on the hub.
    shares = {name: tensor.data_ptr() for name, tensor in state.items()}
    for name, place in shares.items():
        number = sorted(set(shares.values())).index(place) % 2 if not name.startswith("ballast") else int(name[-1])
        shard_of[name] = f"pytorch_model-{number + 1:05d}-of-00002.bin"
    for shard in set(shard_of.values()):
        part = {name: tensor for name, tensor in state.items() if shard_of[name] == shard}
        (folder / shard).write_bytes(torch_bytes(part))
    index = {"metadata": {}, "weight_map": shard_of}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def torch_bytes(state, **settings):
    buffer = io.BytesIO()
    torch.save(dict(state), buffer, **settings)
    return buffer.getvalue()


FORMS = (safetensors, sharded_safetensors, torch_bin, sharded_torch_bin, old_torch_bin)


def models(family):
    """Yield a name and a model: with a head that shares the table or has its own, and without a head."""
    if family == TEXT_AND_IMAGE:
        yield "head", build_text_and_image_model()
        return
    tied, untied = (build_model(family, tied=choice) for choice in (True, False))
    table = [model.get_input_embeddings().weight.data_ptr() for model in (tied, untied)]
    assert tied.get_output_embeddings().weight.data_ptr() == table[0]
    assert untied.get_output_embeddings().weight.data_ptr() != table[1]
    yield "tied", tied
    yield "untied", untied
    yield "bare", build_model(family, head=False)


def checkpoints(family, folder):
    """Save a family's models in every type and form; yield id, folder and the table."""
    for kind, model in models(family):
        for dtype in DTYPES:
            model.to(DTYPES[dtype])
            for number in range(2):
                model.register_buffer(f"ballast_{number}", torch.zeros(BALLAST // 4))
            model.config.architectures = [type(model).__name__]
            table = model.get_input_embeddings().weight.detach()
            for form in FORMS:
                name = f"{kind}-{dtype}-{form.__name__}"
                (folder / name).mkdir(parents=True)
                model.config.save_pretrained(folder / name)
                form(model, folder / name)
                yield f"{family}/{name}", folder / name, table


def pickle_bytes(path):
    """Return the size of the pickle in a torch zip; 0 for any other file."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith("data.pkl"))


@pytest.fixture
def folder():
    """A folder that is removed at once: pytest would keep the 200 MB of each family for three runs."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("family", [*sorted(FAMILIES), TEXT_AND_IMAGE])
def test_the_table_is_the_models_own_and_costs_its_bytes(folder, monkeypatch, family):
    tokenizer = save_tokenizer(folder / "tokenizer") / "tokenizer.json"
    saved = list(checkpoints(family, folder / "hub"))
    width = 16 if family == TEXT_AND_IMAGE else FAMILIES[family].embedding_width
    with serve({name: files for name, files, _ in saved}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + ADDRESS)
        for name, files, table in saved:
            path = extract(name, tokenizer, folder / "out", cache_dir=folder / "cache")
            found = read_embedding_table(path)
            assert found.shape == (VOCAB_ROWS, width), name
            np.testing.assert_array_equal(found, table.float().numpy(), err_msg=name)
            facts = provenance.read(path)["settings"]
            sent = {
                file: hub.bytes_sent[f"{name}/{file.name}"]
                for file in files.iterdir()
                if file.suffix in (".bin", ".safetensors")
            }
            pickles = sum(pickle_bytes(file) for file, count in sent.items() if count)
            assert sum(sent.values()) <= table.nbytes + MARGIN + pickles, name
            assert facts["bytes_read"] <= table.nbytes + MARGIN + pickles, name
            assert all(file.stat().st_size > table.nbytes + MARGIN + pickles for file in sent), name

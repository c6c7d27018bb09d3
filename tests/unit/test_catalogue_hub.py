"""The recorded catalogue is what a hub would say: transformers reads its configs and finds the published parameters."""

import json

import catalogue_hub
import pytest
from loopback_hub import OnlyListed

from lm_geometry.checkpoints.listed_file import ListedFile, role_of
from lm_geometry.checkpoints.weight_files import entry_file

CATALOGUE = catalogue_hub.catalogue()
MODELS = [name for name in CATALOGUE if catalogue_hub.model_config(name)]


@pytest.mark.parametrize("repository", MODELS)
def test_transformers_builds_a_model_of_as_many_parameters_from_each_config(repository, tmp_path):
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    (revision, *_) = CATALOGUE[repository].revisions.values()
    (tmp_path / "config.json").write_bytes(revision["config.json"])
    config = AutoConfig.from_pretrained(tmp_path, local_files_only=True)
    heads = {"t5": AutoModelForSeq2SeqLM, "bert": AutoModel, "roberta": AutoModel, "albert": AutoModel}
    with torch.device("meta"):
        model = heads.get(config.model_type, AutoModelForCausalLM).from_config(config)
    expected = catalogue_hub.n_parameters(repository)
    if repository.startswith("google/t5-v1_1"):
        # transformers 5 builds T5 with a shared head, whatever its config says.
        expected -= config.vocab_size * config.d_model
    assert sum(tensor.numel() for tensor in model.parameters()) == expected


@pytest.mark.parametrize("repository", MODELS)
def test_a_listing_has_a_format_that_can_be_read_and_its_index_names_what_is_listed(repository):
    digests = []
    for files in CATALOGUE[repository].revisions.values():
        listed = [ListedFile(name, role_of(name), 1, None) for name in files]
        entry = entry_file(listed)
        if entry.endswith(".json"):
            shards = json.loads(files[entry])["weight_map"].values()
            assert set(shards) <= set(files)
        read = catalogue_hub.bytes_of_weights(files)
        assert 0.9 * catalogue_hub.n_parameters(repository) * 2 <= read
        digests += [file.sha256 for name, file in files.items() if isinstance(file, OnlyListed)]
    if repository != "EleutherAI/pythia-2.8b":
        assert len(digests) == len(set(digests))


def test_bloom_s_table_lies_alone_in_the_first_of_72_shards():
    files = CATALOGUE["bigscience/bloom"].revisions["main"]
    shards = sorted(name for name in files if name.startswith("pytorch_model_000"))
    assert (shards[0], len(shards)) == ("pytorch_model_00001-of-00072.bin", 72)
    assert round(files[shards[0]].size / 1e9, 2) == 7.19
    assert round(sum(files[name].size for name in shards) / 1e9) == 352

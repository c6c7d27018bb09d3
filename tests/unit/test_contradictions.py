"""Settings that leave another one without effect are errors, not silence."""

import pytest

from lm_geometry.configuration.checking import find_errors

_LENGTH = {"length": 64, "tokenizer": "a"}


def _errors(**dynamics):
    section = {"corpus": "enwik8", "profiles": ["a"], **dynamics}
    models = {"a": {"source": "EleutherAI/pythia-14m", "suite": "Pythia"}}
    return find_errors({"models": models, "representation_dynamics": section}, base=".")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"chunk_characters": 512, "chunk_tokens": _LENGTH, "batch_size": 1024},
            "chunk_characters: 512: chunk_tokens gives the length too; remove one of the two",
        ),
        (
            {"hidden_states": "stream", "keep_hidden_states": True},
            "keep_hidden_states: true: `hidden_states: stream` stores none that could be kept; remove it, or set "
            "`hidden_states: dump`",
        ),
        (
            {"device": "cpu", "max_memory": {"gpu": "3GB", "cpu": "9GB"}},
            "max_memory.gpu: '3GB': `device: cpu` uses no GPU; remove it, or set `device: cuda`",
        ),
        (
            {"device": "cpu", "gpus": {"count": 2}},
            "gpus: {'count': 2}: `device: cpu` uses no GPU; remove it, or set `device: cuda`",
        ),
        (
            {"device": "cuda", "max_memory": {"cpu": "9GB"}},
            "max_memory: {'cpu': '9GB'}: `device: cuda` needs the memory of each GPU too; add gpu, as in 70GB",
        ),
    ],
)
def test_what_has_no_effect_is_one_line(settings, line):
    assert _errors(**settings) == [f"representation_dynamics.{line}"]


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_tokens": _LENGTH, "batch_size": 1024},
        {"hidden_states": "stream", "keep_hidden_states": False},
        {"hidden_states": "dump", "keep_hidden_states": True},
        {"device": "auto", "max_memory": {"gpu": "3GB"}, "gpus": {"memory": "80GB"}},
        {"device": "cuda", "max_memory": {"gpu": "3GB"}},
        {"device": "cpu", "max_memory": {"cpu": "3GB"}},
    ],
)
def test_what_goes_together_is_taken(settings):
    assert _errors(**settings) == []

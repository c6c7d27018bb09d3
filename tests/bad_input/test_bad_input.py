"""Every bad input is one clear line: what and where it is, its value and what to do; nothing is left half-written."""

import re

import pytest
from collection_cases import COLLECTIONS, good_collection
from config_cases import CONFIGS, good_config
from corpus_cases import CORPORA, good_corpora
from hub_cases import HUB, good_hub
from model_cases import MODELS, good_models

CASES = [*CONFIGS, *MODELS, *COLLECTIONS, *CORPORA, *HUB]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_input_is_one_clear_line(case, tmp_path):
    seen = case.run(tmp_path)
    assert seen.exit_code != 0, seen.screen
    assert "Traceback" not in seen.screen
    errors = [line for line in seen.screen.splitlines() if all(re.search(part, line) for part in case.says)]
    assert len(errors) == 1, f"no line says {case.says}, or several do:\n{seen.screen}"
    if seen.log is not None:
        assert "Traceback" in seen.log
    assert not list(seen.outputs.rglob("*")), "something was left behind"


def test_there_are_at_least_sixty_and_each_has_its_name():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("make", [good_config, good_collection, good_corpora, good_models, good_hub])
def test_the_inputs_are_good_before_they_are_broken(make, tmp_path):
    for seen in make(tmp_path):
        assert seen.exit_code == 0, seen.screen

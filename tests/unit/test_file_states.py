"""A replaced file is told by its content, a touched one is not."""

import os

import numpy as np
import pytest

from lm_geometry.file_states import states_of


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_001])
def test_other_content_of_the_same_size_and_time_is_told(tmp_path, size):
    path, results = tmp_path / "weights.bin", tmp_path / "results"
    path.write_bytes(np.random.default_rng(1).bytes(size))
    before = states_of([str(path)], results)
    os.utime(path, (0, 0))
    assert states_of([str(path)], results) == before
    path.write_bytes(np.random.default_rng(2).bytes(size))
    os.utime(path, (0, 0))
    assert (states_of([str(path)], results) != before) == (size > 0)


@pytest.mark.parametrize("name", ["corpus.xml", "qrels.tsv", "queries.jsonl", "model.safetensors"])
def test_of_texts_every_byte_counts_and_of_weights_the_places_between_do_not(tmp_path, name):
    path, content = tmp_path / name, bytearray(4_000_000)
    path.write_bytes(content)
    before = states_of([str(path)], tmp_path / "results")
    content[20_000:21_000] = bytes([1]) * 1000  # between the first place and the second
    path.write_bytes(content)
    assert (states_of([str(path)], tmp_path / "results") != before) == (path.suffix != ".safetensors")


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_byte_of_a_large_file_count(tmp_path, place):
    content = bytearray(2_000_000)
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    before = states_of([str(path)], tmp_path / "results")
    content[place] = 1
    path.write_bytes(content)
    assert states_of([str(path)], tmp_path / "results") != before


def test_what_the_run_makes_is_left_out_and_what_is_absent_is_said(tmp_path):
    made = tmp_path / "results" / "dump.xml"
    assert states_of([str(made), str(tmp_path / "gone")], tmp_path / "results") == ["absent"]

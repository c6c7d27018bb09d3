import contextlib
import pickle
import time
import tracemalloc
from io import BytesIO

import pytest
from hostile_pickles import (
    archive_file,
    call,
    hostile_pickles,
    integer,
    numbers,
    program,
    storage,
    stream_file,
    tensor,
    text,
)

from lm_geometry.checkpoints.byte_source import LocalFile
from lm_geometry.checkpoints.tensors import torch_pickle, torch_reader
from lm_geometry.checkpoints.tensors.torch_pickle import PickledStorage, PickledTensor

NAMES = sorted(hostile_pickles("canary"))
RUNNING = [name for name in NAMES if hostile_pickles("canary")[name].runs]


def described(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    return torch_reader.describe(LocalFile(path))


def loaded(content):
    return torch_pickle.load(BytesIO(content), "file")[0]


@pytest.mark.parametrize("wrapped", [archive_file, stream_file])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_are_refused_by_name_and_do_not_run(tmp_path, name, wrapped):
    canary = tmp_path / "canary"
    hostile = hostile_pickles(canary)[name]
    with pytest.raises(ValueError, match=hostile.named) as caught:
        described(tmp_path, wrapped(hostile.content))
    message = str(caught.value)
    assert message.startswith("pytorch_model.bin: ")
    assert "\n" not in message
    assert len(message) < 500
    assert not canary.exists()


@pytest.mark.parametrize("name", RUNNING)
def test_the_pickles_that_run_do_run_in_pythons_own_machine(tmp_path, name, monkeypatch):
    import torch

    # Else "they did not run" would hold for pickles that could not.
    if name == "load of bytes":
        load = torch.load
        monkeypatch.setattr(torch, "load", lambda *args, **options: load(*args, **{**options, "weights_only": False}))
    canary = tmp_path / "canary"
    with contextlib.suppress(TypeError, AttributeError, RuntimeError, pickle.UnpicklingError):
        pickle.loads(hostile_pickles(canary)[name].content)
    assert canary.exists()


def test_long_programs_end(monkeypatch):
    monkeypatch.setattr(torch_pickle, "LARGEST_PROGRAM", 1_000)
    with pytest.raises(ValueError, match=r"opcode EMPTY_LIST at byte 1001 is step 1001, and 1000 are allowed"):
        loaded(program(b"]" * 2_000))


def test_the_longest_program_takes_seconds_and_no_gigabytes(monkeypatch):
    monkeypatch.setattr(torch_pickle, "LARGEST_PROGRAM", 200_000)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ValueError, match="is step 200001"):
        loaded(program(b"]" * 300_000))
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scale = 4_000_000 / 200_000
    assert seconds * scale < 120
    assert peak * scale < 1e9


@pytest.mark.parametrize(
    ("value", "repeated"),
    [
        (b"](" + b"K\x00K\x01\x86" * 300 + b"e", b"ccollections\nOrderedDict\nh\x00\x85R"),
        (b"}(" + b"".join(integer(key) + b"N" for key in range(300)) + b"u", b"ccollections\nCounter\nh\x00\x85R"),
        (
            b"}(" + b"".join(text(str(key)) + b"N" for key in range(300)) + b"u",
            b"ccollections\nOrderedDict\n)Rh\x00b",
        ),
    ],
)
def test_going_through_one_value_again_and_again_is_work(monkeypatch, value, repeated):
    monkeypatch.setattr(torch_pickle, "LARGEST_PROGRAM", 3_000)
    once = value + b"q\x00" + repeated + b"\x86"
    assert len(loaded(program(once))) == 2
    with pytest.raises(ValueError, match=r"opcode (REDUCE|BUILD) .* is step 3[0-9]{3}, and 3000 are allowed"):
        loaded(program(value + b"q\x00" + repeated * 9))


def test_values_are_those_of_pythons_own_machine():
    from collections import OrderedDict

    value = {
        "none": None, "truth": [True, False], "numbers": (0, -1, 255, 256, 65536, -(2**31), 2**31, 2**200, 1.5),
        "text": "ä€🙂", "long": "x" * 300, "list": [[], [1], {}], "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": OrderedDict(a=1, b=OrderedDict()), 3: 4, -(2**62): 5, None: 6, True: 7, 0.5: 8,
    }  # fmt: skip
    for protocol in (2, 3, 4, 5):
        assert loaded(pickle.dumps(value, protocol=protocol)) == value
    # Bytes are no text; protocol 2 writes them as a call.
    for protocol in (3, 4, 5):
        assert loaded(pickle.dumps([b"x", b"y" * 300], protocol=protocol)) == [b"x", b"y" * 300]


def test_an_ordered_mapping_of_pairs_as_python_2_wrote_it():
    pairs = b"](](" + text("x") + b"K\x01e](" + text("y") + b"K\x02ee"
    assert loaded(program(b"ccollections\nOrderedDict\n" + pairs + b"\x85R")) == {"x": 1, "y": 2}


def test_a_memo_may_have_any_number():
    far = b"r\xff\xff\xff\xff" + b"j\xff\xff\xff\xff"
    assert loaded(program(text("x") + far + b"\x86")) == ("x", "x")


def test_records_stand_for_settings_and_keep_nothing():
    import argparse
    from collections import Counter, defaultdict

    import numpy as np

    settings = {
        "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(x=[1])), "loss": np.float64(0.5),
        "set": {1, 2}, "frozen": frozenset({1}), "bytes": bytearray(b"x"), "complex": 1j,
        "array": np.arange(3),
        "count": Counter("aab"), "default": defaultdict(list, a=[1]),
    }  # fmt: skip
    for protocol in (2, 4):
        found = loaded(pickle.dumps(settings, protocol=protocol))
        assert found.keys() == settings.keys()
        assert found["count"] == {"a": 2, "b": 1}
        assert found["default"] == {"a": [1]}
        assert not vars(found["args"])


def test_tensors_are_described():
    held = PickledStorage("0", "float32", 6, 0, 24)
    assert loaded(program(tensor())) == {"x": PickledTensor(held, "float32", 0, (2, 3), (3, 1))}
    part = program(tensor(offset=2, shape=(2, 2), strides=(2, 1)))
    assert loaded(part)["x"] == PickledTensor(held, "float32", 8, (2, 2), (2, 1))
    oldest = program(tensor(function="_rebuild_tensor", tail=b""))
    assert loaded(oldest)["x"] == PickledTensor(held, "float32", 0, (2, 3), (3, 1))


def test_the_stream_is_left_behind_the_pickle():
    stream = BytesIO(program(b"}") + b"rest")
    assert torch_pickle.load(stream, "file") == ({}, {})
    assert stream.read() == b"rest"


def test_names_in_errors_are_escaped_and_short():
    with pytest.raises(ValueError, match="names") as caught:
        loaded(program(call("x\x1b[31m" + "y" * 10_000, "z")))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_size_may_come_as_torch_size():
    sized = b"ctorch\nSize\n" + numbers((2, 3)) + b"\x85R"
    body = b"}" + text("x") + b"ctorch._utils\n_rebuild_tensor\n(" + storage() + integer(0) + sized + numbers((3, 1))
    assert loaded(program(body + b"tRs"))["x"].shape == (2, 3)

"""The machine for torch's pickles: the values that Python's own machine builds, or one clear error; nothing is run."""

import pickle
import warnings
from collections import Counter, OrderedDict, defaultdict
from functools import partial
from io import BytesIO

from audit import nothing_run
from hostile_pickles import archive_file, stream_file, text
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_file import at_most
from programs import RUNNING, programs
from tensor_peers import check_message, described
from test_torch_files import assert_as_torch

from lm_geometry.checkpoints.tensors import torch_pickle
from lm_geometry.checkpoints.tensors.torch_reader import describe


def mappings(items):
    return st.sampled_from([dict, OrderedDict, partial(defaultdict, list)]).map(lambda kind: kind(items))


LEAVES = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4).flatmap(mappings)
    ),
    max_leaves=8,
)


def loaded(content):
    """Return what the machine makes of a pickle, or its error."""
    with warnings.catch_warnings(), nothing_run():
        # The parser of opcodes warns of odd escapes before their opcode is refused.
        warnings.simplefilter("ignore")
        try:
            return torch_pickle.load(BytesIO(content), "weights")[0]
        except ValueError as error:
            check_message(error)
            return error


# Protocol 2 writes bytes as a call, which becomes a record.
@given(VALUES, st.integers(3, 5))
def test_plain_values_are_those_that_were_written(value, protocol):
    assert loaded(pickle.dumps(value, protocol=protocol)) == value


class Peer(pickle.Unpickler):
    """Python's own machine, with stand-ins for what is not of its library."""

    def find_class(self, module, name):
        known = {"OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": defaultdict}
        return known.get(name, StandIn) if module == "collections" else StandIn

    def persistent_load(self, _facts):
        return StandIn()


class StandIn:
    def __new__(cls, *_arguments, **_named):
        return super().__new__(cls)

    def __init__(self, *_arguments, **_named):
        pass

    def __setstate__(self, _state):
        pass

    def add(self, _item):
        pass


@given(programs())
def test_made_up_programs_give_what_pythons_machine_gives_or_are_refused(content):
    found = loaded(content)
    if isinstance(found, ValueError):
        return
    assert_alike(found, Peer(BytesIO(content)).load())


def assert_alike(found, peer, seen=frozenset()):
    """Assert that two values have the same plain parts; values within themselves are followed once."""
    if isinstance(peer, StandIn | type) or id(found) in seen:
        return
    seen = seen | {id(found)}
    if isinstance(found, dict):
        assert isinstance(peer, dict)
        names = [key for key in found if isinstance(key, str | int | float | None)]
        assert names == [key for key in peer if isinstance(key, str | int | float | None)]
        for name in names:
            assert_alike(found[name], peer[name], seen)
    elif isinstance(found, list | tuple):
        assert type(found) is type(peer)
        assert len(found) == len(peer)
        for one, other in zip(found, peer, strict=True):
            assert_alike(one, other, seen)
    elif not isinstance(peer, set | frozenset):
        assert type(found) is type(peer)
        assert found == peer


@given(programs(of_model=True), st.sampled_from([archive_file, stream_file]))
def test_files_around_made_up_programs_are_read_as_torch_does_or_refused(content, wrapped):
    stored = ({"data/0": bytes(24)},) if wrapped is archive_file else ([("0", 6, bytes(24))],)
    content = wrapped(content, *stored)
    with warnings.catch_warnings(), nothing_run():
        warnings.simplefilter("ignore")
        found, values = described(describe, content)
    if not isinstance(found, ValueError):
        assert_as_torch(content, found, values)


@given(programs(inserted=RUNNING), st.sampled_from(RUNNING))
def test_no_code_runs_wherever_it_stands(content, call):
    head, body = content[:2], content[2:-1]
    assert isinstance(loaded(head + b"(" + call + body + b"t."), ValueError)
    assert isinstance(loaded(head + b"}" + text("x") + call + b"s."), ValueError)
    loaded(content)
    # A pickle within a pickle is bytes.
    outer = pickle.dumps({"x": content, "y": [content]}, protocol=4)
    assert loaded(outer) == {"x": content, "y": [content]}


@given(st.binary())
def test_any_bytes_are_refused_or_plain(content):
    loaded(b"\x80\x02" + content)
    loaded(content)


@settings(max_examples=max(20, settings.default.max_examples // 5))
@given(programs(), st.integers(1, 300))
def test_memory_and_work_are_bounded(content, times):
    content = content[:2] + content[2:-1] * times + b"."
    with at_most(4_000_000 + 1_000 * len(content)):
        loaded(content)

"""The readers of torch's files: what torch reads from them with weights_only, or one clear error; nothing is run."""

import io
import pickle
import re
import struct
import warnings
import zipfile
from itertools import pairwise

import torch
from audit import nothing_run
from damage import damaged
from hostile_pickles import archive_file, hostile_pickles, stream_file
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_file import MemoryFile, at_most
from tensor_peers import DTYPES, assert_as_peer, check_message, described, tensor_of

from lm_geometry.checkpoints.tensors.range_file import FIRST_READ, LARGEST_PART
from lm_geometry.checkpoints.tensors.torch_reader import describe
from lm_geometry.checkpoints.tensors.zip_directory import read_directory

# Those that torch reads from the old format too.
OLD_DTYPES = [name for name in DTYPES if name not in {"uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"}]
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
# torch lets slip whatever the bytes lead to.
PEER_ERRORS = (
    *(RuntimeError, pickle.UnpicklingError, ValueError, EOFError, OSError, KeyError, IndexError, TypeError),
    *(AttributeError, AssertionError, OverflowError, MemoryError, struct.error),
)
BESIDE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def saved(state, *, archive):
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=archive)
    return stream.getvalue()


GOOD_STATES = [
    {"a.weight": tensor_of("float32", (3, 4)), "b": tensor_of("bfloat16", (6,)), "step": 3},
    {"model": {"x": tensor_of("float16", (2, 2))}, "epoch": 1},
    {"x": tensor_of("float32", (4, 4))[1:3], "y": torch.nn.Parameter(tensor_of("float64", (2,)))},
]
GOOD = [saved(state, archive=archive) for state in GOOD_STATES for archive in (True, False)]


@st.composite
def tensors(draw):
    """Draw a tensor: whole, or a part, turned or repeated view of one."""
    whole = tensor_of(draw(st.sampled_from(OLD_DTYPES)), draw(SHAPES), draw(st.integers(0, 18)))
    view = draw(st.sampled_from(["whole", "whole", "part", "turned", "spread"]))
    # An empty tensor may begin behind the end of its storage: such a file is refused, though torch reads it.
    if view == "part" and whole.ndim and whole.numel():
        first = draw(st.integers(0, whole.shape[0] - 1))
        return whole[first : draw(st.integers(first, whole.shape[0]))]
    if view == "turned" and whole.ndim >= 2:
        return whole.transpose(0, 1)
    return whole.expand(2, *whole.shape) if view == "spread" else whole


@given(
    st.dictionaries(st.text(max_size=8), tensors(), min_size=1, max_size=4),
    st.dictionaries(st.text(max_size=8), BESIDE, max_size=2),
    st.booleans(),
)
def test_what_torch_writes_is_read(held, beside, archive):
    state = {**beside, **held}
    if any(isinstance(beside.get(key), dict) for key in ("model", "state_dict")):
        return
    content = saved(state, archive=archive)
    with nothing_run():
        found, values = described(describe, content)
    assert_as_peer(found, values, {name: one for name, one in state.items() if isinstance(one, torch.Tensor)})


@given(damaged(GOOD))
def test_damaged_files_are_read_as_torch_does_or_refused(content):
    with warnings.catch_warnings(), nothing_run():
        # The parser of opcodes warns of odd escapes before their opcode is refused.
        warnings.simplefilter("ignore")
        found, values = described(describe, content)
    if not isinstance(found, ValueError):
        assert_as_torch(content, found, values)


def assert_as_torch(content, found, values):
    """Assert that where torch reads the file too, it reads the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = torch.load(io.BytesIO(content), weights_only=True)
    except PEER_ERRORS:
        return
    for name in found:
        holder = next(one for one in (peer, *map(peer.get, ("model", "state_dict"))) if one and name in one)
        assert_as_peer({name: found[name]}, values, {name: holder[name]})


# Archives.


@st.composite
def archives(draw):
    """Draw a zip archive of a few entries, stored or not, with odd names and comments."""
    stream = io.BytesIO()
    names = st.sampled_from(["a/data.pkl", "a/data/0", "a/byteorder", "b/data.pkl", "ä/x", "x" * 300]) | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
    )
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        for name in draw(st.lists(names, max_size=4)):
            info = zipfile.ZipInfo(name)
            info.compress_type = draw(st.sampled_from([zipfile.ZIP_STORED] * 7 + [zipfile.ZIP_DEFLATED]))
            info.extra = draw(st.sampled_from([b"", b"", b"FB\x04\0zzzz"]))
            with archive.open(info, "w", force_zip64=draw(st.booleans())) as entry:
                entry.write(draw(st.binary(max_size=20)))
        archive.comment = draw(st.binary(max_size=4))
    return stream.getvalue()


# Where the fields of an entry's own header, of the directory's entry and of the directory's end stand, and their sizes.
FIELDS = {
    b"PK\x03\x04": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\x01\x02": [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)],
    b"PK\x05\x06": [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


@st.composite
def with_another_field(draw, content):
    """Draw the archive with a field set to a number near to what it was, or to any."""
    magic = draw(st.sampled_from(sorted(FIELDS)))
    places = [found.start() for found in re.finditer(re.escape(magic), content)] or [0]
    field, size = draw(st.sampled_from(FIELDS[magic]))
    start = draw(st.sampled_from(places)) + field
    was = int.from_bytes(content[start : start + size], "little")
    value = draw(st.sampled_from([0, 1, 2**31, was + 1, was - 1, was + 4, was + 8]) | st.integers(0, 2**32 - 1))
    return content[:start] + (value % 256**size).to_bytes(size, "little") + content[start + size :]


@given(archives().flatmap(lambda content: st.just(content) | with_another_field(content) | damaged([content], most=2)))
def test_entries_of_archives_are_those_that_zipfile_reads(content):
    file = MemoryFile(content)
    try:
        entries = read_directory(file)
        places = {name: entry.data_start(file) for name, entry in entries.items()}
    except ValueError as error:
        check_message(error)
        return
    in_order = sorted(entries.values(), key=lambda entry: entry.header)
    assert all(places[one.name] + one.size <= following.header for one, following in pairwise(in_order))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert entries.keys() == set(archive.namelist())
        for name, entry in entries.items():
            try:
                expected = archive.read(name)
            except (zipfile.BadZipFile, NotImplementedError):
                continue  # a checksum that does not fit is found when the bytes are read
            assert file.read(places[name], entry.size) == expected


# Code.


HOSTILE = [one.content for one in hostile_pickles("/nowhere/canary").values()]


@given(st.sampled_from(HOSTILE), st.sampled_from([archive_file, stream_file]), st.data())
def test_nothing_of_a_hostile_file_runs(pickled, wrapped, data):
    content = wrapped(data.draw(st.just(pickled) | damaged([pickled, *HOSTILE])))
    with warnings.catch_warnings(), nothing_run():
        warnings.simplefilter("ignore")
        described(describe, content)


# How much is read and held.


@given(damaged(GOOD), st.integers(0, 2**45))
def test_no_more_is_read_than_a_header_may_be_long(content, more):
    file = MemoryFile(content, len(content) + more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            describe(file)
        except ValueError as error:
            check_message(error)
    assert file.bytes_read <= 4 * FIRST_READ + LARGEST_PART


@settings(max_examples=max(20, settings.default.max_examples // 5))
@given(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"]",
            b"}",
            b"(",
            b"N\x85",
            b"]q\x00",
            b"}h\x00s",
            b"(h\x00h\x00t",
            b"ccollections\nOrderedDict\n)R",
            b"h\x00\x85R",
        ]
    )
    | st.binary(min_size=1, max_size=6),
    st.integers(1, 3_000),
)
def test_memory_is_that_of_the_pickle(head, unit, times):
    content = b"\x80\x02" + head + unit * times + b"."
    with warnings.catch_warnings(), at_most(3_000_000 + 1_000 * len(content)):
        warnings.simplefilter("ignore")
        described(describe, archive_file(content))

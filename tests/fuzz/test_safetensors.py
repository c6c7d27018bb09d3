"""The safetensors reader: what the safetensors library reads, or one clear error."""

import contextlib
import json
import struct

from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_file import MemoryFile, at_most
from safetensors import SafetensorError, deserialize
from safetensors.torch import save
from tensor_peers import DTYPES, assert_as_peer, described, tensor_of

from lm_geometry.checkpoints.tensors.range_file import FIRST_READ, LARGEST_PART
from lm_geometry.checkpoints.tensors.safetensors_reader import describe

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
TENSORS = st.builds(tensor_of, st.sampled_from(DTYPES), SHAPES, st.integers(0, 18))
GOOD = [
    save({"a.weight": tensor_of("float32", (3, 4)), "b": tensor_of("bfloat16", (6,))}, {"format": "pt"}),
    save({"x": tensor_of("int8", (0, 2)), "y": tensor_of("float64", ())}),
    save({f"h.{number}.w": tensor_of("float16", (2,), number) for number in range(8)}),
]
SIZES = st.integers(-2, 40) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 2**70])


# Of no tensors and empty metadata the library writes what it does not read itself.
METADATA = st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=3)


@given(st.dictionaries(NAMES, TENSORS, max_size=5), METADATA)
def test_what_the_library_writes_is_read(tensors, metadata):
    found, values = described(describe, save(tensors, metadata))
    assert_as_peer(found, values, tensors)


@given(damaged(GOOD))
def test_damaged_files_are_read_as_the_library_does_or_refused(content):
    assert_refused_or_as_library(content)


def entries():
    """Return a strategy for the facts of a tensor in a header, mostly of the right keys."""
    types = st.sampled_from(["F32", "BF16", "F4", "U8", "F6_E2M3", "F3_E1M1", "f32", "", 4, None])
    facts = st.fixed_dictionaries(
        {"dtype": types, "shape": st.lists(SIZES, max_size=4), "data_offsets": st.lists(SIZES, min_size=2, max_size=2)},
        optional={"more": st.none()},
    )
    return facts | st.recursive(st.none() | st.booleans() | st.text(max_size=3), st.lists, max_leaves=4)


@st.composite
def laid_out(draw):
    """Draw a header whose entries lie end to end, as they must, but for a few; and as much data."""
    header, place = {}, 0
    for number in range(draw(st.integers(0, 4))):
        dtype, bits = draw(st.sampled_from([("F32", 32), ("F16", 16), ("BOOL", 8), ("F4", 4), ("F6_E2M3", 6)]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        count = bits
        for length in shape:
            count *= length
        place = max(0, place + draw(st.sampled_from([0] * 9 + [1, -1])))
        end = place + count // 8 + draw(st.sampled_from([0] * 9 + [1, -1]))
        header[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    return header, bytes(max(0, place))


@given(laid_out(), st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), entries(), max_size=2), st.booleans())
def test_made_up_headers_are_read_as_the_library_does_or_refused(header_and_data, more, escaped):
    header, data = header_and_data
    text = json.dumps({**header, **more}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    assert_refused_or_as_library(struct.pack("<Q", len(text)) + text + data)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_any_bytes_are_refused_as_the_library_does(header, data):
    assert_refused_or_as_library(struct.pack("<Q", len(header)) + header + data)
    assert_refused_or_as_library(header)


def assert_refused_or_as_library(content):
    """Assert that a file is refused, or read as the library reads it; of what that refuses only unknown types."""
    found, values = described(describe, content)
    try:
        peer = dict(deserialize(content))
    except SafetensorError as error:
        if "unknown variant" not in str(error):
            assert isinstance(found, ValueError), error  # noqa: PT017 - it is the other one's
        return
    if isinstance(found, ValueError):
        return
    assert found.keys() == peer.keys()
    for name, facts in peer.items():
        assert (list(found[name].shape), values[name]) == (facts["shape"], bytes(facts["data"]))


@given(damaged(GOOD), st.integers(0, 2**45))
def test_no_more_is_read_than_a_header_may_be_long(content, more):
    file = MemoryFile(content, len(content) + more)
    with contextlib.suppress(ValueError):
        describe(file)
    assert file.bytes_read <= FIRST_READ + LARGEST_PART


@settings(max_examples=max(20, settings.default.max_examples // 5))
@given(
    st.sampled_from([b"[", b"{", b'{"":', b"[]", b"[],", b"{},", b"0,", b'"",', b'"a":{},', b"9"]),
    st.integers(1, 20_000),
)
def test_memory_is_that_of_the_header(unit, times):
    header = b'{"a":[' + unit * times
    with at_most(2_000_000 + 100 * len(header)):
        described(describe, struct.pack("<Q", len(header)) + header)

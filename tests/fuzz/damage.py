"""Damage to bytes: what disks, networks and enemies do to a file."""

import struct

from hypothesis import strategies as st

# What sizes and offsets go wrong with.
NUMBERS = [0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
LAYOUTS = ["<B", "<H", "<I", "<Q", ">I"]


def number_bytes():
    """Return a strategy for numbers as a header may hold them."""
    return st.builds(
        lambda layout, number: struct.pack(layout, number % 256 ** struct.calcsize(layout)),
        st.sampled_from(LAYOUTS),
        st.sampled_from(NUMBERS) | st.integers(0, 2**64 - 1),
    )


@st.composite
def damaged(draw, contents, *, most=4):
    """Draw one of the contents and up to ``most`` edits: bits, numbers, cuts, repetitions, parts of another content."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, most))):
        content = draw(_edited(content, contents))
    return content


@st.composite
def _edited(draw, content, contents):
    place = draw(st.integers(0, len(content)))
    length = draw(st.sampled_from([1, 1, 1, 2, 4, 8, 40]) | st.integers(1, max(1, len(content))))
    end = min(len(content), place + length)
    kind = draw(st.sampled_from(["flip", "overwrite", "insert", "delete", "repeat", "cut", "splice", "move"]))
    if kind == "flip":
        flipped = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[place : place + 1])
        return content[:place] + flipped + content[place + 1 :]
    if kind in {"overwrite", "insert"}:
        value = draw(number_bytes() | st.binary(min_size=1, max_size=12))
        return content[:place] + value + content[place + (len(value) if kind == "overwrite" else 0) :]
    if kind == "delete":
        return content[:place] + content[end:]
    if kind == "repeat":
        return content[:end] + content[place:end] + content[end:]
    if kind == "cut":
        return content[:place]
    if kind == "splice":
        other = draw(st.sampled_from(contents))
        return content[:place] + other[draw(st.integers(0, len(other))) :]
    to = draw(st.integers(0, len(content)))
    return content[:to] + content[place:end] + content[to:]

"""Pickles made opcode by opcode: most of them whole, some with an opcode too many, too few or out of place."""

import struct
from dataclasses import dataclass

from hostile_pickles import call, integer, stack_call, storage, tensor, text
from hypothesis import strategies as st

GLOBALS = [
    *([b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"ccollections\ndefaultdict\n"] * 3),
    b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nFloatStorage\n",
    b"ctorch\nfloat32\n", b"cargparse\nNamespace\n", b"c__builtin__\nset\n", b"c_codecs\nencode\n",
]  # fmt: skip
RUNNING = [call("os", "system", "true"), call("posix", "mkdir", "/nowhere/canary"), call("builtins", "eval", "1"),
           stack_call("torch", "os.system", "true"), b"cos\nsystem\n", b"cbuiltins\nexec\n"]  # fmt: skip
OPCODES = [
    *(b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", b"(", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u"),
    *(b"\x94", b"R", b"\x81", b"b", b"Q", b"\x90", b"\x91", b"\x93", b"\x92", b"0", b"1", b"2", b"o", b"\x97", b"\x98"),
    *(b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"r\x02\0\0\0", b"j\x02\0\0\0", b"I1\n", b"L1L\n", b"F1.5\n", b"S'x'\n"),
    *(b"Vx\n", b"Px\n", b"p0\n", b"g0\n", b"ios\nsystem\n", b"\x82\x01", b".", b"\x80\x02", b"\x95" + bytes(8)),
    b"\xff",
    *(b"\x8a\x00", b"\x8a\x01\xff", b"\x8b\x01\0\0\0\x07", b"B\x01\0\0\0x", b"C\x01x", b"T\x01\0\0\0x", b"U\x01x"),
    *(b"\x8e" + struct.pack("<Q", 1) + b"x", b"\x96" + struct.pack("<Q", 1) + b"x"),
    b"\x8d" + struct.pack("<Q", 1 << 40),
]  # fmt: skip


SCALARS = [
    *(b"N", b"\x88", b"\x89", b")", b"\x8a\x00", b"K\x01", b"M\x00\x01", integer(-1), integer(2**63), integer(2**70)),
    *(text("x"), text("model"), text("ä"), text(""), b"G" + struct.pack(">d", 1.5), b"C\x01x", storage(), b"\x8f"),
]  # fmt: skip
MAPPINGS = [
    *([tensor(), tensor(offset=2, shape=(2,), strides=(1,)), tensor(shape=(2, 2), strides=(1, 3))] * 3),
    tensor(shape=(3, 3)), tensor(shape=(-1,), strides=(1,)), tensor(offset=2**62),
]  # fmt: skip
# A mapping may be made from nothing, pairs or another one.
ARGUMENTS = [
    b")",
    b"](" + text("x") + b"K\x01\x86e\x85",
    b"}" + text("x") + b"K\x01s\x85",
    b"N\x85",
    b"]\x85",
    b"]]\x86",
]


@st.composite
def programs(draw, inserted=OPCODES, *, of_model=False):
    """Draw a pickle of protocol 2 to 4 that is mostly whole, with up to two opcodes where they do not belong.

    It holds a tuple of anything, ``of_model`` a mapping with tensors under 'model' and anything beside them.
    """
    # An empty list and mapping, stored for later.
    stack, body = ["l", "d"], b"]q\x00}q\x01"
    for _ in range(draw(st.integers(1, 20))):
        step = draw(st.sampled_from(_possible(stack)))
        body += draw(st.sampled_from(step.codes))
        step.act(stack)
    body += _one_value(stack)
    if of_model:
        body = b"}(" + text("model") + draw(st.sampled_from(MAPPINGS)) + text("more") + body + b"u"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.sampled_from(inserted)) + body[place + draw(st.integers(0, 1)) :]
    return bytes([0x80, draw(st.integers(2, 4))]) + body + b"."


@dataclass(frozen=True)
class _Step:
    """An opcode, or one of several, and what it takes from the stack and leaves there; "(" stands for a mark."""

    codes: list[bytes]
    takes: int | str = 0
    leaves: str = ""

    def act(self, stack):
        if self.takes == "(":
            del stack[_last_mark(stack) :]
        elif self.takes:
            del stack[-self.takes :]
        stack += self.leaves


_ALWAYS = [
    _Step(SCALARS, leaves="v"), _Step([b"]"], leaves="l"), _Step([b"}", *MAPPINGS], leaves="d"),
    _Step(GLOBALS, leaves="g"), _Step([b"("], leaves="("),
]  # fmt: skip
_MEMO = [_Step([b"q\x00", b"q\x01", b"\x94"]), _Step([b"h\x00", b"h\x01"], leaves="v")]


def _possible(stack):
    """Return the steps that may follow, those that bring a program to its end as often as those that go on."""
    found = list(_ALWAYS)
    top = "".join(stack[_last_mark(stack) + 1 :])
    if top:
        found += [*_MEMO, _Step([b"\x85"], 1, "t")]
        found += [_Step(ARGUMENTS, leaves="t")] * 8 if top[-1] == "g" else []
    if len(top) >= 2:
        found += [_Step([b"\x86"], 2, "t")]
        found += [_Step([b"b"], 1)] if top[-2:] == "vd" else []
        found += [_Step([b"a"], 1)] * 3 if top[-2] == "l" else []
        found += [_Step([b"R", b"R", b"\x81"], 2, "v")] * 10 if top[-2:] == "gt" else []
    found += [_Step([b"s"], 2)] * 3 if top[-3:-2] == "d" else []
    if "(" in stack:
        below = stack[_last_mark(stack) - 1] if _last_mark(stack) else ""
        found += [_Step([b"t"], "(", "t")]
        found += [_Step([b"e"], "(")] * 3 if below == "l" else []
        found += [_Step([b"u"], "(")] * 3 if below == "d" and len(top) % 2 == 0 else []
    return found


def _last_mark(stack):
    return len(stack) - 1 - stack[::-1].index("(") if "(" in stack else -1


def _one_value(stack):
    """Return the opcodes that make one value of all that is on the stack."""
    return b"t" * stack.count("(") + b"\x86" * (stack.index("(") if "(" in stack else len(stack) - 1)

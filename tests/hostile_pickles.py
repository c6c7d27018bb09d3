"""Pickles that a reader must refuse: each by name, with what its error must name, and whether Python's own runs it."""

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
VERSION = pickle.dumps(1001, protocol=2)
MACHINE = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, protocol=2)


@dataclass(frozen=True)
class Hostile:
    """``content`` is one pickle; ``named`` a regular expression; ``runs`` says that pickle.loads makes the canary."""

    content: bytes
    named: str
    runs: bool = False


def text(value):
    """Opcode for a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    """Opcode for a number of any size."""
    content = value.to_bytes(20, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def call(module, name, *arguments):
    """Opcodes that call a function by GLOBAL, with texts as arguments."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(text(argument) for argument in arguments) + b"tR"


def stack_call(module, name, *arguments):
    """The same by STACK_GLOBAL, whose name may have dots."""
    return text(module) + text(name) + b"\x93(" + b"".join(text(argument) for argument in arguments) + b"tR"


def program(body, protocol=2):
    """A pickle of that body."""
    return bytes([0x80, protocol]) + body + b"."


def storage(count=6, key="0", kind="torch\nFloatStorage"):
    """Opcodes for a storage of floats by its persistent id."""
    size = integer(count) if isinstance(count, int) else count
    return b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + size + b"tQ"


def numbers(values):
    """Opcodes for a tuple of numbers."""
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def tensor(held=None, offset=0, shape=(2, 3), strides=(3, 1), function="_rebuild_tensor_v2", tail=None):
    """Opcodes for a mapping with one tensor x."""
    start = integer(offset) if isinstance(offset, int) else offset
    arguments = (storage() if held is None else held) + start + numbers(shape) + numbers(strides)
    tail = b"\x89}" if tail is None else tail
    return b"}" + text("x") + f"ctorch._utils\n{function}\n(".encode() + arguments + tail + b"tRs"


def blow_up(levels):
    """Opcodes for a tuple that holds 2 ** levels texts, and takes two bytes a level."""
    return text("a") + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(levels))


def hostile_pickles(canary):
    """Return all of them; those that run make the folder ``canary``."""
    where = str(canary)
    shell = f"mkdir '{where}'"
    code = f"__import__('os').mkdir({where!r})"
    running = {
        "system by GLOBAL": Hostile(program(call("os", "system", shell)), "GLOBAL at byte [0-9]+ names os.system"),
        "mkdir by GLOBAL": Hostile(program(call("posix", "mkdir", where)), "names posix.mkdir"),
        "system by STACK_GLOBAL": Hostile(program(stack_call("os", "system", shell), 4), "STACK_GLOBAL .* os.system"),
        "system by INST": Hostile(program(b"(" + text(shell) + b"ios\nsystem\n"), "opcode INST"),
        "system by OBJ": Hostile(program(b"(cos\nsystem\n" + text(shell) + b"o"), "GLOBAL .* names os.system"),
        "eval": Hostile(program(call("builtins", "eval", code)), "names builtins.eval"),
        "eval of Python 2": Hostile(program(call("__builtin__", "eval", code)), "names builtins.eval"),
        "exec": Hostile(program(call("builtins", "exec", code)), "names builtins.exec"),
        "run by subprocess": Hostile(program(call("subprocess", "getoutput", shell)), "names subprocess.getoutput"),
        "system as an attribute of torch": Hostile(
            program(stack_call("torch", "os.system", shell), 4), r"STACK_GLOBAL .* names torch\.os\.system"
        ),
        "mkdir as an attribute of a list's neighbour": Hostile(
            program(stack_call("argparse", "_os.mkdir", where), 4), r"names argparse\._os\.mkdir"
        ),
        "system behind a tensor": Hostile(
            program(b"}(" + text("x") + call("os", "system", shell) + b"u"), "names os.system"
        ),
        "system in a key": Hostile(program(b"}" + call("os", "system", shell) + text("x") + b"s"), "names os.system"),
        "system in a memo": Hostile(
            program(call("os", "system", shell) + b"q\x000}h\x00" + text("x") + b"s"), "os.system"
        ),
        "load of bytes": Hostile(
            program(
                b"ctorch.storage\n_load_from_bytes\n("
                + _short_bytes(stream_file(program(call("posix", "mkdir", where))))
                + b"tR",
                3,
            ),
            "names torch.storage._load_from_bytes",
        ),
        "loads of pickle": Hostile(
            program(b"c_pickle\nloads\n(" + _short_bytes(program(call("posix", "mkdir", where))) + b"tR", 3),
            "names _pickle.loads",
        ),
        "state that is called": Hostile(
            program(b"cfunctools\npartial\ncbuiltins\nprint\n\x85R(cposix\nmkdir\n" + text(where) + b"\x85}}tb)R"),
            "names functools.partial",
        ),
    }
    found = {name: Hostile(one.content, one.named, runs=True) for name, one in running.items()}
    found |= {
        f"{module}.{name}": Hostile(program(call(module, name, "x")), rf"names {module}\.{name}, which is not allowed")
        for module, name in (
            ("torch", "load"), ("torch.hub", "load"), ("torch.hub", "load_state_dict_from_url"), ("torch.jit", "load"),
            ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "open"), ("builtins", "compile"),
            ("importlib", "import_module"), ("operator", "attrgetter"), ("functools", "partial"), ("numpy", "load"),
            ("_codecs", "decode"), ("types", "FunctionType"), ("shutil", "rmtree"), ("torch.nn", "Linear"),
            ("torch", "FakeStorage"), ("torch", "float33"), ("collections", "namedtuple"), ("dill", "loads"),
            ("torch._utils", "_rebuild_device_tensor_from_numpy"), ("transformers.modeling_utils", "PreTrainedModel"),
            ("lm_geometry.tables.files", "write_text"),
        )
    }  # fmt: skip
    return found | _broken_calls() | _broken_tensors() | _bombs()


def _broken_calls():
    ordered = b"ccollections\nOrderedDict\n"
    return {
        "attribute of an allowed class": Hostile(
            program(stack_call("collections", "OrderedDict.fromkeys", "x"), 4), r"OrderedDict\.fromkeys, which"
        ),
        "class by number": Hostile(program(b"K\x01K\x02\x93", 4), "STACK_GLOBAL .* no text"),
        "allowed class by INST": Hostile(program(b"(icollections\nOrderedDict\n"), "opcode INST"),
        "allowed class by OBJ": Hostile(program(b"(" + ordered + b"o"), "opcode OBJ"),
        "pairs by NEWOBJ": Hostile(
            program(ordered + b"](" + text("x") + b"K\x01\x86e\x85\x81"),
            r"NEWOBJ .* makes a new collections\.OrderedDict with",
        ),
        "counter of pairs": Hostile(
            program(b"ccollections\nCounter\n](" + text("x") + b"K\x01\x86e\x85R"), "REDUCE .* a counter from a list"
        ),
        "default that is a list": Hostile(program(b"ccollections\ndefaultdict\n]\x85R"), "REDUCE .* with a list for"),
        "function by NEWOBJ": Hostile(
            program(b"ctorch._utils\n_rebuild_tensor\n)\x81"), r"NEWOBJ .* makes a new torch\._utils\._rebuild_tensor"
        ),
        "list by NEWOBJ": Hostile(program(b"])\x81"), "NEWOBJ .* makes a new list"),
        "allowed class by NEWOBJ_EX": Hostile(program(ordered + b")}\x92", 4), "opcode NEWOBJ_EX"),
        "call of a list": Hostile(program(b"])R"), "REDUCE .* calls a list"),
        "call of a text": Hostile(program(text("os.system") + b")R"), "REDUCE .* calls a text"),
        "call of a type": Hostile(program(b"ctorch\nfloat32\n)R"), "REDUCE .* calls torch.float32"),
        "arguments that are no tuple": Hostile(program(ordered + b"]R"), "REDUCE .* with a list"),
        "too many arguments": Hostile(program(ordered + b"]]\x86R"), "OrderedDict with 2 arguments"),
        "mapping of a number": Hostile(program(ordered + b"K\x05\x85R"), "REDUCE .* from a number"),
        "mapping of single values": Hostile(program(ordered + b"](K\x05e\x85R"), "REDUCE .* else than pairs"),
        "tensor by os.system": Hostile(
            program(b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n)}tR"), "names os.system"
        ),
        "tensor by a mapping": Hostile(
            program(b"ctorch._tensor\n_rebuild_from_type_v2\n(" + ordered + b"ctorch\nTensor\n)}tR"),
            "builds a tensor by collections.OrderedDict",
        ),
        "tensor by itself": Hostile(
            program(b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00ctorch\nTensor\n)}tR"), "a tensor by torch"
        ),
        "class set by BUILD": Hostile(
            program(ordered + b")R}" + text("__class__") + ordered + b"sb"), "BUILD .* sets the attribute __class__"
        ),
        "__setstate__ set by BUILD": Hostile(
            program(ordered + b")R}" + text("__setstate__") + ordered + b"sb"), "BUILD .* attribute __setstate__"
        ),
        "state of a list": Hostile(program(b"]}b"), "BUILD .* sets the state of a list"),
        "state of a class": Hostile(program(ordered + b"}b"), "BUILD .* sets the state of collections.OrderedDict"),
        "state of a tensor": Hostile(program(tensor()[1 + len(text("x")) : -1] + b"}b"), "BUILD .* state of a tensor"),
        "state that is no mapping": Hostile(program(ordered + b")R]b"), "BUILD .* state of an OrderedDict by a list"),
        "EXT1": Hostile(program(b"\x82\x01"), "opcode EXT1"),
        "EXT2": Hostile(program(b"\x83\x01\x00"), "opcode EXT2"),
        "EXT4": Hostile(program(b"\x84\x01\x00\x00\x00"), "opcode EXT4"),
        "line of a persistent id": Hostile(program(b"Pstorage\n"), "opcode PERSID"),
        "persistent id of a module": Hostile(program(text("module") + b"\x85Q"), "BINPERSID .* no storage"),
        "persistent id that is a number": Hostile(program(b"K\x01Q"), "BINPERSID .* no storage"),
        "buffer out of band": Hostile(program(b"\x97", 5), "opcode NEXT_BUFFER"),
        "bytearray": Hostile(program(b"\x96" + struct.pack("<Q", 1) + b"a", 5), "opcode BYTEARRAY8"),
        "text of protocol 0": Hostile(program(b"S'x'\n"), "opcode STRING"),
        "two values": Hostile(program(b"]]"), "STOP .* leaves 2 values"),
        "no value": Hostile(program(b""), "STOP .* leaves 0 values"),
        "open mark": Hostile(program(b"](]"), "1 open marks"),
        "append to a text": Hostile(program(text("x") + b"]a"), "APPEND .* needs a list"),
        "item of a list": Hostile(program(b"]K\x01K\x02s"), "SETITEM .* needs a dictionary"),
        "key without a value": Hostile(program(b"}(K\x01u"), "SETITEMS .* a key without a value"),
        "list as a key": Hostile(program(b"}]K\x01s"), "SETITEM .* has a list for a key"),
        "pop of nothing": Hostile(program(b"\x85"), "TUPLE1 .* where there is none"),
        "memo of nothing": Hostile(program(b"q\x00"), "BINPUT .* where there is none"),
        "mark of nothing": Hostile(program(b"t"), "TUPLE .* mark where there is none"),
        "memo never stored": Hostile(program(b"h\x07"), "BINGET .* value 7"),
        "protocol 0": Hostile(b"(dp0\n.", "opcode MARK .* PROTO must be the first"),
        "protocol 6": Hostile(program(b"}", 6), "PROTO .* protocol 6"),
        "protocol twice": Hostile(program(b"\x80\x02}"), "PROTO .* once"),
        "unknown opcode": Hostile(program(b"\xff"), "no whole pickle"),
    }  # fmt: skip


def _broken_tensors():
    def of(named, **facts):
        return Hostile(program(tensor(**facts)), named)

    return {
        "tensor of numbers": of("REDUCE .* from a number, not from a storage", held=b"K\x01"),
        "negative offset": of("REDUCE .* at an offset", offset=-1),
        "offset that is a truth": of("REDUCE .* at an offset", offset=b"\x88"),
        "negative size": of("REDUCE .* no numbers from 0 up", shape=(-2, 3)),
        "negative stride": of("REDUCE .* no numbers from 0 up", strides=(-3, 1)),
        "tensor beyond its storage": of("ends at byte 36 of a storage of 24 bytes", shape=(3, 3)),
        "offset beyond the storage": of("ends at byte 28 of a storage of 24 bytes", offset=1),
        "empty tensor beyond the storage": of("ends at byte 28", offset=7, shape=(0, 3)),
        "strides beyond the storage": of("ends at byte 36", strides=(6, 1)),
        "product that overflows": of("builds a tensor of .* elements", shape=(2**40, 2**40), strides=(0, 0)),
        "sizes that overflow": of("no numbers from 0 up", shape=(2**70, 1)),
        "sizes without strides": of("2 sizes and 1 strides", strides=(1,)),
        "too many sizes": of("65 sizes", shape=(1,) * 65, strides=(1,) * 65),
        "storage of negative size": of("BINPERSID .* describes a storage", held=storage(-6)),
        "storage of fractional size": of(
            "BINPERSID .* describes a storage", held=storage(b"G" + struct.pack(">d", 6.0))
        ),
        "storage of no type": of("BINPERSID .* describes a storage", held=storage(kind="collections\nOrderedDict")),
        "storage in two ways": Hostile(program(b"]" + storage(7) + b"a" + tensor()), "storage 0 in two ways"),
        "part beyond its storage": of(
            "elements 4 to 8 of a storage of 6",
            held=storage()[:-2] + b"(" + text("1") + integer(4) + integer(4) + b"ttQ",
        ),
        "part that is a text": of("a part of a storage", held=storage()[:-2] + text("x") + b"tQ"),
        "negated tensor": of("negated or conjugated", tail=b"\x89}}" + text("neg") + b"\x88s"),
        "tensor of no type": of("a tensor of no type", function="_rebuild_tensor_v3", tail=b"\x89}K\x01"),
        "too few arguments": of("_rebuild_tensor_v2 with 5 arguments", tail=b"\x89"),
        "parameter of a list": Hostile(
            program(b"ctorch._utils\n_rebuild_parameter\n(]\x89}tR"), "a parameter from a list"
        ),
    }


def _bombs():
    return {
        "key of a tuple that blows up": Hostile(
            program(b"}" + blow_up(60) + b"K\x01s"), "SETITEM .* has a tuple for a key"
        ),
        "pair with a tuple that blows up": Hostile(
            program(b"ccollections\nOrderedDict\n](](" + blow_up(60) + b"K\x01ee\x85R"), "REDUCE .* a tuple for a key"
        ),
        "number of more than 64 bits as a key": Hostile(
            program(b"}" + integer(2**63) + b"K\x01s"), "SETITEM .* has a number for a key"
        ),
        "call of a tuple that blows up": Hostile(program(blow_up(60) + b")R"), "REDUCE .* calls a tuple"),
        "value that blows up": Hostile(program(blow_up(200)), "holds a tuple"),
        "lists within lists": Hostile(program(b"]" * 50_000 + b"a" * 49_999), "holds a list"),
        "a list within itself": Hostile(program(b"]q\x00h\x00a"), "holds a list"),
        "marks upon marks": Hostile(program(b"(" * 2_000), "MARK .* more than 1000 marks"),
        "number of a megabyte": Hostile(
            program(b"\x8b" + struct.pack("<i", 1 << 20) + bytes((1 << 20) - 1) + b"\x01"), "opcode LONG4"
        ),
        "text of four exabytes": Hostile(program(b"\x8d" + struct.pack("<Q", 1 << 62), 4), "no whole pickle"),
        "bytes of two gigabytes": Hostile(program(b"B" + struct.pack("<I", 1 << 31), 3), "no whole pickle"),
        "text of negative length": Hostile(program(b"T" + struct.pack("<i", -1)), "no whole pickle"),
        "cut short": Hostile(program(b"}" + text("x"))[:-2], "no whole pickle"),
        "without STOP": Hostile(program(b"}")[:-1], "no whole pickle|PROTO must be the first opcode"),
    }


def _short_bytes(content):
    return b"B" + struct.pack("<I", len(content)) + content


def archive_file(content, entries=()):
    """A torch zip file around a pickle, with more entries by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for name, value in dict(entries).items():
            archive.writestr(f"archive/{name}", value)
    return stream.getvalue()


def stream_file(content, storages=()):
    """A torch file of the old format around a pickle, with storages as (key, number of elements, bytes)."""
    keys = pickle.dumps([key for key, _, _ in storages], protocol=2)
    stored = b"".join(struct.pack("<q", count) + value for _, count, value in storages)
    return MAGIC + VERSION + MACHINE + content + keys + stored

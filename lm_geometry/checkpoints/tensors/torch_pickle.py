"""A pickle machine that builds descriptions of tensors and cannot run anything.

It never imports, looks up an attribute or calls what a stream names. Each class or function on the lists below stands
for a rule of this module; any other, and any opcode that torch's own files do not need, is an error.
"""

import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, BinaryIO, NoReturn

from lm_geometry.checkpoints.tensors.tensor import MOST_DIMENSIONS, shown

# Far above what a checkpoint needs (some 40 opcodes a tensor), and seconds, not hours, of work.
LARGEST_PROGRAM = 4_000_000
_DEEPEST_MARK = 1_000
_LARGEST_SIZE = 2**63 - 1

# Bytes of one element.
DTYPES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "complex128": 16, "complex64": 8, "complex32": 4,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1, "qint8": 1, "quint8": 1, "qint32": 4, "bits8": 1, "bits16": 2,
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64", "LongStorage": "int64",
    "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "UntypedStorage": "uint8",
}  # fmt: skip
_STORAGE_MODULES = {"torch", "torch.cuda", "torch.storage"}
# Names that Python 2 wrote, and Python 3 writes at protocol 2.
_MODULES_NOW = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# Settings and counters beside the tensors in training checkpoints (fairseq's and metaseq's among them). Whatever is
# asked of these becomes an empty record.
_RECORDS = {
    "argparse.Namespace", "typing.Any", "builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.complex",
    "builtins.list", "builtins.dict", "builtins.int", "builtins.long", "builtins.float", "builtins.str",
    "builtins.bool", "_codecs.encode", "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode", "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.EnumNode", "omegaconf.nodes.FloatNode", "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode", "torch.device", "torch.serialization._get_layout", "torch.Tensor",
    "torch.nn.parameter.Parameter", "torch.per_tensor_affine", "torch.per_tensor_symmetric",
    "torch.per_channel_affine", "torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams",
}  # fmt: skip


@dataclass(frozen=True)
class PickledStorage:
    """A run of bytes that the stream refers to by a key; ``start`` is 0 but for a part of another storage."""

    key: str
    dtype: str
    count: int
    start: int
    nbytes: int

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of the whole storage, of which this may be a part."""
        return self.count * DTYPES[self.dtype]


@dataclass(frozen=True)
class PickledTensor:
    """A tensor in a storage: ``start`` in bytes from the storage's first, ``strides`` in elements."""

    storage: PickledStorage
    dtype: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """A class or function from the lists, as the stream may hold it; ``dtype`` for storage classes and types."""

    path: str
    dtype: str | None = None


class _Record:
    """What stands for an object of no interest; nothing is kept of it."""


class _Ordered(dict):
    """An OrderedDict, the one mapping whose attributes a stream may set (they are dropped)."""


_KINDS = {
    PickledStorage: "a storage",
    PickledTensor: "a tensor",
    _Record: "a record",
    _Ordered: "an OrderedDict",
    str: "a text",
    int: "a number",
    float: "a number",
    NoneType: "nothing",
}


def load(stream: BinaryIO, name: str) -> tuple[Any, dict[str, PickledStorage]]:
    """Run one pickle of a stream, which is left behind its last byte.

    Parameters
    ----------
    stream : file object
        Where to read from, with ``tell``.
    name : str
        What errors call it.

    Returns
    -------
    tuple
        The value: numbers, texts, lists, tuples and dictionaries of each other, with ``PickledTensor`` for tensors;
        and the storages by key that it refers to.

    Raises
    ------
    ValueError
        If the stream is no whole pickle of protocol 2 to 5, or asks for anything but tensors and plain containers; the
        opcode, the class and the position are named.
    """
    machine = _Machine(name)
    for code, argument, position in _operations(stream, name):
        machine.step(code.name, argument, position)
    return machine.result(), machine.storages


def kind_of(value: Any) -> str:
    """Return what a value of a pickle is, for errors."""
    return value.path if isinstance(value, _Name) else _KINDS.get(type(value), f"a {type(value).__name__}")


def _operations(stream: BinaryIO, name: str) -> Iterator[tuple[Any, Any, int]]:
    operations = pickletools.genops(stream)
    while True:
        try:
            operation = next(operations)
        except StopIteration:
            return
        except ValueError as error:
            raise ValueError(f"{name}: no whole pickle ({shown(error)}); fetch it again") from error
        yield operation


class _Machine:
    """Stack, memo and storages of one run; ``step`` does one opcode."""

    def __init__(self, name: str) -> None:
        self.storages: dict[str, PickledStorage] = {}
        self._name = name
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0
        self._code, self._position = "", 0

    def step(self, code: str, argument: Any, position: int) -> None:
        """Do one opcode, or raise ValueError."""
        self._code, self._position = code, position
        if (code == "PROTO") != (self._steps == 0):
            self.refuse("where PROTO must be the first opcode, once")
        self.spend(1)
        if code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code])
        elif code in _ARGUMENTS:
            self._stack.append(argument)
        elif code in _OPERATIONS:
            _OPERATIONS[code](self, argument)
        else:
            self.refuse("is not allowed in a checkpoint")

    def spend(self, steps: int) -> None:
        """Count the work of an opcode: one step, and one more for each item of a value that it goes through."""
        self._steps += steps
        if self._steps > LARGEST_PROGRAM:
            self.refuse(f"is step {self._steps}, and {LARGEST_PROGRAM} are allowed")

    def result(self) -> Any:
        """Return the one value left, after STOP."""
        if self._below or len(self._stack) != 1:
            self.refuse(f"leaves {len(self._stack)} values and {len(self._below)} open marks, not one value")
        return self._stack[0]

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that names file, opcode and position."""
        raise ValueError(
            f"{self._name}: opcode {self._code} at byte {self._position} {why}; only tensors in plain containers are "
            "read from a pickle (nothing in it was run)"
        )

    def pop(self) -> Any:
        if not self._stack:
            self.refuse("takes a value where there is none")
        return self._stack.pop()

    def top(self, kind: type, wanted: str) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            self.refuse(f"needs {wanted} to act on")
        return self._stack[-1]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop_mark(self) -> list[Any]:
        if not self._below:
            self.refuse("goes back to a mark where there is none")
        items, self._stack = self._stack, self._below.pop()
        return items

    def proto(self, version: int) -> None:
        if not 2 <= version <= 5:
            self.refuse(f"names protocol {version}, not 2 to 5")

    def pass_by(self, _: Any) -> None:
        """Do nothing: a frame is a hint for buffering, and the stream ends behind STOP."""

    def mark(self, _: None) -> None:
        if len(self._below) >= _DEEPEST_MARK:
            self.refuse(f"opens more than {_DEEPEST_MARK} marks")
        self._below.append(self._stack)
        self._stack = []

    def put(self, key: int | None) -> None:
        if not self._stack:
            self.refuse("remembers a value where there is none")
        self._memo[len(self._memo) if key is None else key] = self._stack[-1]

    def get(self, key: int) -> None:
        if key not in self._memo:
            self.refuse(f"recalls value {key}, which was never stored")
        self._stack.append(self._memo[key])

    def tuple_of(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def append(self, items: list[Any]) -> None:
        self.top(list, "a list").extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict, "a dictionary")
        if len(items) % 2:
            self.refuse("has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._check_key(key)
            target[key] = value

    def add_items(self, _: None) -> None:
        self.pop_mark()
        self.top(_Record, "a set")

    def frozen_set(self, _: None) -> None:
        self.pop_mark()
        self.push(_Record())

    def _check_key(self, key: Any) -> None:
        # The hash of a tuple goes through all it holds, which may be exponentially much; and tuples and large numbers
        # of one hash can be had without number, which makes a dictionary slow.
        if not (key is None or isinstance(key, (str, bytes, float, _Name)) or self._is_small(key)):
            self.refuse(f"has {kind_of(key)} for a key, where only texts and numbers of 64 bits may be keys")

    def global_(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        self._resolve(module, attribute)

    def stack_global(self, _: None) -> None:
        attribute, module = self.pop(), self.pop()
        if not (isinstance(module, str) and isinstance(attribute, str)):
            self.refuse("names a class by something that is no text")
        self._resolve(module, attribute)

    def _resolve(self, module: str, attribute: str) -> None:
        module = _MODULES_NOW.get(module, module)
        path = f"{module}.{attribute}"
        if path in _CALLS or path in _RECORDS:
            self.push(_Name(path))
        elif module in _STORAGE_MODULES and attribute in _STORAGES:
            self.push(_Name(path, _STORAGES[attribute]))
        elif module == "torch" and attribute in DTYPES:
            self.push(_Name(path, attribute))
        else:
            self.refuse(f"names {shown(path)}, which is not allowed")

    def reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        self.push(self._call(function, arguments))

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            self.refuse(f"calls {kind_of(function)} with {kind_of(arguments)}")
        if function.path in _RECORDS:
            return _Record()
        if function.path not in _CALLS:
            self.refuse(f"calls {function.path}")
        rule, fewest, most = _CALLS[function.path]
        if not fewest <= len(arguments) <= most:
            self.refuse(f"calls {function.path} with {len(arguments)} arguments, not {fewest} to {most}")
        return rule(self, *arguments)

    def new_object(self, _: None) -> None:
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, _Name) or (kind.path not in _RECORDS and kind.path not in _MAPPINGS):
            self.refuse(f"makes a new {kind_of(kind).removeprefix('a ')}")
        # Python makes the object and leaves it empty, for only a call fills it.
        if kind.path in _MAPPINGS and arguments != ():
            self.refuse(f"makes a new {kind.path} with arguments")
        self.push(self._call(kind, arguments))

    def build(self, _: None) -> None:
        state = self.pop()
        target = self.top(object, "an object")
        if isinstance(target, _Record):
            return
        if not isinstance(target, _Ordered) or not isinstance(state, dict):
            self.refuse(f"sets the state of {kind_of(target)} by {kind_of(state)}")
        self.spend(len(state))
        for key in state:
            if not isinstance(key, str) or key.startswith("__"):
                self.refuse(f"sets the attribute {shown(key)}")

    def persistent(self, _: None) -> None:
        facts = self.pop()
        if not isinstance(facts, tuple) or len(facts) not in (5, 6) or facts[0] != "storage":
            self.refuse("refers to something that is no storage")
        _, kind, key, _, count, *view = facts
        if not (isinstance(kind, _Name) and kind.dtype and isinstance(key, str) and self._is_size(count)):
            self.refuse("describes a storage by something other than class, key and size")
        size = DTYPES[kind.dtype]
        whole = PickledStorage(key, kind.dtype, count, 0, count * size)
        if self.storages.setdefault(key, whole) != whole:
            self.refuse(f"describes the storage {shown(key)} in two ways")
        self.push(self._view(whole, size, view[0]) if view and view[0] is not None else whole)

    def _view(self, whole: PickledStorage, size: int, view: Any) -> PickledStorage:
        if not isinstance(view, tuple) or len(view) != 3 or not all(self._is_size(number) for number in view[1:]):
            self.refuse("describes a part of a storage by something other than key, offset and size")
        _, offset, count = view
        if offset + count > whole.count:
            self.refuse(f"takes elements {offset} to {offset + count} of a storage of {whole.count}")
        return replace(whole, start=offset * size, nbytes=count * size)

    @staticmethod
    def _is_small(value: Any) -> bool:
        return isinstance(value, int) and abs(value) <= _LARGEST_SIZE

    @staticmethod
    def _is_size(value: Any) -> bool:
        # Not isinstance: True is an int to Python.
        return type(value) is int and 0 <= value <= _LARGEST_SIZE

    def tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: _Name | None = None, metadata: Any = None
    ) -> PickledTensor:
        """Return a tensor whose elements all lie in its storage."""
        if not isinstance(storage, PickledStorage):
            self.refuse(f"builds a tensor from {kind_of(storage)}, not from a storage")
        if metadata:
            self.refuse("builds a tensor that is stored negated or conjugated; save it again as resolved values")
        shape, strides = self.sizes(shape), self.sizes(strides)
        if len(shape) != len(strides):
            self.refuse(f"builds a tensor of {len(shape)} sizes and {len(strides)} strides")
        if not self._is_size(offset):
            self.refuse("builds a tensor at an offset that is no number from 0 up")
        if math.prod(shape) > _LARGEST_SIZE:
            self.refuse(f"builds a tensor of {math.prod(shape)} elements")
        kind = dtype.dtype if dtype else storage.dtype
        last = 0 if 0 in shape else 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        end = (offset + last) * DTYPES[kind]
        if end > storage.nbytes:
            self.refuse(f"builds a tensor that ends at byte {end} of a storage of {storage.nbytes} bytes")
        return PickledTensor(storage, kind, storage.start + offset * DTYPES[kind], shape, strides)

    def sizes(self, value: Any) -> tuple[int, ...]:
        """Return a tuple of sizes; torch.Size takes the same."""
        if isinstance(value, (tuple, list)) and len(value) > MOST_DIMENSIONS:
            self.refuse(f"has {len(value)} sizes, and {MOST_DIMENSIONS} are allowed")
        if not isinstance(value, (tuple, list)) or not all(self._is_size(number) for number in value):
            self.refuse("has sizes or strides that are no numbers from 0 up")
        return tuple(value)

    def tensor_v2(self, *arguments: Any) -> PickledTensor:
        storage, offset, shape, strides, _, _, *metadata = arguments
        return self.tensor(storage, offset, shape, strides, None, *metadata)

    def tensor_v3(self, *arguments: Any) -> PickledTensor:
        storage, offset, shape, strides, _, _, dtype, *metadata = arguments
        if not isinstance(dtype, _Name) or dtype.dtype is None:
            self.refuse("builds a tensor of no type")
        return self.tensor(storage, offset, shape, strides, dtype, *metadata)

    def quantized_tensor(self, *arguments: Any) -> PickledTensor:
        storage, offset, shape, strides, _, _, _ = arguments
        return self.tensor(storage, offset, shape, strides)

    def parameter(self, data: Any, *_: Any) -> PickledTensor:
        if not isinstance(data, PickledTensor):
            self.refuse(f"builds a parameter from {kind_of(data)}, not from a tensor")
        return data

    def tensor_with_attributes(self, function: Any, _: Any, arguments: Any, __: Any) -> PickledTensor:
        if not isinstance(function, _Name) or function.path not in _TENSORS:
            self.refuse(f"builds a tensor by {kind_of(function)}")
        return self._call(function, arguments)

    def mapping(self, items: Any = ()) -> _Ordered:
        """Return an OrderedDict, of pairs where Python 2 wrote it."""
        if not isinstance(items, (list, tuple, dict)):
            self.refuse(f"fills a dictionary from {kind_of(items)}, not from pairs")
        self.spend(len(items))
        pairs = items.items() if isinstance(items, dict) else items
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            self.refuse("fills a dictionary from a list of something else than pairs")
        found = _Ordered()
        for key, value in pairs:
            self._check_key(key)
            found[key] = value
        return found

    def counter(self, items: Any = ()) -> _Ordered:
        # Of a list it would count the items.
        if not isinstance(items, dict) and items != ():
            self.refuse(f"fills a counter from {kind_of(items)}, not from a dictionary")
        return self.mapping(items)

    def default_mapping(self, default: Any = None) -> dict[Any, Any]:
        if default is not None and not isinstance(default, _Name):
            self.refuse(f"makes a dictionary with {kind_of(default)} for the values that are missing")
        return {}


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": _Machine.pass_by,
    "STOP": _Machine.pass_by,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(_Record()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "ADDITEMS": _Machine.add_items,
    "FROZENSET": _Machine.frozen_set,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
_TENSORS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "torch._utils._rebuild_tensor": (_Machine.tensor, 4, 4),
    "torch._utils._rebuild_tensor_v2": (_Machine.tensor_v2, 6, 7),
    "torch._utils._rebuild_tensor_v3": (_Machine.tensor_v3, 7, 8),
    "torch._utils._rebuild_qtensor": (_Machine.quantized_tensor, 7, 7),
    "torch._utils._rebuild_parameter": (_Machine.parameter, 3, 3),
    "torch._utils._rebuild_parameter_with_state": (_Machine.parameter, 4, 4),
}
_MAPPINGS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "collections.OrderedDict": (_Machine.mapping, 0, 1),
    "collections.Counter": (_Machine.counter, 0, 1),
    "collections.defaultdict": (_Machine.default_mapping, 0, 1),
}
_CALLS: dict[str, tuple[Callable[..., Any], int, int]] = {
    **_TENSORS,
    **_MAPPINGS,
    "torch._tensor._rebuild_from_type_v2": (_Machine.tensor_with_attributes, 4, 4),
    "torch.Size": (_Machine.sizes, 1, 1),
}

"""The reader: a payload of the writer as an object graph."""

from __future__ import annotations

import collections
import functools
import statistics
import struct
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import river
from river.utils import VectorDict

from learners.state import arrays, generators, names, rust
from learners.state.envelope import unseal
from learners.state.forms import NoForm, Written, plain
from learners.state.functions import Name
from learners.state.instances import set_attributes
from learners.state.writer import functions_of
from schemas.errors import StateUnreadable

# What reading anything but encode_state's own writing runs into.
_MISREAD: Final = (
    NoForm,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
    struct.error,
)


def decode_state(data: bytes, definition: Any = None) -> Any:
    """The learner that `encode_state` was given.

    Args:
        data: what `encode_state` wrote.
        definition: the learner as the model file defines it, of which only functions are taken. Without one, a state
            that names functions is unreadable.

    Raises:
        StateUnreadable: the bytes are truncated or altered, or come from another version of River or of this format.

    >>> decode_state(b"FRST")
    Traceback (most recent call last):
    schemas.errors.StateUnreadable: the learner's state has 4 bytes, which is less than its header
    """
    payload = unseal(data)
    functions = {} if definition is None else functions_of(definition)
    try:
        return _Reader(payload, functions).model()
    except _MISREAD as error:
        # The digest was right, so these bytes were made by something that is not encode_state.
        raise StateUnreadable(f"the learner's state is not what encode_state writes: {error}") from error


class _Reader:
    """Makes the listed objects, empty first, so that whatever refers to them finds them."""

    def __init__(self, payload: bytes, functions: Mapping[Name, types.FunctionType]) -> None:
        self._functions = functions
        version, shapes, self._written, self._root = msgspec.msgpack.decode(payload)
        if version != river.__version__:
            raise StateUnreadable(f"the learner's state is of River {version}, this is River {river.__version__}")
        self._shapes = [(names.river_class_named(module, name), attributes) for module, name, attributes in shapes]
        self._objects: list[Any] = []

    def model(self) -> Any:
        # 1. Every object, empty. 2. Vectors, which take their content when they are made: plain data and one object of
        # step 1. 3. The content of everything else.
        self._objects = [_EMPTY[kind](self, *content) for kind, *content in self._written]
        for place, (kind, *content) in enumerate(self._written):
            if kind == "vector":
                self._objects[place] = self.read_vector(*content)
        for made, (kind, *content) in zip(self._objects, self._written, strict=True):
            if kind in _FILL:
                _FILL[kind](self, made, *content)
        return self.value(self._root)

    def value(self, written: Written) -> Any:
        if not isinstance(written, list):
            return written
        kind, *content = written
        if isinstance(kind, int):
            return self._objects[kind]
        return _VALUES[kind](self, *content)

    def values(self, written: Iterable[Written]) -> Iterator[Any]:
        return (self.value(entry) if isinstance(entry, list) else entry for entry in written)

    def keys(self, written: Iterable[Written]) -> Iterator[Any]:
        return (plain(self.value(entry)) if isinstance(entry, list) else entry for entry in written)

    def items(self, written: Sequence[Written]) -> Iterator[tuple[Any, Any]]:
        return zip(self.keys(written[::2]), self.values(written[1::2]), strict=True)

    def read_function(self, name: str, digest: str) -> types.FunctionType:
        if (name, digest) not in self._functions:
            raise NoForm(f"the model's definition has no function {name}, or another one")
        return self._functions[name, digest]

    def read_partial(self, function: Written, arguments: Written, *keywords: Written) -> functools.partial[Any]:
        return functools.partial(self.value(function), *self.value(arguments), **dict(self.items(keywords)))

    def read_vector(self, factory: Written, *items: Written) -> VectorDict[Any, Any]:
        return VectorDict(dict(self.items(items)), self.value(factory))

    def empty_instance(self, shape: int, *_: Written) -> Any:
        cls, _attributes = self._shapes[shape]
        return object.__new__(cls)

    def fill_instance(self, made: Any, shape: int, *values: Written) -> None:
        _cls, attributes = self._shapes[shape]
        set_attributes(made, attributes, self.values(values))

    def fill_defaultdict(self, made: Any, factory: Written, *items: Written) -> None:
        made.default_factory = self.value(factory)
        made.update(self.items(items))


# What stands in place, by kind.
_VALUES: Final[Mapping[str, Callable[..., Any]]] = {
    "int": lambda _, digits: int(digits),
    "tuple": lambda reader, *values: tuple(reader.values(values)),
    "frozenset": lambda reader, *members: frozenset(reader.keys(members)),
    "normal": lambda _, mean, deviation: statistics.NormalDist(mean, deviation),
    "scalar": lambda _, *parts: arrays.scalar_of(*parts),
    "function": _Reader.read_function,
    "partial": _Reader.read_partial,
    "method": lambda reader, owner, name: names.method_named(reader.value(owner), name),
    "code": lambda _, module, name: names.named(module, name),
    "unseeded": lambda _: generators.unseeded(),
}
# Objects, by kind: how they begin ...
_EMPTY: Final[Mapping[str, Callable[..., Any]]] = {
    "instance": _Reader.empty_instance,
    "dict": lambda *_: {},
    "ordered": lambda *_: collections.OrderedDict(),
    "counter": lambda *_: collections.Counter(),
    "default": lambda *_: collections.defaultdict(),
    "vector": lambda *_: None,
    "list": lambda *_: [],
    "deque": lambda _, length, *__: collections.deque(maxlen=length),
    "set": lambda *_: set(),
    "array": lambda _, *parts: arrays.array_of(*parts),
    "random": lambda _, *parts: generators.random_of(*parts),
    "numpy-random": lambda _, *parts: generators.numpy_random_of(*parts),
    "rust": lambda reader, name, arguments, numbers: rust.statistic_of(name, reader.value(arguments), numbers),
}
# ... and what comes into them when all of them have begun.
_FILL: Final[Mapping[str, Callable[..., None]]] = {
    "instance": _Reader.fill_instance,
    "dict": lambda reader, made, *items: made.update(reader.items(items)),
    "ordered": lambda reader, made, *items: made.update(reader.items(items)),
    # Counter.update would add up; dict.update on an OrderedDict would lose its order.
    "counter": lambda reader, made, *items: dict.update(made, reader.items(items)),
    "default": _Reader.fill_defaultdict,
    "list": lambda reader, made, *values: made.extend(reader.values(values)),
    "deque": lambda reader, made, _, *values: made.extend(reader.values(values)),
    "set": lambda reader, made, *members: made.update(reader.keys(members)),
}

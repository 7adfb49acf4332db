"""The writer: an object graph as the payload that the reader reads."""

from __future__ import annotations

import collections
import functools
import random
import statistics
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import river
from river.utils import VectorDict

from learners.state import arrays, functions, generators, names, rust
from learners.state.envelope import seal
from learners.state.forms import NoForm, Written, full_name, plain
from learners.state.instances import attributes_of
from schemas.errors import NotStorable


def encode_state(model: Any) -> bytes:
    """The learner as bytes; equal learners give equal bytes.

    Args:
        model: a River estimator or pipeline between two events; it is only read.

    Raises:
        NotStorable: an attribute holds something that the format has no form for; names class and attribute.

    >>> from learners.state import decode_state
    >>> from river import linear_model
    >>> state = encode_state(linear_model.LogisticRegression())
    >>> encode_state(decode_state(state)) == state
    True
    """
    return seal(_Writer().payload(model))


def functions_of(model: Any) -> Mapping[functions.Name, types.FunctionType]:
    """The functions in a learner that are its model file's, by the names that its state has for them.

    Raises:
        NotStorable: as `encode_state`.
    """
    writer = _Writer()
    writer.payload(model)
    return writer.functions


class _Writer:
    """Lists each object of the graph once, in the order in which the graph leads to it.

    A growing list instead of recursion: a Hoeffding tree can be deeper than Python's stack.
    """

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._found: list[Any] = []
        self._held_at: list[str] = []
        self._shapes: dict[tuple[str, str, tuple[str, ...]], int] = {}
        self._at = "the model"
        self.functions: dict[functions.Name, types.FunctionType] = {}

    def payload(self, model: Any) -> bytes:
        root = self.value(model)
        objects: list[Written] = []
        while len(objects) < len(self._found):
            place = len(objects)
            self._at = self._held_at[place]
            objects.append(self._object(self._found[place]))
        shapes = [[module, name, list(attributes)] for module, name, attributes in self._shapes]
        return msgspec.msgpack.encode([river.__version__, shapes, objects, root])

    def value(self, value: Any) -> Written:
        """A scalar, something immutable in full, or the place of an object."""
        cls = type(value)
        if cls in _SCALARS:
            return value
        write = _VALUES.get(cls)
        try:
            if write is not None:
                return write(self, value)
            if isinstance(value, np.generic):
                return ["scalar", *arrays.parts_of_scalar(value)]
            if isinstance(value, type):
                return self.write_code(value)
        except NoForm as reason:
            raise self._not_storable(value, reason) from None
        return [self._place(value)]

    def _place(self, value: Any) -> int:
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self._found)
            self._found.append(value)
            self._held_at.append(self._at)
        return place

    def _object(self, value: Any) -> Written:
        write = _OBJECTS.get(type(value), _Writer.write_instance)
        try:
            return write(self, value)
        except NoForm as reason:
            raise self._not_storable(value, reason) from None

    def write_instance(self, value: Any) -> Written:
        cls = type(value)
        module, name = names.river_name_of(cls)
        attributes = attributes_of(value)
        shape = self._shapes.setdefault((module, name, tuple(attributes)), len(self._shapes))
        written: list[Written] = ["instance", shape]
        for attribute, held in attributes.items():
            self._at = f"{module}.{name}.{attribute}"
            written.append(self.value(held))
        return written

    def write_integer(self, value: int) -> Written:
        return value if -(2**63) <= value < 2**63 else ["int", str(value)]

    def write_code(self, value: Any) -> Written:
        return ["code", *names.name_of(value)]

    def write_function(self, value: types.FunctionType) -> Written:
        if self._at != functions.HELD_AT or value.__module__.partition(".")[0] == "river":
            return self.write_code(value)
        name = functions.name_of_function(value)
        if self.functions.setdefault(name, value) is not value:
            raise NoForm("another function has the same name and source; give each a name of its own")
        return ["function", *name]

    def write_partial(self, value: functools.partial[Any]) -> Written:
        return ["partial", self.value(value.func), self.value(value.args), *self.items(value.keywords)]

    def write_method(self, value: types.MethodType) -> Written:
        name = names.name_of_method(value)
        return ["method", self.value(value.__self__), name]

    def write_defaultdict(self, value: collections.defaultdict[Any, Any]) -> Written:
        return ["default", self.value(value.default_factory), *self.items(value)]

    def write_vector(self, value: VectorDict[Any, Any]) -> Written:
        _, (items, factory, mask, _) = value.__reduce__()
        if mask is not None:
            raise NoForm("it has a mask, so it is in the middle of learning")
        return ["vector", self.value(factory), *self.items(items)]

    def write_statistic(self, value: Any) -> Written:
        name, arguments, numbers = rust.parts_of_statistic(value)
        return ["rust", name, self.value(arguments), numbers]

    def values(self, values: Iterable[Any]) -> Iterator[Written]:
        return map(self.value, values)

    def members(self, values: Iterable[Any]) -> list[Written]:
        """Sorted by what is written: the hashes that order a set differ from process to process."""
        return sorted(map(self.value, map(plain, values)), key=msgspec.msgpack.encode)

    def items(self, mapping: Mapping[Any, Any]) -> Iterator[Written]:
        # Scalars pass here without a call: a vocabulary of thousands of keys is most of a state.
        for key, value in mapping.items():
            yield key if type(key) in _SCALARS else self.value(plain(key))
            yield value if type(value) in _SCALARS else self.value(value)

    def _not_storable(self, value: Any, reason: NoForm) -> NotStorable:
        return NotStorable(self._at, full_name(value if isinstance(value, type) else type(value)), str(reason))


_SCALARS: Final = frozenset({type(None), bool, float, str, bytes})
# What is written where it stands.
_VALUES: Final[Mapping[type, Callable[[_Writer, Any], Written]]] = {
    int: _Writer.write_integer,
    tuple: lambda writer, value: ["tuple", *writer.values(value)],
    frozenset: lambda writer, value: ["frozenset", *writer.members(value)],
    statistics.NormalDist: lambda _, value: ["normal", value.mean, value.stdev],
    functools.partial: _Writer.write_partial,
    types.MethodType: _Writer.write_method,
    types.FunctionType: _Writer.write_function,
    types.BuiltinFunctionType: _Writer.write_code,
    generators.Unseeded: lambda *_: ["unseeded"],
}
# What is an object; instances of River's classes are all others.
_OBJECTS: Final[Mapping[type, Callable[[_Writer, Any], Written]]] = {
    dict: lambda writer, value: ["dict", *writer.items(value)],
    collections.OrderedDict: lambda writer, value: ["ordered", *writer.items(value)],
    collections.Counter: lambda writer, value: ["counter", *writer.items(value)],
    collections.defaultdict: _Writer.write_defaultdict,
    VectorDict: _Writer.write_vector,
    list: lambda writer, value: ["list", *writer.values(value)],
    collections.deque: lambda writer, value: ["deque", value.maxlen, *writer.values(value)],
    set: lambda writer, value: ["set", *writer.members(value)],
    np.ndarray: lambda _, value: ["array", *arrays.parts_of_array(value)],
    random.Random: lambda _, value: ["random", *generators.parts_of_random(value)],
    np.random.RandomState: lambda _, value: ["numpy-random", *generators.parts_of_numpy_random(value)],
    **dict.fromkeys(rust.CLASSES.values(), _Writer.write_statistic),
}

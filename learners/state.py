"""Learner state as bytes: a canonical data format of a River object graph, with nothing to execute in it.

    bytes    = magic, format, length of payload, SHA-256 of payload, payload
    payload  = MessagePack of [River's version, shapes, objects, root]
    shape    = [module, class, attribute names in order]
    object   = [kind, ...]: whatever has an identity; everything else refers to it by its place in this list
    value    = scalar | [place of an object] | [kind, ...] of something immutable, written where it stands

Equal learners give equal bytes, in any process. Attributes and members of sets have no order, so they are sorted; dicts
keep theirs, because River sums floats in the order of its dicts. Floats keep all bits. Objects that River shares (one
random generator in every tree of a forest) are one object again after reading.

Reading makes instances of River's own estimators and of a few builtins, and sets their attributes. It calls no method
of theirs, imports nothing outside the packages below and follows no attribute: what pickle would run, this cannot say.
"""

from __future__ import annotations

import collections
import copy
import functools
import hashlib
import importlib
import random
import statistics
import struct
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import river
from river import cluster, compose, feature_extraction, multiclass, neighbors, proba, rules, sketch
from river._river_rust import drift as rust_drift
from river._river_rust import stats as rust_stats
from river.utils import VectorDict, vectordict

from schemas.errors import NotStorable, StateUnreadable

MAGIC: Final = b"FRST"
FORMAT: Final = 1
_HEADER: Final = struct.Struct(">4sBQ32s")

# River packages whose classes and functions may stand in a state. Not `stream`, `evaluate`, `compat` and any
# `datasets` or `envs`: those open files and sockets, or carry other libraries in.
PACKAGES: Final = frozenset(
    {
        "active", "anomaly", "bandit", "base", "cluster", "compose", "conf", "covariance", "drift", "dummy", "ensemble",
        "facto", "feature_extraction", "feature_selection", "forest", "imblearn", "linear_model", "metrics", "misc",
        "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors", "optim", "preprocessing", "proba",
        "reco", "rules", "sketch", "stats", "time_series", "tree", "utils",
    }
)  # fmt: skip

# Attributes that depend on which methods were called, not on what was learned: written as the constructor leaves them,
# because River works them out again.
DERIVED: Final[Mapping[type, Mapping[str, Any]]] = {
    compose.Pipeline: {"_plan": None, "_inference_transformers": (), "_last_step_cached": None},
}
# ... and those that the constructor does not set.
FORGOTTEN: Final[Mapping[type, frozenset[str]]] = {compose.Pipeline: frozenset({"_last_step_params"})}

# Estimators whose state means something only in the process that made it.
BOUND_TO_PROCESS: Final[Mapping[Any, str]] = {
    cluster.KMeans: "it sums in the order of a set of names, which differs between processes",
    feature_extraction.RandomTreesEmbedding: "it finds leaves by their address in memory",
    multiclass.OneVsOneClassifier: "it pairs classes in the order of a set, which differs between processes",
    neighbors.SWINN: "its vertices share a set with those of every other SWINN; use LazySearch",
    rules.AMRules: "it finds rules by their address in memory",
    sketch.Counter: "it uses Python's hash, which differs between processes",
    sketch.Set: "it uses Python's hash, which differs between processes",
}

BUILTINS: Final[Mapping[str, type]] = {
    cls.__name__: cls
    for cls in (
        bool, bytes, dict, float, frozenset, int, list, set, str, tuple,
        collections.Counter, collections.OrderedDict, collections.defaultdict, collections.deque,
    )
}  # fmt: skip
# The functions outside River's Python that River keeps in attributes.
FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "deepcopy": copy.deepcopy,
    "euclidean_distance_dict": vectordict.euclidean_distance_dict,
    "euclidean_distance_tuple": vectordict.euclidean_distance_tuple,
}
# River's Rust statistics describe themselves: constructor arguments, and their numbers as flat bytes.
RUST: Final[Mapping[str, type]] = {
    cls.__name__: cls for cls in (*vars(rust_stats).values(), *vars(rust_drift).values()) if isinstance(cls, type)
}
_DICT_KINDS: Final[Mapping[type, str]] = {
    dict: "dict",
    collections.OrderedDict: "ordered",
    collections.Counter: "counter",
}
_NUMERIC: Final = frozenset("biuf")
# What reading anything but encode_state's own writing runs into.
_MISREAD: Final = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
    struct.error,
)

Written: TypeAlias = Any
"""What MessagePack knows: scalars, lists and bytes."""


def encode_state(model: Any) -> bytes:
    """The learner as bytes; equal learners give equal bytes.

    Args:
        model: a River estimator or pipeline between two events; it is only read.

    Raises:
        NotStorable: an attribute holds something that the format has no form for; names class and attribute.

    >>> from river import linear_model
    >>> state = encode_state(linear_model.LogisticRegression())
    >>> encode_state(decode_state(state)) == state
    True
    """
    payload = _Writer().payload(model)
    return _HEADER.pack(MAGIC, FORMAT, len(payload), hashlib.sha256(payload).digest()) + payload


def decode_state(data: bytes) -> Any:
    """The learner that `encode_state` was given.

    Raises:
        StateUnreadable: the bytes are truncated or altered, or come from another version of River or of this format.
    """
    payload = _payload(data)
    try:
        return _Reader(payload).model()
    except _MISREAD as error:
        # The digest was right, so these bytes were made by something that is not encode_state.
        raise StateUnreadable(f"the learner's state is not what encode_state writes: {error}") from error


def _payload(data: bytes) -> bytes:
    if len(data) < _HEADER.size:
        raise StateUnreadable(f"the learner's state has {len(data)} bytes, which is less than its header")
    magic, version, length, digest = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    if magic != MAGIC or version != FORMAT:
        raise StateUnreadable(f"the learner's state begins with {magic!r} {version}, not with {MAGIC!r} {FORMAT}")
    if len(payload) != length:
        raise StateUnreadable(f"the learner's state is cut: {len(payload)} bytes instead of {length}")
    if hashlib.sha256(payload).digest() != digest:
        raise StateUnreadable("the learner's state was altered: its SHA-256 differs")
    return payload


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
        write = _INLINE.get(cls)
        if write is not None:
            return write(self, value)
        if isinstance(value, np.generic):
            return self.write_scalar(value)
        if isinstance(value, type):
            return self.write_code(value)
        return [self._place(value)]

    def write_integer(self, value: int) -> Written:
        return value if -(2**63) <= value < 2**63 else ["int", str(value)]

    def write_tuple(self, value: tuple[Any, ...]) -> Written:
        return ["tuple", *map(self.value, value)]

    def write_frozenset(self, value: frozenset[Any]) -> Written:
        return ["frozenset", *self._members(value)]

    def write_normal(self, value: statistics.NormalDist) -> Written:
        return ["normal", value.mean, value.stdev]

    def write_scalar(self, value: np.generic) -> Written:
        self._refuse_non_numeric(value, value.dtype)
        return ["scalar", value.dtype.str, value.tobytes()]

    def write_partial(self, value: functools.partial[Any]) -> Written:
        return ["partial", self.value(value.func), self.value(value.args), *self._items(value.keywords)]

    def write_method(self, value: types.MethodType) -> Written:
        try:
            found = _method(value.__self__, value.__name__)
        except StateUnreadable as error:
            raise self._not_storable(value, str(error)) from None
        if found != value:
            raise self._not_storable(value, "River knows something else by its name")
        return ["method", self.value(value.__self__), value.__name__]

    def write_code(self, value: Any) -> Written:
        """A reference to a class or function that exists wherever the state is read."""
        name = value.__name__
        if BUILTINS.get(name) is value or FUNCTIONS.get(name) is value:
            return ["code", "", name]
        self._refuse_foreign(value, value)
        return ["code", value.__module__, value.__qualname__]

    def _place(self, value: Any) -> int:
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self._found)
            self._found.append(value)
            self._held_at.append(self._at)
        return place

    def _object(self, value: Any) -> Written:
        write = _OBJECTS.get(type(value), _Writer.write_instance)
        return write(self, value)

    def write_instance(self, value: Any) -> Written:
        cls = type(value)
        self._refuse_foreign(value, cls)
        try:
            attributes = {**_attributes(value), **DERIVED.get(cls, {})}
        except TypeError as error:
            raise self._not_storable(value, str(error)) from None
        self._refuse_chance(value, attributes)
        names = tuple(sorted(attributes.keys() - FORGOTTEN.get(cls, frozenset())))
        shape = self._shapes.setdefault((cls.__module__, cls.__qualname__, names), len(self._shapes))
        written: list[Written] = ["instance", shape]
        for name in names:
            self._at = f"{_name(cls)}.{name}"
            written.append(self.value(attributes[name]))
        return written

    def write_mapping(self, value: Any) -> Written:
        return [_DICT_KINDS[type(value)], *self._items(value)]

    def write_defaultdict(self, value: collections.defaultdict[Any, Any]) -> Written:
        return ["default", self.value(value.default_factory), *self._items(value)]

    def write_list(self, value: list[Any]) -> Written:
        return ["list", *map(self.value, value)]

    def write_deque(self, value: collections.deque[Any]) -> Written:
        return ["deque", value.maxlen, *map(self.value, value)]

    def write_set(self, value: set[Any]) -> Written:
        return ["set", *self._members(value)]

    def write_array(self, value: np.ndarray[Any, Any]) -> Written:
        self._refuse_non_numeric(value, value.dtype)
        if not value.flags.forc:
            raise self._not_storable(value, "it is a view with gaps")
        # The layout decides in which order numpy sums.
        order: Literal["C", "F"] = "C" if value.flags.c_contiguous else "F"
        return ["array", value.dtype.str, [*value.shape], order, value.tobytes(order)]

    def write_vector(self, value: VectorDict[Any, Any]) -> Written:
        _, (items, factory, mask, _) = value.__reduce__()
        if mask is not None:
            raise self._not_storable(value, "it has a mask, so it is in the middle of learning")
        return ["vector", self.value(factory), *self._items(items)]

    def write_random(self, value: random.Random) -> Written:
        version, words, gauss = value.getstate()
        return ["random", version, struct.pack(f"<{len(words)}I", *words), gauss]

    def write_numpy_random(self, value: np.random.RandomState) -> Written:
        state: Any = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise self._not_storable(value, f"it runs on {state['bit_generator']}")
        words = state["state"]["key"].astype("<u4").tobytes()
        return ["numpy-random", words, int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]

    def write_rust(self, value: Any) -> Written:
        arguments = value.__getnewargs__() if hasattr(value, "__getnewargs__") else ()
        return ["rust", type(value).__name__, self.value(arguments), value.__getstate__()]

    def _items(self, mapping: Mapping[Any, Any]) -> Iterator[Written]:
        # Scalars pass here without a call: a vocabulary of thousands of keys is most of a state.
        for key, value in mapping.items():
            yield key if type(key) in _SCALARS else self._key(key)
            yield value if type(value) in _SCALARS else self.value(value)

    def _members(self, values: Iterable[Any]) -> list[Written]:
        """Sorted by what is written: the hashes that order a set differ from process to process."""
        return sorted(map(self._key, values), key=msgspec.msgpack.encode)

    def _key(self, key: Any) -> Written:
        if not _is_plain(key):
            raise self._not_storable(key, "a key has to be plain data")
        return self.value(key)

    def _refuse_foreign(self, value: Any, code: Any) -> None:
        """Refuse classes and functions that reading would not find again."""
        try:
            found = _river_code(code.__module__, code.__qualname__)
        except StateUnreadable as error:
            raise self._not_storable(value, str(error)) from None
        if found is not code:
            raise self._not_storable(value, "River knows something else by its name")

    def _refuse_chance(self, value: Any, attributes: dict[str, Any]) -> None:
        """Refuse what no other process could learn alike."""
        cls = type(value)
        if cls in BOUND_TO_PROCESS:
            raise self._not_storable(value, BOUND_TO_PROCESS[cls])
        if cls is compose.Select and len(value.keys) > 1:
            reason = "it takes its features in the order of a set, which differs between processes"
            raise self._not_storable(value, f"{reason}; write Select('a') + Select('b')")
        if attributes.get("seed", 0) is not None:
            return
        for name, attribute in attributes.items():
            if isinstance(attribute, random.Random | np.random.RandomState):
                if cls is not proba.Gaussian:
                    raise self._not_storable(value, "it draws from a generator without a seed; give it one")
                # Every Gaussian of a naive Bayes or tree brings 2.5 kB of a generator that nobody seeded or draws from.
                attributes[name] = _Unseeded()

    def _refuse_non_numeric(self, value: Any, dtype: np.dtype[Any]) -> None:
        if dtype.kind not in _NUMERIC:
            raise self._not_storable(value, f"its dtype is {dtype}")

    def _not_storable(self, value: Any, reason: str) -> NotStorable:
        return NotStorable(self._at, _name(value if isinstance(value, type) else type(value)), reason)


class _Unseeded:
    """Stands for a generator whose state is chance anyway."""


_SCALARS: Final = frozenset({type(None), bool, float, str, bytes})
_INLINE: Final[Mapping[type, Callable[[_Writer, Any], Written]]] = {
    int: _Writer.write_integer,
    tuple: _Writer.write_tuple,
    frozenset: _Writer.write_frozenset,
    statistics.NormalDist: _Writer.write_normal,
    functools.partial: _Writer.write_partial,
    types.MethodType: _Writer.write_method,
    types.FunctionType: _Writer.write_code,
    types.BuiltinFunctionType: _Writer.write_code,
    _Unseeded: lambda *_: ["unseeded"],
}
_OBJECTS: Final[Mapping[type, Callable[[_Writer, Any], Written]]] = {
    **dict.fromkeys(_DICT_KINDS, _Writer.write_mapping),
    collections.defaultdict: _Writer.write_defaultdict,
    list: _Writer.write_list,
    collections.deque: _Writer.write_deque,
    set: _Writer.write_set,
    np.ndarray: _Writer.write_array,
    VectorDict: _Writer.write_vector,
    random.Random: _Writer.write_random,
    np.random.RandomState: _Writer.write_numpy_random,
    **dict.fromkeys(RUST.values(), _Writer.write_rust),
}


class _Reader:
    """Makes the listed objects, empty first, so that whatever refers to them finds them."""

    def __init__(self, payload: bytes) -> None:
        version, shapes, self._written, self._root = msgspec.msgpack.decode(payload)
        if version != river.__version__:
            raise StateUnreadable(f"the learner's state is of River {version}, this is River {river.__version__}")
        self.shapes = [(_river_class(module, name), attributes) for module, name, attributes in shapes]
        self._objects: list[Any] = []

    def model(self) -> Any:
        # 1. Every object, empty. 2. Vectors, which take their content when they are made: plain data and one object of
        # step 1. 3. The content of everything else.
        self._objects = [_EMPTY[kind](self, *content) for kind, *content in self._written]
        for place, (kind, *content) in enumerate(self._written):
            if kind == "vector":
                factory, *items = content
                self._objects[place] = VectorDict(dict(self.pairs(items)), self.value(factory))
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

    def read_partial(self, function: Written, arguments: Written, *keywords: Written) -> functools.partial[Any]:
        return functools.partial(self.value(function), *self.value(arguments), **dict(self.pairs(keywords)))

    def read_rust(self, name: str, arguments: Written, state: bytes) -> Any:
        made: Any = RUST[name](*self.value(arguments))
        try:
            made.__setstate__(state)
        except BaseException as error:
            # Rust panics at bytes it cannot read, and pyo3 derives its panics from BaseException.
            if type(error).__name__ != "PanicException":
                raise
            raise StateUnreadable(f"River's {name} cannot read its numbers: {error}") from error
        return made

    def fill_instance(self, made: Any, shape: int, *values: Written) -> None:
        cls, attributes = self.shapes[shape]
        slots = _slots(cls)
        for name, value in zip(attributes, self.values(values), strict=True):
            if name in slots:
                slots[name].__set__(made, value)
            else:
                made.__dict__[name] = value

    def fill_defaultdict(self, made: Any, factory: Written, *items: Written) -> None:
        made.default_factory = self.value(factory)
        made.update(self.pairs(items))

    def keys(self, written: Iterable[Written]) -> Iterator[Any]:
        for key in written:
            yield self._key(key) if isinstance(key, list) else key

    def _key(self, written: Written) -> Any:
        key = self.value(written)
        # Anything else would run its own __hash__ and __eq__.
        if not _is_plain(key):
            raise StateUnreadable(f"the learner's state has a {_name(type(key))} as a key")
        return key

    def pairs(self, items: Sequence[Written]) -> Iterator[tuple[Any, Any]]:
        return zip(self.keys(items[::2]), self.values(items[1::2]), strict=True)


# What stands in place, by kind.
_VALUES: Final[Mapping[str, Callable[..., Any]]] = {
    "int": lambda _, text: int(text),
    "tuple": lambda reader, *values: tuple(reader.values(values)),
    "frozenset": lambda reader, *members: frozenset(reader.keys(members)),
    "unseeded": lambda _: random.Random(),  # noqa: S311
    "normal": lambda _, mean, deviation: statistics.NormalDist(mean, deviation),
    "scalar": lambda _, dtype, data: np.frombuffer(data, _numeric(dtype))[0],
    "partial": _Reader.read_partial,
    "method": lambda reader, owner, name: _method(reader.value(owner), name),
    "code": lambda _, module, name: _code(module, name),
}
# Objects, by kind: how they begin, and what comes into them when all of them have begun.
_EMPTY: Final[Mapping[str, Callable[..., Any]]] = {
    "instance": lambda reader, shape, *_: object.__new__(reader.shapes[shape][0]),
    "dict": lambda *_: {},
    "ordered": lambda *_: collections.OrderedDict(),
    "counter": lambda *_: collections.Counter(),
    "default": lambda *_: collections.defaultdict(),
    "list": lambda *_: [],
    "deque": lambda _, length, *__: collections.deque(maxlen=length),
    "set": lambda *_: set(),
    "array": lambda _, dtype, shape, order, data: _array(dtype, shape, order, data),
    "vector": lambda *_: None,
    "random": lambda _, version, words, gauss: _random(version, words, gauss),
    "numpy-random": lambda _, *state: _numpy_random(*state),
    "rust": _Reader.read_rust,
}
_FILL: Final[Mapping[str, Callable[..., None]]] = {
    "instance": _Reader.fill_instance,
    "dict": lambda reader, made, *items: made.update(reader.pairs(items)),
    "ordered": lambda reader, made, *items: made.update(reader.pairs(items)),
    # Counter.update would add up; dict.update on an OrderedDict would lose its order.
    "counter": lambda reader, made, *items: dict.update(made, reader.pairs(items)),
    "default": _Reader.fill_defaultdict,
    "list": lambda reader, made, *values: made.extend(reader.values(values)),
    "deque": lambda reader, made, _, *values: made.extend(reader.values(values)),
    "set": lambda reader, made, *members: made.update(reader.keys(members)),
}


def _array(dtype: str, shape: Sequence[int], order: Literal["C", "F"], data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, _numeric(dtype)).reshape(shape, order=order).copy(order)


def _random(version: int, words: bytes, gauss: float | None) -> random.Random:
    generator = random.Random(0)  # noqa: S311 - River's own choice, and its state is set next
    generator.setstate((version, struct.unpack(f"<{len(words) // 4}I", words), gauss))
    return generator


def _numpy_random(words: bytes, position: int, has_gauss: int, gauss: float) -> np.random.RandomState:
    generator = np.random.RandomState(0)
    key = np.frombuffer(words, "<u4").astype(np.uint32)
    state = {"key": key, "pos": position}
    generator.set_state({"bit_generator": "MT19937", "state": state, "has_gauss": has_gauss, "gauss": gauss})
    return generator


def _numeric(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in _NUMERIC:
        raise StateUnreadable(f"the learner's state has an array of dtype {name!r}")
    return dtype


def _code(module: str, name: str) -> Any:
    if module:
        return _river_code(module, name)
    return BUILTINS[name] if name in BUILTINS else FUNCTIONS[name]


def _river_class(module: str, name: str) -> type:
    found = _river_code(module, name)
    if not isinstance(found, type):
        raise StateUnreadable(f"{module}.{name} is not a class")
    return found


@functools.cache
def _river_code(module: str, name: str) -> Any:
    """The class or function that River defines under this very name.

    Looked up in the namespaces of module and classes, never with getattr, and only what is at home there: a module that
    a River module imports cannot be reached through it.
    """
    root, package, *rest = [*module.split("."), ""]
    if root != "river" or package not in PACKAGES or not {"datasets", "envs"}.isdisjoint(rest):
        raise StateUnreadable(f"{module}.{name} is not one of River's estimators")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, types.ModuleType | type) else None
    if isinstance(found, staticmethod):
        found = found.__func__
    at_home = isinstance(found, type | types.FunctionType) and (found.__module__, found.__qualname__) == (module, name)
    if not at_home:
        raise StateUnreadable(f"{module} defines no {name}")
    return found


def _method(owner: Any, name: str) -> types.MethodType:
    """A method that River's code could have taken from this object."""
    if type(owner) is random.Random and name == "gauss":
        return types.MethodType(random.Random.gauss, owner)
    for cls in type(owner).__mro__:
        function = vars(cls).get(name)
        if isinstance(function, types.FunctionType) and _river_code(cls.__module__, cls.__qualname__) is cls:
            return types.MethodType(function, owner)
    raise StateUnreadable(f"{_name(type(owner))} has no method {name!r}")


@functools.cache
def _slots(cls: type) -> dict[str, types.MemberDescriptorType]:
    """The attributes that instances keep outside their `__dict__`.

    Raises:
        TypeError: instances are more than attributes: a class that extends list or deque.
    """
    object.__new__(cls)
    members = ((name, member) for base in reversed(cls.__mro__) for name, member in vars(base).items())
    return {name: member for name, member in members if isinstance(member, types.MemberDescriptorType)}


def _attributes(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    attributes = dict(getattr(value, "__dict__", {}))
    for name, slot in _slots(cls).items():
        try:
            attributes[name] = slot.__get__(value)
        except AttributeError:
            continue  # a slot that was never set
    return attributes


def _is_plain(key: Any) -> bool:
    """Whether the key's hash and equality survive reading."""
    if isinstance(key, tuple | frozenset):
        return all(map(_is_plain, key))
    return key is None or isinstance(key, bool | int | float | str | bytes | np.generic)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"

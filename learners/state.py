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
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import river
from river import compose
from river._river_rust import drift as rust_drift
from river._river_rust import stats as rust_stats
from river.utils import VectorDict, vectordict

from schemas.errors import NotStorable, StateUnreadable

MAGIC: Final = b"FRST"
FORMAT: Final = 1
_HEADER: Final = struct.Struct(">4sBQ32s")

# River packages whose classes and functions may stand in a state. Not `datasets`, `stream`, `evaluate` and `compat`:
# those open files and sockets, or carry other libraries in.
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
_DICTS: Final[Mapping[str, type]] = {
    "dict": dict,
    "ordered": collections.OrderedDict,
    "counter": collections.Counter,
    "default": collections.defaultdict,
}
_DICT_KINDS: Final = {cls: kind for kind, cls in _DICTS.items()}
_NUMERIC: Final = frozenset("biuf")

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
    except (ArithmeticError, AttributeError, ImportError, LookupError, RecursionError, TypeError, ValueError) as error:
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
        if value is None or cls in (bool, float, str, bytes):
            return value
        if cls is int:
            return value if -(2**63) <= value < 2**63 else ["int", str(value)]
        if cls is tuple:
            return ["tuple", *map(self.value, value)]
        if cls is frozenset:
            return ["frozenset", *self._members(value)]
        if cls is statistics.NormalDist:
            return ["normal", value.mean, value.stdev]
        if isinstance(value, np.generic):
            self._refuse_non_numeric(value, value.dtype)
            return ["scalar", value.dtype.str, value.tobytes()]
        if isinstance(value, type) or callable(value):
            code = self._code(value)
            if code is not None:
                return code
        return [self._place(value)]

    def _code(self, value: Any) -> Written | None:
        """A reference to a class, function or method that exists when the state is read; None for other callables."""
        if isinstance(value, functools.partial):
            return ["partial", *map(self.value, (value.func, value.args)), *self._items(value.keywords)]
        if isinstance(value, types.MethodType):
            return ["method", self.value(value.__self__), value.__name__]
        if not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            return None
        name = value.__name__
        if BUILTINS.get(name) is value or FUNCTIONS.get(name) is value:
            return ["code", "", name]
        try:
            known = _river_code(value.__module__, value.__qualname__)
        except StateUnreadable as error:
            raise self._not_storable(value, str(error)) from None
        if known is not value:
            raise self._not_storable(value, "River knows something else by its name")
        return ["code", value.__module__, value.__qualname__]

    def _place(self, value: Any) -> int:
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self._found)
            self._found.append(value)
            self._held_at.append(self._at)
        return place

    def _object(self, value: Any) -> Written:
        cls = type(value)
        if cls in _DICT_KINDS:
            factory = [self.value(value.default_factory)] if cls is collections.defaultdict else []
            return [_DICT_KINDS[cls], *factory, *self._items(value)]
        if cls is list:
            return ["list", *map(self.value, value)]
        if cls is collections.deque:
            return ["deque", value.maxlen, *map(self.value, value)]
        if cls is set:
            return ["set", *self._members(value)]
        if cls is np.ndarray:
            return self._array(value)
        if cls is VectorDict:
            return self._vector(value)
        if cls is random.Random:
            version, words, gauss = value.getstate()
            return ["random", version, struct.pack(f"<{len(words)}I", *words), gauss]
        if cls is np.random.RandomState:
            return self._random_state(value)
        if RUST.get(cls.__name__) is cls:
            arguments = value.__getnewargs__() if hasattr(cls, "__getnewargs__") else ()
            return ["rust", cls.__name__, self.value(arguments), value.__getstate__()]
        return self._instance(value)

    def _instance(self, value: Any) -> Written:
        cls = type(value)
        try:
            if _river_code(cls.__module__, cls.__qualname__) is not cls:
                raise self._not_storable(value, "River knows something else by its name")
            attributes = {**_attributes(value), **DERIVED.get(cls, {})}
        except (StateUnreadable, TypeError) as error:
            raise self._not_storable(value, str(error)) from None
        names = tuple(sorted(attributes.keys() - FORGOTTEN.get(cls, frozenset())))
        shape = self._shapes.setdefault((cls.__module__, cls.__qualname__, names), len(self._shapes))
        written: list[Written] = ["instance", shape]
        for name in names:
            self._at = f"{_name(cls)}.{name}"
            written.append(self.value(attributes[name]))
        return written

    def _items(self, mapping: Mapping[Any, Any]) -> Iterator[Written]:
        for key, value in mapping.items():
            yield self._key(key)
            yield self.value(value)

    def _members(self, values: Iterable[Any]) -> list[Written]:
        """Sorted by what is written: the hashes that order a set differ from process to process."""
        return sorted(map(self._key, values), key=msgspec.msgpack.encode)

    def _key(self, key: Any) -> Written:
        if not _is_plain(key):
            raise self._not_storable(key, "a key has to be plain data")
        return self.value(key)

    def _array(self, array: np.ndarray[Any, Any]) -> Written:
        self._refuse_non_numeric(array, array.dtype)
        if not array.flags.forc:
            raise self._not_storable(array, "it is a view with gaps")
        # The layout decides in which order numpy sums.
        order = "C" if array.flags.c_contiguous else "F"
        return ["array", array.dtype.str, list(array.shape), order, array.tobytes(order)]

    def _vector(self, vector: VectorDict[Any, Any]) -> Written:
        _, (items, factory, mask, _) = vector.__reduce__()
        if mask is not None:
            raise self._not_storable(vector, "it has a mask, so it is in the middle of learning")
        return ["vector", self.value(factory), *self._items(items)]

    def _random_state(self, generator: np.random.RandomState) -> Written:
        state: Any = generator.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise self._not_storable(generator, f"it runs on {state['bit_generator']}")
        words = state["state"]["key"].astype("<u4").tobytes()
        return ["numpy-random", words, int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]

    def _refuse_non_numeric(self, value: Any, dtype: np.dtype[Any]) -> None:
        if dtype.kind not in _NUMERIC:
            raise self._not_storable(value, f"its dtype is {dtype}")

    def _not_storable(self, value: Any, reason: str) -> NotStorable:
        return NotStorable(self._at, _name(value if isinstance(value, type) else type(value)), reason)


class _Reader:
    """Makes the listed objects, empty first, so that whatever refers to them finds them."""

    def __init__(self, payload: bytes) -> None:
        version, shapes, self._written, self._root = msgspec.msgpack.decode(payload)
        if version != river.__version__:
            raise StateUnreadable(f"the learner's state is of River {version}, this is River {river.__version__}")
        self._shapes = [(_river_class(module, name), attributes) for module, name, attributes in shapes]
        self._objects: list[Any] = []

    def model(self) -> Any:
        # 1. Every object, empty. 2. Vectors, which take their content when they are made, from plain data and one
        # object of step 1. 3. The content of everything else.
        self._objects = [self._empty(*written) for written in self._written]
        for place, (kind, *content) in enumerate(self._written):
            if kind == "vector":
                factory, *items = content
                self._objects[place] = VectorDict(dict(self._pairs(items)), self.value(factory))
        for made, (kind, *content) in zip(self._objects, self._written, strict=True):
            self._fill(made, kind, content)
        return self.value(self._root)

    def value(self, written: Written) -> Any:
        if not isinstance(written, list):
            return written
        kind, *content = written
        if isinstance(kind, int):
            return self._objects[kind]
        match kind:
            case "int":
                return int(content[0])
            case "tuple":
                return tuple(map(self.value, content))
            case "frozenset":
                return frozenset(map(self.value, content))
            case "normal":
                return statistics.NormalDist(*content)
            case "scalar":
                dtype, data = content
                return np.frombuffer(data, _numeric(dtype))[0]
            case "partial":
                function, arguments, *keywords = content
                return functools.partial(self.value(function), *self.value(arguments), **dict(self._pairs(keywords)))
            case "method":
                owner, name = content
                return _method(self.value(owner), name)
            case "code":
                return _code(*content)
        raise StateUnreadable(f"the learner's state has a value of kind {kind!r}")

    def _empty(self, kind: str, *content: Any) -> Any:
        if kind in _DICTS:
            return _DICTS[kind]()
        match kind:
            case "instance":
                cls, _ = self._shapes[content[0]]
                return object.__new__(cls)
            case "list":
                return []
            case "deque":
                return collections.deque(maxlen=content[0])
            case "set":
                return set()
            case "array":
                dtype, shape, order, data = content
                return np.frombuffer(data, _numeric(dtype)).reshape(shape, order=order).copy(order)
            case "random":
                return _random(*content)
            case "numpy-random":
                return _numpy_random(*content)
            case "rust":
                name, arguments, state = content
                made = RUST[name](*self.value(arguments))
                made.__setstate__(state)  # type: ignore[attr-defined]
                return made
            case "vector":
                return None
        raise StateUnreadable(f"the learner's state has an object of kind {kind!r}")

    def _fill(self, made: Any, kind: str, content: Sequence[Written]) -> None:
        match kind:
            case "instance":
                shape, *values = content
                cls, attributes = self._shapes[shape]
                slots = _slots(cls)
                for name, value in zip(attributes, values, strict=True):
                    if name in slots:
                        slots[name].__set__(made, self.value(value))
                    else:
                        made.__dict__[name] = self.value(value)
            case "default":
                factory, *items = content
                made.default_factory = self.value(factory)
                made.update(self._pairs(items))
            case "dict" | "ordered":
                made.update(self._pairs(content))
            case "counter":
                # Counter.update would add up.
                dict.update(made, self._pairs(content))
            case "list" | "deque":
                values = content if kind == "list" else content[1:]
                made.extend(map(self.value, values))
            case "set":
                made.update(map(self.value, content))

    def _pairs(self, items: Sequence[Written]) -> Iterator[tuple[Any, Any]]:
        for i in range(0, len(items), 2):
            yield self.value(items[i]), self.value(items[i + 1])


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
    root, _, rest = module.partition(".")
    if root != "river" or rest.partition(".")[0] not in PACKAGES:
        raise StateUnreadable(f"{module}.{name} is not one of River's estimators")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = vars(found).get(part)
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
    attributes = dict(getattr(value, "__dict__", {}))
    for name, slot in _slots(type(value)).items():
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

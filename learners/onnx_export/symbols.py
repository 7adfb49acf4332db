"""Symbols: what a function gets for a value that differs from row to row, and what it makes of it.

A symbol does what Python's float, str, bool and numpy's float64 do, each in its own way: they part where they divide by
zero. What it cannot follow, above all a call that needs the number at once, raises `Untraceable`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

Node: TypeAlias = int
"""An expression: its place in `Expressions`."""


class Untraceable(BaseException):
    """What the function does cannot be followed. No Exception, so that no `except` of the function's own takes it."""


class NoRealNumber(BaseException):
    """Python goes on with a complex number, which no feature is."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An ONNX operator on expressions; or "number", "text", "present" of a feature, "constant", "string"."""

    op: str
    arguments: tuple[Any, ...]


class Expressions:
    """All expressions of a trace, each of them once, so that equal ones are one node."""

    def __init__(self) -> None:
        self._nodes: dict[Operation, Node] = {}
        self.operations: list[Operation] = []

    def of(self, op: str, *arguments: Any) -> Node:
        operation = Operation(op, arguments)
        node = self._nodes.get(operation)
        if node is None:
            node = self._nodes[operation] = len(self.operations)
            self.operations.append(operation)
        return node

    def constant(self, value: float) -> Node:
        # By its digits, because 0.0 equals -0.0 and NaN does not equal itself.
        return self.of("constant", float(value).hex())

    def value_of(self, node: Node) -> float | None:
        """The value of a constant, None for anything else."""
        operation = self.operations[node]
        return float.fromhex(operation.arguments[0]) if operation.op == "constant" else None


@dataclass(slots=True)
class Run:
    """One call of the function: which decisions it met, and how they were answered.

    Attributes:
        expressions: shared by all calls.
        script: the first answers to give; the others are yes.
        decisions: what was asked, in order, and the answer.
    """

    expressions: Expressions
    script: Sequence[bool]
    decisions: dict[Node, bool] = field(default_factory=dict)

    def decide(self, condition: Node) -> bool:
        """Whether the condition holds in the rows that this call stands for."""
        if condition not in self.decisions:
            place = len(self.decisions)
            self.decisions[condition] = self.script[place] if place < len(self.script) else True
        return self.decisions[condition]


class Kept:
    """A feature met in a loop over the row, or copied with it: it can be kept or left out, whole."""

    def __init__(self, node: Node, is_text: bool, source: str) -> None:
        self.node, self.is_text, self.source = node, is_text, source

    # What isinstance asks for when the type says no. Likewise below.
    __class__ = property(lambda self: str if self.is_text else float)


class Condition:
    """Something that is true or false from row to row."""

    def __init__(self, run: Run, node: Node, numpy: bool = False) -> None:
        self.run, self.node, self.numpy = run, node, numpy

    __class__ = property(lambda self: np.bool_ if self.numpy else bool)

    def __bool__(self) -> bool:
        return self.run.decide(self.node)

    def decided(self) -> Any:
        """The value itself, once for true and once for false: then Python does with it what it does."""
        return np.bool_(bool(self)) if self.numpy else bool(self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _by_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise _no_function(function)

    def __hash__(self) -> int:
        return hash(self.decided())

    def __index__(self) -> int:
        return operator.index(self.decided())

    def __float__(self) -> float:
        return float(self.decided())


class Text:
    """A string by row, never empty: the empty one is a missing feature."""

    def __init__(self, run: Run, node: Node) -> None:
        self.run, self.node = run, node

    __class__ = property(lambda self: str)

    def __eq__(self, other: object) -> Any:
        node = self._node_of(other)
        if node is None:
            return NotImplemented
        return Condition(self.run, self.run.expressions.of("Equal", *sorted((self.node, node))))

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __add__(self, other: object) -> Any:
        node = self._node_of(other)
        return NotImplemented if node is None else self._concatenated(self.node, node)

    def __radd__(self, other: object) -> Any:
        node = self._node_of(other)
        return NotImplemented if node is None else self._concatenated(node, self.node)

    def __hash__(self) -> int:
        raise Untraceable("it looks a text up in a set or a dict, or makes it a key; compare it by == or with a tuple")

    def __bool__(self) -> bool:
        return True

    def _concatenated(self, first: Node, second: Node) -> Text:
        return Text(self.run, self.run.expressions.of("StringConcat", first, second))

    def _node_of(self, other: object) -> Node | None:
        if type(other) is Text:
            return other.node
        if isinstance(other, str):
            if "\0" in (plain := str.__str__(other)):
                raise Untraceable("it uses a text with a NUL, where onnxruntime cuts")
            return self.run.expressions.of("string", plain)
        return None


class Number:
    """A number by row.

    Attributes:
        kind: float, int or numpy.float64, which do not divide by zero in the same way.
    """

    def __init__(self, run: Run, node: Node, kind: type = float) -> None:
        self.run, self.node, self.kind = run, node, kind

    __class__ = property(lambda self: self.kind)

    def __bool__(self) -> bool:
        return not self.equals(0.0)

    def __neg__(self) -> Number:
        return self.by("Neg", self.node)

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        return self.by("Abs", self.node)

    def __floor__(self) -> Number:
        return self._whole("Floor")

    def __ceil__(self) -> Number:
        return self._whole("Ceil")

    def __round__(self, digits: int | None = None) -> Number:
        if digits is not None:
            raise Untraceable("it rounds to digits, which Python does by how a number is printed; round(v) is exact")
        return self._whole("Round")  # half to even, as Python

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _by_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise _no_function(function)

    def by(self, op: str, *arguments: Node, kind: type | None = None) -> Number:
        """The number that an operator makes of expressions; of this one's kind, unless another is given."""
        return Number(self.run, self.run.expressions.of(op, *arguments), kind or self.kind)

    def equals(self, value: float) -> bool:
        """Whether it is this value: a decision, unless it is a constant itself."""
        own = self.run.expressions.value_of(self.node)
        return self._compares("Equal", value) if own is None else own == value

    def is_negative(self) -> bool:
        """Whether it is below zero: a decision, unless it is a constant itself."""
        own = self.run.expressions.value_of(self.node)
        return self._compares("Less", 0.0) if own is None else own < 0.0

    def refuse_overflow(self) -> None:
        """Raise OverflowError in the rows where it is infinite."""
        if self.run.expressions.operations[self.node].op in ("number", "constant"):
            return
        # Only what is infinite, or NaN, does not leave zero.
        if not self.by("Sub", self.node, self.node).equals(0.0):
            raise OverflowError("a number is too large")

    def _whole(self, op: str) -> Number:
        self.refuse_overflow()
        return self.by(op, self.node, kind=int)

    def _compares(self, op: str, value: float) -> bool:
        return self.run.decide(self.run.expressions.of(op, self.node, self.run.expressions.constant(value)))


def _number(run: Run, value: Any) -> Number | None:
    """A constant or a symbol as a number; None for anything else."""
    if type(value) is Number:
        return value
    if type(value) is Condition:
        value = value.decided()
    if type(value) is np.ndarray and not value.ndim:
        value = value[()]  # numpy makes one of its own number before it asks for a function of both
    if not isinstance(value, bool | int | float | np.bool_ | np.integer):
        return None
    whole = not isinstance(value, float)
    if whole and abs(int(value)) > 2**53:
        raise Untraceable(f"it computes with {value}, which is no double")
    kind = np.float64 if isinstance(value, np.generic) else int if whole else float
    return Number(run, run.expressions.constant(float(value)), kind)


def _kind_of(a: Number, b: Number) -> type:
    kinds = {a.kind, b.kind}
    return np.float64 if np.float64 in kinds else float if float in kinds else int


_Arithmetic: TypeAlias = Callable[[Number, Number], Any]


def _plain(op: str) -> _Arithmetic:
    return lambda a, b: a.by(op, a.node, b.node, kind=_kind_of(a, b))


def _comparison(op: str, negated: bool = False) -> _Arithmetic:
    def compare(a: Number, b: Number) -> Condition:
        node = a.run.expressions.of(op, a.node, b.node)
        node = a.run.expressions.of("Not", node) if negated else node
        return Condition(a.run, node, numpy=_kind_of(a, b) is np.float64)

    return compare


def _refuse_zero(a: Number, b: Number) -> None:
    if _kind_of(a, b) is not np.float64 and b.equals(0.0):
        raise ZeroDivisionError("division by zero")


def _divided(a: Number, b: Number) -> Number:
    _refuse_zero(a, b)
    return a.by("Div", a.node, b.node, kind=np.float64 if _kind_of(a, b) is np.float64 else float)


def _remainder(a: Number, b: Number) -> Number:
    """`%`, which has the sign of b, where ONNX's exact one has that of a."""
    _refuse_zero(a, b)
    of, zero = a.run.expressions.of, a.run.expressions.constant(0.0)
    remainder = of("Mod", a.node, b.node)
    opposite = of("Less", of("Mul", of("Sign", remainder), of("Sign", b.node)), zero)
    return a.by("Where", opposite, of("Add", remainder, b.node), remainder, kind=_kind_of(a, b))


def _floor_divided(a: Number, b: Number) -> Number:
    """`//` in CPython's own steps, which are numpy's too: what is left over is taken away before it is divided."""
    remainder = _remainder(a, b)
    of, constant = a.run.expressions.of, a.run.expressions.constant
    quotient = of("Div", of("Sub", a.node, remainder.node), b.node)
    floor = of("Floor", quotient)
    nearly_next = of("Greater", of("Sub", quotient, floor), constant(0.5))
    whole = of("Where", nearly_next, of("Add", floor, constant(1.0)), floor)
    if remainder.kind is np.float64:
        by_zero = of("Equal", b.node, constant(0.0))
        whole = of("Where", by_zero, of("Div", a.node, b.node), whole)
    return Number(a.run, whole, remainder.kind)


def _power(a: Number, b: Number) -> Number:
    """`**`: Python raises where numpy makes an infinity, and makes a complex number of the root of a negative one."""
    kind = _kind_of(a, b)
    if kind is int:
        raise Untraceable("it raises a whole number to a whole number, which Python does beyond all doubles")
    power = a.by("Pow", a.node, b.node, kind=kind)
    if kind is np.float64:
        return power
    if b.is_negative() and a.equals(0.0):
        raise ZeroDivisionError("zero cannot be raised to a negative power")
    exponent = a.run.expressions.value_of(b.node)
    if not (exponent is not None and exponent.is_integer()) and a.is_negative() and not _is_whole(b):
        raise NoRealNumber
    if exponent is None or not 0.0 <= exponent <= 1.0:
        power.refuse_overflow()
    return power


def _is_whole(number: Number) -> bool:
    value = number.run.expressions.value_of(number.node)
    of = number.run.expressions.of
    return number.run.decide(of("Equal", number.node, of("Floor", number.node))) if value is None else False


def _chosen(op: str) -> _Arithmetic:
    """numpy's greater or lesser of two: NaN if either is."""

    def choose(a: Number, b: Number) -> Number:
        of = a.run.expressions.of
        first = of("Or", of(op, a.node, b.node), of("IsNaN", a.node))
        return a.by("Where", first, a.node, b.node, kind=np.float64)

    return choose


def _unary(op: str) -> Callable[[Number], Number]:
    return lambda a: a.by(op, a.node, kind=np.float64)


def _log1p(a: Number) -> Number:
    """log(1 + x) to the last digits also near 0, where 1 + x loses those of x.

    Goldberg, "What every computer scientist should know about floating-point arithmetic", 1991, theorem 4.
    """
    of, one = a.run.expressions.of, a.run.expressions.constant(1.0)
    one_more = of("Add", a.node, one)
    quotient = of("Mul", of("Log", one_more), of("Div", a.node, of("Sub", one_more, one)))
    return a.by("Where", of("Equal", one_more, one), a.node, quotient, kind=np.float64)


_OPERATORS: Final[Mapping[str, _Arithmetic]] = {
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul"),
    "truediv": _divided,
    "floordiv": _floor_divided,
    "mod": _remainder,
    "divmod": lambda a, b: (_floor_divided(a, b), _remainder(a, b)),
    "pow": _power,
    "lt": _comparison("Less"),
    "le": _comparison("LessOrEqual"),
    "gt": _comparison("Greater"),
    "ge": _comparison("GreaterOrEqual"),
    "eq": _comparison("Equal"),
    "ne": _comparison("Equal", negated=True),
}
_COMPARISONS: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})

# numpy calls these where one of its numbers stands before a symbol.
_UFUNC_OPERATORS: Final[Mapping[Any, _Arithmetic]] = {
    np.add: _OPERATORS["add"],
    np.divide: _OPERATORS["truediv"],
    np.equal: _OPERATORS["eq"],
    np.floor_divide: _OPERATORS["floordiv"],
    np.greater: _OPERATORS["gt"],
    np.greater_equal: _OPERATORS["ge"],
    np.less: _OPERATORS["lt"],
    np.less_equal: _OPERATORS["le"],
    np.multiply: _OPERATORS["mul"],
    np.not_equal: _OPERATORS["ne"],
    np.power: _OPERATORS["pow"],
    np.remainder: _OPERATORS["mod"],
    np.subtract: _OPERATORS["sub"],
}
_FUNCTIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    np.absolute: _unary("Abs"),
    np.ceil: _unary("Ceil"),
    np.cos: _unary("Cos"),
    np.exp: _unary("Exp"),
    np.floor: _unary("Floor"),
    np.log: _unary("Log"),
    np.log1p: _log1p,
    np.maximum: _chosen("GreaterOrEqual"),
    np.minimum: _chosen("LessOrEqual"),
    np.negative: _unary("Neg"),
    np.rint: _unary("Round"),
    np.sign: _unary("Sign"),
    np.sin: _unary("Sin"),
    np.sqrt: _unary("Sqrt"),
    np.square: lambda a: a.by("Mul", a.node, a.node),
    np.tanh: _unary("Tanh"),
}


def _by_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What a function of numpy makes of symbols; its numbers are numpy's."""
    if any(type(value) is Condition for value in inputs):
        decided = [value.decided() if type(value) is Condition else value for value in inputs]
        return getattr(ufunc, method)(*decided, **options)
    apply = _UFUNC_OPERATORS.get(ufunc) or _FUNCTIONS.get(ufunc)
    if apply is None or method != "__call__" or options:
        raise _no_function(ufunc)
    run: Run = next(value.run for value in inputs if type(value) is Number)
    numbers = [_number(run, value) for value in inputs]
    known = [Number(run, number.node, np.float64) for number in numbers if number is not None]
    if len(known) < len(inputs):
        raise Untraceable(f"it gives numpy.{ufunc.__name__} something that is no number")
    return apply(*known)


def _no_function(function: Any) -> Untraceable:
    known = ", ".join(ufunc.__name__ for ufunc in _FUNCTIONS)
    name = f"numpy.{function.__name__}"
    return Untraceable(f"it calls {name}, which is none of {known}; an if does what numpy.where does")


def _method(arithmetic: _Arithmetic, *, reflected: bool) -> Callable[[Number, Any], Any]:
    def method(self: Number, other: Any) -> Any:
        number = _number(self.run, other)
        if number is None:
            return NotImplemented
        return arithmetic(number, self) if reflected else arithmetic(self, number)

    return method


def _decided_method(function: Callable[[Any, Any], Any], *, reflected: bool) -> Callable[[Condition, Any], Any]:
    def method(self: Condition, other: Any) -> Any:
        return function(other, self.decided()) if reflected else function(self.decided(), other)

    return method


def refuse_methods(cls: type, refusals: Mapping[str, Sequence[str]]) -> None:
    """Give a class methods that end the trace, by what they say; without them Python would go on with its own."""

    def refusing(what: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> Any:
            raise Untraceable(what)

        return refuse

    for what, methods in refusals.items():
        for method in methods:
            setattr(cls, method, refusing(what))


def refuse_attributes(cls: type, called: str) -> None:
    """Give a class an end of the trace for every attribute that it does not have."""

    def attribute(self: Any, name: str) -> Any:
        raise Untraceable(f"it asks {called} for .{name}")

    cls.__getattr__ = attribute  # type: ignore[attr-defined]


for _operator, _arithmetic in _OPERATORS.items():
    _function = divmod if _operator == "divmod" else getattr(operator, _operator)
    setattr(Number, f"__{_operator}__", _method(_arithmetic, reflected=False))
    setattr(Condition, f"__{_operator}__", _decided_method(_function, reflected=False))
    if _operator not in _COMPARISONS:
        setattr(Number, f"__r{_operator}__", _method(_arithmetic, reflected=True))
        setattr(Condition, f"__r{_operator}__", _decided_method(_function, reflected=True))
for _operator in ("and", "or", "xor"):
    _function = getattr(operator, f"__{_operator}__")
    setattr(Condition, f"__{_operator}__", _decided_method(_function, reflected=False))
    setattr(Condition, f"__r{_operator}__", _decided_method(_function, reflected=True))

refuse_attributes(Kept, "a feature of a copy or a loop")
refuse_attributes(Condition, "a condition")
refuse_attributes(Text, "a text")
refuse_attributes(Number, "a number")

_PRINTED: Final = ("__str__", "__repr__", "__format__", "__bytes__")
_AT_ONCE: Final = ("__float__", "__int__", "__index__", "__complex__", "__trunc__")
_INSIDE: Final = ("__len__", "__iter__", "__contains__", "__getitem__")
refuse_methods(Condition, {"it makes a text of a condition": _PRINTED})
refuse_methods(
    Number,
    {
        "it makes a text of a number": _PRINTED,
        "it looks a number up in a set or a dict, or makes it a key": ("__hash__",),
        "float(), int() and the functions of math take one number, not one of each row; numpy's do": _AT_ONCE,
    },
)
refuse_methods(
    Text,
    {
        "it prints a text into another; join them by +": _PRINTED,
        "it looks into a text, which no standard operator does": _INSIDE,
        "it orders texts, which no standard operator does": ("__lt__", "__le__", "__gt__", "__ge__"),
    },
)
refuse_methods(
    Kept,
    {
        "it computes with what it met in a copy or a loop; read each feature by its name, as x['price']": (
            *_PRINTED,
            *_AT_ONCE,
            *_INSIDE,
            *("__hash__", "__bool__", "__neg__", "__pos__", "__abs__", "__floor__", "__ceil__", "__round__"),
            *("__array_ufunc__", "__array_function__"),
            *(f"__{name}__" for name in _OPERATORS),
            *(f"__r{name}__" for name in _OPERATORS if name not in _COMPARISONS),
        ),
    },
)

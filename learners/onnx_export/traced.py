"""A Python function over a row, as expressions: it is called with a row that stands for all rows.

The function runs as it is; what it reads are symbols, which note what is done with them. Where Python has to decide (an
`if`, a missing key, a division that may be by zero) it is run once for each answer, until every way through is known.
So branches, `min`, `max`, defaults and `try` need no support of their own. What a symbol cannot follow ends the trace
with the line that did it.

Concolic execution in small: Godefroid, Klarlund & Sen, "DART", PLDI 2005, with all ways in place of some.
"""

from __future__ import annotations

import functools
import math
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from learners.onnx_export import symbols
from learners.onnx_export.symbols import (
    Condition,
    Expressions,
    Kept,
    Node,
    NoRealNumber,
    Number,
    Run,
    Text,
    Untraceable,
    refuse_attributes,
    refuse_methods,
)

# Each way becomes a Where for each feature that comes out.
MOST_WAYS = 64

Function: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that comes out.

    Attributes:
        node: its value.
        is_text: whether that is a string.
        source: the feature that this one is, missing where that is missing; None for one that is always there.
    """

    node: Node
    is_text: bool
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One way through the function.

    Attributes:
        decisions: conditions, and how each turned out, in the order in which they were met.
        features: what comes out; None where the function raises, so that River has no answer.
    """

    decisions: tuple[tuple[Node, bool], ...]
    features: Mapping[str, Feature] | None


@dataclass(frozen=True, slots=True)
class Traced:
    """All ways through a function. Their decisions are a tree: equal up to the first that turned out otherwise."""

    expressions: Expressions
    ways: tuple[Way, ...]


def trace(function: Function, numbers: Sequence[str], texts: Sequence[str]) -> Traced:
    """Every way through a function of a row, and what comes out of each.

    Args:
        function: takes a mapping and returns one; it is called many times.
        numbers: features that reach it as float.
        texts: features that reach it as str.

    Raises:
        Untraceable: something that it does has no exact form; the message ends with the line.

    >>> ways = trace(lambda x: {"half": x["price"] / 2}, ["price"], []).ways
    >>> [way.features and [*way.features] for way in ways]
    [['half'], None]
    """
    kinds = {**dict.fromkeys(numbers, False), **dict.fromkeys(texts, True)}
    tracer = _Tracer(function, kinds)
    ways = tracer.ways()
    if tracer.ways() != ways:
        raise Untraceable("it answers otherwise when it is asked again")
    if tracer.has_looped:
        _refuse_effects_of_loops(tracer, ways, [*kinds])
    return Traced(tracer.expressions, tuple(ways))


def _refuse_effects_of_loops(tracer: _Tracer, ways: Sequence[Way], names: Sequence[str]) -> None:
    """A loop over the row met every feature. Without one of them, only that one may be missing from what comes out."""
    for hidden in (*({name} for name in names), {*names}):
        presence = {tracer.expressions.of("present", name) for name in hidden}
        expected = [
            Way(
                tuple(decision for decision in way.decisions if decision[0] not in presence),
                way.features and {name: kept for name, kept in way.features.items() if kept.source not in hidden},
            )
            for way in ways
            if not any(found and node in presence for node, found in way.decisions)
        ]
        if tracer.ways(frozenset(hidden)) != expected:
            missing = " and ".join(repr(name) for name in sorted(hidden)[:2])
            raise Untraceable(f"it loops over the row, and without {missing} also other features come out otherwise")


class _Tracer:
    """Calls the function until no decision is left that was not answered both ways."""

    def __init__(self, function: Function, kinds: Mapping[str, bool]) -> None:
        self.expressions = Expressions()
        self.has_looped = False
        self._function = function
        self._kinds = kinds

    def ways(self, hidden: frozenset[str] = frozenset()) -> list[Way]:
        """All ways for rows that lack the hidden features."""
        ways: list[Way] = []
        script: list[bool] | None = []
        while script is not None:
            if len(ways) == MOST_WAYS:
                raise Untraceable(f"it has more than {MOST_WAYS} ways through")
            run = Run(self.expressions, script)
            features = self._features(run, hidden)
            ways.append(Way(tuple(run.decisions.items()), features))
            script = _next_script([*run.decisions.values()])
        return ways

    def _features(self, run: Run, hidden: frozenset[str]) -> Mapping[str, Feature] | None:
        row = Row(run, self._kinds, hidden)
        try:
            returned = self._function(row)
            return {_name(key): _feature(run, key, value) for key, value in _items(returned)}
        except (LookupError, ArithmeticError, ValueError, NoRealNumber):
            return None
        except Untraceable as refusal:
            raise Untraceable(f"{refusal}{_line(self._function, refusal)}") from None
        except Exception as error:  # whatever a user's code may raise
            problem = f"{type(error).__name__}: {error}"
            raise Untraceable(f"it cannot be followed, {problem}{_line(self._function, error)}") from error
        finally:
            self.has_looped |= row.was_looped


def _next_script(answers: Sequence[bool]) -> list[bool] | None:
    """The answers up to the last yes, now a no, so that what came after it is open again; None if all are no."""
    yeses = [place for place, answer in enumerate(answers) if answer]
    return [*answers[: yeses[-1]], False] if yeses else None


def _items(returned: Any) -> Iterable[tuple[Any, Any]]:
    # By its type, because `isinstance` would believe a symbol.
    if not issubclass(type(returned), Mapping | Row):
        raise Untraceable(f"it returns a {type(returned).__name__}, not a dict of features")
    items: Iterable[tuple[Any, Any]] = returned.items()
    return items


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise Untraceable(f"it names a feature {key!r}, which is no str")
    return str.__str__(key)


def _feature(run: Run, name: str, value: Any) -> Feature:
    """What the function returns under a name."""
    of = run.expressions.of
    if type(value) is Kept:
        return Feature(value.node, value.is_text, value.source)
    if type(value) is Number:
        return Feature(value.node, is_text=False)
    if type(value) is Condition:
        return Feature(of("Cast", value.node), is_text=False)
    if type(value) is Text:
        return Feature(value.node, is_text=True)
    if isinstance(value, str) and value and "\0" not in value:
        return Feature(of("string", str.__str__(value)), is_text=True)
    if isinstance(value, bool | int | float | np.bool_ | np.integer) and math.isfinite(value):
        return Feature(run.expressions.constant(float(value)), is_text=False)
    raise Untraceable(f"its feature {name!r} is {value!r}, which is no finite number and no text")


def _line(function: Any, error: BaseException) -> str:
    """Where in the user's own code it happened, as ` (file.py:7: the line)`."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    own = code.co_filename if isinstance(code, types.CodeType) else ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, symbols.__file__)
    ]
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1] if frames else None)
    if frame is None:
        return ""
    return f" ({Path(frame.filename).name}:{frame.lineno}{f': {frame.line}' if frame.line else ''})"


class Row:
    """The row as a dict that can be read.

    Attributes:
        was_looped: whether somebody has asked for all features.
    """

    def __init__(self, run: Run, kinds: Mapping[str, bool], hidden: frozenset[str]) -> None:
        self._run = run
        self._kinds = kinds
        self._hidden = hidden
        self.was_looped = False

    __class__ = property(lambda self: dict)

    def __getitem__(self, key: Any) -> Any:
        if type(key) is _Key:
            return self._kept(key)
        if key not in self._kinds:
            raise Untraceable(f"it reads {key!r}, which is not a feature here, so River raises on every event")
        if key not in self:
            raise KeyError(key)
        return self._read(key)

    def get(self, key: Any, default: Any = None) -> Any:
        if type(key) is _Key:
            return self._kept(key)
        return self._read(key) if key in self else default

    def __contains__(self, key: object) -> bool:
        if type(key) is _Key:
            return True
        if key not in self._kinds or key in self._hidden:
            return False
        return self._run.decide(self._run.expressions.of("present", key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        self.was_looped = True
        return [_Key(name) for name in self._kinds if name not in self._hidden]

    def values(self) -> list[Any]:
        return [self[key] for key in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in self.keys()]

    def copy(self) -> dict[str, Any]:
        return {**self}

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def _read(self, name: str) -> Text | Number:
        if self._kinds[name]:
            return Text(self._run, self._run.expressions.of("text", name))
        return Number(self._run, self._run.expressions.of("number", name))

    def _kept(self, key: str) -> Kept:
        name = str.__str__(key)
        is_text = self._kinds[name]
        return Kept(self._run.expressions.of("text" if is_text else "number", name), is_text, name)


class _Key(str):
    """A feature's name met in a loop over the row: where the loop comes to it, the feature is there."""

    __slots__ = ()


refuse_attributes(Row, "the row")
refuse_methods(
    Row,
    {
        "it changes the row, which others read too; return a new dict, {**x, ...}": (
            *("__setitem__", "__delitem__", "__ior__", "pop", "popitem", "update", "setdefault", "clear"),
        ),
        "it counts or compares the features that are there": ("__len__", "__bool__", "__eq__", "__ne__"),
        "it makes a text or a key of the whole row": ("__hash__", "__repr__", "__str__", "__format__"),
    },
)

"""FuncTransformer: the function's ways, traced, as one graph without branches."""

from __future__ import annotations

import dis
import functools
import itertools
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from onnx import TensorProto
from river import compose

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.symbols import Node, Operation, Untraceable
from learners.onnx_export.traced import Traced, Way, trace
from schemas.errors import NotExportable

_INSTEAD = "arithmetic, comparisons and numpy on x['name'], a feature of the event, or a step of River's own"
# What would see that a symbol is no number, and cannot be told to look away as `isinstance` can.
_SEES_THROUGH = frozenset({"type", "id"})
# Always finite, or as it came.
_FINITE = frozenset({"number", "text", "constant", "string", "Cast", "StringConcat"})


@settings.register(compose.FuncTransformer)
def settings_of_function(step: compose.FuncTransformer, path: str, role: Role) -> None:
    """Refuse `type()`; at the first export, by its line, what needs a value at once: `float()`, `math`, f-strings."""
    codes = [*_codes(step.func)]
    if not codes:
        reason = f"it calls {step.func!r}, which is no Python function"
        raise NotExportable(full_name(step), path, reason, "a function made by def or lambda")
    seen = sorted(_SEES_THROUGH & {name for code in codes for name in code.co_names})
    if seen:
        reason = f"its function calls {seen[0]}(), which tells the row it is traced with from a real one"
        raise NotExportable(full_name(step), path, reason, "isinstance()")
    if any(map(_compares_identity, codes)):
        reason = "its function asks whether something is True or is False, which no symbol is"
        raise NotExportable(full_name(step), path, reason, "the condition itself, or not")


@transform.register(compose.FuncTransformer)
def transform_by_function(step: compose.FuncTransformer, graph: Graph, frame: Frame) -> Frame:
    """What the function does with the row: arithmetic, branches, min, max and numpy's functions, traced.

    Where it raises, River has no answer. Neither has the graph where it makes an infinity, NaN or a complex number,
    which no feature is.
    """
    if frame.one_hots:
        reason = "it would see one-hot keys, which are no columns any more"
        raise NotExportable(full_name(step), graph.step, reason, "it before the OneHotEncoder")
    try:
        traced = trace(step.func, frame.number_names, frame.text_names)
        return _Lowering(graph, frame, traced).frame()
    except Untraceable as refusal:
        raise NotExportable(full_name(step), graph.step, str(refusal), _INSTEAD) from None


def _codes(function: object) -> Iterator[types.CodeType]:
    """The code of a function, of those inside it and of those that it can call by name."""
    met: set[types.CodeType] = set()
    pending: list[Any] = [function]
    while pending:
        each = pending.pop()
        if isinstance(each, functools.partial | types.MethodType):
            pending.append(each.func if isinstance(each, functools.partial) else each.__func__)
        elif isinstance(each, types.FunctionType):
            named = [each.__globals__.get(name) for name in each.__code__.co_names]
            # numpy's own functions know what they do.
            own = [one for one in named if isinstance(one, types.FunctionType) and "numpy" not in one.__module__]
            pending += [each.__code__, *own]
        elif isinstance(each, types.CodeType) and each not in met:
            met.add(each)
            pending += each.co_consts
            yield each


def _compares_identity(code: types.CodeType) -> bool:
    pairs = itertools.pairwise(dis.get_instructions(code))
    return any(after.opname == "IS_OP" and isinstance(before.argval, bool) for before, after in pairs)


_Truth: TypeAlias = bool | Tensor
"""Whether something holds: in every row, in none, or where a bool tensor says so."""


class _Lowering:
    """Expressions as tensors of shape (N, 1), or (1, 1) for constants; what was made once is not made again."""

    def __init__(self, graph: Graph, frame: Frame, traced: Traced) -> None:
        self._graph = graph
        self._frame = frame
        self._ways = traced.ways
        self._operations = traced.expressions.operations
        self._tensors: dict[Node, Tensor] = {}
        self._made_by: dict[tuple[str, ...], Tensor] = {}
        self._rows: dict[Node, Tensor] = {}
        self._texts = self._kinds()
        self._always = self._always_there()
        self._computed = self._computed_somewhere()

    def frame(self) -> Frame:
        """What the function makes of the frame."""
        features, raises = self._of_ways(self._ways, 0)
        if raises is True:
            raise Untraceable("it raises on every event")
        masks = [raises] if isinstance(raises, Tensor) else []
        # What some ways leave out is checked in each of the others, because here NaN may be right.
        computed = [features[name] for name in features if name in self._always & self._computed]
        if computed:
            masks.append(self._infinite(computed))
        return replace(
            self._frame,
            numbers=self._columns({name: tensor for name, tensor in features.items() if not self._texts[name]}),
            texts=self._columns({name: tensor for name, tensor in features.items() if self._texts[name]}),
            unanswered=(*self._frame.unanswered, *masks),
        )

    def _kinds(self) -> dict[str, bool]:
        kinds: dict[str, bool] = {}
        for way in self._ways:
            for name, feature in (way.features or {}).items():
                if kinds.setdefault(name, feature.is_text) != feature.is_text:
                    raise Untraceable(f"its feature {name!r} is a text in some rows and a number in others")
        return kinds

    def _always_there(self) -> frozenset[str]:
        return frozenset(
            name
            for name in self._texts
            if all(
                name in way.features and way.features[name].source is None
                for way in self._ways
                if way.features is not None
            )
        )

    def _computed_somewhere(self) -> frozenset[str]:
        features = [item for way in self._ways for item in (way.features or {}).items()]
        return frozenset(name for name, feature in features if self._operations[feature.node].op not in _FINITE)

    def _columns(self, features: Mapping[str, Tensor]) -> Columns | None:
        return Columns(self._beside([*features.values()]), tuple(features)) if features else None

    def _beside(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else self._graph.op("Concat", *tensors, axis=1)

    def _of_ways(self, ways: Sequence[Way], depth: int) -> tuple[dict[str, Tensor], _Truth]:
        """The features of these ways, which agree in `depth` decisions, and where there is no answer."""
        if len(ways[0].decisions) == depth:
            return self._of_way(ways[0])
        condition = ways[0].decisions[depth][0]
        holds = self._tensor(condition)
        yes, yes_raises = self._of_ways([way for way in ways if way.decisions[depth] == (condition, True)], depth + 1)
        no, no_raises = self._of_ways([way for way in ways if way.decisions[depth] == (condition, False)], depth + 1)
        raises = self._choice(holds, yes_raises, no_raises)
        # Where it raises, no feature counts.
        if yes_raises is True or no_raises is True:
            return no if yes_raises is True else yes, raises
        return {name: self._either(name, holds, yes, no) for name in {**yes, **no}}, raises

    def _of_way(self, way: Way) -> tuple[dict[str, Tensor], _Truth]:
        if way.features is None:
            return {}, True
        computed = [
            self._column(feature.node)
            for name, feature in way.features.items()
            if name not in self._always and self._operations[feature.node].op not in _FINITE
        ]
        raises = self._infinite(computed) if computed else False
        return {name: self._column(feature.node) for name, feature in way.features.items()}, raises

    def _infinite(self, tensors: Sequence[Tensor]) -> Tensor:
        """Where any of them is infinite or NaN: only that does not leave zero."""
        together = self._beside(tensors)
        left = self._graph.op("Sub", together, together)
        finite = self._graph.op("Equal", left, self._graph.numbers(0.0))
        return self._graph.any_column(self._graph.op("Not", finite))

    def _either(self, name: str, holds: Tensor, yes: Mapping[str, Tensor], no: Mapping[str, Tensor]) -> Tensor:
        missing = self._missing("text" if self._texts[name] else "number")
        first, second = yes.get(name, missing), no.get(name, missing)
        return first if first == second else self._op("Where", holds, first, second)

    def _missing(self, kind: str) -> Tensor:
        if (kind,) not in self._made_by:
            text = kind == "text"
            missing = self._graph.strings([""]) if text else self._graph.numbers([[math.nan]], missing=True)
            self._made_by[kind,] = missing
        return self._made_by[kind,]

    def _choice(self, holds: Tensor, yes: _Truth, no: _Truth) -> _Truth:
        """`yes` where it holds, else `no`; a Where of bools, which onnxruntime does not have."""
        if yes == no:
            return yes
        return self._or(self._and(holds, yes), self._and(self._op("Not", holds), no))

    def _and(self, one: Tensor, other: _Truth) -> _Truth:
        if isinstance(other, bool):
            return one if other else False
        return self._op("And", one, other)

    def _or(self, one: _Truth, other: _Truth) -> _Truth:
        if isinstance(one, bool) or isinstance(other, bool):
            # Never True: of a choice, only one side is everywhere.
            return other if one is False else one
        return self._op("Or", one, other)

    def _op(self, op: str, *inputs: Tensor) -> Tensor:
        if (op, *inputs) not in self._made_by:
            self._made_by[op, *inputs] = self._graph.op(op, *inputs)
        return self._made_by[op, *inputs]

    def _column(self, node: Node) -> Tensor:
        """The tensor of an expression, also a constant one, with a row for each row."""
        operation = self._operations[node]
        if operation.op not in ("constant", "string"):
            return self._tensor(node)
        if node not in self._rows:
            self._rows[node] = self._row(operation)
        return self._rows[node]

    def _row(self, operation: Operation) -> Tensor:
        (value,) = operation.arguments
        if operation.op == "constant":
            return self._graph.row([float.fromhex(value)])
        everywhere = self._graph.op("Equal", self._graph.row([0.0]), self._graph.numbers(0.0))
        text = self._graph.strings([value])
        return self._graph.op("Where", everywhere, text, text)

    def _tensor(self, node: Node) -> Tensor:
        # Arguments are older than what is made of them, so nothing is met before it is there, however deep it is.
        if node not in self._tensors:
            for older in self._not_made(node):
                self._tensors[older] = self._made(older)
        return self._tensors[node]

    def _not_made(self, node: Node) -> list[Node]:
        """The expressions that this one needs and that have no tensor yet, itself included, the oldest first."""
        found: set[Node] = set()
        pending = [node]
        while pending:
            next_ = pending.pop()
            if next_ not in found and next_ not in self._tensors:
                found.add(next_)
                pending += [part for part in self._operations[next_].arguments if isinstance(part, int)]
        return sorted(found)

    def _made(self, node: Node) -> Tensor:
        op, arguments = self._operations[node].op, self._operations[node].arguments
        if op in ("number", "text", "present", "constant", "string"):
            return self._leaf(op, arguments[0])
        if op in ("Add", "Mul"):
            # The constant last, where Graph looks for it.
            arguments = tuple(sorted(arguments, key=lambda part: self._operations[part].op == "constant"))
        attributes = {"Cast": {"to": TensorProto.DOUBLE}, "Mod": {"fmod": 1}}.get(op, {})
        return self._graph.op(op, *(self._tensors[part] for part in arguments), **attributes)

    def _leaf(self, op: str, argument: str) -> Tensor:
        match op:
            case "constant":
                return self._graph.numbers([[float.fromhex(argument)]], infinite=True, missing=True)
            case "string":
                return self._graph.strings([argument])
            case "present":
                return self._present(argument)
            case _:
                return self._read(self._frame.texts if op == "text" else self._frame.numbers, argument)

    def _read(self, columns: Columns | None, name: str) -> Tensor:
        assert columns is not None, "the trace reads what the frame has"
        return self._graph.columns(columns.tensor, [columns.names.index(name)])

    def _present(self, name: str) -> Tensor:
        if name in self._frame.number_names:
            missing = self._graph.op("IsNaN", self._read(self._frame.numbers, name))
        else:
            missing = self._graph.op("Equal", self._read(self._frame.texts, name), self._graph.strings([""]))
        return self._graph.op("Not", missing)

"""A graph of `learners.onnx_export` as one operator's part of a skl2onnx graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

from learners.onnx_export.answers import Classes, Value, winners
from learners.onnx_export.frame import Columns, Frame, full_name
from learners.onnx_export.graph import OPSET, Graph, Tensor
from schemas.errors import NotExportable

_INPUT = "columns"


def begin(width: int, *, refuse_missing: bool) -> tuple[Graph, Frame]:
    """An empty graph, and the operator's columns as the frame that our converters take.

    The features' names are their places, 0, 1, ...: those are the keys under which `river.compat` shows them to River.

    Args:
        width: how many columns the estimator was fitted with.
        refuse_missing: whether the estimator raises for a row with a NaN, so that the graph has to answer NaN.
    """
    graph = Graph()
    numbers = graph.input(_INPUT, TensorProto.DOUBLE, width)
    masks = (graph.any_column(graph.op("IsNaN", numbers)),) if refuse_missing else ()
    places: tuple[Any, ...] = tuple(range(width))
    return graph, Frame(numbers=Columns(numbers, places), unanswered=masks)


def begin_texts(width: int) -> tuple[Graph, Tensor]:
    """An empty graph, and the operator's columns of texts."""
    graph = Graph()
    return graph, graph.input(_INPUT, TensorProto.STRING, width)


def _nan_where(graph: Graph, masks: Iterable[Tensor], values: Tensor) -> Tensor:
    """The values, NaN in the rows for which the estimator raises."""
    for mask in masks:
        values = graph.op("Where", mask, graph.nan(), values)
    return values


def publish_value(graph: Graph, answer: Value) -> None:
    """What a regressor answers, in the shape (N, 1) that skl2onnx wants."""
    graph.output("variable", _nan_where(graph, answer.unanswered, answer.value), TensorProto.DOUBLE, ["N", 1])


def publish_columns(graph: Graph, frame: Frame, values: Tensor, width: int) -> None:
    """What a transformer answers; `values` has shape (N, width)."""
    graph.output("variable", _nan_where(graph, frame.unanswered, values), TensorProto.DOUBLE, ["N", width])


def publish_classes(graph: Graph, answer: Classes, step: object) -> None:
    """What a classifier answers: its label itself, and a probability for each of its `labels`.

    Where there is no winner, -1, the label is "" or a number that is no class.

    Raises:
        NotExportable: the labels are neither whole numbers nor texts.
    """
    labels, winner = answer.labels, winners(graph, answer, answer.labels)
    for mask in answer.unanswered:
        winner = graph.op("Where", graph.op("Squeeze", mask, graph.integers([1])), graph.integers(-1), winner)
    texts = [label for label in labels if isinstance(label, str)]
    if len(texts) == len(labels):
        # The entry at the end is for -1: Gather counts negative places from there.
        row = graph.op("Gather", graph.strings([*texts, ""]), winner, axis=1)
        label, element = graph.op("Squeeze", row, graph.integers([0])), TensorProto.STRING
    elif all(isinstance(label, int) for label in labels):
        numbers = [int(label) for label in labels]
        label = graph.op("Gather", graph.integers([*numbers, min(-1, min(numbers) - 1)]), winner)
        element = TensorProto.INT64
    else:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise NotExportable(
            full_name(step), graph.step, f"its classes are {kinds}", "classes that are int, bool or str"
        )
    graph.output("label", label, element, ["N"])
    values = _nan_where(graph, answer.unanswered, answer.probabilities)
    graph.output("probabilities", values, TensorProto.DOUBLE, ["N", len(labels)])


def shape_classes(operator: Any) -> None:
    """skl2onnx's question for the types of a classifier's outputs."""
    classes = operator.raw_operator.classes_
    operator.outputs[0].type = StringTensorType([None]) if classes.dtype.kind in "UO" else Int64TensorType([None])
    operator.outputs[1].type = DoubleTensorType([None, len(classes)])


def shape_number(operator: Any) -> None:
    """skl2onnx's question for the types of a regressor's outputs."""
    operator.outputs[0].type = DoubleTensorType([None, 1])


def embed(graph: Graph, scope: Any, operator: Any, container: Any) -> None:
    """Write the graph, whose outputs are the operator's in their order, among the nodes that skl2onnx collects.

    Raises:
        NotExportable: a column is a text, or skl2onnx was told to write a standard that lacks our operators.
    """
    part = graph.model("part", 0, {}).graph
    _refuse_versions(part, operator, container)
    texts = part.input[0].type.tensor_type.elem_type == TensorProto.STRING
    names = {_INPUT: _joined(scope, operator, container, StringTensorType if texts else DoubleTensorType)}
    names |= {value.name: each.full_name for value, each in zip(part.output, operator.outputs, strict=True)}
    for constant in part.initializer:
        names[constant.name] = scope.get_unique_variable_name(constant.name)
        constant.name = names[constant.name]
        container.initializers.append(constant)
    for node in part.node:
        for output in node.output:
            if output not in names:
                names[output] = scope.get_unique_variable_name(output)
        # "" stands for an input that is left out.
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name = scope.get_unique_operator_name(node.name)
        container.nodes.append(node)
    container.node_domain_version_pair_sets.add(("", OPSET))


def _joined(scope: Any, operator: Any, container: Any, kind: type) -> str:
    """The operator's columns side by side as one kind of tensor; what an encoder made is often float or int64."""
    blocks = []
    for column in operator.inputs:
        name = column.full_name
        if isinstance(column.type, StringTensorType) != (kind is StringTensorType):
            found, wanted = ("text", "numbers") if kind is DoubleTensorType else ("number", "texts")
            reason, instead = (
                f"a {found} reaches it beside or instead of {wanted}",
                "a ColumnTransformer in front of it",
            )
            raise NotExportable(full_name(operator.raw_operator), operator.onnx_name, reason, instead)
        if not isinstance(column.type, kind):
            name = scope.get_unique_variable_name(f"{name}/double")
            cast = scope.get_unique_operator_name("Cast")
            container.add_node("Cast", column.full_name, name, name=cast, to=TensorProto.DOUBLE)
        blocks.append(name)
    if len(blocks) == 1:
        return str(blocks[0])
    joined: str = scope.get_unique_variable_name("joined")
    container.add_node("Concat", blocks, joined, name=scope.get_unique_operator_name("Concat"), axis=1)
    return joined


def _refuse_versions(part: onnx.GraphProto, operator: Any, container: Any) -> None:
    """Refuse where skl2onnx would announce a standard that lacks one of the part's operators.

    skl2onnx 1.20 knows ai.onnx.ml up to 3 and announces that or less, also when it was told 5; `sklearn_to_onnx`
    announces what is true, and says so by `Pinned`.
    """
    instead = "learners.sklearn_export.sklearn_to_onnx, or target_opset=20"
    if container.target_opset_any_domain("") < OPSET:
        reason = f"it needs opset {OPSET}"
    elif any(node.domain for node in part.node) and not isinstance(container.target_opset_all, Pinned):
        reason = "it needs ai.onnx.ml 5, which skl2onnx does not announce"
    else:
        return
    raise NotExportable(full_name(operator.raw_operator), operator.onnx_name, reason, instead)


class Pinned(dict[str, int]):
    """A `target_opset` whose user writes the versions into the finished model."""

"""Inputs and outputs as freshet names them, in place of those that skl2onnx gave a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from learners.onnx_export.graph import ML_DOMAIN


def publish(graph: onnx.GraphProto, classes: Sequence[Any]) -> None:
    """Freshet's outputs in place of skl2onnx's."""
    given = [*graph.output]
    inner = {value.name: f"outputs/{place}" for place, value in enumerate(given)}
    _rename(graph, inner)
    names = [*inner.values()]
    del graph.output[:]
    if classes:
        graph.node.append(_index_of_label(names[0], given[0].type.tensor_type.elem_type, classes))
        graph.node.append(helper.make_node("Cast", [names[1]], ["probabilities"], to=TensorProto.DOUBLE))
        graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
        graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["N", len(classes)]))
        return
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "outputs/shape"))
    graph.node.append(helper.make_node("Reshape", [names[0], "outputs/shape"], ["outputs/row"]))
    graph.node.append(helper.make_node("Cast", ["outputs/row"], ["prediction"], to=TensorProto.DOUBLE))
    graph.output.append(helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["N"]))


def _index_of_label(label: str, element: int, classes: Sequence[Any]) -> onnx.NodeProto:
    """The place of each row's class, -1 where there is none."""
    if element == TensorProto.STRING:
        keys = helper.make_tensor("keys", TensorProto.STRING, [len(classes)], [text.encode() for text in classes])
    else:
        keys = numpy_helper.from_array(np.array([int(value) for value in classes], np.int64), "keys")
    return helper.make_node(
        "LabelEncoder",
        [label],
        ["label"],
        domain=ML_DOMAIN,
        keys_tensor=keys,
        values_tensor=numpy_helper.from_array(np.arange(len(classes), dtype=np.int64), "values"),
        default_tensor=numpy_helper.from_array(np.array([-1], np.int64), "default"),
    )


def gather_inputs(graph: onnx.GraphProto) -> None:
    """Two inputs, numbers and categories, in place of skl2onnx's runs of columns."""
    given = [*graph.input]
    del graph.input[:]
    _rename(graph, {value.name: f"inputs/{place}" for place, value in enumerate(given)})
    heads = []
    for element, name in ((TensorProto.DOUBLE, "numbers"), (TensorProto.STRING, "categories")):
        runs = [
            (f"inputs/{place}", value.type.tensor_type.shape.dim[1].dim_value)
            for place, value in enumerate(given)
            if value.type.tensor_type.elem_type == element
        ]
        if not runs:
            continue
        widths = [width for _, width in runs]
        graph.input.append(helper.make_tensor_value_info(name, element, ["N", sum(widths)]))
        if len(runs) == 1:
            _rename(graph, {runs[0][0]: name})
            continue
        graph.initializer.append(numpy_helper.from_array(np.array(widths, np.int64), f"inputs/{name}"))
        heads.append(helper.make_node("Split", [name, f"inputs/{name}"], [run for run, _ in runs], axis=1))
    nodes = [*heads, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop constants that skl2onnx wrote for nothing; onnxruntime warns of each, at every load."""
    used = _read(graph)
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _read(graph: onnx.GraphProto) -> set[str]:
    """What the nodes read, those in bodies of loops included."""
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {name for node in graph.node for name in node.input}.union(*map(_read, bodies))


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]

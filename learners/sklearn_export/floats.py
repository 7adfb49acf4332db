"""Whether doubles stay doubles in a graph that skl2onnx wrote, and whose estimator is to blame if not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import TensorProto

from learners.onnx_export.frame import full_name
from learners.onnx_export.graph import ML_DOMAIN
from learners.sklearn_export import trees
from learners.sklearn_export.refused import not_by_skl2onnx
from learners.sklearn_export.walk import Part
from schemas.errors import NotExportable

_EXACT = "an estimator that docs/sklearn.md names as exact"

# Operators whose attributes are floats, whatever they are given.
_FLOAT_OPERATORS = frozenset(
    {
        "Imputer",
        "LinearClassifier",
        "LinearRegressor",
        "Normalizer",
        "SVMClassifier",
        "SVMRegressor",
        "Scaler",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
    }
)


def refuse_inexact(exported: onnx.ModelProto, topology: Any, parts: Sequence[Part]) -> None:
    """Raise NotExportable if a double is rounded to a float on its way, or an operator is not of the standard."""
    graph = exported.graph
    foreign = next((place for place, node in enumerate(graph.node) if node.domain not in {"", ML_DOMAIN}), None)
    if foreign is not None:
        path, part = _owner(graph, foreign, _owners(topology, parts), parts[0])
        by = f"{graph.node[foreign].op_type} of {graph.node[foreign].domain}"
        reason = f"skl2onnx computes it by {by}, which is not of the ONNX standard"
        raise NotExportable(full_name(part), path, reason, _EXACT)
    try:
        inferred = onnx.shape_inference.infer_shapes(exported).graph
    except onnx.shape_inference.InferenceError as error:
        raise not_by_skl2onnx(parts[0][1], f"writes a graph that is not valid: {error}") from error
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    owners = _owners(topology, parts)
    for place, node in enumerate(graph.node):
        floats = any(types.get(name) == TensorProto.FLOAT for name in node.output)
        doubles = any(types.get(name) == TensorProto.DOUBLE for name in node.input)
        if node.op_type in _FLOAT_OPERATORS or (floats and doubles):
            path, part = _owner(graph, place, owners, parts[0])
            # scikit-learn's own trees round their rows to floats, and so do ours.
            if type(part) not in trees.CLASSES:
                reason = f"skl2onnx computes it in floats, by the operator {node.op_type}"
                raise NotExportable(full_name(part), path, reason, _EXACT)


def _owners(topology: Any, parts: Sequence[Part]) -> dict[str, Part]:
    """The estimator that each of skl2onnx's own variables is an output of."""
    paths = {id(part): (path, part) for path, part in parts}
    return {
        variable.onnx_name: paths[id(operator.raw_operator)]
        for scope in topology.scopes
        for operator in scope.operators.values()
        if id(operator.raw_operator) in paths
        for variable in operator.outputs
    }


def _owner(graph: onnx.GraphProto, place: int, owners: Mapping[str, Part], otherwise: Part) -> Part:
    """The estimator whose converter wrote the node at this place: the first whose output lies behind it."""
    behind = {*graph.node[place].output}
    for each in itertools.islice(graph.node, place, None):  # in the order of computation
        if not behind.isdisjoint((*each.input, *each.output)):
            behind.update(each.output)
            found = next((owners[name] for name in each.output if name in owners), None)
            if found is not None:
                return found
    return otherwise

"""Anomaly detectors that answer from the row alone, and the filters around them."""

from __future__ import annotations

from typing import Any

from river import anomaly

from learners.onnx_export.convert import Role, Score, full_name, predict, refuse, score_of, settings, transform
from learners.onnx_export.frame import Frame, refuse_texts
from learners.onnx_export.graph import Graph
from learners.onnx_export.linear import weighted_sum
from learners.onnx_export.tree_table import Node, TreeTable
from schemas.errors import NotExportable


@settings.register(anomaly.HalfSpaceTrees)
def settings_of_half_space(model: anomaly.HalfSpaceTrees, step: str, role: Role) -> None:
    """No trees, or trees without a window, because River then divides by zero."""
    if model.n_trees < 1 or model.window_size < 1:
        reason = f"it has {model.n_trees} trees over a window of {model.window_size} rows"
        raise NotExportable(full_name(model), step, reason, "at least one of both")


@predict.register(anomaly.HalfSpaceTrees)
def predict_by_half_space(model: anomaly.HalfSpaceTrees, graph: Graph, frame: Frame) -> Score:
    """0.0 until the first window is full."""
    refuse_texts(model, graph, frame)
    if model._first_window:
        return Score(graph.row([0.0]), frame.unanswered)
    table = TreeTable()
    masses: list[float] = []
    for tree in model.trees:
        table.root(_half_space(model, table, masses, tree, depth=0, mass=0))
    leaves = table.emit(graph, frame, step=model)
    # Masses are whole numbers, so that no order of adding them rounds.
    total = graph.total(graph.op("Gather", graph.numbers(masses), leaves, axis=0))
    portion = graph.op("Div", total, graph.numbers([float(model._max_score)]))
    return Score(graph.op("Sub", graph.numbers([1.0]), portion), frame.unanswered)


def _half_space(
    model: anomaly.HalfSpaceTrees, table: TreeTable, masses: list[float], node: Any, *, depth: int, mass: int
) -> Node:
    """The subtree below `node`; each leaf's mass is what River gathers on the way to it."""
    mass += node.r_mass * 2**depth
    # River stops above a space that is nearly empty.
    if depth == model.height or node.r_mass < model.size_limit:
        masses.append(float(mass))
        return table.leaf()
    left, right = node.children
    below, beyond = (_half_space(model, table, masses, child, depth=depth + 1, mass=mass) for child in (left, right))
    # Without the feature, River follows what is heavier now, not what was heavier in the window that is scored by.
    is_left = left.l_mass >= right.l_mass
    return table.split(node.feature, "<", node.threshold, yes=below, no=beyond, missing_is_yes=is_left)


@predict.register(anomaly.OneClassSVM)
def predict_by_one_class(model: anomaly.OneClassSVM, graph: Graph, frame: Frame) -> Score:
    intercept = float(model.intercept)
    # River adds the intercept and takes it away again, and so loses the same digits.
    distance = weighted_sum(graph, frame, model.weights, intercept, model)
    return Score(graph.op("Sub", distance, graph.numbers([intercept])), frame.unanswered)


@settings.register(anomaly.ThresholdFilter)
@settings.register(anomaly.QuantileFilter)
def settings_of_filter(model: anomaly.ThresholdFilter | anomaly.QuantileFilter, step: str, role: Role) -> None:
    """A detector without an exact form, where its score is the answer; in front of a model it may be any."""
    if role == "predict":
        refuse(model.anomaly_detector, f"{step}/anomaly_detector", "predict")


@predict.register(anomaly.ThresholdFilter)
@predict.register(anomaly.QuantileFilter)
def predict_by_filter(model: anomaly.ThresholdFilter | anomaly.QuantileFilter, graph: Graph, frame: Frame) -> Score:
    """The detector's score; whether it is an anomaly decides only what River learns."""
    return score_of(model.anomaly_detector, graph, frame, "anomaly_detector")


@transform.register(anomaly.ThresholdFilter)
@transform.register(anomaly.QuantileFilter)
def transform_by_filter(model: anomaly.ThresholdFilter | anomaly.QuantileFilter, graph: Graph, frame: Frame) -> Frame:
    """Nothing: a filter keeps rows from being learned, and answers all."""
    return frame

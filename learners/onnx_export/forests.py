"""Forests of Hoeffding trees: all trees are one operator, and their leaves one table."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import forest

from learners.onnx_export.answers import no_class
from learners.onnx_export.branches import refuse_empty
from learners.onnx_export.class_leaves import classes_in_order, refuse_density, votes_of_trees
from learners.onnx_export.convert import Classes, Role, Value, predict, predicted_from, settings
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import normalized
from learners.onnx_export.value_leaves import refuse_leaf_model, refuse_unreadable, values_of_trees


@settings.register(forest.ARFClassifier)
def settings_of_classifier(model: forest.ARFClassifier, step: str, role: Role) -> None:
    refuse_density(model, step)


@settings.register(forest.ARFRegressor)
@settings.register(forest.OXTRegressor)
def settings_of_regressor(model: Any, step: str, role: Role) -> None:
    refuse_leaf_model(model, step)


@predict.register(forest.ARFClassifier)
def predict_by_classifier(model: forest.ARFClassifier, graph: Graph, frame: Frame) -> Classes:
    """The trees' probabilities, weighted by how well each has done, if it has."""
    refuse_empty(model, graph, frame)
    labels = list(dict.fromkeys(label for tree in model.data for label in classes_in_order(tree)))
    if not labels:
        return no_class(frame)
    votes = votes_of_trees(graph, frame, model, model.data, labels)
    if not model.disable_weighted_vote:
        weights = [metric.get() for metric in model._metrics]
        weights = [weight if weight > 0.0 else 1.0 for weight in weights]
        votes = graph.op("Mul", votes, graph.numbers([[[weight] for weight in weights]]))
    return predicted_from(graph, frame, normalized(graph, _in_turn(graph, votes, len(model.data))), labels)


@predict.register(forest.ARFRegressor)
def predict_by_regressor(model: forest.ARFRegressor, graph: Graph, frame: Frame) -> Value:
    """The median of the trees, or their mean, in which River divides by their number also what it has weighted."""
    refuse_empty(model, graph, frame)
    refuse_unreadable(graph, frame, model, is_new=not model.data)
    if not model.data:
        return Value(graph.row([0.0]), frame.unanswered)
    values = values_of_trees(graph, frame, model, model.data)
    if model.aggregation_method == "median":
        return Value(_median(graph, values, len(model.data)), frame.unanswered)
    if not model.disable_weighted_vote:
        errors = np.array([metric.get() for metric in model._metrics])
        if errors.sum() != 0:
            weights = errors.sum() - errors
            total = weights.sum()
            # One tree alone has no weight, and numpy's 0/0 is NaN, which `numbers` refuses.
            shares = weights / total if total else np.full(len(weights), np.nan)
            values = graph.op("Mul", values, graph.numbers([shares]))
    mean = graph.op("Div", graph.total(values), graph.numbers([float(len(model.data))]))
    return Value(mean, frame.unanswered)


@predict.register(forest.OXTRegressor)
def predict_by_extra_trees(model: forest.OXTRegressor, graph: Graph, frame: Frame) -> Value:
    """The mean of the trees, weighted by how well each has done."""
    refuse_empty(model, graph, frame)
    refuse_unreadable(graph, frame, model, is_new=not model.data)
    if not model.data:
        return Value(graph.row([0.0]), frame.unanswered)
    values = values_of_trees(graph, frame, model, model.data)
    weights = _weights(model)
    if weights is None:
        mean = graph.op("Div", graph.total(values), graph.numbers([float(len(model.data))]))
        return Value(mean, frame.unanswered)
    return Value(graph.total(graph.op("Mul", values, graph.numbers([weights]))), frame.unanswered)


def _weights(model: forest.OXTRegressor) -> list[float] | None:
    """Each tree's share, or None where all have the same."""
    if model.disable_weighted_vote:
        return None
    scores = [metric.get() for metric in model._perfs]
    if sum(scores) == 0:
        return None
    if not model.track_metric.bigger_is_better:
        scores = [(1 + 1e-8) / (score + 1e-8) for score in scores]
    return [score / sum(scores) for score in scores]


def _in_turn(graph: Graph, votes: Tensor, trees: int) -> Tensor:
    """The sum over trees in River's order, whose rounding breaks ties; (N, trees, labels) to (N, labels)."""
    # Not ReduceSum, which adds in an order of its own.
    running = graph.op("CumSum", votes, graph.integers(1))
    return graph.op("Gather", running, graph.integers(trees - 1), axis=1)


def _median(graph: Graph, values: Tensor, trees: int) -> Tensor:
    half = trees // 2 + 1
    highest = graph.ops("TopK", values, graph.integers([half]), outputs=2, axis=1)[0]
    if trees % 2:
        return graph.columns(highest, [half - 1])
    middle = graph.op("Add", graph.columns(highest, [half - 2]), graph.columns(highest, [half - 1]))
    return graph.op("Div", middle, graph.numbers([2.0]))

"""Linear models: a weighted sum of what is present."""

from __future__ import annotations

from collections.abc import Mapping

from river import linear_model, optim

from learners.onnx_export.convert import Classes, Role, Value, full_name, predict, predicted_from, settings
from learners.onnx_export.frame import Frame, OneHot, refuse_texts
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import both, sigmoid
from schemas.errors import NotExportable


@settings.register(linear_model.LogisticRegression)
def settings_of_logistic(model: linear_model.LogisticRegression, step: str, role: Role) -> None:
    if type(model.loss).mean_func is not optim.losses.BinaryLoss.mean_func:
        reason = f"loss {type(model.loss).__name__} has no sigmoid link"
        raise NotExportable(full_name(model), step, reason, "a loss from river.optim.losses for two classes")


@predict.register(linear_model.LogisticRegression)
def predict_by_logistic(model: linear_model.LogisticRegression, graph: Graph, frame: Frame) -> Classes:
    z = weighted_sum(graph, frame, model.weights, float(model.intercept), model)
    return predicted_from(graph, frame, both(graph, sigmoid(graph, z)), (False, True))


@settings.register(linear_model.LinearRegression)
def settings_of_linear(model: linear_model.LinearRegression, step: str, role: Role) -> None:
    if type(model.loss).mean_func is not optim.losses.RegressionLoss.mean_func:
        reason = f"loss {type(model.loss).__name__} has a link of its own"
        raise NotExportable(full_name(model), step, reason, "a loss from river.optim.losses for numbers, as Squared")


@predict.register(linear_model.LinearRegression)
def predict_by_linear(model: linear_model.LinearRegression, graph: Graph, frame: Frame) -> Value:
    return Value(weighted_sum(graph, frame, model.weights, float(model.intercept), model), frame.unanswered)


def weighted_sum(graph: Graph, frame: Frame, weights: Mapping[str, float], intercept: float, step: object) -> Tensor:
    """`sum(weight * x) + intercept` over the features present; shape (N, 1).

    Raises:
        NotExportable: a text reaches the sum, or nothing does.
    """
    refuse_texts(step, graph, frame)
    terms = [_weighted_one_hot(graph, one_hot, weights) for one_hot in frame.one_hots]
    if frame.numbers:
        column = [[weights.get(name, 0.0)] for name in frame.numbers.names]
        terms.append(graph.op("MatMul", graph.filled(frame.numbers.tensor), graph.numbers(column)))
    if not terms:
        if not frame.thinned:
            raise NotExportable(full_name(step), graph.step, "no feature reaches it", "steps that leave some feature")
        return graph.row([intercept])
    total = graph.numbers([intercept])
    for term in terms:
        total = graph.op("Add", term, total)
    return total


def _weighted_one_hot(graph: Graph, one_hot: OneHot, weights: Mapping[str, float]) -> Tensor:
    # The empty key, which no field emits, keeps the table valid before the first value was seen.
    table = {"": 0.0, **{key: weights[key] for key in one_hot.emits(weights)}}
    return graph.total(graph.lookup(one_hot.keys, table))

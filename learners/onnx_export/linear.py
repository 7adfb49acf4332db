"""Linear models: a weighted sum of what is present."""

from __future__ import annotations

from collections.abc import Mapping

from river import linear_model, optim

from learners.onnx_export.convert import Classes, Role, full_name, predict, predicted_from, settings
from learners.onnx_export.frame import Frame, OneHot
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable

# Where River's `utils.math.sigmoid` jumps to exactly 0 and 1.
SIGMOID_LIMIT = 30.0


@settings.register(linear_model.LogisticRegression)
def settings_of_logistic(model: linear_model.LogisticRegression, step: str, role: Role) -> None:
    if type(model.loss).mean_func is not optim.losses.BinaryLoss.mean_func:
        reason = f"loss {type(model.loss).__name__} has no sigmoid link"
        raise NotExportable(full_name(model), step, reason, "a loss from river.optim.losses for two classes")


@predict.register(linear_model.LogisticRegression)
def predict_by_logistic(model: linear_model.LogisticRegression, graph: Graph, frame: Frame) -> Classes:
    z = weighted_sum(graph, frame, model.weights, float(model.intercept), full_name(model))
    p = graph.op("Sigmoid", z)
    one, zero = graph.numbers([1.0]), graph.numbers([0.0])
    p = graph.op("Where", graph.op("Greater", z, graph.numbers([SIGMOID_LIMIT])), one, p)
    p = graph.op("Where", graph.op("Less", z, graph.numbers([-SIGMOID_LIMIT])), zero, p)
    both = graph.op("Concat", graph.op("Sub", one, p), p, axis=1)
    return predicted_from(graph, frame, both, (False, True))


def weighted_sum(graph: Graph, frame: Frame, weights: Mapping[str, float], intercept: float, estimator: str) -> Tensor:
    """`sum(weight * x) + intercept` over the features present; shape (N, 1).

    Raises:
        NotExportable: a text reaches the sum, or nothing does.
    """
    if frame.texts:
        reason = f"the text {frame.texts.names[0]!r} reaches it"
        raise NotExportable(estimator, graph.step, reason, "SelectType(str) | OneHotEncoder() in front of it")
    terms = [_weighted_one_hot(graph, one_hot, weights) for one_hot in frame.one_hots]
    if frame.numbers:
        column = [[weights.get(name, 0.0)] for name in frame.numbers.names]
        present = graph.op("Where", graph.op("IsNaN", frame.numbers.tensor), graph.numbers(0.0), frame.numbers.tensor)
        terms.append(graph.op("MatMul", present, graph.numbers(column)))
    if not terms:
        raise NotExportable(estimator, graph.step, "no feature reaches it", "steps that leave some feature")
    total = graph.numbers([intercept])
    for term in terms:
        total = graph.op("Add", term, total)
    return total


def _weighted_one_hot(graph: Graph, one_hot: OneHot, weights: Mapping[str, float]) -> Tensor:
    # The empty key, which no field emits, keeps the table valid before the first value was seen.
    table = {"": 0.0, **{key: weights[key] for key in one_hot.emits(weights)}}
    return graph.op("ReduceSum", graph.lookup(one_hot.keys, table), graph.integers([1]), keepdims=1)

"""Linear models: weighted sums of what is present, and the link of each; every optimiser, for only weights count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import TensorProto
from river import linear_model, optim
from river.linear_model.ad_predictor import _BIAS_KEY

from learners.onnx_export.answers import no_class
from learners.onnx_export.class_sums import Terms, added, refuse_no_features, sum_of_keys, sum_of_products
from learners.onnx_export.convert import Classes, Role, Value, full_name, predict, predicted_from, refuse, settings
from learners.onnx_export.error_function import norm_cdf
from learners.onnx_export.frame import Frame, OneHot
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import both, sigmoid
from schemas.errors import NotExportable


@settings.register(linear_model.LogisticRegression)
def settings_of_logistic(model: linear_model.LogisticRegression, step: str, role: Role) -> None:
    if type(model.loss).mean_func is not optim.losses.BinaryLoss.mean_func:
        reason = f"loss {type(model.loss).__name__} has no sigmoid link"
        raise NotExportable(full_name(model), step, reason, "a loss from river.optim.losses for two classes")


@predict.register(linear_model.LogisticRegression)
@predict.register(linear_model.Perceptron)
@predict.register(linear_model.PAClassifier)
def predict_by_logistic(
    model: linear_model.LogisticRegression | linear_model.PAClassifier, graph: Graph, frame: Frame
) -> Classes:
    z = weighted_sum(graph, frame, model.weights, float(model.intercept), model)
    return predicted_from(graph, frame, both(graph, sigmoid(graph, z)), (False, True))


@predict.register(linear_model.ALMAClassifier)
def predict_by_alma(model: linear_model.ALMAClassifier, graph: Graph, frame: Frame) -> Classes:
    z = weighted_sum(graph, frame, model.w, 0.0, model)
    return predicted_from(graph, frame, both(graph, sigmoid(graph, z)), (False, True))


def sigmoids_of(models: Sequence[object], graph: Graph, frame: Frame) -> Tensor | None:
    """The probabilities of True that several models give, by one product; None if one is no sigmoid of a weighted sum.

    Shape (N, len(models)).
    """
    if not all(type(model) in _SIGMOIDS for model in models):
        return None
    for model in models:
        refuse(model, graph.step, "predict")
    refuse_no_features(models[0], graph, frame)
    known: list[Any] = list(models)
    # ALMAClassifier has other names, and no intercept.
    weights = [model.w if type(model) is linear_model.ALMAClassifier else model.weights for model in known]
    intercepts = [float(getattr(model, "intercept", 0.0)) for model in known]
    return sigmoid(graph, added(graph, _weighted_sums(graph, frame, weights), intercepts))


# By type, because to River's isinstance a pipeline is what its last step is.
_SIGMOIDS = {
    linear_model.ALMAClassifier,
    linear_model.LogisticRegression,
    linear_model.PAClassifier,
    linear_model.Perceptron,
}


@predict.register(linear_model.SoftmaxRegression)
def predict_by_softmax(model: linear_model.SoftmaxRegression, graph: Graph, frame: Frame) -> Classes:
    """A weighted sum for each class that was met, and their softmax."""
    refuse_no_features(model, graph, frame)
    labels = tuple(model.weights)
    if not labels:
        return no_class(frame)
    of_classes = [model.weights.get(label, {}) for label in labels]
    z = added(graph, _weighted_sums(graph, frame, of_classes), [0.0] * len(labels))
    return predicted_from(graph, frame, graph.op("Softmax", z, axis=1), labels)


def _weighted_sums(graph: Graph, frame: Frame, weights: Sequence[Mapping[str, float]]) -> list[Tensor]:
    """`sum(weight * x)` by several weights, in parts to be added; each of shape (N, len(weights))."""
    nothing: Terms = [0.0] * len(weights)

    def terms(name: str) -> Terms:
        return [float(of_one.get(name, 0.0)) for of_one in weights]

    known = dict.fromkeys(name for of_one in weights for name in of_one)
    sums, _ = sum_of_products(graph, frame, terms)
    for one_hot in frame.one_hots:
        sums.append(sum_of_keys(graph, one_hot, known, ones=terms, zeros=lambda _: nothing, unmet=nothing)[0])
    return sums


# What River's own losses make of the weighted sum: itself, or its exponential.
_LINKS = (optim.losses.RegressionLoss.mean_func, optim.losses.Poisson.mean_func)


@settings.register(linear_model.LinearRegression)
def settings_of_linear(model: linear_model.LinearRegression, step: str, role: Role) -> None:
    if type(model.loss).mean_func not in _LINKS:
        reason = f"loss {type(model.loss).__name__} has a link of its own"
        raise NotExportable(full_name(model), step, reason, "a loss from river.optim.losses for numbers, as Squared")


@predict.register(linear_model.LinearRegression)
def predict_by_linear(model: linear_model.LinearRegression, graph: Graph, frame: Frame) -> Value:
    z = weighted_sum(graph, frame, model.weights, float(model.intercept), model)
    if type(model.loss).mean_func is not optim.losses.Poisson.mean_func:
        return Value(z, frame.unanswered)
    value = graph.op("Exp", z)
    return Value(value, (*frame.unanswered, graph.op("IsInf", value)))  # River's math.exp overflows there


@predict.register(linear_model.PARegressor)
def predict_by_passive_aggressive(model: linear_model.PARegressor, graph: Graph, frame: Frame) -> Value:
    return Value(weighted_sum(graph, frame, model.weights, float(model.intercept), model), frame.unanswered)


@predict.register(linear_model.BayesianLinearRegression)
def predict_by_bayesian(model: linear_model.BayesianLinearRegression, graph: Graph, frame: Frame) -> Value:
    """The mean of the answer; its distribution, which `with_dist` asks for, has no place in a graph's output."""
    # River keeps the means of the weights until it learns again, and would compute them on predict.
    means = model._ss_inv_arr @ model._eta_arr if model._m_dirty else model._m_arr
    weights = {name: float(means[place]) for name, place in model._idx.items()}
    return Value(weighted_sum(graph, frame, weights, 0.0, model), frame.unanswered)


@settings.register(linear_model.AdPredictor)
def settings_of_ad_predictor(model: linear_model.AdPredictor, step: str, role: Role) -> None:
    if _BIAS_KEY not in model.means and model.prior_probability != 0.5:
        reason = "its bias depends on the first row that it is asked for"
        raise NotExportable(full_name(model), step, reason, "prior_probability=0.5")


@predict.register(linear_model.AdPredictor)
def predict_by_ad_predictor(model: linear_model.AdPredictor, graph: Graph, frame: Frame) -> Classes:
    """A probit of the means of the features that are not 0, and of their variances, which is 1 of one never met."""
    refuse_no_features(model, graph, frame)

    def terms(name: str) -> Terms:
        return model.means.get(name, 0.0), model.variances.get(name, 1.0)

    nothing = (0.0, 0.0)
    sums = [
        sum_of_keys(graph, one_hot, model.means, ones=terms, zeros=lambda _: nothing, unmet=(0.0, 1.0))[0]
        for one_hot in frame.one_hots
    ]
    if frame.numbers:
        active = graph.op("Greater", graph.op("Abs", graph.filled(frame.numbers.tensor)), graph.numbers(0.0))
        table = graph.numbers([terms(name) for name in frame.numbers.names])
        sums.append(graph.op("MatMul", graph.op("Cast", active, to=TensorProto.DOUBLE), table))
    mean, variance = terms(_BIAS_KEY)
    total = added(graph, sums, (mean, variance + model.beta**2))
    std = graph.op("Sqrt", graph.columns(total, [1]))
    p = norm_cdf(graph, graph.op("Div", graph.columns(total, [0]), std))
    p = graph.op("Min", graph.op("Max", p, graph.numbers(1e-12)), graph.numbers(1.0 - 1e-12))
    return predicted_from(graph, frame, both(graph, p), (False, True))


def weighted_sum(graph: Graph, frame: Frame, weights: Mapping[str, float], intercept: float, step: object) -> Tensor:
    """`sum(weight * x) + intercept` over the features present; shape (N, 1).

    Raises:
        NotExportable: a text reaches the sum, or nothing does.
    """
    refuse_no_features(step, graph, frame)
    terms = [_weighted_one_hot(graph, one_hot, weights) for one_hot in frame.one_hots]
    if frame.numbers:
        column = [[weights.get(name, 0.0)] for name in frame.numbers.names]
        terms.append(graph.op("MatMul", graph.filled(frame.numbers.tensor), graph.numbers(column)))
    if not terms:
        return graph.row([intercept])
    total = graph.numbers([intercept])
    for term in terms:
        total = graph.op("Add", term, total)
    return total


def _weighted_one_hot(graph: Graph, one_hot: OneHot, weights: Mapping[str, float]) -> Tensor:
    # The empty key, which no field emits, keeps the table valid before the first value was seen.
    table = {"": 0.0, **{key: weights[key] for key in one_hot.emits(weights)}}
    return graph.total(graph.lookup(one_hot.keys, table))

"""Estimators around one other: what they change is what is learned, or the answer's scale."""

from __future__ import annotations

import math
from dataclasses import replace

from river import compose, drift, imblearn, preprocessing

from learners.onnx_export.convert import (
    Classes,
    Role,
    Value,
    classes_of,
    full_name,
    predict,
    refuse,
    settings,
    value_of,
)
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.votes import refuse_none, refuse_regressor, refuse_voter
from schemas.errors import NotExportable

# The greatest double whose exponential is one; beyond, `math.exp` raises.
_LARGEST_EXPONENT = math.log(math.nextafter(math.inf, 0.0))


@settings.register(drift.DriftRetrainingClassifier)
def settings_of_retraining(model: drift.DriftRetrainingClassifier, step: str, role: Role) -> None:
    refuse_voter(model.model, f"{step}/model")


@predict.register(drift.DriftRetrainingClassifier)
def predict_by_retraining(model: drift.DriftRetrainingClassifier, graph: Graph, frame: Frame) -> Classes:
    """By the model that stands now; the one that learns in the background has no say."""
    return classes_of(model.model, graph, frame, "model")


@settings.register(imblearn.RandomUnderSampler)
@settings.register(imblearn.RandomOverSampler)
@settings.register(imblearn.RandomSampler)
@settings.register(imblearn.HardSamplingClassifier)
def settings_of_sampled_classifier(model: imblearn.RandomSampler, step: str, role: Role) -> None:
    refuse(model.classifier, f"{step}/classifier", "predict")


@predict.register(imblearn.RandomUnderSampler)
@predict.register(imblearn.RandomOverSampler)
@predict.register(imblearn.RandomSampler)
@predict.register(imblearn.HardSamplingClassifier)
def predict_by_sampled_classifier(model: imblearn.RandomSampler, graph: Graph, frame: Frame) -> Classes:
    return classes_of(model.classifier, graph, frame, "classifier")


@settings.register(imblearn.ChebyshevUnderSampler)
@settings.register(imblearn.ChebyshevOverSampler)
@settings.register(imblearn.HardSamplingRegressor)
@settings.register(preprocessing.TargetStandardScaler)
@settings.register(preprocessing.TargetMinMaxScaler)
@settings.register(preprocessing.PredClipper)
def settings_of_wrapped_regressor(model: imblearn.ChebyshevOverSampler, step: str, role: Role) -> None:
    refuse_regressor(model.regressor, f"{step}/regressor")


@predict.register(imblearn.ChebyshevUnderSampler)
@predict.register(imblearn.ChebyshevOverSampler)
@predict.register(imblearn.HardSamplingRegressor)
def predict_by_sampled_regressor(model: imblearn.ChebyshevOverSampler, graph: Graph, frame: Frame) -> Value:
    return value_of(model.regressor, graph, frame, "regressor")


@predict.register(preprocessing.TargetStandardScaler)
def predict_by_target_standard_scaler(model: preprocessing.TargetStandardScaler, graph: Graph, frame: Frame) -> Value:
    return _rescaled(model, graph, frame, factor=model.var.get() ** 0.5, offset=model.var.mean.get())


@predict.register(preprocessing.TargetMinMaxScaler)
def predict_by_target_min_max_scaler(model: preprocessing.TargetMinMaxScaler, graph: Graph, frame: Frame) -> Value:
    low, high = model.min.get(), model.max.get()
    if low == math.inf:  # no target was seen
        return _regressed(model, graph, frame)
    return _rescaled(model, graph, frame, factor=high - low, offset=low)


@predict.register(preprocessing.PredClipper)
def predict_by_clipper(model: preprocessing.PredClipper, graph: Graph, frame: Frame) -> Value:
    answer = _regressed(model, graph, frame)
    # Not Clip, which answers otherwise where the bounds are the wrong way round.
    clipped = graph.op("Min", answer.value, graph.numbers([model.y_max], infinite=True))
    clipped = graph.op("Max", clipped, graph.numbers([model.y_min], infinite=True))
    return replace(answer, value=clipped)


@settings.register(compose.TargetTransformRegressor)
def settings_of_target_transform(model: compose.TargetTransformRegressor, step: str, role: Role) -> None:
    if model.inverse_func is not math.exp:
        reason = f"its inverse_func {getattr(model.inverse_func, '__name__', model.inverse_func)!r} is any Python code"
        raise NotExportable(full_name(model), step, reason, "inverse_func=math.exp, or TargetStandardScaler")
    refuse_regressor(model.regressor, f"{step}/regressor")


@predict.register(compose.TargetTransformRegressor)
def predict_by_target_transform(model: compose.TargetTransformRegressor, graph: Graph, frame: Frame) -> Value:
    answer = _regressed(model, graph, frame)
    too_large = graph.op("Greater", answer.value, graph.numbers([_LARGEST_EXPONENT]))  # OverflowError in Python
    return replace(answer, value=graph.op("Where", too_large, graph.nan(), graph.op("Exp", answer.value)))


def _rescaled(
    model: preprocessing.TargetStandardScaler, graph: Graph, frame: Frame, *, factor: float, offset: float
) -> Value:
    answer = _regressed(model, graph, frame)
    scaled: Tensor = graph.op("Mul", answer.value, graph.numbers([factor]))
    return replace(answer, value=graph.op("Add", scaled, graph.numbers([offset])))


def _regressed(model: preprocessing.PredClipper, graph: Graph, frame: Frame) -> Value:
    refuse_none([model.regressor], graph)
    return value_of(model.regressor, graph, frame, "regressor")

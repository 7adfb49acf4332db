"""Regressors with an interval around their answer, which has no place in a graph's output."""

from __future__ import annotations

from river import conf

from learners.onnx_export.convert import Role, Value, predict, refuse, settings, value_of
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph


@settings.register(conf.RegressionJackknife)
def settings_of_jackknife(model: conf.RegressionJackknife, step: str, role: Role) -> None:
    refuse(model.regressor, f"{step}/regressor", "predict")


@predict.register(conf.RegressionJackknife)
def predict_by_jackknife(model: conf.RegressionJackknife, graph: Graph, frame: Frame) -> Value:
    """The regressor inside; the interval that `with_interval` asks for has no place in a graph's output."""
    return value_of(model.regressor, graph, frame, "regressor")

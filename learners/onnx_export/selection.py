"""Model selection: the graph is that of the model which is best when it is exported."""

from __future__ import annotations

from river import model_selection

from learners.onnx_export.convert import Classes, Role, Value, classes_of, predict, settings, value_of
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph
from learners.onnx_export.votes import refuse_regressor, refuse_voter


@settings.register(model_selection.BanditClassifier)
@settings.register(model_selection.SuccessiveHalvingClassifier)
def settings_of_classifiers(model: model_selection.BanditClassifier, step: str, role: Role) -> None:
    for i, candidate in enumerate(model.models):
        refuse_voter(candidate, f"{step}/{i}")


@predict.register(model_selection.BanditClassifier)
@predict.register(model_selection.SuccessiveHalvingClassifier)
def predict_by_best_classifier(model: model_selection.BanditClassifier, graph: Graph, frame: Frame) -> Classes:
    best = _best(model)
    return classes_of(model.models[best], graph, frame, str(best))


@settings.register(model_selection.GreedyRegressor)
@settings.register(model_selection.BanditRegressor)
@settings.register(model_selection.SuccessiveHalvingRegressor)
def settings_of_regressors(model: model_selection.GreedyRegressor, step: str, role: Role) -> None:
    for i, candidate in enumerate(model.models):
        refuse_regressor(candidate, f"{step}/{i}")


@predict.register(model_selection.GreedyRegressor)
@predict.register(model_selection.BanditRegressor)
@predict.register(model_selection.SuccessiveHalvingRegressor)
def predict_by_best_regressor(model: model_selection.GreedyRegressor, graph: Graph, frame: Frame) -> Value:
    best = _best(model)
    return value_of(model.models[best], graph, frame, str(best))


def _best(model: model_selection.GreedyRegressor) -> int:
    """The place of the best model; the first one until River has a best."""
    best = model.best_model
    return next((i for i, candidate in enumerate(model.models) if candidate is best), 0)

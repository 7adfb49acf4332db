"""River learners inside scikit-learn models, through the wrappers of `river.compat`."""

from __future__ import annotations

import copy
from typing import Any

from river import compat, compose, feature_extraction
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType

from learners.onnx_export.answers import Classes, Value, aligned, winners
from learners.onnx_export.convert import Task, predict, refuse, refuse_unexportable, transform
from learners.onnx_export.frame import dense, full_name, spread
from learners.sklearn_export.embed import (
    begin,
    embed,
    publish_classes,
    publish_columns,
    publish_value,
    shape_classes,
    shape_number,
)
from schemas.errors import ModelFileError, NotExportable

_PREDICTORS: dict[type, Task] = {
    compat.River2SKLClassifier: "classification",
    compat.River2SKLRegressor: "regression",
}
WRAPPERS = (*_PREDICTORS, compat.River2SKLTransformer)

# The names of what they make are texts, made of names that must be texts too.
_NAMES_ARE_TEXTS = (compose.TransformerProduct, feature_extraction.PolynomialExtender)

# What a transformer is shown to tell which features it makes; no zeros, because Normalizer divides by the norm.
_PROBES = (0.5, 1.0, -2.5)


def register() -> None:
    """Tell skl2onnx how to convert the wrappers; importing `learners.sklearn_export` does it."""
    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "step": None}
    update_registered_converter(
        compat.River2SKLClassifier, "FreshetRiverClassifier", shape_classes, _convert, options=options
    )
    update_registered_converter(
        compat.River2SKLRegressor, "FreshetRiverRegressor", shape_number, _convert, options={"step": None}
    )
    update_registered_converter(
        compat.River2SKLTransformer, "FreshetRiverTransformer", _shape_columns, _convert, options={"step": None}
    )


def refuse_wrapper(wrapper: Any, path: str) -> None:
    """Raise NotExportable, with a path that begins at the scikit-learn model, for what has no exact form.

    Raises:
        ModelFileError: the wrapper has learned nothing.
    """
    if not hasattr(wrapper, "n_features_in_"):
        raise ModelFileError(f"{path} is not fitted, so it does not know its columns; call fit or partial_fit first")
    river = wrapper.instance_
    step = f"{path}/{type(river).__name__}"
    if any(type(part) in _NAMES_ARE_TEXTS for part in _steps(river)):
        reason = "columns of scikit-learn reach River with numbers for names, and it joins names as texts"
        raise NotExportable(full_name(river), step, reason, "PolynomialFeatures of scikit-learn in front of it")
    task = _PREDICTORS.get(type(wrapper))
    if task is None:
        refuse(river, step, "transform")
        return
    try:
        refuse_unexportable(river, task=task)
    except NotExportable as error:
        raise NotExportable(error.estimator, f"{path}/{error.step}", error.reason, error.instead) from error
    if task == "classification":
        _refuse_classes(wrapper, step)


def _refuse_classes(wrapper: Any, step: str) -> None:
    """Refuse classes for which the wrapper's own `predict_proba` answers nonsense.

    It asks River for the probability of `classes_`. River's yes/no learners know only False and True, so for "no" and
    "yes" it answers zeros, and for 1 and 2 it takes River's True for the first.
    """
    if wrapper.river_estimator._multiclass or wrapper.classes_.tolist() in ([0, 1], [False, True]):
        return
    reason = f"river.compat finds no probability for the classes {wrapper.classes_.tolist()} of a yes/no learner"
    raise NotExportable(
        full_name(wrapper.instance_), step, reason, "the classes 0 and 1, by scikit-learn's LabelEncoder"
    )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the wrapper's answers, which are NaN for a row with a NaN: the wrapper refuses such a row."""
    wrapper = operator.raw_operator
    path = scope.get_options(wrapper, {"step": ""})["step"] or type(wrapper).__name__
    refuse_wrapper(wrapper, path)
    river = wrapper.instance_
    graph, frame = begin(wrapper.n_features_in_, refuse_missing=True)
    with graph.at(f"{path}/{type(river).__name__}"):
        if type(wrapper) not in _PREDICTORS:
            names = _made(wrapper, graph.step)
            frame = dense(river, graph, transform(river, graph, frame), names)
            publish_columns(graph, frame, spread(river, graph, frame, names), len(names))
        else:
            _publish_answer(wrapper, graph, predict(river, graph, frame))
    embed(graph, scope, operator, container)


def _publish_answer(wrapper: Any, graph: Any, answer: Any) -> None:
    match answer:
        case Classes():
            labels = tuple(wrapper.classes_.tolist())
            winner = winners(graph, answer, labels)
            own = Classes(aligned(graph, answer, labels), labels, answer.unanswered, winner)
            publish_classes(graph, own, wrapper.instance_)
        case Value():
            publish_value(graph, answer)


def _shape_columns(operator: Any) -> None:
    wrapper = operator.raw_operator
    operator.outputs[0].type = DoubleTensorType([None, len(_made(wrapper, operator.onnx_name))])


def _made(wrapper: Any, step: str) -> list[Any]:
    """The features that the transformer makes, in the order in which its wrapper puts them side by side.

    That order is that of River's dict, so a copy is asked, because River's transformers change when they are.

    Raises:
        NotExportable: the features are not the same for all rows.
    """
    river = copy.deepcopy(wrapper.instance_)
    made = {tuple(river.transform_one(dict.fromkeys(range(wrapper.n_features_in_), value))) for value in _PROBES}
    if len(made) > 1 or not all(made):
        reason = "it makes other features from row to row"
        raise NotExportable(full_name(river), step, reason, "its counterpart in scikit-learn")
    return [*made.pop()]


def _steps(river: Any) -> list[Any]:
    if isinstance(river, compose.Pipeline):
        return [part for step in river.steps.values() for part in _steps(step)]
    if isinstance(river, compose.TransformerUnion):
        return [part for step in river.transformers.values() for part in _steps(step)]
    return [river]

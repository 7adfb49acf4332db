"""River estimators to graph nodes: which classes can be exported, and the walk through a pipeline.

A family of estimators is one file beside this one. It registers, for each exact class,

    transform   Frame -> Frame, for a step that changes features,
    predict     Frame -> Classes, Value or Score, for the last step,
    settings    optional: refuses the settings and members that have no exact form, before any data.

Conversion only reads the estimators (`.get`, never `[]` on River's defaultdicts), so the model that learns can be
exported as it is, without a copy.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import onnx
import river
from onnx import TensorProto
from river import base, compose

from learners.onnx_export.answers import Answer, Classes, Label, Score, Value, aligned, predicted_from, winners
from learners.onnx_export.frame import Columns, Frame, full_name
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.refused import REFUSED
from schemas.errors import ModelFileError, NotExportable, ReleaseRefused

# Raised when the same learner would give another graph; it travels in every artifact.
EXPORTER_VERSION = "3"

Role: TypeAlias = Literal["transform", "predict"]
Task: TypeAlias = Literal["classification", "regression", "anomaly"]
_A = TypeVar("_A", Classes, Value, Score)
_CANNOT: dict[Task, str] = {
    "classification": "it answers no probability",
    "regression": "it answers no number",
    "anomaly": "it answers no score",
}
_INSTEAD: dict[Task, str] = {
    "classification": "a classifier with probabilities",
    "regression": "a regressor",
    "anomaly": "an anomaly detector",
}
_KINDS: dict[type, str] = {Classes: "a classifier", Value: "a regressor", Score: "an anomaly detector"}

__all__ = [
    "Answer",
    "Classes",
    "Label",
    "Role",
    "Score",
    "Value",
    "classes_of",
    "full_name",
    "predict",
    "predicted_from",
    "refuse",
    "refuse_unexportable",
    "score_of",
    "settings",
    "to_onnx",
    "transform",
    "value_of",
]


@functools.singledispatch
def transform(step: object, graph: Graph, frame: Frame) -> Frame:
    """Append what `step.transform_one` does to every row of the frame."""
    raise _unsupported(step, graph.step, "transform")


@functools.singledispatch
def predict(step: object, graph: Graph, frame: Frame) -> Answer:
    """Append what `step` answers for every row of the frame, by `predict_proba_one`, `predict_one` or `score_one`."""
    raise _unsupported(step, graph.step, "predict")


def classes_of(member: object, graph: Graph, frame: Frame, name: str) -> Classes:
    """What a classifier inside another estimator answers; `name` is its step in names and errors."""
    return _member(member, graph, frame, name, Classes)


def value_of(member: object, graph: Graph, frame: Frame, name: str) -> Value:
    """What a regressor inside another estimator answers; `name` is its step in names and errors."""
    return _member(member, graph, frame, name, Value)


def score_of(member: object, graph: Graph, frame: Frame, name: str) -> Score:
    """What an anomaly detector inside another estimator answers; `name` is its step in names and errors."""
    return _member(member, graph, frame, name, Score)


def _member(member: object, graph: Graph, frame: Frame, name: str, kind: type[_A]) -> _A:
    with graph.at(name):
        refuse(member, graph.step, "predict")  # or a subclass would be answered by its parent's converter
        answer = predict(member, graph, frame)
        if not isinstance(answer, kind):
            raise NotExportable(full_name(member), graph.step, "it answers something else", _KINDS[kind])
        return answer


@functools.singledispatch
def settings(estimator: object, step: str, role: Role) -> None:
    """Raise NotExportable for settings of a supported class that have no exact form, and `refuse` its members."""


def refuse(estimator: object, step: str, role: Role) -> None:
    """Raise NotExportable unless `estimator` has an exact form in this role.

    A subclass does not inherit its parent's converter: it may answer otherwise.
    """
    if type(estimator) not in (transform if role == "transform" else predict).registry:
        raise _unsupported(estimator, step, role)
    settings(estimator, step, role)


def refuse_unexportable(model: object, *, task: Task | None = "classification") -> None:
    """Raise NotExportable for the first step without an exact ONNX form; call it when a model file is loaded.

    A model file predicts whether an outcome happens, so the last step must be a classifier with probabilities, unless
    another `task`, or None for any, is given.

    What depends on the features' names (clashes, texts that reach a scaler) shows at the first `to_onnx`, which works
    on a model that has learned nothing.

    >>> from river import linear_model, preprocessing
    >>> refuse_unexportable(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    >>> refuse_unexportable(preprocessing.LDA() | linear_model.LogisticRegression())
    Traceback (most recent call last):
    ...
    schemas.errors.NotExportable: river.preprocessing.lda.LDA (at Pipeline/LDA) cannot be exported to ONNX: it draws
    random numbers and learns while it transforms. Use preprocessing.OneHotEncoder instead.
    """
    refuse(model, type(model).__name__, "predict")
    last = model
    while isinstance(last, compose.Pipeline):
        last = next(reversed(last.steps.values()))
    if task is not None and not _can(last, task):
        raise NotExportable(full_name(last), type(model).__name__, _CANNOT[task], _INSTEAD[task])


def _can(last: object, task: Task) -> bool:
    match task:
        case "classification":
            # An estimator that answers only a class leaves River's own `predict_proba_one` as it is.
            answers = getattr(type(last), "predict_proba_one", base.Classifier.predict_proba_one)
            return answers is not base.Classifier.predict_proba_one
        case "regression":
            return not isinstance(last, base.Classifier) and hasattr(last, "predict_one")
        case "anomaly":
            return hasattr(last, "score_one")


def to_onnx(
    model: object,
    numbers: Sequence[str],
    categories: Sequence[str],
    *,
    name: str,
    version: int,
    metadata: Mapping[str, str] = {},
) -> onnx.ModelProto:
    """The graph that answers what `model` answers now, also when it has learned nothing yet.

    The graph's inputs are `numbers` (double, shape (N, n), NaN = missing, else finite) and `categories` (string, shape
    (N, n), "" = missing, and no NUL, because onnxruntime cuts there); an input without columns is left out. Its outputs
    are, by the property `task`,

        classification   `label`, int64, shape (N,): index into the classes, -1 where River predicts None,
                         `probabilities`, double, shape (N, n_classes),
        regression       `prediction`, double, shape (N,),
        anomaly          `score`, double, shape (N,).

    Where River raises, because `compose.Select` lacks a feature, they are NaN, and the label is -1.

    The classes are in the property `classes`: those that River knows now, in River's order; one that River leaves out
    of a row's answer has probability 0.0. A yes/no learner always has the classes false, true, in this order, also when
    it has met only one of them; so has a learner that has met none, and answers zeros and the label -1.

    Args:
        model: a River pipeline; it is only read.
        numbers: names of the features that reach River as float, in tensor order.
        categories: names of the features that reach River as str, in tensor order.
        name: the model's name.
        version: the release this becomes.
        metadata: further `metadata_props`; the exporter's own win.

    Raises:
        NotExportable: a step, or its use of these features, has no exact form.
        ModelFileError: there are no features, or a feature is named twice.
        ReleaseRefused: the learner holds numbers that are not finite.

    >>> from river import linear_model, preprocessing
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> graph = to_onnx(model, ["price"], [], name="buys", version=0).graph
    >>> [value.name for value in graph.input], [value.name for value in graph.output]
    (['numbers'], ['label', 'probabilities'])
    """
    refuse(model, type(model).__name__, "predict")
    _refuse_names(numbers, categories)
    graph = Graph()
    frame = Frame(
        numbers=_columns(graph, "numbers", TensorProto.DOUBLE, numbers),
        texts=_columns(graph, "categories", TensorProto.STRING, categories),
    )
    with graph.at(type(model).__name__):
        answer = predict(model, graph, frame)
        task, labels = _publish(graph, answer)
    own = {
        "name": name,
        "version": str(version),
        "task": task,
        "numbers": _json(numbers),
        "categories": _json(categories),
        "classes": _json(labels),
        "river": river.__version__,
        "exporter": EXPORTER_VERSION,
    }
    # Not given to onnx's checker, which would take a fifth of the time: the tests do that for every family, and the
    # session in which `check_parity` runs it does not load what is malformed.
    return graph.model(name, version, {**metadata, **own})


def _columns(graph: Graph, name: str, element: int, names: Sequence[str]) -> Columns | None:
    return Columns(graph.input(name, element, len(names)), tuple(names)) if names else None


def _publish(graph: Graph, answer: Answer) -> tuple[Task, tuple[Label, ...]]:
    match answer:
        case Classes():
            return "classification", _publish_classes(graph, answer)
        case Value():
            _publish_number(graph, "prediction", answer.value, answer.unanswered)
            return "regression", ()
        case Score():
            _publish_number(graph, "score", answer.score, answer.unanswered)
            return "anomaly", ()


def _publish_classes(graph: Graph, classes: Classes) -> tuple[Label, ...]:
    # By type, because to Python the labels 0 and 1 are bools too.
    labels = (False, True) if all(isinstance(label, bool) for label in classes.labels) else classes.labels
    for label in labels:
        if type(label) not in (bool, int, str):
            kind = type(label).__name__
            raise ReleaseRefused("export", f"the class {label!r} is a {kind}; classes are bool, int or str")
    probabilities = _nan_where(graph, classes.unanswered, aligned(graph, classes, labels))
    # The first of equal probabilities wins, as in River's `max(proba, key=proba.get)`.
    label = winners(graph, classes, labels)
    for mask in classes.unanswered:
        row = graph.op("Squeeze", mask, graph.integers([1]))
        label = graph.op("Where", row, graph.integers(-1), label)
    graph.output("label", label, TensorProto.INT64, ["N"])
    graph.output("probabilities", probabilities, TensorProto.DOUBLE, ["N", len(labels)])
    return labels


def _publish_number(graph: Graph, name: str, values: Tensor, unanswered: Iterable[Tensor]) -> None:
    values = graph.op("Squeeze", _nan_where(graph, unanswered, values), graph.integers([1]))
    graph.output(name, values, TensorProto.DOUBLE, ["N"])


def _nan_where(graph: Graph, masks: Iterable[Tensor], values: Tensor) -> Tensor:
    for mask in masks:
        values = graph.op("Where", mask, graph.nan(), values)
    return values


def _refuse_names(numbers: Sequence[str], categories: Sequence[str]) -> None:
    names = [*numbers, *categories]
    if not names:
        raise ModelFileError("a model needs at least one feature")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ModelFileError(f"two features are named {twice[0]!r}; give one of them another name")


def _unsupported(estimator: object, step: str, role: Role) -> NotExportable:
    if refusal := REFUSED.get(full_name(estimator)):
        return NotExportable(full_name(estimator), step, *refusal)
    registry = (transform if role == "transform" else predict).registry
    # A pipeline is where the step stands, not what could stand there instead.
    known = {cls for cls in registry if cls.__name__ not in {"object", "Pipeline"}}
    module = type(estimator).__module__.split(".")[:2]
    alike = {cls for cls in known if cls.__module__.split(".")[:2] == module}
    reason = "no exact converter is known"
    if role == "predict" and type(estimator) in transform.registry:
        reason = "it changes features, and the last step must predict"
    names = sorted({cls.__name__ for cls in alike or known})
    return NotExportable(full_name(estimator), step, reason, f"one of {', '.join(names)}")


def _json(values: Sequence[Any]) -> str:
    return json.dumps(list(values), ensure_ascii=False)

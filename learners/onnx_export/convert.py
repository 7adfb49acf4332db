"""River estimators to graph nodes: which classes can be exported, and the walk through a pipeline.

A family of estimators is one file beside this one. It registers, for each exact class,

    transform   Frame -> Frame, for a step that changes features,
    predict     Frame -> Classes, for the last step,
    settings    optional: refuses the settings that have no exact form, before any data.

Conversion only reads the estimators (`.get`, never `[]` on River's defaultdicts), so the model that learns can be
exported as it is, without a copy.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import onnx
import river
from onnx import TensorProto

from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import ModelFileError, NotExportable

# Raised when the same learner would give another graph; it travels in every artifact.
EXPORTER_VERSION = "1"

Role: TypeAlias = Literal["transform", "predict"]
Label: TypeAlias = bool | int | str


@dataclass(frozen=True, slots=True)
class Classes:
    """What a classifier answers.

    Attributes:
        probabilities: doubles, shape (N, len(labels)).
        labels: River's classes in the order in which River's dict holds them, which decides ties.
        unanswered: as in `Frame`.
    """

    probabilities: Tensor
    labels: tuple[Label, ...]
    unanswered: tuple[Tensor, ...]


@functools.singledispatch
def transform(step: object, graph: Graph, frame: Frame) -> Frame:
    """Append what `step.transform_one` does to every row of the frame."""
    raise _unsupported(step, graph.step, "transform")


@functools.singledispatch
def predict(step: object, graph: Graph, frame: Frame) -> Classes:
    """Append what `step.predict_proba_one` answers for every row of the frame."""
    raise _unsupported(step, graph.step, "predict")


@functools.singledispatch
def settings(estimator: object, step: str, role: Role) -> None:
    """Raise NotExportable for settings of a supported class that have no exact form."""


def refuse(estimator: object, step: str, role: Role) -> None:
    """Raise NotExportable unless `estimator` has an exact form in this role.

    A subclass does not inherit its parent's converter: it may answer otherwise.
    """
    if type(estimator) not in (transform if role == "transform" else predict).registry:
        raise _unsupported(estimator, step, role)
    settings(estimator, step, role)


def refuse_unexportable(model: object) -> None:
    """Raise NotExportable for the first step without an exact ONNX form; call it when a model file is loaded.

    What depends on the features' names (clashes, texts that reach a scaler) shows at the first `to_onnx`, which works
    on a model that has learned nothing.

    >>> from river import linear_model, preprocessing
    >>> refuse_unexportable(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    >>> refuse_unexportable(preprocessing.LDA() | linear_model.LogisticRegression())
    Traceback (most recent call last):
    ...
    schemas.errors.NotExportable: river.preprocessing.lda.LDA (at Pipeline/LDA) cannot be exported to ONNX: no exact
    converter is known. Use one of Discard, OneHotEncoder, ... instead.
    """
    refuse(model, type(model).__name__, "predict")


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
    are `label` (int64, shape (N,), index into the classes) and `probabilities` (double, shape (N, n_classes)). Where
    River raises, because `compose.Select` lacks a feature, the probabilities are NaN.

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
    refuse_unexportable(model)
    _refuse_names(numbers, categories)
    graph = Graph()
    frame = Frame(
        numbers=_columns(graph, "numbers", TensorProto.DOUBLE, numbers),
        texts=_columns(graph, "categories", TensorProto.STRING, categories),
    )
    with graph.at(type(model).__name__):
        classes = predict(model, graph, frame)
        _publish(graph, classes)
    own = {
        "name": name,
        "version": str(version),
        "numbers": _json(numbers),
        "categories": _json(categories),
        "classes": _json(classes.labels),
        "river": river.__version__,
        "exporter": EXPORTER_VERSION,
    }
    exported = graph.model(name, version, {**metadata, **own})
    onnx.checker.check_model(exported, full_check=True)
    return exported


def predicted_from(graph: Graph, frame: Frame, probabilities: Tensor, labels: Sequence[Label]) -> Classes:
    """The answer of a classifier that has seen `frame`."""
    return Classes(probabilities, tuple(labels), frame.unanswered)


def full_name(value: object) -> str:
    """The import path of the value's class.

    >>> full_name({})
    'builtins.dict'
    """
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _columns(graph: Graph, name: str, element: int, names: Sequence[str]) -> Columns | None:
    return Columns(graph.input(name, element, len(names)), tuple(names)) if names else None


def _publish(graph: Graph, classes: Classes) -> None:
    probabilities = classes.probabilities
    for mask in classes.unanswered:
        probabilities = graph.op("Where", mask, graph.nan(), probabilities)
    # The first of equal probabilities wins, as in River's `max(proba, key=proba.get)`.
    label = graph.op("ArgMax", probabilities, axis=1, keepdims=0)
    graph.output("label", label, TensorProto.INT64, ["N"])
    graph.output("probabilities", probabilities, TensorProto.DOUBLE, ["N", len(classes.labels)])


def _refuse_names(numbers: Sequence[str], categories: Sequence[str]) -> None:
    names = [*numbers, *categories]
    if not names:
        raise ModelFileError("a model needs at least one feature")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ModelFileError(f"two features are named {twice!r}; give one of them another name")


def _unsupported(estimator: object, step: str, role: Role) -> NotExportable:
    registry = (transform if role == "transform" else predict).registry
    # A pipeline is where the step stands, not what could stand there instead.
    known = sorted(cls.__name__ for cls in registry if cls.__name__ not in {"object", "Pipeline"})
    reason = "no exact converter is known"
    if role == "predict" and type(estimator) in transform.registry:
        reason = "it changes features, and the last step must predict"
    return NotExportable(full_name(estimator), step, reason, f"one of {', '.join(known)}")


def _json(values: Sequence[Any]) -> str:
    return json.dumps(list(values), ensure_ascii=False)

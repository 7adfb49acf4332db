"""A scikit-learn model as an artifact like River's: typed columns in, the same outputs and metadata out."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import river
import skl2onnx
import sklearn
from onnx import helper
from skl2onnx._parse import sklearn_parsers_map
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures
from sklearn.utils.validation import check_is_fitted

from learners.onnx_export.convert import EXPORTER_VERSION, full_name
from learners.onnx_export.graph import IR_VERSION, ML_DOMAIN, ML_OPSET, OPSET
from learners.sklearn_export import trees
from learners.sklearn_export.embed import Pinned, shape_classes, shape_number
from learners.sklearn_export.floats import refuse_inexact
from learners.sklearn_export.imputer import convert_imputer, shape_imputed
from learners.sklearn_export.one_hot import convert_one_hot, parse_one_hot, shape_one_hot
from learners.sklearn_export.polynomial import convert_polynomial, shape_polynomial
from learners.sklearn_export.refused import not_by_skl2onnx, refuse
from learners.sklearn_export.surface import drop_unused, gather_inputs, publish
from learners.sklearn_export.walk import Part, estimators
from learners.sklearn_export.wrappers import WRAPPERS
from schemas.errors import ModelFileError, NotExportable

ColumnType: TypeAlias = type[float] | type[str]

# What skl2onnx raises where it cannot go on; its own errors are RuntimeErrors.
_SKL2ONNX_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NameError, AssertionError)

# Set for these conversions only: others in the process may want skl2onnx's own.
_CONVERTERS = {
    **dict.fromkeys((*trees.SINGLE, *trees.FORESTS), trees.convert_averaged),
    **dict.fromkeys(trees.GRADIENT, trees.convert_gradient),
    **dict.fromkeys(trees.HISTOGRAM, trees.convert_histogram),
    OneHotEncoder: convert_one_hot,
    PolynomialFeatures: convert_polynomial,
    SimpleImputer: convert_imputer,
}
_SHAPES = {
    **{cls: shape_classes if "Classifier" in cls.__name__ else shape_number for cls in trees.CLASSES},
    OneHotEncoder: shape_one_hot,
    PolynomialFeatures: shape_polynomial,
    SimpleImputer: shape_imputed,
}


def sklearn_to_onnx(
    model: Any,
    columns: Mapping[str, ColumnType],
    *,
    name: str,
    version: int,
    metadata: Mapping[str, str] = {},
) -> onnx.ModelProto:
    """The graph that answers what a fitted classifier or regressor of scikit-learn answers.

    Inputs are `numbers` (double, shape (N, n)) and `categories` (string, shape (N, n)), each with its columns in the
    order of `columns`; one without columns is left out. Outputs are those of `onnx_export.to_onnx`:

        classification   `label`, int64, shape (N,): index into the property `classes`,
                         `probabilities`, double, shape (N, n_classes),
        regression       `prediction`, double, shape (N,).

    Rows are complete, unless the model itself accepts NaN (an imputer, trees). A River learner in the model answers
    NaN, and the label -1, for a row with a NaN, for which its wrapper would raise.

    Args:
        model: fitted; it is only read.
        columns: the columns of the model's `X` in their order; float for numbers, str for texts.
        name: the model's name.
        version: the release this becomes.
        metadata: further `metadata_props`; the exporter's own win.

    Raises:
        NotExportable: a part has no exact form; it is named with its path in the model.
        ModelFileError: the model is not fitted, or has other columns than those.

    >>> from sklearn.linear_model import LogisticRegression
    >>> model = LogisticRegression().fit([[1.0], [2.0], [3.0]], ["no", "no", "yes"])
    >>> exported = sklearn_to_onnx(model, {"price": float}, name="buys", version=0)
    >>> [(value.name, value.type.tensor_type.elem_type) for value in exported.graph.output]
    [('label', 7), ('probabilities', 11)]
    """
    _refuse_columns(model, columns)
    parts = [*estimators(model)]
    for path, part in parts:
        refuse(part, path)
    task, classes = _task_of(model)
    exported, topology = _convert(model, columns, parts)
    refuse_inexact(exported, topology, parts)
    publish(exported.graph, classes)
    gather_inputs(exported.graph)
    drop_unused(exported.graph)
    own = {
        "name": name,
        "version": str(version),
        "task": task,
        "columns": _json(columns),
        "numbers": _json(each for each, kind in columns.items() if kind is float),
        "categories": _json(each for each, kind in columns.items() if kind is str),
        "classes": _json(classes),
        "sklearn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
        "exporter": EXPORTER_VERSION,
    }
    if any(isinstance(part, WRAPPERS) for _, part in parts):
        own["river"] = river.__version__
    exported.model_version = version
    helper.set_model_props(exported, {**metadata, **own})
    try:
        onnx.checker.check_model(exported, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise not_by_skl2onnx(model, f"writes a graph that is not valid: {error}") from error
    return exported


def _pinned(graph: onnx.GraphProto) -> onnx.ModelProto:
    """The graph under the versions that edges know; skl2onnx announces the lowest that would do."""
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="freshet",
    )


def _refuse_columns(model: Any, columns: Mapping[str, ColumnType]) -> None:
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as error:
        raise ModelFileError(f"{type(model).__name__} cannot be converted: {error}") from error
    odd = next((name for name, kind in columns.items() if kind not in (float, str)), None)
    if odd is not None:
        raise ModelFileError(f"column {odd!r} is of type {columns[odd]!r}; write float for a number, str for a text")
    width = getattr(model, "n_features_in_", len(columns))
    if not columns or width != len(columns):
        raise ModelFileError(f"{type(model).__name__} was fitted with {width} columns, and {len(columns)} are named")
    fitted = [*getattr(model, "feature_names_in_", columns)]
    if fitted != [*columns]:
        raise ModelFileError(f"{type(model).__name__} was fitted with the columns {fitted}, not with {[*columns]}")


def _task_of(model: Any) -> tuple[str, list[Any]]:
    """The task, and the classes as JSON can hold them.

    Raises:
        NotExportable: it answers neither probabilities nor one number, or its classes are not bool, int or str.
    """
    path = type(model).__name__
    if is_regressor(model):
        return "regression", []
    if not is_classifier(model):
        raise NotExportable(
            full_name(model), path, "it is neither classifier nor regressor", "one of them as last step"
        )
    if not hasattr(model, "predict_proba"):
        raise NotExportable(full_name(model), path, "it answers no probability", "a classifier with predict_proba")
    classes = model.classes_.tolist() if isinstance(model.classes_, np.ndarray) else [*model.classes_]
    odd = next((label for label in classes if type(label) not in (bool, int, str)), None)
    if odd is not None:
        kind = type(odd).__name__
        raise NotExportable(
            full_name(model), path, f"its class {odd!r} is a {kind}", "classes that are bool, int or str"
        )
    return "classification", classes


def _convert(model: Any, columns: Mapping[str, ColumnType], parts: Sequence[Part]) -> tuple[onnx.ModelProto, Any]:
    options: dict[int, dict[str, Any]] = {id(part): {"zipmap": False} for _, part in parts if is_classifier(part)}
    for path, part in parts:
        if type(part) in WRAPPERS:
            options.setdefault(id(part), {})["step"] = path
    kinds = {float: DoubleTensorType, str: StringTensorType}
    # Neighbours of one type are one input to skl2onnx.
    runs = [(kind, len([*names])) for kind, names in itertools.groupby(columns.values())]
    types = [(f"columns {place}", kinds[kind]([None, width])) for place, (kind, width) in enumerate(runs)]
    try:
        converted, topology = skl2onnx.convert_sklearn(
            model,
            "model",
            initial_types=types,
            target_opset=Pinned({"": OPSET, ML_DOMAIN: ML_OPSET}),
            custom_conversion_functions=_CONVERTERS,
            custom_shape_calculators=_SHAPES,
            custom_parsers={OneHotEncoder: parse_one_hot, ColumnTransformer: _parse_columns},
            options=options,
            intermediate=True,
        )
    except _SKL2ONNX_ERRORS as error:
        raise not_by_skl2onnx(model, f"raises {type(error).__name__}: {error}") from error
    return _pinned(converted.graph), topology


def _parse_columns(scope: Any, columns: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """A ColumnTransformer by the places of its columns; skl2onnx would look for inputs with the names of columns."""
    placed = copy.copy(columns)
    places = columns._transformer_to_input_indices
    placed.transformers_ = [(name, part, places.get(name, chosen)) for name, part, chosen in columns.transformers_]
    return sklearn_parsers_map[ColumnTransformer](scope, placed, inputs, custom_parsers=custom_parsers)


def _json(values: Any) -> str:
    return json.dumps([*values], ensure_ascii=False)

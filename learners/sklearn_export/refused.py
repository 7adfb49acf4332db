"""Estimators of scikit-learn that would not become an exact graph, told before skl2onnx is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.naive_bayes import BernoulliNB
from sklearn.preprocessing import Binarizer, OneHotEncoder, OrdinalEncoder

from learners.onnx_export.frame import full_name
from learners.sklearn_export import trees
from learners.sklearn_export.imputer import refuse_imputer
from learners.sklearn_export.one_hot import refuse_one_hot
from learners.sklearn_export.wrappers import WRAPPERS, refuse_wrapper
from schemas.errors import NotExportable


def _is_odd(chosen: Any) -> bool:
    """Whether columns are chosen by a mask, or from the end."""
    places = [chosen] if isinstance(chosen, int | str) else [] if isinstance(chosen, slice) else [*chosen]
    return any(isinstance(place, bool | np.bool_) or (not isinstance(place, str) and place < 0) for place in places)


# What skl2onnx 1.20 converts, but to other answers: measured against scikit-learn 1.9.
_REFUSED: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (
        lambda part: (
            isinstance(part, ColumnTransformer) and any(_is_odd(chosen) for _, _, chosen in part.transformers_)
        ),
        "skl2onnx takes a mask for places, and does not count from the end",
        "columns by name or by places from 0",
    ),
    (
        lambda part: isinstance(part, OrdinalEncoder) and part.handle_unknown == "error",
        "it raises for a category that it has not met, and a graph cannot",
        "handle_unknown='use_encoded_value'",
    ),
    (
        lambda part: isinstance(part, VotingClassifier) and part.flatten_transform,
        "skl2onnx converts it only with flatten_transform=False, which changes no prediction",
        "set_params(flatten_transform=False), which needs no new fit,",
    ),
    (
        lambda part: isinstance(part, VotingClassifier) and isinstance(part.weights, list | tuple),
        "skl2onnx converts its weights only from a numpy array",
        "set_params(weights=numpy.array(...)), which needs no new fit,",
    ),
    (
        lambda part: type(part) is BernoulliNB,
        "its probabilities come out by up to 9e-10 otherwise in our measurement, which is too near to 1e-9",
        "GaussianNB or LogisticRegression",
    ),
    (
        lambda part: type(part) is Binarizer,
        "it takes a number that equals the threshold for one above",
        "Binarizer of River by convert_river_to_sklearn",
    ),
    (
        lambda part: type(part) is LinearDiscriminantAnalysis,
        "its probabilities come out wrong, by 0.15",
        "LogisticRegression or QuadraticDiscriminantAnalysis",
    ),
    (
        lambda part: type(part).__module__.startswith("sklearn.neighbors"),
        "of equally near neighbours it takes others, and answers by 0.2 otherwise",
        "a model that does not depend on the order of ties",
    ),
    (
        lambda part: getattr(part, "loss", None) == "modified_huber",
        "its class is that of the largest probability, which is clipped to 1 where scikit-learn still compares",
        "loss='log_loss'",
    ),
)


def refuse(part: Any, path: str) -> None:
    """Raise NotExportable for what skl2onnx would convert to other answers, or not at all."""
    if type(part) in WRAPPERS:
        refuse_wrapper(part, path)
    elif type(part) in trees.CLASSES:
        trees.refuse_trees(part, path)
    elif type(part) is OneHotEncoder:
        refuse_one_hot(part, path)
    elif type(part) is SimpleImputer:
        refuse_imputer(part, path)
    for applies, reason, instead in _REFUSED:
        if applies(part):
            raise NotExportable(full_name(part), path, reason, instead)


def not_by_skl2onnx(model: Any, does: str) -> NotExportable:
    """The refusal of a model with which skl2onnx cannot go on."""
    said = " ".join(does.split())[:300]
    return NotExportable(full_name(model), type(model).__name__, f"skl2onnx {said}", "another estimator")

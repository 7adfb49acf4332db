"""Every estimator inside a fitted scikit-learn model, with the path that names it in errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

Part: TypeAlias = tuple[str, Any]
"""An estimator in the model, behind the path to it."""


def estimators(model: Any, path: str | None = None) -> Iterator[Part]:
    """The model and all fitted estimators in it, outer ones first; a path is `Pipeline/columns/scale`.

    >>> from sklearn.preprocessing import StandardScaler
    >>> [path for path, _ in estimators(Pipeline([("scale", StandardScaler())]))]
    ['Pipeline', 'Pipeline/scale']
    """
    path = path or type(model).__name__
    yield path, model
    for name, member in _members(model):
        if isinstance(member, BaseEstimator):
            yield from estimators(member, f"{path}/{name}")


def _members(model: Any) -> Iterator[Part]:
    if isinstance(model, Pipeline):
        yield from model.steps
    elif isinstance(model, ColumnTransformer):
        yield from ((name, part) for name, part, _ in model.transformers_)
    elif isinstance(model, FeatureUnion):
        yield from model.transformer_list
    elif hasattr(model, "named_estimators_"):
        yield from model.named_estimators_.items()
        yield "final_estimator", getattr(model, "final_estimator_", None)
    else:
        # By scikit-learn's habit what was fitted ends with an underscore.
        for name, value in vars(model).items():
            if name.endswith("_"):
                yield from _named(name.rstrip("_"), value)


def _named(name: str, value: Any) -> Iterator[Part]:
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.ravel().tolist()
    if isinstance(value, list | tuple):
        yield from ((f"{name}[{place}]", member) for place, member in enumerate(value))
    else:
        yield name, value

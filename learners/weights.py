"""Weights: what the linear models in a learner have learned, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from river.base import Base
from river.linear_model.base import GLM
from river.linear_model.pa import BasePA

_DEEPEST: Final = 8


def weights_of(learner: Any) -> Iterator[float]:
    """Return every weight and intercept of the linear models in a learner; of other models, nothing.

    >>> from river import linear_model, preprocessing
    >>> learner = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> learner.learn_one({"adds": 1.0}, True); learner.learn_one({"adds": 3.0}, True)
    >>> [round(weight, 3) for weight in weights_of(learner)]
    [0.005, 0.01]
    """
    for model in _linear_models(learner, _DEEPEST, set()):
        weights = model.weights
        yield from (weights.values() if hasattr(weights, "values") else map(float, weights))
        yield model.intercept


def _linear_models(held: Any, deeper: int, met: set[int]) -> Iterator[Any]:
    if id(held) in met:  # a pipeline has its last step twice
        return
    met.add(id(held))
    if isinstance(held, GLM | BasePA):
        yield held
    elif deeper and isinstance(held, Base | dict | list | tuple):
        inside = vars(held).values() if isinstance(held, Base) else held.values() if isinstance(held, dict) else held
        for each in inside:
            # Parts of a learner are estimators or hold them; a vocabulary of a million texts is neither.
            if isinstance(each, Base | dict | list | tuple):
                yield from _linear_models(each, deeper - 1, met)

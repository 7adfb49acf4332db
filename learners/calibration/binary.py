"""Binary: what stands around one classifier of the classes False and True."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from river import base, linear_model, preprocessing

from schemas.errors import Poison


class BinaryWrapper(base.Wrapper, base.Classifier):
    """A classifier of False and True that asks another one.

    Args:
        classifier: a classifier or a pipeline that ends in one; it must answer probabilities.
    """

    def __init__(self, classifier: base.Classifier) -> None:
        self.classifier = classifier

    @property
    def _wrapped_model(self) -> Any:
        return self.classifier

    @property
    def _multiclass(self) -> bool:
        # Also around a tree or a forest, which could learn more classes.
        return False

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"classifier": preprocessing.StandardScaler() | linear_model.LogisticRegression()}


def yes_or_no(y: Any) -> bool:
    """Return the label as bool, whatever says so: numpy's bools, 0 and 1.

    Raises:
        Poison: it is neither.

    >>> yes_or_no(1)
    True
    """
    if y not in (False, True):
        raise Poison("learn", f"y is {y!r}, and this classifier knows only False and True")
    return bool(y)

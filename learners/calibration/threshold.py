"""Threshold: from which probability on the answer is yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from learners.calibration.binary import BinaryWrapper, yes_or_no
from schemas.errors import ModelFileError

# A share of 3 in 10 is reached at 0.3, however the division rounds. No probability stands at such an odd edge itself,
# so River and the artifact can't fall on different sides of it.
_HAIR: Final = 1e-9


class Thresholded(BinaryWrapper):
    """A classifier that predicts True from a probability of your choice on; the probabilities stay what they are.

    A half is right only where a wrong yes costs what a wrong no costs. If a wrong yes costs c and a wrong no d, the
    cheapest threshold is c / (c + d), provided that the probabilities are calibrated (Elkan, "The foundations of
    cost-sensitive learning", IJCAI 2001).

    Args:
        classifier: a classifier or a pipeline that ends in one; it must answer probabilities.
        at: the least probability of True that makes the label True, from 0 to 1.

    >>> from river import dummy
    >>> model = Thresholded(dummy.PriorClassifier(), at=0.3)
    >>> model.predict_one({})  # nothing was learned
    >>> for y in [True, False, False] * 3:
    ...     model.learn_one({}, y)
    >>> model.predict_one({}), model.classifier.predict_one({})
    (True, False)
    """

    def __init__(self, classifier: Any, *, at: float) -> None:
        if not 0.0 <= at <= 1.0:
            raise ModelFileError(f"at={at!r}: a threshold is a probability, from 0 to 1")
        super().__init__(classifier)
        self.at = at

    @property
    def least(self) -> float:
        """The least probability of True that makes the label True, rounding allowed for."""
        return self.at - _HAIR

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Let the classifier learn the example.

        Raises:
            Poison: y is neither False nor True; nothing is learned.
        """
        yes_or_no(y)
        self.classifier.learn_one(x, y, **kwargs)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Return what the classifier answers."""
        answer: dict[Any, float] = self.classifier.predict_proba_one(x, **kwargs)
        return answer

    def predict_one(self, x: dict[Any, Any], **kwargs: Any) -> bool | None:
        """Return whether True is likely enough; None where the classifier gives no class any probability."""
        p = self.predict_proba_one(x, **kwargs)
        if not any(p.values()):
            return None
        return bool(p.get(True, 0.0) >= self.least)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield from ({**params, "at": 0.3} for params in super()._unit_test_params())

"""Calibrated: what Platt's and the isotonic form share: log-odds in, log-odds out, and never a look ahead."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, Final

from learners.calibration.binary import BinaryWrapper, yes_or_no

# A probability counts as at least this much, so that 0 and 1 have log-odds too. Smaller, and the last digit of a
# probability next to 1, which River and onnxruntime may round otherwise, would show in the ninth digit of the answer.
LEAST_P: Final = 1e-6
LARGEST_IN: Final = -math.log(LEAST_P)
# Beyond these log-odds a double has no digits left for the smaller probability.
LARGEST_OUT: Final = 30.0


class Calibrated(BinaryWrapper):
    """A classifier whose log-odds are corrected by what its own predictions turned out to be worth.

    It always answers both classes, also where the classifier inside knows none yet: its log-odds are 0 there.
    """

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[bool, float]:
        """Return the calibrated probabilities of False and True; none of them is 0 or 1."""
        p = probability(self.corrected(log_odds(self.classifier.predict_proba_one(x, **kwargs))))
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn how good the prediction for this example is, and then the example.

        Raises:
            Poison: y is neither False nor True; nothing is learned.
        """
        outcome = yes_or_no(y)
        # 1. Ask. 2. Correct. 3. Only now let the classifier see the outcome: of examples that it has learned it is
        # surer than of those to come, and the calibration would believe it.
        self.correct(log_odds(self.classifier.predict_proba_one(x)), outcome)
        self.classifier.learn_one(x, y, **kwargs)

    @abc.abstractmethod
    def corrected(self, odds: float) -> float:
        """Return the calibrated log-odds for those of the classifier; never falling."""

    @abc.abstractmethod
    def correct(self, odds: float, outcome: bool) -> None:
        """Learn that the classifier gave these log-odds before the outcome was known."""


def log_odds(p: Mapping[Any, float]) -> float:
    """Return the log-odds of True, finite whatever the probabilities; 0.0 for a classifier that knows nothing.

    From both probabilities, not from one and its complement: next to 1, only that of False has its digits left.

    >>> [round(log_odds(p), 2) for p in ({False: 0.25, True: 0.75}, {True: 1.0}, {})]
    [1.1, 13.82, 0.0]
    """
    # In this order: `max` returns its first argument where the second one is NaN.
    return math.log(max(LEAST_P, p.get(True, 0.0))) - math.log(max(LEAST_P, p.get(False, 0.0)))


def probability(odds: float) -> float:
    """Return the probability of these log-odds, above 0.0 and below 1.0.

    >>> probability(0.0), probability(1e9) < 1.0
    (0.5, True)
    """
    return 1.0 / (1.0 + math.exp(-max(-LARGEST_OUT, min(LARGEST_OUT, odds))))

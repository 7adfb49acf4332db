"""Isotonic calibration, online: any curve that never falls, by counts at fixed places."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Final

from learners.calibration.calibrated import LARGEST_IN, LARGEST_OUT, Calibrated, probability
from schemas.errors import ModelFileError

# The curve is fitted anew when there is so much more to fit it to.
_NEWS: Final = 0.01
_LEAST_SHARE: Final = probability(-LARGEST_OUT)


class IsotonicCalibrated(Calibrated):
    """A classifier whose probabilities are bent along the curve that fits best of all that never fall.

    The curve is that of isotonic regression (Ayer et al., "An empirical distribution function for sampling with
    incomplete information", 1955; for classifiers Zadrozny & Elkan, KDD 2002), from predictions made before each
    outcome was known. They are counted at fixed places, evenly spaced in the classifier's log-odds, each example at the
    two next to it in proportion. Counts fade, so that it follows a classifier and a world that change. The curve is
    fitted anew with every hundredth part of news: at first with each example, later with each hundred.

    Between its places the curve is a straight line in log-odds, not a step: a step turns a rounding error of the
    classifier into another answer, ties examples that the classifier tells apart, and has no identity to begin with.

    Args:
        classifier: a classifier or a pipeline that ends in one; it must answer probabilities.
        memory_examples: how many examples it looks back at, more or less: each counts less by one part in so many with
            every later one.
        places: how many; 129 are 0.22 apart: p = 0.5, 0.55, 0.61, ... Some are needed between the least and the
            greatest probability that the classifier gives.
        prior_examples: how many examples, for each 1.0 of log-odds, speak for the classifier as it is. They never fade:
            where nothing is seen for long, the classifier is believed again.

    >>> from river import dummy
    >>> model = IsotonicCalibrated(dummy.PriorClassifier())
    >>> for y in [True, False, False, False] * 50:
    ...     model.learn_one({}, y)
    >>> round(model.predict_proba_one({})[True], 2)
    0.25
    """

    def __init__(
        self, classifier: Any, *, memory_examples: int = 10_000, places: int = 129, prior_examples: float = 1.0
    ) -> None:
        if not memory_examples >= 1:
            raise ModelFileError(f"memory_examples={memory_examples!r}: a calibration looks back at 1 example or more")
        if not places >= 2:
            raise ModelFileError(f"places={places!r}: a curve has 2 places or more")
        if not 0.0 < prior_examples < math.inf:
            raise ModelFileError(f"prior_examples={prior_examples!r}: write a number above 0, such as 1.0")
        super().__init__(classifier)
        self.memory_examples = memory_examples
        self.places = places
        self.prior_examples = prior_examples
        self._examples = [0.0] * places
        self._positives = [0.0] * places
        self._unfitted = 0
        self._due = 1
        self._curve = self._fitted()

    @property
    def curve(self) -> tuple[float, ...]:
        """The calibrated log-odds at each place, the first for p = 1e-6 and the last for 1 - 1e-6; never falling."""
        return tuple(self._curve)

    def corrected(self, odds: float) -> float:
        left, share = self._place_of(odds)
        below, above = self._curve[left], self._curve[left + 1]
        return below + share * (above - below)

    def correct(self, odds: float, outcome: bool) -> None:
        left, share = self._place_of(odds)
        for place, weight in ((left, 1.0 - share), (left + 1, share)):
            self._examples[place] += weight
            self._positives[place] += weight * outcome
        self._unfitted += 1
        # Here and not when asked: asking must change nothing.
        if self._unfitted >= self._due:
            self._curve = self._fitted()
            self._fade()

    def _fade(self) -> None:
        self._due = max(1, int(_NEWS * sum(self._examples)))
        keeps = (1.0 - 1.0 / self.memory_examples) ** self._unfitted
        self._examples = [count * keeps for count in self._examples]
        self._positives = [count * keeps for count in self._positives]
        self._unfitted = 0

    def _place_of(self, odds: float) -> tuple[int, float]:
        """The place below, and how far it is from there to the next, from 0.0 to 1.0."""
        at = (max(-LARGEST_IN, min(LARGEST_IN, odds)) + LARGEST_IN) * ((self.places - 1) / (2.0 * LARGEST_IN))
        left = min(int(at), self.places - 2)
        return left, at - left

    def _fitted(self) -> list[float]:
        prior = self.prior_examples * 2.0 * LARGEST_IN / (self.places - 1)
        weights = [prior + count for count in self._examples]
        shares = [
            (prior * p + positives) / weight
            for p, positives, weight in zip(_probabilities_at(self.places), self._positives, weights, strict=True)
        ]
        # Within bounds, because beside many examples a very small prior is rounded away, and 1.0 has no log-odds.
        bounded = [max(_LEAST_SHARE, min(1.0 - _LEAST_SHARE, share)) for share in never_falling(shares, weights)]
        return [math.log(share / (1.0 - share)) for share in bounded]


@functools.cache
def _probabilities_at(places: int) -> tuple[float, ...]:
    """What the classifier says at each place."""
    spacing = 2.0 * LARGEST_IN / (places - 1)
    return tuple(probability(place * spacing - LARGEST_IN) for place in range(places))


def never_falling(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the closest values, by weighted squares, that never fall: pool adjacent violators.

    For shares of yes, weighted by how many, they are also the likeliest (Ayer et al. 1955).

    >>> never_falling([0.1, 0.5, 0.2, 0.9], [1.0, 1.0, 2.0, 1.0])
    [0.1, 0.3, 0.3, 0.9]
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        pool = value, weight, 1
        while pools and pools[-1][0] >= pool[0]:
            pool = _pooled(pools.pop(), pool)
        pools.append(pool)
    return [mean for mean, _, count in pools for _ in range(count)]


def _pooled(one: tuple[float, float, int], other: tuple[float, float, int]) -> tuple[float, float, int]:
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2] + other[2]

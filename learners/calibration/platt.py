"""Platt's calibration, online: the log-odds times a slope plus an offset."""

from __future__ import annotations

from typing import Any, Final

from learners.calibration.calibrated import Calibrated, probability
from schemas.errors import ModelFileError

# How sure it is at first that the slope is 1 and the offset 0: as normal distributions of deviation 0.5 and 2.
_SURE_OF_SLOPE: Final = 4.0
_SURE_OF_OFFSET: Final = 0.25
# What an example says at least; p * (1 - p) says most, 0.25, at a half. By that alone, ten thousand that turned out as
# surely expected say next to nothing, and one surprise after them would unsettle everything.
_SAYS_AT_LEAST: Final = 3e-4
# How closely a step is solved for; far below what one example can tell.
_CLOSE: Final = 1e-9


class PlattCalibrated(Calibrated):
    """A classifier whose log-odds are shifted and stretched until they fit what happened.

    The calibrated probability of True is sigmoid(slope * logit(p) + offset), Platt's form (Platt, "Probabilistic
    outputs for support vector machines", 1999) on log-odds, learned from predictions made before each outcome was known
    (Gupta & Ramdas, "Online Platt scaling with calibeating", ICML 2023).

    Slope and offset are the likeliest after each example, given a normal distribution for what was known before it
    (Spiegelhalter & Lauritzen, "Sequential updating of conditional probabilities on directed graphical structures",
    Networks 20, 1990): no rate to choose, and no example, however surprising, throws them past what it says. What is
    known fades, so that they follow a classifier and a world that change.

    The slope never falls below 0: who is likelier for the classifier is not less likely here.

    Args:
        classifier: a classifier or a pipeline that ends in one; it must answer probabilities.
        memory_examples: how many examples it looks back at, more or less: each counts less by one part in so many with
            every later one. A hundred of the rarer outcome make the offset good to a tenth.

    Attributes:
        slope: 1.0 at first; below 1 where the classifier is too sure of itself.
        offset: 0.0 at first; below 0 where it says yes too often.

    >>> from river import dummy
    >>> model = PlattCalibrated(dummy.NoChangeClassifier())
    >>> for y in [True, False, False, False] * 50:
    ...     model.learn_one({}, y)
    >>> round(model.predict_proba_one({})[True], 2)  # what came last says nothing that could rise
    0.25
    """

    def __init__(self, classifier: Any, *, memory_examples: int = 10_000) -> None:
        if not memory_examples >= 1:
            raise ModelFileError(f"memory_examples={memory_examples!r}: a calibration looks back at 1 example or more")
        super().__init__(classifier)
        self.memory_examples = memory_examples
        self.slope = 1.0
        self.offset = 0.0
        # The inverse of their covariance: of slope with itself, of slope with offset, of offset with itself.
        self._slope_slope = _SURE_OF_SLOPE
        self._slope_offset = 0.0
        self._offset_offset = _SURE_OF_OFFSET

    def corrected(self, odds: float) -> float:
        return self.slope * odds + self.offset

    def correct(self, odds: float, outcome: bool) -> None:
        # 1. What is known fades, down to what was known at first: a classifier that says the same for hours would
        # leave nothing to divide by otherwise.
        fades = 1.0 / self.memory_examples
        self._slope_slope += fades * (_SURE_OF_SLOPE - self._slope_slope)
        self._slope_offset -= fades * self._slope_offset
        self._offset_offset += fades * (_SURE_OF_OFFSET - self._offset_offset)
        # 2. The step, in the direction in which least is known.
        divisor = self._slope_slope * self._offset_offset - self._slope_offset**2
        for_slope = (self._offset_offset * odds - self._slope_offset) / divisor
        for_offset = (self._slope_slope - self._slope_offset * odds) / divisor
        p = probability(_settled(self.corrected(odds), for_slope * odds + for_offset, outcome))
        self.slope += for_slope * (outcome - p)
        self.offset += for_offset * (outcome - p)
        # 3. An example that could have gone either way says most.
        says = max(_SAYS_AT_LEAST, p * (1.0 - p))
        self._slope_slope += says * odds * odds
        self._slope_offset += says * odds
        self._offset_offset += says
        if self.slope < 0.0:
            # The likeliest offset of those with a slope of 0.
            self.offset += self._slope_offset / self._offset_offset * self.slope
            self.slope = 0.0


def _settled(odds: float, gain: float, outcome: bool) -> float:
    """The log-odds that `odds` come to: those that differ by `gain` times what is still wrong there, by bisection.

    Not by what was wrong before, as in a gradient step, which throws a classifier that was sure and wrong too far.
    """
    low, high = sorted((odds, odds + gain * (outcome - probability(odds))))
    while high - low > _CLOSE:
        middle = 0.5 * (low + high)
        if not low < middle < high:  # log-odds too large for closer ones
            break
        if middle - odds < gain * (outcome - probability(middle)):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)

"""Bounds: between which values a number may move a learner, found from the numbers themselves.

Of each feature a sample of what came last is kept. Its inner range (all but the outer sixteenths), widened by four
times itself to both sides, is what a learner may see; a value beyond it is moved to the bound. What is kept is the
value as moved, so that a burst of 1e9 moves the bounds by a factor at most, while a feature whose unit changed by a
hundred is followed within 600 examples. Fences of this kind: Tukey, "Exploratory data analysis", 1977; the outer
sixteenths instead of quarters, because counts are mostly 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.errors import Poison
from schemas.features import LARGEST, Count, Feature, Hour, Number, SecondsSince, Weekday

X = dict[str, float | str]

# Beyond this no bounds are asked: poison. Not the largest observation, since a recency may be older: 10**10 s is three
# centuries.
BEYOND: Final = max(LARGEST, 1e10)
# Closer to zero than this a number is zero: its square, or a quotient by it, leaves the doubles.
NEXT_TO_NOTHING: Final = 1e-100
SAMPLE: Final = 128
# With so many values there are bounds; while there are fewer, every value is looked at.
FEWEST: Final = 64
EVERY: Final = 8
_ANEW_AFTER: Final = 16
_TRIM: Final = 16
_WIDENED: Final = 4.0
_FIXED: Final[Mapping[type, tuple[float, float]]] = {Hour: (0.0, 23.0), Weekday: (0.0, 6.0)}
_MOVING: Final = (Number, Count, SecondsSince)


class Bounds:
    """The bounds of a model's numbers, and how often each was needed.

    Args:
        features: of the model.

    Attributes:
        clipped: by feature, how many values were moved to a bound.
        zeroed: how many were next to nothing.

    >>> from schemas.features import number
    >>> bounds = Bounds([number("search.position", name="position")])
    >>> for i in range(64): _ = bounds.note({"position": float(i % 10)})
    >>> bounds.within({"position": 1e9}), bounds.within({"position": 12.0})
    ({'position': 45.0}, {'position': 12.0})
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self.clipped: dict[str, int] = {}
        self.zeroed = 0
        self._turn = 0
        self._ranges: dict[str, tuple[float, float]] = {}
        self._samples: dict[str, _Sample] = {}
        for feature in features:
            if isinstance(feature, _MOVING):
                self._samples[feature.name] = _Sample()
            elif type(feature) in _FIXED:
                self._ranges[feature.name] = _FIXED[type(feature)]
        self._young = list(self._samples)

    def within(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Return the numbers that a learner may see instead; nothing is kept of them.

        Raises:
            Poison: one is not finite, or no observation at all; names the feature.
        """
        ranges = self._ranges
        seen = dict(numbers)
        for name, value in numbers.items():
            least, most = ranges.get(name, _ANY)
            # NaN is within no bounds. Most numbers are far from 0, and most that are not are 0.
            if not least <= value <= most or (-NEXT_TO_NOTHING < value < NEXT_TO_NOTHING and value):
                seen[name] = self._moved(name, value, (least, most))
        return seen

    def note(self, numbers: Mapping[str, Any]) -> bool:
        """Take up numbers, as `within` returned them, that are learned.

        Returns:
            Whether a feature has got its first bounds, and they leave out values from which they were found: what was
            learned until now has seen those.
        """
        self._turn = (self._turn + 1) % EVERY
        if self._turn and not self._young:
            return False
        odd = False
        for name in self._young if self._turn else self._samples:
            if name in numbers:
                odd |= self._take(name, numbers[name])
        return odd

    def clip(self, x: X) -> X:
        """Return an `x` that was noted, with its numbers within the bounds of now; nothing is counted."""
        ranges = self._ranges
        return {
            name: value if isinstance(value, str) or name not in ranges else _clip(value, ranges[name])
            for name, value in x.items()
        }

    def as_rows(self) -> list[Any]:
        """Return the bounds as plain data."""
        samples = [[name, each.values, each.at, each.due] for name, each in self._samples.items()]
        ranges = [[name, *self._ranges[name]] for name in self._samples if name in self._ranges]
        return [self._turn, self.zeroed, sorted(self.clipped.items()), ranges, samples]

    @classmethod
    def from_rows(cls, rows: list[Any], features: Iterable[Feature]) -> Bounds:
        """Return the bounds that `as_rows` described, of the same features."""
        bounds = cls(features)
        bounds._turn, bounds.zeroed, clipped, ranges, samples = rows
        bounds.clipped = dict(clipped)
        bounds._ranges |= {name: (least, most) for name, least, most in ranges}
        for name, values, at, due in samples:
            sample = bounds._samples[name]
            sample.values, sample.at, sample.due = list(values), at, due
        bounds._young = [name for name in bounds._samples if name not in bounds._ranges]
        return bounds

    def _moved(self, name: str, value: float, bounds: tuple[float, float]) -> float:
        if not abs(value) <= BEYOND:
            raise Poison("learn", f"{name} is {value!r}, which no learner may see")
        if abs(value) < NEXT_TO_NOTHING:
            self.zeroed += 1
            value = 0.0
        moved = _clip(value, bounds)
        if moved != value:
            self.clipped[name] = self.clipped.get(name, 0) + 1
        return moved

    def _take(self, name: str, value: float) -> bool:
        sample = self._samples[name]
        if len(sample.values) < SAMPLE:
            sample.values.append(value)
        else:
            sample.values[sample.at] = value
            sample.at = (sample.at + 1) % SAMPLE
        sample.due -= 1
        if sample.due:
            return False
        sample.due = _ANEW_AFTER
        found = self._ranges[name] = _range_of(sample.values)
        if name not in self._young:
            return False
        self._young = [each for each in self._young if each != name]
        odd = min(sample.values) < found[0] or max(sample.values) > found[1]
        sample.values = [_clip(each, found) for each in sample.values]
        return odd


class _Sample:
    """Values of one feature, the oldest of which is the next to go."""

    __slots__ = ("at", "due", "values")

    def __init__(self) -> None:
        self.values: list[float] = []
        self.at = 0
        self.due = FEWEST


_ANY: Final = (-BEYOND, BEYOND)


def _clip(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _range_of(values: list[float]) -> tuple[float, float]:
    """Return what the values say of others: their inner range, and four times as much on both sides.

    >>> _range_of([0.0] * 62 + [1e9] * 2)
    (-4.0, 4.0)
    """
    ordered = sorted(values)
    trim = len(ordered) // _TRIM
    # Mostly one value, as counts are: what one in sixteen does not show, one in fifty may; one alone shows nothing.
    while trim > 2 and ordered[trim] == ordered[-1 - trim]:
        trim //= 2
    least, most = ordered[trim], ordered[-1 - trim]
    largest = max(abs(least), abs(most))
    spread = most - least if most > least else max(largest, 1.0)
    slack = _WIDENED * max(spread, largest * math.ulp(1.0) * 1e9)
    return least - slack, most + slack

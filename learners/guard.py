"""Guard: what must never reach a learner.

One NaN, infinity or 1e12 ruins a running mean for good, and no gate after it can help: the learner stays ruined. So
does a visitor who floods it with labels that are wrong. A guard is a function of the examples that it was shown, in
their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from learners.bounds import Bounds, X
from learners.shares import Shares
from schemas.errors import Poison
from schemas.features import Feature
from schemas.records import Example

# What a learner may raise on an example, which it would raise again however often it is shown; anybody may write one.
# Not `Exception`: want of memory is no property of an example.
RAISED: Final = (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError)


class Guard:
    """What a learner may see of each example, and whether it may see it.

    Args:
        features: of the model.

    Attributes:
        bounds: of its numbers.
        shares: of its visitors.
        counts: what became of examples, by kind: `refused` were poison, `withheld` came from a visitor who had taught
            enough, `undone` made the learner raise, `taken_back` were learned and went with a breach; `breaches` counts
            those, `afresh` how many of them began with a new learner.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self.bounds = Bounds(features)
        self.shares = Shares()
        self.counts = dict.fromkeys(("refused", "withheld", "undone", "breaches", "taken_back", "afresh"), 0)

    def admit(self, example: Example) -> X:
        """Return the `x` of an example that is safe to learn from: numbers within bounds, zero where next to nothing.

        Raises:
            Poison: a number is not finite or no observation at all; names the feature. Or no score was served, which
                leaves nothing to compare.
        """
        try:
            return self._seen(example)
        except Poison:
            self.counts["refused"] += 1
            raise

    def withholds(self, example: Example) -> bool:
        """Return whether the example is kept from the learner for whose it is."""
        if self.shares.admits(example.visitor):
            return False
        self.counts["withheld"] += 1
        return True

    def _seen(self, example: Example) -> X:
        try:
            if math.isfinite(example.score):
                return {**self.bounds.within(example.numbers), **example.categories}
        except TypeError as error:
            raise Poison("learn", f"a number is none: {error}") from None
        raise Poison("learn", f"score is {example.score!r}, which is no score")

    def as_rows(self) -> list[Any]:
        """Return the guard as plain data."""
        return [self.bounds.as_rows(), self.shares.as_rows(), self.counts]

    @classmethod
    def from_rows(cls, rows: list[Any], features: Iterable[Feature]) -> Guard:
        """Return the guard that `as_rows` described, of the same features."""
        guard = cls(())
        bounds, shares, counts = rows
        guard.bounds = Bounds.from_rows(bounds, features)
        guard.shares = Shares.from_rows(shares)
        guard.counts = {name: counts[name] for name in guard.counts}
        return guard

"""Guard: what must never reach a learner.

One NaN, infinity or 1e12 ruins a running mean for good, and no gate after it can help: the learner stays ruined.
"""

from __future__ import annotations

import math

from schemas.errors import Poison
from schemas.features import LARGEST
from schemas.records import Example

# A recency may be older than the largest observation: 10**10 s is three centuries.
_LARGEST = max(LARGEST, 1e10)


def admit(example: Example) -> dict[str, float | str]:
    """Return the `x` of an example that is safe to learn from.

    Raises:
        Poison: a number is not finite or out of bounds; names the feature. Or no score was served, which leaves nothing
            to compare.
    """
    for name, value in example.numbers.items():
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise Poison("learn", f"{name} is {value!r}, which no learner may see")
    if not math.isfinite(example.score):
        raise Poison("learn", f"score is {example.score!r}, which is no score")
    return example.x

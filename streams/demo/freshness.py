"""Freshness: the time from an example in Kafka to the first score at the edge that had learned it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds from label to served score.

    Attributes:
        closed_ms: when each example came to be in Kafka; NaN-free, one per example that was served.
        waited_s: how long each of them waited for its first answer.
        passed: whether the candidate of the example's interval passed the gate at the first attempt.
        unserved: examples that no answer had learned by the end.
    """

    closed_ms: Floats
    waited_s: Floats
    passed: npt.NDArray[np.bool_]
    unserved: int

    def quantile_s(self, q: float) -> float | None:
        """Return a quantile over intervals whose candidate passed, in seconds; None where there is none.

        A refused candidate is a decision, not a delay: its examples wait for the next candidate by design.
        """
        waited = self.waited_s[self.passed]
        return float(np.quantile(waited, q)) if waited.size else None


def label_to_served(
    examples: Sequence[tuple[int, float]],
    answers: Sequence[tuple[float, int]],
    releases: Sequence[tuple[int, int]],
) -> Freshness:
    """Measure how fast labels came back as scores.

    All times are wall clock on one machine: the record timestamp that the scorer's producer gave the example, and the
    client's clock when it had the edge's answer.

    Args:
        examples: (offset in `examples`, record timestamp in ms).
        answers: (answered at, ms; learned-through offset of the version that answered).
        releases: (learned-through offset, candidates refused so far), in order.

    >>> fresh = label_to_served([(0, 1000.0), (1, 1500.0)], [(1200.0, -1), (2000.0, 0), (2600.0, 1)], [(0, 0), (1, 1)])
    >>> fresh.waited_s.tolist(), fresh.passed.tolist(), fresh.quantile_s(0.99)
    ([1.0, 1.1], [True, False], 1.0)
    """
    offset = np.array([each[0] for each in examples], dtype=np.int64)
    closed_ms = np.array([each[1] for each in examples], dtype=np.float64)
    by_time = sorted(answers)
    answered_ms = np.array([each[0] for each in by_time], dtype=np.float64)
    # The first answer that had learned an offset is where the running maximum reaches it.
    reached = np.maximum.accumulate(np.array([each[1] for each in by_time], dtype=np.int64))
    first = np.searchsorted(reached, offset, side="left")
    served = first < len(answered_ms)
    waited_s = (answered_ms[first[served]] - closed_ms[served]) / 1000.0
    return Freshness(closed_ms[served], waited_s, _passed(offset[served], releases), int((~served).sum()))


def _passed(offset: npt.NDArray[np.int64], releases: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Return for each offset whether nothing was refused between the release that learned it and the one before."""
    through = np.array([each[0] for each in releases], dtype=np.int64)
    refused = np.array([each[1] for each in releases], dtype=np.int64)
    at_once = np.append(np.diff(refused, prepend=0) == 0, False)  # the last: learned by no release that was seen
    result: npt.NDArray[np.bool_] = at_once[np.searchsorted(through, offset, side="left")]
    return result

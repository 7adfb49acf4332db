"""Scoreboard: how good the learner is on examples it has not learned yet (progressive validation).

Every example is predicted before it is learned (Gama, Sebastião & Rodrigues, "On evaluating stream learning
algorithms", Machine Learning 90, 2013), so the figures need no hold-out and are never about the past.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from sklearn.metrics import roc_auc_score

WINDOW: Final = 2000
_LEAST_P: Final = 1e-15


def log_loss(p: float, y: bool) -> float:
    """Return the log loss of one probability of "true"; NaN, no answer, is as bad as the worst one.

    >>> round(log_loss(0.5, True), 4)
    0.6931
    """
    p_of_y = p if y else 1.0 - p
    # In this order: `max` and `min` return their first argument where the second one is NaN.
    return -math.log(min(1.0, max(_LEAST_P, p_of_y)))


class Scoreboard:
    """Counts over all examples, losses and AUC over the last 2,000.

    >>> board = Scoreboard()
    >>> board.add(p=0.9, served=0.8, y=True); board.add(p=0.2, served=0.3, y=False)
    >>> board.examples, board.positives, board.metrics()["auc"]
    (2, 1, 1.0)
    """

    def __init__(self) -> None:
        self.examples = 0
        self.positives = 0
        self._recent: deque[tuple[float, float, bool]] = deque(maxlen=WINDOW)

    def add(self, *, p: float, served: float, y: bool) -> None:
        """Count one example: the learner's own probability, the one that was served, and the label."""
        self.examples += 1
        self.positives += y
        # Windowed, not lifetime: after drift a lifetime average hides the fall for days.
        self._recent.append((p, served, y))

    def metrics(self) -> dict[str, float]:
        """Return the figures of the last 2,000 examples; AUC only where both classes are among them."""
        if not self._recent:
            return {}
        count = len(self._recent)
        figures = {
            "window": float(count),
            "logloss": sum(log_loss(p, y) for p, _, y in self._recent) / count,
            "logloss_served": sum(log_loss(served, y) for _, served, y in self._recent) / count,
            "base_rate": sum(y for _, _, y in self._recent) / count,
        }
        labels = [y for _, _, y in self._recent]
        if 0 < sum(labels) < count:
            figures["auc"] = float(roc_auc_score(labels, [p for p, _, _ in self._recent]))
            figures["auc_served"] = float(roc_auc_score(labels, [served for _, served, _ in self._recent]))
        return figures

    def as_rows(self) -> list[Any]:
        """Return the scoreboard as plain data."""
        return [self.examples, self.positives, list(self._recent)]

    @classmethod
    def from_rows(cls, rows: list[Any]) -> Scoreboard:
        """Return the scoreboard that `as_rows` described."""
        board = cls()
        board.examples, board.positives, recent = rows
        board._recent.extend((p, served, y) for p, served, y in recent)
        return board

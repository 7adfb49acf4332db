"""Scoreboard: how good the learner is on examples it has not learned yet (progressive validation).

Every example is predicted before it is learned (Gama, Sebastião & Rodrigues, "On evaluating stream learning
algorithms", Machine Learning 90, 2013), so the figures need no hold-out and are never about the past.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from learners.task import CLASSIFICATION, Task

WINDOW: Final = 2000


class Scoreboard:
    """Counts over all examples, and the figures of its task over the last 2,000.

    >>> board = Scoreboard()
    >>> board.add(score=0.9, served=0.8, y=True); board.add(score=0.2, served=0.3, y=False)
    >>> board.examples, board.positives, board.metrics()["auc"]
    (2, 1, 1.0)
    """

    def __init__(self, task: Task = CLASSIFICATION) -> None:
        self._task = task
        self.examples = 0
        self.positives = 0
        self._recent: deque[tuple[float, float, bool]] = deque(maxlen=WINDOW)

    def add(self, *, score: float, served: float, y: bool) -> None:
        """Count one example: the learner's own score, the one that was served, and the label."""
        self.examples += 1
        self.positives += y
        # Windowed, not lifetime: after drift a lifetime average hides the fall for days.
        self._recent.append((score, served, y))

    def metrics(self) -> dict[str, float]:
        """Return the figures of the last 2,000 examples: the learner's, and with `_served` those of what was served."""
        if not self._recent:
            return {}
        scores, served, labels = zip(*self._recent, strict=True)
        figures = {"window": float(len(labels)), "base_rate": sum(labels) / len(labels)}
        figures |= self._task.figures(scores, labels)
        return figures | {f"{name}_served": figure for name, figure in self._task.figures(served, labels).items()}

    def as_rows(self) -> list[Any]:
        """Return the scoreboard as plain data."""
        return [self.examples, self.positives, list(self._recent)]

    @classmethod
    def from_rows(cls, rows: list[Any], task: Task = CLASSIFICATION) -> Scoreboard:
        """Return the scoreboard that `as_rows` described."""
        board = cls(task)
        board.examples, board.positives, recent = rows
        board._recent.extend((score, served, y) for score, served, y in recent)
        return board

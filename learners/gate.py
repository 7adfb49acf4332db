"""Gate: a candidate must not be worse than what is live.

Both are judged on the same recent examples, each predicted before the learner had learned it: the learner by its own
prediction, the live release by its ONNX session's. One is then not judged on what it has seen, nor on other rows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from learners.task import CLASSIFICATION, Task
from schemas.errors import ReleaseRefused

LEAST_EXAMPLES: Final = 500
MOST_EXAMPLES: Final = 5000
MARGIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate compared: mean losses over the last `examples`, 0 examples where there was too little."""

    examples: int
    loss: float
    loss_live: float


class Gate:
    """The last losses of the learner and of the live release, and the rule over them.

    Which loss is the task's. An anomaly detector has none against the outcome: there the gate refuses only a learner
    that more often than the live release has no finite answer.

    >>> gate = Gate()
    >>> for i in range(600): gate.add(score=0.5, live=0.5, y=i % 2 == 0)
    >>> gate.judge().examples
    500
    """

    def __init__(self, task: Task = CLASSIFICATION) -> None:
        self._loss = task.loss
        self._losses: deque[tuple[float, float, bool]] = deque(maxlen=MOST_EXAMPLES)

    def add(self, *, score: float, live: float, y: bool) -> None:
        """Take one example: the learner's and the live release's score, both from before it was learned."""
        self._losses.append((self._loss.of(score, y), self._loss.of(live, y), y))

    def judge(self) -> Verdict:
        """Return what was compared: the last 500 examples, or more until there are the classes that the loss needs.

        With fewer there is nothing to say yet: the verdict has 0 examples and lets the candidate pass, since a young
        learner's releases are all that keep it from serving its prior.

        Raises:
            ReleaseRefused: the learner's mean loss is more than 5 % above the live release's.
        """
        compared = self._window()
        if not compared:
            return Verdict(0, 0.0, 0.0)
        mean = sum(loss for loss, _, _ in compared) / len(compared)
        mean_live = sum(live for _, live, _ in compared) / len(compared)
        if mean > mean_live * (1 + MARGIN):
            raise ReleaseRefused(
                "gate", f"{self._loss.words} {mean:.4f} on the last {len(compared)} examples, live has {mean_live:.4f}"
            )
        return Verdict(len(compared), mean, mean_live)

    def as_rows(self) -> list[Any]:
        """Return the losses as plain data."""
        return list(self._losses)

    @classmethod
    def from_rows(cls, rows: list[Any], task: Task = CLASSIFICATION) -> Gate:
        """Return the gate that `as_rows` described."""
        gate = cls(task)
        gate._losses.extend((loss, live, y) for loss, live, y in rows)
        return gate

    def _window(self) -> list[tuple[float, float, bool]]:
        newest_first: list[tuple[float, float, bool]] = []
        classes: set[bool] = set()
        for row in reversed(self._losses):
            newest_first.append(row)
            classes.add(row[2])
            if len(newest_first) >= LEAST_EXAMPLES and len(classes) >= self._loss.classes:
                return newest_first
        return []

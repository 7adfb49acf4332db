"""Gate: a candidate must not be worse than what is live.

Both are judged on the same recent examples, each predicted before the learner had learned it: the learner by its own
prediction, the live release by its ONNX session's. One is then not judged on what it has seen, nor on other rows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from learners.scoreboard import log_loss
from schemas.errors import ReleaseRefused

LEAST_EXAMPLES: Final = 500
MOST_EXAMPLES: Final = 5000
MARGIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate compared: mean log losses over the last `examples`, 0 examples where there was too little."""

    examples: int
    logloss: float
    logloss_live: float


class Gate:
    """The last losses of the learner and of the live release, and the rule over them.

    >>> gate = Gate()
    >>> for i in range(600): gate.add(p=0.5, p_live=0.5, y=i % 2 == 0)
    >>> gate.judge().examples
    500
    """

    def __init__(self) -> None:
        self._losses: deque[tuple[float, float, bool]] = deque(maxlen=MOST_EXAMPLES)

    def add(self, *, p: float, p_live: float, y: bool) -> None:
        """Take one example: the learner's and the live release's probability, both from before it was learned."""
        self._losses.append((log_loss(p, y), log_loss(p_live, y), y))

    def judge(self) -> Verdict:
        """Return what was compared: the last 500 examples, or more until both classes are among them.

        With fewer there is nothing to say yet: the verdict has 0 examples and lets the candidate pass, since a young
        learner's releases are all that keep it from serving its prior.

        Raises:
            ReleaseRefused: the learner's mean log loss is more than 5 % above the live release's.
        """
        compared = self._window()
        if not compared:
            return Verdict(0, 0.0, 0.0)
        mean = sum(loss for loss, _, _ in compared) / len(compared)
        mean_live = sum(live for _, live, _ in compared) / len(compared)
        if mean > mean_live * (1 + MARGIN):
            raise ReleaseRefused(
                "gate", f"log loss {mean:.4f} on the last {len(compared)} examples, live has {mean_live:.4f}"
            )
        return Verdict(len(compared), mean, mean_live)

    def as_rows(self) -> list[Any]:
        """Return the losses as plain data."""
        return list(self._losses)

    @classmethod
    def from_rows(cls, rows: list[Any]) -> Gate:
        """Return the gate that `as_rows` described."""
        gate = cls()
        gate._losses.extend((loss, live, y) for loss, live, y in rows)
        return gate

    def _window(self) -> list[tuple[float, float, bool]]:
        newest_first: list[tuple[float, float, bool]] = []
        classes: set[bool] = set()
        for row in reversed(self._losses):
            newest_first.append(row)
            classes.add(row[2])
            if len(newest_first) >= LEAST_EXAMPLES and len(classes) == 2:
                return newest_first
        return []

"""Task: what a learner is for, which decides how it is asked, what it learns and how its answers are judged.

The names are those of the property `task` in an artifact. A model has one task for good: it is looked up when the model
file is loaded, and nobody asks again what kind of learner this is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sklearn.metrics import roc_auc_score

from learners.onnx_export.convert import Task as TaskName

_LEAST_P: Final = 1e-15
# So far from the label an answer is wrong, whatever it is; farther, one of them would make a mean infinite.
_FARTHEST: Final = 1e6


def log_loss(score: float, y: bool) -> float:
    """Return the log loss of one probability of "true"; NaN, no answer, is as bad as the worst one.

    >>> round(log_loss(0.5, True), 4)
    0.6931
    """
    p_of_y = score if y else 1.0 - score
    # In this order: `max` and `min` return their first argument where the second one is NaN.
    return -math.log(min(1.0, max(_LEAST_P, p_of_y)))


def absolute_error(score: float, y: bool) -> float:
    """Return how far an answer is from the label, at most a million; NaN, no answer, is as far as that.

    >>> absolute_error(0.75, True)
    0.25
    """
    return min(_FARTHEST, abs(score - y))


def squared_error(score: float, y: bool) -> float:
    """Return the square of `absolute_error`.

    >>> squared_error(1.5, True)
    0.25
    """
    return absolute_error(score, y) ** 2


def unanswered(score: float, y: bool) -> float:
    """Return 1.0 where the answer is not finite, else 0.0.

    >>> unanswered(float("nan"), True), unanswered(0.7, True)
    (1.0, 0.0)
    """
    return 0.0 if math.isfinite(score) else 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What the gate compares.

    Attributes:
        name: in a release's metrics.
        words: the same in a sentence.
        of: the loss of one score, given the label.
        classes: how many labels must have been met before a mean of it says anything.
    """

    name: str
    words: str
    of: Callable[[float, bool], float]
    classes: int


class Task(Protocol):
    """How learners of one kind are asked, taught and judged.

    Attributes:
        name: as an artifact's property `task` has it.
        loss: what the gate compares.
    """

    name: TaskName
    loss: Loss

    def score(self, learner: Any, x: dict[str, float | str]) -> float:
        """Return the learner's answer, NaN where it has none.

        Raises:
            KeyError: it cannot do without a feature.
        """
        ...

    def learn(self, learner: Any, x: dict[str, float | str], y: bool) -> None:
        """Teach the learner one example."""
        ...

    def figures(self, scores: Sequence[float], labels: Sequence[bool]) -> dict[str, float]:
        """Return how good scores were, given what came true; as many of both, at least one."""
        ...


class Classification:
    """A classifier with probabilities: its score is the probability that the outcome happens."""

    name: TaskName = "classification"
    loss = Loss("logloss", "log loss", log_loss, classes=2)

    def score(self, learner: Any, x: dict[str, float | str]) -> float:
        """Return the probability of True, 0.0 where True has not been met."""
        return float(learner.predict_proba_one(x).get(True, 0.0))

    def learn(self, learner: Any, x: dict[str, float | str], y: bool) -> None:
        """Teach the learner the class."""
        learner.learn_one(x, y)

    def figures(self, scores: Sequence[float], labels: Sequence[bool]) -> dict[str, float]:
        """Return mean log loss, and AUC where both classes are there."""
        return {"logloss": _mean(log_loss, scores, labels)} | _auc(scores, labels)


class Regression:
    """A regressor: its score is the number it expects, where the outcome is 1.0 if it happens and 0.0 if not.

    A score may lie outside 0 to 1.
    """

    name: TaskName = "regression"
    loss = Loss("squared_error", "squared error", squared_error, classes=2)

    def score(self, learner: Any, x: dict[str, float | str]) -> float:
        """Return the number that the learner expects."""
        return _number(learner.predict_one(x))

    def learn(self, learner: Any, x: dict[str, float | str], y: bool) -> None:
        """Teach the learner 1.0 or 0.0."""
        learner.learn_one(x, float(y))

    def figures(self, scores: Sequence[float], labels: Sequence[bool]) -> dict[str, float]:
        """Return mean absolute error, root mean squared error, and AUC of the ranking where both classes are there."""
        errors = {
            "mae": _mean(absolute_error, scores, labels),
            "rmse": math.sqrt(_mean(squared_error, scores, labels)),
        }
        return errors | _auc(scores, labels)


class Anomaly:
    """An anomaly detector: its score says how odd a row is, the odder the higher. It never sees the outcome.

    There is no right score to compare with, so the gate compares only how often there was none; whether odd events are
    those with the outcome is told by the AUC.
    """

    name: TaskName = "anomaly"
    loss = Loss("unanswered", "share of examples without a finite score", unanswered, classes=1)

    def score(self, learner: Any, x: dict[str, float | str]) -> float:
        """Return how odd the row is to the learner."""
        return _number(learner.score_one(x))

    def learn(self, learner: Any, x: dict[str, float | str], y: bool) -> None:
        """Teach the learner that there are such rows."""
        learner.learn_one(x)

    def figures(self, scores: Sequence[float], labels: Sequence[bool]) -> dict[str, float]:
        """Return the AUC of the scores against the outcome, where both classes are there."""
        return _auc(scores, labels)


CLASSIFICATION: Final = Classification()
_TASKS: Final[tuple[Task, ...]] = (CLASSIFICATION, Regression(), Anomaly())
TASKS: Final[Mapping[str, Task]] = {task.name: task for task in _TASKS}


def _number(answer: float | None) -> float:
    return math.nan if answer is None else float(answer)


def _mean(error: Callable[[float, bool], float], scores: Sequence[float], labels: Sequence[bool]) -> float:
    return sum(error(score, y) for score, y in zip(scores, labels, strict=True)) / len(labels)


def _auc(scores: Sequence[float], labels: Sequence[bool]) -> dict[str, float]:
    """The AUC over what was answered, if both classes are in it: scikit-learn knows no order for NaN."""
    answered = [(score, y) for score, y in zip(scores, labels, strict=True) if math.isfinite(score)]
    if len({y for _, y in answered}) < 2:
        return {}
    return {"auc": float(roc_auc_score([y for _, y in answered], [score for score, _ in answered]))}

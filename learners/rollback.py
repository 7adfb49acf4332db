"""Rollback: what a learner was, so that it can be that again.

Two moments are kept. The *newest* checkpoint, with the examples learned since, gives the learner as it was before any
one of them: an example that makes it raise leaves no trace. The *good* one is at least an interval older than what is
judged, so that what ruins a learner is noticed before it becomes good, and is where a breach leads back to.

A breach is judged by what going back would be worth, on the same last examples: where the world has changed, what was
good is no better than what has learned since, and there is no breach. So drift is followed, and nothing is taken back
for having been surprised. All of it is counted in examples, so that it is a function of their order.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from learners.bounds import X
from learners.guard import RAISED
from learners.model import Model
from learners.replica import replica
from learners.state import decode_state, encode_state
from learners.weights import weights_of
from schemas.records import LearnedThrough

# How often the last examples are judged; how many losses show whether they have risen; over how many examples, as many
# as there are, the good learner is compared.
CHECK_EVERY: Final = 100
WINDOW: Final = 200
_COMPARED: Final = range(100, 801, 100)
# Between two checkpoints: the first ones are soon, so that a young learner has something to go back to, and a large one
# is written down so seldom that it costs less than a tenth of what it learns.
SOONEST: Final = 200
INTERVAL: Final = 1000
_BYTES_PER_EXAMPLE: Final = 100
# By how much, and by how many standard errors, the mean loss must have risen for the good learner to be asked, which
# costs as much as learning does; and how clearly that must do better.
_RISEN: Final = 1.1
_RISEN_ERRORS: Final = 1.0
_BETTER_BY: Final = 0.1
_STANDARD_ERRORS: Final = 4.0
# Of each outcome so many visitors at least: in a run of visits without a purchase whoever expects none is right, and in
# the long visit of one who buys in the end whoever expects a purchase is; neither says who is ruined.
_LEAST_OF_EACH: Final = 10
# So clearly better, it is asked on, and stays the good one until that is settled.
_SUSPECT_ERRORS: Final = 2.0
# Beyond this an answer is wrong, however wrong it is: one of them must not outweigh a thousand.
_LARGEST_LOSS: Final = 10.0
# What was good must still be: where it has lost half as much again as it used to, it is the world that has changed.
_STILL_GOOD: Final = 1.5
# So many checks it is not asked again, where it was no better.
_ASIDE: Final = 2
_NORM_TIMES: Final = 10.0
_LEAST_NORM: Final = 10.0
# After a breach the next one waits until the window is filled anew, then twice as long each time.
_MOST_PATIENCE: Final = 16 * INTERVAL
# So often going back may end where it began; then a new learner begins.
_STRIKES: Final = 3

Row = tuple[X, bool]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A learner at one moment.

    Attributes:
        state: its canonical bytes; none, a new learner.
        through: the newest example it had learned.
        loss: mean of the losses since the checkpoint before.
        norm: of the weights of its linear models.
    """

    state: bytes
    through: LearnedThrough
    loss: float
    norm: float

    def as_row(self) -> list[Any]:
        """Return the checkpoint as plain data."""
        return [self.state, self.through.offset, self.through.event_time, self.loss, self.norm]

    @classmethod
    def from_row(cls, row: list[Any]) -> Checkpoint:
        """Return the checkpoint that `as_row` described."""
        state, offset, event_time, loss, norm = row
        return cls(state, LearnedThrough(offset=offset, event_time=event_time), loss, norm)


_NEW: Final = Checkpoint(b"", LearnedThrough(), math.inf, 0.0)


@dataclass(frozen=True, slots=True)
class Breach:
    """A learner must not go on as it is.

    Attributes:
        reason: one sentence.
        learner: what goes on instead.
        through: the newest example that one has learned.
        taken_back: how many were learned since.
        afresh: whether it is a new learner, because going back did not help.
    """

    reason: str
    learner: Any
    through: LearnedThrough
    taken_back: int
    afresh: bool


class Rollback:
    """The checkpoints of one learner, and the rule by which it goes back.

    Args:
        model: whose learner; it has learned nothing yet.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._good = _NEW
        self._newest = _NEW
        self._base: bytes | None = None  # from which `_rows` lead to now; None, the newest checkpoint's state
        self._rows: list[Row] = []
        self._recent: list[tuple[X, bool, float, int]] = []  # since the last check, with the score and the visitor
        self._window: deque[float] = deque(maxlen=WINDOW)  # losses
        # Losses, the good learner's, the outcome and the visitor, where that was asked.
        self._pairs: deque[tuple[float, float, bool, int]] = deque(maxlen=_COMPARED[-1])
        self._asked: Any = None  # the good learner, once it was asked
        self._learned = 0
        self._known = 0  # of them, what has not been taken back
        self._since_newest = 0
        self._since_good = 0
        self._patience = 0
        self._strikes = 0
        self._aside = 0
        self._losses = 0.0  # sum since the newest checkpoint

    def taught(self, learner: Any, row: Row, score: float, visitor: int, through: LearnedThrough) -> Breach | None:
        """Take note of an example that was learned; now and then, judge the learner and keep it.

        Args:
            learner: as it is now.
            row: what it has learned last.
            score: what it had said of it before.
            visitor: the key of whose it was.
            through: where that lies.
        """
        self._rows.append(row)
        self._recent.append((*row, score, visitor))
        self._learned += 1
        self._known += 1
        self._since_newest += 1
        self._since_good += 1
        self._patience = max(0, self._patience - 1)
        if self._learned % CHECK_EVERY:
            return None
        losses = self._losses_of(score for _, _, score, _ in self._recent)
        self._window += losses
        self._losses += sum(losses)
        breach = self._judged_by_answers(losses)
        if breach is None and self._since_newest >= self._interval():
            norm = math.hypot(*weights_of(learner))
            breach = self._judged_by_weights(losses, norm)
            if breach is None:
                self._keep(learner, through, norm)
        self._recent.clear()
        return breach

    def undone(self) -> Any:
        """Return the learner as it was before an example that it could not learn."""
        learner = self._taught_again(self._rows)
        # The next one comes soon, where there is one: what it costs must not grow with what was learned between.
        self._base, self._rows = encode_state(learner), []
        return learner

    def relearned(self, clip: Callable[[X], X]) -> Any | None:
        """Return what the learner would be if it had seen what is known as clipped; None where it can't be said.

        What lies before the newest checkpoint is not reached.
        """
        rows = [(clip(x), y) for x, y in self._rows]
        try:
            learner = self._taught_again(rows)
        except RAISED:
            return None
        self._rows = rows
        return learner

    def as_rows(self) -> list[Any]:
        """Return all of it as plain data."""
        newest = None if self._newest is self._good else self._newest.as_row()
        counters = [self._learned, self._known, self._since_newest, self._since_good, self._patience, self._strikes]
        return [
            self._good.as_row(), newest, self._base, counters, self._losses,
            _packed((x, (y,)) for x, y in self._rows), _packed((x, tuple(rest)) for x, *rest in self._recent),
            list(self._window), list(self._pairs), self._aside,
        ]  # fmt: skip

    @classmethod
    def from_rows(cls, rows: list[Any], model: Model) -> Rollback:
        """Return the rollback that `as_rows` described, of the same model."""
        rollback = cls(model)
        good, newest, rollback._base, counters, rollback._losses, learned, recent, window, pairs, rollback._aside = rows
        rollback._good = Checkpoint.from_row(good)
        rollback._newest = rollback._good if newest is None else Checkpoint.from_row(newest)
        (
            rollback._learned, rollback._known, rollback._since_newest, rollback._since_good, rollback._patience,
            rollback._strikes,
        ) = counters  # fmt: skip
        rollback._rows = [(x, y) for x, (y,) in _unpacked(learned)]
        rollback._recent = [(x, y, score, visitor) for x, (y, score, visitor) in _unpacked(recent)]
        rollback._window += window
        rollback._pairs.extend((ours, theirs, y, visitor) for ours, theirs, y, visitor in pairs)
        return rollback

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judged_by_answers(self, losses: list[float]) -> Breach | None:
        silent = any(not math.isfinite(score) for _, _, score, _ in self._recent)
        has_risen = not self._patience and (self._suspects() or (not self._aside and self._has_risen()))
        self._aside = max(0, self._aside - 1)
        if not (silent or has_risen):
            return None
        answers = self._answers_of_good()
        # No answer is a breach by itself: such weights never come back. But only where there was one to be had.
        lost = sum(
            math.isfinite(theirs) and not math.isfinite(ours)
            for theirs, (_, _, ours, _) in zip(answers, self._recent, strict=True)
        )
        if lost:
            return self._breach(f"no finite answer to {lost} of the last {len(answers)} examples", is_fatal=True)
        if not has_risen:
            return None
        theirs = self._losses_of(answers)
        if sum(losses) <= sum(theirs):
            self._aside = _ASIDE
        self._pairs += [
            (ours, good, y, visitor)
            for ours, good, (_, y, _, visitor) in zip(losses, theirs, self._recent, strict=True)
        ]
        return self._judged_by_losses()

    def _has_risen(self) -> bool:
        # The newest checkpoint's too: a young learner's good one has a loss that is not worth the name.
        usual = min(self._good.loss, self._newest.loss)
        return statistics.fmean(self._window) > usual * _RISEN + _RISEN_ERRORS * _standard_error(self._window)

    def _suspects(self) -> bool:
        gains = [ours - theirs for ours, theirs, _, _ in self._pairs]
        visitors = [visitor for *_, visitor in self._pairs]
        return bool(gains) and statistics.fmean(gains) > _SUSPECT_ERRORS * _standard_error(gains, visitors)

    def _judged_by_losses(self) -> Breach | None:
        for many in _COMPARED:
            pairs = list(self._pairs)[-many:]
            if len(pairs) < many:
                break
            visitors = [visitor for *_, visitor in pairs]
            if min(len({visitor for *_, y, visitor in pairs if y is each}) for each in (True, False)) < _LEAST_OF_EACH:
                continue
            theirs = statistics.fmean(loss for _, loss, _, _ in pairs)
            gains = [ours - loss for ours, loss, _, _ in pairs]
            gain = statistics.fmean(gains)
            is_clear = gain > max(_BETTER_BY * theirs, _STANDARD_ERRORS * _standard_error(gains, visitors))
            if is_clear and theirs <= _STILL_GOOD * self._good.loss:
                words = self._model.task.loss.words
                return self._breach(
                    f"{words} {theirs + gain:.4f} on {many} examples; as it was it would have had {theirs:.4f}"
                )
        return None

    def _judged_by_weights(self, losses: list[float], norm: float) -> Breach | None:
        if not math.isfinite(norm):
            return self._breach("a weight is not finite", is_fatal=True)
        good = self._good
        if self._patience or not good.state or norm <= _NORM_TIMES * max(good.norm, _LEAST_NORM):
            return None
        # Large weights that are worth it are a fact about the world.
        if statistics.fmean(self._losses_of(self._answers_of_good())) > statistics.fmean(losses):
            return None
        return self._breach(f"the weights' norm is {norm:.4g}, it was {good.norm:.4g}")

    def _losses_of(self, answers: Iterable[float]) -> list[float]:
        of = self._model.task.loss.of
        return [min(_LARGEST_LOSS, of(answer, y)) for answer, (_, y, _, _) in zip(answers, self._recent, strict=True)]

    def _answers_of_good(self) -> list[float]:
        """What the good learner says of the last examples, taught none of them; NaN where it raises."""
        if self._asked is None:
            self._asked = self._learner_of(self._good.state)
        # A replica each time: River changes some estimators when they predict, and a worker that starts here has not.
        learner, task, answers = replica(self._asked), self._model.task, []
        for x, *_ in self._recent:
            try:
                answers.append(task.score(learner, x))
            except RAISED:
                answers.append(math.nan)
        return answers

    # --- keeping and going back ---------------------------------------------------------------------------------------

    def _interval(self) -> int:
        return max(SOONEST, min(INTERVAL, self._known // 2), len(self._newest.state) // _BYTES_PER_EXAMPLE)

    def _keep(self, learner: Any, through: LearnedThrough, norm: float) -> None:
        if not self._patience and self._newest is not self._good and not self._suspects():
            self._good, self._strikes, self._asked = self._newest, 0, None
            self._since_good = self._since_newest
            self._pairs.clear()
        self._newest = Checkpoint(encode_state(learner), through, self._losses / self._since_newest, norm)
        self._since_newest, self._losses = 0, 0.0
        self._base, self._rows = None, []

    def _breach(self, reason: str, *, is_fatal: bool = False) -> Breach:
        self._strikes += 1
        afresh = is_fatal and self._strikes > _STRIKES
        if afresh:
            self._good = _NEW
        taken_back = self._known if afresh else self._since_good
        self._known -= taken_back
        self._newest, self._base, self._rows = self._good, None, []
        self._asked = None
        self._window.clear()
        self._pairs.clear()
        self._since_newest, self._since_good, self._losses = 0, 0, 0.0
        self._patience = min(_MOST_PATIENCE, WINDOW << (self._strikes - 1))
        learner = self._learner_of(self._good.state)
        return Breach(reason, learner, self._good.through, taken_back, afresh)

    def _learner_of(self, state: bytes) -> Any:
        new = self._model.new_learner()
        return decode_state(state, new) if state else new

    def _taught_again(self, rows: Iterable[Row]) -> Any:
        task = self._model.task
        learner = self._learner_of(self._newest.state if self._base is None else self._base)
        for x, y in rows:
            task.score(learner, x)  # as it was then: River changes some estimators when they predict
            task.learn(learner, x, y)
        return learner


def _standard_error(values: Sequence[float], visitors: Sequence[int] = ()) -> float:
    """Return the standard error of a mean, whose values are only independent between visitors, where those are given.

    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986.
    """
    mean = statistics.fmean(values)  # `statistics.pstdev` is exact, and takes as long as learning ten examples
    residuals = [value - mean for value in values]
    if visitors:
        of_visitor = dict.fromkeys(visitors, 0.0)
        for visitor, residual in zip(visitors, residuals, strict=True):
            of_visitor[visitor] += residual
        residuals = list(of_visitor.values())
    return math.sqrt(math.fsum(residual**2 for residual in residuals)) / len(values)


def _packed(rows: Iterable[tuple[X, tuple[Any, ...]]]) -> list[Any]:
    """Return rows without their names, which are nearly always the same: a quarter of the bytes, order kept."""
    shapes: dict[tuple[str, ...], int] = {}
    packed = [[shapes.setdefault(tuple(x), len(shapes)), list(x.values()), *rest] for x, rest in rows]
    return [list(shapes), packed]


def _unpacked(rows: list[Any]) -> Iterator[tuple[X, tuple[Any, ...]]]:
    shapes, packed = rows
    for shape, values, *rest in packed:
        yield dict(zip(shapes[shape], values, strict=True)), tuple(rest)

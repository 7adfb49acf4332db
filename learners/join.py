"""Join: pending scores of one events partition, waiting for their outcomes in event time.

A pending closes positive when an outcome of its visitor arrives whose time is after the scored event's and within the
attribution window; it closes negative when the watermark has passed the window. The set of (event, label) does not
depend on the order in which events arrive, as long as none is later than the allowed lateness: an outcome that was read
before the event it belongs to is remembered until the watermark passes it.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.reader import X


@dataclass(slots=True, eq=False)
class Pending:
    """A score that waits for its outcome; `score` and `version` are filled in when the chunk has been scored.

    Attributes:
        number: of its event among the events of the partition; ascending, and no two have the same.
    """

    event: str
    visitor: str
    time_ms: int
    x: X
    score: float = 0.0
    version: int = -1
    open: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A pending whose label is known: an example in all but its number."""

    pending: Pending
    y: bool
    closed_at_ms: int


class Join:
    """The pendings of one partition.

    >>> join = Join(within_ms=1_800_000)
    >>> join.open(Pending("e1", "v", 1_000, ((), ())))
    >>> [(c.pending.event, c.y) for c in join.outcome("v", 5_000)]
    [('e1', True)]
    >>> join.open(Pending("e2", "v", 6_000, ((), ())))
    >>> [(c.pending.event, c.y) for c in join.advance(6_000 + 1_800_001)]
    [('e2', False)]
    """

    def __init__(self, within_ms: int) -> None:
        self._within_ms = within_ms
        self._queue: deque[Pending] = deque()  # in arrival order, hence in event-time order but for the disorder
        self._of: dict[str, list[Pending]] = {}
        self.outcomes: deque[tuple[int, str]] = deque()  # in arrival order too, until the watermark has passed them
        self._times: dict[str, list[int]] = {}  # the same by visitor, ascending
        self.outcomes_read = 0
        self.opened = 0
        self.positive = 0
        self.negative = 0

    def open(self, pending: Pending) -> Closed | None:
        """Let a score wait; returned closed if its outcome was read before it."""
        self.opened += 1
        for time_ms in self._times.get(pending.visitor, ()):
            if pending.time_ms < time_ms <= pending.time_ms + self._within_ms:
                pending.open = False
                self.positive += 1
                return Closed(pending, y=True, closed_at_ms=time_ms)
        self._queue.append(pending)
        self._of.setdefault(pending.visitor, []).append(pending)
        return None

    def outcome(self, visitor: str, time_ms: int) -> list[Closed]:
        """Return the visitor's pendings that an outcome at `time_ms` makes positive."""
        self.outcomes_read += 1
        self.outcomes.append((time_ms, visitor))
        insort(self._times.setdefault(visitor, []), time_ms)
        waiting = self._of.get(visitor)
        if not waiting:
            return []
        closed = [
            Closed(pending, y=True, closed_at_ms=time_ms)
            for pending in waiting
            if pending.time_ms < time_ms <= pending.time_ms + self._within_ms
        ]
        for each in closed:
            each.pending.open = False
        self.positive += len(closed)
        self._keep(visitor, [pending for pending in waiting if pending.open])
        return closed

    def advance(self, watermark_ms: int) -> list[Closed]:
        """Return the pendings that the watermark makes negative, and forget outcomes that it has passed."""
        closed: list[Closed] = []
        queue = self._queue
        horizon = watermark_ms - self._within_ms
        while queue and (not queue[0].open or queue[0].time_ms < horizon):
            pending = queue.popleft()
            if pending.open:
                pending.open = False
                closed.append(Closed(pending, y=False, closed_at_ms=pending.time_ms + self._within_ms))
                waiting = self._of[pending.visitor]
                waiting.remove(pending)
                if not waiting:
                    del self._of[pending.visitor]
        self.negative += len(closed)
        self._forget(watermark_ms)
        return closed

    @property
    def waiting(self) -> int:
        """How many pendings are open."""
        return self.opened - self.positive - self.negative

    @property
    def pendings(self) -> Iterator[Pending]:
        """The open ones, in order of arrival."""
        return (pending for pending in self._queue if pending.open)

    def as_rows(self) -> dict[str, Any]:
        """Return the join as plain data, from which `from_rows` makes an equal one."""
        return {
            "pendings": [[p.number, p.event, p.visitor, p.time_ms, p.x, p.score, p.version] for p in self.pendings],
            "outcomes": list(self.outcomes),
            "counts": [self.opened, self.positive, self.negative, self.outcomes_read],
        }

    @classmethod
    def from_rows(cls, within_ms: int, rows: dict[str, Any]) -> Join:
        """Return the join that `as_rows` described."""
        join = cls(within_ms)
        for number, event, visitor, time_ms, (numbers, categories), score, version in rows["pendings"]:
            x = (tuple(numbers), tuple(categories))
            pending = Pending(event, visitor, time_ms, x, score, version, number=number)
            join._queue.append(pending)
            join._of.setdefault(visitor, []).append(pending)
        for time_ms, visitor in rows["outcomes"]:
            join.outcomes.append((time_ms, visitor))
            insort(join._times.setdefault(visitor, []), time_ms)
        join.opened, join.positive, join.negative, join.outcomes_read = rows["counts"]
        return join

    def _keep(self, visitor: str, waiting: list[Pending]) -> None:
        if waiting:
            self._of[visitor] = waiting
        else:
            del self._of[visitor]

    def _forget(self, watermark_ms: int) -> None:
        # An event that is not late has a time at or after the watermark; an outcome up to it can make none positive.
        while self.outcomes and self.outcomes[0][0] <= watermark_ms:
            time_ms, visitor = self.outcomes.popleft()
            times = self._times[visitor]
            times.remove(time_ms)
            if not times:
                del self._times[visitor]

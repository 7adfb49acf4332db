"""Law: what came in is somewhere, and what is somewhere came in: the balances of a worker, and their alarm.

Events, for each partition:

    came in = scored + late + not applicable + duplicate + dead + ticks + gaps + in flight

where each record is in exactly one part (`scored` here are those in time), and gaps are offsets that hold no record
(transaction markers, what compaction or retention took). Pendings: `scored in time = positive + negative + open`.
Labels: `positive + negative = examples sent`. Examples, in the learner:

    came in = learned + withheld + repeats + dead + other models' + gaps + in flight

What came in is counted by the offsets that the transport delivered, never by those who handle the records; so a record
that they lose or take twice shows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

EVENTS_LAW: Final = "events"
PENDINGS_LAW: Final = "pendings"
LABELS_LAW: Final = "labels"
EXAMPLES_LAW: Final = "examples"


@dataclass(frozen=True, slots=True)
class Balance:
    """One law, of one partition, at one moment.

    Args:
        law: which one.
        partition: of whose records.
        came: how many came in.
        parts: what they came to; each is counted in one part.

    >>> balance = Balance("pendings", 3, came=12, parts={"positive": 1, "negative": 8, "open": 2})
    >>> balance.difference, str(balance)
    (1, 'came=12 positive=1 negative=8 open=2')
    """

    law: str
    partition: int
    came: int
    parts: Mapping[str, int]

    @property
    def difference(self) -> int:
        """How many are nowhere; below 0, how many are in more than one place."""
        return self.came - sum(self.parts.values())

    def __str__(self) -> str:
        return " ".join([f"came={self.came}", *(f"{name}={count}" for name, count in self.parts.items())])


class Chunk(Protocol):
    """What the transport delivers: the records of a range of offsets, `stop` not included."""

    value: Any
    start: int
    stop: int


class Intake:
    """Counts what is taken of a partition by offsets alone, without a look at what becomes of it.

    Args:
        through: everything before it was taken before.

    Attributes:
        gaps: how many offsets since then held no record.

    >>> from types import SimpleNamespace as Record
    >>> intake = Intake(10)
    >>> intake.add(Record(value=[Record(offset=9), Record(offset=10), Record(offset=12)], start=9, stop=13))
    1
    >>> intake.through, intake.gaps
    (13, 1)
    """

    def __init__(self, through: int) -> None:
        self.through = max(through, 0)
        self.gaps = 0

    def add(self, chunk: Chunk) -> int:
        """Count a chunk that follows what was taken, or overlaps it; return how many of its offsets hold no record."""
        if chunk.stop <= self.through:
            return 0
        records = len(chunk.value)
        if chunk.start < self.through:
            records = sum(record.offset >= self.through for record in chunk.value)
        gaps = chunk.stop - self.through - records
        self.through = chunk.stop
        self.gaps += gaps
        return gaps


class Alarm:
    """Says so when a law has been broken for a while; a moment's difference may be one that is being counted.

    Args:
        model: for the log.
        patience_s: how long a difference may last.
    """

    def __init__(self, model: str, patience_s: float) -> None:
        self._model = model
        self._patience_s = patience_s
        self._since_s: dict[tuple[str, int], float] = {}
        self._told_s: dict[tuple[str, int], float] = {}

    def look(self, balances: Iterable[Balance], now_s: float) -> list[Balance]:
        """Return the laws that have been broken for too long; each is told in the log, and again from time to time."""
        since, broken = self._since_s, []
        self._since_s = {}
        for balance in balances:
            if balance.difference == 0:
                continue
            name = (balance.law, balance.partition)
            started_s = self._since_s[name] = since.get(name, now_s)
            if now_s - started_s >= self._patience_s:
                broken.append(balance)
                self._tell(balance, now_s, now_s - started_s)
        self._told_s = {name: told_s for name, told_s in self._told_s.items() if name in self._since_s}
        return broken

    def _tell(self, balance: Balance, now_s: float, lasted_s: float) -> None:
        name = (balance.law, balance.partition)
        if now_s - self._told_s.get(name, -1e9) < self._patience_s:
            return
        self._told_s[name] = now_s
        log.error(
            "conservation_broken model=%s law=%s partition=%d difference=%d for_s=%.0f: %s",
            self._model,
            balance.law,
            balance.partition,
            balance.difference,
            lasted_s,
            balance,
        )

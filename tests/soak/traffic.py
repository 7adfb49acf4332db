"""Traffic: what a soak sends: simulated visits with everything in it that a log can hold."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.sender import Header
from streams.simulator import Simulator

VISITORS: Final = 10_000
# A run spans at least this much event time, so that even a short one sees windows close while it is disturbed.
_SPAN_S: Final = 10_000
_MOST_PER_S: Final = 20.0
_BAD_EVERY: Final = 7  # good ones: a tenth of all is poison to a model, which does not read every field
_P_EARLY: Final = 0.3  # a visitor's events may come in another order than they happened
_P_LATE: Final = 0.01
_P_AGAIN: Final = 0.02
_P_LONG_AGAIN: Final = 0.001
_P_KEYLESS: Final = 0.3  # of the bad ones
_P_NOTHING: Final = 0.01  # of the bad ones: neither key nor value
_AGAIN_MS: Final = 60_000
_LONG_AGAIN_MS: Final = 4 * 3_600_000
_HEADERS: Final[tuple[Header, ...]] = (("trace", b"\x00\xff"), ("__connect.errors.topic", b"somebody's"))


@dataclass(frozen=True, slots=True)
class Record:
    """One record to be sent: to the partition of its key, unless it says which.

    Args:
        time_ms: event time of what it was made from.
    """

    key: bytes | None
    value: bytes | None
    time_ms: int
    partition: int | None = None
    headers: tuple[Header, ...] = ()


def traffic(seed: int, count: int, *, lateness_ms: int, partitions: int) -> Iterator[Record]:
    """Yield the same `count` records for the same arguments.

    A tenth is poison of all kinds of the simulator, some of it without a key, or with neither key nor value, or with
    headers that look like a dead letter's. Of the rest three tenths are out of order by less than the lateness, one in
    a hundred comes later than that, one in fifty comes twice within a minute, and one in a thousand again after hours.

    >>> records, again = [list(traffic(7, 1000, lateness_ms=60_000, partitions=4)) for _ in range(2)]
    >>> records == again, len(records), sum(record.key is None for record in records) > 10
    (True, 1000, True)
    >>> len({record.value for record in records}) < 1000
    True
    """
    rng = random.Random(f"traffic {seed}")
    rate = min(_MOST_PER_S, count / _SPAN_S)
    numbers = itertools.count()
    due: list[tuple[int, int, Record]] = []  # by the moment of sending, in event time

    def put(at_ms: int, record: Record) -> None:
        heapq.heappush(due, (at_ms, next(numbers), record))

    def all_of_it() -> Iterator[Record]:
        for event in Simulator(seed=seed, visitors=VISITORS, rate=rate, bad_every=_BAD_EVERY).events():
            while due and due[0][0] <= event.time_ms:
                yield heapq.heappop(due)[2]
            if event.bad is not None:
                put(event.time_ms, _bad(rng, event.key, event.value, event.time_ms, partitions))
                continue
            record = Record(event.key, event.value, event.time_ms)
            at_ms, chance = event.time_ms, rng.random()
            if chance < _P_LATE:
                at_ms += int(lateness_ms * rng.uniform(1.5, 20))
            elif chance < _P_LATE + _P_EARLY:
                at_ms += int(lateness_ms * rng.uniform(0, 0.9))
            put(at_ms, record)
            chance = rng.random()
            if chance < _P_AGAIN:
                put(at_ms + rng.randrange(_AGAIN_MS), record)
            elif chance < _P_AGAIN + _P_LONG_AGAIN:
                put(at_ms + _LONG_AGAIN_MS, record)

    return itertools.islice(all_of_it(), count)


def _bad(rng: random.Random, key: bytes, value: bytes, time_ms: int, partitions: int) -> Record:
    partition = rng.randrange(partitions)
    headers = _HEADERS if rng.random() < 0.2 else ()
    chance = rng.random()
    if chance < _P_NOTHING:
        return Record(None, None, time_ms, partition, headers)
    if chance < _P_NOTHING + _P_KEYLESS:
        return Record(None, value, time_ms, partition, headers)
    return Record(key, value, time_ms, None, headers)

"""Recovery: how long after a blow the first new score is there, seen from outside."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from streams.follow import Follower
from streams.topics import RELEASES, SCORES, Cluster


@dataclass(slots=True)
class Wait:
    """One recovery under way.

    Args:
        kind: of what, and what was done to it.
        since_s: Unix time of the blow.
        missing: the topics and partitions in which no record that is younger than the blow has come yet.
    """

    kind: str
    since_s: float
    missing: set[tuple[str, int]]
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Recovery:
    """Follows `scores` and `releases`, and measures how long they stand still after a blow.

    A recovery is over once every partition has a new score (of a learner: once there is a new release), read by a
    consumer of that topic; so it is an upper bound of what the worker took. One into which another blow falls is not
    counted.

    Args:
        cluster: where the topics are.
        partitions: how many `scores` has.

    Attributes:
        took_s: seconds by kind.
        uncounted: recoveries into which another blow fell.
        scores: how many records came.
    """

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        self._scores, self._releases = cluster.topic(SCORES), cluster.topic(RELEASES)
        self._all = {(self._scores, partition) for partition in range(partitions)}
        self._follower = Follower(cluster.bootstrap, [self._scores, self._releases], self._take)
        self._waits: list[Wait] = []
        self.took_s: dict[str, list[float]] = {}
        self.uncounted = 0
        self.scores = 0

    async def start(self) -> None:
        """Begin to follow."""
        await self._follower.start()

    async def stop(self) -> None:
        """End."""
        await self._follower.stop()

    def begin(self, role: str, how: str = "killed") -> Wait:
        """Begin to measure a recovery of a `scorer`, a `learner` or the `broker`."""
        self.disturb()
        missing = {(self._releases, 0)} if role == "learner" else set(self._all)
        wait = Wait(f"{role} {how}", time.time(), missing)
        self._waits.append(wait)
        return wait

    def disturb(self) -> None:
        """Give up what is under way: its end would say nothing."""
        self.uncounted += len(self._waits)
        for wait in self._waits:
            wait.over.set()
        self._waits.clear()

    def _take(self, record: ConsumerRecord) -> None:
        self.scores += record.topic == self._scores
        for wait in list(self._waits):
            if record.timestamp > wait.since_s * 1000:
                wait.missing.discard((record.topic, record.partition))
                if not wait.missing:
                    self.took_s.setdefault(wait.kind, []).append(time.time() - wait.since_s)
                    self._waits.remove(wait)
                    wait.over.set()


def figures(values: list[float]) -> dict[str, float]:
    """Return how many there are, and their median, 95th percentile (the nearest that occurs) and largest.

    >>> figures([1.0, 2.0, 10.0])
    {'n': 3, 'p50': 2.0, 'p95': 10.0, 'max': 10.0}
    """
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95)]
    return {"n": len(ordered), "p50": round(at[0], 2), "p95": round(at[1], 2), "max": round(ordered[-1], 2)}

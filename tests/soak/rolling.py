"""Rolling restart: every worker stopped in order and started again under load, and how long scoring stands still.

`make soak-rolling` (some 2 minutes) prints, for each worker, the longest time between two scores of a partition while
it was away and came back, beside the longest before it; then a JSON verdict. It fails if an event has no score.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from aiokafka import ConsumerRecord

from learners import load_model
from schemas.records import Score, decode
from streams.follow import Follower
from streams.partition import Partition
from streams.replay import replay
from streams.simulator import Simulator
from streams.topics import EVENTS, SCORES, Cluster, create_topics
from tests.soak.fleet import ROOT, Fleet, OwnBroker, became

PARTITIONS: Final = 4
_MODEL: Final = ROOT / "examples" / "purchase_propensity.py"
_BETWEEN_S: Final = 10.0


class Pauses:
    """Notes when scores of each partition came, and which events have one."""

    def __init__(self, cluster: Cluster) -> None:
        self._topics = {cluster.topic(SCORES): self._score, cluster.topic(EVENTS): self._event}
        self.follower = Follower(cluster.bootstrap, list(self._topics), self._take)
        self._reader = load_model(_MODEL).reader
        self._states: dict[int, Partition] = {}
        self._came_s: dict[int, list[float]] = {}
        self.wanted: set[str] = set()
        self.scored: set[str] = set()

    def longest_s(self, since_s: float, until_s: float) -> float:
        """Return the longest time within which some partition had no score."""
        pauses = [0.0]
        for came in self._came_s.values():
            inside = [since_s, *(each for each in came if since_s <= each <= until_s), until_s]
            pauses += [after - before for before, after in itertools.pairwise(inside)]
        return max(pauses)

    def _take(self, record: ConsumerRecord) -> None:
        self._topics[record.topic](record)

    def _score(self, record: ConsumerRecord) -> None:
        self._came_s.setdefault(record.partition, []).append(record.timestamp / 1000)
        self.scored.add(decode(Score, record.value).event)

    def _event(self, record: ConsumerRecord) -> None:
        state = self._states.setdefault(record.partition, Partition(self._reader))
        self.wanted |= {pending.event for pending in state.take([record]).pendings}


async def roll(bootstrap: str, logs: Path, rate_per_s: float) -> dict[str, Any]:
    """Restart two scorers and a learner, one after another; return the verdict."""
    cluster = Cluster(bootstrap, prefix="rolling.")
    await create_topics(cluster, PARTITIONS)
    pauses = Pauses(cluster)
    await pauses.follower.start()
    stop = asyncio.Event()

    def events() -> Iterator[bytes]:
        for event in Simulator(seed=5, visitors=10_000).events():
            if stop.is_set():
                return
            yield event.value

    with Fleet(cluster, _MODEL, logs) as fleet:
        for role, name in (("learner", "learner"), ("scorer", "first"), ("scorer", "second")):
            fleet.add(role, name)
        if not await became(lambda: all(fleet.owns(name) for name in ("first", "second", "learner")), 90):
            raise RuntimeError(f"the workers do not come up\n{fleet.words()}")
        feeding = asyncio.create_task(replay(cluster, events(), rate_per_s=rate_per_s))
        await asyncio.sleep(_BETWEEN_S)
        steady_s = pauses.longest_s(time.time() - _BETWEEN_S / 2, time.time())
        rows = []
        for name in ("first", "second", "learner"):
            begun_s = time.time()
            await fleet.stop(name)
            role = fleet.members.pop(name).role
            fleet.add(role, name)
            await asyncio.sleep(_BETWEEN_S)
            rows.append({"worker": name, "longest_pause_s": round(pauses.longest_s(begun_s, time.time()), 2)})
            print(f"{name:<8} longest pause of a partition {rows[-1]['longest_pause_s']:.2f} s", flush=True)
        stop.set()
        await feeding
        complete = await became(lambda: bool(pauses.wanted) and pauses.wanted <= pauses.scored, 60)
    await pauses.follower.stop()
    return {
        "ok": complete,
        "events_per_s": rate_per_s,
        "wanted": len(pauses.wanted),
        "without_score": len(pauses.wanted - pauses.scored),
        "steady_longest_pause_s": round(steady_s, 2),
        "restarts": rows,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run it on a broker of its own; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.rolling", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="events per second (%(default)s)")
    rate_per_s = parser.parse_args(argv).rate
    with tempfile.TemporaryDirectory() as folder, OwnBroker(Path(folder) / "kafka") as broker:
        verdict = asyncio.run(roll(broker.bootstrap, Path(folder), rate_per_s))
    print(json.dumps(verdict, indent=1))
    return 0 if verdict["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

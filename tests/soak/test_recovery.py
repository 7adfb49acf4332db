"""A recovery is over with the last partition's first new score, and one that was disturbed is not counted."""

from __future__ import annotations

import time

from aiokafka import ConsumerRecord

from streams.topics import Cluster
from tests.soak.recovery import Recovery


def record(topic: str, partition: int, timestamp_s: float) -> ConsumerRecord:
    return ConsumerRecord(topic, partition, 0, int(timestamp_s * 1000), 0, None, b"", None, 0, 0, ())


def test_every_partition_needs_a_score_that_is_younger_than_the_blow() -> None:
    """One that was under way when the worker died proves nothing."""
    recovery = Recovery(Cluster("nowhere:1"), partitions=2)
    wait = recovery.begin("scorer")
    now_s = time.time()
    over = []
    for partition, timestamp_s in ((0, now_s + 1), (1, now_s - 1), (1, now_s + 1)):
        recovery._take(record("scores", partition, timestamp_s))
        over.append(wait.over.is_set())

    assert [False, False, True] == over
    assert ["scorer killed"] == list(recovery.took_s)


def test_a_recovery_into_which_another_blow_falls_is_not_counted() -> None:
    """Its end is the other one's too."""
    recovery = Recovery(Cluster("nowhere:1"), partitions=1)
    first = recovery.begin("scorer")
    recovery.begin("learner")
    recovery._take(record("releases", 0, time.time() + 1))

    assert first.over.is_set()
    assert (["learner killed"], 1) == (list(recovery.took_s), recovery.uncounted)

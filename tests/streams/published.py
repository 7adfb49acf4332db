"""What tests write to the topics of a broker, as the learner and the scorer would."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from schemas.records import Alias, Release, VisitorProfile, encode
from scoring.registry import LIVE
from streams.topics import ALIASES, PROFILES, RELEASES, Cluster

Record = tuple[str, bytes | None, bytes | None]


def new_cluster(bootstrap: str) -> Cluster:
    """Topics that no other test has."""
    return Cluster(bootstrap, prefix=f"test-{uuid.uuid4().hex[:8]}.")


async def write(bootstrap: str, records: Sequence[Record]) -> None:
    """Write records (full topic name, key, value), each durable before the next."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for topic, key, value in records:
            await producer.send_and_wait(topic, value, key)
    finally:
        await producer.stop()


def released(cluster: Cluster, release: Release) -> list[Record]:
    """A release, and the alias that makes it live."""
    return [
        (cluster.topic(RELEASES), f"{release.model}/{release.version}".encode(), encode(release)),
        live(cluster, release.model, release.version),
    ]


def live(cluster: Cluster, model: str, version: int) -> Record:
    """The alias that makes a version live."""
    alias = Alias(model=model, alias=LIVE, version=version, changed_at=0)
    return cluster.topic(ALIASES), f"{model}/{LIVE}".encode(), encode(alias)


def remembered(cluster: Cluster, profile: VisitorProfile) -> Record:
    """A visitor's profile."""
    return cluster.topic(PROFILES), f"{profile.model}/{profile.visitor}".encode(), encode(profile)


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition; fail if it does not come true."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # what is waited for is another process
            await asyncio.sleep(0.02)

"""The collector reads what is in Kafka, whatever wrote it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from schemas.records import Alias, encode
from streams.demo.collector import Collector, read_event
from streams.demo.measurements import Measurements
from streams.replay import replay
from streams.sender import Sender
from streams.supervisor import guarded
from streams.topics import ALIASES, DEAD_LETTERS, EXAMPLES, RELEASES, SCORES, Cluster, create_topics
from tests.demo.seen import SPEC, example_of, release_of, score_of, view

IDENTITY = {"ECID": [{"id": "v-1", "primary": True}]}


def event(number: int) -> dict[str, object]:
    return view(number) | {"timestamp": f"2026-01-01T00:00:{number:02d}Z", "identityMap": IDENTITY}


@pytest.mark.parametrize(
    "value",
    [None, b"", b"[]", b"{}", b'{"_id": 1, "timestamp": "2026-01-01T00:00:00Z"}', b'{"_id": "1", "timestamp": "soon"}'],
)
def test_what_is_no_event_is_an_event_without_anything(value: bytes | None) -> None:
    """It is counted as sent; that it cannot be read is for the workers to say."""
    assert read_event(value) == ({}, 0)


def test_an_event_in_an_envelope_is_read_from_its_body() -> None:
    """As Adobe's streaming endpoints wrap it."""
    envelope = json.dumps({"header": {}, "body": {"xdmEntity": event(1)}}).encode()

    assert read_event(envelope)[0]["_id"] == "e-1"


def test_every_topic_is_read_from_its_beginning(kafka: str) -> None:
    """Events without ticks, scores, examples with their offsets, releases, the live alias, dead letters."""
    cluster = Cluster(kafka, f"test-{time.time_ns()}.")
    seen = Measurements(SPEC)

    async def write() -> None:
        sender = Sender(cluster.bootstrap)
        await sender.start()
        live = Alias(model="m", alias="live", version=3, changed_at=0)
        headers = [("__connect.errors.exception.message", b"timestamp is missing")]
        for topic, key, value, extra in (
            (SCORES, b"v-1", encode(score_of(1)), []),
            (EXAMPLES, b"m", encode(example_of(1)), []),
            (EXAMPLES, b"m", encode(example_of(2)), []),
            (RELEASES, b"m/3", encode(release_of(3, 1, refused=2)), []),
            (RELEASES, b"m/2", None, []),
            (ALIASES, b"m/live", encode(live), []),
            (DEAD_LETTERS, None, b"{", headers),
        ):
            await (await sender.send(cluster.topic(topic), key, value, headers=extra))
        await sender.stop()

    async def complete() -> None:
        while not (seen.events == 3 and seen.dead_letters and seen.live_version == 3 and len(seen.examples) == 2):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def scene() -> None:
        await create_topics(cluster, partitions=2)
        await replay(cluster, [event(1), event(2), b"{"], rate_per_s=0, closing_ms=60_000)
        await write()
        async with Collector(cluster, seen) as collector:
            await asyncio.wait_for(guarded(complete(), collector.run()), 20)

    asyncio.run(scene())

    assert (seen.applicable, len(seen.scored), len(seen.releases)) == (2, 1, 1)
    assert [closed.offset for closed in seen.examples] == [0, 1]
    assert (seen.releases[0].learned_offset, seen.releases[0].refused) == (1, 2)
    assert abs(seen.examples[0].arrived_ms - time.time() * 1000) < 60_000
    assert seen.dead_letter_reasons == ["timestamp is missing"]

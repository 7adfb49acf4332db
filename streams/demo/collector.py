"""Collector: reads every topic from its beginning and tells the measurements, as any consumer could."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from schemas import records
from schemas.tick import TICK_HEADER
from streams.dead_letters.marks import read_mark
from streams.demo.measurements import Measurements
from streams.topics import ALIASES, DEAD_LETTERS, EVENTS, EXAMPLES, RELEASES, SCORES, Cluster

_MOST_RECORDS: Final = 500  # between two turns of the event loop: the replay runs in the same one
_read_json: Final = msgspec.json.Decoder().decode


class Collector:
    """Reads while its `async with` body runs, once `run` is awaited.

    Args:
        cluster: where the topics are.
        seen: what to tell.
    """

    def __init__(self, cluster: Cluster, seen: Measurements) -> None:
        self._seen = seen
        takes: dict[str, Callable[[ConsumerRecord], None]] = {
            EVENTS: self._take_event,
            SCORES: self._take_score,
            EXAMPLES: self._take_example,
            RELEASES: self._take_release,
            ALIASES: self._take_alias,
            DEAD_LETTERS: self._take_dead_letter,
        }
        self._takes = {cluster.topic(topic): take for topic, take in takes.items()}
        # Without a group: all partitions are read here, nothing is committed, no worker is disturbed.
        self._consumer = AIOKafkaConsumer(
            *self._takes,
            bootstrap_servers=cluster.bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            SchemaUnknown: a worker wrote what the catalog does not hold.
        """
        while True:
            found = await self._consumer.getmany(timeout_ms=200, max_records=_MOST_RECORDS)
            for partition, rows in found.items():
                take = self._takes[partition.topic]
                for row in rows:
                    take(row)
            await asyncio.sleep(0)

    def _take_event(self, row: ConsumerRecord) -> None:
        if any(name == TICK_HEADER for name, _ in row.headers):
            return
        event, time_ms = read_event(row.value)
        self._seen.take_event(event, (row.key or b"").decode(), time_ms)

    def _take_score(self, row: ConsumerRecord) -> None:
        self._seen.take_score(records.decode(records.Score, row.value))

    def _take_example(self, row: ConsumerRecord) -> None:
        self._seen.take_example(records.decode(records.Example, row.value), row.offset, float(row.timestamp))

    def _take_release(self, row: ConsumerRecord) -> None:
        if row.value is not None:  # a compacted topic: without a value the release was deleted
            self._seen.take_release(records.decode(records.Release, row.value), float(row.timestamp))

    def _take_alias(self, row: ConsumerRecord) -> None:
        if row.value is not None:
            self._seen.take_alias(records.decode(records.Alias, row.value))

    def _take_dead_letter(self, row: ConsumerRecord) -> None:
        if read_mark(row) is not None:
            return  # what became of a letter, not a letter
        headers = dict(row.headers)
        message = headers.get("__connect.errors.exception.message", b"without a reason")
        self._seen.take_dead_letter(message.decode(errors="replace"))


def read_event(value: bytes | None) -> tuple[dict[str, Any], int]:
    """Return an event as plain data and its time in milliseconds; nothing and 0 where it cannot be read.

    Such a record counts as sent and as not applicable; the workers put it into `dead-letters`, where it is counted.

    >>> read_event(b'{"_id": "1", "timestamp": "1970-01-01T00:00:01Z"}')
    ({'_id': '1', 'timestamp': '1970-01-01T00:00:01Z'}, 1000)
    >>> read_event(b"{")
    ({}, 0)
    """
    try:
        event = _read_json(value or b"")
        event = event["body"]["xdmEntity"] if "body" in event else event
        time = dt.datetime.fromisoformat(event["timestamp"])
        if not isinstance(event["_id"], str):
            return {}, 0
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return {}, 0
    if time.tzinfo is None:
        time = time.replace(tzinfo=dt.UTC)
    return event, round(time.timestamp() * 1000)

"""Replay: send events to the `events` topic, keyed by visitor, at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError, Poison
from schemas.features import Spec
from schemas.reader import FUTURE_MS, Event, Reader
from schemas.tick import TICK_HEADER, read_tick, tick_headers, tick_value
from streams.sender import Sender
from streams.topics import EVENTS, Cluster, partitions_of, require_topics

_FAR_FUTURE_MS: Final = 32_503_680_000_000  # the year 3000: a producer's key does not depend on the time
# Reads who and when of any event, and no field for a model.
_ANY: Final = Spec(name="any", applies_to=(), features=(), outcome="", within_ms=0, lateness_ms=0, remembers_ms=0)
_encode: Final = msgspec.json.Encoder().encode
_SLICES_PER_S: Final = 50
_LOOK_BACK: Final = 100


def key_of(value: bytes) -> bytes | None:
    """Return the record key of an event: its visitor; None where it names nobody (it will be a dead letter).

    >>> key_of(b'{"_id": "1", "timestamp": "2026-01-01T00:00:00Z", "identityMap": {"ECID": [{"id": "v"}]}}')
    b'v'
    """
    event = _identified(value)
    return None if event is None else event.visitor.encode()


def _identified(value: bytes) -> Event | None:
    try:
        return ANY_EVENT.read(value, _FAR_FUTURE_MS)
    except Poison:
        return None


ANY_EVENT: Final = Reader(_ANY)


async def replay(
    cluster: Cluster,
    events: Iterable[dict[str, Any] | bytes],
    *,
    rate_per_s: float,
    closing_ms: int = 0,
    on_sent: Callable[[int], None] = lambda _: None,
) -> int:
    """Send events in the order given at a steady rate; return how many were sent and acknowledged.

    Args:
        cluster: where `events` is.
        events: XED events, or bytes as they are.
        rate_per_s: events per second; 0 is as fast as they go.
        closing_ms: if not 0, every partition gets a tick this long after the newest event, so that pendings close.
        on_sent: told the number sent so far, some 50 times a second.

    Raises:
        BrokerError: no broker, no topics, or it does not take them.
    """
    await require_topics(cluster)
    sender = Sender(cluster.bootstrap)
    topic = cluster.topic(EVENTS)
    try:
        await sender.start()
        newest_ms, sent = 0, 0
        waiting: list[asyncio.Future[Any]] = []
        async for piece in _paced(events, rate_per_s):
            for event in piece:
                value = event if isinstance(event, bytes) else _encode(event)
                read = _identified(value)
                if read is not None and newest_ms < read.time_ms <= _now_ms() + FUTURE_MS:  # else it is poison
                    newest_ms = read.time_ms
                waiting.append(await sender.send(topic, read.visitor.encode() if read else None, value))
            sent += len(piece)
            on_sent(sent)
            if len(waiting) > 10_000:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
        if closing_ms and newest_ms:
            # Not into the future: a window that is open by the clock as well closes when its time has come.
            await close_windows(sender, topic, min(newest_ms + closing_ms, max(newest_ms, _now_ms())))
    except KafkaError as error:
        raise BrokerError(f"the broker at {cluster.bootstrap} did not take the events: {error!r}") from None
    finally:
        await sender.stop()
    return sent


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def newest_event_ms(cluster: Cluster) -> int:
    """Return the event time that `events` has reached, ticks included; 0 where it is empty.

    Raises:
        BrokerError: no broker, or no topics.
    """
    return max((await newest_event_times(cluster)).values())


async def newest_event_times(cluster: Cluster) -> dict[int, int]:
    """Return the event time that each partition of `events` has reached, ticks included; 0 where it is empty.

    Raises:
        BrokerError: no broker, or no topics.
    """
    partitions = await partitions_of(cluster, EVENTS)
    consumer = AIOKafkaConsumer(bootstrap_servers=cluster.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=20)
    await consumer.start()
    try:
        consumer.assign(partitions)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        newest_ms = dict.fromkeys([tp.partition for tp in partitions], 0)
        for tp in partitions:
            # The last few: between records that are no events there may be one that is.
            consumer.seek(tp, max(first[tp], end[tp] - _LOOK_BACK))
            while await consumer.position(tp) < end[tp]:
                for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
                    newest_ms[tp.partition] = max(newest_ms[tp.partition], _time_of(record))
        return newest_ms
    finally:
        await consumer.stop()


def _time_of(record: ConsumerRecord) -> int:
    try:
        if any(name == TICK_HEADER for name, _ in record.headers):
            return min(read_tick(record.value), record.timestamp + FUTURE_MS)
        return ANY_EVENT.read(record.value, record.timestamp).time_ms
    except Poison:
        return 0


async def close_windows(sender: Sender, topic: str, time_ms: int) -> None:
    """Append a tick to every partition of an events topic."""
    for partition in await sender.partitions(topic):
        await (await sender.send(topic, None, tick_value(time_ms), partition=partition, headers=tick_headers()))


async def _paced(events: Iterable[Any], rate_per_s: float) -> AsyncIterator[list[Any]]:
    started = time.monotonic()
    taken = 0
    piece: list[Any] = []
    size = max(1, int(rate_per_s / _SLICES_PER_S)) if rate_per_s else 1000
    for event in events:
        piece.append(event)
        if len(piece) >= size:
            taken += len(piece)
            yield piece
            piece = []
            # Against the start, not against the last piece: a late piece is caught up, so the mean rate holds.
            ahead_s = started + taken / rate_per_s - time.monotonic() if rate_per_s else 0.0
            await asyncio.sleep(max(0.0, ahead_s))
    if piece:
        yield piece

"""Consume: the records of a topic as JSON, for people and for pipes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError
from schemas.records import ON_TOPIC, as_fields, decode
from streams.dead_letters import read_dead_letter
from streams.dead_letters.marks import read_mark
from streams.topics import DEAD_LETTERS, MIB, Cluster, partitions_of

_SHOWN_BYTES: Final = 64


async def last(cluster: Cluster, topic: str, count: int) -> list[str]:
    """Return the newest records of a topic of the table as JSON lines, oldest first.

    Raises:
        BrokerError: no broker answers, or it does not have the topic.
    """
    partitions = await partitions_of(cluster, topic)
    newest: list[tuple[int, str]] = []
    consumer = _consumer(cluster)
    await consumer.start()
    try:
        consumer.assign(partitions)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for tp in partitions:
            consumer.seek(tp, max(first[tp], end[tp] - count))
            while await consumer.position(tp) < end[tp]:
                for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
                    if record.value is not None or topic == DEAD_LETTERS:
                        newest.append((record.timestamp, as_json(topic, record)))
    finally:
        await consumer.stop()
    return [line for _, line in sorted(newest, key=lambda each: each[0])[-count:]]


async def consume(cluster: Cluster, topic: str, *, limit: int = 0, follow: bool = False) -> AsyncIterator[str]:
    """Yield the records of a topic of the table as JSON lines, oldest first within a partition.

    Args:
        cluster: where the topic is.
        topic: its name in the table.
        limit: at most so many; 0 is all.
        follow: wait for more at the end instead of stopping there.

    Raises:
        BrokerError: no broker answers, or it does not have the topic.
    """
    partitions = await partitions_of(cluster, topic)
    consumer = _consumer(cluster)
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        shown = 0
        while follow or not await _reached(consumer, ends):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if record.value is None and topic != DEAD_LETTERS:
                        continue  # a tombstone: what it buries is gone
                    yield as_json(topic, record)
                    shown += 1
                    if shown == limit:
                        return
    except KafkaError as error:
        raise BrokerError(f"cannot read {cluster.topic(topic)} at {cluster.bootstrap}: {error!r}") from None
    finally:
        await consumer.stop()


def _consumer(cluster: Cluster) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap,
        enable_auto_commit=False,
        max_partition_fetch_bytes=17 * MIB,
        fetch_max_wait_ms=100,
    )


def as_json(topic: str, record: ConsumerRecord) -> str:
    """Return one line of JSON for a record; bytes are shown as text where they are text, else as their length."""
    if topic == DEAD_LETTERS and (mark := read_mark(record)) is not None:
        shown: Any = {"mark": msgspec.to_builtins(mark)}
    elif topic == DEAD_LETTERS:
        shown = as_fields(read_dead_letter(record.key, record.value, record.headers))
    elif topic in ON_TOPIC:
        shown = as_fields(decode(ON_TOPIC[topic], record.value))
    else:
        shown = {"partition": record.partition, "offset": record.offset, "key": record.key, "value": record.value}
    return msgspec.json.encode(readable(shown)).decode()


def readable(value: Any) -> Any:
    """Return plain data without bytes: JSON as what it says, other text as text, the rest as its length and beginning.

    >>> readable({"key": b"v", "value": bytes([255])})
    {'key': 'v', 'value': '1 bytes: ff'}
    """
    if isinstance(value, dict):
        return {key: readable(child) for key, child in value.items()}
    if isinstance(value, bytes):
        try:
            if value[:1] == b"{":
                msgspec.json.decode(value)
                return msgspec.Raw(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # not JSON after all: shown as text
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes: {value[:_SHOWN_BYTES].hex()}"
    return value


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    positions = [await consumer.position(tp) for tp in ends]
    return all(position >= end for position, end in zip(positions, ends.values(), strict=True))

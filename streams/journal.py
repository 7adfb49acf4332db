"""Journal: the durable state of a partition, in Kafka, beside the offset up to which it holds.

A worker acknowledges its input only after the record that contains the input's effects is durable. Any record is a
correct state for its own `next_offset`, because the state is a function of the log; so the newest one that can be read
is a good one, and a late record of a worker that lost the partition does no harm.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.errors import BrokerError, StateUnreadable
from streams.sender import Sender
from streams.topics import MIB, Cluster

MOST_BYTES: Final = 16 * MIB
_LOOK_BACK: Final = 64
_PATIENCE_S: Final = 60


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    key: str
    epoch: int
    next_offset: int
    sha256: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal record: the state of everything before `next_offset`, by the owner of `epoch`."""

    epoch: int
    next_offset: int
    state: bytes


class Journal:
    """The records of one key in one partition of a journal topic.

    Args:
        cluster: where the topic is.
        sender: writes the records.
        topic: of the table.
        partition: where the records lie; it has the number of the input partition.
        key: whose state it is, `model/partition`.
    """

    def __init__(self, cluster: Cluster, sender: Sender, *, topic: str, partition: int, key: str) -> None:
        self._bootstrap = cluster.bootstrap
        self._sender = sender
        self._topic = cluster.topic(topic)
        self._partition = partition
        self._key = key
        self.epoch = 0

    async def take_over(self) -> Entry | None:
        """Return the newest state, and become its owner under the next epoch; None where there is none yet.

        Raises:
            StateUnreadable: there are records of this key, and none of them can be read.
            BrokerError: they do not come.
        """
        entry = await self.newest()
        if entry is not None:
            self.epoch = entry.epoch + 1
            await self.write(entry.next_offset, entry.state)  # the fence: from here on this epoch is the newest
            await (await self._sender.send(self._topic, self._record_key(entry.epoch), None, partition=self._partition))
        return entry

    async def write(self, next_offset: int, state: bytes) -> None:
        """Make a state durable.

        Raises:
            StateUnreadable: it is too large to be read back; nothing was written.
        """
        digest = hashlib.sha256(state).digest()
        value = msgspec.msgpack.encode(_Envelope(self._key, self.epoch, next_offset, digest, state))
        if len(value) > MOST_BYTES:
            raise StateUnreadable(
                f"the state of {self._key} has {len(value)} bytes, a journal record holds {MOST_BYTES}; give `events` "
                "more partitions, or the model a shorter memory (remembers=, within=)"
            )
        await (await self._sender.send(self._topic, self._record_key(self.epoch), value, partition=self._partition))

    def _record_key(self, epoch: int) -> bytes:
        # With the epoch: compaction keeps the last record of a key, and a late one of a former owner must not be it.
        return f"{self._key}/{epoch}".encode()

    async def newest(self) -> Entry | None:
        """Return the newest state, None where there is none yet.

        Raises:
            StateUnreadable: there are records of this key, and none of them can be read.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            max_partition_fetch_bytes=MOST_BYTES + MIB,
            fetch_max_wait_ms=20,  # what is asked for is there; a fetch at the end must not hold up the one that counts
        )
        await consumer.start()
        try:
            tp = TopicPartition(self._topic, self._partition)
            consumer.assign([tp])
            first = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
            # Backwards in growing steps: the newest states lie at the end, and reading a journal from its beginning
            # would cost minutes after hours of work.
            damaged: list[str] = []
            step = _LOOK_BACK
            while True:
                start = max(first, end - step)
                entries = [_read(record, self._key, damaged) for record in await _range(consumer, tp, start, end)]
                mine = [entry for entry in entries if entry is not None]
                if mine:
                    return max(mine, key=lambda entry: (entry.epoch, entry.next_offset))
                if start == first:
                    break
                step *= 4
        finally:
            await consumer.stop()
        if damaged:
            raise StateUnreadable(f"no journal record of {self._key} can be read: {damaged[-1]}")
        return None


def _read(record: ConsumerRecord, key: str, damaged: list[str]) -> Entry | None:
    """Return a record's entry if it is one of `key`; a damaged one is noted, and an older one serves instead."""
    if record.value is None or record.key is None or record.key.rpartition(b"/")[0] != key.encode():
        return None
    try:
        envelope = msgspec.msgpack.decode(record.value, type=_Envelope)
    except msgspec.DecodeError as error:
        damaged.append(f"offset {record.offset}: {error}")
        return None
    if hashlib.sha256(envelope.state).digest() != envelope.sha256:
        damaged.append(f"offset {record.offset}: the digest does not match")
        return None
    return Entry(envelope.epoch, envelope.next_offset, envelope.state)


async def _range(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    consumer.seek(tp, start)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while await consumer.position(tp) < end:
                records += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
    except TimeoutError:
        raise BrokerError(f"{tp.topic} partition {tp.partition} could not be read within {_PATIENCE_S} s") from None
    return records

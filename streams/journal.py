"""Journal: the durable state of a partition, in Kafka, beside the offset up to which it holds.

A worker acknowledges its input only after the entry that contains the input's effects is durable. An entry holds what
changed since the one before it and, beside that, a slice of a snapshot: the cost grows with what changes, never with
what there is. Once a snapshot's last slice is durable, what is older than the snapshot before it is dropped.

Any chain of entries from its base on is a correct state for its own `next_offset`, because the state is a function of
the log. So where entries are damaged or forged an older state serves, and the input after it is read again; and a late
entry of a worker that lost the partition does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.errors import BrokerError, StateUnreadable
from streams.crash_points import crash_point
from streams.entry import NOTHING, Entries, Entry, EntryId, as_records, record_key
from streams.sender import Sender
from streams.state_key import VARIABLE
from streams.topics import MIB, Cluster

log = logging.getLogger(__name__)

_LOOK_BACK: Final = 64
_PATIENCE_S: Final = 60
_FETCH_BYTES: Final = 32 * MIB


@dataclass(frozen=True, slots=True)
class Change:
    """What goes into one entry.

    Attributes:
        body: bytes that the state's owner can apply.
        begins: whether a snapshot's first slice is in it.
        ends: whether a snapshot's last slice is in it; with `begins` too, it is a state in itself.
    """

    body: bytes
    begins: bool = True
    ends: bool = True


class Journaled(Protocol):
    """A state that a journal keeps."""

    next_offset: int

    def change(self) -> Change:
        """Return what changed since the last call, and the snapshot's next slice."""


class Journal:
    """The entries of one key in one partition of a journal topic.

    Args:
        cluster: where the topic is.
        sender: writes the records.
        topic: of the table.
        partition: where the records lie; it has the number of the input partition.
        key: whose state it is, `model/partition`.
        secret: seals what is written.
    """

    def __init__(  # noqa: PLR0917
        self, cluster: Cluster, sender: Sender, topic: str, partition: int, key: str, secret: bytes
    ) -> None:
        self._bootstrap = cluster.bootstrap
        self._sender = sender
        self._topic = cluster.topic(topic)
        self._partition = partition
        self._key = key
        self._secret = secret
        self._owner = secrets.token_bytes(8)
        self._last = NOTHING
        self._base = 1
        self._base_before = 1
        self._snapshot = 1
        self._there: list[EntryId] = []  # ids that are in the topic, ascending by number
        self._parts: dict[EntryId, int] = {}

    @property
    def epoch(self) -> int:
        """How many owners there have been, this one included."""
        return self._last.epoch

    async def take_over(self) -> list[Entry]:
        """Return the entries of the newest state, first to last, and become its owner; empty where there is none yet.

        Raises:
            StateUnreadable: there are entries of this key, and no state can be made of them.
            BrokerError: they do not come.
        """
        async with _consumer(self._bootstrap) as consumer:
            while True:
                entries, end = await self._read_back(consumer)
                chain = self._trusted(entries)
                # 1. What was there is read. 2. The fence is written. 3. It is read back: what came in between, of a
                # worker that does not know yet that it has lost the partition, or of another that takes over too,
                # belongs before the fence, so it is read as well, and a higher fence written.
                epoch, number = entries.last
                before = chain[-1].id if chain else NOTHING
                self._last = EntryId(epoch + 1, number + 1)
                self._base = self._base_before = chain[-1].base if chain else number + 1
                next_offset = chain[-1].next_offset if chain else 0
                crash_point("journal.before_fence")
                await self._write(Entry(self._last, self._owner, before, self._base, next_offset, b""))
                crash_point("journal.after_fence")
                since = Entries(self._key, self._secret)
                since.add(await self._until_own(consumer, end))
                if not since.foreign(self._owner):
                    break
            self._parts = entries.parts | since.parts
            self._there = sorted(self._parts, key=lambda entry: entry.number)
            if entries.damaged:
                log.warning(
                    "journal_damaged key=%s entries=%d next_offset=%d: an older state serves, what follows it is read "
                    "again; %s",
                    self._key,
                    len(entries.damaged),
                    next_offset,
                    next(iter(entries.damaged.values())),
                )
            return [entry for entry in chain if not entry.is_fence]

    async def append(self, next_offset: int, change: Change) -> None:
        """Make a change durable; return once it is.

        Raises:
            KafkaError: the broker does not acknowledge it.
        """
        entry = EntryId(self._last.epoch, self._last.number + 1)
        if change.begins:
            self._snapshot = entry.number
        if change.ends:
            self._base_before, self._base = self._base, self._snapshot
        await self._write(Entry(entry, self._owner, self._last, self._base, next_offset, change.body))
        self._last = entry
        if change.ends:
            await self._drop()

    async def newest(self) -> list[Entry]:
        """Return the entries of the newest state, first to last, and own nothing; empty where there is none yet.

        Raises:
            StateUnreadable, BrokerError: as `take_over`.
        """
        async with _consumer(self._bootstrap) as consumer:
            entries, _ = await self._read_back(consumer)
        return [entry for entry in self._trusted(entries) if not entry.is_fence]

    async def _write(self, entry: Entry) -> None:
        records = as_records(entry, self._key, self._secret)
        self._there.append(entry.id)
        self._parts[entry.id] = len(records) - 1
        for part in await asyncio.gather(*[self._send(key, value) for key, value in records[:-1]]):
            await part
            crash_point("journal.after_part")
        # The record that makes them an entry goes last: without it the parts mean nothing.
        await (await self._send(*records[-1]))

    async def _send(self, key: bytes, value: bytes | None) -> asyncio.Future[object]:
        return await self._sender.send(self._topic, key, value, partition=self._partition)

    async def _drop(self) -> None:
        """Let go of what no reader needs: all before the last snapshot but one, which serves if the last is damaged."""
        crash_point("journal.before_drop")
        tombstones: list[tuple[bytes, None]] = []
        while self._there and self._there[0].number < self._base_before:
            entry = self._there.pop(0)
            name = record_key(self._key, entry)
            tombstones += [(name + b"/%d" % place, None) for place in range(self._parts.pop(entry))]
            tombstones.append((name, None))
        await asyncio.gather(*await self._sender.send_chunk(self._topic, self._partition, tombstones))
        crash_point("journal.after_drop")

    def _trusted(self, entries: Entries) -> list[Entry]:
        chain = entries.newest(all_read=True)
        if not chain and entries.damaged:
            raise StateUnreadable(
                f"no state of {self._key} can be made of its journal: {next(iter(entries.damaged.values()))}. If it "
                f"was sealed with another key, set ${VARIABLE} to the one that its workers had; if it is lost, give "
                "the model a new name, and it starts afresh"
            )
        return chain or []

    async def _read_back(self, consumer: AIOKafkaConsumer) -> tuple[Entries, int]:
        """Return what the newest state needs, at least, and the offset up to which the topic was read."""
        tp = TopicPartition(self._topic, self._partition)
        first, end = await _bounds(consumer, tp)
        entries = Entries(self._key, self._secret)
        # Backwards in growing steps: the newest entries lie at the end, and reading a journal from its beginning would
        # cost minutes after hours of work.
        step, until = _LOOK_BACK, end
        while True:
            start = max(first, end - step)
            entries.add(await _range(consumer, tp, start, until))
            if start == first or entries.newest(all_read=False) is not None:
                return entries, end
            step, until = step * 4, start

    async def _until_own(self, consumer: AIOKafkaConsumer, start: int) -> list[ConsumerRecord]:
        """Return what stands from `start` on, up to the fence just written."""
        tp = TopicPartition(self._topic, self._partition)
        _, end = await _bounds(consumer, tp)
        records = await _range(consumer, tp, start, end)
        own = record_key(self._key, self._last)
        mine = [place for place, record in enumerate(records) if record.key == own]
        if not mine:
            raise BrokerError(f"{tp.topic} partition {tp.partition} lost a record that the broker had acknowledged")
        return records[: mine[0] + 1]


@contextlib.asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=20,  # what is asked for is there; a fetch at the end must not hold up the one that counts
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _bounds(consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int]:
    consumer.assign([tp])
    return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]


async def _range(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> list[ConsumerRecord]:
    """Return the records of a range of offsets, `end` not included.

    Raises:
        BrokerError: none has come for so long that none will.
    """
    records: list[ConsumerRecord] = []
    consumer.seek(tp, start)
    came_at_s = time.monotonic()
    while await consumer.position(tp) < end:
        if came := (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
            records += came
            came_at_s = time.monotonic()
        elif time.monotonic() - came_at_s > _PATIENCE_S:
            raise BrokerError(f"{tp.topic} partition {tp.partition} could not be read within {_PATIENCE_S} s")
    return [record for record in records if record.offset < end]


def bodies(entries: Sequence[Entry]) -> list[bytes]:
    """Return what the entries of a chain say, first to last."""
    return [entry.body for entry in entries]

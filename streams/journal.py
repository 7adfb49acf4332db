"""Journal: the durable state of a partition, in Kafka, beside the offset up to which it holds.

A worker acknowledges its input only after the entry that contains the input's effects is durable. An entry holds what
changed since the one before it and, beside that, a slice of a snapshot: the cost grows with what changes, never with
what there is. Once a snapshot's last slice is durable, what is older than the snapshot before it is dropped.
An entry that is too large for Kafka has its body in an object store, and is an entry once its record is in Kafka.

Any chain of entries from its base on is a correct state for its own `next_offset`, because the state is a function of
the log. So where entries are damaged or forged an older state serves, and the input after it is read again; and a late
entry of a worker that lost the partition does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.errors import BrokerError, StateUnreadable, StoreError
from streams.crash_points import crash_point
from streams.entry import INLINE_BYTES, NOTHING, Entries, Entry, EntryId, as_records, record_key
from streams.follow import stop_consumer
from streams.object_store import ObjectStore, open_store
from streams.sender import Sender
from streams.shelf import Shelf
from streams.state_key import VARIABLE
from streams.topics import MIB, Cluster

log = logging.getLogger(__name__)

_LOOK_BACK: Final = 64
DROP_TOGETHER: Final = int(os.environ.get("FRESHET_JOURNAL_DROP_TOGETHER", "32"))
"""So many entries that no reader needs are dropped at a time."""
_PARTS_TOGETHER: Final = 16
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
        store: where bodies lie that are too large for Kafka; without one, the environment's.

    Raises:
        StoreError: the environment names no object store.
    """

    def __init__(  # noqa: PLR0917
        self,
        cluster: Cluster,
        sender: Sender,
        topic: str,
        partition: int,
        key: str,
        secret: bytes,
        store: ObjectStore | None = None,
    ) -> None:
        self._cluster = cluster
        self._sender = sender
        self._topic = cluster.topic(topic)
        self._partition = partition
        self._key = key
        self._shelf = Shelf(store or open_store(), self._topic, key)
        self._secret = secret
        self._owner = secrets.token_bytes(8)
        self._last = NOTHING
        self._base = 1
        self._base_before = 1
        self._snapshot = 1
        self._there: list[EntryId] = []  # ids that are in the topic, ascending by number
        self._parts: dict[EntryId, int] = {}
        self._own_through = 0  # no higher fence stands before this offset
        self._objects: dict[str, EntryId] = {}  # that are in the store, by name

    @property
    def epoch(self) -> int:
        """How many owners there have been, this one included."""
        return self._last.epoch

    async def take_over(self) -> list[Entry]:
        """Return the entries of the newest state, first to last, and become its owner; empty where there is none yet.

        Raises:
            StateUnreadable: there are entries of this key, and no state can be made of them.
            BrokerError: they do not come.
            StoreError: the object store does not answer, and a body lies there.
        """
        await self._shelf.open(self._cluster)
        async with _consumer(self._cluster.bootstrap) as consumer:
            while True:
                entries, end = await self._read_back(consumer)
                chain = await self._trusted(entries)
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
                since = Entries(self._key, self._secret, self._shelf.get)
                since.add(await self._until_own(consumer, end))
                if not since.foreign(self._owner):
                    break
            self._own_through = end
            self._parts = entries.parts | since.parts
            self._there = sorted(self._parts, key=lambda entry: entry.number)
            await self._sweep(chain)
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
            StoreError: nor does the object store, to which it has to go.
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
            StateUnreadable, BrokerError, StoreError: as `take_over`.
        """
        await self._shelf.open(self._cluster)
        async with _consumer(self._cluster.bootstrap) as consumer:
            entries, _ = await self._read_back(consumer)
        return [entry for entry in await self._trusted(entries) if not entry.is_fence]

    async def _write(self, entry: Entry) -> None:
        stored = await self._put(entry) if len(entry.body) > INLINE_BYTES else b""
        records = as_records(entry, self._key, self._secret, stored)
        self._there.append(entry.id)
        self._parts[entry.id] = len(records) - 1
        for part in await asyncio.gather(*[self._send(key, value) for key, value in records[:-1]]):
            await part
            crash_point("journal.after_part")
        # The record that makes them an entry goes last: without it the parts mean nothing.
        await (await self._send(*records[-1]))

    async def _put(self, entry: Entry) -> bytes:
        """Make a body durable in the object store, before the record that names it; return its SHA-256."""
        digest = (await asyncio.to_thread(hashlib.sha256, entry.body)).digest()
        self._objects[self._shelf.name(entry.id, digest)] = entry.id  # whether or not the next line comes to its end
        await asyncio.to_thread(self._shelf.put, entry.id, digest, entry.body)
        crash_point("journal.after_object")
        return digest

    async def _send(self, key: bytes, value: bytes | None) -> asyncio.Future[object]:
        return await self._sender.send(self._topic, key, value, partition=self._partition)

    async def _drop(self) -> None:
        """Let go of what no reader needs: all before the last snapshot but one, which serves if the last is damaged.

        Many together, since before that it is asked whether somebody else has taken over: a worker that was frozen and
        does not know it yet must not take away what its successor began with.
        """
        gone = [entry for entry in self._there if entry.number < self._base_before]
        few = len(gone) < DROP_TOGETHER and sum(self._parts[entry] for entry in gone) < _PARTS_TOGETHER
        if few or await self._is_superseded():
            return
        crash_point("journal.before_drop")
        tombstones: list[tuple[bytes, None]] = []
        for entry in gone:
            name = record_key(self._key, entry)
            tombstones += [(name + b"/%d" % place, None) for place in range(self._parts.pop(entry))]
            tombstones.append((name, None))
        self._there = self._there[len(gone) :]
        await asyncio.gather(*await self._sender.send_chunk(self._topic, self._partition, tombstones))
        # Only now: while a record names an object, the object is there.
        await self._delete([name for name, entry in self._objects.items() if entry.number < self._base_before])
        crash_point("journal.after_drop")

    async def _is_superseded(self) -> bool:
        """Return whether a fence of a higher epoch has been written since the last look."""
        async with _consumer(self._cluster.bootstrap) as consumer:
            tp = TopicPartition(self._topic, self._partition)
            _, end = await _bounds(consumer, tp)
            since = Entries(self._key, self._secret, self._shelf.get)
            since.add(await _range(consumer, tp, min(self._own_through, end), end))
        if since.last.epoch > self.epoch:
            return True
        self._own_through = end
        return False

    async def _sweep(self, chain: Sequence[Entry]) -> None:
        """Delete the objects of writers that died before they wrote the record.

        Those of a higher epoch are a later owner's, and live. Those with a number below the chain's may belong to
        entries that were not read; they go with the first drop, as such entries do.
        """
        try:
            found = await asyncio.to_thread(self._shelf.objects)
        except StoreError as error:
            log.warning(
                "objects_not_listed key=%s: what nobody needs stays until the next owner comes; %s", self._key, error
            )
            return
        self._objects = {name: entry for name, entry in found.items() if entry.epoch < self._last.epoch}
        since = self._base if chain else 0
        await self._delete(
            [name for name, entry in self._objects.items() if entry.number > since and entry not in self._parts]
        )

    async def _delete(self, names: list[str]) -> None:
        if not names:
            return
        try:
            await asyncio.to_thread(self._shelf.delete, names)
        except StoreError as error:
            # It costs room and nothing else; they stay on the list, so the next drop tries again.
            log.warning("objects_not_deleted key=%s count=%d: %s", self._key, len(names), error)
            return
        for name in names:
            del self._objects[name]

    async def _trusted(self, entries: Entries) -> list[Entry]:
        chain = await asyncio.to_thread(entries.newest, all_read=True)
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
        entries = Entries(self._key, self._secret, self._shelf.get)
        # Backwards in growing steps: the newest entries lie at the end, and reading a journal from its beginning would
        # cost minutes after hours of work.
        step, until = _LOOK_BACK, end
        while True:
            start = max(first, end - step)
            entries.add(await _range(consumer, tp, start, until))
            if start == first or await asyncio.to_thread(entries.newest, all_read=False) is not None:
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
        await stop_consumer(consumer)


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

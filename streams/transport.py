"""Transport: Faust, delivering one event per contiguous chunk of a partition.

Stock Faust makes four asyncio tasks per message and loses commits at offset gaps and at rebalances. Here an agent gets
the list of a chunk's records as one event and acknowledges them as one. This is the only file that touches Faust's
internals (0.15.3, pinned); `tests/streams/test_transport.py` holds what it relies on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import faust
from aiokafka import ConsumerRecord, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

CHUNK_RECORDS: Final = 500
_REVOKE_TIMEOUT_S: Final = 10.0
# How long a broker may keep a fetch that finds nothing. While a partition's records wait to be handled, aiokafka asks
# for the other partitions only, and for nothing more until that is answered: with Faust's 1,500 ms a partition with
# much to read stands still whenever the others are quiet.
_FETCH_WAIT_MS: Final = 100


class ChunkMessage(ConsumerMessage):
    """A contiguous run of a partition's records; acknowledged as a whole.

    Attributes:
        start, stop: the offsets it answers for, `stop` not included. Offsets in it that hold no record (transaction
            markers, compacted records) are answered for as well, so a gap never holds up a commit.
        rewinds: how often its partition had been rewound when it was delivered.
    """

    acked: bool
    start: int
    stop: int
    rewinds: int

    def on_final_ack(self, consumer: Any) -> bool:
        """Mark the chunk as done; the next commit covers it if everything before it is done too."""
        self.acked = True
        consumer._unacked_messages.discard(self)
        notify(consumer._waiting_for_ack)
        return True


class _ChunkSchema(faust.Schema):
    """Decodes nothing: an event's value is the list of its records."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        async def decode(message: ChunkMessage, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class _FetchingThread(driver.AIOKafkaConsumerThread):
    """Faust's thread with the Kafka client, whose fetches are short."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS  # Faust has no setting for it; read when the client starts
        return consumer


class ChunkConsumer(driver.Consumer):
    """Delivers chunks, commits what is done from the front, and before a revocation too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._delivered: defaultdict[TP, deque[ChunkMessage]] = defaultdict(deque)
        self._committable: dict[TP, int] = {}
        self._rewind_to: dict[TP, int] = {}
        self.rewinds: defaultdict[TP, int] = defaultdict(int)

    def _new_consumer_thread(self) -> _FetchingThread:
        return _FetchingThread(self, loop=self.loop, beacon=self.beacon)

    def rewind(self, tp: TP, offset: int) -> None:
        """Have a partition read again from `offset` on; what was delivered of it is not current any more."""
        self._rewind_to[tp] = offset

    def in_flight(self, tp: TP) -> int:
        """Return how many records of a partition were fetched and not handled yet."""
        return sum(len(chunk.value) for chunk in self._delivered[tp] if chunk.value is not None and not chunk.acked)

    def drained(self, tp: TP, end: int) -> bool:
        """Return whether all up to `end` was fetched and handled, offsets that hold no record among it."""
        assigned = self._thread._ensure_consumer()._subscription.subscription.assignment
        state = assigned and assigned.state_value(TopicPartition(tp.topic, tp.partition))
        return bool(state and (state._position or 0) >= end) and self.in_flight(tp) == 0

    async def bounds(self, tp: TP) -> tuple[int | None, int]:
        """Return the offset that the group has committed of a partition, None before the first, and the earliest."""
        thread = self._thread
        committed = await thread.call_thread(thread._ensure_consumer().committed, tp)
        return committed, (await thread.earliest_offsets(tp))[tp]

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the owner make its state durable and commit, while the partitions are still ours."""
        # Faust drops acknowledged but uncommitted offsets before it tells anybody: after this call it is too late.
        try:
            async with asyncio.timeout(_REVOKE_TIMEOUT_S):
                await self.app.before_revoke(revoked)
                await self.commit()
        except TimeoutError:
            self.log.warning("state not flushed within %s s before the rebalance: replayed after it", _REVOKE_TIMEOUT_S)
        for tp in revoked:
            self._delivered.pop(tp, None)
            self._committable.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Start again from what is committed; what was delivered before will be delivered again."""
        self._delivered.clear()
        self._committable.clear()
        await super().perform_seek()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in list(self._delivered) if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        # Only from the front: a chunk that is done behind one that is not must not carry the commit past it.
        waiting = self._delivered[tp]
        while waiting and waiting[0].acked:
            self._committable[tp] = waiting.popleft().stop
        return self._committable.get(tp)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                records, active = await self._wait_next_records(timeout=1.0)
                await asyncio.sleep(0)  # getmany may answer at once, for ever
                for tp in list(self._rewind_to):
                    records.pop(tp, None)  # fetched from where it was before
                    await self._go_back(tp, self._rewind_to.pop(tp))
                if not records or self._stopped.is_set() or fetcher._stopped.is_set():
                    continue
                if not self.flow_active:
                    await self.perform_seek()  # a rebalance came between; these records will be fetched again
                    continue
                for tp, of_partition in records.items():
                    if active is None or tp in active:
                        await self._deliver(tp, of_partition)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _go_back(self, tp: TP, offset: int) -> None:
        # Here and nowhere else: nobody but this task fetches, so no fetch is under way.
        if tp in self.assignment():
            await self.seek_wait({tp: offset})
            self._read_offset[tp] = offset
            self._delivered[tp].clear()
            self.rewinds[tp] += 1

    async def _deliver(self, tp: TP, records: list[ConsumerRecord]) -> None:
        generation = self.app.consumer_generation_id
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        following = self._read_offset[tp]
        if following is not None and records[0].offset < following:
            records = [record for record in records if record.offset >= following]
        for at in range(0, len(records), CHUNK_RECORDS):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            chunk = records[at : at + CHUNK_RECORDS]
            message = _chunk_message(tp, chunk, self._read_offset[tp], generation)
            message.rewinds = self.rewinds[tp]
            self._delivered[tp].append(message)
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
            # Faust keeps the last offset read here; the next one to read serves its comparisons too.
            self._read_offset[tp] = message.stop


def _chunk_message(tp: TP, chunk: list[ConsumerRecord], following: int | None, generation: int) -> ChunkMessage:
    last = chunk[-1]
    message = ChunkMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp / 1000.0,
        last.timestamp_type,
        None,
        None,
        chunk,
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )
    message.start = chunk[0].offset if following is None else min(following, chunk[0].offset)
    message.stop = last.offset + 1
    return message


class _ChunkTransport(driver.Transport):
    Consumer = ChunkConsumer


class ChunkApp(faust.App):
    """A Faust app whose agents get chunks.

    `before_revoke` is awaited while revoked partitions are still ours; a worker sets it to make its state durable.
    """

    before_revoke: Callable[[set[TP]], Awaitable[None]]

    def _new_transport(self) -> Any:
        return _ChunkTransport(self.conf.broker_consumer, self)


def chunk_topic(app: ChunkApp, name: str) -> Any:
    """Return a topic whose events are chunks: `event.value` is a list of `ConsumerRecord`."""
    return app.topic(name, schema=_ChunkSchema())


def current(app: ChunkApp, message: ChunkMessage) -> bool:
    """Return whether a chunk was delivered since the last rebalance or rewind; older ones are delivered again."""
    return bool(
        message.generation_id == app.consumer_generation_id and message.rewinds == app.consumer.rewinds[message.tp]
    )

"""Sender: what a worker writes, a chunk at a time.

One record batch per (chunk, topic, partition) instead of one send per record: a tenth of the CPU. Idempotent and
acknowledged by all replicas; nothing counts as sent before its future is done.

While the broker is away the sender waits, however long that takes: what it was given is sent once the broker is back,
in order and once. Who must not wait for ever watches `acknowledged`, see `streams/watchdog.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.partitioner import DefaultPartitioner

from streams.topics import MIB

Header = tuple[str, bytes]
Record = tuple[bytes | None, bytes | None]
Stamped = tuple[bytes | None, bytes | None, int | None, list[Header]]
_BATCH_BYTES: Final = MIB // 2
_LARGEST_BYTES: Final = 17 * MIB
# After it a request counts as lost, its connection is closed, and it is sent again.
_REQUEST_TIMEOUT_MS: Final = 30_000
# aiokafka drops a batch that is older while a partition has no leader, which is what a broker says for a moment after
# its start; and with the batch its sequence numbers, so that none after it would be taken.
_FOR_EVER_MS: Final = 7 * 86_400_000
_partition_of: Final = DefaultPartitioner()


class Sender:
    """A producer for chunks.

    Attributes:
        acknowledged: how many batches and single records the broker has acknowledged.
        waiting: how many it has not acknowledged yet.

    Raises (from every method that sends):
        KafkaError: the broker refuses.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None
        self.acknowledged = 0
        self.waiting = 0

    async def start(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_LARGEST_BYTES,
            request_timeout_ms=_FOR_EVER_MS,
            retry_backoff_ms=500,
        )
        # One setting of aiokafka's is both: how long a batch may wait, and how long a request may go unanswered.
        producer.client._request_timeout_ms = _REQUEST_TIMEOUT_MS
        self._producer = producer
        await producer.start()

    async def stop(self) -> None:
        """Send what is waiting and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def abandon(self) -> None:
        """Disconnect at once: what is waiting is not sent, and its futures say so."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            producer._message_accumulator.fail_all(ProducerClosed())
            await producer.stop()

    async def send_chunk(self, topic: str, partition: int, records: Iterable[Record]) -> list[asyncio.Future[Any]]:
        """Queue records for one partition, in order; return the futures that say when they are durable."""
        return await self.send_stamped(topic, partition, ((key, value, None, []) for key, value in records))

    async def send_stamped(self, topic: str, partition: int, records: Iterable[Stamped]) -> list[asyncio.Future[Any]]:
        """Queue records with a time, in milliseconds, and headers for one partition; else as `send_chunk`."""
        producer = self._running()
        sent: list[asyncio.Future[Any]] = []
        batch = producer.create_batch()
        for key, value, timestamp_ms, headers in records:
            if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is not None:
                continue
            if batch.record_count():
                sent.append(self._counted(await producer.send_batch(batch, topic, partition=partition)))
                batch = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
                # Larger than a batch: it goes alone.
                alone = await producer.send(
                    topic, value, key, partition=partition, timestamp_ms=timestamp_ms, headers=headers
                )
                sent.append(self._counted(alone))
                batch = producer.create_batch()
        if batch.record_count():
            sent.append(self._counted(await producer.send_batch(batch, topic, partition=partition)))
        return sent

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Queue one record, of now unless told; return the future that says when and where it is durable."""
        if key is None and value is None:
            return await self._send_nothing(topic, partition, headers, timestamp_ms)
        sent = await self._running().send(
            topic, value, key, partition=partition, headers=list(headers), timestamp_ms=timestamp_ms
        )
        return self._counted(sent)

    async def _send_nothing(
        self, topic: str, partition: int | None, headers: Sequence[Header], timestamp_ms: int | None
    ) -> asyncio.Future[Any]:
        # aiokafka's `send` asserts that there is a key or a value; Kafka does not, and other producers write such
        # records: their dead letters must not stop a worker.
        producer = self._running()
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=timestamp_ms, headers=list(headers))
        home = (await self.partitions(topic))[0] if partition is None else partition
        return self._counted(await producer.send_batch(batch, topic, partition=home))

    async def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic, ascending."""
        return sorted(await self._running().partitions_for(topic))

    async def partition_of(self, topic: str, key: bytes) -> int:
        """Return the partition in which records of a key lie, as Java's default partitioner has it (murmur2)."""
        return home_of(key, await self.partitions(topic))

    def _counted(self, sent: asyncio.Future[Any]) -> asyncio.Future[Any]:
        self.waiting += 1
        sent.add_done_callback(self._done)
        return sent

    def _done(self, sent: asyncio.Future[Any]) -> None:
        self.waiting -= 1
        self.acknowledged += not sent.cancelled() and sent.exception() is None

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the sender has not been started")
        return self._producer


def home_of(key: bytes, partitions: Sequence[int]) -> int:
    """Return in which of a topic's partitions records of a key lie.

    >>> home_of(b"purchases", range(4))
    3
    """
    return int(_partition_of(key, list(partitions), list(partitions)))

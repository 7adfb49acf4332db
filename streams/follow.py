"""Follower: reads whole topics from their beginning and goes on reading, in no consumer group.

What it is for is the latest: releases, aliases, profiles. Each record there says all there is to say of its key, so
whoever reads them all, in order, knows what every other reader knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 5.0
CHECK_EVERY_S: Final = 5.0
METADATA_AGE_S: Final = 60.0
PATIENCE_S: Final = 10.0
_POLL_MS: Final = 250
# Whoever shares the event loop waits for no more than this at a time: 100 profiles take about 0.3 ms of an edge.
_RECORDS_AT_ONCE: Final = 100


class _NotThere(Exception):
    """A topic or a partition to follow is not there yet, or not among those that are followed."""


class Follower:
    """Hands every record of some topics to `take`, oldest first within a partition, then every new one as it comes.

    Kafka may be away, at the start or later: the follower tries again, for ever, and goes on where it was. It reads
    topics that do not exist yet once they do, without creating them.

    Args:
        bootstrap: the broker, as `host:port`.
        topics: their full names.
        take: called with each record in the event loop; must be quick. A record that it raises on is logged with its
            topic, partition and offset, counted and passed over: no later record depends on it, and a damaged one
            must not keep an edge from the releases that follow.

    Attributes:
        caught_up: set once everything that was in the topics at the start has been taken; stays set.
        skipped: how many records `take` raised on.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], take: Callable[[ConsumerRecord], None]) -> None:
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._take = take
        self._next: dict[TopicPartition, int] = {}
        self._until: dict[TopicPartition, int] = {}
        self._seen_at: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._interrupted = False
        self.caught_up = asyncio.Event()
        self.skipped = 0

    async def start(self) -> None:
        """Begin to follow; returns at once, whether or not Kafka is there."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name=f"follow {' '.join(self._topics)}")

    async def stop(self) -> None:
        """End; nothing is taken after this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            read_before = sum(self._next.values())
            try:
                await self._read()
            except (KafkaError, _NotThere, OSError) as error:  # a TimeoutError is an OSError
                self._say_interrupted(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not `stop`: aiokafka cancels tasks of its own and lets that out where they are awaited.
                self._say_interrupted(KafkaError("a request was given up"))
            except Exception:
                # Not expected, and no reason to stop either: a follower that is silently gone would be worse.
                self._interrupted = True
                log.exception("following_failed topics=%s", self._names)
            if sum(self._next.values()) > read_before:
                retry_s = FIRST_RETRY_S
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    def _say_interrupted(self, error: Exception) -> None:
        if not self._interrupted:  # told once; the next line says that it goes on
            self._interrupted = True
            reason = str(error) or type(error).__name__
            log.warning("following_interrupted topics=%s bootstrap=%s reason=%s", self._names, self._bootstrap, reason)

    @property
    def _names(self) -> str:
        return ",".join(self._topics)

    async def _read(self) -> None:
        """Connect and read until something breaks.

        Raises:
            KafkaError, OSError, TimeoutError: Kafka is away.
            _NotThere: a topic is not there yet.
        """
        partitions = await self._partitions()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            # Also where a topic was deleted and made anew: what is there now is read from its beginning.
            auto_offset_reset="earliest",
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
        )
        try:
            await consumer.start()
            consumer.assign(partitions)
            for partition in partitions:
                if partition in self._next:
                    consumer.seek(partition, self._next[partition])
            if not self.caught_up.is_set():
                self._until = await self._unread(consumer, partitions)
            self._interrupted = False
            self._seen_at = {}
            log.info("following topics=%s bootstrap=%s", self._names, self._bootstrap)
            await self._read_on(consumer, partitions)
        finally:
            await stop_consumer(consumer)

    async def _read_on(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        loop = asyncio.get_running_loop()
        check_at_s = loop.time() + CHECK_EVERY_S
        while True:
            if not self.caught_up.is_set():
                await self._look_whether_caught_up(consumer)
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_AT_ONCE)
            for partition, records in batches.items():
                for record in records:
                    self._take_one(record)
                self._next[partition] = records[-1].offset + 1
            if batches:
                await asyncio.sleep(0)  # getmany returns without a pause while records are waiting
            if loop.time() > check_at_s:
                await self._check(consumer, partitions)
                check_at_s = loop.time() + CHECK_EVERY_S

    def _take_one(self, record: ConsumerRecord) -> None:
        try:
            self._take(record)
        except Exception as error:  # noqa: BLE001  # whatever a damaged record makes a decoder stumble over
            self.skipped += 1
            log.warning(
                "record_skipped topic=%s partition=%d offset=%d error=%r",
                record.topic,
                record.partition,
                record.offset,
                error,
            )

    async def _partitions(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        try:
            await admin.start()
            # All topics, not ours by name: asking for a topic by name may create it, with the broker's defaults.
            there = {row["topic"]: row["partitions"] for row in await admin.describe_topics()}
        finally:
            await admin.close()
        missing = [topic for topic in self._topics if topic not in there]
        if missing:
            raise _NotThere(f"there is no topic {', '.join(missing)} yet")
        return [TopicPartition(topic, row["partition"]) for topic in self._topics for row in there[topic]]

    async def _unread(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        async with asyncio.timeout(PATIENCE_S):
            first = await consumer.beginning_offsets(partitions)
            end = await consumer.end_offsets(partitions)
        return {partition: end[partition] for partition in partitions if end[partition] > first[partition]}

    async def _look_whether_caught_up(self, consumer: AIOKafkaConsumer) -> None:
        # By position, not by the last record: what stands at a topic's end may be no record at all (a transaction's
        # marker, or what compaction left of a batch).
        async with asyncio.timeout(PATIENCE_S):
            for partition, end in list(self._until.items()):
                if await consumer.position(partition) >= end:
                    del self._until[partition]
        if not self._until:
            self.caught_up.set()

    async def _check(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Make sure that this is still reading: aiokafka tells nobody when its fetching has ended.

        Raises:
            KafkaError, TimeoutError: Kafka does not answer, or has records that do not come.
            _NotThere: a topic has more partitions now.
        """
        async with asyncio.timeout(PATIENCE_S):
            end = await consumer.end_offsets(partitions)
            at = {each: await consumer.position(each) for each in partitions}
        for topic in self._topics:
            if len(consumer.partitions_for_topic(topic) or ()) > sum(each.topic == topic for each in partitions):
                raise _NotThere(f"{topic} has more partitions than before")
        stuck = [each for each in partitions if at[each] < end[each] and at[each] == self._seen_at.get(each)]
        self._seen_at = at
        if stuck:
            raise KafkaError(f"records of {stuck[0].topic} are there and do not come")


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, also one that is waiting before it tries again to fetch.

    aiokafka 0.14 cancels that wait, awaits it, and so cancels its own `stop` half-way, with the connections still open.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait([stopping])
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()

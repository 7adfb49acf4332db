"""Letters: what lies in `dead-letters`, each once, and what became of it."""

from __future__ import annotations

import contextlib
import enum
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError
from streams.dead_letters.headers import read_dead_letter
from streams.dead_letters.marks import Mark, read_mark
from streams.topics import DEAD_LETTERS, MIB, Cluster, partitions_of

_POLL_MS: Final = 500
_PATIENCE_POLLS: Final = 60
_TOLD_EVERY: Final = 1000


class Status(enum.StrEnum):
    """What became of a letter."""

    WAITING = "waiting"
    SENDING = "sending"  # a replay began to send it and did not say that it did: the next one looks
    REPLAYED = "replayed"
    FAILED_AGAIN = "failed-again"  # replayed, and put aside again: a newer letter says why


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its value, which may be megabytes.

    Attributes:
        partition, offset: where it lies in `dead-letters`; of several copies the first.
        topic, origin_partition, origin_offset: where its record was read; "" and -1 where it does not say.
        put_aside_ms: when.
        timestamp_ms: of the record that it was.
        stage, error, message: where and why it failed.
        attempt: 1 the first time.
        replay_of: where the record lay before it was replayed and failed again, else "".
        key: the record's.
        value_bytes: how long its value is; None where it had none.
        digest: CRC-32 of key and value.
        copies: how often it was written: a worker that was killed may write it again.
        status: what became of it.
        after: while it is being sent, the offset from which on to look for it.
        sent_to: the offset at which it was put back; -1 if it was not.
    """

    partition: int
    offset: int
    topic: str
    origin_partition: int
    origin_offset: int
    put_aside_ms: int
    timestamp_ms: int
    stage: str
    error: str
    message: str
    attempt: int
    replay_of: str
    key: bytes | None
    value_bytes: int | None
    digest: int
    copies: int = 1
    status: Status = Status.WAITING
    after: int = -1
    sent_to: int = -1

    @property
    def place(self) -> str:
        """Where it lies in `dead-letters`, as `partition/offset`: what `show` is asked for."""
        return f"{self.partition}/{self.offset}"

    @property
    def origin(self) -> str:
        """Where its record was read, as `topic/partition/offset`, which is its identity; "" where it does not say."""
        return f"{self.topic}/{self.origin_partition}/{self.origin_offset}" if self.topic else ""


def letter_of(record: ConsumerRecord) -> Letter:
    """Return the letter in a record of `dead-letters`."""
    said = read_dead_letter(record.key, record.value, record.headers)
    return Letter(
        partition=record.partition,
        offset=record.offset,
        topic=said.topic,
        origin_partition=said.partition,
        origin_offset=said.offset,
        put_aside_ms=record.timestamp,
        # Letters of before it was kept: put aside soon after, so that no event becomes one from the future.
        timestamp_ms=said.timestamp if said.timestamp >= 0 else record.timestamp,
        stage=said.stage,
        error=said.error,
        message=said.message,
        attempt=said.attempt,
        replay_of=said.replay_of,
        key=record.key,
        value_bytes=None if record.value is None else len(record.value),
        digest=zlib.crc32(record.value or b"", zlib.crc32(record.key or b"")),
    )


class Letters:
    """The letters in the records taken so far; records of a partition are taken in their order."""

    def __init__(self) -> None:
        self._letters: dict[str, Letter] = {}  # by place
        self._by_origin: dict[str, str] = {}  # the place of the newest of an origin
        self._copies: dict[str, str] = {}  # of a copy's place, the first's

    def take(self, record: ConsumerRecord) -> None:
        """Take a record of `dead-letters`: a letter, a copy of one, or what became of one."""
        mark = read_mark(record)
        if mark is not None:
            self._mark(mark)
            return
        letter = letter_of(record)
        if letter.origin:
            before = self._letters.get(self._by_origin.get(letter.origin, ""))
            if before is not None and _same(before, letter):
                self._letters[before.place] = replace(before, copies=before.copies + 1)
                self._copies[letter.place] = before.place
                return
            self._by_origin[letter.origin] = letter.place
        self._letters[letter.place] = letter

    def _mark(self, mark: Mark) -> None:
        place = self._by_origin.get(mark.replay_of)
        if place is None:
            return  # its letter has passed the topic's retention
        letter = self._letters[place]
        if mark.offset >= 0:
            self._letters[place] = replace(letter, status=Status.REPLAYED, sent_to=mark.offset)
        elif letter.status is not Status.REPLAYED:
            # The earliest of several: whoever began first may have sent it.
            after = mark.after if letter.after < 0 else min(letter.after, mark.after)
            self._letters[place] = replace(letter, status=Status.SENDING, after=after)

    def all(self) -> list[Letter]:
        """Return every letter once, by the time it was put aside, with what became of it."""
        letters = dict(self._letters)
        for letter in self._letters.values():
            place = self._by_origin.get(letter.replay_of) if letter.replay_of else None
            if place is not None:
                letters[place] = replace(letters[place], status=Status.FAILED_AGAIN, sent_to=letter.origin_offset)
        return sorted(letters.values(), key=lambda each: (each.put_aside_ms, each.partition, each.offset))

    def first_of(self, place: str) -> str:
        """Return the place of the letter that a place holds a copy of; its own where it is none."""
        return self._copies.get(place, place)


def _same(one: Letter, other: Letter) -> bool:
    # A topic that was deleted and made anew counts its offsets from 0 again: the place alone does not tell.
    return (one.digest, one.value_bytes, one.timestamp_ms) == (other.digest, other.value_bytes, other.timestamp_ms)


async def read_letters(cluster: Cluster, on_read: Callable[[int, int], None] = lambda _done, _of: None) -> Letters:
    """Return what lies in `dead-letters`.

    Args:
        cluster: where the topic is.
        on_read: told how many records of how many have been read, now and then.

    Raises:
        BrokerError: no broker answers, or it does not have the topic.
    """
    letters = Letters()
    partitions = await partitions_of(cluster, DEAD_LETTERS)
    async with reading(cluster) as consumer:
        spans = await whole(consumer, partitions)
        of, done = sum(end - first for first, end in spans.values()), 0
        async for record in between(consumer, spans):
            letters.take(record)
            done += 1
            if done % _TOLD_EVERY == 0:
                on_read(done, of)
        if done:
            on_read(of, of)
    return letters


async def read_letter(cluster: Cluster, letter: Letter) -> ConsumerRecord:
    """Return the record of a letter, with its bytes.

    Raises:
        BrokerError: no broker answers, or the letter has been deleted since.
    """
    tp = TopicPartition(cluster.topic(DEAD_LETTERS), letter.partition)
    async with reading(cluster) as consumer:
        async for record in between(consumer, {tp: (letter.offset, letter.offset + 1)}):
            return record
    raise BrokerError(f"{tp.topic} has deleted letter {letter.place}")


@contextlib.asynccontextmanager
async def reading(cluster: Cluster) -> AsyncIterator[AIOKafkaConsumer]:
    """Lend a consumer that belongs to no group.

    Raises:
        BrokerError: the broker is away, or refuses.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap,
        enable_auto_commit=False,
        max_partition_fetch_bytes=17 * MIB,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        yield consumer
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise BrokerError(f"the broker at {cluster.bootstrap} did not answer: {error!r}") from None
    finally:
        await consumer.stop()


async def whole(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset and the end of partitions."""
    first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {tp: (first[tp], end[tp]) for tp in partitions}


async def between(
    consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records from the first offset of each partition to before its end, one partition after the other.

    Raises:
        BrokerError: none came for half a minute.
    """
    for tp, (first, end) in spans.items():
        if first >= end:
            continue
        consumer.assign([tp])
        consumer.seek(tp, first)
        silent = 0
        while (at := await consumer.position(tp)) < end:
            for record in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, []):
                if record.offset < end:
                    yield record
            silent = silent + 1 if await consumer.position(tp) == at else 0
            if silent > _PATIENCE_POLLS:
                raise BrokerError(f"the records of {tp.topic} after offset {at} do not come")

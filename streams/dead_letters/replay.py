"""Replay: dead letters back to `events`, with the key, the bytes and the timestamp that they came with.

Three steps for each, in this order, each durable before the next: a mark that it is being sent, the record itself, a
mark of where it lies now. A replay that was killed between them is taken up by the next one without sending twice.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError, EventInvalid, Poison
from schemas.features import Spec
from schemas.generated import APPLIES
from schemas.reader import FUTURE_MS, Reader
from schemas.records import Release, decode
from schemas.tick import TICK_HEADER, read_tick
from streams.dead_letters.headers import own_headers, replay_headers, replay_of
from streams.dead_letters.letters import Letter, Status, between, reading, whole
from streams.dead_letters.marks import Mark, mark_headers, mark_value
from streams.replay import ANY_EVENT, newest_event_times
from streams.sender import Sender
from streams.topics import DEAD_LETTERS, EVENTS, EXAMPLES, MIB, RELEASES, Cluster, partitions_of

MOST_ATTEMPTS: Final = 3
_SLICES_PER_S: Final = 20
_BATCH_RECORDS: Final = 500
_BATCH_BYTES: Final = 16 * MIB


class Refusal(enum.StrEnum):
    """Why a letter is not replayed."""

    LOOP = "has failed as often as --max-attempts allows"
    EXAMPLE = "is an example: the learner has gone past its number, so that it would be passed over as a repeat"
    NO_ORIGIN = "does not say that it comes from a partition of `events`"
    STILL_POISON = "would fail again"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about one letter.

    Attributes:
        letter: which.
        refusal: why nothing is done; None where it is replayed.
        detail: what is to be said beside.
        found: it was sent by a replay that did not live to say so, at the offset `letter.sent_to`.
        late_for: models for which its event is later than their lateness: it gets a score and no label.
    """

    letter: Letter
    refusal: Refusal | None = None
    detail: str = ""
    found: bool = False
    late_for: tuple[str, ...] = ()


@dataclass(slots=True)
class Summary:
    """What a replay came to.

    Attributes:
        replayed: letters whose record is back in `events`, acknowledged (in a dry run: would be).
        found: letters that a replay before had sent without living to say so; nothing was sent.
        before: letters among the chosen ones that had been replayed before; nothing was done.
        refused: letters that were not replayed, by reason.
        late: of the replayed ones, those too late for a label, by model.
    """

    replayed: int = 0
    found: int = 0
    before: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)

    def add(self, step: Step) -> None:
        """Count what was done about a letter."""
        if step.refusal is not None:
            self.refused[step.refusal] += 1
        elif step.found:
            self.found += 1
        else:
            self.replayed += 1
            self.late.update(step.late_for)


async def replay_letters(
    cluster: Cluster,
    letters: Sequence[Letter],
    *,
    rate_per_s: float = 0.0,
    most_attempts: int = MOST_ATTEMPTS,
    dry_run: bool = False,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Summary:
    """Put the records of letters back where they were read, each partition's in the order of its letters.

    Args:
        cluster: where the topics are.
        letters: which; those that were replayed before are passed over.
        rate_per_s: records a second; 0 is as fast as they go.
        most_attempts: a letter that has failed so often is refused.
        dry_run: find out everything and write nothing.
        on_step: told of each letter, once what is done about it is durable.

    Raises:
        BrokerError: no broker, no topics, or it does not take them. What was sent is known to the next replay.
        SchemaUnknown: a release was written by a newer freshet.
    """
    open_letters = [letter for letter in letters if letter.status in {Status.WAITING, Status.SENDING}]
    summary = Summary(before=len(letters) - len(open_letters))
    if not open_letters:
        return summary

    def tell(step: Step) -> None:
        summary.add(step)
        on_step(step)

    judge = await _Judge.of(cluster, most_attempts)
    back = _Back(cluster, rate_per_s, dry_run=dry_run)
    async with reading(cluster) as consumer:
        await back.start(consumer)
        try:
            found = await _found(cluster, consumer, [each for each in open_letters if each.status is Status.SENDING])
            to_read: list[Letter] = []
            for letter in open_letters:
                if letter.origin in found:
                    tell(await back.settle(letter, found[letter.origin]))
                elif (refused := judge.unread(letter)) is not None:
                    tell(refused)
                else:
                    to_read.append(letter)
            async for letter, record in _records(cluster, consumer, to_read):
                step = judge.read(letter, record)
                if step.refusal is not None:
                    tell(step)
                    continue
                for sent in await back.send(step, record):
                    tell(sent)
            for sent in await back.flush():
                tell(sent)
        finally:
            await back.stop()
    return summary


class _Judge:
    """Says which letters may go back, and what will become of their events."""

    def __init__(
        self, cluster: Cluster, most_attempts: int, readers: Mapping[str, Reader], newest_ms: Mapping[int, int]
    ) -> None:
        self._cluster = cluster
        self._most_attempts = most_attempts
        self._readers = readers
        self._newest_ms = newest_ms

    @classmethod
    async def of(cls, cluster: Cluster, most_attempts: int) -> _Judge:
        """Return one that knows the released models and how far `events` has come."""
        readers = {spec.name: Reader(spec) for spec in await _released_specs(cluster)}
        return cls(cluster, most_attempts, readers or {"": ANY_EVENT}, await newest_event_times(cluster))

    def unread(self, letter: Letter) -> Step | None:
        """Return the refusal of a letter that is known without its bytes; None where they must be read."""
        if letter.topic == self._cluster.topic(EXAMPLES):
            return Step(letter, Refusal.EXAMPLE, "fix the cause and give the model a new name: it learns from `events`")
        if letter.topic != self._cluster.topic(EVENTS) or letter.origin_partition not in self._newest_ms:
            return Step(letter, Refusal.NO_ORIGIN, letter.origin or "no topic")
        if letter.attempt >= self._most_attempts:
            return Step(letter, Refusal.LOOP, f"{letter.attempt} times")
        return None

    def read(self, letter: Letter, record: ConsumerRecord) -> Step:
        """Return what to do about a letter whose bytes are at hand."""
        if any(name == TICK_HEADER for name, _ in own_headers(record.headers)):
            return self._tick(letter, record.value)
        late: list[str] = []
        problems: dict[str, Poison] = {}
        newest_ms = self._newest_ms[letter.origin_partition]
        for model, reader in self._readers.items():
            try:
                event = reader.read(record.value, letter.timestamp_ms)
                applies = bool(event.kinds & APPLIES)
                if applies:
                    reader.x(event, None)  # a number out of the model's bounds
            except Poison as poison:
                problems[model] = poison
                continue
            if applies and event.time_ms < newest_ms - reader.spec.lateness_ms:
                late.append(model)
        if len(problems) == len(self._readers):  # for one model it may be good: the others put it aside again
            return Step(letter, Refusal.STILL_POISON, "; ".join(dict.fromkeys(map(str, problems.values()))))
        return Step(letter, late_for=tuple(late))

    def _tick(self, letter: Letter, value: bytes | None) -> Step:
        try:
            if read_tick(value) > letter.timestamp_ms + FUTURE_MS:
                raise EventInvalid("tick", "is more than 5 minutes ahead of its record")
        except Poison as poison:
            return Step(letter, Refusal.STILL_POISON, str(poison))
        return Step(letter)


class _Back:
    """Puts records back at a steady rate: marks, records, marks, a batch at a time."""

    def __init__(self, cluster: Cluster, rate_per_s: float, *, dry_run: bool) -> None:
        self._cluster = cluster
        self._sender = Sender(cluster.bootstrap)
        self._rate_per_s = rate_per_s
        self._dry_run = dry_run
        self._most = max(1, min(_BATCH_RECORDS, int(rate_per_s / _SLICES_PER_S))) if rate_per_s else _BATCH_RECORDS
        self._batch: list[tuple[Step, ConsumerRecord]] = []
        self._bytes = 0
        self._ends: dict[int, int] = {}
        self._sent = 0
        self._started_s = 0.0

    async def start(self, consumer: AIOKafkaConsumer) -> None:
        """Connect, and note where the partitions of `events` end before anything is sent."""
        ends = await whole(consumer, await partitions_of(self._cluster, EVENTS))
        self._ends = {tp.partition: end for tp, (_, end) in ends.items()}
        if not self._dry_run:
            await self._sender.start()
        self._started_s = time.monotonic()

    async def stop(self) -> None:
        """Disconnect."""
        await self._sender.stop()

    async def settle(self, letter: Letter, offset: int) -> Step:
        """Mark a letter whose record was found in `events`."""
        if not self._dry_run:
            await self._acknowledged([await self._mark(letter, letter.after, offset)])
        return Step(letter, found=True, detail=f"found at {letter.topic}/{letter.origin_partition}/{offset}")

    async def send(self, step: Step, record: ConsumerRecord) -> list[Step]:
        """Take a record to be sent; return what has become durable by it."""
        if self._dry_run:
            return [step]
        self._batch.append((step, record))
        self._bytes += len(record.value or b"")
        return await self.flush() if len(self._batch) >= self._most or self._bytes >= _BATCH_BYTES else []

    async def flush(self) -> list[Step]:
        """Send what is waiting; return what has become durable by it."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return []
        ahead_s = self._started_s + self._sent / self._rate_per_s - time.monotonic() if self._rate_per_s else 0.0
        await asyncio.sleep(max(0.0, ahead_s))

        # 1. It is known that they are being sent. 2. They are sent. 3. It is known that they were.
        letters = [step.letter for step, _ in batch]
        await self._acknowledged([await self._mark(each, self._ends[each.origin_partition], -1) for each in letters])
        lie = await self._acknowledged([await self._event(step.letter, record) for step, record in batch])
        await self._acknowledged(
            [
                await self._mark(each, self._ends[each.origin_partition], at.offset)
                for each, at in zip(letters, lie, strict=True)
            ]
        )
        self._sent += len(batch)
        return [step for step, _ in batch]

    async def _event(self, letter: Letter, record: ConsumerRecord) -> asyncio.Future[Any]:
        return await self._sender.send(
            letter.topic,
            record.key,
            record.value,
            partition=letter.origin_partition,
            headers=replay_headers(record.headers, letter.origin, letter.attempt + 1),
            timestamp_ms=letter.timestamp_ms,
        )

    async def _mark(self, letter: Letter, after: int, offset: int) -> asyncio.Future[Any]:
        mark = Mark(replay_of=letter.origin, attempt=letter.attempt + 1, after=after, offset=offset)
        # In the letter's own partition: it is read after the letter, and is not deleted before it.
        return await self._sender.send(
            self._cluster.topic(DEAD_LETTERS),
            letter.key,
            mark_value(mark),
            partition=letter.partition,
            headers=mark_headers(),
        )

    async def _acknowledged(self, sent: list[asyncio.Future[Any]]) -> list[Any]:
        try:
            return await asyncio.gather(*sent)
        except KafkaError as error:
            raise BrokerError(
                f"the broker at {self._cluster.bootstrap} did not take all letters: {error!r}; replay again, "
                "what was sent will be found"
            ) from None


async def _records(
    cluster: Cluster, consumer: AIOKafkaConsumer, letters: Sequence[Letter]
) -> AsyncIterator[tuple[Letter, ConsumerRecord]]:
    """Yield letters with their records, partition by partition, in the order in which they were put aside."""
    wanted = {(letter.partition, letter.offset): letter for letter in letters}
    spans: dict[TopicPartition, tuple[int, int]] = {}
    for partition, offset in sorted(wanted):
        tp = TopicPartition(cluster.topic(DEAD_LETTERS), partition)
        first, _ = spans.get(tp, (offset, 0))
        spans[tp] = (first, offset + 1)
    async for record in between(consumer, spans):
        letter = wanted.get((record.partition, record.offset))
        if letter is not None:
            yield letter, record


async def _found(cluster: Cluster, consumer: AIOKafkaConsumer, letters: Sequence[Letter]) -> dict[str, int]:
    """Return the offsets at which the records of letters lie that a replay may have sent, by origin."""
    origins = {letter.origin for letter in letters}
    found: dict[str, int] = {}
    if not origins:
        return found
    spans = await whole(consumer, await partitions_of(cluster, EVENTS))
    after = {
        tp: [each.after for each in letters if (each.topic, each.origin_partition) == (tp.topic, tp.partition)]
        for tp in spans
    }
    reach = {tp: (max(first, min(after[tp])), end) for tp, (first, end) in spans.items() if after[tp]}
    async for record in between(consumer, reach):
        origin = replay_of(record.headers) if record.headers else ""
        if origin in origins:
            found.setdefault(origin, record.offset)
    return found


async def _released_specs(cluster: Cluster) -> list[Spec]:
    """Return the spec of the newest release of each model."""
    newest: dict[str, bytes] = {}
    async with reading(cluster) as consumer:
        async for record in between(consumer, await whole(consumer, await partitions_of(cluster, RELEASES))):
            if record.value is not None:
                newest[(record.key or b"").decode().rpartition("/")[0]] = record.value
    return [Spec.from_json(decode(Release, value).spec) for value in newest.values()]

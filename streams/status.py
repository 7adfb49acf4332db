"""Status: how far every model has come, from what lies in Kafka alone: no worker is asked, none need run.

A journal entry says up to where its state holds and what the records before that came to, so the laws of
`streams/law.py` can be checked from the outside, against the offsets of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError, StateUnreadable
from schemas.records import Alias, Release, decode
from scoring.registry import LIVE
from streams.changes import put_together
from streams.follow import stop_consumer
from streams.journal import Journal, bodies
from streams.law import EVENTS_LAW, LABELS_LAW, PENDINGS_LAW, Balance
from streams.partition import Counts
from streams.sender import Sender, home_of
from streams.state_key import state_key
from streams.topics import (
    ALIASES,
    DEAD_LETTERS,
    EVENTS,
    EXAMPLES,
    JOURNAL_LEARNER,
    JOURNAL_SCORER,
    MIB,
    RELEASES,
    Cluster,
    group_of,
    partitions_of,
    require_topics,
)

_POLL_MS: Final = 500
_ANSWER_WITHIN_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One model's scorer, in one partition of `events`.

    Attributes:
        end_offset: of the partition.
        committed: the offset up to which its group has acknowledged it; -1, nothing.
        next_offset: the offset up to which the journal holds it; -1, nothing.
        parts: what the records up to there came to.
        opened, positive, negative, open: pendings.
        sent: how many examples.
        differences: by law, where it is not 0.
        problem: why there is no more to say; empty, there is.
    """

    partition: int
    end_offset: int
    committed: int
    next_offset: int = -1
    parts: dict[str, int] | None = None
    opened: int = 0
    positive: int = 0
    negative: int = 0
    open: int = 0
    sent: int = 0
    differences: dict[str, int] | None = None
    problem: str = ""

    @property
    def lag(self) -> int:
        """How many offsets the journal is behind the log."""
        return self.end_offset - max(0, self.next_offset)


@dataclass(frozen=True, slots=True)
class LearnerStatus:
    """One model's learner.

    Attributes:
        partition, end_offset, committed, next_offset: of `examples`, as those of `PartitionStatus`.
        examples: how many are in its state, each once.
        learned_through: offset of the newest one; -1, none.
        learned_through_ms: its event time.
        refused: candidates that were not released.
        problem: why there is no more to say.
    """

    partition: int
    end_offset: int
    committed: int
    next_offset: int = -1
    examples: int = 0
    learned_through: int = -1
    learned_through_ms: int = 0
    refused: int = 0
    problem: str = ""

    @property
    def lag(self) -> int:
        """How many offsets the journal is behind the log."""
        return self.end_offset - max(0, self.next_offset)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model.

    Attributes:
        live: the version that is live.
        live_since_ms: since when it is.
        released_ms: when it was released; 0, it is not there any more.
        releases: how many are kept.
    """

    model: str
    live: int
    live_since_ms: int
    released_ms: int
    releases: int
    partitions: list[PartitionStatus]
    learner: LearnerStatus

    @property
    def broken(self) -> bool:
        """Whether a law does not hold, or cannot be checked."""
        return any(each.differences or each.problem for each in self.partitions) or bool(self.learner.problem)


@dataclass(frozen=True, slots=True)
class Status:
    """All that is told.

    Attributes:
        dead_letters: how many records there are in `dead-letters`.
    """

    bootstrap: str
    dead_letters: int
    models: list[ModelStatus]


class StatusReader:
    """Reads the status of an installation, again and again.

    Args:
        cluster: where the topics are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._secret = state_key()
        # What is compacted is read on from where it was read to before.
        self._next: dict[TopicPartition, int] = {}
        self._aliases: dict[str, Alias] = {}
        self._released_ms: dict[str, dict[int, int]] = {}

    async def read(self, only: str = "") -> Status:
        """Return the status as it is now.

        Args:
            only: of this model; empty, of all.

        Raises:
            BrokerError: no broker answers, or topics are missing.
            StateUnreadable: there is no key with which the journals are sealed.
        """
        await require_topics(self._cluster)
        try:
            return await self._read(only)
        except KafkaError as error:
            raise BrokerError(f"the broker at {self._cluster.bootstrap} did not answer: {error!r}") from None

    async def _read(self, only: str) -> Status:
        bootstrap = self._cluster.bootstrap
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            max_partition_fetch_bytes=17 * MIB,
            request_timeout_ms=_ANSWER_WITHIN_MS,
        )
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_ANSWER_WITHIN_MS)
        try:
            await consumer.start()
            await admin.start()
            for topic in (ALIASES, RELEASES):
                await self._read_on(consumer, topic)
            dead = await partitions_of(self._cluster, DEAD_LETTERS)
            first, ends = await consumer.beginning_offsets(dead), await consumer.end_offsets(dead)
            names = sorted(name for name in self._aliases if only in {"", name})
            models = [await self._model(name, consumer, admin) for name in names]
            return Status(self._cluster.bootstrap, sum(ends[tp] - first[tp] for tp in dead), models)
        finally:
            await admin.close()
            await stop_consumer(consumer)

    async def _read_on(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        partitions = await partitions_of(self._cluster, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            consumer.seek(tp, self._next.get(tp, 0))
            while (at := await consumer.position(tp)) < ends[tp]:
                for record in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, []):
                    self._take(topic, record.key.decode(), record.value)
            self._next[tp] = at

    def _take(self, topic: str, key: str, value: bytes | None) -> None:
        name, _, which = key.rpartition("/")
        if topic == ALIASES:
            if value is not None and which == LIVE:
                self._aliases[name] = decode(Alias, value)
        elif value is None:
            self._released_ms.get(name, {}).pop(int(which), None)
        else:
            self._released_ms.setdefault(name, {})[int(which)] = decode(Release, value).created_at

    async def _model(self, name: str, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> ModelStatus:
        alias, released_ms = self._aliases[name], self._released_ms.get(name, {})
        events = await partitions_of(self._cluster, EVENTS)
        ends = await consumer.end_offsets(events)
        committed = await self._committed(admin, "scorer", name)
        partitions = [await self._partition(name, tp.partition, ends[tp], committed.get(tp, -1)) for tp in events]
        examples = await partitions_of(self._cluster, EXAMPLES)
        home = examples[home_of(name.encode(), [tp.partition for tp in examples])]
        end_offset = (await consumer.end_offsets([home]))[home]
        committed = await self._committed(admin, "learner", name)
        learner = await self._learner(name, home.partition, end_offset, committed.get(home, -1))
        return ModelStatus(
            name,
            alias.version,
            alias.changed_at,
            released_ms.get(alias.version, 0),
            len(released_ms),
            partitions,
            learner,
        )

    async def _committed(self, admin: AIOKafkaAdminClient, role: str, name: str) -> dict[TopicPartition, int]:
        offsets = await admin.list_consumer_group_offsets(group_of(self._cluster, role, name))
        return {tp: each.offset for tp, each in offsets.items()}

    async def _partition(self, name: str, partition: int, end_offset: int, committed: int) -> PartitionStatus:
        try:
            said = await self._newest(JOURNAL_SCORER, partition, name)
            return partition_status(said, partition, end_offset, committed)
        except (StateUnreadable, msgspec.MsgspecError) as error:
            return PartitionStatus(partition, end_offset, committed, problem=str(error))

    async def _learner(self, name: str, partition: int, end_offset: int, committed: int) -> LearnerStatus:
        try:
            said = await self._newest(JOURNAL_LEARNER, partition, name)
            return learner_status(said, partition, end_offset, committed)
        except (StateUnreadable, msgspec.MsgspecError) as error:
            return LearnerStatus(partition, end_offset, committed, problem=str(error))

    async def _newest(self, topic: str, partition: int, name: str) -> tuple[int, list[bytes]]:
        never_sends = Sender(self._cluster.bootstrap)
        journal = Journal(self._cluster, never_sends, topic, partition, f"{name}/{partition}", self._secret)
        entries = await journal.newest()
        return entries[-1].next_offset if entries else -1, bodies(entries)


def partition_status(
    said: tuple[int, Sequence[bytes]], partition: int, end_offset: int, committed: int
) -> PartitionStatus:
    """Return what journal entries say of a partition, and whether that adds up.

    Args:
        said: the offset up to which they hold, and their bodies.
        partition, end_offset, committed: see `PartitionStatus`.

    Raises:
        StateUnreadable, msgspec.MsgspecError: they are damaged.
    """
    next_offset, entries = said
    if not entries:
        return PartitionStatus(partition, end_offset, committed)
    last, _, join, _ = put_together(entries)
    totals = last.totals
    counts = Counts(*totals.counts)
    waiting: Any = join["pendings"]
    opened = {"positive": totals.positive, "negative": totals.negative, "open": len(waiting)}
    balances = (
        Balance(EVENTS_LAW, partition, max(0, next_offset), counts.parts),
        Balance(PENDINGS_LAW, partition, counts.parts["scored"], opened),
        Balance(LABELS_LAW, partition, totals.positive + totals.negative, {"sent": totals.seq}),
    )
    return PartitionStatus(
        partition,
        end_offset,
        committed,
        next_offset,
        counts.parts,
        totals.opened,
        totals.positive,
        totals.negative,
        len(waiting),
        totals.seq,
        {each.law: each.difference for each in balances if each.difference},
    )


def learner_status(said: tuple[int, Sequence[bytes]], partition: int, end_offset: int, committed: int) -> LearnerStatus:
    """Return what the journal says of a learner. Arguments and errors are those of `partition_status`."""
    next_offset, entries = said
    if not entries:
        return LearnerStatus(partition, end_offset, committed)
    training: dict[str, Any] = msgspec.msgpack.decode(entries[-1])
    try:
        offset, event_time_ms = training["learned_through"]
        examples = sum(seq + 1 for _, seq in training["seqs"])  # a source partition numbers them from 0, without a gap
        refused = training["refused"]
    except (LookupError, TypeError, ValueError) as error:
        raise StateUnreadable(f"the learner's journal entry is damaged: {error!r}") from None
    return LearnerStatus(partition, end_offset, committed, next_offset, examples, offset, event_time_ms, refused)

"""Learner: examples in; a learner that never stops, and releases of it.

The path of a chunk is `Learner.take`, that of a release `Learner.release`. One learner per model: all examples of a
model lie in one partition, in one order, and what was learned is a function of that order alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import asdict, dataclass, field
from typing import Final

import msgspec
from aiokafka import ConsumerRecord
from faust.types import TP

from learners.model import Model
from learners.training import Training
from schemas.errors import Poison, ReleaseRefused, SchemaUnknown
from schemas.records import Alias, Example, Quarantine, Release, decode, encode
from scoring.engine import Engine
from scoring.registry import LIVE, Registry
from streams.books import Books
from streams.crash_points import crash_point
from streams.dead_letters import dead_letter_headers
from streams.held import Held, resumed_at
from streams.journal import Change, Journal
from streams.law import EXAMPLES_LAW, Balance, Intake
from streams.metrics import total
from streams.sender import Sender
from streams.topics import ALIASES, DEAD_LETTERS, EXAMPLES, JOURNAL_LEARNER, QUARANTINE, RELEASES, Cluster
from streams.transport import ChunkApp, ChunkMessage, current

log = logging.getLogger(__name__)

RELEASES_KEPT: Final = 100


@dataclass(slots=True)
class Counts:
    """What the records of `examples` came to since the training was taken over; each is counted once."""

    learned: int = 0
    withheld: int = 0
    repeats: int = 0
    dead: int = 0
    other_models: int = 0
    gaps: int = 0


@dataclass(slots=True)
class Owned:
    """The training this worker owns, and what is not acknowledged yet."""

    training: Training
    held: Held
    intake: Intake
    next_offset: int
    since: int = field(init=False)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.since = self.intake.through

    def change(self) -> Change:
        """Return the training as it is: what it has learned is small beside what it has learned from."""
        return Change(self.training.snapshot())


class Learner:
    """Learns the examples of one model and releases what it has learned.

    Args:
        app: the Faust app whose agent feeds `take`.
        model: what learns.
        engine: holds the live session of the model, where there is one.
        registry: the releases and aliases read so far; complete before `release` is called.
        sender: writes everything this worker writes.
        cluster: where the topics are.
        secret: seals the journal.
        books: its metrics and laws.
    """

    def __init__(  # noqa: PLR0917
        self,
        app: ChunkApp,
        model: Model,
        engine: Engine,
        registry: Registry,
        sender: Sender,
        cluster: Cluster,
        secret: bytes,
        books: Books,
    ) -> None:
        self._app = app
        self._model = model
        self._name = model.spec.name
        self._engine = engine
        self._registry = registry
        self._sender = sender
        self._cluster = cluster
        self._secret = secret
        self._books = books
        self._metrics = books.metrics
        self._topic = {name: cluster.topic(name) for name in (ALIASES, DEAD_LETTERS, EXAMPLES, QUARANTINE, RELEASES)}
        self._home: TP | None = None  # the partition in which the model's examples lie
        self._owned: Owned | None = None
        self._turn = asyncio.Lock()  # take, release, journal and revoke each see the training between two chunks
        self._revoking = False
        self._tried_offset = -1

    async def take(self, message: ChunkMessage) -> None:
        """Learn a chunk: read, guard, predict, learn; the acknowledgement follows with the journal."""
        async with self._turn:
            if self._revoking or not current(self._app, message):
                return  # delivered before a rebalance: it will be delivered again to whoever owns it now
            if message.tp != await self._where():
                message.ack(self._app.consumer)  # a partition with other models' examples only
                return
            owned = self._owned or await self._take_over()
            if message.start > owned.next_offset >= 0:
                self._app.consumer.rewind(message.tp, owned.next_offset)
                return  # the training is of an earlier moment than the commit: what lies between is read again

            # 1. Read; what is in the training already is passed over. 2. Ask the live release, for the gate.
            # 3. Predict and learn, one by one. 4. Hold the acknowledgement until the training is durable.
            with self._metrics.chunk().time():
                owned.counts.gaps += owned.intake.add(message)
                examples = [each for record in message.value for each in await self._read(owned, record)]
                for (record, example), p_live in zip(examples, self._live(examples), strict=True):
                    if owned.training.is_repeat(example):
                        owned.counts.repeats += 1
                        continue
                    try:
                        lesson = owned.training.learn(record.offset, example, p_live)
                        owned.counts.learned += lesson.learned
                        owned.counts.withheld += not lesson.learned
                        if lesson.quarantine is not None:
                            await self._quarantine(owned, lesson.quarantine)
                    except Poison as poison:
                        await self._bury(owned, record, poison)
                owned.next_offset = max(owned.next_offset, message.stop)
            crash_point("learner.after_learning")
            owned.held.hold(message)
            if owned.held.due:
                await self._settle(owned)

    async def _read(self, owned: Owned, record: ConsumerRecord) -> list[tuple[ConsumerRecord, Example]]:
        """Return the record's example, or nothing: in the training already, another model's, or a dead letter."""
        if record.offset < owned.next_offset:
            return []
        if record.key != self._name.encode():
            owned.counts.other_models += 1
            return []
        try:
            example = decode(Example, record.value or b"")
        except (msgspec.DecodeError, SchemaUnknown, EOFError, ValueError, IndexError) as error:
            await self._bury(owned, record, Poison("decode", f"not an example: {error}"))
            return []
        return [(record, example)]

    def _live(self, examples: list[tuple[ConsumerRecord, Example]]) -> list[float] | list[None]:
        """Return what the live release says of examples that it cannot have learned yet."""
        if not examples or self._engine.version(self._name) < 0:
            return [None] * len(examples)
        in_order = self._model.reader.in_order
        rows = [in_order(example.numbers, example.categories) for _, example in examples]
        return self._engine.session(self._name).score(rows)

    async def _bury(self, owned: Owned, record: ConsumerRecord, poison: Poison) -> None:
        headers = dead_letter_headers(record, poison)
        owned.counts.dead += 1
        self._metrics.dead_letters(poison.stage).inc()
        owned.held.sent.append(
            await self._sender.send(self._topic[DEAD_LETTERS], record.key, record.value, headers=headers)
        )

    async def _quarantine(self, owned: Owned, quarantine: Quarantine) -> None:
        # As durable as the training that says so, and sent again, the same, by whoever reads these examples again.
        log.error(
            "learner_went_back model=%s start=%d stop=%d examples=%d afresh=%s: %s",
            self._name,
            quarantine.start,
            quarantine.stop,
            quarantine.examples,
            quarantine.afresh,
            quarantine.reason,
        )
        owned.held.sent.append(
            await self._sender.send(self._topic[QUARANTINE], self._name.encode(), encode(quarantine))
        )

    async def release(self) -> None:
        """Release what the learner is now, if it has learned since the last time; the first one has learned nothing."""
        async with self._turn:
            owned = await self._if_assigned()
            if owned is None:
                return
            version = self._registry.newest_version(self._name) + 1
            learned = owned.training.learned_through.offset
            if version > 0 and learned in (self._tried_offset, self._live_offset()):
                return
            self._tried_offset = learned
            crash_point("release.before_export")
            started = time.perf_counter()
            try:
                candidate = owned.training.candidate(version, time.time_ns() // 1_000_000)
            except ReleaseRefused as refused:
                self._metrics.refused(refused.check).inc()
                log.warning(
                    "release_refused model=%s version=%d check=%s: %s", self._name, version, refused.check, refused
                )
                return
            judged_ms = (time.perf_counter() - started) * 1000

            crash_point("release.after_judgement")
            # 1. The release is durable. 2. Only then may the alias point at it: no edge looks for what is not there.
            await self._publish(candidate)
        log.info(
            "released model=%s version=%d examples=%d learned_through=%d bytes=%d judged_ms=%.1f",
            self._name,
            version,
            candidate.examples,
            learned,
            len(candidate.onnx),
            judged_ms,
        )

    def _live_offset(self) -> int | None:
        live = self._registry.live(self._name)
        return None if live is None else live.learned_through.offset

    async def _publish(self, release: Release) -> None:
        key = f"{self._name}/{release.version}".encode()
        await (await self._sender.send(self._topic[RELEASES], key, encode(release)))
        self._registry.release(release)
        crash_point("release.before_alias")
        alias = Alias(model=self._name, alias=LIVE, version=release.version, changed_at=release.created_at)
        await (await self._sender.send(self._topic[ALIASES], f"{self._name}/{LIVE}".encode(), encode(alias)))
        self._registry.alias(alias)
        self._metrics.releases().inc()
        crash_point("release.after_alias")
        aliased = self._registry.aliased_versions(self._name)
        for version in self._registry.kept_versions(self._name)[:-RELEASES_KEPT]:
            if version not in aliased:
                await (await self._sender.send(self._topic[RELEASES], f"{self._name}/{version}".encode(), None))
                self._registry.retire(self._name, version)

    async def keep_time(self) -> None:
        """Journal what is due."""
        async with self._turn:
            if self._owned is not None:
                self._books.strike(self._balances, time.monotonic())
                if self._owned.held.due:
                    await self._settle(self._owned)

    async def let_go(self) -> None:
        """Make the training durable and acknowledge it: its partition may go to another worker."""
        self._revoking = True
        try:
            async with self._turn:
                if self._owned is not None:
                    crash_point("revoke.before_settle")
                    await self._settle(self._owned)
                    crash_point("revoke.after_settle")
        finally:
            # Where that takes too long too: a training that comes back is made of the journal, as anybody's.
            self._owned = None
            self._metrics.forget_partitions()

    def go_on(self) -> None:
        """Take chunks again, after a rebalance."""
        self._revoking = False

    @property
    def waits_for(self) -> str:
        """What this waits for that is no fault of its own: nothing."""
        return ""

    def positions(self) -> dict[TP, int]:
        """Return the partition of the model's examples, if it is this worker's, and up to where it is handled."""
        at = self._owned.next_offset if self._owned else -1
        return {tp: at for tp in self._app.consumer.assignment() if tp == self._home}

    def _balances(self) -> list[Balance]:
        owned, home = self._owned, self._home
        if owned is None or home is None:
            return []
        learned_through = owned.training.learned_through
        if learned_through.event_time:
            self._metrics.learned_age().set(time.time() - learned_through.event_time / 1000)
        self._metrics.version().set(self._engine.version(self._name))
        self._metrics.epoch(home.partition).set(owned.held.epoch)
        total(self._metrics.rewinds(home.partition), self._app.consumer.rewinds[home])
        for kind, count in owned.training.guard.counts.items():
            total(self._metrics.guarded(kind), count)
        in_flight = self._app.consumer.in_flight(home)
        came = owned.intake.through - owned.since + in_flight
        return [Balance(EXAMPLES_LAW, home.partition, came, asdict(owned.counts) | {"in_flight": in_flight})]

    async def _where(self) -> TP:
        if self._home is None:
            topic = self._topic[EXAMPLES]
            self._home = TP(topic, await self._sender.partition_of(topic, self._name.encode()))
        return self._home

    async def _if_assigned(self) -> Owned | None:
        if self._revoking or await self._where() not in self._app.consumer.assignment():
            return None
        return self._owned or await self._take_over()

    async def _settle(self, owned: Owned) -> None:
        with self._metrics.settle().time():
            written_bytes = await owned.held.settle(owned, self._app.consumer)
        if written_bytes:
            self._metrics.journal_entries().inc()
            self._metrics.journal_bytes().inc(written_bytes)

    async def _take_over(self) -> Owned:
        home = await self._where()
        key = f"{self._name}/{home.partition}"
        journal = Journal(self._cluster, self._sender, JOURNAL_LEARNER, home.partition, key, self._secret)
        entries = await journal.take_over()
        training = Training.restore(self._model, entries[-1].body) if entries else Training(self._model)
        next_offset = await resumed_at(self._app, home, entries[-1].next_offset if entries else -1, key)
        crash_point("takeover.after_restore")
        owned = self._owned = Owned(training, Held(journal), Intake(next_offset), next_offset)
        log.info(
            "training_taken model=%s next_offset=%d examples=%d epoch=%d",
            self._name,
            next_offset,
            training.scoreboard.examples,
            journal.epoch,
        )
        return owned

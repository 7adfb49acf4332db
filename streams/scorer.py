"""Scorer: events in; scores, examples and profiles out.

The path of a chunk, top to bottom, is `Scorer.take`. A chunk is acknowledged once the journal record that contains it
is durable, and that record is written once everything the chunk sent is durable; a crash before it repeats the chunk
from the same state, which sends the same ids again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from faust.types import TP

from learners.join import Closed
from learners.model import Model
from schemas.records import Example, LearnedThrough, Score, Source, VisitorProfile, encode, score_id
from schemas.tick import tick_headers, tick_value
from scoring.engine import Engine
from scoring.session import Session
from streams.books import Books
from streams.crash_points import crash_point
from streams.dead_letters import dead_letter_headers
from streams.held import Held, resumed_at
from streams.journal import Journal, bodies
from streams.law import EVENTS_LAW, LABELS_LAW, PENDINGS_LAW, Balance, Intake
from streams.metrics import total
from streams.partition import Counts, Partition, Taken
from streams.sender import Record, Sender
from streams.topics import DEAD_LETTERS, EVENTS, EXAMPLES, JOURNAL_SCORER, PROFILES, SCORES, Cluster
from streams.transport import ChunkApp, ChunkMessage, current

log = logging.getLogger(__name__)

IDLE_S: Final = 10.0
PROGRESS_S: Final = 10.0


@dataclass(slots=True)
class Owned:
    """A partition this worker owns: its state, and what is not acknowledged yet."""

    state: Partition
    held: Held
    intake: Intake
    busy_at_s: float
    misplaced_told: bool = False
    unusable_told: bool = False


class Scorer:
    """Scores the events of the partitions that this worker owns.

    Args:
        app: the Faust app whose agent feeds `take`.
        model: what to score.
        engine: holds the live session of the model.
        sender: writes everything this worker writes.
        cluster: where the topics are.
        secret: seals the journal.
        books: its metrics and laws.
    """

    def __init__(  # noqa: PLR0917
        self, app: ChunkApp, model: Model, engine: Engine, sender: Sender, cluster: Cluster, secret: bytes, books: Books
    ) -> None:
        self._app = app
        self._model = model
        self._name = model.spec.name
        self._engine = engine
        self._sender = sender
        self._cluster = cluster
        self._secret = secret
        self._books = books
        self._metrics = books.metrics
        self._topic = {name: cluster.topic(name) for name in (DEAD_LETTERS, EVENTS, EXAMPLES, PROFILES, SCORES)}
        self._examples_partition = -1
        self._owned: dict[TP, Owned] = {}
        self._turn = asyncio.Lock()  # take, journal and revoke each see the state at a chunk's end, never within one
        self._revoking = False
        self._progress_due_s = 0.0
        self._progress_told = ""

    async def take(self, message: ChunkMessage) -> None:
        """Score a chunk: read, decide, act; the acknowledgement follows with the journal."""
        await self._engine.ready(self._name)
        async with self._turn:
            if self._revoking or not current(self._app, message):
                return  # delivered before a rebalance: it will be delivered again to whoever owns it now
            owned = self._owned.get(message.tp) or await self._take_over(message.tp)
            if message.start > owned.state.next_offset >= 0:
                self._app.consumer.rewind(message.tp, owned.state.next_offset)
                return  # the state is of an earlier moment than the commit: what lies between is read again
            session = self._engine.session(self._name)  # one version for the whole chunk

            # 1. Decide: who, when, what, x. 2. Score, but for what an edge has scored. 3. Send. 4. Hold the
            # acknowledgement until all of it is durable.
            with self._metrics.chunk().time():
                owned.state.counts.gaps += owned.intake.add(message)
                taken = owned.state.take(message.value)
                crash_point("scorer.after_decision")
                self._score(taken, session)
                crash_point("scorer.after_score")
                await self._send(message.tp.partition, owned, taken, session)
                crash_point("scorer.after_send")
            owned.held.hold(message)
            owned.busy_at_s = time.monotonic()
            if owned.held.due:
                await self._settle(owned)

    def _score(self, taken: Taken, session: Session) -> None:
        if unscored := taken.unscored:
            scores = session.score([pending.x for pending in unscored])
            for pending, score in zip(unscored, scores, strict=True):
                pending.score = score
                pending.version = session.version

    async def _send(self, partition: int, owned: Owned, taken: Taken, session: Session) -> None:
        for record, poison in taken.dead:
            headers = dead_letter_headers(record, poison)
            self._metrics.dead_letters(poison.stage).inc()
            owned.held.sent.append(
                await self._sender.send(
                    self._topic[DEAD_LETTERS], record.key, record.value, partition=partition, headers=headers
                )
            )
        if taken.dead:
            record, poison = taken.dead[0]
            log.warning(
                "dead_letters partition=%d count=%d first_offset=%d stage=%s: %s (see `freshet dead-letters list`)",
                partition,
                len(taken.dead),
                record.offset,
                poison.stage,
                poison.reason,
            )
        # In the partition of the event, whatever the key says: a visitor's records stay together and in order.
        for topic, to, records in (
            (SCORES, partition, self._score_records(taken, session.learned_through)),
            (EXAMPLES, self._examples_partition, self._example_records(partition, owned, taken.closed)),
            (PROFILES, partition, self._profile_records(taken)),
        ):
            owned.held.sent += await self._sender.send_chunk(self._topic[topic], to, records)
        if owned.state.counts.forwarded_unusable and not owned.unusable_told:
            owned.unusable_told = True
            log.warning(
                "forwarded_unusable partition=%d: a record has an edge's score that no model of this definition can "
                "have made; such events are scored here (counted, told once)",
                partition,
            )
        if owned.state.counts.misplaced and not owned.misplaced_told:
            owned.misplaced_told = True
            log.warning(
                "event_misplaced partition=%d: a record's key is not its event's primary identity; such a visitor's "
                "events may lie in several partitions and are joined in each alone (counted, told once)",
                partition,
            )

    def _score_records(self, taken: Taken, learned_through: LearnedThrough) -> Iterator[Record]:
        now_ms = time.time_ns() // 1_000_000
        for pending in taken.pendings:
            said = taken.forwarded.get(pending.number)
            score = Score(
                id=score_id(self._name, pending.event),
                event=pending.event,
                visitor=pending.visitor,
                model=self._name,
                version=pending.version,
                score=pending.score,
                learned_through=learned_through if said is None else said.learned,
                event_time=pending.time_ms,
                scored_at=now_ms if said is None else said.scored_at_ms,
                valid_until=pending.time_ms + self._model.spec.within_ms,
            )
            yield pending.visitor.encode(), encode(score)

    def _example_records(self, partition: int, owned: Owned, closed: list[Closed]) -> Iterator[Record]:
        for seq, each in zip(owned.state.number(len(closed)), closed, strict=True):
            pending = each.pending
            numbers, categories = self._model.reader.named(pending.x)
            example = Example(
                id=score_id(self._name, pending.event),
                model=self._name,
                event=pending.event,
                visitor=pending.visitor,
                numbers=numbers,
                categories=categories,
                y=each.y,
                score=pending.score,
                version=pending.version,
                event_time=pending.time_ms,
                closed_at=each.closed_at_ms,
                source=Source(partition=partition, seq=seq),
            )
            yield self._name.encode(), encode(example)

    def _profile_records(self, taken: Taken) -> Iterator[Record]:
        for visitor in taken.forgotten:
            yield f"{self._name}/{visitor}".encode(), None
        for visitor, profile in taken.touched.items():
            record = VisitorProfile(
                model=self._name, visitor=visitor, seen=profile.seen_ms, times=profile.times, last=profile.last
            )
            yield f"{self._name}/{visitor}".encode(), encode(record)

    async def keep_time(self) -> None:
        """Journal what is due, and let time pass in partitions where nothing happens."""
        async with self._turn:
            if self._revoking:
                return
            # A partition without a new event may hold pendings all the same: it is taken over before its first chunk.
            for tp in self._app.consumer.assignment():
                if tp.topic == self._topic[EVENTS] and tp not in self._owned:
                    await self._take_over(tp)
            now_s = time.monotonic()
            self._books.strike(self._balances, now_s)
            self._tell_progress(now_s)
            for tp, owned in self._owned.items():
                if owned.held.due:
                    await self._settle(owned)
                idle_s = now_s - owned.busy_at_s
                if idle_s >= IDLE_S and owned.state.join.waiting:
                    owned.busy_at_s = now_s
                    value = tick_value(owned.state.newest_ms + int(idle_s * 1000))
                    await self._sender.send(
                        self._topic[EVENTS], None, value, partition=tp.partition, headers=tick_headers()
                    )

    def _tell_progress(self, now_s: float) -> None:
        if now_s < self._progress_due_s:
            return
        self._progress_due_s = now_s + PROGRESS_S
        counts = Counts.sum(owned.state.counts for owned in self._owned.values())
        waiting = sum(owned.state.join.waiting for owned in self._owned.values())
        told = f"{counts} pending={waiting}"
        if told != self._progress_told:
            self._progress_told = told
            log.info("progress model=%s partitions=%d %s", self._name, len(self._owned), told)

    async def let_go(self) -> None:
        """Make everything durable and acknowledge it: the partitions may go to another worker."""
        self._revoking = True
        try:
            async with self._turn:
                for tp, owned in self._owned.items():
                    crash_point("revoke.before_settle")
                    await self._settle(owned)
                    crash_point("revoke.after_settle")
                    log.info("partition_let_go model=%s partition=%d %s", self._name, tp.partition, owned.state.counts)
        finally:
            # Where that takes too long too: a partition that comes back has its state from the journal, as anybody's.
            self._owned = {}
            self._metrics.forget_partitions()

    def go_on(self) -> None:
        """Take chunks again, after a rebalance."""
        self._revoking = False

    @property
    def waits_for(self) -> str:
        """What this waits for that is no fault of its own; empty, nothing."""
        if self._engine.version(self._name) >= 0:
            return ""
        return f"the first release of {self._name}; is `freshet worker learner` running?"

    def positions(self) -> dict[TP, int]:
        """Return the partitions of `events` that are this worker's, and up to where each is handled."""
        mine = [tp for tp in self._app.consumer.assignment() if tp.topic == self._topic[EVENTS]]
        return {tp: self._owned[tp].state.next_offset if tp in self._owned else -1 for tp in mine}

    def _balances(self) -> list[Balance]:
        balances: list[Balance] = []
        for tp, owned in self._owned.items():
            partition, state = tp.partition, owned.state
            counts, join = state.counts, state.join
            in_flight = self._app.consumer.in_flight(tp)
            opened = {
                "positive": join.positive,
                "negative": join.negative,
                "open": sum(1 for _ in join.pendings),  # counted, where `join.waiting` is what should be
            }
            balances += [
                Balance(
                    EVENTS_LAW, partition, owned.intake.through + in_flight, counts.parts | {"in_flight": in_flight}
                ),
                Balance(PENDINGS_LAW, partition, counts.parts["scored"], opened),
                Balance(LABELS_LAW, partition, join.positive + join.negative, {"sent": state.seq}),
            ]
            total(self._metrics.misplaced(partition), counts.misplaced)
            total(self._metrics.forwarded(partition, "taken"), counts.forwarded)
            total(self._metrics.forwarded(partition, "unusable"), counts.forwarded_unusable)
            total(self._metrics.rewinds(partition), self._app.consumer.rewinds[tp])
            self._metrics.epoch(partition).set(owned.held.epoch)
            self._metrics.snapshot(partition).set(state.snapshot_progress)
        return balances

    async def _settle(self, owned: Owned) -> None:
        with self._metrics.settle().time():
            written_bytes = await owned.held.settle(owned.state, self._app.consumer)
        if written_bytes:
            self._metrics.journal_entries().inc()
            self._metrics.journal_bytes().inc(written_bytes)

    async def _take_over(self, tp: TP) -> Owned:
        if self._examples_partition < 0:
            self._examples_partition = await self._sender.partition_of(self._topic[EXAMPLES], self._name.encode())
        key = f"{self._name}/{tp.partition}"
        journal = Journal(self._cluster, self._sender, JOURNAL_SCORER, tp.partition, key, self._secret)
        entries = await journal.take_over()
        reader = self._model.reader
        state = Partition.restore(reader, bodies(entries)) if entries else Partition(reader)
        state.next_offset = await resumed_at(self._app, tp, state.next_offset, key)
        crash_point("takeover.after_restore")
        owned = self._owned[tp] = Owned(state, Held(journal), Intake(state.next_offset), busy_at_s=time.monotonic())
        log.info(
            "partition_taken model=%s partition=%d next_offset=%d visitors=%d pendings=%d epoch=%d %s",
            self._name,
            tp.partition,
            state.next_offset,
            len(state.profiles),
            state.join.waiting,
            journal.epoch,
            state.counts,
        )
        return owned

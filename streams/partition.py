"""Partition: everything the scorer knows of one events partition, as a function of that partition's log.

No clock, no Kafka client, no chunk boundary decides anything here: the same records give the same examples however
they were cut into chunks and whenever they were read.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from learners.join import Closed, Join, Pending
from schemas.errors import EventInvalid, Poison, StateUnreadable
from schemas.features import Spec
from schemas.generated import APPLIES, OUTCOME
from schemas.profile import Profile
from schemas.reader import FUTURE_MS, Event, Reader, X
from schemas.score_header import EdgeScore, ScoreHeader
from schemas.tick import TICK_HEADER, read_tick
from streams.changes import (
    FORMAT,
    LEAST_ROWS,
    Body,
    Changes,
    Rows,
    Snapshot,
    Totals,
    encode_body,
    put_together,
)
from streams.journal import Change


@dataclass(slots=True)
class Taken:
    """What a chunk comes to.

    Attributes:
        pendings: one per event that the model applies to, in log order.
        forwarded: what an edge said of those that it had scored, by `Pending.number`; the others want a score.
        closed: labels that became known, in log order.
        dead: records that can never be processed, and why.
        touched: visitors whose profile changed, with the profile as the chunk leaves it.
        forgotten: visitors who were not seen for so long that nothing is remembered of them.
    """

    pendings: list[Pending] = field(default_factory=list)
    forwarded: dict[int, EdgeScore] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)
    dead: list[tuple[ConsumerRecord, Poison]] = field(default_factory=list)
    touched: dict[str, Profile] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    @property
    def unscored(self) -> list[Pending]:
        """The pendings that want a score."""
        if not self.forwarded:
            return self.pendings
        return [pending for pending in self.pendings if pending.number not in self.forwarded]


@dataclass(slots=True)
class Counts:
    """How many records of a partition came to what; each record is counted once, see `streams/law.py`."""

    scored: int = 0
    not_applicable: int = 0
    duplicate: int = 0
    dead: int = 0
    ticks: int = 0
    late: int = 0  # of the scored ones: no label will be known for them
    misplaced: int = 0  # of all: the record's key is not its event's identity
    gaps: int = 0  # offsets that hold no record, those before the first one read among them
    forwarded: int = 0  # of the scored ones: by an edge, and taken from there
    forwarded_unusable: int = 0  # of the scored ones: by an edge too, but what it says cannot be taken

    @classmethod
    def sum(cls, parts: Iterable[Counts]) -> Counts:
        """Return the counts of several partitions together.

        >>> Counts.sum([Counts(scored=1), Counts(scored=2, late=1)])
        Counts(scored=3, not_applicable=0, duplicate=0, dead=0, ticks=0, late=1, misplaced=0, gaps=0, forwarded=0,
               forwarded_unusable=0)
        """
        rows = [[getattr(part, name) for name in cls.__dataclass_fields__] for part in parts]
        return cls(*(sum(column) for column in zip(*rows, strict=True)))

    @property
    def parts(self) -> dict[str, int]:
        """What each offset that was read came to, in parts that do not overlap.

        >>> sum(Counts(scored=3, late=1, dead=2, misplaced=4, gaps=1).parts.values())
        6
        """
        return {
            "scored": self.scored - self.late,
            "late": self.late,
            "not_applicable": self.not_applicable,
            "duplicate": self.duplicate,
            "dead": self.dead,
            "ticks": self.ticks,
            "gaps": self.gaps,
        }

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__dataclass_fields__)


class Partition:
    """The profiles, pendings and position of one events partition.

    Attributes:
        next_offset: everything before it is in the state; -1, before the first record.
        newest_ms: the newest event time seen; the watermark lags it by the model's lateness.
        seq: the number of the next example.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._spec = reader.spec
        self._header = ScoreHeader(reader)
        self.next_offset = -1
        self.newest_ms = 0
        self.seq = 0
        # In order of their last event: the first are the first to be forgotten. Not a dict: that has to step over all
        # that was deleted at its front to find its first.
        self.profiles: OrderedDict[str, Profile] = OrderedDict()
        self.join = Join(reader.spec.within_ms)
        self.counts = Counts()
        # Event ids, with their times, as long as a repeat could still matter.
        self._known: OrderedDict[str, int] = OrderedDict()
        self._events = 0  # how many were ever known
        self._changes = Changes(-1)
        self._snapshot: Snapshot | None = None

    @property
    def watermark_ms(self) -> int:
        """The event time before which nothing is waited for."""
        return self.newest_ms - self._spec.lateness_ms

    def take(self, records: Sequence[ConsumerRecord]) -> Taken:
        """Take the records of a chunk; those that are in the state already are passed over."""
        taken = Taken()
        for record in records:
            if record.offset < self.next_offset:
                continue
            self.next_offset = record.offset + 1
            try:
                if record.headers and any(name == TICK_HEADER for name, _ in record.headers):
                    self._tick(record, taken)
                else:
                    self._event(record, taken)
            except Poison as poison:
                self.counts.dead += 1
                taken.dead.append((record, poison))
        closed = (each.pending for each in taken.closed)
        self._changes.add(taken.pendings, closed, taken.touched, taken.forgotten)
        return taken

    def _event(self, record: ConsumerRecord, taken: Taken) -> None:
        event = self._reader.read(record.value, record.timestamp)
        visitor, time_ms, kinds = event.visitor, event.time_ms, event.kinds
        applies = kinds & APPLIES
        profile = self.profiles.get(visitor)
        # Before anything is remembered: x is what was known when the event came, and an absurd x is poison.
        x = self._reader.x(event, profile) if applies else None
        if event.id in self._known:
            self.counts.duplicate += 1
            return
        self._known[event.id] = time_ms
        self._changes.known.append((event.id, time_ms))
        if record.key is None or record.key != visitor.encode():
            self.counts.misplaced += 1

        watermark_ms = self.newest_ms - self._spec.lateness_ms
        late = time_ms < watermark_ms
        if kinds & OUTCOME:  # a late one too: it still decides what is still open
            taken.closed += self.join.outcome(visitor, time_ms)
            self._changes.outcomes.append((time_ms, visitor))
        if x is not None:
            pending = Pending(event.id, visitor, time_ms, x, number=self._events)
            if record.headers and (said := self._said_by_edge(record, event, x)) is not None:
                # What was known when it was scored, which is not always what is known when it is read.
                pending.x, pending.score, pending.version = said.x, said.score, said.version
                taken.forwarded[pending.number] = said
            taken.pendings.append(pending)
            self.counts.scored += 1
            if late:
                self.counts.late += 1
                pending.open = False  # it never was: no label will be known for it
            elif (closed := self.join.open(pending)) is not None:
                taken.closed.append(closed)
        else:
            self.counts.not_applicable += 1
        self._events += 1
        profile = self._reader.remember(profile, time_ms, kinds)
        profile.touched = record.offset
        self.profiles[visitor] = taken.touched[visitor] = profile
        taken.forgotten.discard(visitor)
        self.profiles.move_to_end(visitor)
        if time_ms > self.newest_ms:
            self._advance(time_ms, taken)

    def _said_by_edge(self, record: ConsumerRecord, event: Event, x: X) -> EdgeScore | None:
        """Return the score with which an edge forwarded a record; None where there is none, or none that can be taken.

        The record itself decides, nothing else: so whoever reads it again decides the same.
        """
        value = self._header.find(record.headers)
        if value is None:
            return None
        try:
            said = self._header.read(value, event, x)
        except EventInvalid:
            self.counts.forwarded_unusable += 1
            return None
        self.counts.forwarded += 1
        return said

    def _tick(self, record: ConsumerRecord, taken: Taken) -> None:
        time_ms = read_tick(record.value)
        if time_ms > record.timestamp + FUTURE_MS:
            raise Poison("validate", "tick is more than 5 minutes ahead of its record")
        self.counts.ticks += 1
        if time_ms > self.newest_ms:
            self._advance(time_ms, taken)

    def _advance(self, newest_ms: int, taken: Taken) -> None:
        self.newest_ms = newest_ms
        watermark_ms = newest_ms - self._spec.lateness_ms
        taken.closed += self.join.advance(watermark_ms)
        _forget(self._known, watermark_ms - self._spec.within_ms)
        # All that are old enough, not one an event: where times are whole seconds, of many events one gets here.
        horizon_ms = watermark_ms - self._spec.remembers_ms
        while self.profiles:
            visitor = next(iter(self.profiles))
            if self.profiles[visitor].seen_ms >= horizon_ms:
                break
            del self.profiles[visitor]
            taken.touched.pop(visitor, None)
            taken.forgotten.add(visitor)

    def number(self, closed: int) -> range:
        """Return the numbers of the next `closed` examples."""
        first, self.seq = self.seq, self.seq + closed
        return range(first, self.seq)

    def change(self) -> Change:
        """Return the next journal entry: what changed since the last, and a slice of the snapshot under way."""
        totals = self.totals
        changed = self._changes.rows(totals)
        begins = self._snapshot is None
        snapshot = self._snapshot or self._new_snapshot(self._changes.from_offset, changed)
        rows = snapshot.slice(max(self._changes.size, LEAST_ROWS), totals, self.profiles)
        body = self._body(totals, changed, rows, self._changes.closed, sorted(self._changes.forgotten))
        self._changes = Changes(self.next_offset)
        self._snapshot = None if snapshot.done else snapshot
        return Change(body, begins=begins, ends=snapshot.done)

    @property
    def snapshot_progress(self) -> float:
        """How much of the snapshot under way is in journal entries, from 0 to 1; 1 where none is under way."""
        return 1.0 if self._snapshot is None else self._snapshot.progress

    def snapshot(self) -> bytes:
        """Return the whole state as one body, from which `restore` makes an equal one."""
        totals = self.totals
        nothing = Rows(known_at=totals.events, outcomes_at=totals.outcomes_read)
        everything = self._new_snapshot(self.next_offset, nothing)
        return self._body(totals, nothing, everything.slice(sys.maxsize, totals, self.profiles), [], [])

    def _new_snapshot(self, from_offset: int, changed: Rows) -> Snapshot:
        return Snapshot(from_offset, changed, self._known, self.join, self.profiles)

    def _body(self, totals: Totals, changed: Rows, rows: Rows, closed: list[int], forgotten: list[str]) -> bytes:
        return encode_body(Body(FORMAT, self._spec.to_json(), totals, changed, closed, forgotten, rows))

    @property
    def totals(self) -> Totals:
        """Positions and counts as they are now."""
        join = self.join
        return Totals(
            next_offset=self.next_offset,
            newest_ms=self.newest_ms,
            seq=self.seq,
            events=self._events,
            known=len(self._known),
            outcomes_read=join.outcomes_read,
            outcomes=len(join.outcomes),
            opened=join.opened,
            positive=join.positive,
            negative=join.negative,
            profiles=len(self.profiles),
            counts=[getattr(self.counts, name) for name in Counts.__dataclass_fields__],
        )

    @classmethod
    def restore(cls, reader: Reader, bodies: Sequence[bytes]) -> Partition:
        """Return the state that journal entries describe, first to last.

        Raises:
            StateUnreadable: damaged, missing, or of a model that reads other things.
        """
        try:
            last, known, join, profiles = put_together(bodies)
            spec, counts = Spec.from_json(last.spec), Counts(*last.totals.counts)
        except (LookupError, TypeError, ValueError) as error:
            raise StateUnreadable(f"the scorer's journal entries are damaged: {error!r}") from error
        if spec != reader.spec:
            raise StateUnreadable(
                f"{reader.spec.name} ran with another definition (features, outcome or times) than the model file has "
                "now; give the model a new name, so that it starts afresh beside the old one"
            )
        now = last.totals
        partition = cls(reader)
        partition.next_offset = now.next_offset
        partition.newest_ms = now.newest_ms
        partition.seq = now.seq
        partition.profiles.update(
            (visitor, Profile(seen_ms, times, last_times, touched))
            for visitor, touched, seen_ms, times, last_times in profiles
        )
        partition.join = Join.from_rows(reader.spec.within_ms, join)
        partition._known = known
        partition._events = now.events
        partition.counts = counts
        partition._changes = Changes(now.next_offset)
        return partition


def _forget(known: OrderedDict[str, int], horizon_ms: int) -> None:
    # In arrival order, which is event-time order but for the disorder: the first is old enough or none is.
    while known:
        first = next(iter(known))
        if known[first] >= horizon_ms:
            return
        del known[first]

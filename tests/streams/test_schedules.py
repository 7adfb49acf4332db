"""Ten thousand schedules: what a partition answers is what the rules say, whatever arrives and in whatever order.

A schedule is a log made from a seed: visitors, events, outcomes, repeats, disorder, ticks, poison, records from the far
future and records with an edge's score, or what is none, cut into chunks anywhere. Times are milliseconds and windows a
few dozen of them, so that the edges of every window are met thousands of times. A failing schedule is made small and
shown with its seed. (A generator of our own: a schedule takes 2 ms, and Hypothesis alone would take more than that to
draw it.)
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import msgspec
import pytest
from aiokafka import ConsumerRecord

from learners.join import Pending
from schemas.features import Count, SecondsSince, Spec, category, hour, number
from schemas.reader import FUTURE_MS, Reader
from schemas.tick import TICK_HEADER, tick_headers, tick_value
from streams.partition import Partition, Taken
from tests.schemas.events import ADD, NOW_MS, PURCHASE, VIEW, iso, spec_of
from tests.streams.oracle import Oracle, Row, labels_in_truth, rows_of

SCHEDULES: Final = 10_000
MOST_EVENTS: Final = 16
FEATURES: Final = (
    number("search.position"),
    category("eventType"),
    Count(VIEW, 40, "views"),
    Count(PURCHASE, 150, "purchases"),
    SecondsSince(PURCHASE, "since purchase"),
    SecondsSince(ADD, "since add"),
    hour(),
)
SPECS: Final = {
    "usual": spec_of(*FEATURES, within_ms=60, lateness_ms=10, remembers_ms=200),
    "no-disorder": spec_of(*FEATURES, within_ms=60, lateness_ms=0, remembers_ms=200),
    "patient": spec_of(*FEATURES, within_ms=20, lateness_ms=50, remembers_ms=100),
    "forgetful": spec_of(*FEATURES, within_ms=60, lateness_ms=10, remembers_ms=30),
    "scores-outcomes": spec_of(*FEATURES, within_ms=60, lateness_ms=10, remembers_ms=200, applies_to=(VIEW, PURCHASE)),
}
READERS: Final = {spec: Reader(spec) for spec in SPECS.values()}
POISON: Final = (
    b"{",
    b"",
    None,
    b"[]",
    b'{"_id": 7}',
    b'{"_id": "p", "timestamp": "2026-01-01T00:00:00", "identityMap": {"ECID": [{"id": "a"}]}}',
    b'{"_id": "p", "timestamp": "2026-01-01T00:00:00Z", "identityMap": {"ECID": []}}',
)
_ISO: Final = [iso(NOW_MS + offset_ms) for offset_ms in range(4000)]


# --- schedules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of a schedule, its time counted from the start."""

    what: str
    name: str = ""
    visitor: str = ""
    kind: str = ""
    time_ms: int = 0
    at_ms: int = 0
    said: str = ""  # by an edge: "score", or what is wrong with what it says

    @property
    def is_far(self) -> bool:
        """Whether it is from too far ahead of its own record to be believed."""
        return self.what != "poison" and self.time_ms > self.at_ms + FUTURE_MS

    def record(self, offset: int, spec: Spec) -> ConsumerRecord:
        """The record as Kafka holds it."""
        value = POISON[self.time_ms % len(POISON)] if self.what == "poison" else self._value()
        headers = tuple(tick_headers()) if self.what == "tick" else self._score_headers(spec) if self.said else ()
        return ConsumerRecord(
            topic="events", partition=0, offset=offset, timestamp=NOW_MS + self.at_ms, timestamp_type=0,
            key=self.visitor.encode(), value=value, checksum=None, serialized_key_size=1, serialized_value_size=1,
            headers=headers,
        )  # fmt: skip

    def _value(self) -> bytes:
        if self.what == "tick":
            return tick_value(NOW_MS + self.time_ms)
        when = _ISO[self.time_ms] if self.time_ms < len(_ISO) else iso(NOW_MS + self.time_ms)
        position = "1e12" if self.what == "absurd" else str(self.time_ms % 3)
        return (
            f'{{"_id": "{self.name}", "timestamp": "{when}", "eventType": "{self.kind}", "search": {{"position": '
            f'{position}}}, "identityMap": {{"ECID": [{{"id": "{self.visitor}", "primary": true}}]}}}}'
        ).encode()

    def _score_headers(self, spec: Spec) -> tuple[tuple[str, bytes], ...]:
        """What an edge says of it that knew another moment of the visitor's past."""
        if self.said == "of another model":
            return (("freshet.score.other", b"whatever"),)
        time_ms, nan = self.time_ms, float("nan")
        since_s = nan if time_ms % 2 else time_ms / 1000
        hours = float((NOW_MS + time_ms) // 3_600_000 % 24)
        numbers = [float(time_ms % 3), float(time_ms % 5), 7.0, since_s, nan, hours]
        digest = hashlib.sha256(spec.to_json().encode()).digest()[:8]
        fields: list[Any] = [1, digest, f"m/{self.name}", time_ms, 0.25, 3, 4, 5, None, numbers, [self.kind]]
        match self.said:
            case "format":
                fields[0] = 2
            case "spec":
                fields[1] = bytes(8)
            case "event":
                fields[2] = "m/another"
            case "version":
                fields[3] = -1
            case "score":
                pass
            case "no score":
                fields[4] = nan
            case "width":
                numbers.pop()
            case "number":
                numbers[0] += 1
            case "hour":
                numbers[5] = nan
            case "count":
                numbers[1] = -1.0
            case "recency":
                numbers[3] = float("inf")
            case "category":
                fields[10] = ["another"]
        value = msgspec.msgpack.encode(fields)
        return (("freshet.score.m", value[:-1] if self.said == "cut" else value), ("freshet.score.m", b"a second one"))


SAID: Final = (
    *[""] * 12, *["score"] * 12, "of another model", "format", "spec", "event", "version", "no score", "width",
    "number", "hour", "count", "recency", "category", "cut",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schedule:
    """A log in the order of its arrival, and where it is cut into chunks.

    Attributes:
        in_time: nothing but repeats arrives later than the lateness allows.
    """

    spec: Spec
    sent: tuple[Sent, ...]
    cuts: tuple[int, ...]
    in_time: bool

    @property
    def records(self) -> list[ConsumerRecord]:
        return _records(self.sent, self.spec)

    @property
    def rows(self) -> list[Row]:
        return rows_of(self.records, TICK_HEADER, "freshet.score.m")

    def __str__(self) -> str:
        lines = "".join(f"\n  {each}" for each in self.sent)
        return f"{self.spec.within_ms=} {self.spec.lateness_ms=} {self.spec.remembers_ms=} cuts={self.cuts}{lines}"


@lru_cache(maxsize=4)
def _records(sent: tuple[Sent, ...], spec: Spec) -> list[ConsumerRecord]:
    return [each.record(offset, spec) for offset, each in enumerate(sent)]


def schedule_of(spec: Spec, seed: int) -> Schedule:
    """Return the schedule of a seed; every other one has nothing late in it but repeats."""
    rng = random.Random(seed)
    in_time = bool(seed % 2)
    arriving = _events(rng, spec, in_time)
    for (arrives_ms, each), odd in zip(list(arriving), rng.choices(_ODD, k=len(arriving)), strict=True):
        arriving += _odd(rng, spec, arrives_ms, each, odd, in_time=in_time)
    arriving.sort(key=lambda each: each[0])
    # Each copy for itself: of two, one may have come by an edge, and the first one counts.
    sent = [replace(each, said=rng.choice(SAID)) if each.what == "event" else each for _, each in arriving]
    if in_time:
        over_ms = max(each.time_ms for each in sent if not each.is_far) + spec.within_ms + spec.lateness_ms + 1
        sent.append(Sent("tick", time_ms=over_ms, at_ms=over_ms))
    cuts = sorted(rng.choices(range(len(sent) + 1), k=rng.choice((0, 1, 4))))
    return Schedule(spec, tuple(sent), tuple(cuts), in_time)


_ODD: Final = ("", "", "", "", "again", "again", "poison", "absurd", "far", "far tick", "tick", "other")


def _events(rng: random.Random, spec: Spec, in_time: bool) -> list[tuple[int, Sent]]:
    within_ms, lateness_ms, remembers_ms = spec.within_ms, spec.lateness_ms, spec.remembers_ms
    # Half of the steps lead to the very edge of some window.
    steps: tuple[int, ...] = (
        0,
        1,
        lateness_ms,
        within_ms,
        within_ms + 1,
        within_ms + lateness_ms,
        within_ms + lateness_ms + 1,
    )
    steps += (40, 150, remembers_ms, remembers_ms + 1, *range(0, 28, 3))
    delays: tuple[int, ...] = (0, 0, lateness_ms, lateness_ms // 2, 1 if lateness_ms else 0)
    if not in_time:
        delays += (lateness_ms + 1, within_ms, within_ms + lateness_ms + 1, remembers_ms)
    time_ms = remembers_ms
    events: list[tuple[int, Sent]] = []
    for place in range(rng.randint(3, MOST_EVENTS)):
        time_ms = max(0, time_ms + rng.choice(steps) * rng.choice((1, 1, 1, 1, -1)) // rng.choice((1, 1, 2)))
        arrives_ms = time_ms + rng.choice(delays)
        kind, visitor = rng.choice((VIEW, VIEW, VIEW, PURCHASE, PURCHASE, ADD)), rng.choice("aab")
        events.append((arrives_ms, Sent("event", str(place), visitor, kind, time_ms, _at(rng, time_ms, arrives_ms))))
    return events


def _at(rng: random.Random, time_ms: int, arrives_ms: int) -> int:
    # A producer's clock may be wrong; 5 minutes ahead is just still believed.
    return rng.choice((arrives_ms, arrives_ms, time_ms - FUTURE_MS, arrives_ms + 10**7))


def _odd(
    rng: random.Random, spec: Spec, arrives_ms: int, of: Sent, odd: str, *, in_time: bool
) -> list[tuple[int, Sent]]:
    """Return what else arrives because of an event: repeats of it, or something broken, with its name or about then."""
    known_ms = spec.within_ms + spec.lateness_ms
    ahead_ms = of.at_ms + FUTURE_MS + rng.choice((1, 1, 1000, 10**9))
    later_ms = arrives_ms + rng.choice((0, 1, spec.within_ms, known_ms, known_ms + 1, 2 * known_ms, spec.remembers_ms))
    match odd:
        case "again":
            return [(later_ms, replace(of, at_ms=max(of.at_ms, later_ms)))]
        case "other" if not in_time:  # the name again, for another event: which one counts is up to the order
            return [(later_ms, replace(of, time_ms=later_ms, at_ms=later_ms, kind=PURCHASE))]
        case "poison":
            return [(later_ms, Sent("poison", time_ms=later_ms, at_ms=later_ms))]
        case "absurd":
            return [(arrives_ms - 1, replace(of, what="absurd", kind=VIEW))]
        case "far":
            return [(arrives_ms - 1, replace(of, time_ms=ahead_ms))]
        case "far tick":
            return [(arrives_ms - 1, Sent("tick", time_ms=ahead_ms, at_ms=of.at_ms))]
        case "tick":
            return [(arrives_ms, Sent("tick", time_ms=of.time_ms, at_ms=arrives_ms))]
    return []


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What a chunk, or a whole log, came to: in the order of the log, but for the labels that one record made known."""

    scored: tuple[Any, ...]
    labels: tuple[Any, ...]
    dead: tuple[int, ...]


@lru_cache(maxsize=8)  # of one schedule, each law asks again
def of_partition(schedule: Schedule) -> list[Answer]:
    """Return what `Partition` answers, chunk by chunk."""
    partition, records = Partition(READERS[schedule.spec]), schedule.records
    answers = []
    for start, end in _chunks(schedule):
        taken = partition.take(records[start:end])
        scored = [(each.event, _plain(each.x), _by_edge(each, taken)) for each in taken.pendings]
        labels = [(each.pending.event, each.y, _plain(each.pending.x)) for each in taken.closed]
        answers.append(Answer(tuple(scored), _sorted(labels), tuple(record.offset for record, _ in taken.dead)))
    return answers


def of_oracle(schedule: Schedule, spec: Spec) -> list[Answer]:
    """Return what the rules say, chunk by chunk."""
    oracle = Oracle(spec)
    read = [oracle.read(row) for row in schedule.rows]
    answers = []
    for start, end in _chunks(schedule):
        scored = [(each.event, _plain(each.x), each.by_edge) for each in read[start:end] if each.x is not None]
        labels = [(label.event, label.y, _plain(label.x)) for each in read[start:end] for label in each.closed]
        dead = [offset for offset in range(start, end) if read[offset].what == "dead"]
        answers.append(Answer(tuple(scored), _sorted(labels), tuple(dead)))
    return answers


def _by_edge(pending: Pending, taken: Taken) -> tuple[float, int] | None:
    """Score and version that are settled, since an edge has said them."""
    return (pending.score, pending.version) if pending.number in taken.forwarded else None


def _chunks(schedule: Schedule) -> list[tuple[int, int]]:
    ends = sorted({0, len(schedule.sent), *(cut for cut in schedule.cuts if cut < len(schedule.sent))})
    return list(itertools.pairwise(ends))


def _plain(x: Any) -> Any:
    numbers, categories = x
    return tuple(-1.0 if value != value else value for value in numbers), categories  # a NaN equals nothing


def _sorted(labels: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(sorted(labels))


def labels_of(schedule: Schedule) -> list[tuple[str, bool]]:
    """Return the labels that `Partition` gives in the end."""
    return sorted((event, y) for answer in of_partition(schedule) for event, y, _ in answer.labels)


# --- what must hold ---------------------------------------------------------------------------------------------------


def as_the_rules_say(schedule: Schedule) -> bool:
    """Scores wanted with their x, labels with theirs, and dead letters: chunk by chunk those of the oracle."""
    return of_partition(schedule) == of_oracle(schedule, schedule.spec)


def one_label_each(schedule: Schedule) -> bool:
    """No event gets a second label, however late it is repeated; with another time it is another event."""
    times = {(each.name, each.time_ms) for each in schedule.sent if each.what == "event" and not each.is_far}
    several = Counter(name for name, _ in times)
    return all(count <= several[event] for event, count in Counter(event for event, _ in labels_of(schedule)).items())


def order_decides_nothing(schedule: Schedule) -> bool:
    """The same (event, y) as in the order of time, and as with everything known at once; x may differ."""
    if not schedule.in_time:
        return True
    in_order = replace(schedule, sent=tuple(sorted(schedule.sent, key=lambda each: each.time_ms)))
    return labels_of(schedule) == labels_of(in_order) == sorted(labels_in_truth(schedule.spec, schedule.rows))


def the_far_future_decides_nothing(schedule: Schedule) -> bool:
    """Without what is too far ahead of its record, all other answers are the same; and no window ends before it can."""
    near = replace(schedule, sent=tuple(each for each in schedule.sent if not each.is_far))
    if near.sent == schedule.sent:
        return True
    return _in_all(schedule) == _in_all(near) and _no_window_ended_early(schedule)


def _in_all(schedule: Schedule) -> Any:
    answers = of_partition(schedule)
    return (
        [scored for answer in answers for scored in answer.scored],
        sorted(label for answer in answers for label in answer.labels),
    )


def _no_window_ended_early(schedule: Schedule) -> bool:
    spec, partition, brokers_ms = schedule.spec, Partition(READERS[schedule.spec]), 0
    for record in schedule.records:
        brokers_ms = max(brokers_ms, record.timestamp)
        ends_ms = [c.pending.time_ms + spec.within_ms for c in partition.take([record]).closed if not c.y]
        if ends_ms and max(ends_ms) >= brokers_ms + FUTURE_MS - spec.lateness_ms:
            return False
    return True


LAWS: Final = (as_the_rules_say, one_label_each, order_decides_nothing, the_far_future_decides_nothing)


def smallest(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Return a schedule that fails too, of which no record and no cut can be left out."""
    smaller = [replace(schedule, cuts=())] if schedule.cuts else []
    smaller += [
        replace(schedule, sent=schedule.sent[:place] + schedule.sent[place + 1 :])
        for place in range(len(schedule.sent) - schedule.in_time)  # the tick at the end stays
    ]
    return next((smallest(each, fails) for each in smaller if fails(each)), schedule)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("name", SPECS)
def test_ten_thousand_schedules_obey_the_laws(name: str, quarter: int) -> None:
    """Duplicates, late events, disorder, ticks, poison, the far future, and chunks cut anywhere."""
    count = SCHEDULES // len(SPECS) // 4
    for seed in range(quarter * count, (quarter + 1) * count):
        schedule = schedule_of(SPECS[name], seed)
        for law in LAWS:
            assert law(schedule), _told(schedule, seed, law)


def _told(schedule: Schedule, seed: int, law: Callable[[Schedule], bool]) -> str:
    small = smallest(schedule, lambda each: not law(each))
    found = f"{of_partition(small)}\nthe rules say {of_oracle(small, small.spec)}"
    return f"seed {seed}: {law.__name__} does not hold; smallest schedule: {small}\nfound {found}"


def test_the_first_of_two_copies_decides_whose_score_it_is() -> None:
    """One by the edge and one not, both ways: the label's x is that of the first."""
    plain = Sent("event", "e", "a", VIEW, time_ms=100, at_ms=100)
    by_edge = replace(plain, said="score")
    end = Sent("tick", time_ms=1000, at_ms=1000)
    first_plain, first_by_edge = (
        Schedule(SPECS["usual"], sent, (), in_time=True) for sent in ((plain, by_edge, end), (by_edge, plain, end))
    )

    assert [(None, 0.0), ((0.25, 100), 7.0)] == [
        (answer.scored[0][2], answer.labels[0][2][0][2])
        for schedule in (first_plain, first_by_edge)
        for answer in of_partition(schedule)
    ]
    assert as_the_rules_say(first_plain)
    assert as_the_rules_say(first_by_edge)


@pytest.mark.parametrize("field", ["within_ms", "lateness_ms", "remembers_ms"])
@pytest.mark.parametrize("by_ms", [-1, 1])
def test_the_schedules_tell_rules_apart_that_differ_by_a_millisecond(field: str, by_ms: int) -> None:
    """The test above can fail: of an oracle with any window a millisecond off, a schedule soon shows it."""
    spec = SPECS["usual"]
    wrong = msgspec.structs.replace(spec, **{field: getattr(spec, field) + by_ms})
    schedules = [schedule_of(spec, seed) for seed in range(300)]

    assert any(of_partition(schedule) != of_oracle(schedule, wrong) for schedule in schedules)


def test_every_kind_of_record_is_met() -> None:
    """The schedules are not empty: thousands of each, and of labels both."""
    met: Counter[str] = Counter()
    for seed in range(400):
        schedule = schedule_of(SPECS["usual"], seed)
        oracle = Oracle(schedule.spec)
        for row in schedule.rows:
            read = oracle.read(row)
            met[read.what] += 1
            if read.x is not None and row.said is not None:
                met["not as the edge says" if read.by_edge is None else "as the edge says"] += 1
            met.update(f"label {label.y}" for label in read.closed)
        met["far"] += sum(each.is_far for each in schedule.sent)

    assert {
        "scored", "late", "other", "dead", "duplicate", "tick", "far", "label True", "label False", "as the edge says",
        "not as the edge says",
    } == set(met)  # fmt: skip
    assert min(met.values()) >= 200


def test_a_failing_schedule_is_shown_at_its_smallest() -> None:
    """With everything left out that it does not need in order to fail."""
    schedule = schedule_of(SPECS["usual"], 9)
    small = smallest(schedule, lambda each: len(labels_of(each)) > 1)

    assert 2 == len(labels_of(small))
    assert 4 >= len(small.sent)
    assert () == small.cuts


# --- how long an id is known ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_ms", "known"), [(0, True), (70, True), (71, False)])
def test_an_id_is_known_for_the_lateness_and_the_window(after_ms: int, known: bool) -> None:
    """Until the newest time is more than lateness + within after the event; from then on it is a late event."""
    first = Sent("event", "e", "a", VIEW, time_ms=100, at_ms=100)
    time_passes = Sent("tick", time_ms=100 + after_ms, at_ms=100 + after_ms)
    schedule = Schedule(SPECS["usual"], (first, time_passes, first, replace(time_passes, time_ms=1000)), (), True)
    (answer,) = of_partition(schedule)

    assert (["e"] if known else ["e", "e"]) == [event for event, *_ in answer.scored]
    assert [("e", False)] == labels_of(schedule)
    assert as_the_rules_say(schedule)


def test_a_repeat_that_is_not_known_any_more_makes_no_label_and_changes_none() -> None:
    """An outcome read again long after: what is open by then began later than it."""
    view, purchase = Sent("event", "e", "a", VIEW, 100, 100), Sent("event", "o", "a", PURCHASE, 300, 300)
    later = Sent("event", "l", "a", VIEW, 290, 290)
    passes, end = Sent("tick", time_ms=371, at_ms=371), Sent("tick", time_ms=1000, at_ms=1000)
    schedule = Schedule(SPECS["usual"], (view, later, purchase, passes, purchase, view, end), (), True)

    assert [("e", False), ("l", True)] == labels_of(schedule)
    assert order_decides_nothing(schedule)


def test_a_late_outcome_may_still_find_what_waits_behind_something_newer() -> None:
    """Labels close in the order of arrival: "old" waits for "new", which was read first, and so sees the purchase."""
    sent = (
        Sent("event", "new", "a", VIEW, 109, 109),
        Sent("event", "old", "a", VIEW, 100, 109),
        Sent("tick", time_ms=171, at_ms=171),
        Sent("event", "o", "a", PURCHASE, 105, 171),
        Sent("tick", time_ms=1000, at_ms=1000),
    )
    schedule = Schedule(SPECS["usual"], sent, (), in_time=False)

    assert [("new", False), ("old", True)] == labels_of(schedule)
    assert as_the_rules_say(schedule)

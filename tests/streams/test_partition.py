"""A partition's state is a function of its log: the same records give the same examples, however they are read."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from learners.join import Closed
from schemas.errors import StateUnreadable
from schemas.features import Count, SecondsSince, category, count, number
from schemas.reader import Reader
from schemas.records import LearnedThrough
from schemas.score_header import ScoreHeader
from schemas.tick import tick_headers, tick_value
from streams.changes import FORMAT, Body
from streams.partition import Partition, Taken
from tests.schemas.events import ADD, NOW_MS, PURCHASE, VIEW, as_bytes, event, iso, spec_of

WITHIN_MS = 60_000
LATENESS_MS = 5_000
READER = Reader(
    spec_of(
        number("search.position"),
        category("eventType"),
        Count(VIEW, 30_000, "views"),
        SecondsSince(PURCHASE, "since purchase"),
        remembers_ms=300_000,
    )
)


def record_of(
    offset: int, value: bytes | None, *, key: bytes | None = b"v", at_ms: int = NOW_MS, headers: Any = ()
) -> ConsumerRecord:
    return ConsumerRecord(
        topic="events", partition=0, offset=offset, timestamp=at_ms, timestamp_type=0, key=key, value=value,
        checksum=None, serialized_key_size=1, serialized_value_size=1, headers=headers,
    )  # fmt: skip


def did(offset: int, kind: str, after_ms: int, visitor: str = "v", **fields: Any) -> ConsumerRecord:
    """A record: the visitor did something so long after the start; its `_id` is its offset."""
    what: dict[str, Any] = {
        "_id": str(offset),
        "timestamp": iso(NOW_MS + after_ms),
        "eventType": kind,
        "identityMap": {"ECID": [{"id": visitor, "primary": True}]},
    }
    return record_of(offset, as_bytes(event(**what | fields)), key=visitor.encode(), at_ms=NOW_MS + max(0, after_ms))


def tick(offset: int, after_ms: int, *, at_ms: int | None = None) -> ConsumerRecord:
    at_ms = NOW_MS + after_ms if at_ms is None else at_ms
    return record_of(offset, tick_value(NOW_MS + after_ms), key=None, at_ms=at_ms, headers=tuple(tick_headers()))


@dataclass
class Reading:
    """A partition being read, and all that came of it."""

    state: Partition = field(default_factory=lambda: Partition(READER))
    examples: list[tuple[int, str, Any, bool, int]] = field(default_factory=list)
    scored: list[tuple[str, str, str]] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)

    def take(self, records: Iterable[ConsumerRecord]) -> Taken:
        taken = self.state.take(list(records))
        for seq, each in zip(self.state.number(len(taken.closed)), taken.closed, strict=True):
            self.examples.append((seq, each.pending.event, repr(each.pending.x), each.y, each.closed_at_ms))
        self.scored += [
            (pending.event, repr(pending.x), repr(taken.forwarded.get(pending.number))) for pending in taken.pendings
        ]
        self.dead += [record.offset for record, _ in taken.dead]
        return taken

    def restart(self) -> None:
        self.state = Partition.restore(READER, [self.state.snapshot()])

    @property
    def labels(self) -> dict[str, bool]:
        return {name: y for _, name, _, y, _ in self.examples}


def reading(*records: ConsumerRecord) -> Reading:
    """All records taken in one chunk."""
    whole = Reading()
    whole.take(records)
    return whole


class Step(NamedTuple):
    """One record of a generated log."""

    what: str
    step_ms: int
    visitor: str


ODD = ("again", "poison", "absurd", "tick", "misplaced", "by edge", "by edge", "by a strange edge")
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([VIEW, VIEW, VIEW, PURCHASE, PURCHASE, ADD, *ODD]),
        st.one_of(st.integers(-LATENESS_MS, 20_000), st.sampled_from([0, 0, WITHIN_MS, -90_000, 400_000])),
        st.sampled_from("abc"),
    ),
    max_size=30,
)
POISON = (b"{", b"", None, b"[]", as_bytes(event(timestamp=None)), b"\xc3\x01" + b"\0" * 20)


def log_of(steps: list[Step]) -> list[ConsumerRecord]:
    """The records of a log; its offsets have gaps, as those of a compacted or transactional topic."""
    records: list[ConsumerRecord] = []
    newest_ms = 0
    for place, (what, step_ms, visitor) in enumerate(steps):
        offset, time_ms = place * 2, newest_ms + step_ms
        if what == "again" and records:
            records.append(record_of(offset, records[len(records) // 2].value, at_ms=NOW_MS + newest_ms))
            continue
        if what in {"poison", "again"}:
            records.append(record_of(offset, POISON[place % len(POISON)]))
            continue
        if what == "absurd":
            records.append(did(offset, VIEW, time_ms, visitor, search={"position": 1e12}))
            continue
        if what == "tick":
            records.append(tick(offset, time_ms))
        elif what == "misplaced":
            records.append(_misplaced(offset, time_ms))
        elif what.startswith("by"):
            records.append(by_edge(did(offset, VIEW, time_ms, visitor), views=time_ms % 7 if what == "by edge" else -1))
        else:
            records.append(did(offset, what, time_ms, visitor))
        newest_ms = max(newest_ms, time_ms)
    return records


def _misplaced(offset: int, time_ms: int) -> ConsumerRecord:
    right = did(offset, VIEW, time_ms, "a")
    return record_of(offset, right.value, key=None if offset % 4 else b"other", at_ms=right.timestamp)


def by_edge(record: ConsumerRecord, *, views: float = 3.0, score: float = 0.75, version: int = 8) -> ConsumerRecord:
    """The record as an edge forwards it, which had counted so many views of the visitor."""
    header = ScoreHeader(READER)
    event = READER.read(record.value, record.timestamp)
    (position, *_), categories = READER.x(event, None)
    x = ((position, float(views), 1.5), categories)
    value = header.value(event.id, version, score, LearnedThrough(), record.timestamp, None, x)
    return record_of(
        record.offset, record.value, key=record.key, at_ms=record.timestamp, headers=[(header.name, value)]
    )


def chunks(records: list[ConsumerRecord], cuts: Iterable[int]) -> list[list[ConsumerRecord]]:
    ends = sorted({0, len(records), *(cut % (len(records) + 1) for cut in cuts)})
    return [records[start:end] for start, end in itertools.pairwise(ends)]


# --- a function of the log --------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, cuts=st.lists(st.integers(0, 30), max_size=8))
def test_chunk_boundaries_decide_nothing(steps: list[Step], cuts: list[int]) -> None:
    """Examples with their numbers, scores wanted, dead letters and the state itself are the same in any pieces."""
    records = log_of(steps)
    whole, pieces = reading(*records), Reading()
    for chunk in chunks(records, cuts):
        pieces.take(chunk)

    assert whole.examples == pieces.examples
    assert (whole.scored, whole.dead) == (pieces.scored, pieces.dead)
    assert whole.state.snapshot() == pieces.state.snapshot()


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4), back=st.integers(0, 5))
def test_a_crash_decides_nothing(steps: list[Step], cuts: list[int], back: int) -> None:
    """Restored from any moments, with records before them delivered again, it goes on as if nothing had been."""
    records = log_of(steps)
    whole, crashed, seen = reading(*records), Reading(), 0
    for chunk in chunks(records, cuts):
        crashed.take(records[max(0, seen - back) : seen] + chunk)
        crashed.restart()
        seen += len(chunk)

    assert whole.examples == crashed.examples
    assert (whole.scored, whole.dead) == (crashed.scored, crashed.dead)
    assert whole.state.snapshot() == crashed.state.snapshot()


@settings(max_examples=120, deadline=None)
@given(steps=STEPS)
def test_every_record_is_counted_once(steps: list[Step]) -> None:
    """scored + not applicable + duplicate + dead + ticks is the number of records, and every score ends or waits."""
    records = log_of(steps)
    whole = reading(*records)
    counts, join = whole.state.counts, whole.state.join

    assert len(records) == counts.scored + counts.not_applicable + counts.duplicate + counts.dead + counts.ticks
    assert (len(whole.scored), len(whole.dead)) == (counts.scored, counts.dead)
    assert counts.forwarded + counts.forwarded_unusable <= counts.scored
    assert counts.scored - counts.late == join.opened
    assert len(whole.examples) == join.opened - join.waiting
    assert list(range(len(whole.examples))) == [seq for seq, *_ in whole.examples]


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, cut=st.integers(0, 30))
def test_what_was_read_already_is_passed_over(steps: list[Step], cut: int) -> None:
    """A chunk delivered again changes nothing and wants no scores."""
    records = log_of(steps)
    whole = reading(*records)
    before = whole.state.snapshot()
    taken = whole.take(records[cut:])

    assert before == whole.state.snapshot()
    assert (0, 0, 0) == (len(taken.pendings), len(taken.closed), len(taken.dead))


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_poison_between_good_records_changes_nothing_else(steps: list[Step]) -> None:
    """Without the poison, the rest of the log gives the same examples."""
    records = log_of(steps)
    whole = reading(*records)
    clean = reading(*(record for record in records if record.offset not in whole.dead))

    assert whole.examples == clean.examples
    assert whole.scored == clean.scored
    assert [] == clean.dead


def test_labels_are_true_whatever_the_order_of_arrival() -> None:
    """Thirty logs of the same events, shuffled within the lateness, give the labels that the events imply."""
    rng = random.Random(3)
    times = sorted(rng.sample(range(0, 400_000, 500), 60))
    events = [(time_ms, rng.choice([VIEW, VIEW, PURCHASE]), rng.choice("abc")) for time_ms in times]
    truth = {
        str(number): any(
            kind == PURCHASE and who == visitor and time_ms < at <= time_ms + WITHIN_MS for at, kind, who in events
        )
        for number, (time_ms, of, visitor) in enumerate(events)
        if of == VIEW
    }
    records = [did(number, kind, time_ms, who) for number, (time_ms, kind, who) in enumerate(events)]
    found = set()
    for _ in range(30):
        order = sorted(range(len(events)), key=lambda number: events[number][0] + rng.uniform(0, LATENESS_MS))
        shuffled = [_at(place, records[number]) for place, number in enumerate(order)]
        found.add(frozenset(reading(*shuffled, tick(1000, 600_000)).labels.items()))

    assert {frozenset(truth.items())} == found
    assert {True, False} == set(truth.values())


def _at(offset: int, record: ConsumerRecord) -> ConsumerRecord:
    return record_of(offset, record.value, key=record.key, at_ms=NOW_MS + 1_000_000)


# --- one record after another -----------------------------------------------------------------------------------------


def test_a_purchase_in_time_makes_a_positive_example() -> None:
    """With the x that was scored: of the purchase it knows nothing."""
    got = reading(did(0, VIEW, 0), did(1, PURCHASE, 30_000))

    assert [(0, "0", repr(((float("nan"), 0.0, float("nan")), (VIEW,))), True, NOW_MS + 30_000)] == got.examples


def test_silence_makes_a_negative_example() -> None:
    """When time has passed the window and the lateness, and not a millisecond before."""
    got = reading(did(0, VIEW, 0), did(1, ADD, WITHIN_MS + LATENESS_MS, "w"))
    before = dict(got.labels)
    got.take([did(2, ADD, WITHIN_MS + LATENESS_MS + 1, "w")])

    assert {} == before
    assert {"0": False} == got.labels


def test_a_tick_lets_time_pass_where_nothing_happens() -> None:
    """It is no event: nobody's profile knows of it, and nothing is scored."""
    got = reading(did(0, VIEW, 0), tick(1, WITHIN_MS + LATENESS_MS + 1))

    assert {"0": False} == got.labels
    assert (1, 1) == (got.state.counts.ticks, got.state.counts.scored)
    assert ["v"] == list(got.state.profiles)


def test_an_old_tick_turns_no_clock_back() -> None:
    """Only the newest time counts."""
    got = reading(did(0, VIEW, 50_000), tick(1, 10_000))

    assert NOW_MS + 50_000 == got.state.newest_ms


@pytest.mark.parametrize("after_ms", [5 * 60_000 + 1, 10**12])
def test_the_far_future_moves_no_watermark(after_ms: int) -> None:
    """An event or a tick from beyond its record's own time is poison, and what waits goes on waiting."""
    far = record_of(1, as_bytes(event(_id="far", timestamp=iso(NOW_MS + min(after_ms, 10**13)))))
    got = reading(did(0, VIEW, 0), far, tick(2, after_ms, at_ms=NOW_MS))

    assert [1, 2] == got.dead
    assert NOW_MS == got.state.newest_ms
    assert 1 == got.state.join.waiting


@pytest.mark.parametrize("value", [None, b"", b"{}", b'{"tick": "soon"}', b'{"x":' + b"[" * 100_000])
def test_a_broken_tick_is_poison(value: bytes | None) -> None:
    """It is not read as an event either."""
    got = reading(record_of(0, value, headers=tuple(tick_headers())), did(1, VIEW, 0))

    assert [0] == got.dead
    assert 1 == got.state.counts.scored


def test_the_same_id_again_is_counted_and_nothing_more() -> None:
    """Whatever partition key, time or fields the repeat has; the purchase of a known id makes nothing positive."""
    again = record_of(1, as_bytes(event(_id="0", timestamp=iso(NOW_MS + 1000), eventType=PURCHASE)))
    got = reading(did(0, VIEW, 0), again)

    assert (1, 1, 0) == (got.state.counts.duplicate, got.state.counts.scored, len(got.examples))
    assert NOW_MS == got.state.newest_ms


def test_ids_are_remembered_as_long_as_they_matter() -> None:
    """A repeat counts as one while its window is open; the memory of ids does not grow for ever."""
    got = reading(*(did(number, VIEW, number * 1000, f"v{number}") for number in range(1000)))
    repeat = _at(1000, did(950, VIEW, 950_000, "v950"))
    got.take([repeat])

    assert 1 == got.state.counts.duplicate
    assert got.state.totals.known <= 67


def test_a_key_that_is_not_the_visitor_is_counted() -> None:
    """Such an event is scored all the same; the count says that joins may be missing something."""
    got = reading(did(0, VIEW, 0), _misplaced(1, 100), _misplaced(4, 200))

    assert (2, 3) == (got.state.counts.misplaced, got.state.counts.scored)


def test_an_absurd_event_leaves_no_trace() -> None:
    """Its visitor's past, the ids and the clock are as if it had not come: the same id may come again, mended."""
    got = reading(did(0, VIEW, 0))
    before, totals = got.state.snapshot(), msgspec.structs.asdict(got.state.totals)
    got.take([did(1, VIEW, 1000, search={"position": 1e12})])
    after = msgspec.structs.asdict(got.state.totals)
    rows = [msgspec.msgpack.decode(each)[3:] for each in (before, got.state.snapshot())]
    mended = record_of(2, as_bytes(event(_id="1", timestamp=iso(NOW_MS + 1000))))
    got.take([mended])

    assert [1] == got.dead
    assert {"next_offset", "counts"} == {name for name in totals if totals[name] != after[name]}
    assert repr(rows[0]) == repr(rows[1])
    assert 2 == got.state.counts.scored


def test_a_number_out_of_bounds_matters_only_where_it_is_read() -> None:
    """An event that the model does not score is no poison for what it would have made x of."""
    assert [] == reading(did(0, ADD, 0, search={"position": 1e12})).dead


def test_a_late_event_is_scored_and_gets_no_label() -> None:
    """Which label would be right is not known any more; one at the watermark is not late."""
    got = reading(did(0, ADD, 100_000), did(1, VIEW, 94_999), did(2, VIEW, 95_000), tick(3, 300_000))

    assert ["1", "2"] == [name for name, *_ in got.scored]
    assert {"2": False} == got.labels
    assert 1 == got.state.counts.late


def test_a_late_outcome_still_decides_what_is_open() -> None:
    """A purchase that arrives after the lateness but before the label closed is a purchase."""
    got = reading(did(0, VIEW, 0), did(1, ADD, 60_000, "w"), did(2, PURCHASE, 30_000), tick(3, 300_000))

    assert {"0": True} == got.labels


def test_an_outcome_after_the_label_closed_changes_nothing() -> None:
    """An example is learned once."""
    got = reading(did(0, VIEW, 0), tick(1, 200_000), did(2, PURCHASE, 30_000), tick(3, 300_000))

    assert [False] == [y for *_, y, _ in got.examples]


def test_an_event_that_is_its_own_outcome_waits_for_the_next_one() -> None:
    """A view with a purchase on it is scored, and positive only by a later purchase."""
    bought = {"purchases": {"value": 1}}
    got = reading(did(0, VIEW, 0, commerce=bought), did(1, VIEW, 10_000, commerce=bought), tick(2, 200_000))

    assert {"0": True, "1": False} == got.labels


def test_visitors_do_not_share_outcomes() -> None:
    """Another visitor's purchase is nothing to this one's score."""
    got = reading(did(0, VIEW, 0, "a"), did(1, VIEW, 0, "b"), did(2, PURCHASE, 1000, "b"), tick(3, 200_000))

    assert {"0": False, "1": True} == got.labels


def test_touched_visitors_are_those_whose_profile_changed() -> None:
    """Duplicates and poison touch nobody; the profile is the one after the chunk."""
    got = Reading()
    taken = got.take([did(0, VIEW, 0, "a"), did(1, VIEW, 10, "a"), did(2, ADD, 20, "b"), record_of(3, b"{")])

    assert ["a", "b"] == list(taken.touched)
    assert [[NOW_MS, NOW_MS + 10]] == taken.touched["a"].times
    assert {} == got.take([_at(4, did(0, VIEW, 0, "a")), record_of(5, b"{")]).touched


def test_an_edges_score_is_taken_with_its_x_and_survives_a_restart() -> None:
    """It wants no other score, and the example has what was known when it was made."""
    got = Reading()
    taken = got.take([by_edge(did(0, VIEW, 0)), did(1, VIEW, 10)])
    got.restart()
    (closed, _) = got.take([tick(2, 300_000)]).closed

    assert ["1"] == [pending.event for pending in taken.unscored]
    assert (0.75, 8) == (closed.pending.score, closed.pending.version)
    assert (3.0, 1.5) == closed.pending.x[0][1:]
    assert (2, 1, 0) == (got.state.counts.scored, got.state.counts.forwarded, got.state.counts.forwarded_unusable)


def test_an_edges_score_that_cannot_be_taken_is_counted_and_made_here() -> None:
    """A count below 0: no model of this definition has said so."""
    taken = (got := Reading()).take([by_edge(did(0, VIEW, 0), views=-1)])

    assert ["0"] == [pending.event for pending in taken.unscored]
    assert 0.0 == taken.pendings[0].x[0][1]
    assert (0, 1) == (got.state.counts.forwarded, got.state.counts.forwarded_unusable)


def test_an_edges_word_makes_no_poison_good() -> None:
    """An absurd event is a dead letter however it came."""
    absurd = did(0, VIEW, 0, search={"position": 1e12})
    good = by_edge(did(0, VIEW, 0))
    got = reading(record_of(0, absurd.value, headers=good.headers))

    assert [0] == got.dead
    assert 0 == got.state.counts.forwarded


def test_counts_of_an_older_journal_are_read() -> None:
    """Written before edges forwarded: there were none."""
    body = msgspec.msgpack.decode(reading(did(0, VIEW, 0)).state.snapshot())
    totals = body[2]
    totals[-1] = totals[-1][:8]
    restored = Partition.restore(READER, [msgspec.msgpack.encode(_with(body, "totals", totals))])

    assert (1, 0) == (restored.counts.scored, restored.counts.forwarded)


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a_second", [1, 10])
def test_visitors_who_do_not_return_are_forgotten(a_second: int) -> None:
    """However many come with the same time: with whole seconds, only one event in many moves the clock."""
    events = (did(n, VIEW, n // a_second * 1000, f"v{n}") for n in range(400 * a_second))
    got = reading(*events)

    # remembers + lateness is 305 seconds, and what lies just there stays.
    assert 306 * a_second >= len(got.state.profiles)


def test_a_visitor_who_returns_is_kept() -> None:
    """By the last visit, not by the first."""
    got = reading(*(did(n, VIEW, n * 10_000, "loyal" if n % 2 else f"v{n}") for n in range(100)))

    assert "loyal" in got.state.profiles
    assert len(got.state.profiles) < 20


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_model_with_another_definition_refuses_the_old_state() -> None:
    """Other features, outcome or times: its pendings would mean something else."""
    snapshot = reading(did(0, VIEW, 0)).state.snapshot()
    for other in (spec_of(), spec_of(*READER.spec.features, within_ms=1), spec_of(*READER.spec.features, outcome=ADD)):
        with pytest.raises(StateUnreadable, match="give the model a new name"):
            Partition.restore(Reader(other), [snapshot])


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: {},
        lambda body: [],
        lambda body: 7,
        lambda body: _with(body, "spec", "{}"),
        lambda body: _with(body, "spec", None),
        lambda body: _with(body, "format", FORMAT + 1),
        lambda body: _with(body, "totals", body[2][:-1]),
        lambda body: _with(body, "totals", [*body[2][:-1], [0] * 20]),
        lambda body: _with(body, "slice", []),
        lambda body: _with(body, "slice", [0, [["e", "soon"]]]),
        lambda body: _with(body, "forgotten", ["v"]),
        lambda body: _with(body, "closed", [0]),
    ],
)
def test_a_damaged_snapshot_is_unreadable(damage: Callable[[Any], Any]) -> None:
    """One error for whatever is wrong with it: nothing is half read."""
    body = msgspec.msgpack.decode(reading(did(0, VIEW, 0)).state.snapshot())
    with pytest.raises(StateUnreadable):
        Partition.restore(READER, [msgspec.msgpack.encode(damage(body))])


def _with(body: list[Any], field_name: str, value: Any) -> list[Any]:
    return [value if name == field_name else old for name, old in zip(Body.__struct_fields__, body, strict=True)]


@pytest.mark.parametrize("end", [0, 1, -1])
def test_a_truncated_snapshot_is_unreadable(end: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(StateUnreadable):
        Partition.restore(READER, [reading(did(0, VIEW, 0)).state.snapshot()[:end]])


# --- leakage ----------------------------------------------------------------------------------------------------------


@dataclass
class Visits:
    """A simulated stream in which whether somebody buys has nothing to do with what they did before.

    400 visitors come five times each, half an hour apart; half of the visits end in a purchase within a minute. Views
    are read up to a minute late: every other purchase is in the log before the view that it will be the outcome of.
    """

    truth: dict[str, bool] = field(default_factory=dict)
    naive: dict[str, float] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(11)
        arriving: list[tuple[float, str, int, str]] = []
        purchases: dict[str, list[int]] = {}
        for visit in range(2000):
            visitor, view_ms = f"v{visit % 400}", visit // 400 * 1_800_000 + visit % 400 * 4_000
            name = str(len(arriving))
            arriving.append((view_ms + rng.uniform(0, WITHIN_MS), VIEW, view_ms, visitor))
            self.truth[name] = rng.random() < 0.5
            if self.truth[name]:
                bought_ms = view_ms + rng.randrange(1_000, WITHIN_MS)
                arriving.append((bought_ms, PURCHASE, bought_ms, visitor))

        features = (count(PURCHASE, within="2h"), SecondsSince(PURCHASE, "since"))
        partition = Partition(Reader(spec_of(*features, lateness_ms=2 * WITHIN_MS)))
        in_order = sorted(enumerate(arriving), key=lambda each: each[1][0])
        for offset, (place, (arrives_ms, kind, time_ms, visitor)) in enumerate(in_order):
            self.naive[str(place)] = len(purchases.get(visitor, ()))
            if kind == PURCHASE:
                purchases.setdefault(visitor, []).append(time_ms)
            value = did(place, kind, time_ms, visitor).value
            at_ms = NOW_MS + int(arrives_ms)
            self.closed += partition.take([record_of(offset, value, key=visitor.encode(), at_ms=at_ms)]).closed
        self.closed += partition.take([tick(10**6, 10**8)]).closed

    def auc(self, feature: Callable[[Closed], float]) -> float:
        """How well a feature alone tells the label; 0.5 is not at all."""
        return float(roc_auc_score([each.y for each in self.closed], [feature(each) for each in self.closed]))


@pytest.fixture(scope="module")
def visits() -> Visits:
    return Visits()


def test_every_delayed_label_is_the_true_one(visits: Visits) -> None:
    """Read before its event or after it, each purchase is found, and nobody gets one that was not made."""
    assert visits.truth == {each.pending.event: each.y for each in visits.closed}
    assert 2000 == len(visits.closed)


def test_a_planted_feature_that_would_know_the_outcome_knows_nothing(visits: Visits) -> None:
    """Counting the very event that is the outcome, or the time since it, tells no more than a coin."""
    of_count = visits.auc(lambda each: each.pending.x[0][0])
    of_recency = visits.auc(lambda each: each.pending.x[0][1] if each.pending.x[0][1] >= 0 else 1e9)
    of_missing = visits.auc(lambda each: float(each.pending.x[0][1] != each.pending.x[0][1]))

    assert of_count == pytest.approx(0.5, abs=0.04)
    assert of_recency == pytest.approx(0.5, abs=0.04)
    assert of_missing == pytest.approx(0.5, abs=0.04)


def test_the_same_feature_leaks_where_it_peeks(visits: Visits) -> None:
    """The test above can fail: an oracle knows all, and counting whatever was read before already knows a good part."""
    oracle = visits.auc(lambda each: float(visits.truth[each.pending.event]))
    as_read = visits.auc(lambda each: visits.naive[each.pending.event])

    assert 1.0 == oracle
    assert as_read > 0.55


def test_the_planted_feature_is_not_empty(visits: Visits) -> None:
    """It counts the purchases of earlier visits: it is the label that it does not know."""
    counted = Counter(each.pending.x[0][0] for each in visits.closed)

    assert {0.0, 1.0, 2.0, 3.0, 4.0} == set(counted)

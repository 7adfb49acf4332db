"""The join gives every score its label once, whatever the order in which events and outcomes arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.join import Closed, Join, Pending
from schemas.reader import X

WITHIN_MS = 50
LATENESS_MS = 20
NO_X: X = ((), ())


class Happened(NamedTuple):
    """Something a visitor did: it may be scored, be an outcome, or both."""

    time_ms: int
    visitor: str
    scored: bool
    outcome: bool


@dataclass
class Reading:
    """A join with the watermark that the events themselves make, as a partition has it."""

    join: Join = field(default_factory=lambda: Join(WITHIN_MS))
    newest_ms: int = -(10**9)
    closed: list[Closed] = field(default_factory=list)

    def take(self, number: int, happened: Happened) -> None:
        time_ms, visitor, scored, outcome = happened
        if outcome:
            self.closed += self.join.outcome(visitor, time_ms)
        if scored and (closed := self.join.open(Pending(str(number), visitor, time_ms, NO_X))):
            self.closed.append(closed)
        if time_ms > self.newest_ms:
            self.time_passes(time_ms)

    def time_passes(self, newest_ms: int) -> None:
        self.newest_ms = newest_ms
        self.closed += self.join.advance(newest_ms - LATENESS_MS)

    @property
    def labels(self) -> list[tuple[str, bool]]:
        return [(each.pending.event, each.y) for each in self.closed]


def true_labels(happened: list[Happened]) -> set[tuple[str, bool]]:
    """What the rule says, with everything known at once."""

    def follows(outcome: Happened, event: Happened) -> bool:
        same = outcome.outcome and outcome.visitor == event.visitor
        return same and 0 < outcome.time_ms - event.time_ms <= WITHIN_MS

    scored = [(str(number), event) for number, event in enumerate(happened) if event.scored]
    return {(number, any(follows(each, event) for each in happened)) for number, event in scored}


HAPPENED = st.lists(
    st.builds(Happened, st.integers(0, 200), st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=25
)


def arrivals(happened: list[Happened], delays: list[int]) -> list[int]:
    """An order of arrival in which nothing is later than the lateness allows."""
    return sorted(range(len(happened)), key=lambda number: happened[number].time_ms + delays[number])


@settings(max_examples=300, deadline=None)
@given(happened=HAPPENED, delays=st.lists(st.integers(0, LATENESS_MS), min_size=25, max_size=25))
def test_labels_are_the_same_whatever_the_order_of_arrival(happened: list[Happened], delays: list[int]) -> None:
    """Every scored event gets the label that the rule gives it, once, and nothing is left over."""
    reading = Reading()
    for number in arrivals(happened, delays):
        reading.take(number, happened[number])
    reading.time_passes(1000)

    assert len(reading.labels) == len(set(reading.labels))
    assert true_labels(happened) == set(reading.labels)
    assert 0 == reading.join.waiting
    assert {"pendings": [], "outcomes": []} == {k: v for k, v in reading.join.as_rows().items() if k != "counts"}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), happened=HAPPENED, delays=st.lists(st.integers(0, 90), min_size=25, max_size=25))
def test_a_join_read_back_has_the_same_future(data: st.DataObject, happened: list[Happened], delays: list[int]) -> None:
    """Through plain data at any moment: the same labels at the same steps, events far too late among them."""
    order = arrivals(happened, delays)
    moment = data.draw(st.integers(0, len(order)))
    whole, again = Reading(), Reading()
    for step, number in enumerate(order):
        if step == moment:
            rows = msgspec.msgpack.decode(msgspec.msgpack.encode(again.join.as_rows()))
            again.join = Join.from_rows(WITHIN_MS, rows)
        whole.take(number, happened[number])
        again.take(number, happened[number])

        assert whole.labels == again.labels
    assert msgspec.msgpack.encode(whole.join.as_rows()) == msgspec.msgpack.encode(again.join.as_rows())


@settings(max_examples=100, deadline=None)
@given(happened=HAPPENED, delays=st.lists(st.integers(0, 90), min_size=25, max_size=25))
def test_counts_agree_with_what_was_opened_and_closed(happened: list[Happened], delays: list[int]) -> None:
    """opened = positive + negative + waiting, at every step."""
    reading = Reading()
    for number in arrivals(happened, delays):
        reading.take(number, happened[number])
        join, labels = reading.join, [y for _, y in reading.labels]

        assert (labels.count(True), labels.count(False)) == (join.positive, join.negative)
        assert join.opened - len(labels) == join.waiting == len(join.as_rows()["pendings"])


# --- the edges of the window ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome_ms", "y"), [(99, None), (100, None), (101, True), (150, True), (151, None)])
@pytest.mark.parametrize("first", ["event", "outcome"])
def test_the_window_is_open_at_the_event_and_closed_at_its_end(outcome_ms: int, y: bool | None, first: str) -> None:
    """An outcome at the event's own time is none of its, one exactly `within` later is, whichever is read first."""
    join = Join(WITHIN_MS)
    if first == "event":
        join.open(Pending("e", "v", 100, NO_X))
        closed = join.outcome("v", outcome_ms)
    else:
        join.outcome("v", outcome_ms)
        found = join.open(Pending("e", "v", 100, NO_X))
        closed = [] if found is None else [found]

    assert ([] if y is None else [y]) == [each.y for each in closed]
    assert [outcome_ms] * len(closed) == [each.closed_at_ms for each in closed]


def test_a_watermark_at_the_windows_end_leaves_it_open() -> None:
    """An outcome at that very millisecond may still come; one later it is over."""
    join = Join(WITHIN_MS)
    join.open(Pending("e", "v", 100, NO_X))
    join.open(Pending("f", "w", 100, NO_X))

    assert [] == join.advance(150)
    assert ["e"] == [each.pending.event for each in join.outcome("v", 150)]
    assert [("f", False, 150)] == [(c.pending.event, c.y, c.closed_at_ms) for c in join.advance(151)]


def test_an_outcome_read_before_its_event_is_kept_until_no_such_event_can_come() -> None:
    """An event at the watermark is not late: the outcome after it must still be known, one up to it not."""
    join = Join(WITHIN_MS)
    join.outcome("v", 100)
    join.advance(99)
    found = join.open(Pending("e", "v", 99, NO_X))
    join.advance(100)

    assert found is not None
    assert found.y
    assert [] == join.as_rows()["outcomes"]


def test_one_outcome_makes_all_open_scores_of_its_visitor_positive() -> None:
    """Each page view on the way to the purchase was right to be hopeful; other visitors' were not."""
    join = Join(WITHIN_MS)
    for number, visitor in enumerate("vvwv"):
        join.open(Pending(str(number), visitor, 100 + number, NO_X))

    assert ["0", "1"] == [each.pending.event for each in join.outcome("v", 103)]
    assert ["3"] == [each.pending.event for each in join.outcome("v", 104)]
    assert [] == join.outcome("v", 104)
    assert 1 == join.waiting


def test_a_second_outcome_changes_nothing() -> None:
    """A label is given once."""
    join = Join(WITHIN_MS)
    join.open(Pending("e", "v", 100, NO_X))

    assert 1 == len(join.outcome("v", 110))
    assert [] == join.outcome("v", 110)
    assert [] == join.advance(10_000)


def test_an_event_later_than_allowed_does_not_stop_those_before_it() -> None:
    """Each is closed when the watermark has passed it, even where a newer one was read first."""
    join = Join(WITHIN_MS)
    join.open(Pending("new", "v", 100, NO_X))
    join.open(Pending("old", "v", 90, NO_X))
    join.open(Pending("newer", "v", 200, NO_X))

    assert ["new", "old"] == [each.pending.event for each in join.advance(151)]


def test_the_pending_itself_comes_back() -> None:
    """With x, score and version as they were: an example holds what was scored, not what is true now."""
    join = Join(WITHIN_MS)
    join.open(Pending("e", "v", 100, ((1.0, 2.0), ("x",)), score=0.25, version=7))
    again = Join.from_rows(WITHIN_MS, msgspec.msgpack.decode(msgspec.msgpack.encode(join.as_rows())))
    (closed,) = again.advance(151)

    assert (((1.0, 2.0), ("x",)), 0.25, 7) == (closed.pending.x, closed.pending.score, closed.pending.version)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_visitor_who_never_stops_does_not_grow_the_join() -> None:
    """A robot whose every event is an outcome leaves no more outcomes than the lateness holds."""
    reading = Reading()
    for time_ms in range(5_000):
        reading.take(time_ms, Happened(time_ms, "robot", scored=False, outcome=True))

    assert len(reading.join.as_rows()["outcomes"]) <= LATENESS_MS

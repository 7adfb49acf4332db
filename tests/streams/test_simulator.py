"""The simulator repeats itself, tells the truth about its visitors, and spoils what it is asked to spoil."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pytest

from schemas.errors import Poison
from schemas.features import Spec, number
from schemas.reader import Reader
from streams.simulator import BAD, WINDOW_S, SimulatedEvent, Simulator

PURCHASE = "commerce.purchases"
VIEW = "commerce.productViews"
NO_ZONE = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - that it has none is the point
READER = Reader(
    Spec(
        name="price",
        applies_to=(VIEW,),
        features=(number("_experience.analytics.event1to100.event2.value"),),
        outcome=PURCHASE,
        within_ms=1_800_000,
        lateness_ms=0,
        remembers_ms=86_400_000,
    )
)


def first(n: int, simulator: Simulator) -> list[SimulatedEvent]:
    return list(itertools.islice(simulator.events(), n))


def kind(event: SimulatedEvent) -> str:
    assert event.xdm is not None
    return str(event.xdm["eventType"])


def referrer(event: SimulatedEvent) -> str:
    assert event.xdm is not None
    return str(event.xdm["_experience"]["analytics"]["session"]["web"]["webReferrer"]["type"])


def with_outcomes(events: Sequence[SimulatedEvent]) -> list[tuple[SimulatedEvent, bool]]:
    """Each event whose 30 minutes are over, and whether a purchase of its visitor came in them."""
    window_ms = int(WINDOW_S * 1000)
    last_ms = events[-1].time_ms
    next_purchase: dict[str, int] = {}
    known = []
    for event in reversed(events):
        if event.time_ms + window_ms <= last_ms:
            known.append((event, next_purchase.get(event.visitor, math.inf) <= event.time_ms + window_ms))
        if kind(event) == PURCHASE:
            next_purchase[event.visitor] = event.time_ms
    return known[::-1]


def surprise(told: Iterable[tuple[SimulatedEvent, bool]]) -> float:
    """By how many standard deviations the outcomes of independent events differ from their probabilities."""
    pairs = [(event.p_purchase or 0.0, y) for event, y in told]
    return sum(y - p for p, y in pairs) / math.sqrt(sum(p * (1 - p) for p, _ in pairs))


@pytest.fixture(scope="module", params=[None, 0.0], ids=["before the drift", "after it"])
def told(request: pytest.FixtureRequest) -> list[tuple[SimulatedEvent, bool]]:
    return with_outcomes(first(40_000, Simulator(seed=11, drift_at=request.param)))


def test_the_same_arguments_give_the_same_bytes() -> None:
    """A stream can be named by its arguments."""
    stream = Simulator(seed=3, bad_every=7).payloads(500)

    assert Simulator(seed=3, bad_every=7).payloads(500) == stream
    assert Simulator(seed=4, bad_every=7).payloads(500) != stream


def test_events_come_in_time_order_with_ids_and_keys_of_their_own() -> None:
    """Ids are unique, times never step back, and the key is the primary identity that a reader finds."""
    events = first(5_000, Simulator(seed=1, rate=50.0))
    read = [READER.read(event.value, event.time_ms) for event in events]

    assert len({event.xdm["_id"] for event in events if event.xdm}) == len(events)
    assert [event.time_ms for event in read] == sorted(event.time_ms for event in events)
    assert [event.visitor.encode() for event in read] == [event.key for event in events]


def test_an_event_is_about_one_kilobyte() -> None:
    """Benchmarks on it say something about real events."""
    sizes = [len(value) for _, value in Simulator(seed=1).payloads(2_000)]

    assert 900 < sum(sizes) / len(sizes) < 1_400


def test_event_time_passes_at_the_rate_asked_for() -> None:
    """20 events per second of event time are 20 in the long run."""
    events = first(30_000, Simulator(seed=2, rate=20.0, visitors=10_000))[5_000:]
    lasted_s = (events[-1].time_ms - events[0].time_ms) / 1000

    assert len(events) / lasted_s == pytest.approx(20.0, rel=0.05)


def test_visitors_are_as_many_as_asked_unless_the_rate_needs_more() -> None:
    """A thousand make three events a second between them; for fifty a second more visitors come."""
    few = {event.visitor for event in first(20_000, Simulator(visitors=1000, rate=3.0))}
    many = {event.visitor for event in first(20_000, Simulator(visitors=1000, rate=50.0))}

    assert len(few) == 1000
    assert len(many) > 1500


def test_a_visit_is_over_within_the_window_and_the_next_begins_after_it() -> None:
    """So that a purchase never falls into the window of another visit's event."""
    times: defaultdict[str, list[int]] = defaultdict(list)
    for event in first(20_000, Simulator(seed=5, visitors=300, rate=1.0)):
        times[event.visitor].append(event.time_ms)
    gaps_s = [(b - a) / 1000 for of in times.values() for a, b in itertools.pairwise(of)]

    assert [gap for gap in gaps_s if 60.001 < gap <= WINDOW_S] == []
    assert sum(gap > WINDOW_S for gap in gaps_s) > 1000


@pytest.mark.parametrize(
    ("at", "nth"),
    [
        ("web.webpagedetails.pageViews", 0),
        ("web.webpagedetails.pageViews", 1),
        (VIEW, 0),
        (VIEW, 3),
        ("commerce.productListAdds", 0),
        ("commerce.productListAdds", 1),
        ("commerce.checkouts", 0),
    ],
)
def test_the_probabilities_are_true(told: list[tuple[SimulatedEvent, bool]], at: str, nth: int) -> None:
    """Purchases follow as often as `p_purchase` says: overall, for high and low ones, and for every referrer."""
    # The nth of a visit, never the last: to know that no other follows is to know more than the past.
    seen: defaultdict[tuple[str, int], int] = defaultdict(int)
    last_ms: dict[str, int] = {}
    visit: defaultdict[str, int] = defaultdict(int)
    groups: defaultdict[str, list[tuple[SimulatedEvent, bool]]] = defaultdict(list)
    for event, y in told:
        if event.time_ms - last_ms.get(event.visitor, 0) > WINDOW_S * 1000:
            visit[event.visitor] += 1
        last_ms[event.visitor] = event.time_ms
        if kind(event) != at:
            continue
        number_in_visit = seen[event.visitor, visit[event.visitor]]
        seen[event.visitor, visit[event.visitor]] += 1
        if number_in_visit == nth:
            for group in ("all", "likely" if (event.p_purchase or 0.0) > 0.3 else "unlikely", referrer(event)):
                groups[group].append((event, y))
    surprises = {name: surprise(group) for name, group in groups.items() if len(group) > 30}

    assert len(surprises) >= 4
    assert max(map(abs, surprises.values())) < 4.0, surprises


def test_nothing_follows_a_purchase(told: list[tuple[SimulatedEvent, bool]]) -> None:
    """At a purchase the truth is 0, and so it happens."""
    purchases = [(event.p_purchase, y) for event, y in told if kind(event) == PURCHASE]

    assert len(purchases) > 500
    assert set(purchases) == {(0.0, False)}


def test_a_drift_changes_who_purchases_and_not_how_many() -> None:
    """Email stops bringing buyers, social media begin to, and the mean rate would not have told."""
    drift_s = 1_000
    simulator = Simulator(seed=6, rate=10.0, visitors=6_000, drift_at=drift_s)
    drift_ms = int((simulator.start.timestamp() + drift_s) * 1000)
    outcomes: defaultdict[tuple[str, bool], list[bool]] = defaultdict(list)
    for event, y in with_outcomes(first(40_000, simulator)):
        if event.xdm and event.xdm["web"]["webPageDetails"]["name"] == "home":  # where visits begin
            outcomes[referrer(event), event.time_ms >= drift_ms].append(y)
            outcomes["all", event.time_ms >= drift_ms].append(y)
    share = {group: sum(ys) / len(ys) for group, ys in outcomes.items()}

    assert share["email", False] > 0.2 > 0.12 > share["email", True]
    assert share["social", False] < 0.1 < 0.2 < share["social", True]
    assert share["all", False] == pytest.approx(share["all", True], abs=0.04)


def test_bad_records_come_where_asked_and_are_poison() -> None:
    """Every fifth event is followed by a bad one, all kinds by turns; a reader refuses these and no other."""
    events = first(6 * len(BAD) * 2, Simulator(seed=8, bad_every=5))
    refused = []
    for event in events:
        try:
            READER.read(event.value, event.time_ms)
        except Poison:
            refused.append(event)
        else:
            if event.bad == "absurd amount":  # no reader minds an amount, until a feature asks for it
                with pytest.raises(Poison, match="out of bounds"):
                    READER.x(READER.read(event.value, event.time_ms), None)
                refused.append(event)

    assert [event.bad for event in events[5::6]] == [*BAD, *BAD]
    assert [event.bad for event in refused] == [*BAD, *BAD]
    assert {event.p_purchase for event in refused} == {None}


@pytest.mark.parametrize(
    "arguments",
    [{"visitors": 0}, {"rate": 0.0}, {"rate": math.inf}, {"bad_every": 0}, {"start": NO_ZONE}],
    ids=str,
)
def test_arguments_that_make_no_stream_are_refused(arguments: dict[str, object]) -> None:
    """At once, not at the first event."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Simulator(**arguments)  # type: ignore[arg-type]

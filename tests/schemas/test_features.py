"""What the generated code sees of an event and of its visitor's past is what a slow reading of the rules says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import generated
from schemas.errors import ModelFileError
from schemas.features import (
    Category,
    Count,
    Feature,
    Hour,
    Number,
    SecondsSince,
    Spec,
    Weekday,
    category,
    count,
    hour,
    number,
    seconds_since,
    weekday,
)
from schemas.profile import MOST_REMEMBERED, Profile
from schemas.reader import Reader, X
from schemas.xdm import EVENT_TYPES, FIELDS
from tests.schemas.events import ADD, NOW_MS, PURCHASE, VIEW, as_bytes, event, iso, spec_of

LATENESS_MS = 60
REMEMBERS_MS = 1000
PAST = spec_of(
    Count(VIEW, 100, "views in 100"),
    Count(VIEW, 250, "views in 250"),
    Count(ADD, 100, "adds in 100"),
    SecondsSince(VIEW, "since view"),
    SecondsSince(PURCHASE, "since purchase"),
    lateness_ms=LATENESS_MS,
    remembers_ms=REMEMBERS_MS,
)
PAST_READER = Reader(PAST)
MEASURE = {VIEW: "productViews", ADD: "productListAdds", PURCHASE: "purchases"}


@dataclass
class History:
    """All that a visitor did, and the rules of the features read out of it word by word."""

    most: int
    happened: list[tuple[int, frozenset[str]]] = field(default_factory=list)

    def of(self, kind: str) -> list[int]:
        return sorted(t for t, kinds in self.happened if kind in kinds)[-self.most :]

    def forget(self, t: int) -> None:
        if self.happened and t - max(seen for seen, _ in self.happened) > REMEMBERS_MS:
            self.happened.clear()

    def x(self, t: int) -> tuple[float, ...]:
        self.forget(t)
        found: list[float] = []
        for feature in PAST.features:
            if isinstance(feature, Count):
                found.append(float(sum(t - feature.within_ms < each <= t for each in self.of(feature.kind))))
            elif isinstance(feature, SecondsSince):
                past = [each for each in self.of(feature.kind) if each <= t]
                found.append((t - max(past)) / 1000 if past else math.nan)
        return tuple(found)

    def remember(self, t: int, kinds: frozenset[str]) -> None:
        self.forget(t)
        self.happened.append((t, kinds))


@dataclass
class Seen:
    """The reader at work on one visitor."""

    reader: Reader
    profile: Profile | None = None

    def take(self, t: int, kinds: frozenset[str]) -> X:
        """Make x of an event, then remember it; the state goes through its plain form each time."""
        commerce = {MEASURE[kind]: {"value": 1} for kind in kinds}
        what = event(timestamp=iso(NOW_MS + t), eventType=None, commerce=commerce)
        got = self.reader.read(as_bytes(what), NOW_MS + 10**9)
        x = self.reader.x(got, self.profile)
        self.profile = self.reader.remember(self.profile, got.time_ms, got.kinds)
        self.profile = Profile(*json.loads(json.dumps(self.profile.as_row())))
        return x


@st.composite
def visits(draw: st.DrawFn) -> list[tuple[int, frozenset[str]]]:
    """Events in arrival order: out of order within the lateness, at the same time, after long and short silence."""
    steps = st.one_of(
        st.integers(-LATENESS_MS, 120), st.sampled_from([0, 0, 100, 250, 251, REMEMBERS_MS, REMEMBERS_MS + 1])
    )
    kinds = st.frozensets(st.sampled_from(sorted(MEASURE)), max_size=3)
    newest, found = 0, []
    for step, what in draw(st.lists(st.tuples(steps, kinds), max_size=40)):
        found.append((newest + step, what))
        newest = max(newest, newest + step)
    return found


@pytest.fixture(scope="module")
def small() -> Reader:
    """A reader that remembers five times of a kind, so that the cap is met within a few events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "MOST_REMEMBERED", 5)
        return Reader(PAST)


# --- x, against the oracle --------------------------------------------------------------------------------------------


@settings(max_examples=250, deadline=None)
@given(events=visits())
def test_the_past_is_seen_as_the_rules_say(events: list[tuple[int, frozenset[str]]]) -> None:
    """Counts and recencies of every event, whatever the order, ties and silences of those before it."""
    seen, history = Seen(PAST_READER), History(MOST_REMEMBERED)
    for t, kinds in events:
        expected = history.x(t)
        history.remember(t, kinds)

        assert repr(expected) == repr(tuple(seen.take(t, kinds)[0]))


@settings(max_examples=250, deadline=None)
@given(events=visits())
def test_beyond_the_cap_the_newest_are_remembered(small: Reader, events: list[tuple[int, frozenset[str]]]) -> None:
    """A kind that happened more often than is remembered counts only the newest times."""
    seen, history = Seen(small), History(5)
    for t, kinds in events:
        expected = history.x(t)
        history.remember(t, kinds)

        assert repr(expected) == repr(tuple(seen.take(t, kinds)[0]))
    assert seen.profile is None or max(map(len, (*seen.profile.times, *seen.profile.last))) <= 5


@settings(max_examples=150, deadline=None)
@given(events=visits(), t=st.integers(-500, 3000), later=visits())
def test_what_comes_after_an_event_does_not_show_in_it(
    events: list[tuple[int, frozenset[str]]], t: int, later: list[tuple[int, frozenset[str]]]
) -> None:
    """An event that is read after its own future sees what it would have seen before it: labels cannot leak."""
    start = max((at for at, _ in events), default=0)
    in_time, behind = Seen(PAST_READER), Seen(PAST_READER)
    for at, kinds in events:
        in_time.take(at, kinds)
        behind.take(at, kinds)
    for at, kinds in later:
        # Not later than what is waited for, and before the visitor would be forgotten.
        behind.take(min(start + LATENESS_MS, max(start + 1, start + at)), kinds)

    assert repr(in_time.take(start, frozenset({VIEW}))) == repr(behind.take(start, frozenset({VIEW})))


def test_of_a_new_visitor_nothing_is_known() -> None:
    """No count, no recency."""
    assert repr((0.0, 0.0, 0.0, math.nan, math.nan)) == repr(Seen(PAST_READER).take(0, frozenset({VIEW}))[0])


def test_an_event_does_not_count_itself() -> None:
    """The first view sees none, the second, a second later, one."""
    seen = Seen(Reader(spec_of(count(VIEW, within="1m"), seconds_since(VIEW))))
    first, second = (seen.take(t, frozenset({VIEW}))[0] for t in (0, 1000))

    assert 0.0 == first[0]
    assert (1.0, 1.0) == second


@pytest.mark.parametrize(("after_ms", "counted"), [(59_999, 1.0), (60_000, 0.0), (60_001, 0.0)])
def test_a_window_ends_to_the_millisecond(after_ms: int, counted: float) -> None:
    """An event exactly the window's length ago is out of it."""
    seen = Seen(Reader(spec_of(count(VIEW, within="1m"))))
    seen.take(0, frozenset({VIEW}))

    assert (counted,) == seen.take(after_ms, frozenset())[0]


@pytest.mark.parametrize(("after_ms", "since"), [(86_400_000, 86_400.0), (86_400_001, math.nan)])
def test_a_visitor_is_new_again_after_long_silence(after_ms: int, since: float) -> None:
    """`remembers` is the longest silence after which somebody is still known."""
    seen = Seen(Reader(spec_of(seconds_since(VIEW))))
    seen.take(0, frozenset({VIEW}))

    assert repr((since,)) == repr(seen.take(after_ms, frozenset())[0])


def test_the_future_of_an_event_is_not_its_past() -> None:
    """A purchase that was read before an earlier view neither counts for it nor hides the purchase before."""
    seen = Seen(Reader(spec_of(count(PURCHASE, within="1h"), seconds_since(PURCHASE))))
    seen.take(0, frozenset({PURCHASE}))
    seen.take(9_000, frozenset({PURCHASE}))

    assert (1.0, 6.0) == seen.take(6_000, frozenset({VIEW}))[0]


def test_a_robot_does_not_grow_its_profile() -> None:
    """Ten thousand events in one window leave a thousand times, and a count that says so."""
    seen = Seen(Reader(spec_of(count(VIEW, within="30d"), seconds_since(VIEW))))
    reader, profile = seen.reader, None
    kinds = reader.read(as_bytes(event()), NOW_MS).kinds
    for t in range(10_000):
        profile = reader.remember(profile, NOW_MS + t, kinds)
    assert profile is not None
    got = reader.read(as_bytes(event(timestamp=iso(NOW_MS + 10_000))), NOW_MS + 10_000)

    assert [MOST_REMEMBERED] == [len(times) for times in profile.times]
    assert len(profile.last[0]) <= MOST_REMEMBERED
    assert ((float(MOST_REMEMBERED), 0.001), ()) == reader.x(got, profile)


def test_a_recency_costs_one_time_in_a_quiet_profile() -> None:
    """Only what an event still to come could ask for is kept: one time of a visitor who comes in order."""
    seen = Seen(Reader(spec_of(seconds_since(VIEW))))
    for t in range(0, 100_000_000, 10_000_000):
        seen.take(t, frozenset({VIEW}))

    assert seen.profile is not None
    assert len(seen.profile.last[0]) <= 2


@pytest.mark.parametrize(
    ("timestamp", "hour_", "day"),
    [
        ("2026-01-01T00:00:00Z", 0.0, 3.0),
        ("2025-12-31T23:59:59.999Z", 23.0, 2.0),
        ("2026-01-01T00:30:00+01:00", 23.0, 2.0),
        ("1969-12-31T23:00:00Z", 23.0, 2.0),
        ("2000-02-29T12:00:00Z", 12.0, 1.0),
    ],
)
def test_hour_and_weekday_are_in_utc(timestamp: str, hour_: float, day: float) -> None:
    """Whatever the zone the event was written in; Monday is 0, before 1970 too."""
    reader = Reader(spec_of(hour(), weekday()))

    assert ((hour_, day), ()) == reader.x(reader.read(as_bytes(event(timestamp=timestamp)), NOW_MS), None)


def test_x_goes_by_name_and_back() -> None:
    """What is missing is left out by name and back in its place by order."""
    reader = Reader(spec_of(number("search.position"), category("eventType"), hour(), category("search.keywords")))
    x = reader.x(reader.read(as_bytes(event()), NOW_MS), None)

    assert ({"hour(timestamp)": 0.0}, {"eventType": VIEW}) == reader.named(x)
    assert repr(x) == repr(reader.in_order(*reader.named(x)))


# --- features as data -------------------------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=20)
KINDS = st.sampled_from(sorted(EVENT_TYPES))
MS = st.integers(1, 10**12)
NUMBERS = st.builds(
    Number,
    st.sampled_from([p for p, k in FIELDS.items() if k != "string"]),
    NAMES,
    st.floats(-1e9, 0),
    st.floats(1, 1e9),
)
CATEGORIES = st.builds(Category, st.sampled_from([p for p, k in FIELDS.items() if k != "number"]), NAMES)
FEATURES: st.SearchStrategy[Feature] = st.one_of(
    NUMBERS, CATEGORIES, st.builds(Hour, NAMES), st.builds(Weekday, NAMES), st.builds(Count, KINDS, MS, NAMES),
    st.builds(SecondsSince, KINDS, NAMES),
)  # fmt: skip
SPECS = st.builds(
    Spec,
    name=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    applies_to=st.lists(KINDS, max_size=4).map(tuple),
    features=st.lists(FEATURES, max_size=8).map(tuple),
    outcome=KINDS,
    within_ms=MS,
    lateness_ms=MS,
    remembers_ms=MS,
)


@settings(max_examples=150, deadline=None)
@given(spec=SPECS)
def test_a_spec_survives_json_and_back(spec: Spec) -> None:
    """It travels in artifacts: trainer, worker and edge hold equal specs, and equal ones have equal text."""
    text = spec.to_json()
    again = Spec.from_json(text)

    assert spec == again
    assert text == again.to_json()
    assert spec.numbers + spec.categories == again.numbers + again.categories
    assert len(spec.features) == len(spec.numbers) + len(spec.categories)


@settings(max_examples=25, deadline=None)
@given(spec=SPECS)
def test_a_spec_from_json_reads_like_the_original(spec: Spec) -> None:
    """Both make the same x of the same event."""
    try:
        reader, again = Reader(spec), Reader(Spec.from_json(spec.to_json()))
    except ModelFileError:
        return  # `_id` or `timestamp` as a category
    value = as_bytes(event(search={"isPaid": True}))

    assert repr(reader.x(reader.read(value, NOW_MS), None)) == repr(again.x(again.read(value, NOW_MS), None))


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"name": "a b"}', '{"features": [{"feature": "lambda"}]}'])
def test_what_is_no_spec_is_not_read_as_one(text: str) -> None:
    """A missing member, a name that no topic could carry, a feature of another kind."""
    with pytest.raises(ValueError, match=r"."):
        Spec.from_json(text)


# --- features as they are written -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: number("placeContext.geo.countryCode"), "holds a string; write category('placeContext.geo."),
        (lambda: category("commerce.order.priceTotal"), "holds a number; write number('commerce.order.priceTotal')"),
        (lambda: number("commerce.order.pricetotal"), "did you mean commerce.order.priceTotal?"),
        (lambda: number("xdm:commerce.order.priceTotal"), "did you mean commerce.order.priceTotal?"),
        (lambda: category("placeContext.geo.country"), "did you mean placeContext.geo.countryCode?"),
        (lambda: category("environment.browserdetails.useragent"), "did you mean environment.browserDetails."),
        (lambda: number("nothing.like.it"), "no XDM field nothing.like.it"),
        (lambda: number("_acme"), "no XDM field _acme"),
        (lambda: category("_experience.analytics.session.web.webReferer.type"), "did you mean _experience.analytics."),
        (lambda: number(""), "no XDM field "),
        (lambda: number("search.position", least=5, most=5), "bounds must be rising and within ±1e+09, not 5 to 5"),
        (lambda: number("search.position", most=1e12), "bounds must be rising and within"),
        (lambda: number("search.position", least=math.nan), "bounds must be rising and within"),
        (lambda: hour("receivedTimestamp"), "only the event's own timestamp has an hour and a weekday"),
        (lambda: weekday("x"), "only the event's own timestamp"),
        (lambda: count("commerce.productView", within="1h"), "did you mean commerce.productViews?"),
        (lambda: count("web.webPageDetails.pageView", within="1h"), "did you mean web.webpagedetails.pageViews?"),
        (lambda: seconds_since("purchases"), "a type of your own needs a dot in its name"),
        (lambda: count(VIEW, within="0m"), "'0m' is no duration"),
        (lambda: count(VIEW, within="1.5h"), "'1.5h' is no duration"),
        (lambda: count(VIEW, within="1 h"), "is no duration"),
        (lambda: count(VIEW, within="30"), "is no duration"),
        (lambda: count(VIEW, within="-3m"), "is no duration"),
        (lambda: count(VIEW, within="1h\n"), "is no duration"),
        (lambda: count(VIEW, within=30), "30 is no duration"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_slip_in_a_feature_is_refused_with_what_to_write(make: Callable[[], Any], problem: str) -> None:
    """The sentence has the nearest name, the right function or an example."""
    with pytest.raises(ModelFileError) as error:
        make()

    assert problem in str(error.value)


def test_a_feature_is_called_by_what_it_reads() -> None:
    """Names are unique without anybody choosing them, and may be chosen."""
    made: list[Feature] = [
        number("search.position"),
        category("eventType"),
        hour(),
        count(VIEW, within="1h"),
        seconds_since(VIEW),
    ]

    assert [
        "search.position",
        "eventType",
        "hour(timestamp)",
        "count(commerce.productViews, 1h)",
        "seconds_since(commerce.productViews)",
    ] == [feature.name for feature in made]
    assert "mine" == count(VIEW, within="1h", name="mine").name


def test_a_type_of_ones_own_is_believed() -> None:
    """The list of event types is open, and so is a tenant's name space."""
    assert "acme.quoteRequested" == count("acme.quoteRequested", within="1h").kind
    assert "_acme.loyalty.points" == number("_acme.loyalty.points").path

"""Simulator: visitors of a shop that was made up, whose true purchase probabilities are known."""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

Event = dict[str, Any]

WINDOW_S: Final = 1800.0
_START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# --- the shop's laws --------------------------------------------------------------------------------------------------


class _Coefficients(NamedTuple):
    """The log odds of a purchase: a sum over what is seen of a visitor who comes."""

    base: float
    a_dollar: float
    country: Mapping[str, float]
    referrer: Mapping[str, float]


_BEFORE: Final = _Coefficients(
    base=-1.5,
    a_dollar=-0.012,
    country={"US": 0.2, "DE": 0.6, "GB": 0.0, "IN": -1.0, "FR": -0.4},
    referrer={"search_engine": 0.3, "typed_bookmarked": 0.0, "social": -1.2, "email": 1.4, "external": -0.5},
)
# About as many purchases, by other people: a model that only follows the mean rate stays wrong.
_AFTER: Final = _Coefficients(
    base=-2.4,
    a_dollar=0.004,
    country={"US": 0.1, "DE": -0.8, "GB": 0.0, "IN": 0.7, "FR": -0.2},
    referrer={"search_engine": -0.4, "typed_bookmarked": 0.0, "social": 1.3, "email": -0.9, "external": 0.2},
)
_COUNTRY_SHARES: Final = {"US": 0.46, "DE": 0.16, "GB": 0.14, "IN": 0.12, "FR": 0.12}
_REFERRER_SHARES: Final = {
    "search_engine": 0.38,
    "typed_bookmarked": 0.24,
    "social": 0.18,
    "email": 0.12,
    "external": 0.08,
}
_PRICES: Final = (19.0, 39.0, 79.0, 149.0)

# What buyers do more often than others: the likelihoods that make their acts tell.
_P_ADD_BUYER: Final = 0.55
_P_ADD_OTHER: Final = 0.12
_P_CHECKOUT_OTHER: Final = 0.06  # a buyer always comes by the checkout
_LOG_RATIO_ADD: Final = math.log(_P_ADD_BUYER / _P_ADD_OTHER)
_LOG_RATIO_NO_ADD: Final = math.log((1 - _P_ADD_BUYER) / (1 - _P_ADD_OTHER))
_LOG_RATIO_CHECKOUT: Final = math.log(1 / _P_CHECKOUT_OTHER)

# What tells nothing: how much is looked at, and how fast.
_P_NEXT_VIEW: Final = 0.75
_MOST_VIEWS: Final = 8
_P_LIST_PAGE: Final = 0.25
_SHORTEST_GAP_S: Final = 2.0
_MEAN_GAP_S: Final = 14.0  # on top of the shortest
_LONGEST_GAP_S: Final = 60.0
# A landing page, a list page, view and add for each product, checkout and purchase: with the longest gaps everywhere a
# session still ends within the window of its first event, and the next one begins after the window of its last.
_MOST_EVENTS: Final = 1 + 3 * _MOST_VIEWS + 2
_REST_S: Final = WINDOW_S + 1.0
assert _MOST_EVENTS * _LONGEST_GAP_S < WINDOW_S

_PLACES: Final = {
    "US": ("denver", "en-US"),
    "DE": ("leipzig", "de-DE"),
    "GB": ("leeds", "en-GB"),
    "IN": ("pune", "en-IN"),
    "FR": ("nantes", "fr-FR"),
}
_REFERRER_URLS: Final = {
    "search_engine": "https://search.example/?q=trail+shoes",
    "typed_bookmarked": "",
    "social": "https://social.example/p/4711",
    "email": "https://mail.example/",
    "external": "https://blog.example/ten-best-shoes",
}
_DEVICES: Final[tuple[tuple[str, int, int, str, str, str, str, str], ...]] = (
    ("mobile", 390, 844, "iOS", "18.1", "Safari", "18.1", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)"),
    ("mobile", 412, 915, "Android", "15", "Chrome", "131.0", "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/131.0"),
    ("desktop", 1920, 1080, "Windows", "11", "Firefox", "133.0", "Mozilla/5.0 (Windows NT 10.0) Firefox/133.0"),
)
_PRODUCTS: Final = ("trail runner", "rain shell", "merino shirt", "day pack", "head lamp", "gas stove")

# --- the simulator ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """One record of the stream, with the truth about it.

    Args:
        visitor: the primary identity, the record's key.
        time_ms: event time; of a bad record the time of the event that it was made from.
        p_purchase: see `Simulator`; None for a bad record.
        xdm: the event in XED form; None for a bad record. Events of a session share parts: do not change them.
        raw: a bad record's bytes; None for a good one.
        bad: what is wrong with it, one of `BAD`.
    """

    visitor: str
    time_ms: int
    p_purchase: float | None
    xdm: Event | None
    raw: bytes | None = None
    bad: str | None = None

    @property
    def key(self) -> bytes:
        """The record's key."""
        return self.visitor.encode()

    @property
    def value(self) -> bytes:
        """The record's value: XED JSON, or what a bad record has in its place."""
        return msgspec.json.encode(self.xdm) if self.raw is None else self.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A stream of shop visits in event-time order, the same for the same arguments.

    A visitor comes, lands on a page, looks at products of one price, puts some in the cart, may go to the checkout,
    may purchase, and then stays away for more than 30 minutes. Whether it will be a purchase is settled on coming, with
    log odds that are a sum over country, session referrer and price. From then on it shows only in what the visitor
    does: a buyer puts a product just viewed in the cart with probability 0.55, another visitor with 0.12; a buyer
    always goes to the checkout, another visitor with 0.06. How many products are viewed, and how fast, is the same for
    both. A visit is shorter than 30 minutes.

    So `p_purchase` of an event is exactly the probability that a purchase of the same visitor follows within 30
    minutes, given all that was ever recorded of the visitor up to this event, itself included. It is Bayes' rule over
    the acts above; before the first product, when no price was seen yet, it is the mean over prices; at a purchase it
    is 0. Nobody can do better than to know it, and it can be learned: its log odds are linear in what a model reads at
    a product view, namely `placeContext.geo.countryCode`, `_experience.analytics.session.web.webReferrer.type`,
    `_experience.analytics.event1to100.event2.value` (the price of what is viewed, where Luma has it too), and the
    counts of `commerce.productViews` and `commerce.productListAdds` within 30 minutes.

    Args:
        seed: of the random numbers.
        visitors: how many there are; where `rate` asks for more visits than they can make, more visitors come.
        rate: good events per second of event time, in the long run. The shop opens at `start` with nobody in it, so the
            first two minutes are quieter. One visitor makes about one event in five minutes at most.
        start: event time of the opening; has a zone.
        drift_at: seconds from the start; visits that begin later follow other coefficients: social media bring the
            buyers instead of email, India instead of Germany, high prices instead of low ones.
        bad_every: after so many good events comes a bad record, of the kinds in `BAD` by turns.

    Raises:
        ValueError: a number that makes no stream, or a start without zone.

    >>> first = next(Simulator(seed=7).events())
    >>> first.xdm["eventType"], round(first.p_purchase, 4)
    ('web.webpagedetails.pageViews', 0.1491)
    """

    seed: int = 0
    visitors: int = 1000
    rate: float = 3.0
    start: dt.datetime = _START
    drift_at: float | None = None
    bad_every: int | None = None

    def __post_init__(self) -> None:
        if self.visitors < 1 or not 0 < self.rate < math.inf or (self.bad_every is not None and self.bad_every < 1):
            raise ValueError(f"visitors, rate and bad_every must be above zero: {self}")
        if self.start.tzinfo is None:
            raise ValueError(f"start={self.start.isoformat()} has no time zone")

    def events(self) -> Iterator[SimulatedEvent]:
        """Yield the stream from its start, without end."""
        return self._good() if self.bad_every is None else _with_bad(self._good(), self.bad_every)

    def payloads(self, n: int) -> list[tuple[bytes, bytes]]:
        """Return key and value of the first `n` records.

        >>> len(Simulator(bad_every=3).payloads(8))
        8
        """
        return [(event.key, event.value) for event in itertools.islice(self.events(), n)]

    def _good(self) -> Iterator[SimulatedEvent]:
        rng = random.Random(self.seed)  # noqa: S311  # a simulation: to be repeated, not to be secret
        start_s = self.start.timestamp()
        sessions_per_s = self.rate / _mean_events()
        ids = (f"sim-{self.seed}-{number}" for number in itertools.count(1))
        resting: list[tuple[float, int, _Visitor]] = []  # by the second from which they may come again
        due: list[tuple[int, int, SimulatedEvent]] = []  # by time, then in the order of making
        made = come = 0
        opening_s = 0.0
        while True:
            # 1. Somebody comes; everything before that moment is settled and can go out.
            opening_s += rng.expovariate(sessions_per_s)
            while due and due[0][0] < (start_s + opening_s) * 1000 - 1:  # event times are rounded
                yield heapq.heappop(due)[2]
            # 2. Who has stayed away longest comes again, if that is long enough; else somebody new comes.
            if come >= self.visitors and resting[0][0] <= opening_s:
                visitor = heapq.heappop(resting)[2]
            else:
                visitor = _Visitor(rng)
                come += 1
            # 3. The whole visit is played ahead.
            law = _BEFORE if self.drift_at is None or opening_s < self.drift_at else _AFTER
            session = _Session(rng, visitor, law, ids)
            lasted_s = session.play(start_s + opening_s)
            for event in session.events:
                made += 1
                heapq.heappush(due, (event.time_ms, made, event))
            heapq.heappush(resting, (opening_s + lasted_s + _REST_S, made, visitor))


class _Visitor:
    """Who comes: what is the same in all of a visitor's events."""

    __slots__ = ("country", "id", "parts")

    def __init__(self, rng: random.Random) -> None:
        self.id = f"{rng.getrandbits(126):038d}"
        self.country = _drawn(rng, _COUNTRY_SHARES)
        city, language = _PLACES[self.country]
        device, width, height, system, system_version, browser, browser_version, agent = rng.choice(_DEVICES)
        self.parts: Event = {
            "identityMap": {"ECID": [{"id": self.id, "authenticatedState": "ambiguous", "primary": True}]},
            "device": {
                "type": device,
                "screenWidth": width,
                "screenHeight": height,
                "screenOrientation": "portrait" if height > width else "landscape",
            },
            "environment": {
                "type": "browser",
                "operatingSystem": system,
                "operatingSystemVersion": system_version,
                "browserDetails": {
                    "name": browser,
                    "version": browser_version,
                    "userAgent": agent,
                    "acceptLanguage": language,
                    "cookiesEnabled": True,
                    "javaScriptEnabled": True,
                },
            },
            "placeContext": {"geo": {"countryCode": self.country, "city": city}},
        }


class _Session:
    """One visit, played to its end at once: the outcome first, then the acts that betray it."""

    def __init__(self, rng: random.Random, visitor: _Visitor, law: _Coefficients, ids: Iterator[str]) -> None:
        self.events: list[SimulatedEvent] = []
        self._rng = rng
        self._visitor = visitor
        self._ids = ids
        self._referrer = _drawn(rng, _REFERRER_SHARES)
        self._price = rng.choice(_PRICES)
        self._p_landing = _p_landing(law is _AFTER, visitor.country, self._referrer)
        # The log odds of a purchase given all that was recorded so far; every act moves them.
        self._log_odds = _log_odds(law, visitor.country, self._referrer, self._price)
        self._buys = rng.random() < _probability(self._log_odds)
        session = {"session": {"web": {"webReferrer": {"type": self._referrer}}}}
        self._parts = visitor.parts | {"_experience": {"analytics": session}}
        if self._referrer == "email":
            self._parts["marketing"] = {"trackingCode": "newsletter"}
        self._priced_parts = self._parts | {"_experience": {"analytics": session | _priced(self._price)}}
        self._page = ""
        self._time_s = 0.0

    def play(self, start_s: float) -> float:
        """Fill `events` and return how many seconds they span."""
        rng = self._rng
        self._time_s = start_s
        self._add_page_view("home", "https://shop.example/index.html", self._p_landing)
        cart: list[Event] = []
        items: list[Event] = []
        looking = True
        while looking:
            if rng.random() < _P_LIST_PAGE:
                self._wait()
                p_purchase = self._p() if items else self._p_landing
                self._add_page_view("list", "https://shop.example/products/all.html", p_purchase)
            name = rng.choice(_PRODUCTS)
            sku = f"{name.replace(' ', '-')}-{self._price:.0f}"
            item = {"SKU": sku, "name": name, "quantity": 1, "priceTotal": self._price, "currencyCode": "USD"}
            items.append(item)
            self._wait()
            self._add("commerce.productViews", self._p(), items=[item], page=f"product: {name}", priced=True)
            if rng.random() < (_P_ADD_BUYER if self._buys else _P_ADD_OTHER):
                self._log_odds += _LOG_RATIO_ADD
                cart.append(item)
                self._wait()
                self._add("commerce.productListAdds", self._p(), items=[item], page=f"product: {name}", priced=True)
            else:
                self._log_odds += _LOG_RATIO_NO_ADD
            looking = len(items) < _MOST_VIEWS and rng.random() < _P_NEXT_VIEW

        if self._buys or rng.random() < _P_CHECKOUT_OTHER:
            self._log_odds += _LOG_RATIO_CHECKOUT
            bought = cart or items[-1:]
            self._wait()
            self._add("commerce.checkouts", self._p(), items=bought, page="checkout")
            if self._buys:
                self._wait()
                self._add("commerce.purchases", 0.0, items=bought, page="thank you")
        return self._time_s - start_s

    def _wait(self) -> None:
        gap_s = _SHORTEST_GAP_S + self._rng.expovariate(1 / _MEAN_GAP_S)
        self._time_s += min(gap_s, _LONGEST_GAP_S)

    def _p(self) -> float:
        return _probability(self._log_odds)

    def _add_page_view(self, name: str, url: str, p_purchase: float) -> None:
        self._put("web.webpagedetails.pageViews", p_purchase, self._parts | self._web(name, url, "pages"))

    def _add(self, kind: str, p_purchase: float, *, items: Sequence[Event], page: str, priced: bool = False) -> None:
        measure = kind.removeprefix("commerce.")
        commerce: Event = {measure: {"value": 1.0}}
        if measure in ("checkouts", "purchases"):
            commerce["order"] = {"currencyCode": "USD", "priceTotal": self._price * len(items)}
        url = f"https://shop.example/products/{page.replace(': ', '/').replace(' ', '-')}.html"
        fields = (self._priced_parts if priced else self._parts) | self._web(page, url, "shop")
        fields["commerce"] = commerce
        fields["productListItems"] = items
        self._put(kind, p_purchase, fields)

    def _web(self, name: str, url: str, section: str) -> Event:
        # As in any telemetry: the page before is the referrer, and only the session remembers where it came from.
        before, self._page = self._page, url
        came_from = (
            {"type": "internal", "URL": before}
            if before
            else {"type": self._referrer, "URL": _REFERRER_URLS[self._referrer]}
        )
        page = {
            "name": name,
            "URL": url,
            "siteSection": section,
            "server": "shop.example",
            "pageViews": {"value": 1.0},
        }
        return {"web": {"webPageDetails": page, "webReferrer": came_from}}

    def _put(self, kind: str, p_purchase: float, fields: Event) -> None:
        time_ms = round(self._time_s * 1000)
        head = {"_id": next(self._ids), "timestamp": _iso(time_ms), "eventType": kind}
        self.events.append(SimulatedEvent(self._visitor.id, time_ms, p_purchase, head | fields))


# --- the truth --------------------------------------------------------------------------------------------------------


def _drawn(rng: random.Random, shares: Mapping[str, float]) -> str:
    left = rng.random()
    for name, share in shares.items():
        left -= share
        if left < 0:
            return name
    return name  # the shares add up to 1 but for rounding


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _log_odds(law: _Coefficients, country: str, referrer: str, price: float) -> float:
    """Return the log odds of a purchase for a visitor who comes."""
    return law.base + law.country[country] + law.referrer[referrer] + law.a_dollar * price


@cache
def _p_landing(drifted: bool, country: str, referrer: str) -> float:
    law = _AFTER if drifted else _BEFORE
    return sum(_probability(_log_odds(law, country, referrer, price)) for price in _PRICES) / len(_PRICES)


@cache
def _mean_events() -> float:
    """Return how many events a session has on average (before a drift, which hardly changes it)."""
    p_buys = sum(
        country_share * referrer_share * _p_landing(False, country, referrer)
        for country, country_share in _COUNTRY_SHARES.items()
        for referrer, referrer_share in _REFERRER_SHARES.items()
    )
    views = sum(_P_NEXT_VIEW**k for k in range(_MOST_VIEWS))
    adds = p_buys * _P_ADD_BUYER + (1 - p_buys) * _P_ADD_OTHER
    return 1 + views * (1 + _P_LIST_PAGE + adds) + 2 * p_buys + (1 - p_buys) * _P_CHECKOUT_OTHER


def _priced(price: float) -> Event:
    return {"event1to100": {"event2": {"value": price}}}


_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # UTC; without saying so `isoformat` is faster


def _iso(time_ms: int) -> str:
    return (_EPOCH + dt.timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds") + "Z"


# --- what goes wrong --------------------------------------------------------------------------------------------------

BAD: Final = (
    "not JSON",
    "wrong type",
    "no identity",
    "no zone",
    "far future",
    "NaN",
    "1e999",
    "absurd amount",
    "empty",
)


def _with_bad(good: Iterator[SimulatedEvent], every: int) -> Iterator[SimulatedEvent]:
    kinds = itertools.cycle(BAD)
    for number, event in enumerate(good, start=1):
        yield event
        if number % every == 0:
            bad = next(kinds)
            yield SimulatedEvent(event.visitor, event.time_ms, None, None, _spoiled(event, bad), bad)


def _spoiled(event: SimulatedEvent, bad: str) -> bytes:
    """Return the bytes of a record that is like a good one, with an id of its own, but for one thing."""
    fields = dict(event.xdm or {})
    fields["_id"] += "-bad"
    analytics = fields["_experience"]["analytics"]
    changes: Mapping[str, Event] = {
        "wrong type": {"commerce": {"purchases": {"value": "one"}}},
        "no identity": {"identityMap": {}},
        "no zone": {"timestamp": fields["timestamp"].removesuffix("Z")},
        "far future": {"timestamp": "2999-12-31T23:59:59.000Z"},
        "NaN": {"commerce": {"purchases": {"value": _STANDS_IN}}},
        "1e999": {"commerce": {"purchases": {"value": _STANDS_IN}}},
        "absurd amount": {
            "commerce": {"order": {"currencyCode": "USD", "priceTotal": _ABSURD}},
            "_experience": {"analytics": analytics | _priced(_ABSURD)},
        },
    }
    value = msgspec.json.encode(fields | changes.get(bad, {}))
    written: Mapping[str, bytes] = {
        "not JSON": value[: len(value) // 2],
        "NaN": value.replace(_STOOD_IN, b"NaN"),
        "1e999": value.replace(_STOOD_IN, b"1e999"),
        "empty": b"",
    }
    return written.get(bad, value)


_ABSURD: Final = 1e12
# No encoder writes NaN or 1e999, so a number that occurs nowhere else holds their place.
_STANDS_IN: Final = 271828.1828
_STOOD_IN: Final = b"271828.1828"

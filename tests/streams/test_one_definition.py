"""What a model is given is the same to the last bit in the scorer and at an edge, given the same profile record.

So is what it answers to one row. In a run of many rows onnxruntime rounds some of them elsewhere: by an ulp or two.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import load_model
from learners.training import Training
from schemas.reader import Reader, X
from schemas.records import Release, VisitorProfile, encode
from scoring.answer import answer
from scoring.candidates import rank
from scoring.profiles import Profiles
from scoring.session import Session
from streams.partition import Partition, Taken
from streams.simulator import Simulator
from tests.scoring.artifacts import EVENT_MS, event, release, weighted

EXAMPLE = Path(__file__).parents[2] / "examples" / "purchase_propensity.py"
WEIGHTS = [1e-6, 0.01, 0.7, -0.003]


class Both:
    """A scorer's partition, and an edge that follows its profiles; the edge is asked first, as its callers do."""

    def __init__(self, release: Release) -> None:
        self.session = Session(release)
        self.reader = Reader(self.session.spec)
        self.partition = Partition(self.reader)
        self.profiles = Profiles()
        self.differences: list[tuple[str, Any, Any]] = []
        self.compared = 0
        self.known = 0

    def take(self, value: bytes, offset: int, at_ms: int) -> None:
        answered, scored = answer(value, [self.session], self.profiles, at_ms)
        taken = self.partition.take([record_of(value, offset, at_ms)])
        self._follow(taken, at_ms)
        for pending in taken.pendings:
            (edge,) = scored
            scorer_score, *_ = self.session.score([pending.x])
            in_a_chunk, *_ = self.session.score([pending.x] * 3)
            same = bits(edge.x) == bits(pending.x) and pack([edge.score]) == pack([scorer_score])
            if not same or not math.isclose(edge.score, in_a_chunk, rel_tol=1e-14):
                self.differences.append((pending.event, edge, (pending.x, scorer_score, in_a_chunk)))
            self.compared += 1
            self.known += answered.profile.known

    def _follow(self, taken: Taken, at_ms: int) -> None:
        model = self.session.model
        for visitor in taken.forgotten:
            self.profiles.forget(model, visitor)
        for visitor, each in taken.touched.items():
            record = VisitorProfile(model=model, visitor=visitor, seen=each.seen_ms, times=each.times, last=each.last)
            self.profiles.put(model, visitor, encode(record), at_ms)


def bits(x: X) -> tuple[bytes, tuple[str, ...]]:
    numbers, categories = x
    return pack(numbers), tuple(categories)


def pack(numbers: Iterable[float]) -> bytes:
    flat = list(numbers)
    return struct.pack(f"<{len(flat)}d", *flat)


def record_of(value: bytes, offset: int, at_ms: int) -> ConsumerRecord:
    return ConsumerRecord(
        topic="events", partition=0, offset=offset, timestamp=at_ms, timestamp_type=0, key=b"v", value=value,
        checksum=None, serialized_key_size=1, serialized_value_size=1, headers=(),
    )  # fmt: skip


def iso(time_ms: int) -> str:
    seconds, ms = divmod(time_ms - EVENT_MS, 1000)
    return f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["commerce.productViews", "commerce.productListAdds", "web.webpagedetails.pageViews"]),
        st.integers(0, 600_000),
        st.sampled_from(["a", "b", "é/ü"]),
        st.one_of(st.none(), st.floats(0, 1e6), st.integers(0, 10**6)),
        st.one_of(st.none(), st.text(max_size=3).filter(lambda text: "\x00" not in text)),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(events=EVENTS)
def test_made_events_are_the_same_to_the_last_bit(events: list[tuple[str, int, str, float | None, str | None]]) -> None:
    """Numbers, NaN included, categories and the score; whatever the visitors did before."""
    both = Both(release(0, weighted(WEIGHTS)))
    at_ms = EVENT_MS

    for offset, (kind, step_ms, visitor, price, country) in enumerate(events):
        at_ms += step_ms
        made = event(
            _id=str(offset),
            eventType=kind,
            timestamp=iso(at_ms),
            identityMap={"ECID": [{"id": visitor, "primary": True}]},
            commerce=None if price is None else {"order": {"priceTotal": price}},
            placeContext=None if country is None else {"geo": {"countryCode": country}},
        )
        both.take(json.dumps(made).encode(), offset, at_ms)

    assert both.differences == []


@pytest.fixture(scope="module")
def learned() -> Release:
    return Training(load_model(EXAMPLE)).candidate(0, 0)


def test_a_simulated_shop_is_the_same_to_the_last_bit(learned: Release) -> None:
    """1,500 events of the example's model: every feature it has, visitors who return, and its own artifact."""
    both = Both(learned)

    for offset, (_, value) in enumerate(Simulator(seed=5, visitors=100).payloads(1500)):
        at_ms = int(both.reader.read(value, 2**62).time_ms)
        both.take(value, offset, at_ms)

    assert both.differences == []
    assert both.compared > 500
    assert both.known > 300


def test_a_candidate_is_scored_as_the_event_that_it_would_be() -> None:
    """Up to how a run of many rows rounds."""
    session = Session(release(0, weighted(WEIGHTS)))
    profiles = Profiles()
    past = VisitorProfile(model="m", visitor="v", seen=EVENT_MS - 5, times=[[EVENT_MS - 5]], last=[[EVENT_MS - 777]])
    profiles.put("m", "v", encode(past), EVENT_MS)
    prices = [price * 1.1 for price in range(300)]

    request = {"event": event(), "candidates": [{"commerce": {"order": {"priceTotal": price}}} for price in prices]}
    (ranking,) = rank(json.dumps(request).encode(), [session], profiles, EVENT_MS).rankings

    expected = [alone(event(commerce={"order": {"priceTotal": price}}), session, profiles) for price in prices]
    assert ranking.scores == pytest.approx(expected, rel=1e-14, abs=0)


def alone(of: dict[str, Any], session: Session, profiles: Profiles) -> float:
    answered, _ = answer(json.dumps(of).encode(), [session], profiles, EVENT_MS)
    return answered.scores[0].score

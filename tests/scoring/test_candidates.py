"""Candidates: one event, many things that it could be about, each scored as the event it would be."""

from __future__ import annotations

from typing import Any

import pytest

from scoring.candidates import MOST_CANDIDATES
from tests.scoring.artifacts import EVENT_MS, event, release, weighted
from tests.scoring.edges import Edge

CANDIDATES = "/v1/candidates"


@pytest.fixture
def edge() -> Edge:
    """An edge whose model goes by the price, and by what the visitor did before."""
    return Edge(release(3, weighted([1e-3, 0.0, 0.5, 0.0])))


def priced(price: Any) -> dict[str, Any]:
    return {"commerce": {"order": {"priceTotal": price}}}


def test_each_candidate_is_scored_as_the_event_that_it_would_be(edge: Edge) -> None:
    """With the same visitor's past; to an ulp or two, as a run of many rows rounds elsewhere."""
    edge.remember([[EVENT_MS - 5, EVENT_MS - 3]], [])
    candidates = [priced(price) for price in (10.0, 500.0, 90.0)]
    (ranking,) = edge.post({"event": event(), "candidates": candidates}, CANDIDATES).json["rankings"]

    alone = [edge.post(event() | each).json["scores"][0]["score"] for each in candidates]
    assert pytest.approx(alone, rel=1e-14) == ranking["scores"]
    assert len(set(alone)) == 3


def test_the_best_come_first_where_they_are_asked_for(edge: Edge) -> None:
    """By their places; of equal ones the first."""
    candidates = [priced(price) for price in (10.0, 500.0, 90.0, 500.0)]
    (ranking,) = edge.post({"event": event(), "candidates": candidates, "top": 3}, CANDIDATES).json["rankings"]

    assert [1, 3, 2] == ranking["top"]


def test_a_candidate_is_merged_and_null_takes_away(edge: Edge) -> None:
    """RFC 7396: what it does not name stays."""
    base = event(**priced(500.0), placeContext={"geo": {"countryCode": "CH"}})
    candidates: list[Any] = [{}, {"placeContext": {"geo": {"countryCode": "DE"}}}, {"commerce": {"order": None}}]
    (ranking,) = edge.post({"event": base, "candidates": candidates}, CANDIDATES).json["rankings"]
    same, other_place, no_price = ranking["scores"]

    assert same == other_place > no_price


def test_one_bad_candidate_fails_no_other(edge: Edge) -> None:
    """Its score is null, and what is wrong with it stands beside."""
    answer = edge.post({"event": event(), "candidates": [priced(1.0), priced("dear"), priced(2.0)]}, CANDIDATES).json
    (refused,) = answer["refused"]

    assert [False, True, False] == [score is None for score in answer["rankings"][0]["scores"]]
    assert (1, 400) == (refused["candidate"], refused["problem"]["status"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": event(), "candidates": []}, "candidates"),
        ({"event": event(), "candidates": [{}] * (MOST_CANDIDATES + 1)}, "candidates"),
        ({"event": event(), "candidates": [{}], "top": 0}, "top"),
        ({"event": event(), "candidates": [{}, {"timestamp": "2026-01-01T00:00:00Z"}]}, "candidates[1].timestamp"),
        ({"event": event(note="x" * 100_000), "candidates": [{}] * 100}, "event"),
        ({"event": event(timestamp=None), "candidates": [{}]}, "timestamp"),
        ({"event": 3, "candidates": [{}]}, "event"),
    ],
)
def test_what_is_wrong_is_named(edge: Edge, body: Any, field: str) -> None:
    """By its place in the request, or by its XDM path."""
    reply = edge.post(body, CANDIDATES)

    assert (400, field) == (reply.status, reply.json["field"])

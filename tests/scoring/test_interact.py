"""The Edge Network's shape around our answers (facts of `rtml:inferences` and its payload; RFC 9457 for problems)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from scoring.interact import MOST_EVENTS, path_of
from tests.scoring.artifacts import EVENT_MS, constant_p, event, release
from tests.scoring.edges import Edge

INTERACT = "/ee/v2/interact"
PATH = "_freshet.models.m.score"
IDENTITY = {"ECID": [{"id": "v", "primary": True}]}


@pytest.fixture
def edge() -> Edge:
    return Edge(release(3))


def handles(reply: Any, kind: str) -> list[Any]:
    return [each for each in reply.json["handle"] if each["type"] == kind]


@pytest.mark.parametrize("path", [INTERACT, "/ee/v1/interact", INTERACT + "?configId=stream&requestId=r-1"])
def test_a_score_lies_in_the_payload_at_its_xdm_path(edge: Edge, path: str) -> None:
    """One handle of inferences an event."""
    reply = edge.post({"events": [{"xdm": event()}]}, path)
    (handle,) = handles(reply, "rtml:inferences")

    assert 200 == reply.status
    assert {"type": "rtml:inferences", "payload": [{PATH: constant_p(3)}], "eventIndex": 0} == handle
    assert ("r-1" if "r-1" in path else reply.json["requestId"]) == reply.json["requestId"]


def test_beside_it_stands_our_whole_answer(edge: Edge) -> None:
    """With the version, how far it had learned, and what was known of the visitor."""
    (handle,) = handles(edge.post({"event": {"xdm": event()}}, INTERACT), "freshet:answers")

    assert [edge.post(event()).json] == handle["payload"]


def test_what_the_request_says_holds_for_each_of_its_events(edge: Edge) -> None:
    """Where an event says something itself, that holds."""
    own = {"eventType": "commerce.productViews", "identityMap": {"ECID": [{"id": "own", "primary": True}]}}
    request = {
        "xdm": {"identityMap": IDENTITY},
        "events": [{"xdm": {"eventType": "commerce.productViews"}}, {"xdm": own}],
    }
    answers = handles(edge.post(request, INTERACT), "freshet:answers")

    assert ["v", "own"] == [each["payload"][0]["visitor"] for each in answers]
    assert [0, 1] == [each["eventIndex"] for each in answers]


def test_an_event_without_id_or_time_gets_them(edge: Edge) -> None:
    """A new id each time, and the edge's clock."""
    bare = {"xdm": {"eventType": "commerce.productViews", "identityMap": IDENTITY}}
    first, second = (
        each["payload"][0] for each in handles(edge.post({"events": [bare, bare]}, INTERACT), "freshet:answers")
    )

    assert uuid.UUID(first["event"]) != uuid.UUID(second["event"])
    assert EVENT_MS + 1000 + 30 * 60_000 == first["scores"][0]["validUntil"]


def test_one_bad_event_is_told_beside_the_others(edge: Edge) -> None:
    """Under `errors`, with its index."""
    reply = edge.post({"events": [{"xdm": event(timestamp="yesterday")}, {"xdm": event()}]}, INTERACT)
    (error,) = reply.json["errors"]

    assert (200, [1]) == (reply.status, [each["eventIndex"] for each in handles(reply, "rtml:inferences")])
    assert ("timestamp", 0) == (error["field"], error["report"]["eventIndex"])


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"{}", {"events": []}, {"events": [{}] * (MOST_EVENTS + 1)}, {"events": [{"xdm": 3}]},
        {"events": [{"xdm": event(timestamp="yesterday")}]}, b'{"events": [{"xdm": ' + b'{"a":' * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_interaction_is_refused(edge: Edge, body: Any) -> None:
    """With a problem, and never with a failure of ours."""
    reply = edge.post(body, INTERACT)

    assert (400, "application/problem+json") == (reply.status, reply.headers["content-type"])


def test_no_two_models_share_a_path() -> None:
    """What XDM does not allow in a name is written by its code point, and so is what that is written with."""
    names = ["a.b", "a_2e_b", "a b", "ab", "a-b", "ä"]

    assert len({path_of(name) for name in names}) == len(names)

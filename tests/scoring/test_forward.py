"""The door hands every event on before it answers, says so, and never fails a score for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.features import Spec, number
from schemas.profile import Profile
from schemas.reader import Reader
from schemas.records import VisitorProfile, encode
from schemas.score_header import ScoreHeader
from scoring.door import Door
from scoring.engine import Engine
from scoring.forward import FULL, Outgoing
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.session import Session
from tests.scoring.artifacts import DAY_MS, EVENT_MS, SPEC, event, release, unanswering, weighted
from tests.scoring.asgi import Reply, call

NOW_MS = EVENT_MS + 1000


class Taking:
    """A forwarder that keeps what it is offered, or refuses it for `reason`."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.offered: list[Outgoing] = []

    def offer(self, outgoing: Outgoing) -> str:
        """See `scoring.forward.Forwarder`."""
        if not self.reason:
            self.offered.append(outgoing)
        return self.reason


class Edge:
    """A door with a forwarder."""

    def __init__(self, *releases: Any, reason: str = "") -> None:
        self.engine, self.profiles, self.taking = Engine(), Profiles(), Taking(reason)
        self.door = Door(self.engine, Registry(), self.profiles, clock=lambda: NOW_MS, forwarder=self.taking)
        for each in releases or (release(3),):
            self.engine.swap(Session(each), now_ms=0)

    def post(self, body: Any, path: str = "/v1/events") -> Reply:
        reply = call(self.door, "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())
        assert reply is not None
        return reply


def test_an_event_is_handed_on_in_its_own_bytes_and_at_the_moment_of_its_answer() -> None:
    """Key: the visitor. The answer says that it was."""
    edge = Edge()
    body = json.dumps({"header": {}, "body": {"xdmEntity": event()}}, indent=1).encode()
    answer = edge.post(body).json
    (outgoing,) = edge.taking.offered

    assert (outgoing.value, outgoing.key, outgoing.at_ms) == (body, b"v", NOW_MS)
    assert answer["forwarded"] is True
    assert "notForwarded" not in answer


def test_each_models_score_goes_with_it_bit_for_bit() -> None:
    """One header a model: score, version, how far that had learned, x, and as of when the profile was."""
    other = Spec(
        name="other", applies_to=SPEC.applies_to, features=(number("commerce.order.taxAmount"),),
        outcome="commerce.purchases", within_ms=5000, lateness_ms=0, remembers_ms=DAY_MS,
    )  # fmt: skip
    edge = Edge(release(3, weighted([1e-6, 0.01, 0.7, -0.003])), release(9, spec=other))
    profile = VisitorProfile(model="m", visitor="v", seen=EVENT_MS - 7, times=[[EVENT_MS - 7]], last=[[EVENT_MS - 9]])
    edge.profiles.put("m", "v", encode(profile), 77)
    answer = edge.post(body := json.dumps(event()).encode()).json
    (outgoing,) = edge.taking.offered

    assert [name for name, _ in outgoing.headers] == ["freshet.score.m", "freshet.score.other"]
    reader = Reader(SPEC)
    read = reader.read(body, NOW_MS)
    said = ScoreHeader(reader).read(outgoing.headers[0][1], read, reader.x(read, None))
    scores = {each["model"]: each for each in answer["scores"]}
    assert (said.score, said.version) == (scores["m"]["score"], 3)
    assert (said.learned.offset, said.learned.event_time) == (30, 3000)
    assert (said.as_of_ms, said.scored_at_ms) == (77, NOW_MS)
    expected = reader.x(read, Profile(profile.seen, profile.times, profile.last))
    assert repr(said.x) == repr(expected)


@pytest.mark.parametrize("body", [event(eventType="commerce.purchases"), event(eventType="commerce.checkouts")])
def test_an_event_that_no_model_scores_is_handed_on_without_a_header(body: dict[str, Any]) -> None:
    """Outcomes above all: without them there are no labels."""
    edge = Edge()
    answer = edge.post(body).json

    assert (answer["forwarded"], edge.taking.offered[0].headers) == (True, [])


def test_where_the_model_has_no_answer_the_scorer_is_to_try() -> None:
    """NaN is no score: there is no header."""
    edge = Edge(release(0, unanswering()))
    edge.post(event())

    assert edge.taking.offered[0].headers == []


@pytest.mark.parametrize(
    "path", ["/v1/events?", "/v1/events?x=1", "/v1/events?forward=true", "/v1/events?a&forward=true"]
)
def test_it_is_handed_on_unless_asked_not_to(path: str) -> None:
    """Other parameters mean nothing here."""
    edge = Edge()

    assert edge.post(event(), path).json["forwarded"] is True


def test_a_score_alone_can_be_asked_for() -> None:
    """Nothing is handed on, and the answer says why not."""
    edge = Edge()
    answer = edge.post(event(), "/v1/events?x=1&forward=false").json

    assert (answer["forwarded"], answer["notForwarded"], edge.taking.offered) == (False, "asked", [])
    assert len(answer["scores"]) == 1


@pytest.mark.parametrize("said", ["", "False", "0", "no", "true&forward=false"])
def test_anything_else_is_refused(said: str) -> None:
    """Whoever mistypes it is told, and nothing is handed on that should not be."""
    edge = Edge()
    reply = edge.post(event(), f"/v1/events?forward={said}")

    assert (reply.status, reply.json["field"], edge.taking.offered) == (400, "forward", [])


def test_what_cannot_be_handed_on_is_scored_all_the_same() -> None:
    """200, with the score and the reason."""
    answer = (reply := Edge(reason=FULL).post(event())).json

    assert (reply.status, answer["forwarded"], answer["notForwarded"]) == (200, False, "full")
    assert len(answer["scores"]) == 1


def test_what_is_refused_is_not_handed_on() -> None:
    """Its caller has been told what is wrong: in `events` it would be a dead letter."""
    edge = Edge()

    assert edge.post(event(timestamp=None)).status == 400
    assert edge.taking.offered == []


def test_a_batch_is_handed_on_event_by_event() -> None:
    """Each answer says it for itself; what is wrong in one is nothing to the others."""
    edge = Edge()
    events = [event(_id="1"), event(_id="2", timestamp=None), event(_id="3")]
    answers = edge.post(events, "/v1/events:batch").json

    assert [each.get("forwarded") for each in answers] == [True, None, True]
    assert [json.loads(each.value)["_id"] for each in edge.taking.offered] == ["1", "3"]


def test_a_batch_can_be_scored_only() -> None:
    """The same parameter."""
    edge = Edge()
    answers = edge.post([event()], "/v1/events:batch?forward=false").json

    assert (answers[0]["notForwarded"], edge.taking.offered) == ("asked", [])


def test_events_of_the_edge_networks_shape_are_handed_on_as_events() -> None:
    """Each as an event of its own that a scorer reads."""
    edge = Edge()
    reply = edge.post({"events": [{"xdm": event(_id="1")}, {"xdm": event(_id="2")}]}, "/ee/v2/interact")
    reader = Reader(SPEC)

    assert reply.status == 200
    assert [reader.read(each.value, NOW_MS).id for each in edge.taking.offered] == ["1", "2"]

"""Several events in one request: each has its answer or its problem, in its place."""

from __future__ import annotations

from typing import Any

import pytest

from scoring.events import MOST_EVENTS, split
from scoring.problem import Problem
from tests.scoring.artifacts import constant_p, event, release
from tests.scoring.edges import Edge, dumps

BATCH = "/v1/events:batch"


@pytest.fixture
def edge() -> Edge:
    return Edge(release(3))


@pytest.mark.parametrize("lines", [False, True])
def test_answers_come_in_the_order_of_the_events(edge: Edge, *, lines: bool) -> None:
    """As an array, or one a line with blank lines between them."""
    events = [event(_id=f"{i}") for i in range(100)]
    body = b"\n\n".join(map(dumps, events)) if lines else dumps(events)
    answers = edge.post(body, BATCH).json

    assert [f"{i}" for i in range(100)] == [each["event"] for each in answers]
    assert {constant_p(3)} == {each["scores"][0]["score"] for each in answers}


def test_one_bad_event_fails_no_other(edge: Edge) -> None:
    """It has its problem in its place, with the field to blame."""
    body = dumps([event(_id="1"), event(_id="2", timestamp=None), 7, event(_id="4")])
    first, second, third, fourth = edge.post(body, BATCH).json

    assert ("1", "4") == (first["event"], fourth["event"])
    assert ("urn:freshet:problem:event-invalid", "timestamp", 400) == (
        second["type"], second["field"], second["status"],
    )  # fmt: skip
    assert 400 == third["status"]


def test_an_answer_of_a_batch_is_the_event_s_own(edge: Edge) -> None:
    """To the last field."""
    (of_batch,) = edge.post(dumps([event()]), BATCH).json

    assert of_batch == edge.post(event()).json


def test_without_a_model_the_whole_batch_is_asked_to_come_back() -> None:
    """It is nothing of one event's."""
    reply = Edge().post(dumps([event()]), BATCH)

    assert (503, "1") == (reply.status, reply.headers["retry-after"])


@pytest.mark.parametrize("body", [b"", b" \n\n", b"[]", b"[1, 2", b"[{}] {}", dumps([{}] * (MOST_EVENTS + 1))])
def test_what_is_no_batch_is_refused_whole(edge: Edge, body: bytes) -> None:
    """None of it is answered, and the sentence says what to send."""
    reply = edge.post(body, BATCH)

    assert 400 == reply.status
    assert "send" in reply.json["detail"]


def test_events_are_taken_as_they_stand() -> None:
    """Byte for byte, for they go on to Kafka."""
    texts: list[Any] = [b'{ "a" : 1.10 }', b'{"b":"\\u00e9"}']

    assert texts == split(b"[" + b" , ".join(texts) + b"]") == split(b"\n".join(texts))


def test_too_many_are_counted_before_they_are_read() -> None:
    """The problem names the limit."""
    with pytest.raises(Problem, match=f"at most {MOST_EVENTS}"):
        split(b"{}\n" * (MOST_EVENTS + 1))

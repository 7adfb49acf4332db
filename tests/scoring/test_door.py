"""The door answers with the live models, says plainly what is wrong with a request, and never fails a caller."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import header, schema, write_single_object
from schemas.features import LONGEST, Spec, category, number
from schemas.profile import Profile
from schemas.reader import Reader
from schemas.records import Alias, VisitorProfile, encode
from scoring.body import LARGEST_BODY_BYTES
from scoring.session import Session
from tests.scoring.artifacts import (
    DAY_MS,
    EVENT_MS,
    SPEC,
    WINDOW_MS,
    constant_p,
    event,
    release,
    unanswering,
    weighted,
)
from tests.scoring.asgi import call
from tests.scoring.edges import Edge, dumps

# What no answer may show: where our files are, what our classes are called, where in memory things lie.
INSIDES = re.compile(rb"0x[0-9a-f]{5,}|Traceback|\.py\b|site-packages|msgspec|fastavro|onnx|schemas\.|\w+Error\b")


@pytest.fixture
def edge() -> Edge:
    return Edge(release(3))


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_event_is_answered_with_a_score_and_where_it_comes_from(edge: Edge) -> None:
    """The answer names the event, the version, how far that had learned, and until when the score holds."""
    reply = edge.post(event())

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {
        "event": "e-1",
        "visitor": "v",
        "applicable": True,
        "scores": [
            {
                "model": "m",
                "version": 3,
                "score": constant_p(3),
                "learnedThrough": {"offset": 30, "eventTime": 3000},
                "validUntil": EVENT_MS + WINDOW_MS,
            }
        ],
        "profile": {"known": False, "asOf": None},
        "forwarded": False,
        "notForwarded": "off",
    }


def test_an_envelope_is_answered_like_the_event_in_it(edge: Edge) -> None:
    """`{header, body: {xdmEntity}}`, as the streaming ingestion sends it."""
    reply = edge.post({"header": {"datasetId": "d"}, "body": {"xdmMeta": {}, "xdmEntity": event()}})

    assert reply.body == edge.post(event()).body


def test_an_avro_event_is_answered_like_its_json(edge: Edge) -> None:
    """Whatever the topic `events` may hold, the door takes."""
    identity = {"ECID": [{"id": "v", "primary": True}]}
    record = {"_id": "e-1", "timestamp": EVENT_MS, "eventType": "commerce.productViews", "identityMap": identity}

    reply = edge.post(write_single_object("experience_event", record))

    assert reply.body == edge.post(event()).body


def test_an_event_no_model_is_made_for_gets_no_score(edge: Edge) -> None:
    """It is a good event all the same: 200, and says that it is not applicable."""
    reply = edge.post(event(eventType="commerce.checkouts"))

    assert (reply.status, reply.json["applicable"], reply.json["scores"]) == (200, False, [])


def test_every_model_that_applies_answers() -> None:
    """One event, one score per model, each by the features of its own."""
    other = Spec(
        name="other",
        applies_to=("commerce.productViews",),
        features=(number("commerce.order.taxAmount"),),
        outcome="commerce.purchases",
        within_ms=5000,
        lateness_ms=0,
        remembers_ms=DAY_MS,
    )
    edge = Edge(release(3), release(9, spec=other))

    answer = edge.post(event()).json
    page_view = edge.post(event(eventType="web.webpagedetails.pageViews")).json

    assert {(each["model"], each["version"], each["validUntil"] - EVENT_MS) for each in answer["scores"]} == {
        ("m", 3, WINDOW_MS),
        ("other", 9, 5000),
    }
    assert [each["model"] for each in page_view["scores"]] == ["m"]


def test_a_learner_without_an_answer_gives_no_score() -> None:
    """NaN is an artifact's word for "no answer": the score is left out, since JSON cannot say NaN."""
    reply = Edge(release(0, unanswering())).post(event())

    assert (reply.status, reply.json["applicable"], reply.json["scores"]) == (200, True, [])


def test_each_answer_names_the_version_that_made_it(edge: Edge) -> None:
    """After each of fifty swaps, and back again, the score is the named version's and the new one's."""
    for version in (*range(50), 7):
        edge.engine.swap(Session(release(version)), now_ms=0)

        (score,) = edge.post(event()).json["scores"]

        assert score["version"] == version
        assert score["score"] == constant_p(version)


# --- the visitor's past ----------------------------------------------------------------------------------------------

WEIGHTS = [1e-6, 0.01, 0.7, -0.003]  # price, hour, additions in 30 min, seconds since the last view


def test_the_score_is_bit_for_bit_what_the_scorer_would_give() -> None:
    """Given the same profile, the door computes the score that Reader and Session give, to the last bit."""
    edge = Edge(release(0, weighted(WEIGHTS)))
    times, last = [[EVENT_MS - 3_000_000, EVENT_MS - 61_234, EVENT_MS - 7]], [[EVENT_MS - 45_678]]
    edge.remember(times, last)
    body = dumps(event(commerce={"order": {"priceTotal": 199.99}}, placeContext={"geo": {"countryCode": "CH"}}))

    (score,) = edge.post(body).json["scores"]

    reader = Reader(SPEC)
    read = reader.read(body, EVENT_MS)
    x = reader.x(read, Profile(EVENT_MS - 1, times, last))
    assert x == ((199.99, 0.0, 2.0, 45.678), ("CH",))
    assert score["score"] == Session(release(0, weighted(WEIGHTS))).score([x])[0]


def test_a_known_visitor_is_scored_with_their_past_and_as_of_when(edge: Edge) -> None:
    """The profile changes the score; the answer says that it was known, and Kafka's time of its record."""
    edge = Edge(release(0, weighted(WEIGHTS)))
    unknown = edge.post(event()).json
    edge.remember([[EVENT_MS - 1000]], [[EVENT_MS - 1000]], as_of=1_767_225_599_000)

    known = edge.post(event()).json

    assert unknown["profile"] == {"known": False, "asOf": None}
    assert known["profile"] == {"known": True, "asOf": 1_767_225_599_000}
    assert known["scores"][0]["score"] != unknown["scores"][0]["score"]


def test_the_edge_remembers_nothing_by_itself(edge: Edge) -> None:
    """Asking twice gives the same answer: what is remembered of a visitor is the scorer's to write."""
    edge = Edge(release(0, weighted(WEIGHTS)))
    edge.remember([[EVENT_MS - 1000]], [[EVENT_MS - 1000]])

    first, second = edge.post(event()).body, edge.post(event()).body

    assert first == second


def test_a_visitor_long_forgotten_is_new(edge: Edge) -> None:
    """A profile older than what the model remembers is not used, and not called known."""
    edge.remember([[]], [[]], seen=EVENT_MS - SPEC.remembers_ms - 1)

    assert edge.post(event()).json["profile"] == {"known": False, "asOf": None}


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"\xc3\x01 and then nothing of use", id="foreign"),
        pytest.param(header("visitor_profile") + b"\x02", id="cut"),
        pytest.param(encode(VisitorProfile(model="m", visitor="v", seen=1, times=[], last=[])), id="of another spec"),
    ],
)
def test_a_profile_that_cannot_be_read_makes_the_visitor_new(edge: Edge, record: bytes) -> None:
    """A damaged or foreign profile costs the visitor their past, not the caller the answer."""
    edge.profiles.put("m", "v", record, 1)

    reply = edge.post(event())

    assert (reply.status, reply.json["profile"]["known"]) == (200, False)


# --- bad requests ----------------------------------------------------------------------------------------------------

BAD = {
    "nothing": (b"", None, "empty"),
    "no JSON": (b"hello", None, "not a JSON event"),
    "cut JSON": (dumps(event())[:-5], None, "not a JSON event"),
    "bytes after": (dumps(event()) + b"{}", None, "not a JSON event"),
    "a list": (dumps([event()]), "the event", "expected `object`"),
    "null": (b"null", "the event", "expected `object`"),
    "no UTF-8": (b'{"_id": "\xff"}', None, "not a JSON event"),
    "lone surrogate": (b'{"_id": "\\ud800", "timestamp": "2026-01-01T00:00:00Z"}', None, "not a JSON event"),
    "lone low surrogate": (b'{"_id": "\\udc00", "timestamp": "2026-01-01T00:00:00Z"}', None, "not a JSON event"),
    "NaN": (b'{"_id": "1", "commerce": {"order": {"priceTotal": NaN}}}', None, "not a JSON event"),
    "1e999": (
        b'{"_id": "1", "commerce": {"order": {"priceTotal": 1e999}}}',
        "commerce.order.priceTotal",
        "number out of range",
    ),
    "out of bounds": (
        dumps(event(commerce={"order": {"priceTotal": 1e7}})),
        "commerce.order.priceTotal",
        "out of bounds",
    ),
    "a string for a number": (
        dumps(event(commerce={"order": {"priceTotal": "12"}})),
        "commerce.order.priceTotal",
        "expected `float | null`, got `str`",
    ),
    "a number for a string": (
        dumps(event(placeContext={"geo": {"countryCode": 7}})),
        "placeContext.geo.countryCode",
        "expected `str | null`",
    ),
    "NUL": (dumps(event(placeContext={"geo": {"countryCode": "C\x00"}})), "placeContext.geo.countryCode", "NUL"),
    "no id": (dumps(event(_id=None)), "_id", "is missing"),
    "empty id": (dumps(event(_id="")), "_id", "is missing"),
    "long id": (dumps(event(_id="x" * 513)), "_id", "longer than 512"),
    "no time": (dumps(event(timestamp=None)), "timestamp", "is missing"),
    "no zone": (dumps(event(timestamp="2026-01-01T00:00:00")), "timestamp", "timezone"),
    "no such day": (dumps(event(timestamp="2026-02-30T00:00:00Z")), "timestamp", "timestamp is wrong"),
    "a number for a time": (dumps(event(timestamp=EVENT_MS)), "timestamp", "timestamp is wrong"),
    "far future": (dumps(event(timestamp="2026-01-01T00:06:00Z")), "timestamp", "ahead"),
    "the year 9999": (dumps(event(timestamp="9999-12-31T23:59:59.999999-14:00")), "timestamp", "ahead"),
    "nobody": (dumps(event(identityMap=None)), "identityMap", "names nobody"),
    "nobody in the map": (dumps(event(identityMap={"ECID": []})), "identityMap", "names nobody"),
    "nobody called ''": (dumps(event(identityMap={"ECID": [{"id": ""}]})), "identityMap", "names nobody"),
    "identity of a number": (dumps(event(identityMap={"ECID": [{"id": 7}]})), "identityMap", "expected `str | null`"),
    "long identity": (dumps(event(identityMap={"ECID": [{"id": "v" * 513}]})), "identityMap", "longer than 512"),
    "empty envelope": (b'{"body": {}}', "body.xdmEntity", "is missing"),
    "unknown Avro": (b"\xc3\x01\x00\x01\x02\x03\x04\x05\x06\x07 the rest", None, "Avro"),
    "cut Avro": (header("experience_event") + b"\x06ab", None, "Avro"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_is_refused_in_a_sentence_that_names_the_field(edge: Edge, name: str) -> None:
    """400, as problem JSON (RFC 9457), with the field where one is to blame and nothing of our insides."""
    body, field, words = BAD[name]

    reply = edge.post(body)

    assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json
    assert problem["type"] == f"urn:freshet:problem:{'event-invalid' if field else 'not-an-event'}"
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert words in problem["detail"]
    if field:
        assert problem["field"].startswith(field)
        assert problem["field"] in problem["detail"]
    assert not INSIDES.search(reply.body)


def test_a_large_body_is_refused_before_it_is_read(edge: Edge) -> None:
    """5 MB, announced: 413 without a byte of it taken."""
    reply = edge.post(b"x", headers={"content-length": "5000000"})

    assert (reply.status, reply.pieces_taken) == (413, 0)
    assert reply.json["type"] == "urn:freshet:problem:too-large"
    assert "connection" not in reply.headers


def test_a_large_body_without_a_length_is_refused_where_it_becomes_too_large(edge: Edge) -> None:
    """5 MB in pieces: 413 at the piece that goes past 1 MiB, and no further."""
    reply = call(edge.door, "POST", "/v1/events", [b" " * 65536] * 80)

    assert reply is not None
    assert (reply.status, reply.pieces_taken) == (413, 17)


def test_who_waits_for_100_continue_is_told_to_hang_up(edge: Edge) -> None:
    """They have sent nothing and will not: the connection would wait for a body that never comes."""
    reply = edge.post(b"", headers={"content-length": "5000000", "expect": "100-continue"})

    assert (reply.status, reply.headers["connection"]) == (413, "close")


def test_a_body_of_exactly_one_mebibyte_is_read(edge: Edge) -> None:
    """The limit itself is allowed, also byte by byte at the end."""
    whole = dumps(event())
    whole += b" " * (LARGEST_BODY_BYTES - len(whole))
    pieces = [whole[:-100], *(whole[i : i + 1] for i in range(len(whole) - 100, len(whole)))]

    reply = call(edge.door, "POST", "/v1/events", pieces, {"content-length": str(len(whole))})

    assert reply is not None
    assert (reply.status, reply.json["event"]) == (200, "e-1")


def test_a_compressed_body_is_refused(edge: Edge) -> None:
    """A kilobyte of gzip may be a gigabyte of spaces: what is encoded is not opened."""
    reply = edge.post(event(), headers={"content-encoding": "gzip"})

    assert (reply.status, reply.json["type"]) == (415, "urn:freshet:problem:encoded")


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"[" * LARGEST_BODY_BYTES, id="deep"),
        pytest.param(b'{"a":' * 200_000, id="deep objects"),
        pytest.param(b'{"body":{"xdmEntity":' * 40_000, id="deep envelopes"),
        pytest.param(b'{"_id": ' + b"9" * 1_000_000 + b"}", id="long number"),
        pytest.param(b'{"commerce": {"order": {"priceTotal": ' + b"9" * 1_000_000 + b"}}}", id="long price"),
        pytest.param(b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b"}", id="many keys"),
        pytest.param(b'{"identityMap": {' + b",".join(b'"%d":[]' % i for i in range(80_000)) + b"}}", id="many names"),
        pytest.param(header("experience_event") + b"\xff" * 1_000_000, id="long Avro"),
        pytest.param(header("experience_event") + b"\x02a\x00\x02" + b"\xfe\xff\xff\xff\x0f" * 99, id="big Avro map"),
    ],
)
def test_a_bomb_costs_nothing(edge: Edge, bomb: bytes) -> None:
    """What is deep, long or many is refused in a moment: the event loop answers nobody else meanwhile."""
    took_s: list[float] = []
    for _ in range(3):  # on a machine that is busy, a processor's own time stretches too
        started = time.process_time()
        reply = edge.post(bomb)
        took_s.append(time.process_time() - started)

        assert reply.status == 400
    assert min(took_s) < 0.25


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/events", "POST"),
        ("PUT", "/v1/events", "POST"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("DELETE", "/v2/health/ready", "GET, HEAD"),
        ("POST", "/v2/models/m", "GET, HEAD"),
        ("POST", "/v2/models/m/ready", "GET, HEAD"),
        ("POST", "/v2/models/m/versions/3", "GET, HEAD"),
        ("GET", "/v2/models/m/infer", "POST"),
        ("PUT", "/v2/models/m/versions/3/infer", "POST"),
        ("POST", "/v2", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(edge: Edge, method: str, path: str, allowed: str) -> None:
    """405, with `Allow`."""
    reply = edge.get(path, method)

    assert (reply.status, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/events/", "/v1/event", "/v2/models/m/versions", "/v2/models/m/readyy", "/../etc"]
)
def test_an_unknown_path_is_told_the_known_ones(edge: Edge, path: str) -> None:
    """404, and where to go instead."""
    reply = edge.get(path)

    assert reply.status == 404
    assert "POST /v1/events" in reply.json["detail"]


# --- nothing to answer with, or nobody to answer to ------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/events"), ("GET", "/v2/health/ready")])
def test_without_a_model_the_caller_is_asked_to_come_back(method: str, path: str) -> None:
    """503 with `Retry-After`: the only 5xx there is."""
    reply = call(Edge().door, method, path, dumps(event()))

    assert reply is not None
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json["type"] == "urn:freshet:problem:no-model"


def test_health_tells_living_from_ready() -> None:
    """Alive from the start; ready with the first model."""
    edge = Edge()
    before = [edge.get(f"/v2/health/{state}").status for state in ("live", "ready")]
    edge.engine.swap(Session(release(0)), now_ms=0)

    after = [edge.get(f"/v2/health/{state}") for state in ("live", "ready")]

    assert before == [200, 503]
    assert [(reply.status, reply.json) for reply in after] == [(200, {"live": True}), (200, {"ready": True})]


def test_a_model_tells_what_it_reads_and_which_version_is_live(edge: Edge) -> None:
    """The Open Inference Protocol's metadata, then version, learned-through, spec and profiles."""
    edge.remember([[]], [[]], as_of=77)

    described = edge.get("/v2/models/m").json

    assert described["name"] == "m"
    assert described["versions"] == ["3"]
    assert described["platform"] == "onnx_onnxv1"
    assert described["inputs"] == [
        {"name": "numbers", "datatype": "FP64", "shape": [-1, 4]},
        {"name": "categories", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert described["outputs"] == [
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]},
        {"name": "score", "datatype": "FP64", "shape": [-1]},
    ]
    assert (described["version"], described["learnedThrough"]) == (3, {"offset": 30, "eventTime": 3000})
    assert Spec.from_json(dumps(described["spec"])) == SPEC
    assert described["profiles"] == {"visitors": 1, "asOf": 77}


def test_a_model_is_ready_unknown_or_not_loaded_yet(edge: Edge) -> None:
    """200, 404, and 503 for one that is released but not loaded."""
    edge.registry.release(late := release(0, spec=Spec(**{**_fields(SPEC), "name": "late"})))
    edge.registry.alias(Alias(model=late.model, alias="live", version=0, changed_at=0))

    replies = [edge.get(f"/v2/models/{name}{rest}") for name in ("m", "x", "late") for rest in ("", "/ready")]

    assert [reply.status for reply in replies] == [200, 200, 404, 404, 503, 503]
    assert replies[1].json == {"name": "m", "ready": True}
    assert replies[2].json["error"] == replies[2].json["detail"]  # where the Open Inference Protocol looks for it


def _fields(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def test_who_hangs_up_early_is_not_answered(edge: Edge) -> None:
    """Half a body and then nothing: there is nobody to tell."""
    assert call(edge.door, "POST", "/v1/events", b'{"_id"', hang_up=True) is None


def test_a_failure_of_ours_shows_in_the_log_and_not_in_the_answer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with a plain sentence; the traceback stands in the log."""

    def broken(_: Any) -> Any:
        raise RuntimeError("/secret/path.py")

    monkeypatch.setattr(edge.engine.session("m"), "score", broken)

    with caplog.at_level(logging.ERROR):
        reply = edge.post(event())

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert not INSIDES.search(reply.body)
    assert "/secret/path.py" in caplog.text


# --- whatever else may come ------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    [
        *("_id", "timestamp", "eventType", "identityMap", "ECID", "id", "primary", "endUserIDs", "_experience"),
        *("body", "xdmEntity", "commerce", "order", "priceTotal", "productViews", "value"),
        *("placeContext", "geo", "countryCode"),
    ]
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "commerce.productViews", "v"]),
    st.datetimes().map(lambda when: when.isoformat() + "Z"),
)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=12
)


def _in_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()  # lone surrogates, NaN and Infinity go out as Python has them


def _an_avro_event(value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema("experience_event"), value)
    return header("experience_event") + out.getvalue()


GARBAGE = st.one_of(
    st.binary(max_size=200),
    _JSON.map(_in_bytes),
    st.builds(lambda name, value: _in_bytes(event(**{name: value})), _NAMES, _JSON),
    st.builds(lambda cut, junk: _in_bytes(event())[:cut] + junk, st.integers(0, 120), st.binary(max_size=20)),
    st.binary(max_size=300).map(lambda junk: header("experience_event") + junk),
    st.builds(
        lambda visitor, cut: _an_avro_event(
            {"_id": "e", "timestamp": EVENT_MS, "identityMap": {"ECID": [{"id": visitor, "primary": True}]}}
        )[: cut or None],
        st.text(max_size=5),
        st.integers(-30, 0),
    ),
)


@pytest.fixture(scope="module")
def fuzzed() -> Edge:
    edge = Edge(release(0, weighted(WEIGHTS)))
    edge.remember([[EVENT_MS - 1000]], [[EVENT_MS - 1000]])
    return edge


@settings(max_examples=600, deadline=None)
@given(body=GARBAGE)
def test_no_body_makes_the_door_fail(fuzzed: Edge, body: bytes) -> None:
    """Any bytes at all: 200 or 400, JSON, and nothing of our insides."""
    reply = fuzzed.post(body)

    assert reply.status in {200, 400}
    assert isinstance(reply.json, dict)
    if reply.status == 400:
        assert not INSIDES.search(reply.body)


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE"]) | st.text(max_size=8),
    path=st.text(max_size=30).map("/".__add__)
    | st.text(max_size=30).map("/v2/models/".__add__)
    | st.sampled_from(["/v2/models/", "/v2/models//", "/v2/models//ready", "*"]),
)
def test_no_path_makes_the_door_fail(fuzzed: Edge, method: str, path: str) -> None:
    """Any path and method: 4xx, and the path is not repeated in the answer."""
    reply = fuzzed.get(path, method)

    assert reply.status in {404, 405}
    assert not INSIDES.search(reply.body)


def test_strings_that_are_odd_but_valid_are_scored(edge: Edge) -> None:
    """Control characters, the other planes and right-to-left marks reach the model and come back as they are."""
    spec = Spec(
        **{**_fields(SPEC), "features": (number("commerce.order.taxAmount"), category("placeContext.geo.city"))}
    )
    edge = Edge(release(1, spec=spec))

    for city in ("\x01", "\U0001f600", "\u202e", "é" * LONGEST):
        reply = edge.post(event(_id=city[:100], placeContext={"geo": {"city": city}}))

        assert (reply.status, reply.json["scores"][0]["score"]) == (200, constant_p(1))
        assert reply.json["event"] == city[:100]

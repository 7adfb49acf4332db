"""What one caller can have of a server is bounded; who goes beyond is told so in words, and others do not notice."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoring.application import Application
from scoring.body import Receive, Scope, read_body
from scoring.door import Door
from scoring.engine import Engine
from scoring.limits import Limits
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.response import Response, json_response
from scoring.session import Session
from tests.scoring.artifacts import event, release
from tests.scoring.garbage import CHUNKED, LEAKS, throw
from tests.scoring.serving import Serving, everything, post, reply, take
from tests.scoring.slow import HEAD, drip, slow_callers

EVENT = event(timestamp="2020-01-01T00:00:00Z")
LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
MIB = 1024 * 1024
GARBAGE = int(os.environ.get("FRESHET_TEST_GARBAGE", "2000"))

Start = Callable[..., Serving]


@pytest.fixture(scope="module")
def door() -> Door:
    engine = Engine()
    engine.swap(Session(release(3)), now_ms=0)
    return Door(engine, Registry(), Profiles())


@pytest.fixture
def start(door: Door) -> Iterator[Start]:
    """Starts a server with limits, which ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda app=door, **limits: stack.enter_context(Serving(app, Limits(**limits)))


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here: it would have shown that memory stays bounded")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Reading(Application):
    """Says how long the body was, and keeps what it knows of the requests."""

    def __init__(self) -> None:
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        body = await read_body(scope, receive)
        self.headers.append(list(scope["headers"]))
        return json_response({"bytes": len(body), "path": scope["path"]})


class Talking(Application):
    """Answers more than any buffer between it and the caller holds."""

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        return Response(200, b"text/plain", b"x" * 16 * MIB)


# --- connections ------------------------------------------------------------------------------------------------------


def test_who_finds_no_room_is_told_at_once(start: Start) -> None:
    """503 with Retry-After, in words, within 50 ms; as soon as somebody goes there is room again."""
    serving = start(connections=4, connections_per_address=4)
    held = [serving.raw(LIVE) for _ in range(4)]
    for each in held:
        take(each)
    started = time.monotonic()
    with contextlib.closing(serving.raw(LIVE)) as raw:
        answer = everything(raw)
    took_s = time.monotonic() - started
    held.pop().close()
    time.sleep(0.1)
    with contextlib.closing(serving.raw(LAST)) as raw:
        after = everything(raw)
    for each in held:
        each.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert b"connection: close" in head
    assert json.loads(body)["type"] == "urn:freshet:problem:no-room"
    assert took_s < 0.5
    assert after.startswith(b"HTTP/1.1 200 ")
    assert serving.server.refused == 1


def test_one_address_cannot_have_all(start: Start) -> None:
    """Who has enough connections gets no more; somebody with another address does."""
    serving = start(connections=100, connections_per_address=10)
    with slow_callers(serving.port, 10):
        with contextlib.closing(serving.raw(LIVE)) as raw:
            status, problem = reply(raw)
        other = socket.create_connection(("127.0.0.1", serving.port), 10, source_address=("127.0.0.2", 0))
        with contextlib.closing(other):
            other.sendall(LAST)
            answered = everything(other)

    assert (status, problem["type"]) == (503, "urn:freshet:problem:too-many-connections")
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_a_flood_of_connections_leaves_nothing_behind(start: Start) -> None:
    """Five hundred that find no room are all turned away, most of them in words; then everything is as it was."""
    serving = start(connections=5, connections_per_address=5)
    with slow_callers(serving.port, 5):
        flood = [serving.raw(LIVE) for _ in range(500)]
        answers = [everything(each) for each in flood]
        for each in flood:
            each.close()
    time.sleep(0.1)
    with contextlib.closing(serving.connect()) as connection:
        after = post(connection, EVENT)[0]

    assert serving.server.refused == 500
    assert {answer[:13] for answer in answers} <= {b"HTTP/1.1 503 ", b""}
    assert sum(answer != b"" for answer in answers) >= 64
    assert after == 200


def test_defaults_let_one_load_balancer_work() -> None:
    """Whatever the number of file descriptors, one address may have most connections and not all."""
    for connections in (1, 2, 10, 768, 4096):
        limits = Limits(connections=connections)

        assert 1 <= limits.from_one_address <= connections
        assert connections < 4 or limits.from_one_address < connections
    assert Limits().from_one_address >= 500


# --- time -------------------------------------------------------------------------------------------------------------


def test_slow_callers_are_ended_and_harm_nobody(start: Start) -> None:
    """A hundred that each send a byte now and then are gone when their time is over; until then others are served."""
    serving = start(request_s=2.0)
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        other = socket.create_connection(("127.0.0.1", serving.port), 10, source_address=("127.0.0.2", 0))
        with contextlib.closing(other):
            while not over.is_set():
                other.sendall(LIVE)
                answered.append(take(other))
                time.sleep(0.001)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with slow_callers(serving.port, 100) as callers:
            ended = drip(callers, within_s=6)
    finally:
        over.set()
        asking.join(10)

    assert len(ended) == 100
    assert max(ended) < 2.0 + 0.5
    assert serving.server.hung_up >= 100
    assert len(answered) > 100
    assert set(answered) == {200}


@pytest.mark.parametrize("first", [LIVE[:20], HEAD, HEAD + b"content-length: 100\r\n\r\n{", CHUNKED[:-8]])
def test_who_is_late_hears_of_it(start: Start, first: bytes) -> None:
    """408 in words, wherever the request stopped."""
    serving = start(request_s=0.5)
    with contextlib.closing(serving.raw(first)) as raw:
        status, problem = reply(raw)

    assert (status, problem["type"]) == (408, "urn:freshet:problem:too-late")
    assert "within 0.5 s" in problem["detail"]


def test_an_idle_connection_is_closed_without_a_word(start: Start) -> None:
    """After its time, and not before; whoever goes on in time starts anew."""
    serving = start(idle_s=1.0)
    with contextlib.closing(serving.raw()) as raw:
        for _ in range(3):
            raw.sendall(LIVE)
            assert take(raw) == 200
            time.sleep(0.5)
        started = time.monotonic()
        rest = everything(raw)

    assert rest == b""
    assert time.monotonic() - started < 1


def test_an_answer_that_nobody_takes_is_thrown_away(start: Start) -> None:
    """A caller that reads nothing holds its connection no longer than one that sends nothing."""
    serving = start(Talking(), request_s=0.5, idle_s=0.5)
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with contextlib.closing(caller):
        caller.settimeout(10)
        caller.connect(("127.0.0.1", serving.port))
        caller.sendall(LIVE * 3)
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s and (
            time.monotonic() < until_s - 4.8
            or serving.server.server_state.connections
            or serving.server.server_state.tasks
        ):
            time.sleep(0.05)

        assert not serving.server.server_state.connections
        assert not serving.server.server_state.tasks


def test_a_last_answer_waits_for_a_slow_reader(start: Start) -> None:
    """The connection is to end behind it, and does not end before it: the caller begins to read after two seconds."""
    serving = start(Talking())
    with contextlib.closing(serving.raw(LAST)) as raw:
        time.sleep(2)
        answer = everything(raw)

    assert len(answer.partition(b"\r\n\r\n")[2]) == 16 * MIB


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"x-long: " + b"y" * 16_400, id="one header"),
        pytest.param(b"\r\n".join(b"x-%d: y" % number for number in range(2_000)), id="many headers"),
    ],
)
def test_a_large_head_is_refused_in_its_turn(start: Start, head: bytes) -> None:
    """431 in words, behind the answer to the request before it; also when it came in one piece."""
    serving = start()
    large = HEAD + head + b"\r\ncontent-length: 2\r\n\r\n{}"
    with contextlib.closing(serving.raw(LIVE + large)) as raw:
        answer = everything(raw)

    assert answer.startswith(b"HTTP/1.1 200 ")
    status, _, rest = answer.partition(b"HTTP/1.1 431 ")[2].partition(b" ")
    assert status
    assert json.loads(rest.partition(b"\r\n\r\n")[2])["type"] == "urn:freshet:problem:head-too-large"


def test_a_head_of_almost_16_kib_is_read(start: Start) -> None:
    """Also with a large body behind it, in the same piece."""
    serving = start(Reading())
    with contextlib.closing(serving.raw(HEAD + b"x: " + b"y" * 16_000 + b"\r\n")) as raw:
        raw.sendall(b"connection: close\r\ncontent-length: 100000\r\n\r\n" + b"z" * 100_000)

        assert b'"bytes":100000' in everything(raw)


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_without_end_costs_no_memory(start: Start) -> None:
    """1 GiB, declared or in chunks: 413 before more than the limit has been kept, and an end to the taking."""
    serving = start()
    piece = b"x" * 65536
    chunk = b"10000\r\n" + piece + b"\r\n"
    with contextlib.closing(serving.raw(LAST)) as raw:
        everything(raw)
    gc.collect()
    before = most = resident_bytes()
    answers = []
    for head, part in ((b"content-length: 1073741824\r\n\r\n", piece), (b"transfer-encoding: chunked\r\n\r\n", chunk)):
        with contextlib.closing(serving.raw(HEAD + head)) as raw:
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 1024 * MIB:
                    raw.sendall(part)
                    sent += len(piece)
                    most = max(most, resident_bytes())
            answers.append((sent < 64 * MIB, everything(raw)[:13]))

    assert answers == [(True, b"HTTP/1.1 413 ")] * 2
    assert most - before < 4 * MIB


def test_half_bodies_have_a_limit_together(start: Start) -> None:
    """A hundred large bodies that do not end take what all may take; who is small, or waits, is answered."""
    serving = start(Reading(), bodies_bytes=2 * MIB, request_s=1.0)
    callers = [serving.raw(HEAD + b"content-length: 900000\r\n\r\n") for _ in range(20)]
    busy = 0
    for caller in callers:
        with contextlib.suppress(OSError):
            caller.sendall(b"x" * 800_000)
    with contextlib.closing(serving.raw(HEAD + b"content-length: 2\r\nconnection: close\r\n\r\n{}")) as raw:
        small = everything(raw)
    for caller in callers:
        answer = everything(caller)
        busy += b"urn:freshet:problem:busy" in answer and answer.startswith(b"HTTP/1.1 503 ")
        caller.close()
    with contextlib.closing(serving.raw(HEAD + b"connection: close\r\ncontent-length: 900000\r\n\r\n")) as raw:
        raw.sendall(b"x" * 900_000)
        after = everything(raw)

    assert b'"bytes":2,' in small
    assert 10 <= busy < 20
    assert b'"bytes":900000' in after


def test_single_bytes_take_no_more_than_they_are(start: Start) -> None:
    """A body of 300,000 chunks of a byte each is read, in memory of its size and not of forty times that."""
    serving = start(Reading())
    whole = b"1\r\nx\r\n" * 300_000 + b"0\r\n\r\n"
    with contextlib.closing(serving.raw(LAST)) as raw:
        everything(raw)
    gc.collect()
    before = resident_bytes()
    with contextlib.closing(serving.raw(HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")) as raw:
        raw.sendall(whole)
        answer = everything(raw)
    after = resident_bytes()

    assert b'"bytes":300000' in answer
    assert after - before < 4 * MIB


def test_trailers_are_nobodys_business(start: Start) -> None:
    """They come after the headers have been read and are not added to them; without end, they end the connection."""
    reading = Reading()
    serving = start(reading, request_s=5.0)
    with contextlib.closing(serving.raw(CHUNKED)) as raw:
        assert take(raw) == 200
    with contextlib.closing(serving.raw(CHUNKED[:-8] + b"\r\n0\r\n")) as raw:
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * MIB:
                raw.sendall(b"x: y\r\n" * 10_000)
                sent += 60_000

    assert b"x" not in {name for name, _ in reading.headers[0]}
    assert sent < 64 * MIB


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b'{"inputs":' + b"[" * 500_000, id="depth"),
        pytest.param(b'{"inputs":[],"parameters":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}", id="depth, closed"),
        pytest.param(b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b"}", id="keys"),
        pytest.param(b'{"inputs":[{"name":"numbers","shape":[1,' + b"9" * 100_000 + b"]}]}", id="digits"),
        pytest.param(b'{"inputs":[{"name":"numbers","shape":[' + b"1," * 300_000 + b"1]}]}", id="dimensions"),
        pytest.param(
            b'{"inputs":[{"name":"numbers","datatype":"FP64","shape":[1,3],"data":[' + b"1," * 500_000 + b"1]}]}",
            id="elements",
        ),
        pytest.param(b'{"inputs":[' + b"{}," * 300_000 + b"{}]}", id="inputs"),
        pytest.param(b'{"inputs":[{"name":"' + b"n" * 1_000_000 + b'","datatype":"FP64","shape":[1]}]}', id="name"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/v2/models/m/infer"])
def test_a_bomb_is_refused_and_holds_nobody_up(start: Start, path: str, bomb: bytes) -> None:
    """4xx, in words that are shorter than it, in the time in which a megabyte can be read."""
    serving = start()
    with contextlib.closing(serving.connect()) as connection:
        connection.connect()
        started = time.monotonic()
        connection.request("POST", path, bomb)
        response = connection.getresponse()
        body = response.read()
        took_s = time.monotonic() - started

    assert 400 <= response.status < 500
    assert len(body) < 2_000
    assert not LEAKS.search(body)
    assert took_s < 0.5


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_their_order(start: Start) -> None:
    """Sixty in one piece."""
    serving = start(Reading())
    requests = b"".join(b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx" % number for number in range(60))
    with contextlib.closing(serving.raw(requests + LAST)) as raw:
        answers = everything(raw)

    assert [int(part[: part.index(b'"')]) for part in answers.split(b'"path":"/')[1:-1]] == list(range(60))
    assert answers.count(b"HTTP/1.1 200 ") == 61


def test_thousands_in_one_piece_are_not_kept(start: Start) -> None:
    """Some are answered, the connection ends, and nothing is answered that was not asked."""
    serving = start()
    with contextlib.closing(serving.raw()) as raw:
        with contextlib.suppress(OSError):
            raw.sendall(LIVE * 5_000)
        answers = everything(raw)

    assert 64 <= answers.count(b"HTTP/1.1 200 ") < 5_000
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 ")


def test_what_follows_garbage_is_not_answered_before_it(start: Start) -> None:
    """A good request and garbage in one piece: the answer to the first comes first, or alone."""
    serving = start(Reading())
    with contextlib.closing(serving.raw(HEAD + b"content-length: 1\r\n\r\nx" + b"\x00\x01\r\n\r\n")) as raw:
        answer = everything(raw)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("count", [1, 3])
def test_who_has_said_all_still_hears_the_answer(start: Start, count: int) -> None:
    """A caller that shuts its sending side waits for its answers, also for several."""
    serving = start()
    with contextlib.closing(serving.raw(LIVE * count)) as raw:
        raw.shutdown(socket.SHUT_WR)

        assert everything(raw).count(b"HTTP/1.1 200 ") == count


def test_a_body_that_ends_with_the_connection_is_not_answered(start: Start) -> None:
    """Half a body, then the sending side is shut: nobody waits for the rest."""
    serving = start(request_s=5.0)
    started = time.monotonic()
    with contextlib.closing(serving.raw(HEAD + b"content-length: 100\r\n\r\n{")) as raw:
        raw.shutdown(socket.SHUT_WR)
        answer = everything(raw)

    assert answer == b""
    assert time.monotonic() - started < 2


def test_who_waits_for_100_continue_gets_it(start: Start) -> None:
    """Only if the body is wanted."""
    serving = start()
    body = json.dumps(EVENT).encode()
    head = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    with contextlib.closing(serving.raw(head % len(body))) as raw:
        first = raw.recv(65536)
        raw.sendall(body)
        second = take(raw)
    with contextlib.closing(serving.raw(head % (2 * MIB))) as raw:
        large = everything(raw)
    with contextlib.closing(serving.raw((head % 5).replace(b"/v1/events", b"/nothing"))) as raw:
        unknown = everything(raw)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second == 200
    assert large.startswith(b"HTTP/1.1 413 ")
    assert unknown.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_is_answered_in_http_1_and_is_the_last(start: Start, upgrade: bytes) -> None:
    """The parser reads nothing after it, so that a second request would wait for ever."""
    serving = start()
    request = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: " + upgrade + b"\r\n\r\n")
    with contextlib.closing(serving.raw(request)) as raw:
        answer = everything(raw)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_a_broken_chunk_is_refused_in_words(start: Start) -> None:
    """Its request gets a 400, not the one of uvicorn, and its application is not left waiting."""
    serving = start(Reading())
    with contextlib.closing(serving.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")) as raw:
        status, problem = reply(raw)
    time.sleep(0.05)

    assert (status, problem["type"]) == (400, "urn:freshet:problem:not-http")
    assert not serving.server.server_state.tasks


def test_garbage_is_answered_4xx_or_not_at_all(start: Start) -> None:
    """No 5xx, no hang, no name from the inside; and the next caller is served."""
    serving = start(request_s=2.0)

    statuses, wrong = throw(serving.port, range(GARBAGE))
    with contextlib.closing(serving.connect()) as connection:
        after = post(connection, EVENT)[0]

    assert wrong == []
    assert {status for status in statuses if status >= 500} == set()
    assert statuses[400] > GARBAGE / 4
    assert after == 200

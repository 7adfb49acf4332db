"""The server has patience for honest callers, none for stalled ones, and ends without dropping anybody."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from schemas.errors import PortTaken
from scoring.door import Door
from scoring.engine import Engine
from scoring.limits import Limits
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.server import DRAIN_S, GRACE_S, listen
from scoring.session import Session
from tests.scoring.artifacts import event, release
from tests.scoring.serving import Serving, everything, post, reply, take

EVENT = event(timestamp="2020-01-01T00:00:00Z")
HEAD = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n"


IMPATIENT = Limits(request_s=0.6, idle_s=30.0)


@pytest.fixture(scope="module")
def door() -> Door:
    engine = Engine()
    engine.swap(Session(release(3)), now_ms=0)
    return Door(engine, Registry(), Profiles())


@pytest.fixture
def serving(door: Door) -> Iterator[Serving]:
    with Serving(door) as serving:
        yield serving


@pytest.fixture
def impatient(door: Door) -> Iterator[Serving]:
    with Serving(door, IMPATIENT) as serving:
        yield serving


def test_many_requests_go_through_one_connection(serving: Serving) -> None:
    """Keep-alive, also after requests that were refused."""
    with contextlib.closing(serving.connect()) as connection:
        statuses = [post(connection, body)[0] for body in (EVENT, "nonsense", EVENT, {}, EVENT)]

    assert statuses == [200, 400, 200, 400, 200]


def test_who_sends_too_much_hears_it_and_may_go_on(serving: Serving) -> None:
    """5 MB are refused in words, with a length or in chunks, and the connection stays good."""
    with contextlib.closing(serving.connect()) as connection:
        replies = []
        for body in (b" " * 5_000_000, iter([b" " * 50_000] * 100)):
            connection.request("POST", "/v1/events", body, encode_chunked=True)
            response = connection.getresponse()
            replies.append((response.status, b"too-large" in response.read()))
        after = post(connection, EVENT)[0]

    assert replies == [(413, True), (413, True)]
    assert after == 200


def test_a_body_in_single_bytes_is_read(serving: Serving) -> None:
    """Chunks of one byte are slow, and nothing worse."""
    body = b'{"_id": "1", "timestamp": "2020-01-01T00:00:00Z", "identityMap": {"ECID": [{"id": "v"}]}}'
    with contextlib.closing(serving.raw(HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")) as raw:
        for byte in body:
            raw.sendall(b"1\r\n%c\r\n" % byte)
        raw.sendall(b"0\r\n\r\n")

        assert everything(raw).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="says nothing"),
        pytest.param(b"POST /v1/ev", id="half a line"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(HEAD + b'content-length: 100\r\n\r\n{"_id"', id="half a body"),
        pytest.param(HEAD + b"content-length: 5000000\r\n\r\n{", id="refused, and half a body"),
        pytest.param(HEAD + b"content-length: 2\r\n\r\n{}POST /v1/ev", id="one request and a bit"),
    ],
)
def test_who_stalls_is_hung_up_on(impatient: Serving, first: bytes) -> None:
    """However far the request had come, also when another byte comes now and then; others are not."""
    over = threading.Event()
    with contextlib.closing(impatient.raw(first)) as raw, contextlib.closing(impatient.connect()) as idle:
        post(idle, EVENT)

        def drip() -> None:
            with contextlib.suppress(OSError):
                while first and not over.wait(0.2):
                    raw.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        everything(raw)
        took_s = time.monotonic() - started
        over.set()
        dripping.join(5)
        time.sleep(max(0.0, 1.0 - took_s))

        assert took_s < 2
        assert post(idle, EVENT)[0] == 200


def test_blank_lines_do_not_hold_a_connection(door: Door) -> None:
    """They are allowed between requests, and begin none."""
    with Serving(door, Limits(idle_s=0.5)) as serving, contextlib.closing(serving.raw()) as raw:
        raw.sendall(HEAD + b"content-length: 2\r\n\r\n{}")
        take(raw)
        started = time.monotonic()
        while not (over := select.select([raw], [], [], 0.1)[0]) and time.monotonic() - started < 4:
            raw.sendall(b"\r\n")

        assert over
        assert raw.recv(65536) == b""


@pytest.mark.parametrize("line", [b"x-long: ", b"GET /"])
def test_a_head_without_end_is_cut_off(serving: Serving, line: bytes) -> None:
    """One header, or one path, that goes on and on: refused in words, whatever is still to come."""
    first = line if line.startswith(b"GET") else HEAD + line
    with contextlib.closing(serving.raw(first)) as raw:
        for _ in range(200):
            raw.sendall(b"x" * 100)
        status, problem = reply(raw)

    assert (status, problem["type"]) == (431, "urn:freshet:problem:head-too-large")
    assert "16384 bytes" in problem["detail"]


def test_noise_is_answered_4xx_or_not_at_all(serving: Serving) -> None:
    """Two hundred requests of garbage, whole and mangled: no 5xx, and the next caller is served."""
    chance = random.Random(7)
    good = HEAD + b"content-length: 2\r\nconnection: close\r\n\r\n{}"
    lines: set[bytes] = set()
    for number in range(200):
        if number % 4 == 0:
            noise = chance.randbytes(chance.randrange(1, 300)) + b"\r\n\r\n"
        elif number % 4 == 1:
            place = chance.randrange(len(good))
            noise = good[:place] + chance.randbytes(chance.randrange(1, 4)) + good[place + 1 :]
        elif number % 4 == 2:
            path = bytes(chance.choices(b"/v12events%?#&=.;:@*\xff\x00", k=12))
            noise = b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        else:
            method = chance.choice([b"CONNECT", b"PRI", b"OPTIONS *", b"GET http://x/v1/events", b"BREW"])
            upgrade = chance.choice([b"", b"connection: upgrade\r\nupgrade: websocket\r\n", b"content-length: -1\r\n"])
            noise = method + b" / HTTP/1.1\r\nhost: x\r\n" + upgrade + b"\r\n"
        with contextlib.closing(serving.raw()) as raw:
            with contextlib.suppress(OSError):
                raw.sendall(noise)
                raw.shutdown(socket.SHUT_WR)
            lines.add(everything(raw)[:12])
    with contextlib.closing(serving.connect()) as connection:
        after = post(connection, EVENT)[0]

    assert after == 200
    assert lines - {b""} <= {b"HTTP/1.1 %d" % status for status in (200, 400, 404, 405, 413, 415, 431)}
    assert b"HTTP/1.1 400" in lines


def test_the_end_drops_nobody_who_is_being_served(serving: Serving) -> None:
    """Eight callers ask without a pause when it is told to stop: each gets an answer to each request, the last of
    which says that it is the last."""
    failures: list[str] = []
    answered = [0] * 8
    asking = threading.Barrier(9)

    def ask(number: int) -> None:
        with contextlib.closing(serving.connect()) as connection:
            post(connection, EVENT)
            asking.wait(10)
            try:
                while True:
                    status, _, closes = post(connection, EVENT)
                    answered[number] += 1
                    if status != 200:
                        failures.append(f"status {status}")
                    if closes:
                        return
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a request without an answer
                failures.append(repr(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    asking.wait(10)
    time.sleep(0.3)
    serving.stop(within_s=DRAIN_S + GRACE_S + 1)
    for thread in threads:
        thread.join(5)

    assert not failures
    assert min(answered) > 3


def test_the_end_does_not_wait_for_the_stalled(serving: Serving) -> None:
    """A hundred half requests, of every kind, and idle connections: it ends in less than 5 s all the same, and says
    nothing to those that have not said all."""
    firsts = [b"", b"POST /v1/ev", HEAD, HEAD + b"content-length: 100\r\n\r\n{", HEAD + b"content-length: 2\r\n\r\n{}"]
    stalled = [serving.raw(firsts[number % 5]) for number in range(100)]
    time.sleep(0.2)
    started = time.monotonic()

    serving.stop(within_s=5)

    assert time.monotonic() - started < 5
    answers = [everything(each) for each in stalled]
    assert {answer[:13] for answer in answers} == {b"", b"HTTP/1.1 400 "}
    assert sum(answer == b"" for answer in answers) == 80
    for each in stalled:
        each.close()


def test_asked_twice_it_ends_at_once(serving: Serving) -> None:
    """A second Ctrl-C does not wait for anybody."""
    stalled = serving.raw(HEAD + b"content-length: 100\r\n\r\n{")
    time.sleep(0.1)
    started = time.monotonic()
    assert serving._loop is not None
    serving._loop.call_soon_threadsafe(serving.server.stop)
    time.sleep(0.05)

    serving.stop()

    assert time.monotonic() - started < 1
    stalled.close()


def test_a_taken_port_is_one_plain_error() -> None:
    """It names host and port, and what to do."""
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTaken, match=f"127.0.0.1 port {port}: .*; choose another with --port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_here_is_one_plain_error(host: str) -> None:
    """A name that nobody knows, and an address of another machine."""
    with pytest.raises(PortTaken, match=host):
        listen(host, 0)

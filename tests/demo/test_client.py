"""The client asks on schedule, times from when a request was due, and counts everything but a good score as failed."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.demo.answer import Answer
from streams.demo.asking import Asking
from streams.demo.client import Connection, Unanswered, ask, run

EVENT = b'{"_id": "e-1"}'


def scores(event: str = "e-1", score: float = 0.25, version: int = 7) -> bytes:
    learned = {"offset": 41, "eventTime": 5}
    one = {"model": "m", "version": version, "score": score, "learnedThrough": learned, "validUntil": 9}
    return json.dumps({"event": event, "visitor": "v", "applicable": True, "scores": [one]}).encode()


class FakeEdge:
    """An HTTP server that answers what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.body = scores()
        self.stall_s: list[float] = []
        self.chunked = False
        self.close_after = False
        self.connections = 0
        self.requests: list[tuple[str, bytes]] = []
        edge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                edge.connections += 1
                super().setup()

            def do_POST(self) -> None:
                edge.requests.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
                if edge.stall_s:
                    time.sleep(edge.stall_s.pop())
                self.send_response(edge.status)
                if edge.close_after:
                    self.send_header("connection", "close")
                if edge.chunked:
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    half = len(edge.body) // 2
                    for part in (edge.body[:half], edge.body[half:], b""):
                        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                else:
                    self.send_header("content-length", str(len(edge.body)))
                    self.end_headers()
                    self.wfile.write(edge.body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def edge() -> Iterator[FakeEdge]:
    fake = FakeEdge()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_requests_share_a_connection(edge: FakeEdge) -> None:
    """Keep-alive: three requests, one connection."""
    connection = Connection("127.0.0.1", edge.port)
    for _ in range(3):
        ask(connection, EVENT)
    connection.close()

    assert edge.connections == 1
    assert edge.requests == [("/v1/events?forward=false", EVENT)] * 3


def test_a_connection_that_the_edge_closes_is_opened_again(edge: FakeEdge) -> None:
    """`connection: close` is no failure of the request that follows."""
    edge.close_after = True
    connection = Connection("127.0.0.1", edge.port)

    assert [ask(connection, EVENT).version for _ in range(2)] == [7, 7]
    assert edge.connections == 2


def test_a_body_in_chunks_is_read_whole(edge: FakeEdge) -> None:
    """Chunked transfer encoding is HTTP/1.1 too."""
    edge.chunked = True

    assert ask(Connection("127.0.0.1", edge.port), EVENT).learned_through.offset == 41


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, scores(), "status 503"),
        (200, b"{", "unreadable answer"),
        (200, b'{"event": "e-1", "scores": []}', "no score"),
        (200, scores(score=1.5), "no score"),
        (200, scores(event="e-2"), "answer to another event: e-2"),
    ],
)
def test_anything_but_a_good_score_is_a_failure(edge: FakeEdge, status: int, body: bytes, reason: str) -> None:
    """The reason says which kind."""
    edge.status, edge.body = status, body

    with pytest.raises(Unanswered, match=reason):
        ask(Connection("127.0.0.1", edge.port), EVENT)


def test_an_edge_that_does_not_answer_in_time_has_failed_and_its_late_answer_is_not_read(edge: FakeEdge) -> None:
    """After a timeout the next request goes over a new connection."""
    edge.stall_s = [0.4]
    connection = Connection("127.0.0.1", edge.port, timeout_s=0.1)
    with pytest.raises(Unanswered, match="timeout"):
        ask(connection, EVENT)

    assert ask(connection, EVENT).version == 7
    assert edge.connections == 2


def test_an_edge_that_is_gone_is_a_failure(edge: FakeEdge) -> None:
    """A refused connection is counted, not raised to the top."""
    edge.server.shutdown()
    edge.server.server_close()

    with pytest.raises(Unanswered, match="connection"):
        ask(Connection("127.0.0.1", edge.port), EVENT)


def test_requests_behind_a_slow_one_are_late_from_when_they_were_due(edge: FakeEdge) -> None:
    """Coordinated omission: eight stalled connections make the next eight requests late, although each is quick."""
    edge.stall_s = [0.3] * 8
    output, stop = io.StringIO(), threading.Event()
    timer = threading.Timer(0.6, stop.set)
    timer.start()
    run(edge.port, 100.0, [EVENT], output, stop)
    timer.join()
    answers = {answer.number: answer for answer in map(msgspec.json.Decoder(Answer).decode, output.getvalue().split())}

    # Number 8 was due 80 ms after number 0 and sent over the same connection, 300 ms after it.
    assert answers[8].latency_ms > 200.0
    assert answers[8].service_ms < 100.0
    assert set(range(40)) <= set(answers)  # what was due in the last moment may not have been sent


def test_the_client_process_reports_answers_until_its_input_closes(edge: FakeEdge, tmp_path: Path) -> None:
    """Started, listened to, ended: what it was asked is what the edge got, in turn."""
    events = tmp_path / "events.jsonl"
    events.write_bytes(b'{"_id": "e-1"}\n{"_id": "e-1", "n": 2}\n')
    answers: list[Answer] = []

    async def scene() -> None:
        async with Asking(edge.port, 100.0, events, answers.append), asyncio.timeout(20):
            while len(answers) < 10:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.01)

    asyncio.run(scene())

    assert {answer.error for answer in answers} == {""}
    assert {answer.version for answer in answers} == {7}
    assert {body for _, body in edge.requests} == set(events.read_bytes().splitlines())

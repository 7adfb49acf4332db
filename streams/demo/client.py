"""Client: asks an edge for scores on a fixed schedule and writes one line per request.

It runs in a process of its own, so that what the demo itself does with its time is not measured as the edge's, and in
threads that block, because an event loop's timers are a millisecond coarse and the edge's answers are not.

    python -m streams.demo.client --port 8080 --rate 50 events.jsonl

Its standard input ends it: the process that holds the other end closes it, or dies.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import httptools
import msgspec

from streams.demo.answer import Answer

CONNECTIONS: Final = 8
TIMEOUT_S: Final = 2.0
# The events that are asked about come to `events` by the replay: forwarded, each would come twice.
PATH: Final = "/v1/events?forward=false"
_LONGEST_READ_BYTES: Final = 65536


class Response(msgspec.Struct, frozen=True):
    """An HTTP response: status and body."""

    status: int
    body: bytes


class Connection:
    """One keep-alive HTTP connection; opened at the first request and again after a failure.

    Args:
        host, port: the server's.
        timeout_s: for connecting, and for each wait for bytes.
    """

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._parser: Any = None
        self._body = bytearray()
        self._complete = self._keep = False

    def request(self, method: str, path: str, body: bytes = b"") -> Response:
        """Send a request and return the response. It is tried once: a failure is the caller's to count.

        Raises:
            OSError: no connection, or it broke; TimeoutError after `timeout_s` without bytes.
            httptools.HttpParserError: what came is not HTTP.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._address[0]}:{self._address[1]}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        try:
            return self._exchange(head.encode() + body)
        except BaseException:
            self.close()  # half an answer may still be on its way: the next request must not read it
            raise

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes) -> Response:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._complete = self._keep = False
        self._socket.sendall(request)
        while not self._complete:
            received = self._socket.recv(_LONGEST_READ_BYTES)
            if not received:
                raise ConnectionResetError("closed before the answer was complete")
            parser.feed_data(received)
        if not self._keep:
            self.close()
        return Response(parser.get_status_code(), bytes(self._body))

    # What the parser calls:

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._body += part

    def on_message_complete(self) -> None:
        """Take note that the response is whole."""
        self._complete = True
        self._keep = self._parser.should_keep_alive()  # asked any later the parser has forgotten


class _LearnedThrough(msgspec.Struct, rename="camel"):
    offset: int


class _Score(msgspec.Struct, rename="camel"):
    version: int
    score: float
    learned_through: _LearnedThrough


class _Scores(msgspec.Struct):
    event: str
    scores: list[_Score]


_read_scores = msgspec.json.Decoder(_Scores).decode


class _Id(msgspec.Struct):
    id: str = msgspec.field(name="_id")


_read_id = msgspec.json.Decoder(_Id).decode


class Unanswered(Exception):
    """A request that got no good score; says why."""


def ask(connection: Connection, event: bytes) -> _Score:
    """Return the edge's first score for an event.

    Raises:
        Unanswered: there is none, whatever the reason.
    """
    try:
        response = connection.request("POST", PATH, event)
        if response.status != 200:
            raise Unanswered(f"status {response.status}")
        answer = _read_scores(response.body)
    except TimeoutError:
        raise Unanswered("timeout") from None
    except OSError as error:
        raise Unanswered(f"connection: {error}") from None
    except (httptools.HttpParserError, msgspec.DecodeError) as error:
        raise Unanswered(f"unreadable answer: {error}") from None
    if answer.event != _read_id(event).id:
        raise Unanswered(f"answer to another event: {answer.event}")
    if not answer.scores or not 0.0 <= answer.scores[0].score <= 1.0:  # NaN is in no range
        raise Unanswered("no score")
    return answer.scores[0]


class Schedule:
    """An open loop: request k is due `k / rate_per_s` after the start, whatever became of those before it."""

    def __init__(self, rate_per_s: float, start_s: float) -> None:
        self._period_s = 1.0 / rate_per_s
        self._start_s = start_s

    def due_s(self, number: int) -> float:
        """Return when a request is due, on the clock of `start_s`.

        >>> Schedule(50.0, 100.0).due_s(25)
        100.5
        """
        return self._start_s + number * self._period_s


def run(port: int, rate_per_s: float, events: Sequence[bytes], output: TextIO, stop: threading.Event) -> None:
    """Ask until `stop` is set; write each `Answer` as a JSON line."""
    schedule = Schedule(rate_per_s, time.perf_counter() + 0.05)
    writing = threading.Lock()

    def worker(first: int) -> None:
        connection = Connection("127.0.0.1", port)
        number = first
        while not stop.wait(max(0.0, schedule.due_s(number) - time.perf_counter())):
            sent_s = time.perf_counter()
            version, learned_offset, error = -1, -1, ""
            try:
                score = ask(connection, events[number % len(events)])
                version, learned_offset = score.version, score.learned_through.offset
            except Unanswered as reason:
                error = str(reason)
            done_s = time.perf_counter()
            answer = Answer(
                number=number,
                answered_at_ms=time.time() * 1000.0,
                latency_ms=(done_s - schedule.due_s(number)) * 1000.0,
                service_ms=(done_s - sent_s) * 1000.0,
                version=version,
                learned_offset=learned_offset,
                error=error,
            )
            with writing:
                output.write(msgspec.json.encode(answer).decode() + "\n")
                output.flush()
            number += CONNECTIONS
        connection.close()

    threads = [threading.Thread(target=worker, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the client until standard input ends."""
    parser = argparse.ArgumentParser(prog="streams.demo.client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("events", type=Path, help="JSON lines, asked in turn")
    given: Any = parser.parse_args(arguments)
    stop = threading.Event()

    def until_input_ends() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=until_input_ends, daemon=True).start()
    run(given.port, given.rate, given.events.read_bytes().splitlines(), sys.stdout, stop)


if __name__ == "__main__":
    main()

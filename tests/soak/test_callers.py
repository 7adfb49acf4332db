"""Callers count what nobody answers, and only that."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.soak.callers import Callers


class Edges:
    """Two servers that answer as edges do, and fail as they are told."""

    def __init__(self) -> None:
        self.failing: set[int] = set()
        self._servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        self.ports = [server.server_address[1] for server in self._servers]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        edges = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer()

            def _answer(self) -> None:
                if self.server.server_address[1] in edges.failing:  # type: ignore[index,operator]
                    self.close_connection = True  # as a process that is killed
                    return
                body = b'{"scores": [{"score": 0.5}]}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def edges() -> Iterator[Edges]:
    edges = Edges()
    yield edges
    edges.stop()


@contextmanager
def asking(edges: Edges) -> Iterator[Callers]:
    with Callers(edges.ports) as callers:
        became(lambda: len(callers.in_turn) == 2)
        callers.begin()
        became(lambda: len(callers.took_ms) > 5)
        yield callers


def became(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_what_one_edge_breaks_off_another_answers(edges: Edges) -> None:
    """No error; the edge is asked again once it is ready."""
    with asking(edges) as callers:
        edges.failing = {edges.ports[0]}
        became(lambda: callers.in_turn == {edges.ports[1]})
        edges.failing = set()
        became(lambda: len(callers.in_turn) == 2)

    assert not callers.errors
    assert callers.retried > 0


def test_what_nobody_answers_is_an_error(edges: Edges) -> None:
    """Every request of that time, with its reason."""
    with asking(edges) as callers:
        edges.failing = set(edges.ports)
        became(lambda: len(callers.errors) > 2)

    assert str(edges.ports[0]) in "".join(callers.errors)
    assert callers.asked == len(callers.errors) + len(callers.took_ms)

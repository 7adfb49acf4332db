"""Connection: one caller's connection, as uvicorn speaks HTTP on it, held to the server's limits.

uvicorn times out idle keep-alive connections only. It has no limit for a head, for what is pipelined or for an answer
that nobody takes, answers what it cannot parse before what it has parsed, and drops the answer of a caller that has
shut its sending side.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scoring.application import Send
from scoring.body import Allowance, Receive, Scope
from scoring.limits import Limits
from scoring.problem import Problem

# Who was told that it is over may still be sending: a close would then reset the connection and overtake the answer.
LINGER_S: Final = 1.0
# Requests that wait behind one that is being answered. One read of the socket may hold thousands.
_PIPELINED: Final = 64
# What is refused is taken and thrown away, so that its sender comes to hear of it; but not for ever. Also what a body
# of single bytes needs, each in a chunk of its own.
_BODIES_TAKEN: Final = 8
_NEVER: Final = math.inf


class State(uvicorn.server.ServerState):
    """What the connections of one server share.

    Attributes:
        limits: of each.
        allowance: of the bodies of all.
        draining: the server is about to end: every answer is its connection's last.
        hung_up: connections that were ended because their callers stalled.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.allowance = Allowance(limits)
        self.draining = False
        self.hung_up = 0
        self.late = last_words(
            Problem(408, "too-late", f"a request has to be whole within {limits.request_s:g} s of its first byte")
        )
        self.malformed = last_words(Problem(400, "not-http", "this is not a request in HTTP/1.1"))
        self.head_too_large = _too_large(limits)


def _too_large(limits: Limits) -> Problem:
    detail = f"the request's line and headers have more than {limits.head_bytes} bytes; send fewer or shorter headers"
    return Problem(431, "head-too-large", detail)


def last_words(problem: Problem) -> bytes:
    """Return a problem as the last response on a connection.

    >>> last_words(Problem(400, "not-http", "this is not HTTP"))[:26]
    b'HTTP/1.1 400 Bad Request\\r\\n'
    """
    response = problem.response(open_inference=True)
    lines = [
        b"HTTP/1.1 %d %s" % (response.status, HTTPStatus(response.status).phrase.encode()),
        b"content-type: " + response.content_type,
        b"content-length: %d" % len(response.body),
        *(b"%s: %s" % header for header in response.headers),
        b"connection: close",
    ]
    return b"\r\n".join((*lines, b"", response.body))


class Connection(HttpToolsProtocol):
    """One connection, which knows until when its caller may leave it as it is.

    Attributes:
        deadline_s: the loop's time at which to `hang_up`; never while it is our turn.
        on_made: called when the caller is there, before anything is read.
        on_lost: called once, when the connection is no more.
    """

    server_state: State
    on_made: Callable[[Connection], None] | None = None
    on_lost: Callable[[], None] | None = None
    deadline_s = _NEVER

    _in_message = False
    _in_head = False
    _message_bytes = 0  # all that came since the last message ended
    _chunk_bytes = 0
    _over = False  # the last answer is on its way, or has been given; what comes is not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.deadline_s = self.loop.time() + self.server_state.limits.request_s
        if self.on_made is not None:
            self.on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._over = True
        self.deadline_s = _NEVER
        lost, self.on_lost = self.on_lost, None
        if lost is not None:
            lost()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._chunk_bytes = len(data)
        self._message_bytes += self._chunk_bytes
        super().data_received(data)
        if self._in_message and not self._over:
            self._watch()

    def _watch(self) -> None:
        """End a message that is not whole and too long already."""
        limits = self.server_state.limits
        if self._in_head:
            # httptools keeps a header until it is whole, however long that takes.
            if self._message_bytes > limits.head_bytes:
                self.end_with(last_words(self.server_state.head_too_large))
        elif self._message_bytes > limits.head_bytes + _BODIES_TAKEN * limits.body_bytes:
            self._over = True
            self.transport.abort()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn never stays
        """Stay, for a caller that has shut its sending side, until it has its answers."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or self._in_message or self._over:
            return None
        cycle.keep_alive = False
        self._over = True
        return self.scheme == "http"  # TLS knows no half of a connection

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._in_head = True
        self.deadline_s = self.loop.time() + self.server_state.limits.request_s

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, which uvicorn would put among them, is nobody's business."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        state = self.server_state
        most = state.limits.head_bytes
        if len(self.pipeline) >= _PIPELINED:
            raise _TooManyPipelinedError  # which ends the parsing; those before it are answered
        if (self._message_bytes > most or self._chunk_bytes > most) and self._head_bytes() > most:
            app, self.app = self.app, _refusal(state.head_too_large)  # as an answer in its turn
            super().on_headers_complete()
            self.app = app
        else:
            super().on_headers_complete()
        # After an upgrade the parser reads no more requests. We know none, so that such a request is the last.
        if state.draining or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_message = False
        self._message_bytes = 0
        if self.cycle.response_complete:  # refused before it was whole
            self.deadline_s = self.loop.time() + self.server_state.limits.idle_s
        elif not self.flow.write_paused:
            self.deadline_s = _NEVER

    def on_response_complete(self) -> None:
        """Go on with the next request. As uvicorn does it, but for a timer that is set and cancelled each time."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():  # as soon as its caller has taken the answer
            self.deadline_s = self.loop.time() + self.server_state.limits.request_s
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            task = self.loop.create_task(cycle.run_asgi(app))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        elif not self._in_message and not self.flow.write_paused:
            self.deadline_s = self.loop.time() + self.server_state.limits.idle_s

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline_s = self.loop.time() + self.server_state.limits.request_s

    def resume_writing(self) -> None:
        super().resume_writing()
        limits = self.server_state.limits
        if self._in_message:
            self.deadline_s = self.loop.time() + limits.request_s
        elif self.cycle.response_complete:
            self.deadline_s = self.loop.time() + limits.idle_s
        else:
            self.deadline_s = _NEVER

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; `msg` is uvicorn's, and not for callers."""
        self.end_with(self.server_state.malformed)

    def hang_up(self) -> None:
        """End a connection whose caller has stalled."""
        if self._over or self.transport.is_closing():
            self.transport.abort()
            return
        self.server_state.hung_up += 1
        if self._in_message and not self.flow.write_paused:
            self.end_with(self.server_state.late)
        else:
            self._over = True
            self.deadline_s = self.loop.time() + LINGER_S
            self.transport.close()

    def end_with(self, words: bytes) -> None:
        """Say `words` unless another answer is due, which then is the last; read no more."""
        self._over = True
        self.deadline_s = self.loop.time() + self.server_state.limits.request_s
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # the trouble is behind a request that is being answered
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        elif cycle is not None and self._in_message and not self._in_head:  # it has its answer
            self.transport.close()
            return
        self.deadline_s = self.loop.time() + LINGER_S
        self.transport.write(words)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


class _TooManyPipelinedError(Exception):
    """More requests than a connection keeps."""


def _refusal(problem: Problem) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = problem.response(open_inference=True)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    return app

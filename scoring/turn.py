"""Turn: the requests that have come whole in one turn of the event loop, answered one after another, without tasks.

A task for each request, and ASGI's messages, take as long as a small model does. And where requests wait at the same
moment, reading all and then answering all, not each by turns, finds the code of every step in the processor's caches
(docs/decisions/0010-turns.md).
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from scoring.application import Application, Send, send_response
from scoring.body import Receive, Scope
from scoring.connection import Connection
from scoring.response import Response

_OK: Final = STATUS_LINE[200]


class TurnConnection(Connection):
    """A connection whose requests are answered in turns, if the application is one of ours and they come in one piece.

    All others have tasks, as uvicorn has it: who sends half a request waits in one.

    Attributes:
        turn: that of the server.
    """

    turn: Turn
    _begun: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if isinstance(app, Application):
            self._begun = cycle  # its head is there; whether the rest is, shows before the parser returns
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle, self._begun = self._begun, None
        if cycle is not None:
            self.turn.take(self, cycle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle, self._begun = self._begun, None
        if cycle is not None:
            self.begin_task(cycle, self.app)

    def begin_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let an ASGI application answer in a task of its own."""
        super()._start_asgi_task(cycle, app)


class Turn:
    """Answers whoever is there when the loop comes round."""

    def __init__(self) -> None:
        self._due: list[tuple[TurnConnection, RequestResponseCycle]] = []
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._head = b""

    def take(self, connection: TurnConnection, cycle: RequestResponseCycle) -> None:
        """Answer a request as soon as everything has been read that is there to be read."""
        if not self._due:
            connection.loop.call_soon(self._answer)
        self._due.append((connection, cycle))

    def _answer(self) -> None:
        due, self._due = self._due, []
        answered: list[tuple[TurnConnection, RequestResponseCycle, Response | None]] = []
        for connection, cycle in due:
            if cycle.disconnected:
                continue
            coroutine = connection.app.response_to(cycle.scope, _Whole(cycle).receive)
            try:
                waits_for = coroutine.send(None)
            except StopIteration as end:
                answered.append((connection, cycle, end.value))
            else:
                connection.begin_task(cycle, _later(_go_on(coroutine, waits_for)))
        for connection, cycle, response in answered:
            self._write(connection, cycle, response)

    def _write(self, connection: TurnConnection, cycle: RequestResponseCycle, response: Response | None) -> None:
        if (
            response is None
            or response.status != 200
            or response.headers
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or connection.flow.write_paused  # a caller that takes no answers gets no more of our memory
        ):
            connection.begin_task(cycle, _later(_at_once(response)))
            return
        headers = cycle.default_headers
        if headers is not self._headers:  # uvicorn makes a new list each second, for the date
            self._headers = headers
            self._head = _OK + b"".join(b"%s: %s\r\n" % header for header in headers)
        body = response.body
        connection.transport.write(
            b"%scontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (self._head, response.content_type, len(body), body)
        )
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        connection.on_response_complete()


class _Whole:
    """A request whose body is there."""

    __slots__ = ("_asked", "_cycle")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._asked = False

    async def receive(self) -> Any:
        """Return the body; asked again, wait until the caller hangs up."""
        cycle = self._cycle
        if self._asked:
            return await cycle.receive()
        self._asked = True
        cycle.message_event.clear()
        return {"type": "http.request", "body": bytes(cycle.body), "more_body": False}


def _later(response: Coroutine[Any, Any, Response | None]) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = await response
        if answer is not None:
            await send_response(answer, send)

    return app


async def _at_once(response: Response | None) -> Response | None:
    return response


async def _go_on(coroutine: Coroutine[Any, Any, Response | None], waits_for: Any) -> Response | None:
    return await _rest(coroutine, waits_for)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Response | None], waits_for: Any) -> Generator[Any, Any, Response | None]:
    """What is left of a coroutine that has run up to the future `waits_for`."""
    while True:
        error: BaseException | None = None
        try:
            yield waits_for
        except BaseException as raised:  # noqa: BLE001  # the task's, such as its end: for the coroutine to handle
            error = raised
        try:
            waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as end:
            result: Response | None = end.value
            return result

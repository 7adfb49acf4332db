"""Server: uvicorn around an application, with limits for its callers and without haste at the end.

uvicorn accepts whoever comes, times out idle keep-alive connections only, and waits at its end for callers that have
stalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn

from schemas.errors import PortTaken
from scoring.connection import Connection, State
from scoring.limits import Limits
from scoring.reception import Reception
from scoring.turn import Turn, TurnConnection

# SIGTERM to exit: the two together, and a little.
DRAIN_S: Final = 1.0
GRACE_S: Final = 2.0
_BACKLOG: Final = 2048
# Ticks come every tenth of a second and a little; whose time is over before the second next is hung up on now.
_AHEAD_S: Final = 0.25
_NOTICE_S: Final = 0.02


class Server(uvicorn.Server):
    """An HTTP server that ends within `DRAIN_S + GRACE_S`, with every request answered that was sent in time.

    Args:
        app: an ASGI application.
        listener: an open socket, see `listen`.
        limits: what each caller may have; those of `Limits()` unless given.
        tls: encrypts every connection, see `scoring.tls.tls_context`; None: nothing does.
    """

    def __init__(
        self, app: Any, listener: socket.socket, limits: Limits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=TurnConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # what callers do wrong is their business, and a flood on demand
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nobody here asks who the caller says it is
            )
        )
        limits = limits or Limits()
        self.server_state = self._state = State(limits)
        self._turn = Turn()
        self._reception = Reception(listener, limits, self._connection, tls)

    @property
    def refused(self) -> int:
        """How many connections were turned away because there was no room for them."""
        return self._reception.refused

    @property
    def hung_up(self) -> int:
        """How many connections were ended because their callers had stalled."""
        return self._state.hung_up

    def _connection(self) -> Connection:
        connection = TurnConnection(self.config, self._state, {"allowance": self._state.allowance})
        connection.turn = self._turn
        return connection

    async def run_until_stopped(self) -> None:
        """Serve until `stop`."""
        await self.serve()

    def stop(self) -> None:
        """Answer what has been asked, then end; a second call ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: who runs the server decides what they mean."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await self._reception.open()
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second, and hang up on those whose time is as good as over."""
        until_s = asyncio.get_running_loop().time() + _AHEAD_S
        for connection in [each for each in self._state.connections if each.deadline_s < until_s]:  # type: ignore[union-attr]  # all are ours
            connection.hang_up()  # type: ignore[union-attr]
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order.

        1. No new connections. 2. Each connection gets one more answer, which says that it is the last. 3. Only then
        close what is idle: uvicorn alone closes it at once, and a request that was on its way is lost. 4. Whoever still
        owes half a request, or does not take an answer, is hung up on.
        """
        self._reception.close()
        self._state.draining = True
        await self._wait(DRAIN_S, lambda: not self._state.connections)
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._wait(GRACE_S, lambda: not self._state.connections and not self._state.tasks)
        for connection in list(self._state.connections):
            connection.transport.abort()
        # Whoever read a body hears that its caller has gone, and writes nothing; only one that hangs is left.
        await self._wait(_NOTICE_S * 5, lambda: not self._state.tasks)
        for task in list(self._state.tasks):
            task.cancel()

    async def _wait(self, most_s: float, done: Callable[[], bool]) -> None:
        for _ in range(round(most_s / _NOTICE_S)):
            if done() or self.force_exit:
                return
            await asyncio.sleep(_NOTICE_S)


def listen(host: str, port: int) -> socket.socket:
    """Return an open socket; port 0 takes a free one.

    Raises:
        PortTaken: something else listens there, or the address cannot be had.

    >>> taken = listen("127.0.0.1", 0)
    >>> listen("127.0.0.1", taken.getsockname()[1])
    Traceback (most recent call last):
    schemas.errors.PortTaken: cannot listen on 127.0.0.1 port ...: ...; choose another with --port
    >>> taken.close()
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(host, port, error.strerror or str(error)) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Here, not in the loop: with SO_REUSEADDR two may bind, and only one may listen.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(host, port, error.strerror or str(error)) from None
    listener.setblocking(False)
    return listener

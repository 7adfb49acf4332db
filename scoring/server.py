"""Server: uvicorn around the door, without endless patience for stalled callers and without haste at the end.

uvicorn times out idle keep-alive connections only: a caller who sends half a request, or connects and says nothing,
holds the connection for ever, and a shutdown waits for such callers as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.errors import PortTaken

# From the first byte of a request, or from the connection, to the request's last byte.
PATIENCE_S: Final = 10.0
LARGEST_HEAD_BYTES: Final = 64 * 1024
# SIGTERM to exit: the two together, and a little.
DRAIN_S: Final = 1.0
GRACE_S: Final = 2.0
_BACKLOG: Final = 2048
_TICKS_PER_S: Final = 10

_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class _Connection(HttpToolsProtocol):
    """One connection, which knows since when its caller owes the rest of a request."""

    _owing_since_s: float | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._owing_since_s = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._owing_since_s is None:
            self._owing_since_s = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)  # which starts the count again where a message begins or ends
        # httptools keeps a header until it is whole, however long that takes.
        if self._in_head and self._head_bytes > LARGEST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._owing_since_s = self.loop.time()
        self._head_bytes = 0
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if isinstance(self.server_state, _State) and self.server_state.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._owing_since_s = None
        self._in_head = True
        self._head_bytes = 0

    def hang_up_if_stalled(self, now_s: float) -> None:
        """Close the connection if its caller has owed the rest of a request for too long."""
        since_s = self._owing_since_s
        if since_s is not None and now_s - since_s > PATIENCE_S and not self.transport.is_closing():
            self.transport.close()


class _State(uvicorn.server.ServerState):
    """uvicorn's shared state, and whether the server is about to end."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = False


class Server(uvicorn.Server):
    """An HTTP server that ends within `DRAIN_S + GRACE_S`, with every request answered that was sent in time.

    Args:
        app: an ASGI application.
        listener: an open socket, see `listen`.
    """

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # "Invalid HTTP request received" is the caller's business, and a flood on demand
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,  # longer than what balancers keep an idle connection for, so that they close it
                timeout_graceful_shutdown=int(GRACE_S),
                backlog=_BACKLOG,
            )
        )
        self.server_state = self._state = _State()
        self._listener = listener

    async def run_until_stopped(self) -> None:
        """Serve until `stop`."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Answer what has been asked, then end; a second call ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: who runs the server decides what they mean."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second, and once a second hang up on the stalled."""
        if counter % _TICKS_PER_S == 0:
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, _Connection):
                    connection.hang_up_if_stalled(now_s)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order.

        1. No new connections. 2. Each connection gets one more answer, which says that it is the last. 3. Only then
        close what is still open: uvicorn alone closes idle keep-alive connections at once, and a request that was on
        its way through one is lost.
        """
        for server in self.servers:
            server.close()
        self._state.draining = True
        deadline_s = asyncio.get_running_loop().time() + DRAIN_S
        while self.server_state.connections and not self.force_exit:
            if asyncio.get_running_loop().time() > deadline_s:
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


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

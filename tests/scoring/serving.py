"""A server in a thread, and plain sockets to talk to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
from types import TracebackType
from typing import Any, Self

import uvloop

from scoring.application import Application
from scoring.limits import Limits
from scoring.server import Server, listen


class Serving:
    """A door behind a real socket while the `with` block runs."""

    def __init__(self, door: Application, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> None:
        listener = listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.server = Server(door, listener, limits, tls)
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        await self.server.run_until_stopped()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._running.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self, within_s: float = 10.0) -> None:
        """Stop the server; fail if it has not ended in time."""
        assert self._loop is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.server.stop)
            self._thread.join(within_s)
        assert not self._thread.is_alive(), f"the server has not ended within {within_s} s"

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that the caller closes."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def raw(self, first: bytes = b"") -> socket.socket:
        """Return a socket on which `first` has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(first)
        return connection


def post(connection: http.client.HTTPConnection, body: Any) -> tuple[int, dict[str, Any], bool]:
    """Return status, JSON and whether the server closes the connection after this answer."""
    connection.request("POST", "/v1/events", json.dumps(body).encode())
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.will_close


def everything(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def reply(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of the last response on a connection, when the other side has closed it."""
    head, _, body = everything(connection).rpartition(b"\r\n\r\n")
    return int(head.rpartition(b"HTTP/1.1 ")[2][:3]), json.loads(body)


def take(connection: socket.socket) -> int:
    """Return the status of the next response, once it is there whole."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        assert part, f"closed after {received!r}"
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12])

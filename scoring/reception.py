"""Reception: accepts connections, counts them, and turns those away for whom there is no room.

asyncio's own servers count nothing, and know of a connection with TLS only when its handshake is done, for which they
wait a minute.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

from scoring.connection import LINGER_S, Connection, last_words
from scoring.limits import Limits
from scoring.problem import unavailable

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64
_WITHOUT_DESCRIPTORS_S: Final = 0.2
# Of those who are turned away, how many have our full attention: a second in which to hear of it.
_HEARD: Final = 64
_SAY_EVERY_S: Final = 10.0

_NO_ROOM: Final = last_words(unavailable("no-room", "this edge has as many connections as it can hold; try again"))
_TOO_MANY: Final = last_words(
    unavailable("too-many-connections", "there are too many connections from your address; use fewer, and keep them")
)


class Reception:
    """Lets callers in, up to the limits.

    Args:
        listener: an open socket, non-blocking.
        limits: how many connections there may be, in all and of one address.
        connection: makes the protocol of one.
        tls: what encrypts them; None: nothing does.

    Attributes:
        refused: how many were turned away.
    """

    def __init__(
        self, listener: socket.socket, limits: Limits, connection: Callable[[], Connection], tls: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._limits = limits
        self._connection = connection
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._shaking_hands: set[asyncio.Task[None]] = set()
        self._here: Counter[bytes] = Counter()
        self._connections = 0
        self._heard = 0
        self._said_at_s = -_SAY_EVERY_S
        self.refused = 0

    async def open(self) -> None:
        """Begin to accept."""
        self._loop = asyncio.get_running_loop()
        if self._tls is None:
            self._server = await self._loop.create_server(self._caller, sock=self._listener)
        else:
            self._loop.add_reader(self._listener, self._accept, self._tls)

    def close(self) -> None:
        """Accept no more; whoever has not finished a handshake is let go."""
        if self._server is not None:
            self._server.close()
        elif self._loop is not None and self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._shaking_hands:
            task.cancel()

    def _seat(self, network: bytes) -> bytes | None:
        """Take a place for a caller; return why there is none."""
        if self._connections >= self._limits.connections:
            return _NO_ROOM
        if self._here[network] >= self._limits.from_one_address:
            return _TOO_MANY
        self._connections += 1
        self._here[network] += 1
        return None

    def _leave(self, network: bytes) -> None:
        self._connections -= 1
        self._here[network] -= 1
        if not self._here[network]:
            del self._here[network]

    # --- without TLS: whoever is accepted is connected ---

    def _caller(self) -> Connection:
        connection = self._connection()
        connection.on_made = self._welcome
        return connection

    def _welcome(self, connection: Connection) -> None:
        if connection.client is None:  # gone already
            return
        network = _network(connection.client[0])
        words = self._seat(network)
        if words is None:
            connection.on_lost = functools.partial(self._leave, network)
        else:
            self._turn_away(connection, words)

    def _turn_away(self, connection: Connection, words: bytes) -> None:
        self._count_refusal()
        if self._heard < _HEARD:
            self._heard += 1
            connection.on_lost = self._unheard
            connection.end_with(words)
        else:  # in a flood, whoever's request is on the way already may see a reset instead
            connection.transport.write(words)
            connection.transport.close()

    def _unheard(self) -> None:
        self._heard -= 1

    def _count_refusal(self) -> None:
        assert self._loop is not None
        self.refused += 1
        now_s = self._loop.time()
        if now_s - self._said_at_s >= _SAY_EVERY_S:
            self._said_at_s = now_s
            log.warning("connections_refused in_all=%d connections=%d", self.refused, self._connections)

    # --- with TLS: whoever is accepted has a handshake to do ---

    def _accept(self, tls: ssl.SSLContext) -> None:
        assert self._loop is not None
        for _ in range(_AT_ONCE):
            try:
                caller, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors or no memory: the listener stays readable, and would spin
                log.error("cannot_accept errno=%s reason=%r", error.errno, error.strerror)  # noqa: TRY400  # no traceback
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_WITHOUT_DESCRIPTORS_S, self._resume, tls)
                return
            caller.setblocking(False)
            task = self._loop.create_task(self._shake_hands(caller, _network(address[0]), tls))
            self._shaking_hands.add(task)
            task.add_done_callback(self._shaking_hands.discard)

    def _resume(self, tls: ssl.SSLContext) -> None:
        if self._loop is not None and self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept, tls)

    async def _shake_hands(self, caller: socket.socket, network: bytes, tls: ssl.SSLContext) -> None:
        assert self._loop is not None
        connection = self._connection()
        words = self._seat(network)
        if words is None:
            connection.on_lost = functools.partial(self._leave, network)
        else:
            self._count_refusal()
            if self._heard >= _HEARD:  # a handshake, only to be told why, is the dearest of all
                caller.close()
                return
            self._heard += 1
            connection.on_lost = self._unheard
            connection.on_made = functools.partial(Connection.end_with, words=words)
        arrived = False
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                caller,
                ssl=tls,
                ssl_handshake_timeout=self._limits.request_s,
                ssl_shutdown_timeout=LINGER_S,
            )
            arrived = True
        except OSError as error:  # a handshake that failed, or took too long: the caller's business, a flood on demand
            log.debug("handshake_failed reason=%r", error.strerror)
        finally:
            if not arrived and connection.on_lost is not None:  # else the connection hears of its end
                connection.on_lost()
                connection.on_lost = None


def _network(address: str) -> bytes:
    """Return what of an address is one caller's: an IPv4 address whole, of IPv6 the /64 that one machine may have.

    >>> _network("::ffff:127.0.0.1") == _network("127.0.0.1")
    True
    >>> _network("2001:db8::1") == _network("2001:db8::ffff:2")
    True
    """
    if ":" not in address:
        return socket.inet_aton(address)
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed[12:] if packed.startswith(bytes(10) + b"\xff\xff") else packed[:8]

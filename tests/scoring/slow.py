"""Slow callers: many connections that each owe something, as slowloris has them, and how long they are let to."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence

HEAD = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n"
# Nothing; half a line; a head that gets another header now and then; a body that gets another byte.
FIRSTS = (b"", b"POST /v1/ev", HEAD, HEAD + b"content-length: 100000\r\n\r\n{")
DRIPS = (b"", b"e", b"x-a: b\r\n", b" ")


@contextlib.contextmanager
def slow_callers(port: int, count: int, address: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Hold `count` connections from one address, a quarter of each kind."""
    sockets: list[socket.socket] = []
    try:
        for number in range(count):
            caller = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))
            sockets.append(caller)
            caller.sendall(FIRSTS[number % 4])
            caller.setblocking(False)
        yield sockets
    finally:
        for caller in sockets:
            caller.close()


def drip(sockets: Sequence[socket.socket], within_s: float, every_s: float = 0.2) -> list[float]:
    """Send each another byte now and then until the other side ends it; return when each ended, in s from now."""
    started = time.monotonic()
    ended: dict[int, float] = {}
    poll = select.poll()
    for caller in sockets:
        poll.register(caller, select.POLLIN)
    by_fd = {caller.fileno(): (caller, DRIPS[number % 4]) for number, caller in enumerate(sockets)}
    next_s = started
    while len(ended) < len(sockets) and time.monotonic() - started < within_s:
        if time.monotonic() >= next_s:
            next_s += every_s
            for fd, (caller, byte) in by_fd.items():
                if fd not in ended:
                    with contextlib.suppress(OSError):
                        caller.send(byte)
        for fd, _ in poll.poll(50):
            try:
                over = not by_fd[fd][0].recv(65536)
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over:
                poll.unregister(fd)
                ended[fd] = time.monotonic() - started
    return list(ended.values())

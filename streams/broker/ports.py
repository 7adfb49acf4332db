"""Loopback ports: free ones, taken ones, and those behind which a Kafka answers."""

from __future__ import annotations

import contextlib
import socket
import struct

LOOPBACK = "127.0.0.1"
_API_VERSIONS = 18


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago: another process may take one before you do.

    >>> len(set(free_ports(3)))
    3
    """
    # All are held until the last is drawn, else the system may hand out the same one twice.
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def is_taken(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def speaks_kafka(port: int, timeout_s: float = 1.0) -> bool:
    """Whether an ApiVersions request (version 0) to the port is answered.

    An open port proves nothing: it opens before the broker serves, and it may be another program's.
    """
    correlation = 1
    request = struct.pack(">hhih", _API_VERSIONS, 0, correlation, -1)  # -1: no client id
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = _receive(connection, 10)
    except OSError:
        return False
    if len(head) < 10:
        return False
    _length, answered, error = struct.unpack(">iih", head)
    return (answered, error) == (correlation, 0)


def _receive(connection: socket.socket, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes and (part := connection.recv(size_bytes - len(received))):
        received += part
    return received

"""Limits: how much of a server one caller may have, and for how long."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import Final

_MOST_CONNECTIONS: Final = 4096


def affordable_connections() -> int:
    """Return how many connections this process can hold: three quarters of its file descriptors, at most 4,096.

    The others are for Kafka, for files, and for those who are being told that there is no room.

    >>> 1 <= affordable_connections() <= 4096
    True
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, descriptors * 3 // 4))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server gives to its callers; each process of several counts for itself.

    Attributes:
        body_bytes: of a request; more is answered 413, before more of it is read.
        bodies_bytes: of all requests together that came in more than one piece and are not whole yet; who would need
            more is answered 503.
        head_bytes: of a request's line and headers; more is answered 431.
        request_s: from a request's first byte, or from the connection, to the request's last byte; and for an answer
            that nobody takes.
        idle_s: from an answer to the first byte of the next request.
        connections: at one moment; who comes on top is answered 503 and let go.
        connections_per_address: of those, from one IPv4 address or one IPv6 /64; 0: three quarters of `connections`, so
            that one load balancer can have most, and one hostile machine not all.

    >>> Limits(connections=1000).from_one_address
    750
    """

    body_bytes: int = 1024 * 1024
    bodies_bytes: int = 64 * 1024 * 1024
    head_bytes: int = 16 * 1024
    request_s: float = 10.0
    idle_s: float = 5.0
    connections: int = field(default_factory=affordable_connections)
    connections_per_address: int = 0

    @property
    def from_one_address(self) -> int:
        """How many connections one address may have."""
        return self.connections_per_address or max(1, self.connections * 3 // 4)

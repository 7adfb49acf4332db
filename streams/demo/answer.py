"""Answer: one request to the edge as its client saw it."""

from __future__ import annotations

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the edge, answered or failed; travels as a JSON line from the client's process.

    Attributes:
        number: the request's place in the schedule.
        answered_at_ms: this machine's wall clock when the answer was complete, milliseconds since 1970.
        latency_ms: from the moment the schedule meant the request to be sent. A request that waits for a slow one
            before it is late too (coordinated omission: Gil Tene, "How NOT to Measure Latency", 2013).
        service_ms: from the moment it was sent.
        version: the version that made the score, -1 without one.
        learned_offset: offset in `examples` of the newest example that version had learned, -1 for none.
        error: what was wrong, "" for nothing.
    """

    number: int
    answered_at_ms: float
    latency_ms: float
    service_ms: float
    version: int = -1
    learned_offset: int = -1
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether the request got anything but a good score.

        >>> Answer(number=0, answered_at_ms=0.0, latency_ms=2000.0, service_ms=2000.0, error="timeout").failed
        True
        """
        return bool(self.error)

"""Forward: what becomes of an event that an edge has answered: it goes on to `events`, with what was said of it.

Before the answer goes out the event lies in a spill file, so that it comes to `events` whatever happens to the process
or to Kafka; who takes it there is a `Forwarder`. No failure here costs a caller the score: the answer says that the
event was not forwarded, and why.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.reader import Reader, X
from schemas.records import LearnedThrough
from schemas.score_header import ScoreHeader
from scoring.body import Scope
from scoring.problem import Problem

Header = tuple[str, bytes]

# Why an event was not forwarded; what the answer says.
ASKED: Final = "asked"  # the caller asked for a score only
OFF: Final = "off"  # this edge forwards nothing
FULL: Final = "full"  # Kafka is away, or slower than the events, and the spill has reached its limit
UNWRITABLE: Final = "unwritable"  # the disk takes nothing


class Scored(NamedTuple):
    """A score, and all that goes with it to the scorer.

    Attributes:
        reader: of the model.
        as_of_ms: when the profile was written that is in `x`; None, nothing was known of the visitor.
    """

    reader: Reader
    version: int
    score: float
    learned_through: LearnedThrough
    x: X
    as_of_ms: int | None


class Outgoing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record of `events` that is to be, as it lies in the spill.

    Attributes:
        at_ms: when the edge answered; the record's time, whenever Kafka gets it.
        key: the visitor.
        value: the event, its bytes as they came.
        headers: one for each model that scored it, see `schemas.score_header`.
    """

    at_ms: int
    key: bytes
    value: bytes
    headers: list[Header]


class Forwarder(Protocol):
    """Takes events to `events`."""

    def offer(self, outgoing: Outgoing) -> str:
        """Take an event, at once and without waiting for Kafka.

        Returns:
            "" if it will be in `events` at least once; else why not, `OFF`, `FULL` or `UNWRITABLE`.
        """


def wants_forwarding(scope: Scope) -> bool:
    """Return whether a request wants its events in `events`: always, but with `?forward=false`.

    Raises:
        Problem: `forward` is something else than true or false.

    >>> wants_forwarding({"query_string": b"forward=false"}), wants_forwarding({"query_string": b""})
    (False, True)
    """
    query: bytes = scope.get("query_string", b"")
    if not query:
        return True
    said = [value for name, _, value in (each.partition(b"=") for each in query.split(b"&")) if name == b"forward"]
    if not said or said == [b"true"]:
        return True
    if said == [b"false"]:
        return False
    raise Problem(400, "query", "forward is true or false", field="forward")


def forward(forwarder: Forwarder, event: bytes, name: str, visitor: str, scored: Sequence[Scored], at_ms: int) -> str:  # noqa: PLR0917
    """Hand an event on, with the scores that it was given.

    Args:
        forwarder: who takes it.
        event: its bytes as they came.
        name: its `_id`.
        visitor: its primary identity.
        scored: what the models said of it.
        at_ms: the clock by which it was answered.

    Returns:
        As `Forwarder.offer`.
    """
    headers: list[Header] = []
    for reader, version, score, learned_through, x, as_of_ms in scored:
        header = _header_of(reader)
        headers.append((header.name, header.value(name, version, score, learned_through, at_ms, as_of_ms, x)))
    return forwarder.offer(Outgoing(at_ms, visitor.encode(), event, headers))


@functools.lru_cache(maxsize=64)
def _header_of(reader: Reader) -> ScoreHeader:
    return ScoreHeader(reader)

"""Headers of dead letters and of what is replayed from them.

Key, value and headers of a record go into its letter untouched; what happened stands in headers after its own, with the
names that Kafka Connect's dead letter queue uses (DeadLetterQueueReporter), so that tools made for it work here.
`timestamp` and `attempt` are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord

from schemas.errors import Poison
from schemas.records import DeadLetter
from streams.sender import Header

PREFIX: Final = "__connect.errors."
# On a record that is replayed, beside its own headers.
ATTEMPT: Final = "freshet.attempt"
REPLAY_OF: Final = "freshet.replay-of"
# The first of a letter's headers about what happened: everything before its last occurrence is the record's own.
_FIRST: Final = PREFIX + "topic"


def dead_letter_headers(record: ConsumerRecord, poison: Poison) -> list[Header]:
    """Return the headers of a dead letter: the record's own, then what happened to it."""
    happened = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "stage": poison.stage,
        "exception.class.name": f"{type(poison).__module__}.{type(poison).__name__}",
        "exception.message": poison.reason,
        "attempt": str(_number(_last(record.headers, ATTEMPT), 1)),
    }
    return [*record.headers, *((PREFIX + name, text.encode()) for name, text in happened.items())]


def own_headers(headers: Sequence[Header]) -> list[Header]:
    """Return the headers with which the record of a dead letter was read.

    >>> own_headers([("traceparent", b"00-1"), (PREFIX + "topic", b"events"), (PREFIX + "offset", b"7")])
    [('traceparent', b'00-1')]
    """
    for at in range(len(headers) - 1, -1, -1):
        if headers[at][0] == _FIRST:
            return list(headers[:at])
    return list(headers)


def replay_headers(headers: Sequence[Header], origin: str, attempt: int) -> list[Header]:
    """Return the headers of a record on its way back: its own, which attempt this is, and where it lay before.

    >>> letter = [("traceparent", b"00-1"), (PREFIX + "topic", b"events"), (PREFIX + "offset", b"7")]
    >>> replay_headers(letter, "events/3/7", 2)
    [('traceparent', b'00-1'), ('freshet.attempt', b'2'), ('freshet.replay-of', b'events/3/7')]
    """
    own = [each for each in own_headers(headers) if each[0] not in {ATTEMPT, REPLAY_OF}]
    return [*own, (ATTEMPT, str(attempt).encode()), (REPLAY_OF, origin.encode())]


def replay_of(headers: Sequence[Header]) -> str:
    """Return where a replayed record lay before, "" for any other record."""
    return _text(_last(headers, REPLAY_OF))


def read_dead_letter(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> DeadLetter:
    """Return what a record of `dead-letters` says.

    >>> headers = [(PREFIX + "topic", b"events"), (PREFIX + "offset", b"7"), (PREFIX + "stage", b"decode")]
    >>> read_dead_letter(b"v", b"{", headers).offset
    7
    """
    own = own_headers(headers)
    happened = {name.removeprefix(PREFIX): value for name, value in headers[len(own) :]}
    return DeadLetter(
        key=key,
        value=value,
        topic=_text(happened.get("topic")),
        partition=_number(happened.get("partition"), -1),
        offset=_number(happened.get("offset"), -1),
        timestamp=_number(happened.get("timestamp"), -1),
        stage=_text(happened.get("stage")),
        error=_text(happened.get("exception.class.name")),
        message=_text(happened.get("exception.message")),
        attempt=_number(happened.get("attempt"), 1),
        replay_of=replay_of(own),
    )


# A header's value may be null, or anything: others write headers too.
def _last(headers: Sequence[Header], name: str) -> bytes | None:
    return next((value for each, value in reversed(headers) if each == name), None)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None, otherwise: int) -> int:
    digits = value or b""
    return int(digits) if digits.isdigit() and len(digits) <= 19 else otherwise

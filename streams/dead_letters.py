"""Dead letters: records that can never be processed, with their original bytes and why.

Key, value and headers go in untouched; what happened stands in headers with the names that Kafka Connect's dead letter
queue uses (DeadLetterQueueReporter), so that tools made for it work here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord

from schemas.errors import Poison
from schemas.records import DeadLetter
from streams.sender import Header

PREFIX: Final = "__connect.errors."


def dead_letter_headers(record: ConsumerRecord, poison: Poison) -> list[Header]:
    """Return the headers of a dead letter: the record's own, then what happened to it."""
    happened = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": poison.stage,
        "exception.class.name": f"{type(poison).__module__}.{type(poison).__name__}",
        "exception.message": poison.reason,
    }
    return [*record.headers, *((PREFIX + name, text.encode()) for name, text in happened.items())]


def read_dead_letter(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> DeadLetter:
    """Return what a record of `dead-letters` says.

    >>> headers = [(PREFIX + "topic", b"events"), (PREFIX + "offset", b"7"), (PREFIX + "stage", b"decode")]
    >>> read_dead_letter(b"v", b"{", headers).offset
    7
    """
    # A header's value may be null, or anything: a record that has been here before brings such headers along.
    happened = {
        name.removeprefix(PREFIX): (text or b"").decode(errors="replace")
        for name, text in headers
        if name.startswith(PREFIX)
    }
    return DeadLetter(
        key=key,
        value=value,
        topic=happened.get("topic", ""),
        partition=int(happened.get("partition", -1)),
        offset=int(happened.get("offset", -1)),
        stage=happened.get("stage", ""),
        error=happened.get("exception.class.name", ""),
        message=happened.get("exception.message", ""),
    )

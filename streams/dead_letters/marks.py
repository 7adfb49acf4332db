"""Marks: records in `dead-letters` that say what became of a letter.

Before a letter's record goes back to its topic a mark says that it is being sent and from which offset on to look for
it; once the broker has acknowledged it a second mark says where it lies. A replay that was killed between the two
leaves the first, and the next replay looks whether the record is there instead of sending it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from streams.dead_letters.headers import PREFIX
from streams.sender import Header

MARK_HEADER: Final = "freshet.mark"


class Mark(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a letter.

    Attributes:
        replay_of: the letter, by where its record lay: `events/3/17`.
        attempt: which one the record is on its way to.
        after: the offset that its partition ended at before it was sent.
        offset: where it lies now; -1 while it is being sent.
    """

    replay_of: str
    attempt: int
    after: int
    offset: int = -1


_decode: Final = msgspec.json.Decoder(Mark).decode


def mark_value(mark: Mark) -> bytes:
    """Return the value of a mark's record.

    >>> mark_value(Mark("events/3/17", attempt=2, after=90))
    b'{"replayOf":"events/3/17","attempt":2,"after":90,"offset":-1}'
    """
    return msgspec.json.encode(mark)


def mark_headers() -> Sequence[Header]:
    """Return the headers that tell a mark from a letter."""
    return [(MARK_HEADER, b"1")]


def read_mark(record: ConsumerRecord) -> Mark | None:
    """Return the mark in a record of `dead-letters`; None where it is a letter."""
    names = {name for name, _ in record.headers}
    if MARK_HEADER not in names or PREFIX + "topic" in names:  # an event may bring any header along
        return None
    try:
        return _decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

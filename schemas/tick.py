"""A tick: a record of an events partition that carries time and nothing else.

Time in freshet is a function of the log. A partition in which nothing happens would keep its pending scores open for
ever, so its owner writes the time that passed into the partition itself, where every later reader finds it again.
"""

from __future__ import annotations

import msgspec

from schemas.errors import EventInvalid

TICK_HEADER = "freshet.tick"


class _Tick(msgspec.Struct, frozen=True):
    tick: int


_decode = msgspec.json.Decoder(_Tick).decode


def tick_value(time_ms: int) -> bytes:
    """Return the value of a tick record.

    >>> tick_value(1541376000000)
    b'{"tick":1541376000000}'
    """
    return msgspec.json.encode(_Tick(time_ms))


def tick_headers() -> list[tuple[str, bytes]]:
    """Return the headers that mark a record as a tick.

    >>> tick_headers()
    [('freshet.tick', b'1')]
    """
    return [(TICK_HEADER, b"1")]


def read_tick(value: bytes | None) -> int:
    """Return the event time of a tick, in milliseconds.

    Raises:
        EventInvalid: the value is not a tick's.

    >>> read_tick(tick_value(7))
    7
    """
    try:
        return _decode(value or b"").tick
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventInvalid("tick", f"is not readable: {error}") from None

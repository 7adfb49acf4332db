"""Events: several of them in one request, as a JSON array or one a line."""

from __future__ import annotations

from typing import Final

import msgspec

from scoring.problem import Problem

MOST_EVENTS: Final = 1024

_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes) -> list[bytes]:
    """Return the events in a body, each in its own bytes and none looked at yet.

    Args:
        body: a JSON array, or NDJSON, of which blank lines count for nothing.

    Raises:
        Problem: there is none, there are too many, or the array is no JSON, so that nobody can tell where they end.

    >>> split(b'[{"_id": "1"}, 2]'), split(b'{"_id": "1"}\\n\\n2\\n')
    ([b'{"_id": "1"}', b'2'], [b'{"_id": "1"}', b'2'])
    """
    if body.lstrip(b" \t\r\n").startswith(b"["):
        try:
            events = [bytes(each) for each in _array.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Problem(
                400, "not-events", "the body begins like a JSON array and is none; mend it, or send one event a line"
            ) from None
    else:
        events = [line for line in body.splitlines() if line.strip()]
    if not events:
        raise Problem(400, "not-events", "the body has no event; send a JSON array of events, or one event a line")
    if len(events) > MOST_EVENTS:
        raise Problem(400, "too-many", f"the body has {len(events)} events; send at most {MOST_EVENTS} at a time")
    return events

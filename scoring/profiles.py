"""Profiles: what is remembered of visitors, as an edge knows it: a bounded copy, a little behind the scorer."""

from __future__ import annotations

import logging
import sys
from collections import Counter, OrderedDict
from typing import Final, NamedTuple

import msgspec

from schemas.errors import SchemaUnknown
from schemas.profile import Profile
from schemas.records import VisitorProfile, decode

log = logging.getLogger(__name__)

# Of all models' profiles; about 650,000 visitors with the example's model.
MOST_BYTES: Final = 256 * 1024 * 1024

# A record's time stands in front of it: as an object of its own it would take a third of what the record takes.
_TIME_BYTES: Final = 8


class Remembered(NamedTuple):
    """A visitor's profile, and as of when.

    Attributes:
        profile: what the model remembers of the visitor.
        as_of_ms: Kafka's timestamp of the record it came in: the scorer's clock when it wrote the record. What the
            visitor did before that is in the profile; what they did since is not, if they did anything.
    """

    profile: Profile
    as_of_ms: int


class Profiles:
    """The profiles of the most recent visitors, by least recent use, within so many bytes.

    A visitor who falls out is as good as new: the score is what a first-time visitor gets, and the answer says so.

    They are kept as the records' bytes and decoded when asked for. Updates outnumber questions by far; and a garbage
    collection takes 370 ms with 200,000 decoded profiles, for they are a million little lists, but none looks at bytes.

    Args:
        most_bytes: what they may take, keys and the table itself included.

    >>> from schemas.records import encode
    >>> profiles = Profiles(most_bytes=1000)
    >>> for visitor in "abcdefgh":
    ...     record = VisitorProfile(model="m", visitor=visitor, seen=7, times=[[5, 7]], last=[])
    ...     profiles.put("m", visitor, encode(record), as_of_ms=9)
    >>> profiles.get("m", "h").profile.times, profiles.get("m", "a"), profiles.used_bytes <= 1000
    ([[5, 7]], None, True)
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        # By `model/visitor`, as in the topic: a table for each model would make the oldest of all hard to find.
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._entries_bytes = 0
        self._visitors: Counter[str] = Counter()
        self._newest_ms: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        """What they take."""
        return self._entries_bytes + sys.getsizeof(self._known)

    def put(self, model: str, visitor: str, record: bytes, as_of_ms: int) -> None:
        """Take what a model remembers of a visitor now: the bytes of a `VisitorProfile`, and when they were written."""
        self.forget(model, visitor)
        key = f"{model}/{visitor}"
        value = as_of_ms.to_bytes(_TIME_BYTES, "big", signed=True) + record
        self._known[key] = value
        self._entries_bytes += _entry_bytes(key, value)
        self._visitors[model] += 1
        while self._known and self.used_bytes > self._most_bytes:
            self._drop(next(iter(self._known)))
        if as_of_ms > self._newest_ms.get(model, -1):
            self._newest_ms[model] = as_of_ms

    def forget(self, model: str, visitor: str) -> None:
        """Take a tombstone: the visitor is new again."""
        key = f"{model}/{visitor}"
        if key in self._known:
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._entries_bytes -= _entry_bytes(key, self._known.pop(key))
        self._visitors[key.partition("/")[0]] -= 1

    def get(self, model: str, visitor: str) -> Remembered | None:
        """Return what a model remembers of a visitor, None where nothing is known, or nothing that can be read."""
        key = f"{model}/{visitor}"
        value = self._known.get(key)
        if value is None:
            return None
        self._known.move_to_end(key)
        try:
            record = decode(VisitorProfile, value[_TIME_BYTES:])
        except (SchemaUnknown, msgspec.DecodeError) as error:
            self._drop(key)  # told once; the visitor's next record is a whole profile again
            log.warning("profile_unreadable model=%s: %s", model, error)
            return None
        as_of_ms = int.from_bytes(value[:_TIME_BYTES], "big", signed=True)
        return Remembered(Profile(record.seen, record.times, record.last), as_of_ms)

    def visitors(self, model: str) -> int:
        """Return how many visitors of a model are known."""
        return self._visitors[model]

    def as_of_ms(self, model: str) -> int | None:
        """Return Kafka's timestamp of the newest record put: how far the copy has come, None before the first.

        Where it falls behind the clock, either nobody came or Kafka is away: the edge cannot tell which.
        """
        return self._newest_ms.get(model)


def _entry_bytes(key: str, value: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(value)

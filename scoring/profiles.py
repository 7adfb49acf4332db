"""Profiles: what is remembered of visitors, as an edge knows it: a bounded copy, a little behind the scorer."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec

from schemas.errors import SchemaUnknown
from schemas.profile import Profile
from schemas.records import VisitorProfile, decode

log = logging.getLogger(__name__)

# With its key a record takes about 0.4 KB here, so a model's profiles take at most about 80 MB.
MOST_VISITORS: Final = 200_000


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
    """The profiles of each model's most recent visitors, by least recent use.

    A visitor who falls out is as good as new: the score is what a first-time visitor gets, and the answer says so.

    They are kept as the records' bytes and decoded when asked for. Updates outnumber questions by far; and a garbage
    collection takes 370 ms with 200,000 decoded profiles, for they are a million little lists, but 7 ms with bytes.

    Args:
        most: visitors kept per model.

    >>> from schemas.records import encode
    >>> profiles = Profiles(most=2)
    >>> for visitor in "abc":
    ...     record = VisitorProfile(model="m", visitor=visitor, seen=7, times=[[5, 7]], last=[])
    ...     profiles.put("m", visitor, encode(record), as_of_ms=9)
    >>> profiles.get("m", "c").profile.times, profiles.get("m", "a"), profiles.visitors("m")
    ([[5, 7]], None, 2)
    """

    def __init__(self, most: int = MOST_VISITORS) -> None:
        self._most = most
        self._by_model: dict[str, OrderedDict[str, tuple[bytes, int]]] = {}
        self._newest_ms: dict[str, int] = {}

    def put(self, model: str, visitor: str, record: bytes, as_of_ms: int) -> None:
        """Take what a model remembers of a visitor now: the bytes of a `VisitorProfile`, and when they were written."""
        known = self._by_model.get(model)
        if known is None:
            known = self._by_model[model] = OrderedDict()
        known[visitor] = (record, as_of_ms)
        known.move_to_end(visitor)
        if len(known) > self._most:
            known.popitem(last=False)
        if as_of_ms > self._newest_ms.get(model, -1):
            self._newest_ms[model] = as_of_ms

    def forget(self, model: str, visitor: str) -> None:
        """Take a tombstone: the visitor is new again."""
        known = self._by_model.get(model)
        if known is not None:
            known.pop(visitor, None)

    def get(self, model: str, visitor: str) -> Remembered | None:
        """Return what a model remembers of a visitor, None where nothing is known, or nothing that can be read."""
        known = self._by_model.get(model)
        found = None if known is None else known.get(visitor)
        if known is None or found is None:
            return None
        known.move_to_end(visitor)
        value, as_of_ms = found
        try:
            record = decode(VisitorProfile, value)
        except (SchemaUnknown, msgspec.DecodeError) as error:
            del known[visitor]  # told once; the visitor's next record is a whole profile again
            log.warning("profile_unreadable model=%s: %s", model, error)
            return None
        return Remembered(Profile(record.seen, record.times, record.last), as_of_ms)

    def visitors(self, model: str) -> int:
        """Return how many visitors of a model are known."""
        return len(self._by_model.get(model, ()))

    def as_of_ms(self, model: str) -> int | None:
        """Return Kafka's timestamp of the newest record put: how far the copy has come, None before the first.

        Where it falls behind the clock, either nobody came or Kafka is away: the edge cannot tell which.
        """
        return self._newest_ms.get(model)

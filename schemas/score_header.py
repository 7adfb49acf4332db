"""Score header: what an edge said of an event, on the event's record in `events`: the scorer takes it from there.

A record that an edge forwarded has one header for each model that scored it there: `freshet.score.` and the model's
name. Its value is a MessagePack array, in this order:

    0  format           1
    1  spec             first 8 bytes of the SHA-256 of the spec's canonical JSON: what the edge's model reads
    2  id               of the score: `model/event`
    3  version          that made it
    4  score            float 64
    5  learned_through  offset in `examples`, -1 for none
    6  learned_time_ms  event time of the example there, 0 for none
    7  scored_at_ms     the edge's clock when it answered
    8  as_of_ms         when the profile that was used was written; nil, nothing was known of the visitor
    9  numbers          array of float 64 in the spec's order; NaN is missing
    10 categories       array of strings in the spec's order; "" is missing

A later format appends and raises the first number; a reader takes no format that it does not know. Who may write to
`events` may write such a header as well: what can be checked is checked, see `ScoreHeader.read`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.errors import EventInvalid
from schemas.features import Category, Count, Feature, Hour, Number, SecondsSince, Weekday
from schemas.profile import MOST_REMEMBERED
from schemas.reader import Event, Reader, X
from schemas.records import LearnedThrough, score_id

SCORE_HEADER: Final = "freshet.score."
FORMAT: Final = 1
_NEWEST: Final = 2**63 - 1  # what a time and an offset may be in a record of `scores`


class EdgeScore(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A score that an edge made: the fields of the header's value, in their order."""

    format: int = FORMAT
    spec: bytes
    id: str
    version: int
    score: float
    learned_through: int
    learned_time_ms: int
    scored_at_ms: int
    as_of_ms: int | None
    numbers: tuple[float, ...]
    categories: tuple[str, ...]

    @property
    def learned(self) -> LearnedThrough:
        """How far that version had learned."""
        return LearnedThrough(offset=self.learned_through, event_time=self.learned_time_ms)

    @property
    def x(self) -> X:
        """What the model was given."""
        return self.numbers, self.categories


class ScoreHeader:
    """Writes and reads the header of one model.

    Args:
        reader: of the model's events.

    Attributes:
        name: the header's.

    >>> from schemas.features import Spec, count
    >>> spec = Spec(name="m", applies_to=("commerce.productViews",), features=(count("commerce.productViews",
    ...     within="1h"),), outcome="commerce.purchases", within_ms=60_000, lateness_ms=0, remembers_ms=86_400_000)
    >>> header = ScoreHeader(Reader(spec))
    >>> event = header.reader.read(b'''{"_id": "1", "timestamp": "2026-01-01T00:00:00Z", "commerce": {"productViews":
    ...     {"value": 1}}, "identityMap": {"ECID": [{"id": "v", "primary": true}]}}''', now_ms=1767225600000)
    >>> value = header.value("1", 7, 0.5, LearnedThrough(), 1767225600001, None, ((2.0,), ()))
    >>> header.name, len(value), header.read(value, event, ((0.0,), ())).x
    ('freshet.score.m', 49, ((2.0,), ()))
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.name = SCORE_HEADER + reader.spec.name
        self._model = reader.spec.name
        self._spec = hashlib.sha256(reader.spec.to_json().encode()).digest()[:8]
        numeric = [each for each in reader.spec.features if not isinstance(each, Category)]
        # What an event says by itself is known here too; of the visitor's past the edge may have known another moment.
        self._of_event = [place for place, each in enumerate(numeric) if isinstance(each, Number | Hour | Weekday)]
        self._of_past = [(place, _bounds(each)) for place, each in enumerate(numeric) if place not in self._of_event]

    def value(  # noqa: PLR0917
        self,
        event: str,
        version: int,
        score: float,
        learned_through: LearnedThrough,
        scored_at_ms: int,
        as_of_ms: int | None,
        x: X,
    ) -> bytes:
        """Return the header's value for a score of the event with this `_id`."""
        numbers, categories = x
        return _encode(
            EdgeScore(
                spec=self._spec,
                id=score_id(self._model, event),
                version=version,
                score=score,
                learned_through=learned_through.offset,
                learned_time_ms=learned_through.event_time,
                scored_at_ms=scored_at_ms,
                as_of_ms=as_of_ms,
                numbers=numbers,
                categories=categories,
            )
        )

    def find(self, headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
        """Return the value of this model's header, the first of several; None where there is none."""
        for name, value in headers:
            if name == self.name:
                return value or b""
        return None

    def read(self, value: bytes, event: Event, x: X) -> EdgeScore:
        """Return the score in a header, if everything about it is as a model of this spec could have said it.

        Args:
            value: the header's.
            event: of the same record.
            x: what the reader makes of the event here; the edge's may differ in what is of the visitor's past.

        Raises:
            EventInvalid: it is not usable; says which part.
        """
        try:
            said = _decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise EventInvalid(self.name, f"is not readable: {error}") from None
        if said.format != FORMAT:
            raise EventInvalid(self.name, f"has format {said.format}; this freshet reads {FORMAT}")
        if said.spec != self._spec:
            raise EventInvalid(self.name, "is of another definition of the model")
        if said.id != score_id(self._model, event.id):
            raise EventInvalid(self.name, "is of another event")
        if not math.isfinite(said.score):
            raise EventInvalid(self.name, "has no finite score")
        if not (
            0 <= said.version <= _NEWEST
            and -1 <= said.learned_through <= _NEWEST
            and 0 <= said.learned_time_ms <= _NEWEST
            and 0 <= said.scored_at_ms <= _NEWEST
        ):
            raise EventInvalid(self.name, "has a version or a time out of bounds")
        self._check_x(said, x)
        return said

    def _check_x(self, said: EdgeScore, x: X) -> None:
        numbers, categories = x
        if said.categories != categories or len(said.numbers) != len(numbers):
            raise EventInvalid(self.name, "has an x that is not of this event")
        for place in self._of_event:
            known, given = numbers[place], said.numbers[place]
            if known != given and not (known != known and given != given):  # noqa: PLR0124  # a NaN equals nothing
                raise EventInvalid(self.name, "has an x that is not of this event")
        for place, (most, may_be_missing) in self._of_past:
            given = said.numbers[place]
            if not (0.0 <= given <= most) and not (may_be_missing and given != given):  # noqa: PLR0124
                raise EventInvalid(self.name, f"has {given!r} for {self.reader.numbers[place]}")


def _bounds(feature: Feature) -> tuple[float, bool]:
    """Return the most that a feature of the past can be, and whether it can be missing; no less than 0 is any."""
    if isinstance(feature, Count):
        return float(MOST_REMEMBERED), False
    assert isinstance(feature, SecondsSince)
    return _LONGEST_S, True


# From the year 1 to 9999, which is as far as two events can be apart.
_LONGEST_S: Final = 10_000 * 366 * 86_400.0
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(EdgeScore).decode

"""Reader: from the bytes of an event to who, when, what and `x`, compiled once from a model's spec."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.catalog import is_single_object, read_single_object
from schemas.errors import EventInvalid, Poison, SchemaUnknown
from schemas.features import Count, SecondsSince, Spec
from schemas.generated import compiled, kinds_source, remember_source, x_source
from schemas.profile import Profile
from schemas.shape import Identity, event_type_of

FUTURE_MS: Final = 5 * 60_000
LONGEST_ID: Final = 512
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Event(NamedTuple):
    """One event, read: the struct with its fields, and what the pipeline needs to know of it."""

    fields: Any
    id: str
    visitor: str
    time_ms: int
    kinds: int


X = tuple[tuple[float, ...], tuple[str, ...]]


class Reader:
    """Reads events for one model.

    >>> from schemas.features import Spec, category, count
    >>> from schemas.generated import APPLIES
    >>> spec = Spec(name="m", applies_to=("commerce.productViews",), outcome="commerce.purchases", within_ms=60_000,
    ...             features=(count("commerce.productViews", within="1h"), category("eventType")),
    ...             lateness_ms=0, remembers_ms=86_400_000)
    >>> reader = Reader(spec)
    >>> event = reader.read(b'''{"_id": "1", "timestamp": "2026-01-01T00:00:00Z", "commerce": {"productViews":
    ...     {"value": 1}}, "identityMap": {"ECID": [{"id": "v", "primary": true}]}}''', now_ms=1767225600000)
    >>> event.visitor, event.time_ms, bool(event.kinds & APPLIES)
    ('v', 1767225600000, True)
    >>> profile = reader.remember(None, event.time_ms, event.kinds)
    >>> reader.x(event, profile)
    ((1.0,), ('commerce.productViews',))
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.numbers = spec.numbers
        self.categories = spec.categories
        self.counted = tuple(dict.fromkeys(f.kind for f in spec.features if isinstance(f, Count)))
        self.recent = tuple(dict.fromkeys(f.kind for f in spec.features if isinstance(f, SecondsSince)))
        self._shape = event_type_of(spec.features)
        self._decode = msgspec.json.Decoder(self._shape).decode
        self._kinds: Callable[[Any], int] = compiled(kinds_source(spec, self.counted, self.recent))
        self._x: Callable[[Any, int, Profile | None], X] = compiled(x_source(spec, self.counted, self.recent))
        self.remember: Callable[[Profile | None, int, int], Profile] = compiled(
            remember_source(spec, self.counted, self.recent)
        )

    def read(self, value: bytes | None, now_ms: int) -> Event:
        """Return the event in a record's value: XED JSON, bare or in an envelope, or Avro in single-object encoding.

        Args:
            value: the record's value.
            now_ms: the record's own Kafka timestamp; an event from further ahead than 5 minutes is refused.

        Raises:
            Poison: not readable; `EventInvalid` where a field is to blame.
        """
        if not value:
            raise Poison("decode", "the record is empty")
        try:
            avro = is_single_object(value)
            fields = msgspec.convert(_from_avro(value), self._shape) if avro else self._decode(value)
        except msgspec.ValidationError as error:
            raise _invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Poison("decode", f"not a JSON event: {error}") from None
        if fields.body is not None:
            fields = fields.body.xdmEntity
            if fields is None:
                raise EventInvalid("body.xdmEntity", "is missing from the envelope")

        event_id = fields._id
        if not event_id or len(event_id) > LONGEST_ID:
            raise EventInvalid("_id", "is missing" if not event_id else f"is longer than {LONGEST_ID} characters")
        timestamp = fields.timestamp
        if timestamp is None:
            raise EventInvalid("timestamp", "is missing")
        since = timestamp - _EPOCH
        time_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
        if time_ms > now_ms + FUTURE_MS:
            raise EventInvalid("timestamp", f"{timestamp.isoformat()} is more than 5 minutes ahead of its arrival")
        return Event(fields, event_id, visitor_of(fields), time_ms, self._kinds(fields))

    def x(self, event: Event, profile: Profile | None) -> X:
        """Return the model's input for an event, given what is remembered of its visitor.

        Returns:
            The numbers (NaN is missing) and the categories ("" is missing), in the spec's order.

        Raises:
            EventInvalid: a number is out of its bounds.
        """
        return self._x(event.fields, event.time_ms, profile)

    def named(self, x: X) -> tuple[dict[str, float], dict[str, str]]:
        """Return an `x` by feature name, what is missing left out."""
        numbers, categories = x
        return (
            {name: value for name, value in zip(self.numbers, numbers, strict=True) if value == value},  # noqa: PLR0124
            {name: value for name, value in zip(self.categories, categories, strict=True) if value},
        )

    def in_order(self, numbers: Mapping[str, float], categories: Mapping[str, str]) -> X:
        """Return the `x` that `named` took apart.

        Returns:
            The numbers (NaN is missing) and the categories ("" is missing), in the spec's order.
        """
        return (
            tuple([numbers.get(name, math.nan) for name in self.numbers]),
            tuple([categories.get(name, "") for name in self.categories]),
        )


def visitor_of(fields: Any) -> str:
    """Return the primary identity: of `identityMap`, else of `endUserIDs._experience`.

    Where none is marked primary the ECID is taken, then the AAID, then the first namespace in alphabetical order; of
    several in a namespace the first.

    Raises:
        EventInvalid: there is none.
    """
    for namespace in (fields.identityMap or {}).values():
        for identity in namespace or ():
            if identity is not None and identity.primary and identity.id:
                return _short(identity.id)
    older = fields.endUserIDs.experience if fields.endUserIDs is not None else None
    for identity in (older or {}).values():
        if identity is not None and identity.primary and identity.id:
            return _short(identity.id)
    return _short(_unmarked(fields.identityMap or {}, older or {}))


def _unmarked(identity_map: dict[str, list[Identity | None] | None], older: dict[str, Identity | None]) -> str:
    found: dict[str, str] = {}
    for key, namespace in identity_map.items():
        for each in namespace or ():
            if each is not None and each.id:
                found.setdefault(key, each.id)
    for key, each in older.items():
        if each is not None and each.id:
            found.setdefault({"mcid": "ECID", "aaid": "AAID"}.get(key, key), each.id)
    for key in ("ECID", "AAID", *sorted(found)):
        if key in found:
            return found[key]
    raise EventInvalid("identityMap", "names nobody, and endUserIDs._experience does not either")


def _short(identity: str) -> str:
    if len(identity) > LONGEST_ID:
        raise EventInvalid("identityMap", f"has an id longer than {LONGEST_ID} characters")
    return identity


def _from_avro(value: bytes) -> Any:
    try:
        record = read_single_object(value, "experience_event")
        record["timestamp"] = _EPOCH + dt.timedelta(milliseconds=record["timestamp"])
    except SchemaUnknown as error:
        raise Poison("decode", str(error)) from None
    except OverflowError:
        raise EventInvalid("timestamp", "is not within the years 1 to 9999") from None
    except msgspec.DecodeError as error:
        raise Poison("decode", f"not an Avro event: {error}") from None
    return record


def _invalid(error: msgspec.ValidationError) -> EventInvalid:
    problem, _, path = str(error).partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".").removeprefix("body.xdmEntity.")
    return EventInvalid(field or "the event", f"is wrong: {problem[0].lower()}{problem[1:]}")

"""Features: what a model sees of an event and of its visitor's past, written down as data.

A feature is a small frozen value that travels as JSON inside the artifact, so that trainer, worker and edge compute
the same `x`. `schemas.reader` compiles a list of them into one function.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from schemas.duration import milliseconds
from schemas.errors import ModelFileError
from schemas.xdm import event_type_name, field_type

# Beyond this a number is taken for a slip upstream, not for an observation: one 1e12 ruins a running scaler for good.
LARGEST: Final = 1e9
# Beyond this a text is taken for a slip upstream, not for a category: an example has to fit into a record.
LONGEST: Final = 2048


class Number(msgspec.Struct, frozen=True, tag="number", tag_field="feature"):
    """The number (or the boolean, as 0 or 1) at a path; an event whose value is out of bounds is poison."""

    path: str
    name: str
    least: float
    most: float


class Category(msgspec.Struct, frozen=True, tag="category", tag_field="feature"):
    """The string (or the boolean, as "true" or "false") at a path; "" is missing, over 2,048 characters poison."""

    path: str
    name: str


class Hour(msgspec.Struct, frozen=True, tag="hour", tag_field="feature"):
    """The hour of the event's day in UTC, 0 to 23."""

    name: str


class Weekday(msgspec.Struct, frozen=True, tag="weekday", tag_field="feature"):
    """The day of the event's week in UTC, 0 (Monday) to 6."""

    name: str


class Count(msgspec.Struct, frozen=True, tag="count", tag_field="feature"):
    """How many events of a type the visitor had in the window that ends at this event, itself left out."""

    kind: str
    within_ms: int
    name: str


class SecondsSince(msgspec.Struct, frozen=True, tag="seconds_since", tag_field="feature"):
    """Seconds since the visitor's last event of a type, this one left out; missing where there was none."""

    kind: str
    name: str


Feature = Number | Category | Hour | Weekday | Count | SecondsSince
NUMERIC: Final = (Number, Hour, Weekday, Count, SecondsSince)


def number(path: str, *, name: str = "", least: float = -LARGEST, most: float = LARGEST) -> Number:
    """Return a feature: the number at an XED path.

    Raises:
        ModelFileError: no such field, or it holds no number.

    >>> number("commerce.order.priceTotal").name
    'commerce.order.priceTotal'
    """
    if field_type(path, "number") == "string":
        raise ModelFileError(f"{path} holds a string; write category({path!r})")
    if not -LARGEST <= least < most <= LARGEST:
        raise ModelFileError(f"{path}: bounds must be rising and within ±{LARGEST:g}, not {least:g} to {most:g}")
    return Number(path, name or path, float(least), float(most))


def category(path: str, *, name: str = "") -> Category:
    """Return a feature: the string at an XED path.

    Raises:
        ModelFileError: no such field, or it holds a number.

    >>> category("placeContext.geo.countryCode").path
    'placeContext.geo.countryCode'
    """
    if field_type(path, "string") == "number":
        raise ModelFileError(f"{path} holds a number; write number({path!r})")
    return Category(path, name or path)


def hour(path: str = "timestamp", *, name: str = "") -> Hour:
    """Return a feature: the hour of the event's day in UTC.

    >>> hour("timestamp").name
    'hour(timestamp)'
    """
    return Hour(name or f"hour({_the_timestamp(path)})")


def weekday(path: str = "timestamp", *, name: str = "") -> Weekday:
    """Return a feature: the day of the event's week in UTC, Monday is 0.

    >>> weekday().name
    'weekday(timestamp)'
    """
    return Weekday(name or f"weekday({_the_timestamp(path)})")


def count(kind: str, *, within: str, name: str = "") -> Count:
    """Return a feature: how many events of type `kind` the visitor had within a duration before this one.

    >>> count("commerce.productListAdds", within="30m").name
    'count(commerce.productListAdds, 30m)'
    """
    return Count(event_type_name(kind), milliseconds(within), name or f"count({kind}, {within})")


def seconds_since(kind: str, *, name: str = "") -> SecondsSince:
    """Return a feature: the seconds since the visitor's last event of type `kind`.

    >>> seconds_since("commerce.productViews").name
    'seconds_since(commerce.productViews)'
    """
    return SecondsSince(event_type_name(kind), name or f"seconds_since({kind})")


def _the_timestamp(path: str) -> str:
    if path != "timestamp":
        raise ModelFileError(f"only the event's own timestamp has an hour and a weekday, not {path}")
    return path


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a model reads and predicts, as data: the part of a model file that travels in the artifact.

    Args:
        name: the model's name.
        applies_to: event types that get a score.
        features: in the order of the model's inputs.
        outcome: the event type whose arrival makes a label positive.
        within_ms: the attribution window.
        lateness_ms: how much disorder is waited for before a label closes negative.
        remembers_ms: a visitor not seen for so long is new again.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    applies_to: tuple[str, ...]
    features: tuple[Feature, ...]
    outcome: str
    within_ms: int
    lateness_ms: int
    remembers_ms: int

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numeric inputs, in order."""
        return tuple(f.name for f in self.features if isinstance(f, NUMERIC))

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the string inputs, in order."""
        return tuple(f.name for f in self.features if isinstance(f, Category))

    def to_json(self) -> str:
        """Return the canonical JSON of this spec.

        >>> spec = Spec(name="m", applies_to=("commerce.productViews",), features=(hour(),),
        ...             outcome="commerce.purchases", within_ms=1, lateness_ms=0, remembers_ms=1)
        >>> Spec.from_json(spec.to_json()) == spec
        True
        """
        return msgspec.json.encode(self, order="deterministic").decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """Return the spec that `to_json` wrote."""
        return msgspec.json.decode(text, type=cls)

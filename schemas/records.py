"""The records freshet writes: one struct each, beside its Avro schema, and the bytes between them.

`scores` and `examples`, the two that people look at and that the hot path writes, travel as JSON, so that Kafka's own
console tools show them; their schemas have no unions, so that this JSON is also their Avro JSON encoding. Everything
else travels in Avro's single-object encoding (`schemas.catalog`). Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from schemas.catalog import is_single_object, read_single_object, write_single_object


class _Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A record: attributes in Python's spelling, fields on the wire in XDM's."""


class LearnedThrough(_Record, frozen=True):
    """How far a version had learned: the newest example's offset in `examples` and event time."""

    offset: int = -1
    event_time: int = 0


class Score(_Record, frozen=True):
    """What a model said of an event; one record per (event, model)."""

    id: str
    event: str
    visitor: str
    model: str
    version: int
    score: float
    learned_through: LearnedThrough
    event_time: int
    scored_at: int
    valid_until: int


class Source(_Record, frozen=True):
    """Where an example came from: an events partition, and its place among the examples of that partition."""

    partition: int
    seq: int


class Example(_Record, frozen=True):
    """What a learner learns from: `x` as it was scored, `y` as it turned out."""

    id: str
    model: str
    event: str
    visitor: str
    numbers: dict[str, float]
    categories: dict[str, str]
    y: bool
    score: float
    version: int
    event_time: int
    closed_at: int
    source: Source

    @property
    def x(self) -> dict[str, float | str]:
        """The features as River takes them: missing ones left out."""
        return {**self.numbers, **self.categories}


class ParityOf(_Record, frozen=True):
    """How far River and ONNX were apart on the rows that both were given."""

    rows: int
    max_abs_diff: float


class Release(_Record, frozen=True):
    """An artifact with a version: ONNX bytes and their manifest."""

    model: str
    version: int
    created_at: int
    sha256: str
    onnx: bytes
    spec: str
    learned_through: LearnedThrough
    examples: int
    positives: int
    refused: int
    metrics: dict[str, float]
    parity: ParityOf


class Alias(_Record, frozen=True):
    """Which version a name stands for."""

    model: str
    alias: str
    version: int
    changed_at: int


class Quarantine(_Record, frozen=True):
    """Examples that a learner had learned and forgot, because it must not go on as it was."""

    id: str
    model: str
    start: int
    stop: int
    examples: int
    reason: str
    afresh: bool


class VisitorProfile(_Record, frozen=True):
    """What a model remembers of a visitor, for edges to follow."""

    model: str
    visitor: str
    seen: int
    times: list[list[int]]
    last: list[list[int]]


class DeadLetter(_Record, frozen=True):
    """A record that could not be processed, as `freshet consume dead-letters` shows it."""

    key: bytes | None
    value: bytes | None
    topic: str
    partition: int
    offset: int
    stage: str
    error: str
    message: str
    timestamp: int = -1
    attempt: int = 1
    replay_of: str = ""


R = TypeVar("R", bound=_Record)

_NAMES: Final[Mapping[type[_Record], str]] = {
    Score: "score",
    Example: "example",
    Release: "release",
    Alias: "alias",
    Quarantine: "quarantine",
    VisitorProfile: "visitor_profile",
    DeadLetter: "dead_letter",
}
ON_TOPIC: Final[Mapping[str, type[_Record]]] = {
    "scores": Score,
    "examples": Example,
    "releases": Release,
    "aliases": Alias,
    "quarantine": Quarantine,
    "profiles": VisitorProfile,
}
_json: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode


def as_fields(record: _Record) -> dict[str, Any]:
    """Return a record as its Avro fields: plain values, bytes left as they are.

    >>> as_fields(Alias(model="m", alias="live", version=3, changed_at=5))
    {'model': 'm', 'alias': 'live', 'version': 3, 'changedAt': 5}
    """
    fields: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    return fields


def encode(record: _Record) -> bytes:
    """Return the bytes of a record as they travel.

    >>> alias = Alias(model="m", alias="live", version=3, changed_at=5)
    >>> decode(Alias, encode(alias)) == alias
    True
    """
    if isinstance(record, Score | Example):
        return _json(record)
    return write_single_object(_NAMES[type(record)], as_fields(record))


def decode(kind: type[R], value: bytes) -> R:
    """Return the record in a value.

    Raises:
        SchemaUnknown: written with a schema that the catalog does not hold.
        msgspec.DecodeError: not a record of this kind.
    """
    if is_single_object(value):
        return msgspec.convert(read_single_object(value, _NAMES[kind]), kind)
    try:
        return msgspec.json.decode(value, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def score_id(model: str, event: str) -> str:
    """Return the id that a score and its example share: a repeat has the same one.

    >>> score_id("clicks", "e-1")
    'clicks/e-1'
    """
    return f"{model}/{event}"

"""Oracle: what the log of one events partition comes to, said as plainly as it can be said.

Written from the definitions (docs/model.md, docs/architecture.md "Time"), and slow where slow is plainer. It shares no
rule with the code under test: events are read with Python's `json`, times are compared in sorted lists, and of XDM only
the tables of paths are taken from `schemas`.

    newest     the newest time among the events and ticks read so far
    watermark  newest - lateness
    dead       not readable, ahead of its record by more than 5 minutes, or with an x that no model may see; it moves
               nothing and leaves no trace
    duplicate  an event whose `_id` is known: it moves nothing either
    late       before the watermark when it is read: scored, remembered, but no label will be known for it
    y          true if an outcome of the visitor is read whose time is in (t, t + within] before the label closes;
               false when the watermark has passed t + within
    x          of the event itself, and of what was read of its visitor before it and was not later than it; of an event
               that an edge has scored the edge's, where it can be (`taken_from_edge`)

What is kept is kept in the order of arrival and leaves at the front only (`_leave`). So nothing is forgotten, and no
label closes, before its time; behind something newer it may stay a little longer, and only late records can tell.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
import sys
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from schemas.catalog import is_single_object, read_single_object
from schemas.errors import SchemaUnknown
from schemas.features import Category, Count, Hour, Number, SecondsSince, Spec, Weekday
from schemas.xdm import MEASURES, field_type

X = tuple[tuple[float, ...], tuple[str, ...]]
T = TypeVar("T")

AHEAD_MS: Final = 300_000
MOST_TIMES: Final = 1000
LONGEST_NAME: Final = 512
LONGEST_CATEGORY: Final = 2048
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Unreadable(Exception):
    """A dead letter."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record of the log: what Kafka holds of it that matters."""

    value: bytes | None
    at_ms: int
    is_tick: bool = False
    said: bytes | None = None  # what an edge said of it to this model


@dataclass(frozen=True, slots=True)
class Label:
    """A label that became known."""

    event: str
    x: X
    y: bool


@dataclass(frozen=True, slots=True)
class Read:
    """What one record came to.

    Attributes:
        what: dead, tick, duplicate, scored, late (which is scored too) or other.
        event: the event's `_id`, "" of a tick or a dead record.
        x: what the model is given, None where nothing is scored.
        by_edge: score and version, where an edge's are taken.
        closed: the labels that this record made known.
    """

    what: str
    event: str = ""
    x: X | None = None
    closed: tuple[Label, ...] = ()
    by_edge: tuple[float, int] | None = None


@dataclass(slots=True, eq=False)
class _Open:
    event: str
    visitor: str
    time_ms: int
    x: X
    is_open: bool = True

    def close(self, y: bool) -> Label:
        self.is_open = False
        return Label(self.event, self.x, y)


@dataclass(slots=True)
class _Past:
    """What is remembered of a visitor: the newest event time, and the times of each type that a feature asks for."""

    seen_ms: int
    counted: dict[str, list[int]] = field(default_factory=dict)
    recent: dict[str, list[int]] = field(default_factory=dict)


class Oracle:
    """One partition, record by record.

    >>> from schemas.features import count
    >>> spec = Spec(name="m", applies_to=("commerce.productViews",), features=(count("commerce.productViews",
    ...     within="1h"),), outcome="commerce.purchases", within_ms=60_000, lateness_ms=0, remembers_ms=86_400_000)
    >>> view = b'''{"_id": "1", "timestamp": "1970-01-01T00:00:01Z", "eventType": "commerce.productViews",
    ...     "identityMap": {"ECID": [{"id": "v"}]}}'''
    >>> oracle = Oracle(spec)
    >>> oracle.read(Row(view, 1_000))
    Read(what='scored', event='1', x=((0.0,), ()), closed=(), by_edge=None)
    >>> oracle.read(Row(view, 1_000)).what
    'duplicate'
    >>> oracle.read(Row(b'{"tick": 61001}', 61_001, is_tick=True)).closed
    (Label(event='1', x=((0.0,), ()), y=False),)
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.newest_ms = 0
        self._known: dict[str, int] = {}
        self._waiting: deque[_Open] = deque()
        self._waiting_of: dict[str, list[_Open]] = {}  # the same, so that an outcome need not look at all
        self._outcomes_of: dict[str, list[int]] = {}
        self._past: dict[str, _Past] = {}
        self._longest_ms = {
            each.kind: max(f.within_ms for f in spec.features if isinstance(f, Count) and f.kind == each.kind)
            for each in spec.features
            if isinstance(each, Count)
        }
        self._recent = {each.kind for each in spec.features if isinstance(each, SecondsSince)}

    @property
    def watermark_ms(self) -> int:
        """The time before which nothing is waited for."""
        return self.newest_ms - self.spec.lateness_ms

    @property
    def still_open(self) -> set[str]:
        """The scored events whose label is not known yet."""
        return {each.event for each in self._waiting if each.is_open}

    def read(self, row: Row) -> Read:
        """Read the next record."""
        try:
            return self._tick(row) if row.is_tick else self._event(row)
        except Unreadable:
            return Read("dead")

    def _tick(self, row: Row) -> Read:
        fields = _json(row.value)
        time_ms = fields.get("tick") if isinstance(fields, dict) else None
        if type(time_ms) is not int or time_ms > row.at_ms + AHEAD_MS:
            raise Unreadable
        return Read("tick", closed=tuple(self._time_passes(time_ms)))

    def _event(self, row: Row) -> Read:
        said = said_by(row.value, self.spec)
        event, visitor, time_ms, kinds = said.event, said.visitor, said.time_ms, said.kinds
        if time_ms > row.at_ms + AHEAD_MS:
            raise Unreadable
        applies = kinds & set(self.spec.applies_to)
        x = x_of(said.fields, self.spec, time_ms, self._past.get(visitor)) if applies else None
        if event in self._known:
            return Read("duplicate", event)
        self._known[event] = time_ms
        by_edge = None
        if x is not None and row.said is not None:
            x, by_edge = taken_from_edge(row.said, self.spec, event, x) or (x, None)

        late = time_ms < self.watermark_ms
        closed = self._outcome(visitor, time_ms) if self.spec.outcome in kinds else []
        if x is not None and not late:
            pending = _Open(event, visitor, time_ms, x)
            if any(self._decides(outcome_ms, pending) for outcome_ms in self._outcomes_of.get(visitor, ())):
                closed.append(pending.close(y=True))
            else:
                self._waiting.append(pending)
                self._waiting_of.setdefault(visitor, []).append(pending)
        self._remember(visitor, time_ms, kinds)
        closed += self._time_passes(time_ms)
        what = "other" if x is None else "late" if late else "scored"
        return Read(what, event, x, tuple(closed), by_edge)

    def _decides(self, outcome_ms: int, pending: _Open) -> bool:
        return pending.time_ms < outcome_ms <= pending.time_ms + self.spec.within_ms

    def _outcome(self, visitor: str, time_ms: int) -> list[Label]:
        # No event that could still come and have a label is before an outcome that the watermark has reached.
        known = [each for each in self._outcomes_of.get(visitor, ()) if each > self.watermark_ms]
        self._outcomes_of[visitor] = [*known, time_ms]
        decided = [each for each in self._waiting_of.get(visitor, ()) if self._decides(time_ms, each)]
        labels = [each.close(y=True) for each in decided]
        self._no_longer_wait(visitor)
        return labels

    def _no_longer_wait(self, visitor: str) -> None:
        self._waiting_of[visitor] = [each for each in self._waiting_of.pop(visitor, ()) if each.is_open]
        if not self._waiting_of[visitor]:
            del self._waiting_of[visitor]

    def _time_passes(self, time_ms: int) -> list[Label]:
        if time_ms <= self.newest_ms:
            return []
        self.newest_ms = time_ms
        watermark_ms, within_ms = self.watermark_ms, self.spec.within_ms
        over = _leave(self._waiting, lambda each: not each.is_open or each.time_ms + within_ms < watermark_ms)
        labels = [each.close(y=False) for each in over if each.is_open]
        for each in over:
            self._no_longer_wait(each.visitor)
        _leave_dict(self._known, lambda known_ms: known_ms + within_ms < watermark_ms)
        _leave_dict(self._past, lambda past: past.seen_ms + self.spec.remembers_ms < watermark_ms)
        return labels

    def _remember(self, visitor: str, time_ms: int, kinds: frozenset[str]) -> None:
        past = self._past.pop(visitor, None)  # and in again at the end: the order is that of arrival
        if past is None or time_ms - past.seen_ms > self.spec.remembers_ms:
            past = _Past(time_ms)
        past.seen_ms = max(past.seen_ms, time_ms)
        self._past[visitor] = past
        for kind in kinds & set(self._longest_ms):
            times = past.counted.setdefault(kind, [])
            insort(times, time_ms)
            oldest_ms = time_ms - self._longest_ms[kind] - self.spec.lateness_ms
            times[:] = [each for each in times if each > oldest_ms][-MOST_TIMES:]
        for kind in kinds & self._recent:
            times = past.recent.setdefault(kind, [])
            insort(times, time_ms)
            # The last one before all that may still come in time, and what came after it.
            settled = [each for each in times if each <= past.seen_ms - self.spec.lateness_ms]
            times[:] = times[max(0, len(settled) - 1) :][-MOST_TIMES:]


def x_of(fields: dict[str, Any], spec: Spec, time_ms: int, past: _Past | None) -> X:
    """Return the model's input for an event, given what is remembered of its visitor."""
    if past is None or time_ms - past.seen_ms > spec.remembers_ms:
        past = _Past(time_ms)
    numbers: list[float] = []
    categories: list[str] = []
    for feature in spec.features:
        match feature:
            case Category():
                categories.append(_category(fields, feature))
            case Number():
                numbers.append(_number(fields, feature))
            case Hour():
                numbers.append(float((_EPOCH + dt.timedelta(milliseconds=time_ms)).hour))
            case Weekday():
                numbers.append(float((_EPOCH + dt.timedelta(milliseconds=time_ms)).weekday()))
            case Count():
                times = past.counted.get(feature.kind, [])
                numbers.append(float(sum(time_ms - feature.within_ms < each <= time_ms for each in times)))
            case SecondsSince():
                before = [each for each in past.recent.get(feature.kind, []) if each <= time_ms]
                numbers.append((time_ms - before[-1]) / 1000 if before else math.nan)
    return tuple(numbers), tuple(categories)


def taken_from_edge(said: bytes, spec: Spec, event: str, x: X) -> tuple[X, tuple[float, int]] | None:
    """Return x, score and version that an edge says, if a model of this spec can have said so; else None.

    Args:
        said: the header's value, as `schemas/score_header.py` describes it.
        x: what is known here; of it, the edge may know another count and another recency.
    """
    try:
        form, digest, name, version, score, offset, learned_ms, at_ms, as_of_ms, numbers, categories = (
            msgspec.msgpack.decode(said)
        )
    except (ValueError, TypeError):
        return None
    whole = (form, version, offset, learned_ms, at_ms, *([] if as_of_ms is None else [as_of_ms]))
    if (
        not all(type(each) is int for each in whole)
        or form != 1
        or min(version, learned_ms, at_ms) < 0
        or offset < -1
        or max(whole) >= 2**63
        or digest != hashlib.sha256(spec.to_json().encode()).digest()[:8]
        or name != f"{spec.name}/{event}"
        or not math.isfinite(score)
        or tuple(categories) != x[1]
        or len(numbers) != len(x[0])
    ):
        return None
    numeric = [each for each in spec.features if not isinstance(each, Category)]
    for feature, given, known in zip(numeric, numbers, x[0], strict=True):
        match feature:
            case Count():
                good = 0 <= given <= MOST_TIMES
            case SecondsSince():
                good = math.isnan(given) or 0 <= given < math.inf
            case _:
                good = given == known or (math.isnan(given) and math.isnan(known))
        if not good:
            return None
    return (tuple(numbers), tuple(categories)), (score, version)


def answers(spec: Spec, rows: Iterable[Row]) -> list[Read]:
    """Return what each record of a log comes to."""
    oracle = Oracle(spec)
    return [oracle.read(row) for row in rows]


def labels_in_truth(spec: Spec, rows: Iterable[Row]) -> set[tuple[str, bool]]:
    """Return the label of every scored event as the rule has it, everything known at once and no time passing.

    It holds for whatever order of arrival in which nothing is late.
    """
    events: dict[str, Said] = {}
    applies = set(spec.applies_to)
    for row in rows:
        if not row.is_tick:
            try:
                said = said_by(row.value, spec)
                if said.kinds & applies:
                    x_of(said.fields, spec, said.time_ms, None)  # raises where x makes it a dead letter
            except Unreadable:
                continue
            if said.time_ms <= row.at_ms + AHEAD_MS:
                events.setdefault(said.event, said)
    outcomes = [each for each in events.values() if spec.outcome in each.kinds]

    def decides(outcome: Said, event: Said) -> bool:
        return outcome.visitor == event.visitor and 0 < outcome.time_ms - event.time_ms <= spec.within_ms

    return {(e.event, any(decides(each, e) for each in outcomes)) for e in events.values() if e.kinds & applies}


def _leave(waiting: deque[T], is_over: Callable[[T], bool]) -> list[T]:
    left: list[T] = []
    while waiting and is_over(waiting[0]):
        left.append(waiting.popleft())
    return left


def _leave_dict(kept: dict[str, T], is_over: Callable[[T], bool]) -> None:
    while kept and is_over(kept[first := next(iter(kept))]):
        del kept[first]


# --- what an event says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says, checked where the pipeline or the model reads it."""

    event: str
    visitor: str
    time_ms: int
    kinds: frozenset[str]
    fields: dict[str, Any]


def said_by(value: bytes | None, spec: Spec) -> Said:
    """Return what an event says.

    Raises:
        Unreadable: it is a dead letter, whenever it came.
    """
    fields = _avro(value) if value and is_single_object(value) else _json(value)
    measured = _checked(fields, spec)
    if (body := fields.get("body")) is not None:
        fields = _of(body, dict).get("xdmEntity")
        measured = _checked(fields, spec)
    event = fields.get("_id") or ""
    if not 0 < len(event) <= LONGEST_NAME:
        raise Unreadable
    kind = fields.get("eventType") or next(iter(measured), None)
    kinds = frozenset([*measured, kind]) if kind else frozenset[str]()
    return Said(event, _visitor(fields), _time_ms(fields), kinds, {**fields, "eventType": kind})


def _json(value: bytes | None) -> Any:
    def refuse(_: str) -> None:
        raise Unreadable

    try:
        return json.loads((value or b"").decode(errors="surrogateescape"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Unreadable from None


def _avro(value: bytes) -> Any:
    try:
        fields = read_single_object(value, "experience_event")
        when = _EPOCH + dt.timedelta(milliseconds=fields["timestamp"])
    except (SchemaUnknown, ValueError, OverflowError):
        raise Unreadable from None
    return {**fields, "timestamp": when.isoformat()}


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise Unreadable
    return value


def _or_empty(value: Any, kind: type) -> Any:
    return kind() if value is None else _of(value, kind)


def _checked(fields: Any, spec: Spec) -> list[str]:
    """Check the types of what somebody reads: missing and null are fine, anything else but the type is not.

    Returns:
        The event types whose measure is above 0.
    """
    _of(fields, dict)
    for feature in spec.features:
        if isinstance(feature, Number | Category):
            _leaf(fields, feature.path, _type_of(feature))
    for path in ("_id", "timestamp", "eventType"):
        _leaf(fields, path, "string")
    _identities(fields)
    return [kind for kind, path in MEASURES.items() if (_leaf(fields, path, "number") or 0) > 0]


def _type_of(feature: Number | Category) -> str:
    return field_type(feature.path, "number" if isinstance(feature, Number) else "string")


def _leaf(fields: dict[str, Any], path: str, kind: str = "") -> Any:
    """Return what is at a path, None where there is nothing."""
    value: Any = fields
    for key in path.split("."):
        value = _of(value, dict).get(key)
        if value is None:
            return None
    if kind == "string":
        if not _of(value, str).isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Unreadable
    elif kind == "boolean":
        _of(value, bool)
    elif kind == "number" and (
        isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max
    ):
        raise Unreadable
    return value


def _time_ms(fields: dict[str, Any]) -> int:
    text = fields.get("timestamp")
    if text is None or not _RFC_3339.fullmatch(text):
        raise Unreadable
    try:
        since = dt.datetime.fromisoformat(text.upper()) - _EPOCH
    except (ValueError, OverflowError):
        raise Unreadable from None
    return since // dt.timedelta(milliseconds=1)


def _identities(fields: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return namespaces and identities, of `identityMap` first, then of `endUserIDs._experience`."""
    found: list[tuple[str, Any]] = []
    for namespace, several in _or_empty(fields.get("identityMap"), dict).items():
        found += [(namespace, each) for each in _or_empty(several, list)]
    older = _or_empty(_or_empty(fields.get("endUserIDs"), dict).get("_experience"), dict)
    found += [({"mcid": "ECID", "aaid": "AAID"}.get(name, name), each) for name, each in older.items()]
    for _, each in found:
        if each is not None:
            _leaf(_of(each, dict), "id", "string")
            _leaf(each, "primary", "boolean")
    return [(namespace, each) for namespace, each in found if each and each.get("id")]


def _visitor(fields: dict[str, Any]) -> str:
    """Return the primary identity; where none is marked the ECID, the AAID, or the first namespace by name."""
    found = _identities(fields)
    namespaces = ["ECID", "AAID", *sorted({namespace for namespace, _ in found})]
    primary = [each["id"] for _, each in found if each.get("primary")]
    named = [each["id"] for wanted in namespaces for namespace, each in found if namespace == wanted]
    visitor = next(iter([*primary, *named]), "")
    if not 0 < len(visitor) <= LONGEST_NAME:
        raise Unreadable
    return str(visitor)


def _number(fields: dict[str, Any], feature: Number) -> float:
    value = _leaf(fields, feature.path)
    if value is None:
        return math.nan
    if not feature.least <= value <= feature.most:
        raise Unreadable
    return float(value)


def _category(fields: dict[str, Any], feature: Category) -> str:
    value = _leaf(fields, feature.path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is not None and (len(value) > LONGEST_CATEGORY or "\0" in value):
        raise Unreadable
    return value or ""


def rows_of(records: Sequence[Any], tick_header: str, score_header: str = "") -> list[Row]:
    """Return Kafka records as rows; of several headers of a name the first counts."""
    return [
        Row(
            each.value,
            each.timestamp,
            is_tick=any(name == tick_header for name, _ in each.headers),
            said=next((value or b"" for name, value in each.headers if name == score_header), None),
        )
        for each in records
    ]

"""Reader: from the bytes of an event to who, when, what and `x`, compiled once from a model's spec.

The functions are generated as Python source, one line per field, because they run for every event: reading ten fields
through attribute chains takes about a quarter of the time of walking ten paths through dictionaries.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.catalog import is_single_object, read_single_object
from schemas.errors import EventInvalid, Poison, SchemaUnknown
from schemas.features import LONGEST, Category, Count, Hour, Number, SecondsSince, Spec, Weekday
from schemas.profile import MOST_REMEMBERED, Profile
from schemas.shape import Identity, attribute, event_type_of, leaf_type
from schemas.xdm import MEASURES

FUTURE_MS: Final = 5 * 60_000
LONGEST_ID: Final = 512
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# Bits of `Event.kinds`; the tracked event types of the profile follow from bit 2 on.
APPLIES: Final = 1
OUTCOME: Final = 2


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
        self._kinds: Callable[[Any], int] = _compile(_kinds_source(spec, self.counted, self.recent))
        self._x: Callable[[Any, int, Profile | None], X] = _compile(_x_source(spec, self.counted, self.recent))
        self.remember: Callable[[Profile | None, int, int], Profile] = _compile(
            _remember_source(spec, self.counted, self.recent)
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
            raise EventInvalid("timestamp", f"{timestamp.isoformat()} is more than 5 minutes ahead of its record")
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


# --- generated source -------------------------------------------------------------------------------------------------


def _compile(source: str) -> Any:
    names: dict[str, Any] = {
        "nan": math.nan,
        "bisect_right": bisect_right,
        "insort": insort,
        "Profile": Profile,
        "EventInvalid": EventInvalid,
    }
    exec(compile(source, "<reader>", "exec"), names)  # noqa: S102  # our own text, from a checked spec
    return names["generated"]


def _read_leaves(leaves: Mapping[str, list[str]], indent: str = "    ") -> list[str]:
    """Return lines that bind `v` to the value at each path, where there is one, and run the path's lines."""
    lines: list[str] = []
    tree: dict[str, Any] = {}
    for path, body in leaves.items():
        *groups, leaf = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = body

    def walk(node: dict[str, Any], holder: str, pad: str) -> None:
        for key, child in node.items():
            if isinstance(child, dict):
                name = f"{holder}_{len(pad)}"
                lines.append(f"{pad}{name} = {holder}.{attribute(key)}")
                lines.append(f"{pad}if {name} is not None:")
                walk(child, name, pad + "    ")
            else:
                lines.append(f"{pad}v = {holder}.{attribute(key)}")
                lines.append(f"{pad}if v is not None:")
                lines.extend(f"{pad}    {line}" for line in child)

    walk(tree, "e", indent)
    return lines


def _kinds_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    bits: dict[str, int] = {}
    for kind in spec.applies_to:
        bits[kind] = bits.get(kind, 0) | APPLIES
    bits[spec.outcome] = bits.get(spec.outcome, 0) | OUTCOME
    for place, kind in enumerate((*counted, *recent)):
        bits[kind] = bits.get(kind, 0) | 4 << place
    body = {
        path: [f"if v > 0.0: kinds |= {bits.get(kind, 0)}; first = first or {kind!r}"]
        for kind, path in MEASURES.items()
    }
    return "\n".join(
        [
            f"BITS = {bits!r}",
            "def generated(e):",
            "    kinds = 0; first = None",
            *_read_leaves(body),
            "    stated = e.eventType",
            "    if stated: return kinds | BITS.get(stated, 0)",
            "    e.eventType = first",
            "    return kinds",
        ]
    )


def _x_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    leaves: dict[str, list[str]] = {}
    past: list[str] = []
    numbers: list[str] = []
    categories: list[str] = []
    default: list[str] = []
    known: set[str] = set()
    for feature in spec.features:
        if isinstance(feature, Category):
            slot = f"c{len(categories)}"
            categories.append(slot)
            default.append(f"{slot} = ''")
            boolean = leaf_type(feature) == "boolean"
            leaves.setdefault(feature.path, []).extend(
                [f"{slot} = 'true' if v else 'false'"]
                if boolean
                else [
                    f"if len(v) > {LONGEST}:",
                    f"    raise EventInvalid({feature.path!r}, 'is longer than {LONGEST} characters')",
                    "if '\\0' in v:",  # onnxruntime ends a string there, River does not
                    f"    raise EventInvalid({feature.path!r}, 'holds a NUL character')",
                    f"{slot} = v",
                ]
            )
            continue
        slot = f"n{len(numbers)}"
        numbers.append(slot)
        if isinstance(feature, Number):
            default.append(f"{slot} = nan")
            value = "(1.0 if v else 0.0)" if leaf_type(feature) == "boolean" else "v"
            leaves.setdefault(feature.path, []).extend(
                [
                    f"if not {feature.least!r} <= v <= {feature.most!r}:",
                    f"    raise EventInvalid({feature.path!r},"
                    f" f'is out of bounds: {{v!r}} is not within {feature.least:g} to {feature.most:g}')",
                    f"{slot} = {value}",
                ]
            )
        elif isinstance(feature, Hour):
            default.append(f"{slot} = float(t // 3600000 % 24)")
        elif isinstance(feature, Weekday):
            default.append(f"{slot} = float((t // 86400000 + 3) % 7)")  # 1970-01-01 was a Thursday
        elif isinstance(feature, Count):
            default.append(f"{slot} = 0.0")
            times = f"times{counted.index(feature.kind)}"
            if times not in known:
                known.add(times)
                past.append(f"{times} = p.times[{counted.index(feature.kind)}]")
                # Nothing from beyond the event's own time, though it was read before: the past of the event only.
                past.append(
                    f"until_{times} = bisect_right({times}, t) if {times} and {times}[-1] > t else len({times})"
                )
            past.append(f"{slot} = float(until_{times} - bisect_right({times}, t - {feature.within_ms}))")
        else:
            default.append(f"{slot} = nan")
            # As above: an outcome that was read before the event must not show, nor hide what was before it.
            past.append(f"v = p.last[{recent.index(feature.kind)}]")
            past.append(f"if v and v[0] <= t: {slot} = (t - v[bisect_right(v, t) - 1]) / 1000.0")
    return "\n".join(
        [
            "def generated(e, t, p):",
            *(f"    {line}" for line in default or ["pass"]),
            *_read_leaves(leaves),
            f"    if p is not None and t - p.seen_ms <= {spec.remembers_ms}:",
            *(f"        {line}" for line in past or ["pass"]),
            f"    return ({''.join(f'{n}, ' for n in numbers)}), ({''.join(f'{c}, ' for c in categories)})",
        ]
    )


def _remember_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    """Source of `remember(profile, t, kinds)`: the profile after an event, changed in place."""
    keep = [
        max(f.within_ms for f in spec.features if isinstance(f, Count) and f.kind == kind) + spec.lateness_ms
        for kind in counted
    ]
    lines = [
        "def generated(p, t, kinds):",
        f"    if p is None or t - p.seen_ms > {spec.remembers_ms}:",
        f"        p = Profile(t, [{', '.join('[]' for _ in counted)}], [{', '.join('[]' for _ in recent)}])",
        "    elif t > p.seen_ms: p.seen_ms = t",
        f"    if kinds < {OUTCOME * 2}: return p",
    ]
    for place, _ in enumerate(counted):
        lines += [
            f"    if kinds & {4 << place}:",
            f"        times = p.times[{place}]",
            "        if times and times[-1] > t: insort(times, t)",
            "        else: times.append(t)",
            f"        if times[0] <= t - {keep[place]}: del times[:bisect_right(times, t - {keep[place]})]",
            f"        if len(times) > {MOST_REMEMBERED}: del times[0]",
        ]
    for place, _ in enumerate(recent):
        lines += [
            f"    if kinds & {4 << (len(counted) + place)}:",
            f"        last = p.last[{place}]",
            "        insort(last, t)",
            # One at or before the oldest event that is not late yet, and all since: each may be some event's last.
            f"        settled = bisect_right(last, p.seen_ms - {spec.lateness_ms}) - 1",
            "        if settled > 0: del last[:settled]",
            f"        if len(last) > {MOST_REMEMBERED}: del last[0]",
        ]
    lines.append("    return p")
    return "\n".join(lines)

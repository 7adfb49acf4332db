"""Generated: the functions of a reader, written as Python source from a spec, one line per field.

They run for every event; a generic walk over the paths of a dictionary costs several times as much.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import EventInvalid
from schemas.features import LONGEST, Category, Count, Hour, Number, Spec, Weekday
from schemas.profile import MOST_REMEMBERED, Profile
from schemas.shape import attribute, leaf_type
from schemas.xdm import MEASURES

# Bits of an event's kinds; the event types that its profile tracks follow from bit 2 on.
APPLIES: Final = 1
OUTCOME: Final = 2


def compiled(source: str) -> Any:
    """Return the function that a source of this module defines."""
    names: dict[str, Any] = {
        "nan": math.nan,
        "bisect_right": bisect_right,
        "insort": insort,
        "Profile": Profile,
        "EventInvalid": EventInvalid,
    }
    exec(compile(source, "<generated>", "exec"), names)  # noqa: S102  # our own text, from a checked spec
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


def kinds_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    """Return the source of `kinds(fields)`: the event's bits; derives a missing `eventType` on the way."""
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


def x_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    """Return the source of `x(fields, time_ms, profile)`: the numbers and the categories, in the spec's order."""
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


def remember_source(spec: Spec, counted: tuple[str, ...], recent: tuple[str, ...]) -> str:
    """Return the source of `remember(profile, time_ms, kinds)`: the profile after an event, changed in place."""
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

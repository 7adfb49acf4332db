"""Events for tests: XED JSON as a producer would send it, and the folder with other people's events."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.features import Feature, Spec
from schemas.xdm import FIELDS, FieldType

SHARED = Path(__file__).parents[3] / "shared"
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
VIEW = "commerce.productViews"
ADD = "commerce.productListAdds"
PURCHASE = "commerce.purchases"


def shared(path: str, shows: str) -> Path:
    """Return a file or folder beside the checkout; skip where it is absent, and say what it would have shown."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"../shared/{path} not found ({shows})")
    return found


def spec_of(*features: Feature, **changes: Any) -> Spec:
    """Return a spec that scores product views and waits a minute for a purchase."""
    spec: dict[str, Any] = {
        "name": "m",
        "applies_to": (VIEW,),
        "features": features,
        "outcome": PURCHASE,
        "within_ms": 60_000,
        "lateness_ms": 5_000,
        "remembers_ms": 86_400_000,
    }
    return Spec(**spec | changes)


def event(**changes: Any) -> dict[str, Any]:
    """Return a product view of visitor `v`, with other fields where `changes` says so."""
    return {
        "_id": "e",
        "timestamp": "2026-01-01T00:00:00Z",
        "eventType": VIEW,
        "identityMap": {"ECID": [{"id": "v", "primary": True}]},
        **changes,
    }


def as_bytes(what: dict[str, Any], *, more: str = "") -> bytes:
    """Return the JSON of an event; `more` is JSON text of further members, for what Python's `json` would not write."""
    text = json.dumps(what)
    return (f"{text[:-1]}, {more}}}" if more else text).encode()


def iso(time_ms: int) -> str:
    """Return a time as an event writes it."""
    return (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=time_ms)).isoformat()


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the object that has `value` at a path.

    >>> nested("a.b", 1)
    {'a': {'b': 1}}
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return two objects in one, key by key.

    >>> merged({"a": {"b": 1}}, {"a": {"c": 2}})
    {'a': {'b': 1, 'c': 2}}
    """
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(both[key], value) if isinstance(both.get(key), dict) else value
    return both


A_VALUE: dict[FieldType, Any] = {"number": 1.5, "string": "text", "boolean": True}
# What a model can read: who and when are no features.
READABLE = {path: kind for path, kind in FIELDS.items() if path not in {"_id", "timestamp"}}


def full_event() -> dict[str, Any]:
    """Return an event with a value in every field of the table."""
    full = event()
    for path, kind in READABLE.items():
        full = merged(full, nested(path, A_VALUE[kind]))
    return full

"""The field table says of XDM what Adobe's own schemas say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.experience_event import PATH, avro_schema
from schemas.xdm import EVENT_TYPES, FIELDS, MEASURES, FieldType
from tests.schemas.events import shared

EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
TIME_SERIES = "https://ns.adobe.com/xdm/data/time-series"
IN_JSON_SCHEMA: dict[FieldType, set[str]] = {
    "number": {"number", "integer"},
    "string": {"string"},
    "boolean": {"boolean"},
}


def xed(key: str) -> tuple[str, ...]:
    """The XED keys under which an XDM key travels (NAMESPACES.md): `@id`, `xdm:x`, `prefix:x` or a whole URI."""
    if key.startswith("@"):
        return (f"_{key[1:]}",)
    if "://" in key:
        host, _, rest = key.partition("://")[2].partition("/")
        keys = re.split(r"[/.:#]", rest if host == "ns.adobe.com" else f"{host}/{rest}")
        return (f"_{keys[0]}", *keys[1:])
    prefix, _, name = key.rpartition(":")
    return (name,) if prefix in {"", "xdm"} else (f"_{prefix}", name)


class Xdm:
    """All of Adobe's schemas, and what they say together of an ExperienceEvent."""

    def __init__(self, folder: Path) -> None:
        read = [json.loads(file.read_text()) for file in folder.rglob("*.schema.json")]
        self.by_id = {schema["$id"]: schema for schema in read if "$id" in schema}
        extending = [each for each in self.by_id.values() if EVENT in each.get("meta:intendedToExtend", ())]
        self.event = [(schema, schema) for schema in (self.by_id[EVENT], *extending)]

    def types(self, path: tuple[str, ...], nodes: list[tuple[Any, Any]]) -> set[str]:
        """The JSON Schema types of what lies at a XED path below these nodes; none where nothing does."""
        found: set[str] = set()
        below: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}
        for node, schema in self._joined(nodes):
            if not path:
                stated = node.get("type", [])
                found |= {stated} if isinstance(stated, str) else set(stated)
                continue
            for key, child in node.get("properties", {}).items():
                if path[: len(xed(key))] == xed(key):
                    below.setdefault(xed(key), []).append((child, schema))
        for keys, children in below.items():
            found |= self.types(path[len(keys) :], children)
        return found

    def _joined(self, nodes: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """Nodes with all that they refer to, each once."""
        seen: set[int] = set()
        waiting = list(nodes)
        while waiting:
            node, schema = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node, schema
            for part in ("allOf", "anyOf", "oneOf"):
                waiting += [(child, schema) for child in node.get(part, ())]
            base, _, pointer = node.get("$ref", "").partition("#")
            if base or pointer:
                target = owner = self.by_id[base] if base else schema
                for key in pointer.strip("/").split("/") if pointer else ():
                    target = target[key]
                waiting.append((target, owner))


@pytest.fixture(scope="module")
def xdm() -> Xdm:
    return Xdm(shared("xdm", "every field of the table exists in XDM with its type"))


def test_every_field_of_the_table_is_a_field_of_xdm(xdm: Xdm) -> None:
    """With that spelling and that type, in the class or in a field group that extends it."""
    wrong = {}
    for path, kind in FIELDS.items():
        found = xdm.types(tuple(path.split(".")), xdm.event)
        if not found or not found <= IN_JSON_SCHEMA[kind]:
            wrong[path] = (kind, found)

    assert {} == wrong


def test_the_event_types_are_those_that_xdm_names(xdm: Xdm) -> None:
    """All of them, and none beside them: a slip of the pen is told from a type of one's own by this list."""
    definitions = xdm.by_id[TIME_SERIES]["definitions"].values()
    named = {kind for each in definitions for kind in each["properties"].get("xdm:eventType", {}).get("meta:enum", ())}

    assert named == EVENT_TYPES


def test_every_measure_is_a_number_and_stands_for_an_event_type() -> None:
    """An event type is derived from a field that is in the table, and is one that a model can name."""
    assert {"number"} == {FIELDS[path] for path in MEASURES.values()}
    assert set(MEASURES) <= EVENT_TYPES
    assert len(MEASURES) == len(set(MEASURES.values()))


def test_no_field_lies_below_another() -> None:
    """A path is a value or a group, never both: the shape of an event could not be built else."""
    groups = {path.rsplit(".", depth)[0] for path in FIELDS for depth in range(1, path.count(".") + 1)}

    assert set() == groups & set(FIELDS)


def test_the_avro_schema_on_disk_is_the_tables() -> None:
    """`python -m schemas.experience_event` was run after the last change of the table."""
    assert avro_schema() == json.loads(PATH.read_text())

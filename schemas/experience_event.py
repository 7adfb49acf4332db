"""Writes `avsc/experience_event.avsc` from the field table: `python -m schemas.experience_event`.

Every field of the table is there, each nullable, with the identities and the envelope left as they are in XED JSON. A
test holds the file against the table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from schemas.xdm import FIELDS, FieldType

_AVRO: Final[dict[FieldType, str]] = {"number": "double", "string": "string", "boolean": "boolean"}
_IDENTITY: Final = {
    "type": "record",
    "name": "Identity",
    "fields": [
        {"name": "id", "type": ["null", "string"], "default": None},
        {"name": "primary", "type": ["null", "boolean"], "default": None},
    ],
}
PATH: Final = Path(__file__).parent / "avsc" / "experience_event.avsc"


def avro_schema() -> dict[str, Any]:
    """Return the Avro schema of an ExperienceEvent.

    >>> [field["name"] for field in avro_schema()["fields"]][:3]
    ['_id', 'timestamp', 'identityMap']
    """
    tree: dict[str, Any] = {}
    for path, kind in FIELDS.items():
        *groups, leaf = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = kind
    del tree["_id"], tree["timestamp"]
    record = _record("ExperienceEvent", tree)
    record["namespace"] = "freshet.xdm"
    record["doc"] = "An XDM ExperienceEvent in XED names: the fields that a model may name."
    record["fields"][:0] = [
        {"name": "_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "identityMap",
            "type": ["null", {"type": "map", "values": {"type": "array", "items": _IDENTITY}}],
            "default": None,
        },
    ]
    return record


def _record(name: str, tree: dict[str, Any]) -> dict[str, Any]:
    fields = []
    for key, child in tree.items():
        of = _record(f"{name}_{key}", child) if isinstance(child, dict) else _AVRO[child]
        fields.append({"name": key, "type": ["null", of], "default": None})
    return {"type": "record", "name": name, "fields": fields}


if __name__ == "__main__":
    PATH.write_text(json.dumps(avro_schema(), indent=2) + "\n")

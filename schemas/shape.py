"""The shape of an event as one model reads it: typed structs for the fields that matter, and nothing for the rest.

Decoding and validating are then one compiled step (msgspec): a field that somebody reads has its type or the event is
refused with the field's path; a field that nobody reads passes by unlooked at.
"""

from __future__ import annotations

import datetime as dt
import keyword
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from schemas.errors import ModelFileError
from schemas.features import Category, Feature, Number
from schemas.xdm import MEASURES, FieldType, field_type

_LEAF: Final[dict[FieldType, Any]] = {"number": float | None, "string": str | None, "boolean": bool | None}


class Identity(msgspec.Struct, gc=False):
    """One identity of a visitor, as in `identityMap` and in `endUserIDs._experience`."""

    id: str | None = None
    primary: bool | None = None


class ExperienceIDs(msgspec.Struct, gc=False):
    """`endUserIDs`: the older place of a visitor's identities."""

    experience: dict[str, Identity | None] | None = msgspec.field(default=None, name="_experience")


# What the pipeline itself reads of every event, whatever the model.
_ROOT: Final[dict[str, Any]] = {
    "_id": str | None,
    "timestamp": Annotated[dt.datetime, msgspec.Meta(tz=True)] | None,
    "eventType": str | None,
    "identityMap": dict[str, list[Identity | None] | None] | None,
    "endUserIDs": ExperienceIDs | None,
}


class _Node:
    def __init__(self) -> None:
        self.children: dict[str, _Node | FieldType] = {}

    def add(self, path: str, kind: FieldType) -> None:
        *groups, leaf = path.split(".")
        node = self
        for group in groups:
            child = node.children.setdefault(group, _Node())
            if not isinstance(child, _Node):
                raise ModelFileError(f"{path} cannot be read: {group} is a value elsewhere in this model")
            node = child
        if node.children.setdefault(leaf, kind) != kind:
            raise ModelFileError(f"{path} is read as two different types")

    def struct(self, name: str, fixed: dict[str, Any]) -> type[msgspec.Struct]:
        fields = [(attribute(key), of, None) for key, of in fixed.items()]
        for key, child in self.children.items():
            of = child.struct(f"{name}_{key}", {}) | None if isinstance(child, _Node) else _LEAF[child]
            fields.append((attribute(key), of, None))
        rename = {attribute(key): key for key in (*fixed, *self.children) if attribute(key) != key}
        return msgspec.defstruct(name, fields, rename=rename, gc=False)


def attribute(key: str) -> str:
    """Return the Python attribute under which a key of an event is kept.

    >>> attribute("_id"), attribute("dma-ID")
    ('_id', 'k_dma_2d_ID')
    """
    # ASCII only: Python reads the identifier `ﬁ` as `fi`, and would then look for an attribute that is not there.
    if key.isascii() and key.isidentifier() and not keyword.iskeyword(key) and not key.startswith("__"):
        return key
    return "k_" + "".join(c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in key)


def leaf_type(feature: Number | Category) -> FieldType:
    """Return the type of the field that a feature reads."""
    return field_type(feature.path, "number" if isinstance(feature, Number) else "string")


def event_type_of(features: Iterable[Feature]) -> Any:
    """Return the struct type into which an event is decoded for these features.

    Its optional `body` makes the streaming-ingestion envelope (`{header, body: {xdmEntity}}`) part of the same step.

    >>> shape = event_type_of([])
    >>> msgspec.json.decode(b'{"_id": "a", "nobody": {"reads": "this"}}', type=shape)._id
    'a'
    """
    root = _Node()
    for path in MEASURES.values():
        root.add(path, "number")
    for feature in features:
        if isinstance(feature, Number | Category):
            if feature.path in _ROOT and feature.path != "eventType":
                raise ModelFileError(f"{feature.path} says who and when, and is no feature")
            if feature.path != "eventType":
                root.add(feature.path, leaf_type(feature))
    entity = root.struct("Event", _ROOT)
    body = msgspec.defstruct("Body", [("xdmEntity", entity | None, None)], gc=False)
    return root.struct("Envelope", _ROOT | {"body": body | None})

"""Catalog: the Avro schemas, by name and by fingerprint, and Avro's single-object encoding.

Single-object encoding (Avro specification 1.11, "Single-object encoding"): `C3 01`, the CRC-64-AVRO fingerprint of the
writer's schema in little-endian order, the body. The schema is named in the value itself, so a record keeps its meaning
when it is re-keyed, copied or replayed, and no registry has to be reached.
"""

from __future__ import annotations

import functools
import io
import json
from importlib import resources
from typing import Any, Final

import fastavro
import fastavro.schema
import msgspec

from schemas.errors import SchemaUnknown

MARKER: Final = b"\xc3\x01"
_HEADER_BYTES: Final = 10
_LONGEST_REASON: Final = 200


@functools.cache
def schema(name: str) -> Any:
    """Return the parsed newest schema of a record, such as "score".

    Logical types are documentation here: within freshet a time is a number of milliseconds, and so it is read.

    >>> schema("score")["name"]
    'freshet.Score'
    """
    text = resources.files("schemas").joinpath("avsc", f"{name}.avsc").read_text()
    return fastavro.parse_schema(_without_logical_types(json.loads(text)), named_schemas={})


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_logical_types(child) for key, child in node.items() if key != "logicalType"}
    return [_without_logical_types(child) for child in node] if isinstance(node, list) else node


@functools.cache
def header(name: str) -> bytes:
    """Return the ten bytes that stand before a record's body.

    >>> header("score")[:2].hex(), len(header("score"))
    ('c301', 10)
    """
    canonical = fastavro.schema.to_parsing_canonical_form(schema(name))
    # fastavro prints the fingerprint's bytes in little-endian order already, as the specification stores them.
    return MARKER + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


@functools.cache
def _by_fingerprint() -> dict[bytes, Any]:
    names = (entry.name.removesuffix(".avsc") for entry in resources.files("schemas").joinpath("avsc").iterdir())
    return {header(name)[2:]: schema(name) for name in names}


def is_single_object(value: bytes) -> bool:
    """Return whether bytes are in Avro's single-object encoding.

    >>> is_single_object(b'{"id": 1}')
    False
    """
    return value[:2] == MARKER and len(value) >= _HEADER_BYTES


def write_single_object(name: str, record: Any) -> bytes:
    """Return a record in single-object encoding with the newest schema of its name.

    >>> read_single_object(write_single_object("alias",
    ...     {"model": "m", "alias": "live", "version": 3, "changedAt": 5}), "alias")["version"]
    3
    """
    body = io.BytesIO()
    body.write(header(name))
    fastavro.schemaless_writer(body, schema(name), record)
    return body.getvalue()


def read_single_object(value: bytes, name: str) -> Any:
    """Return the record in a value, as the newest schema of `name` has it.

    Raises:
        SchemaUnknown: the catalog does not hold the writer's schema.
        msgspec.DecodeError: it is not such a record; says why in a few words, whatever the value holds.
    """
    writer = _by_fingerprint().get(value[2:_HEADER_BYTES])
    if writer is None:
        raise SchemaUnknown(value[2:_HEADER_BYTES].hex())
    body = io.BytesIO(value[_HEADER_BYTES:])
    try:
        record = fastavro.schemaless_reader(body, writer, schema(name))
    except Exception as error:  # noqa: BLE001  # fastavro raises whatever garbage makes it stumble over
        # Cut short: fastavro quotes whole schemas, and a reason travels in a header.
        raise msgspec.DecodeError(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}") from None
    if rest := len(body.read()):
        raise msgspec.DecodeError(f"{rest} bytes follow the record")
    return record

"""The envelope: what stands in front of a payload, so that damage is found before anything is read."""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from schemas.errors import StateUnreadable

MAGIC: Final = b"FRST"
FORMAT: Final = 1
_HEADER: Final = struct.Struct(">4sBQ32s")


def seal(payload: bytes) -> bytes:
    """Return the payload behind magic, format, its length and its SHA-256.

    >>> sealed = seal(b"payload")
    >>> sealed[:4], len(sealed) - len(b"payload")
    (b'FRST', 45)
    >>> unseal(sealed)
    b'payload'
    """
    return _HEADER.pack(MAGIC, FORMAT, len(payload), hashlib.sha256(payload).digest()) + payload


def unseal(data: bytes) -> bytes:
    """Return the payload that `seal` was given.

    Raises:
        StateUnreadable: truncated, altered, followed by something else or of another format.
    """
    if len(data) < _HEADER.size:
        raise StateUnreadable(f"the learner's state has {len(data)} bytes, which is less than its header")
    magic, version, length, digest = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    if magic != MAGIC or version != FORMAT:
        raise StateUnreadable(f"the learner's state begins with {magic!r} {version}, not with {MAGIC!r} {FORMAT}")
    if len(payload) != length:
        raise StateUnreadable(f"the learner's state is cut: {len(payload)} bytes instead of {length}")
    if hashlib.sha256(payload).digest() != digest:
        raise StateUnreadable("the learner's state was altered: its SHA-256 differs")
    return payload

"""Response: what goes back over HTTP."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

Header = tuple[bytes, bytes]

JSON: Final = b"application/json"
_encode: Final = msgspec.json.Encoder().encode


class Response(NamedTuple):
    """A response whose body is whole, so that its length is known."""

    status: int
    content_type: bytes
    body: bytes
    headers: tuple[Header, ...] = ()


def json_response(value: Any) -> Response:
    """Return a value as a good answer, on a line of its own: a person with curl gets the prompt on the next one.

    >>> json_response({"live": True}).body.split()
    [b'{"live":true}']
    """
    return Response(200, JSON, _encode(value) + b"\n")

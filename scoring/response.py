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
    """Return a value as a good answer.

    >>> json_response({"live": True}).body
    b'{"live":true}\n'
    """
    return Response(200, JSON, _encode(value) + b"\n")  # a person with curl gets the prompt on a line of its own

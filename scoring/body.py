"""Body: what comes with a request, taken as far as it is allowed to go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from scoring.limits import Limits
from scoring.problem import Problem, unavailable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gone(Exception):
    """The caller hung up before the request was whole: there is nobody to answer."""


class Allowance:
    """What the bodies of a server's callers may take, found in an ASGI scope's `state` under `allowance`.

    Attributes:
        body_bytes: of one.
        left_bytes: of all that come in pieces and are not whole yet.
    """

    __slots__ = ("body_bytes", "left_bytes")

    def __init__(self, limits: Limits) -> None:
        self.body_bytes = limits.body_bytes
        self.left_bytes = limits.bodies_bytes


_DEFAULT: Final = Allowance(Limits())
LARGEST_BODY_BYTES: Final = _DEFAULT.body_bytes


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return a request's body, b"" where it has none.

    Raises:
        Problem: it is encoded, larger than the server allows, which is told before more of it is read, or in pieces of
            which the server has too many already.
        Gone: the caller hung up.
    """
    declared_bytes = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            # What has more digits than a size can have is a size too, and no reason to compute with it.
            declared_bytes = int(value[:19]) if value.isdigit() else 0
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Problem(415, "encoded", "send the body as it is, without Content-Encoding")
    allowance: Allowance = scope["state"].get("allowance", _DEFAULT) if "state" in scope else _DEFAULT
    if declared_bytes > allowance.body_bytes:
        raise _too_large(allowance)
    message = await receive()
    if message["type"] != "http.request":
        raise Gone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return await _in_pieces(body, receive, allowance)
    if len(body) > allowance.body_bytes:
        raise _too_large(allowance)
    return body


async def _in_pieces(first: bytes, receive: Receive, allowance: Allowance) -> bytes:
    whole = bytearray()  # not a list: a piece may be of one byte, and an object of forty
    piece, more = first, True
    taken_bytes = 0
    try:
        while True:
            if len(whole) + len(piece) > allowance.body_bytes:
                raise _too_large(allowance)
            if len(piece) > allowance.left_bytes:
                raise unavailable("busy", "the edge is reading as many large bodies as it has room for; try again")
            allowance.left_bytes -= len(piece)
            taken_bytes += len(piece)
            whole += piece
            if not more:
                return bytes(whole)
            message = await receive()
            if message["type"] != "http.request":
                raise Gone
            piece, more = message.get("body", b""), message.get("more_body", False)
    finally:
        allowance.left_bytes += taken_bytes


def _too_large(allowance: Allowance) -> Problem:
    # Whoever is sending already must be let to finish, or the reset would overtake the answer; the server throws away
    # what comes, for as long as its patience lasts.
    return Problem(413, "too-large", f"a request may have {allowance.body_bytes} bytes; send fewer")

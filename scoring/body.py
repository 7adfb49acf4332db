"""Body: what comes with a request, taken as far as it is allowed to go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from scoring.problem import Problem
from scoring.response import Header

LARGEST_BODY_BYTES: Final = 1024 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gone(Exception):
    """The caller hung up before the request was whole: there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return a request's body, b"" where it has none.

    Raises:
        Problem: it is encoded, or larger than 1 MiB; the last is told before more of it is read.
        Gone: the caller hung up.
    """
    waits_for_us = False
    declared_bytes = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            declared_bytes = int(value) if value.isdigit() else 0
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Problem(415, "encoded", "send the body as it is, without Content-Encoding")
        elif name == b"expect":
            waits_for_us = True
    if declared_bytes > LARGEST_BODY_BYTES:
        raise _too_large(waits_for_us=waits_for_us)
    body = b""
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body = message.get("body", b"")
        size_bytes += len(body)
        if size_bytes > LARGEST_BODY_BYTES:
            raise _too_large(waits_for_us=False)
        if not message.get("more_body", False):
            break
        parts.append(body)
    return b"".join((*parts, body)) if parts else body


def _too_large(*, waits_for_us: bool) -> Problem:
    # Whoever is sending already must be let to finish, or the reset would overtake the answer; the server throws away
    # what comes, for as long as its patience lasts. Who waits for a 100 Continue has sent nothing and is let go.
    headers: tuple[Header, ...] = ((b"connection", b"close"),) if waits_for_us else ()
    return Problem(413, "too-large", f"a request may have {LARGEST_BODY_BYTES} bytes", headers=headers)

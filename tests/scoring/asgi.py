"""A caller of ASGI applications, in process: what it sends, what it is answered, and how much was read meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from scoring.application import Application


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, and how many pieces of the request's body had been taken when it began."""

    status: int
    headers: dict[str, str]
    body: bytes
    pieces_taken: int

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def call(
    door: Application,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: dict[str, str] | None = None,
    *,
    hang_up: bool = False,
) -> Reply | None:
    """Return what the door replies, None where it says nothing.

    Args:
        door: the application.
        method, path: of the request; with `?` and what follows it, if there is anything.
        body: whole, or in pieces.
        headers: of the request.
        hang_up: after the last piece, instead of saying that it was the last.
    """
    pieces = [body] if isinstance(body, bytes) else list(body)
    taken = 0
    sent: list[MutableMapping[str, Any]] = []
    taken_at_start = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        if taken == len(pieces):
            return {"type": "http.disconnect"}
        taken += 1
        return {"type": "http.request", "body": pieces[taken - 1], "more_body": hang_up or taken < len(pieces)}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal taken_at_start
        if message["type"] == "http.response.start":
            taken_at_start = taken
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path.partition("?")[0],
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    asyncio.run(door(scope, receive, send))
    if not sent:
        return None
    start, *parts = sent
    return Reply(
        status=start["status"],
        headers={name.decode(): value.decode() for name, value in start["headers"]},
        body=b"".join(part["body"] for part in parts),
        pieces_taken=taken_at_start,
    )

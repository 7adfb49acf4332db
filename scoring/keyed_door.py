"""Keyed door: stands before a door and lets in whoever has a key for what is asked.

    /v2/health/live, …/ready   nothing: load balancers and orchestrators ask this
    /v2/repository/…           a key with `admin`
    POST                       a key with `infer`
    everything else            a key with `metadata`; also what does not exist, so that strangers learn nothing

A key stands in `Authorization: Bearer <key>`, or in `X-API-Key`, as clients of Adobe's services send theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scoring.application import Application
from scoring.body import Receive, Scope
from scoring.keys import ADMIN, INFER, METADATA, Keys
from scoring.problem import Problem
from scoring.response import Response

_HEALTH: Final = frozenset({"/v2/health/live", "/v2/health/ready"})
_REPOSITORY: Final = "/v2/repository"
_ASKS_FOR: Final = b'Bearer realm="freshet"'


class KeyedDoor(Application):
    """A door behind which nobody is without a key.

    Args:
        door: answers those who are let in.
        keys: of those.
    """

    def __init__(self, door: Application, keys: Keys) -> None:
        self._door = door
        self._keys = keys

    def renew(self, keys: Keys) -> None:
        """Let in by other keys from now on."""
        self._keys = keys

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the door's answer.

        Raises:
            Problem: 401 where there is no key or a wrong one, 403 where it is for something else.
        """
        needed = scope_needed(scope["method"], scope["path"])
        if needed is not None:
            self.admit(scope["headers"], needed)
        return await self._door.respond(scope, receive)

    def admit(self, headers: Iterable[tuple[bytes, bytes]], needed: str) -> None:
        """Return if the headers of a request hold a key with the scope `needed`.

        Raises:
            Problem: they do not.
        """
        secret = _secret(headers)
        if secret is None:
            detail = "send an API key as `Authorization: Bearer <key>` or `X-API-Key: <key>`"
            raise Problem(401, "no-key", detail, headers=((b"www-authenticate", _ASKS_FOR),))
        key = self._keys.find(secret)
        if key is None:
            challenge = _ASKS_FOR + b', error="invalid_token"'
            detail = "the API key is none of this edge's; ask its operator for one"
            raise Problem(401, "wrong-key", detail, headers=((b"www-authenticate", challenge),))
        if needed not in key.scopes:
            challenge = _ASKS_FOR + b', error="insufficient_scope", scope="%s"' % needed.encode()
            detail = f"the API key lacks the scope {needed!r}; use one that has it"
            raise Problem(403, "lacks-scope", detail, headers=((b"www-authenticate", challenge),))


def scope_needed(method: str, path: str) -> str | None:
    """Return which scope a request asks for, None where it needs no key.

    >>> scope_needed("POST", "/v1/events"), scope_needed("GET", "/v2"), scope_needed("GET", "/v2/health/live")
    ('infer', 'metadata', None)
    """
    if path in _HEALTH:
        return None
    if path.startswith(_REPOSITORY):
        return ADMIN
    return INFER if method == "POST" else METADATA


def _secret(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            return value
    return None

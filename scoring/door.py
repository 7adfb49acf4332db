"""Door: the edge's HTTP interface, as a plain ASGI application.

    POST /v1/events               an event in, every model's score out
    GET  /v2/health/live          the process answers
    GET  /v2/health/ready         ... and has a model to answer with
    GET  /v2/models/{name}        what a model reads, which version is live, how far it has learned
    GET  /v2/models/{name}/ready  a model is loaded

No framework: see docs/decisions/0005-raw-asgi.md. Nothing here waits for Kafka.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from schemas.errors import NoModel, Poison
from scoring.answer import answer
from scoring.engine import Engine
from scoring.metadata import metadata
from scoring.problem import Problem, no_model, problem_of, unavailable
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.response import Header, Response, json_response

log = logging.getLogger(__name__)

LARGEST_BODY_BYTES: Final = 1024 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_EVENTS: Final = "/v1/events"
_LIVE: Final = "/v2/health/live"
_READY: Final = "/v2/health/ready"
_MODELS: Final = "/v2/models/"


class _Gone(Exception):
    """The caller hung up before the request was whole: there is nobody to answer."""


def now_ms() -> int:
    """Return this machine's clock."""
    return time.time_ns() // 1_000_000


class Door:
    """The ASGI application of an edge.

    Every answer is 200, 4xx where the request is to blame, or 503 with `Retry-After`; a failure of ours is a 503 too,
    and stands in the log with its traceback.

    Args:
        engine: the live sessions; each request takes them once, when its body is there.
        registry: which models there are, loaded or not.
        profiles: what is remembered of visitors.
        clock: milliseconds since 1970.
    """

    def __init__(
        self, engine: Engine, registry: Registry, profiles: Profiles, clock: Callable[[], int] = now_ms
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._profiles = profiles
        self._now_ms = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the door speaks HTTP, not {scope['type']}")
        try:
            response = await self._respond(scope, receive)
        except Problem as problem:
            response = problem.response(open_inference=scope["path"].startswith("/v2/"))
        except _Gone:
            return
        except Exception:
            # Whatever it was, the caller gets no traceback and the connection stays good for the next request.
            log.exception("request_failed path=%r", scope["path"][:100])
            response = unavailable("failed", "the edge could not answer this; try again").response()
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        if path == _EVENTS:
            _allow(method, "POST")
            return self._score(await read_body(scope, receive))
        if path == _LIVE:
            _allow(method, "GET", "HEAD")
            return json_response({"live": True})
        if path == _READY:
            _allow(method, "GET", "HEAD")
            if not self._engine.sessions():
                raise no_model()
            return json_response({"ready": True})
        if path.startswith(_MODELS):
            name, slash, rest = path.removeprefix(_MODELS).partition("/")
            if rest == "ready" or not slash:
                _allow(method, "GET", "HEAD")
                return self._model(name, ready_only=bool(slash))
        raise Problem(404, "unknown-path", f"there are POST {_EVENTS}, GET {_LIVE}, GET {_READY} and GET {_MODELS}...")

    def _score(self, body: bytes) -> Response:
        try:
            return json_response(answer(body, self._engine.sessions(), self._profiles, self._now_ms()))
        except Poison as poison:
            raise problem_of(poison, body) from None
        except NoModel:
            raise no_model() from None

    def _model(self, name: str, *, ready_only: bool) -> Response:
        try:
            session = self._engine.session(name)
        except NoModel:
            if name in self._registry.models():
                raise no_model() from None
            raise Problem(404, "unknown-model", "no model of that name has been released") from None
        return json_response({"name": name, "ready": True} if ready_only else metadata(session, self._profiles))


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return a request's body.

    Raises:
        Problem: it is empty, encoded, or larger than 1 MiB; the last is told before more of it is read.
    """
    waits_for_us = False
    declared_bytes = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            declared_bytes = int(value) if value.isdigit() else 0
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Problem(415, "encoded", "send the event as it is, without Content-Encoding")
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
            raise _Gone
        body = message.get("body", b"")
        size_bytes += len(body)
        if size_bytes > LARGEST_BODY_BYTES:
            raise _too_large(waits_for_us=False)
        if not message.get("more_body", False):
            break
        parts.append(body)
    if not size_bytes:
        raise Problem(400, "not-an-event", "the body is empty; send one event as JSON")
    return b"".join((*parts, body)) if parts else body


def _too_large(*, waits_for_us: bool) -> Problem:
    # Whoever is sending already must be let to finish, or the reset would overtake the answer; the server throws away
    # what comes, for as long as its patience lasts. Who waits for a 100 Continue has sent nothing and is let go.
    headers: tuple[Header, ...] = ((b"connection", b"close"),) if waits_for_us else ()
    return Problem(413, "too-large", f"an event may have {LARGEST_BODY_BYTES} bytes", headers=headers)


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        names = ", ".join(allowed)
        raise Problem(405, "method", f"use {names}", headers=((b"allow", names.encode()),))

"""Worker door: what a worker tells over HTTP, as a plain ASGI application.

GET /metrics   its figures, in the text format of Prometheus
GET /live      200: the process answers
GET /ready     200: it gets on with its work; else 503 and why not
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from streams.metrics import CONTENT_TYPE, Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON: Final = "application/json"
_PLACES: Final = ("/metrics", "/live", "/ready")


class WorkerDoor:
    """The ASGI application of a worker.

    Args:
        metrics: what `/metrics` says.
        problem: why the worker is not ready; empty, it is.
    """

    def __init__(self, metrics: Metrics, problem: Callable[[], str]) -> None:
        self._metrics = metrics
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the door speaks HTTP, not {scope['type']}")
        status, kind, body = self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in _PLACES:
            return 404, _JSON, _json(error=f"there is nothing at {path[:100]}; there is {', '.join(_PLACES)}")
        if method not in {"GET", "HEAD"}:
            return 405, _JSON, _json(error="only GET")
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._metrics.text()
        problem = self._problem() if path == "/ready" else ""
        if problem:
            return 503, _JSON, _json(ready=False, reason=problem)
        return 200, _JSON, _json(**{path[1:]: True})


def _json(**fields: object) -> bytes:
    return msgspec.json.encode(fields)

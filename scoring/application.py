"""Application: what the edge's doors have in common: one answer to each request, whatever happens meanwhile."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from scoring.body import Gone, Receive, Scope
from scoring.problem import Problem, unavailable
from scoring.response import Response

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(ABC):
    """An ASGI application whose answers are whole.

    Every answer is 200, 4xx where the request is to blame, or 503 with `Retry-After`; a failure of ours is a 503 too,
    and stands in the log with its traceback.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the door speaks HTTP, not {scope['type']}")
        response = await self.response_to(scope, receive)
        if response is not None:
            await send_response(response, send)

    async def response_to(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to one request, whatever happens; None where there is nobody to answer."""
        try:
            return await self.respond(scope, receive)
        except Problem as problem:
            return _told(problem, scope)
        except Gone:
            return None
        except Exception:
            # Whatever it was, the caller gets no traceback and the connection stays good for the next request.
            log.exception("request_failed path=%r", scope["path"][:100])
            return _told(unavailable("failed", "the edge could not answer this; try again"), scope)

    @abstractmethod
    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to one request.

        Raises:
            Problem: what the caller is told instead of one.
            Gone: there is nobody to answer.
        """


async def send_response(response: Response, send: Send) -> None:
    """Send a response in ASGI's messages."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _told(problem: Problem, scope: Scope) -> Response:
    if any(name == b"expect" for name, _ in scope["headers"]):
        # Who waits for a 100 Continue may now send its body or not: where the next request begins, nobody can tell.
        problem.headers = (*(each for each in problem.headers if each[0] != b"connection"), (b"connection", b"close"))
    if not scope["path"].startswith("/v2"):
        return problem.response()
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return problem.response(open_inference=True, accept=accept)

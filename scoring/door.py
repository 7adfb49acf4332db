"""Door: the edge's HTTP interface, as a plain ASGI application.

    POST /v1/events               an event in, every model's score out
    POST /v2/models/{name}/infer  tensors in, tensors out
    GET  /v2/models/{name}        what a model reads, which versions can be asked, how far it has learned
    GET  /v2/models/{name}/ready  a model is loaded
    GET  /v2/health/live          the process answers
    GET  /v2/health/ready         ... and has every model that is live
    GET  /v2                      what this server is

Below /v2 it is the Open Inference Protocol v2; a model's paths also with `/versions/{version}` after the name. No
framework: see docs/decisions/0005-raw-asgi.md. Nothing here waits for Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from schemas.errors import NoModel, Poison
from scoring.answer import answer
from scoring.application import Application
from scoring.binary import json_bytes
from scoring.body import Receive, Scope, read_body
from scoring.engine import Engine
from scoring.infer import infer
from scoring.metadata import metadata, server_metadata
from scoring.problem import Problem, no_model, problem_of
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.response import Response, json_response
from scoring.router import MODELS, ModelRoute, allow, model_route
from scoring.session import Session

_EVENTS: Final = "/v1/events"
_LIVE: Final = "/v2/health/live"
_READY: Final = "/v2/health/ready"
_SERVER: Final = ("/v2", "/v2/")


def now_ms() -> int:
    """Return this machine's clock."""
    return time.time_ns() // 1_000_000


class Door(Application):
    """The application that an edge's callers meet.

    Args:
        engine: the sessions; each request takes them once, when its body is there.
        registry: which models there are, loaded or not.
        profiles: what is remembered of visitors.
        clock: milliseconds since 1970.
        awaited: the models that will be loaded and are not yet.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        profiles: Profiles,
        clock: Callable[[], int] = now_ms,
        awaited: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._profiles = profiles
        self._now_ms = clock
        self._awaited = awaited

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to one request."""
        path, method = scope["path"], scope["method"]
        if path == _EVENTS:
            allow(method, "POST")
            return self._score(await read_body(scope, receive))
        if path.startswith(MODELS):
            route = model_route(path)
            if route is not None and route.verb == "infer":
                allow(method, "POST")
                self._session(route)  # first: who asks for a model that is not there need not send the rest
                body = await read_body(scope, receive)
                return infer(self._session(route), body, json_bytes(scope["headers"], len(body)))
            if route is not None:
                allow(method, "GET", "HEAD")
                return self._model(route)
        elif path == _LIVE:
            allow(method, "GET", "HEAD")
            return json_response({"live": True})
        elif path == _READY:
            allow(method, "GET", "HEAD")
            if not self._engine.sessions() or self._awaited():
                raise no_model()
            return json_response({"ready": True})
        elif path in _SERVER:
            allow(method, "GET", "HEAD")
            return json_response(server_metadata())
        raise Problem(
            404,
            "unknown-path",
            f"there are POST {_EVENTS}, POST {MODELS}NAME/infer, GET {MODELS}NAME, GET {MODELS}NAME/ready, GET {_LIVE},"
            f" GET {_READY} and GET {_SERVER[0]}",
        )

    def _score(self, body: bytes) -> Response:
        if not body:
            raise Problem(400, "not-an-event", "the body is empty; send one event as JSON")
        try:
            return json_response(answer(body, self._engine.sessions(), self._profiles, self._now_ms()))
        except Poison as poison:
            raise problem_of(poison, body) from None
        except NoModel:
            raise no_model() from None

    def _model(self, route: ModelRoute) -> Response:
        session = self._session(route)
        if route.verb == "ready":
            return json_response({"name": session.model, "ready": True})
        return json_response(metadata(session, self._engine.versions(session.model), self._profiles))

    def _session(self, route: ModelRoute) -> Session:
        name, version, _ = route
        try:
            live = self._engine.session(name)
        except NoModel:
            if name in self._registry.models():
                raise no_model() from None
            raise Problem(404, "unknown-model", "no model of that name has been released") from None
        if version is None:
            return live
        # One spelling for each: an answer is named by what was asked for.
        number = int(version) if version.isdecimal() and len(version) < 10 else -1
        session = self._engine.resident(name, number)
        if session is None or str(number) != version:
            there = ", ".join(map(str, self._engine.versions(name)))
            raise Problem(
                404, "unknown-version", f"the versions that can be asked are {there}; none means the live one"
            )
        return session

"""Door: the edge's HTTP interface, as a plain ASGI application.

    POST /v1/events               an event in, every model's score out
    POST /v1/events:batch         events in, an answer or a problem for each
    POST /v1/candidates           an event and what it could be about in, every model's score of each out
    POST /ee/v2/interact          events in and scores out in the Edge Network's shape; also /ee/v1/interact
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

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from schemas.errors import NoModel, Poison
from scoring.answer import Answer, answer
from scoring.application import Application
from scoring.binary import json_bytes
from scoring.body import Receive, Scope, read_body
from scoring.candidates import rank
from scoring.engine import Engine
from scoring.events import split
from scoring.forward import ASKED, OFF, Forwarder, Scored, forward, wants_forwarding
from scoring.infer import infer
from scoring.interact import PATHS, interaction_response, read_interaction
from scoring.metadata import metadata, server_metadata
from scoring.problem import Problem, no_model, problem_of
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.response import Response, json_response
from scoring.router import MODELS, ModelRoute, allow, model_route
from scoring.session import Session

_EVENTS: Final = "/v1/events"
_BATCH: Final = "/v1/events:batch"
_CANDIDATES: Final = "/v1/candidates"
_LIVE: Final = "/v2/health/live"
_READY: Final = "/v2/health/ready"
_SERVER: Final = ("/v2", "/v2/")
_OF_EVENTS: Final = frozenset({_EVENTS, _BATCH, _CANDIDATES, *PATHS})
_TOLD: Final = frozenset({_LIVE, _READY, *_SERVER})
_THERE_ARE: Final = (
    f"POST {_EVENTS}, POST {_BATCH}, POST {_CANDIDATES}, POST {PATHS[-1]}, POST {MODELS}NAME/infer, GET {MODELS}NAME,"
    f" GET {MODELS}NAME/ready, GET {_LIVE}, GET {_READY} and GET {_SERVER[0]}"
)
# Events of a batch between which others are answered.
_AT_ONCE: Final = 32


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
        forwarder: takes the events that are answered to Kafka; without one they are answered, and that is all.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        profiles: Profiles,
        clock: Callable[[], int] = now_ms,
        awaited: Callable[[], Collection[str]] = tuple,
        *,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._profiles = profiles
        self._now_ms = clock
        self._awaited = awaited
        self._forwarder = forwarder

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to one request."""
        path, method = scope["path"], scope["method"]
        if path in _OF_EVENTS:
            allow(method, "POST")
            wanted = wants_forwarding(scope)
            body = await read_body(scope, receive)
            if path == _EVENTS:
                return json_response(self._answer(body, wanted=wanted))
            return await self._of_events(scope, body, wanted=wanted)
        route = model_route(path) if path.startswith(MODELS) else None
        if route is not None and route.verb == "infer":
            allow(method, "POST")
            self._session(route)  # first: who asks for a model that is not there need not send the rest
            body = await read_body(scope, receive)
            return infer(self._session(route), body, json_bytes(scope["headers"], len(body)))
        if route is None and path not in _TOLD:
            raise Problem(404, "unknown-path", f"there are {_THERE_ARE}")
        allow(method, "GET", "HEAD")
        return json_response(self._told(path)) if route is None else self._model(route)

    def _told(self, path: str) -> Any:
        if path == _LIVE:
            return {"live": True}
        if path == _READY:
            if not self._engine.sessions() or self._awaited():
                raise no_model()
            return {"ready": True}
        return server_metadata()

    async def _of_events(self, scope: Scope, body: bytes, *, wanted: bool) -> Response:
        path = scope["path"]
        if path == _BATCH:
            results = await self._answers(split(body), wanted=wanted)
            return json_response([Raw(each.body()) if isinstance(each, Problem) else each for each in results])
        if path == _CANDIDATES:
            try:
                return json_response(rank(body, self._engine.sessions(), self._profiles, self._now_ms()))
            except Poison as poison:
                raise problem_of(poison, body) from None
            except NoModel:
                raise no_model() from None
        request_id, events = read_interaction(scope, body, self._now_ms())
        return interaction_response(request_id, await self._answers(events, wanted=wanted))

    async def _answers(self, events: list[bytes], *, wanted: bool) -> list[Answer | Problem]:
        """Return the answer to each event, or what is wrong with it."""
        results: list[Answer | Problem] = []
        for place, event in enumerate(events):
            if place and not place % _AT_ONCE:
                await asyncio.sleep(0)  # whoever sends one event does not wait for a thousand
            try:
                results.append(self._answer(event, wanted=wanted))
            except Problem as problem:
                if problem.status == 503:
                    raise  # it is nothing of this event's
                results.append(problem)
        return results

    def _answer(self, event: bytes, *, wanted: bool) -> Answer:
        """Return the answer to one event, which has been handed on; there is no other way for an event to be answered.

        Raises:
            Problem: it cannot be scored.
        """
        if not event:
            raise Problem(400, "not-an-event", "the body is empty; send one event as JSON")
        try:
            now_ms = self._now_ms()
            answered, scored = answer(event, self._engine.sessions(), self._profiles, now_ms)
            return self._forward(event, answered, scored, now_ms, wanted=wanted)
        except Poison as poison:
            raise problem_of(poison, event) from None
        except NoModel:
            raise no_model() from None

    def _forward(self, event: bytes, answered: Answer, scored: Sequence[Scored], at_ms: int, *, wanted: bool) -> Answer:
        """Hand an event on before it is answered; return the answer, which says whether that was done.

        Args:
            event: its bytes as they came.
            answered, scored: what `answer` returned for it.
            at_ms: the clock that `answer` was given.
            wanted: whether the request wants it, see `wants_forwarding`.
        """
        if not wanted:
            reason = ASKED
        elif self._forwarder is None:
            reason = OFF
        else:
            reason = forward(self._forwarder, event, answered.event, answered.visitor, scored, at_ms)
        return msgspec.structs.replace(answered, forwarded=not reason, not_forwarded=reason)

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

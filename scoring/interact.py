"""Interact: the shape of Adobe's Edge Network around our events and answers.

    {"xdm": {…}, "events": [{"xdm": {…}}]}    also `"event": {"xdm": {…}}`
    {"requestId": "…", "handle": [{"type": "rtml:inferences", "payload": [{"<XDM path>": score}], "eventIndex": 0}]}

What stands in the request's own `xdm`, such as `identityMap`, holds for each of its events. An event without `_id` or
`timestamp` gets them here, as it would there. A score is keyed by the XDM path at which it would live.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from scoring.answer import Answer
from scoring.body import Scope
from scoring.problem import Problem, where_wrong
from scoring.response import Response, json_response

PATHS: Final = ("/ee/v1/interact", "/ee/v2/interact")
MOST_EVENTS: Final = 64
INFERENCES: Final = "rtml:inferences"
# Beside it, so that nothing is lost that our own answer has; who reads the first passes over it.
ANSWERS: Final = "freshet:answers"

_LONGEST_REQUEST_ID: Final = 128
_ODD: Final = re.compile(r"[^A-Za-z0-9-]")


class _Event(msgspec.Struct):
    xdm: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    xdm: dict[str, Any] | None = None
    event: _Event | None = None
    events: list[_Event] | None = None


class _Handle(msgspec.Struct, rename="camel"):
    type: str
    payload: list[Any]
    event_index: int


class _Response(msgspec.Struct, rename="camel", omit_defaults=True):
    request_id: str
    handle: list[_Handle]
    errors: list[msgspec.Raw] = []


_decode: Final = msgspec.json.Decoder(_Request).decode
_encode: Final = msgspec.json.Encoder().encode


class Interaction(NamedTuple):
    """A request, read.

    Attributes:
        request_id: what its response is called.
        events: each as an event of its own, in bytes.
    """

    request_id: str
    events: list[bytes]


def read_interaction(scope: Scope, body: bytes, now_ms: int) -> Interaction:
    """Return the events of a request.

    Raises:
        Problem: it is not of that shape.
    """
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        field, detail = where_wrong(error)
        raise Problem(400, "not-an-interaction", detail, field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "not-an-interaction", 'the body is not JSON; send {"events": [{"xdm": {…}}]}') from None
    events = ([] if request.event is None else [request.event]) + (request.events or [])
    if not 1 <= len(events) <= MOST_EVENTS:
        detail = f'events has {len(events)} elements; send 1 to {MOST_EVENTS}, each as {{"xdm": {{…}}}}'
        raise Problem(400, "not-an-interaction", detail, field="events")
    context = request.xdm or {}
    try:
        whole = [_encode(_filled(context, each.xdm or {}, now_ms)) for each in events]
    except RecursionError:
        raise Problem(400, "not-an-interaction", "the body is nested too deep") from None
    return Interaction(_request_id(scope), whole)


def interaction_response(request_id: str, results: list[Answer | Problem]) -> Response:
    """Return the response to a request: of each of its events a handle, or what is wrong with it.

    Raises:
        Problem: something is wrong with all of them; of several the first.
    """
    problems = [each for each in results if isinstance(each, Problem)]
    if len(problems) == len(results):
        raise problems[0]
    handles: list[_Handle] = []
    refusals: list[msgspec.Raw] = []
    for index, result in enumerate(results):
        if isinstance(result, Problem):
            refusals.append(msgspec.Raw(result.body(report={"requestId": request_id, "eventIndex": index})))
        else:
            payload = [{path_of(each.model): each.score} for each in result.scores]
            handles += (_Handle(INFERENCES, payload, index), _Handle(ANSWERS, [result], index))
    return json_response(_Response(request_id, handles, refusals))


def path_of(model: str) -> str:
    """Return the XDM path at which a model's score would live in an event.

    A field's name is letters, digits, `_` and `-`; of a model's name every other character, and `_` itself, stands as
    its code point between two `_`, so that no two models share a path.

    >>> path_of("purchase-propensity"), path_of("a.b_c")
    ('_freshet.models.purchase-propensity.score', '_freshet.models.a_2e_b_5f_c.score')
    """
    return f"_freshet.models.{_ODD.sub(lambda odd: f'_{ord(odd[0]):x}_', model)}.score"


def _filled(context: Mapping[str, Any], event: dict[str, Any], now_ms: int) -> dict[str, Any]:
    whole = _under(context, event)
    if whole.get("_id") is None:
        whole["_id"] = str(uuid.uuid4())
    if whole.get("timestamp") is None:
        whole["timestamp"] = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).isoformat()
    return whole


def _under(context: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """What the event says, and where it says nothing what the context says."""
    whole = dict(context)
    for key, value in event.items():
        beneath = whole.get(key)
        whole[key] = _under(beneath, value) if isinstance(beneath, dict) and isinstance(value, dict) else value
    return whole


def _request_id(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    given = [value for name, _, value in (each.partition(b"=") for each in query.split(b"&")) if name == b"requestId"]
    given += [value for name, value in scope["headers"] if name == b"x-request-id"]
    if given and len(given[0]) <= _LONGEST_REQUEST_ID and re.fullmatch(rb"[\w.:-]+", given[0]):
        return given[0].decode()
    return str(uuid.uuid4())

"""Problems: what a caller is told when there is no answer (RFC 9457, "Problem Details for HTTP APIs").

The vocabulary is closed: a status, a name to branch on and a sentence. What went wrong inside stands in the log only.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from schemas.catalog import is_single_object
from schemas.errors import EventInvalid, Poison
from scoring.response import JSON, Header, Response

_PROBLEM_JSON: Final = b"application/problem+json"
_RETRY_AFTER: Final[Header] = (b"retry-after", b"1")


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    error: str = ""
    report: Mapping[str, Any] | None = None


_encode: Final = msgspec.json.Encoder().encode


class Problem(Exception):
    """A request that gets no score: raised in the door and answered there.

    Args:
        status: 4xx where the request is to blame, else 503; nothing else.
        name: what a program branches on; stays as it is.
        detail: one sentence for whoever sent the request.
        field: the field to blame: of an event by its XED path, of an inference request by its place.
        headers: what belongs to the status, such as `Allow`.

    >>> Problem(404, "unknown-model", "no such model").response().body[:53]
    b'{"type":"urn:freshet:problem:unknown-model","title":"'
    """

    def __init__(
        self, status: int, name: str, detail: str, *, field: str = "", headers: tuple[Header, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.field = field
        self.headers = headers

    def response(self, *, open_inference: bool = False, accept: bytes = b"") -> Response:
        """Return the problem as it goes back.

        Args:
            open_inference: also as `error`, where the Open Inference Protocol looks for the sentence.
            accept: the request's Accept header. Who asks for application/json, as that protocol's document has it, gets
                the same body under that name.
        """
        as_json = JSON in accept and _PROBLEM_JSON not in accept
        body = self.body(open_inference=open_inference)
        return Response(self.status, JSON if as_json else _PROBLEM_JSON, body, self.headers)

    def body(self, *, open_inference: bool = False, report: Mapping[str, Any] | None = None) -> bytes:
        """Return the problem as JSON.

        Args:
            open_inference: as in `response`.
            report: what the Edge Network would say of the request beside it.
        """
        return _encode(
            _Body(
                type=f"urn:freshet:problem:{self.name}",
                title=HTTPStatus(self.status).phrase,
                status=self.status,
                detail=self.detail,
                field=self.field,
                error=self.detail if open_inference else "",
                report=report,
            )
        )


def invalid(field: str, detail: str) -> Problem:
    """Return the problem of an inference request that is to blame itself; `detail` goes on where the field ends.

    >>> invalid("inputs[0].shape", "does not fit: send [rows]").detail
    'inputs[0].shape does not fit: send [rows]'
    """
    return malformed(f"{field} {detail}", field)


def malformed(detail: str, field: str = "") -> Problem:
    """Return the problem of an inference request of which no field, or not one alone, is to blame."""
    return Problem(400, "inference-invalid", detail, field=field)


def where_wrong(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the field of a request that is of the wrong kind, "" for the request itself, and a sentence about it.

    >>> try: msgspec.json.decode(b'{"rows": "many"}', type=dict[str, int])
    ... except msgspec.ValidationError as error: where_wrong(error)
    ('[...]', '[...] is wrong: expected `int`, got `str`')
    """
    problem, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    return field, f"{field or 'the request'} is wrong: {problem[0].lower()}{problem[1:]}"


def unavailable(name: str, detail: str) -> Problem:
    """Return a problem that will pass by itself."""
    return Problem(503, name, detail, headers=(_RETRY_AFTER,))


def no_model() -> Problem:
    """Return the problem of an edge that has nothing to answer with yet."""
    return unavailable("no-model", "no release is loaded yet; try again")


def problem_of(error: Poison, body: bytes) -> Problem:
    """Return what a caller is told about an event that cannot be scored.

    >>> problem_of(EventInvalid("timestamp", "is missing"), b"{}").detail
    'timestamp is missing'
    """
    if isinstance(error, EventInvalid):
        return Problem(400, "event-invalid", error.reason, field=error.field)
    if is_single_object(body):  # what fastavro has to say of garbage names its own classes
        return Problem(400, "not-an-event", "the body is not an Avro event written with a schema of the catalog")
    return Problem(400, "not-an-event", error.reason)

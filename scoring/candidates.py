"""Candidates: one event, many things that it could be about, and what each model says of each, in one run a model.

    {"event": {…XDM…}, "candidates": [{"productListItems": [{"SKU": "a"}]}, …], "top": 3}

A candidate is merged over the event as a JSON Merge Patch (RFC 7396): objects within objects, null takes away. Nothing
has happened yet, so that nothing is forwarded: what is shown then is an event of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any, Final

import msgspec

from schemas.errors import NoModel, Poison
from schemas.generated import APPLIES
from schemas.reader import X
from schemas.records import LearnedThrough
from scoring.answer import Past, ProfileUsed
from scoring.problem import Problem, problem_of, where_wrong
from scoring.profiles import Profiles
from scoring.session import Session

MOST_CANDIDATES: Final = 1024
# The event is read once more for each candidate, and nobody else is answered meanwhile.
LARGEST_BYTES: Final = 4 * 1024 * 1024
# Whose event it is and when, which is the same for all.
_FIXED: Final = frozenset({"_id", "timestamp", "identityMap", "endUserIDs"})


class _Request(msgspec.Struct):
    event: dict[str, Any]
    candidates: list[dict[str, Any]]
    top: int | None = None


class Ranking(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What one model says of the candidates.

    Attributes:
        scores: one per candidate in order, null where the model is not for such an event or has no answer.
        top: the best candidates' places in order, the best first; of equal ones the first; only if it was asked for.
    """

    model: str
    version: int
    learned_through: LearnedThrough
    valid_until: int
    scores: list[float | None]
    top: list[int] | None = None


class Refused(msgspec.Struct, frozen=True):
    """A candidate that makes no event, and why."""

    candidate: int
    problem: msgspec.Raw


class Rankings(msgspec.Struct, frozen=True, rename="camel"):
    """What an edge answers to candidates; the fields that `Answer` has too mean the same."""

    event: str
    visitor: str
    rankings: list[Ranking]
    refused: list[Refused]
    profile: ProfileUsed


_decode: Final = msgspec.json.Decoder(_Request).decode
_encode: Final = msgspec.json.Encoder().encode


def rank(body: bytes, sessions: Sequence[Session], profiles: Profiles, now_ms: int) -> Rankings:
    """Return what each model says of each candidate: what it would say of that event.

    To the last bit it is given the same; a run of many rows rounds by an ulp or two elsewhere than one of a single row.

    Args:
        body: the request.
        sessions, profiles, now_ms: as in `answer`.

    Raises:
        Problem: it is no such request.
        Poison: the event itself cannot be read.
        NoModel: there is no session.
    """
    if not sessions:
        raise NoModel("any model")
    request = _read(body)
    try:
        base = _encode(request.event)
        if len(base) * len(request.candidates) > LARGEST_BYTES:
            detail = (
                f"event has {len(base)} bytes, too many for {len(request.candidates)} candidates; leave out what no"
            )
            raise Problem(400, "candidates-invalid", f"{detail} model reads, or send fewer", field="event")
        candidates = [_encode(_patched(request.event, each)) for each in request.candidates]
    except RecursionError:
        raise Problem(400, "candidates-invalid", "the body is nested too deep") from None
    past = Past(profiles)
    rankings: list[Ranking] = []
    refused: dict[int, Refused] = {}
    for session in sessions:
        reader = session.reader
        event = reader.read(base, now_ms)
        profile, _ = past.of(session, event)
        rows: list[X] = []
        places: list[int] = []
        for place, candidate in enumerate(candidates):
            try:
                read = reader.read(candidate, now_ms)
                if read.kinds & APPLIES:
                    rows.append(reader.x(read, profile))
                    places.append(place)
            except Poison as poison:
                refused[place] = Refused(place, msgspec.Raw(problem_of(poison, candidate).body()))
        scores: list[float | None] = [None] * len(candidates)
        for place, score in zip(places, session.score(rows) if rows else (), strict=True):
            scores[place] = None if isnan(score) else score
        rankings.append(
            Ranking(
                model=session.model,
                version=session.version,
                learned_through=session.learned_through,
                valid_until=event.time_ms + session.spec.within_ms,
                scores=scores,
                top=None if request.top is None else _best(scores, request.top),
            )
        )
    return Rankings(event.id, event.visitor, rankings, [refused[place] for place in sorted(refused)], past.used())


def _read(body: bytes) -> _Request:
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        field, detail = where_wrong(error)
        raise Problem(400, "candidates-invalid", detail, field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = 'the body is not JSON; send {"event": {…}, "candidates": [{…}, …]}'
        raise Problem(400, "candidates-invalid", detail) from None
    count = len(request.candidates)
    if not 1 <= count <= MOST_CANDIDATES:
        detail = f"candidates has {count} elements; send 1 to {MOST_CANDIDATES}"
        raise Problem(400, "candidates-invalid", detail, field="candidates")
    if request.top is not None and request.top < 1:
        raise Problem(400, "candidates-invalid", "top has to be at least 1; leave it out for none", field="top")
    for place, candidate in enumerate(request.candidates):
        if not _FIXED.isdisjoint(candidate):
            field = f"candidates[{place}].{min(_FIXED & candidate.keys())}"
            detail = f"{field} is the event's, and the same for all candidates; leave it out"
            raise Problem(400, "candidates-invalid", detail, field=field)
    return request


def _patched(event: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(event)
    for key, value in patch.items():
        if value is None:
            whole.pop(key, None)
        elif isinstance(value, dict):
            beneath = whole.get(key)
            whole[key] = _patched(beneath if isinstance(beneath, dict) else {}, value)
        else:
            whole[key] = value
    return whole


def _best(scores: list[float | None], most: int) -> list[int]:
    ranked = [(-score, place) for place, score in enumerate(scores) if score is not None]
    return [place for _, place in sorted(ranked)[:most]]

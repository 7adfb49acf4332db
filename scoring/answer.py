"""Answer: what every model says of one event, with what it knew when it said so."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import msgspec

from schemas.errors import NoModel
from schemas.generated import APPLIES
from schemas.profile import Profile
from schemas.reader import Event, Reader
from schemas.records import LearnedThrough
from scoring.forward import Scored
from scoring.profiles import Profiles
from scoring.session import Session


class ModelScore(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One model's score; the fields are those of a record in `scores`."""

    model: str
    version: int
    score: float
    learned_through: LearnedThrough
    valid_until: int


class ProfileUsed(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What the scores knew of the visitor's past.

    Attributes:
        known: every model remembers the visitor; where not, to some model this is a first-time visitor.
        as_of: the scorer's clock when it wrote down what was used, the oldest of several; None where nothing was.
    """

    known: bool
    as_of: int | None


class Answer(msgspec.Struct, frozen=True, rename="camel", gc=False, omit_defaults=True):
    """What an edge answers to an event.

    Attributes:
        event, visitor: the event's `_id` and its primary identity.
        applicable: whether the event is of a type that some model scores.
        scores: one per model that applies and has an answer, in no particular order.
        profile: what they knew of the visitor.
        forwarded: whether the event goes on to `events`.
        not_forwarded: why not, see `scoring.forward`; not in the answer where it does.
    """

    event: str
    visitor: str
    applicable: bool
    scores: list[ModelScore]
    profile: ProfileUsed
    forwarded: bool
    not_forwarded: str = ""


def answer(body: bytes, sessions: Sequence[Session], profiles: Profiles, now_ms: int) -> tuple[Answer, list[Scored]]:
    """Return the scores of an event, as the scorer would compute them from the same profile, and what they came from.

    Args:
        body: XED JSON, bare or in an envelope, or Avro in single-object encoding: what `events` may hold.
        sessions: the live session of each model, all taken at one moment.
        profiles: what is remembered of visitors. The event itself is not added: that is the scorer's work.
        now_ms: this machine's clock; an event from more than 5 minutes ahead of it is refused.

    Raises:
        Poison: the event cannot be read, or a number that a model reads is out of its bounds.
        NoModel: there is no session.
    """
    if not sessions:
        raise NoModel("any model")
    scores: list[ModelScore] = []
    scored: list[Scored] = []
    applicable = False
    past = Past(profiles)
    for session in sessions:
        # Each model has its own reader: it decodes and checks the fields that this model reads, and no others.
        reader = session.reader
        event = reader.read(body, now_ms)
        profile, as_of_ms = past.of(session, event)
        if not event.kinds & APPLIES:
            continue
        applicable = True
        x = reader.x(event, profile)
        (score,) = session.score([x])
        if not isnan(score):  # NaN: the learner itself has no answer for such a row; nor has JSON a word for it
            valid_until = event.time_ms + session.spec.within_ms
            scores.append(ModelScore(session.model, session.version, score, session.learned_through, valid_until))
            scored.append(Scored(reader, session.version, score, session.learned_through, x, as_of_ms))
    return Answer(event.id, event.visitor, applicable, scores, past.used(), forwarded=False), scored


class Past:
    """What the models remember of one visitor, and how much of that has been used.

    Args:
        profiles: of all visitors.
    """

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self._known = True
        self._as_of_ms: int | None = None

    def of(self, session: Session, event: Event) -> tuple[Profile | None, int | None]:
        """Return the profile that a model uses for an event of the visitor, and when it was written, if any."""
        remembered = self._profiles.get(session.model, event.visitor)
        if remembered is None or not _is_of_use(remembered.profile, session.reader, event.time_ms):
            self._known = False
            return None, None
        as_of_ms = remembered.as_of_ms
        self._as_of_ms = as_of_ms if self._as_of_ms is None else min(self._as_of_ms, as_of_ms)
        return remembered.profile, as_of_ms

    def used(self) -> ProfileUsed:
        """Return what has been used so far."""
        return ProfileUsed(self._known, self._as_of_ms if self._known else None)


def _is_of_use(profile: Profile, reader: Reader, time_ms: int) -> bool:
    """Whether `reader` takes anything from a profile: not one of another spec, nor one of a visitor long forgotten."""
    return (
        len(profile.times) == len(reader.counted)
        and len(profile.last) == len(reader.recent)
        and time_ms - profile.seen_ms <= reader.spec.remembers_ms
    )

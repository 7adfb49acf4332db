"""Measurements: what the demo saw, from outside, of events, scores, examples, releases and answers.

Nothing here asks a worker how it does: it is all read from the topics, or from the answers that the edge gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.features import Spec
from schemas.records import Alias, Example, Release, Score
from schemas.xdm import MEASURES
from streams.demo.answer import Answer
from streams.demo.quality import RunningPrior

_KEPT_REASONS: Final = 5


@dataclass(frozen=True, slots=True)
class Closed:
    """An example as it was seen first: later copies of the same id are repeats.

    Attributes:
        offset: in `examples`.
        arrived_ms: the record's timestamp, wall clock.
        prior: the positive rate among the examples closed before it.
    """

    event: str
    offset: int
    arrived_ms: float
    event_time: int
    y: bool
    score: float
    prior: float


@dataclass(frozen=True, slots=True)
class Released:
    """A release as it was seen; `released_ms` is its record's timestamp, wall clock."""

    version: int
    released_ms: float
    learned_offset: int
    refused: int


@dataclass(slots=True)
class Measurements:
    """Everything that was seen so far.

    Attributes:
        spec: of the model: what it applies to is decided here again, from the events as they were sent.
        events: event records, ticks left out.
        newest_event_ms: the newest event time.
        since_outcome_s: for each event the model applies to, seconds since the visitor's last outcome event before it.
        scored: event of each score id.
        repeats: scores and examples that came again.
    """

    spec: Spec
    events: int = 0
    newest_event_ms: int = 0
    since_outcome_s: dict[str, float] = field(default_factory=dict)
    scored: dict[str, str] = field(default_factory=dict)
    examples: list[Closed] = field(default_factory=list)
    positives: int = 0
    repeats: int = 0
    releases: list[Released] = field(default_factory=list)
    live_version: int = -1
    dead_letters: int = 0
    dead_letter_reasons: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed: int = 0
    edge_version: int = -1
    edge_offset: int = -1
    _closed_ids: set[str] = field(default_factory=set)
    _last_outcome_ms: dict[str, int] = field(default_factory=dict)
    _prior: RunningPrior = field(default_factory=RunningPrior)

    @property
    def applicable(self) -> int:
        """How many events the model applies to."""
        return len(self.since_outcome_s)

    @property
    def last_offset(self) -> int:
        """The offset of the newest example, -1 without one."""
        return self.examples[-1].offset if self.examples else -1

    def take_event(self, event: Mapping[str, Any], visitor: str, time_ms: int) -> None:
        """Take an event as it stands in the `events` topic."""
        self.events += 1
        self.newest_event_ms = max(self.newest_event_ms, time_ms)
        kinds = kinds_of(event)
        if kinds.intersection(self.spec.applies_to):
            last_ms = self._last_outcome_ms.get(visitor)
            self.since_outcome_s[event["_id"]] = float("inf") if last_ms is None else (time_ms - last_ms) / 1000.0
        if self.spec.outcome in kinds:
            self._last_outcome_ms[visitor] = max(time_ms, self._last_outcome_ms.get(visitor, time_ms))

    def take_score(self, score: Score) -> None:
        """Take a score; a repeat is counted apart."""
        if score.id in self.scored:
            self.repeats += 1
        self.scored[score.id] = score.event

    def take_example(self, example: Example, offset: int, arrived_ms: float) -> None:
        """Take an example; a repeat is counted apart."""
        if example.id in self._closed_ids:
            self.repeats += 1
            return
        self._closed_ids.add(example.id)
        self.positives += example.y
        self.examples.append(
            Closed(
                event=example.event,
                offset=offset,
                arrived_ms=arrived_ms,
                event_time=example.event_time,
                y=example.y,
                score=example.score,
                prior=self._prior.before(example.y),
            )
        )

    def take_release(self, release: Release, released_ms: float) -> None:
        """Take a release."""
        self.releases.append(
            Released(release.version, released_ms, release.learned_through.offset, release.refused),
        )

    def take_alias(self, alias: Alias) -> None:
        """Take a change of what `live` stands for."""
        if alias.alias == "live":
            self.live_version = alias.version

    def take_dead_letter(self, reason: str) -> None:
        """Take a dead letter; the first few reasons are kept for the report."""
        self.dead_letters += 1
        if len(self.dead_letter_reasons) < _KEPT_REASONS:
            self.dead_letter_reasons.append(reason)

    def take_answer(self, answer: Answer) -> None:
        """Take an answer of the edge."""
        self.answers.append(answer)
        self.failed += answer.failed
        # Answers to requests that overlap a swap may arrive in either order.
        self.edge_version = max(self.edge_version, answer.version)
        self.edge_offset = max(self.edge_offset, answer.learned_offset)

    def swaps(self) -> int:
        """Return how many times the edge was seen to change to another version."""
        return max(0, len({answer.version for answer in self.answers if not answer.failed}) - 1)

    def unscored(self) -> set[str]:
        """Return the events that should have a score and have none, and those that have one and should not."""
        return set(self.since_outcome_s).symmetric_difference(self.scored.values())

    def unclosed(self) -> set[str]:
        """Return the events whose pending score was not closed."""
        return set(self.since_outcome_s).symmetric_difference(closed.event for closed in self.examples)


def kinds_of(event: Mapping[str, Any]) -> set[str]:
    """Return the types of an event: what `eventType` says, and each measure above zero.

    Written apart from the reader the workers use, so that a mistake there shows as a difference here.

    >>> sorted(kinds_of({"eventType": "my.type", "commerce": {"purchases": {"value": 1.0}, "checkouts": {"value": 0}}}))
    ['commerce.purchases', 'my.type']
    """
    kinds = {kind for kind, path in MEASURES.items() if _number_at(event, path) > 0}
    if event.get("eventType"):
        kinds.add(event["eventType"])
    return kinds


def _number_at(event: Mapping[str, Any], path: str) -> float:
    value: Any = event
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value or 0.0)

"""Measurements of a small made-up run, for tests of what is made of them."""

from __future__ import annotations

import random

from schemas.features import Spec, hour
from schemas.records import Alias, Example, LearnedThrough, ParityOf, Release, Score, Source
from streams.demo.answer import Answer
from streams.demo.measurements import Measurements

MINUTE_MS = 60_000
START_MS = 1_700_000_000_000.0
SPEC = Spec(
    name="m",
    applies_to=("commerce.productViews",),
    features=(hour(),),
    outcome="commerce.purchases",
    within_ms=30 * MINUTE_MS,
    lateness_ms=0,
    remembers_ms=1,
)


def view(number: int) -> dict[str, object]:
    return {"_id": f"e-{number}", "commerce": {"productViews": {"value": 1.0}}}


def score_of(number: int) -> Score:
    return Score(
        id=f"m/e-{number}",
        event=f"e-{number}",
        visitor="v",
        model="m",
        version=0,
        score=0.5,
        learned_through=LearnedThrough(),
        event_time=0,
        scored_at=0,
        valid_until=0,
    )


def example_of(number: int, *, y: bool = False, score: float = 0.5) -> Example:
    return Example(
        id=f"m/e-{number}",
        model="m",
        event=f"e-{number}",
        visitor="v",
        numbers={},
        categories={},
        y=y,
        score=score,
        version=0,
        event_time=number * MINUTE_MS,
        closed_at=0,
        source=Source(partition=0, seq=number),
    )


def release_of(version: int, offset: int, refused: int = 0) -> Release:
    return Release(
        model="m",
        version=version,
        created_at=0,
        sha256="",
        onnx=b"",
        spec="",
        learned_through=LearnedThrough(offset=offset),
        examples=offset + 1,
        positives=0,
        refused=refused,
        metrics={},
        parity=ParityOf(rows=1, max_abs_diff=0.0),
    )


def answer_of(number: int, version: int = 0, offset: int = -1, error: str = "") -> Answer:
    return Answer(
        number=number,
        answered_at_ms=START_MS + number * 20.0,
        latency_ms=1.0 + number % 3,
        service_ms=1.0,
        version=version,
        learned_offset=offset,
        error=error,
    )


def good_run(events: int = 2000, releases: int = 12) -> Measurements:
    """A run that keeps every promise: scores are the true probabilities, a release learns each twelfth at once."""
    seen, chance = Measurements(SPEC), random.Random(1)
    for number in range(events):
        seen.take_event(view(number), f"v-{number % 50}", number * MINUTE_MS)
        seen.take_score(score_of(number))
        p = chance.betavariate(1, 4)
        seen.take_example(example_of(number, y=chance.random() < p, score=p), number, START_MS + number)
    for version in range(releases):
        offset = (version + 1) * events // releases - 1
        seen.take_release(release_of(version, offset), START_MS + offset + 10)
        seen.take_alias(Alias(model="m", alias="live", version=version, changed_at=0))
        seen.take_answer(answer_of(offset // 20 + 2, version, offset))
    return seen

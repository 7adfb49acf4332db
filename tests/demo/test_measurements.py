"""What was seen is counted once, and what should have been seen is known independently."""

from __future__ import annotations

import math

from schemas.records import Alias
from streams.demo.measurements import Measurements
from tests.demo.seen import MINUTE_MS, SPEC, answer_of, example_of, score_of, view

PURCHASE = {"_id": "p-1", "eventType": "commerce.purchases"}


def test_only_events_of_the_models_types_are_applicable() -> None:
    """By `eventType` or by measure; an event of another type counts as an event and no more."""
    seen = Measurements(SPEC)
    seen.take_event(view(1), "v", 0)
    seen.take_event({"_id": "e-2", "eventType": "commerce.productViews"}, "v", 0)
    seen.take_event({"_id": "e-3", "commerce": {"productViews": {"value": 0}, "purchases": None}}, "v", 0)
    seen.take_event({}, "", 0)

    assert (seen.events, seen.applicable) == (4, 2)


def test_the_time_since_the_visitors_last_outcome_leaves_the_event_itself_out() -> None:
    """Never before is infinite; another visitor's purchase does not count."""
    seen = Measurements(SPEC)
    seen.take_event(PURCHASE, "v", 0)
    seen.take_event(view(1), "v", 5000)
    seen.take_event(view(2), "w", 6000)

    assert seen.since_outcome_s == {"e-1": 5.0, "e-2": math.inf}


def test_repeats_are_counted_apart() -> None:
    """At-least-once delivery shows as repeats, not as more scores and examples; the first copy counts."""
    seen = Measurements(SPEC)
    for _ in range(2):
        seen.take_score(score_of(1))
    seen.take_example(example_of(1), 10, 100.0)
    seen.take_example(example_of(1), 11, 200.0)

    assert (len(seen.scored), len(seen.examples), seen.repeats) == (1, 1, 2)
    assert (seen.examples[0].offset, seen.last_offset) == (10, 10)


def test_counts_that_agree_by_chance_do_not_hide_a_wrong_event() -> None:
    """One event without a score and one score without an event are two differences, not none."""
    seen = Measurements(SPEC)
    seen.take_event(view(1), "v", 0)
    seen.take_score(score_of(2))
    seen.take_example(example_of(2), 0, 0.0)

    assert seen.unscored() == {"e-1", "e-2"}
    assert seen.unclosed() == {"e-1", "e-2"}


def test_a_swap_is_a_change_of_version_in_good_answers() -> None:
    """Failed answers carry no version; answers that overtake each other at a swap make no second one."""
    seen = Measurements(SPEC)
    for number, version in enumerate((0, 0, 1, 0, 1)):
        seen.take_answer(answer_of(number, version, version))
    seen.take_answer(answer_of(9, -1, error="timeout"))

    assert (seen.swaps(), seen.failed, seen.edge_version, seen.edge_offset) == (1, 1, 1, 1)


def test_live_follows_the_alias_and_the_prior_runs_ahead_of_each_example() -> None:
    """Another alias is not live; an example's prior knows only the examples before it."""
    seen = Measurements(SPEC)
    seen.take_alias(Alias(model="m", alias="live", version=3, changed_at=0))
    seen.take_alias(Alias(model="m", alias="shadow", version=4, changed_at=0))
    seen.take_example(example_of(1, y=True), 0, 0.0)
    seen.take_example(example_of(2, y=True), 1, 0.0)

    assert seen.live_version == 3
    assert [closed.prior for closed in seen.examples] == [1 / 2, 2 / 3]
    assert seen.examples[1].event_time == 2 * MINUTE_MS

"""The summary has the figures it promises, and every promise breaks when what it is about breaks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from schemas.records import Alias
from streams.demo.measurements import Measurements
from streams.demo.summary import OWN_MODEL, Figures, promises, summarise
from tests.demo.seen import MINUTE_MS, START_MS, answer_of, example_of, good_run, release_of, score_of, view

KEYS = {
    "data",
    "events",
    "applicable",
    "scored",
    "dead_letters",
    "examples",
    "positives",
    "releases",
    "releases_refused",
    "edge_swaps",
    "edge_requests",
    "edge_failed",
    "edge_p50_ms",
    "edge_p99_ms",
    "auc",
    "auc_prior",
    "logloss",
    "logloss_prior",
    "label_to_served_p50_s",
    "label_to_served_p99_s",
    "seconds",
}


def summary_of(seen: Measurements, data: str = "other") -> Figures:
    return summarise(seen, data=data, seconds=75.0, restarts=0)


def broken(seen: Measurements, **changes: object) -> list[str]:
    figures = summary_of(seen) | changes
    return [each.words for each in promises(figures, seen, expected_events=2000) if not each.held]


def test_a_summary_has_every_key_and_is_json() -> None:
    """Also when nothing was seen: then figures are null, never NaN."""
    for seen in (good_run(), good_run(0, 0)):
        figures = summary_of(seen)

        assert set(figures) >= KEYS
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_figures_of_a_good_run() -> None:
    """Exact where they are counts, plausible where they are quality."""
    figures = summary_of(good_run())

    assert (figures["events"], figures["applicable"], figures["scored"], figures["examples"]) == (2000,) * 4
    assert (figures["releases"], figures["edge_swaps"], figures["edge_failed"]) == (12, 11, 0)
    assert 0.7 < figures["auc"] < 0.85
    assert figures["auc_prior"] < 0.6
    assert figures["logloss"] < figures["logloss_prior"]
    assert 0.0 < figures["label_to_served_p50_s"] < figures["label_to_served_p99_s"] < 1.0


def test_a_good_run_keeps_every_promise() -> None:
    """None is broken."""
    assert broken(good_run()) == []


def _event_too_many(seen: Measurements) -> None:
    seen.take_event({"_id": "x"}, "v", 0)


def _event_without_score(seen: Measurements) -> None:
    seen.take_event(view(9999), "v", 0)
    seen.events -= 1


def _score_without_event(seen: Measurements) -> None:
    seen.take_score(score_of(9999))


def _example_without_event(seen: Measurements) -> None:
    seen.take_example(example_of(9999), 1999, START_MS)


def _dead_letter(seen: Measurements) -> None:
    seen.take_dead_letter("decode: not JSON")


def _failed_request(seen: Measurements) -> None:
    seen.take_answer(answer_of(9999, -1, error="timeout"))


def _live_moved_on(seen: Measurements) -> None:
    seen.take_alias(Alias(model="m", alias="live", version=99, changed_at=0))


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        (_event_too_many, "sent"),
        (_event_without_score, "scored"),
        (_score_without_event, "scored"),
        (_example_without_event, "closed"),
        (_dead_letter, "put aside"),
        (_failed_request, "request"),
        (_live_moved_on, "live"),
    ],
)
def test_each_promise_breaks_with_what_it_is_about(break_it: Callable[[Measurements], None], word: str) -> None:
    """One thing goes wrong, and the promise about it is among those that do not hold."""
    seen = good_run()
    break_it(seen)

    assert [words for words in broken(seen) if word in words]


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("releases", 9, "released"),
        ("edge_swaps", 9, "swapped"),
        ("label_to_served_p99_s", 3.01, "labels"),
        ("label_to_served_p99_s", None, "labels"),
        ("edge_requests", 0, "request"),
    ],
)
def test_bounds_are_where_they_are_said_to_be(key: str, value: object, word: str) -> None:
    """One below, or nothing measured at all, is a broken promise."""
    (words,) = broken(good_run(), **{key: value})

    assert word in words


@pytest.mark.parametrize(("auc", "held"), [(0.79, False), (0.80, True), (0.92, True), (0.93, False), (None, False)])
def test_luma_must_not_be_too_good_either(auc: float | None, held: bool) -> None:
    """Above 0.92 labels leak into the past."""
    kept = broken(good_run(), data="luma", model=OWN_MODEL, auc=auc)

    assert held == (kept == [])


@pytest.mark.parametrize(("auc", "held"), [(0.69, False), (0.70, True), (0.93, False), (None, False)])
def test_a_model_of_one_s_own_must_beat_the_prior_on_luma(auc: float | None, held: bool) -> None:
    """How much there is to learn with other features or another learner nobody has measured; a leak is a leak."""
    kept = broken(good_run(), data="luma", model="purchase-forest", auc=auc, auc_prior=0.70)

    assert held == (kept == [])


def test_cdnow_must_beat_the_prior_and_the_rule_in_its_second_half() -> None:
    """Equal is not above."""
    better = {"auc_second_half": 0.7, "auc_prior_second_half": 0.5, "auc_rule": 0.6}

    assert broken(good_run(), data="cdnow", **better) == []
    assert len(broken(good_run(), data="cdnow", **better | {"auc_rule": 0.7})) == 1
    assert len(broken(good_run(), data="cdnow", **better | {"auc_second_half": None})) == 2


def test_the_second_half_leaves_out_windows_that_end_after_the_data() -> None:
    """That no outcome came is no observation where the record stops before the window does."""
    seen = good_run(1000, 10)

    # 999 minutes of events, the half is after 499.5, the window is 30 minutes.
    assert summary_of(seen)["examples_second_half"] == 969 - 499
    assert seen.newest_event_ms == 999 * MINUTE_MS


def test_refused_candidates_are_counted_from_the_last_release() -> None:
    """A release carries how many were refused until then."""
    seen = good_run()
    seen.take_release(release_of(12, 1999, refused=4), START_MS + 3000)

    assert summary_of(seen)["releases_refused"] == 4

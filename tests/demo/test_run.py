"""What the run decides: what the client asks, how long the replay takes, what counts as a clean end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.demo.run import Result, Settings, to_ask
from streams.demo.summary import Promise
from tests.demo.seen import SPEC, view


def test_the_client_asks_what_the_model_applies_to_spread_over_the_data() -> None:
    """The first and the last part of the data are both asked about; other events never."""
    events = [event for number in range(100) for event in (view(number), {"_id": f"x-{number}"})]

    asked = [json.loads(line)["_id"] for line in to_ask(events, SPEC, 10)]

    assert asked == [f"e-{number}" for number in range(0, 100, 10)]


def test_fewer_events_than_requests_are_asked_once_each_per_turn() -> None:
    """Nothing is made up to fill the list."""
    assert len(to_ask([view(1), view(2)], SPEC, 10)) == 2


@pytest.mark.parametrize(("seconds", "replay_s"), [(75.0, 57.0), (20.0, 10.0)])
def test_the_replay_leaves_time_for_start_and_end(seconds: float, replay_s: float) -> None:
    """But it is never too short to be one."""
    assert Settings(None, None, seconds, Path()).replay_s == replay_s


def test_one_broken_promise_is_enough() -> None:
    """The exit code follows from this."""
    kept, broken = Promise("a", "1", held=True), Promise("b", "2", held=False)

    assert Result({}, (kept,), Path(), Path()).held
    assert not Result({}, (kept, broken), Path(), Path()).held

"""When the next journal entry is due: soon, whatever the broker did, but for a state that takes long to write down."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.held import Held
from streams.journal import Change, Journal
from streams.transport import ChunkMessage


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class State:
    """A state that takes a while to write down."""

    next_offset = 7

    def __init__(self, clock: Clock, takes_s: float) -> None:
        self._clock, self._takes_s = clock, takes_s

    def change(self) -> Change:
        self._clock.now_s += self._takes_s
        return Change(b"state")


def due_after_s(clock: Clock, *, change_s: float, broker_s: float) -> float:
    """How long after an entry the next one is due, to a tenth of a second, with something to write."""

    class Slow:
        async def append(self, next_offset: int, change: Change) -> None:
            clock.now_s += broker_s

    chunk = cast("ChunkMessage", SimpleNamespace(value=[], ack=lambda consumer: True))
    held = Held(cast("Journal", Slow()))
    held.hold(chunk)
    asyncio.run(held.settle(State(clock, change_s), consumer=None))
    held.hold(chunk)
    ended_s = clock.now_s
    while not held.due:
        clock.now_s += 0.1
    return clock.now_s - ended_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    module: Any = SimpleNamespace(monotonic=clock)
    monkeypatch.setattr("streams.held.time", module)
    return clock


def test_a_broker_that_was_away_does_not_put_off_the_next_entry(clock: Clock) -> None:
    """What the workers do not acknowledge is done again after a crash: that must not grow with an outage."""
    assert due_after_s(clock, change_s=0.01, broker_s=60.0) == pytest.approx(1.0, abs=0.2)


def test_a_large_state_is_written_less_often(clock: Clock) -> None:
    """At most a tenth of the time goes into it."""
    assert due_after_s(clock, change_s=0.5, broker_s=0.0) == pytest.approx(5.0, abs=0.2)

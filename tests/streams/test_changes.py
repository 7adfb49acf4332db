"""Journal entries of a partition put it together again, wherever they begin and whatever they hold."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import StateUnreadable
from streams import partition as partition_module
from streams.journal import Change
from streams.partition import Partition
from tests.streams.test_partition import READER, STEPS, VIEW, Step, chunks, did, log_of


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Snapshots in slices of a few rows, so that short logs have several of them under way."""
    with monkeypatch.context() as patched:
        patched.setattr(partition_module, "LEAST_ROWS", 2)
        yield


def readable(changes: list[Change]) -> list[bytes]:
    """The entries from the beginning of the last whole snapshot on, as the journal finds them."""
    base = begun = 0
    for place, change in enumerate(changes):
        begun = place if change.begins else begun
        base = begun if change.ends else base
    return [change.body for change in changes[base:]]


@settings(max_examples=300, deadline=None)
@given(
    steps=STEPS,
    cuts=st.lists(st.integers(0, 30), max_size=12),
    crashes=st.sets(st.integers(0, 12), max_size=4),
)
def test_entries_put_the_partition_together(steps: list[Step], cuts: list[int], crashes: set[int]) -> None:
    """After every chunk, from the last whole snapshot on; and what is restored goes on as if nothing had been."""
    state, whole = Partition(READER), Partition(READER)
    changes: list[Change] = []
    for place, chunk in enumerate(chunks(log_of(steps), cuts)):
        for each in (state, whole):
            each.number(len(each.take(chunk).closed))
        changes.append(state.change())
        again = Partition.restore(READER, readable(changes))

        assert whole.snapshot() == again.snapshot()
        if place in crashes:
            state = again


def test_a_large_state_is_written_over_while_it_changes_over() -> None:
    """No entry holds much more than what changed and as many rows again, and a snapshot still ends."""
    state = Partition(READER)
    rng = random.Random(1)
    changes: list[Change] = []
    for at in range(0, 3000, 20):
        state.take([did(offset, VIEW, offset, f"v{rng.randrange(1000)}") for offset in range(at, at + 20)])
        changes.append(state.change())

    assert max(len(change.body) for change in changes[10:]) < 3 * min(len(change.body) for change in changes[10:])
    assert sum(change.ends for change in changes[20:]) >= 2
    assert state.snapshot() == Partition.restore(READER, readable(changes)).snapshot()


def test_a_missing_entry_never_makes_a_wrong_state() -> None:
    """What a lost entry held is in a later one too, or the state is refused."""
    state = Partition(READER)
    bodies: list[bytes] = []
    for at in range(0, 100, 10):
        state.take([did(offset, VIEW, offset, f"v{offset}") for offset in range(at, at + 10)])
        bodies.append(state.change().body)
    refused = 0
    for lost in range(len(bodies) - 1):
        try:
            again = Partition.restore(READER, bodies[:lost] + bodies[lost + 1 :])
        except StateUnreadable:
            refused += 1
        else:
            assert state.snapshot() == again.snapshot()

    assert refused >= 5

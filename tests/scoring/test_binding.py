"""A bound session answers a row as an unbound one does, to the bit, whoever else asks meanwhile."""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from schemas.features import number
from scoring.session import Session
from tests.scoring.artifacts import SPEC, answering_sum, release, weighted

NUMBERS = msgspec.structs.replace(SPEC, features=tuple(number("search.position", name=f"n{i}") for i in range(4)))
ARTIFACTS = {
    "classification": weighted([0.3, -1.7, 1e-3, 2.0], NUMBERS),
    "regression": answering_sum("regression", "prediction", NUMBERS),
    "anomaly": answering_sum("anomaly", "score", NUMBERS),
}
rng = random.Random(1)
ROWS = [(tuple(rng.choice([math.nan, rng.gauss(0, 3)]) for _ in range(4)), ()) for _ in range(200)]


@pytest.fixture(params=sorted(ARTIFACTS))
def sessions(request: pytest.FixtureRequest) -> tuple[Session, Session]:
    """One with a binding and one whose binding was taken away."""
    bound, unbound = (Session(release(0, ARTIFACTS[request.param], NUMBERS)) for _ in range(2))
    assert bound._binding is not None
    unbound._binding = None
    return bound, unbound


def test_bound_and_unbound_answer_the_same(sessions: tuple[Session, Session]) -> None:
    """A score, all outputs of a row, and outputs by name."""
    bound, unbound = sessions

    for row in ROWS:
        assert unbound.score([row]) == bound.score([row])
        assert unbound.answer(row) == bound.answer(row)
        feed = bound._feed([row])
        names = [each.name for each in bound.outputs]
        for ours, theirs in zip(bound.run(feed, names).values(), unbound.run(feed, names).values(), strict=True):
            assert ours.tobytes() == theirs.tobytes()


def test_what_was_answered_is_not_overwritten_by_the_next_run(sessions: tuple[Session, Session]) -> None:
    """The memory is used again; an answer is the caller's own."""
    bound, _ = sessions
    names = [each.name for each in bound.outputs]
    first = bound.run(bound._feed([ROWS[0]]), names)
    as_they_were = {name: array.copy() for name, array in first.items()}
    bound.score([((9.0, 9.0, 9.0, 9.0), ())])

    assert all(as_they_were[name].tobytes() == array.tobytes() for name, array in first.items())


def test_whoever_finds_it_in_use_is_answered_all_the_same(sessions: tuple[Session, Session]) -> None:
    """Four threads on one session: no answer is another row's."""
    bound, unbound = sessions
    expected = [unbound.score([row]) for row in ROWS]

    def ask(_: int) -> list[Any]:
        return [bound.score([row]) for row in ROWS]

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(ask, range(4)):
            assert expected == answers


def test_a_model_with_categories_has_none() -> None:
    """onnxruntime binds no strings."""
    assert Session(release(0, weighted([1.0, 0.0, 0.0, 0.0])))._binding is None

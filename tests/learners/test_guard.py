"""The guard keeps from a learner what would ruin it for good."""

from __future__ import annotations

import math

import pytest
from river import linear_model, preprocessing

from learners.guard import admit
from schemas.errors import Poison
from schemas.records import Example, Source


def example_of(numbers: dict[str, float], *, score: float = 0.5) -> Example:
    return Example(
        id="m/e", model="m", event="e", visitor="v", numbers=numbers, categories={"c": "x"}, y=True, score=score,
        version=1, event_time=1, closed_at=1, source=Source(partition=0, seq=0),
    )  # fmt: skip


@pytest.mark.parametrize("value", [0.0, -0.0, 1e9, -1e9, 1e10, 5e-324])
def test_what_an_event_may_hold_is_let_in(value: float) -> None:
    """All that the reader's bounds allow, and a recency of three centuries."""
    assert {"n": value, "c": "x"} == admit(example_of({"n": value}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e12, -1e12, 1e308])
def test_what_ruins_a_running_mean_is_kept_out(value: float) -> None:
    """The sentence names the feature, which is not the first one."""
    with pytest.raises(Poison) as poison:
        admit(example_of({"fine": 1.0, "absurd": value}))

    assert "learn" == poison.value.stage
    assert poison.value.reason.startswith(f"absurd is {value!r}")


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_an_example_without_a_score_is_kept_out(score: float) -> None:
    """One NaN on the scoreboard, and no candidate could be judged for the next 2,000 examples."""
    with pytest.raises(Poison, match="score is "):
        admit(example_of({"n": 1.0}, score=score))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e12])
def test_one_such_number_would_have_ruined_the_learner(value: float) -> None:
    """Why the guard is there: after one of them, 2,000 clean examples do not bring the learner back."""
    clean, ruined = (preprocessing.StandardScaler() | linear_model.LogisticRegression() for _ in range(2))
    ruined.learn_one({"n": value}, True)
    right = [0, 0]
    for i in range(2000):
        x, y = {"n": float(i % 2)}, i % 2 == 1
        for place, learner in enumerate((clean, ruined)):
            right[place] += i >= 1000 and (learner.predict_proba_one(x).get(True, 0.0) > 0.5) == y
            learner.learn_one(x, y)

    assert 1000 == right[0]
    assert right[1] <= 500

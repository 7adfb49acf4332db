"""The gate lets a candidate pass unless it is worse than what is live."""

from __future__ import annotations

import math

import msgspec
import pytest

from learners.gate import LEAST_EXAMPLES, MARGIN, MOST_EXAMPLES, Gate, Verdict
from learners.task import TASKS, log_loss
from schemas.errors import ReleaseRefused


def gate_of(p: float, p_live: float, *, examples: int = LEAST_EXAMPLES) -> Gate:
    """A gate after balanced examples; `p` is what each side gives the class that came true."""
    gate = Gate()
    for i in range(examples):
        y = i % 2 == 0
        gate.add(score=p if y else 1 - p, live=p_live if y else 1 - p_live, y=y)
    return gate


def test_a_better_candidate_passes() -> None:
    """The verdict holds what was compared."""
    verdict = gate_of(0.8, 0.6).judge()

    assert LEAST_EXAMPLES == verdict.examples
    assert (-math.log(0.8), -math.log(0.6)) == pytest.approx((verdict.loss, verdict.loss_live))


def test_a_worse_candidate_is_refused() -> None:
    """The refusal names the check and both losses."""
    with pytest.raises(ReleaseRefused) as refused:
        gate_of(0.6, 0.8).judge()

    assert "gate" == refused.value.check
    assert "log loss 0.5108 on the last 500 examples, live has 0.2231" == refused.value.reason


@pytest.mark.parametrize(("ratio", "passes"), [(1.0, True), (1 + MARGIN - 1e-6, True), (1 + MARGIN + 1e-6, False)])
def test_as_bad_as_live_is_good_enough_within_the_margin(ratio: float, passes: bool) -> None:
    """Five percent, to the digit."""
    gate = gate_of(math.exp(-0.5 * ratio), math.exp(-0.5))
    if passes:
        assert LEAST_EXAMPLES == gate.judge().examples
    else:
        with pytest.raises(ReleaseRefused):
            gate.judge()


@pytest.mark.parametrize("examples", [0, 1, LEAST_EXAMPLES - 1])
def test_with_few_examples_there_is_nothing_to_say(examples: int) -> None:
    """However bad it looks: a young learner's releases are all that keep it from serving its prior."""
    assert Verdict(0, 0.0, 0.0) == gate_of(0.1, 0.9, examples=examples).judge()


def test_with_one_class_there_is_nothing_to_say() -> None:
    """Whoever always says "no" would win."""
    gate = Gate()
    for _ in range(MOST_EXAMPLES):
        gate.add(score=0.9, live=0.1, y=False)

    assert 0 == gate.judge().examples


def test_a_rare_class_is_looked_for_further_back() -> None:
    """The window grows until it is in it, and no further."""
    gate = Gate()
    for i in range(2000):
        gate.add(score=0.1, live=0.1, y=i == 700)

    assert 2000 - 700 == gate.judge().examples


def test_only_the_last_examples_count() -> None:
    """A candidate that was bad long ago passes, one that was good long ago does not."""
    recovered, fallen = gate_of(0.1, 0.9, examples=2000), gate_of(0.9, 0.1, examples=2000)
    for i in range(LEAST_EXAMPLES):
        y = i % 2 == 0
        good = 0.9 if y else 0.1
        recovered.add(score=good, live=0.5, y=y)
        fallen.add(score=0.5, live=good, y=y)

    assert recovered.judge().loss < recovered.judge().loss_live
    with pytest.raises(ReleaseRefused):
        fallen.judge()


def test_a_candidate_without_answers_is_refused() -> None:
    """NaN compares with nothing; it must not pass for that."""
    with pytest.raises(ReleaseRefused):
        gate_of(math.nan, 0.6).judge()


def test_a_live_release_without_answers_is_replaced() -> None:
    """It is as bad as can be."""
    verdict = gate_of(0.6, math.nan).judge()

    assert log_loss(0.0, True) == pytest.approx(verdict.loss_live)


def test_a_regressor_is_judged_by_squared_error() -> None:
    """Also beyond 0 and 1, and a single wild answer does not make a mean that nothing can be compared with."""
    gate = Gate(TASKS["regression"])
    for i in range(LEAST_EXAMPLES):
        gate.add(score=1.5, live=math.inf, y=i % 2 == 0)
    verdict = gate.judge()

    assert 1.25 == verdict.loss
    assert math.isfinite(verdict.loss_live)
    for i in range(LEAST_EXAMPLES):
        gate.add(score=1.5, live=0.5, y=i % 2 == 0)
    with pytest.raises(ReleaseRefused, match=r"squared error 1\.2500 on the last 500 examples, live has 0\.2500"):
        gate.judge()


def test_a_detector_is_only_asked_for_answers() -> None:
    """There is no right score to compare with; the verdict names what was counted, also where no outcome came."""
    gate = Gate(TASKS["anomaly"])
    for _ in range(LEAST_EXAMPLES):
        gate.add(score=0.9, live=0.1, y=False)

    assert Verdict(LEAST_EXAMPLES, 0.0, 0.0) == gate.judge()
    gate.add(score=math.nan, live=0.1, y=False)
    with pytest.raises(ReleaseRefused, match=r"share of examples without a finite score 0\.0020"):
        gate.judge()


def test_a_gate_goes_on_where_it_was() -> None:
    """Through plain data and back it gives the same verdict, and forgets at the same pace."""
    gate = gate_of(0.8, 0.6, examples=MOST_EXAMPLES - 10)
    again = Gate.from_rows(msgspec.msgpack.decode(msgspec.msgpack.encode(gate.as_rows())))
    for i in range(100):
        for each in (gate, again):
            each.add(score=0.7, live=0.6, y=i % 3 == 0)

    assert gate.judge() == again.judge()
    assert MOST_EXAMPLES == len(again.as_rows())
    assert gate.as_rows() == [tuple(row) for row in again.as_rows()]

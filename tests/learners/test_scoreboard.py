"""The scoreboard tells how good the learner is on what it has not learned yet."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from learners.scoreboard import WINDOW, Scoreboard
from learners.task import TASKS, log_loss

ROWS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


def board_of(rows: list[tuple[float, float, bool]]) -> Scoreboard:
    board = Scoreboard()
    for p, served, y in rows:
        board.add(score=p, served=served, y=y)
    return board


@pytest.mark.parametrize(
    ("p", "y", "loss"),
    [(1.0, True, 0.0), (0.0, False, 0.0), (0.5, False, math.log(2)), (0.0, True, 34.539), (1.0, False, 34.539)],
)
def test_log_loss_is_finite_even_where_the_answer_was_certain_and_wrong(p: float, y: bool, loss: float) -> None:
    """A single certain mistake must not make a mean infinite."""
    assert loss == pytest.approx(log_loss(p, y), abs=1e-3)


@pytest.mark.parametrize("y", [True, False])
def test_no_answer_costs_as_much_as_the_worst_one(y: bool) -> None:
    """NaN in a mean would compare as not worse than anything."""
    assert log_loss(0.0, True) == log_loss(math.nan, y)


def test_nothing_is_said_of_nothing() -> None:
    """No examples, no figures."""
    assert {} == Scoreboard().metrics()


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_the_figures_are_those_of_scikit_learn(rows: list[tuple[float, float, bool]]) -> None:
    """Mean log loss and base rate always, AUC where both classes were seen."""
    figures = board_of(rows).metrics()
    p, served, y = (list(column) for column in zip(*rows, strict=True))

    assert figures["window"] == len(rows)
    assert figures["base_rate"] == pytest.approx(sum(y) / len(y))
    assert figures["logloss"] == pytest.approx(sum(map(log_loss, p, y)) / len(y))
    assert figures["logloss_served"] == pytest.approx(sum(map(log_loss, served, y)) / len(y))
    assert ("auc" in figures) == (len(set(y)) == 2)
    if "auc" in figures:
        assert figures["auc"] == pytest.approx(metrics.roc_auc_score(y, p))
        assert figures["auc_served"] == pytest.approx(metrics.roc_auc_score(y, served))


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_the_figures_of_a_regressor_are_those_of_scikit_learn(rows: list[tuple[float, float, bool]]) -> None:
    """Errors always, AUC of the ranking where both classes were seen; its scores may be anything."""
    board = Scoreboard(TASKS["regression"])
    for score, served, y in rows:
        board.add(score=3 * score - 1, served=served, y=y)
    figures = board.metrics()
    scores, served_scores, labels = (list(column) for column in zip(*rows, strict=True))
    scores = [3 * score - 1 for score in scores]

    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(labels, scores))
    assert figures["rmse"] == pytest.approx(metrics.root_mean_squared_error(labels, scores))
    assert figures["rmse_served"] == pytest.approx(metrics.root_mean_squared_error(labels, served_scores))
    assert ("auc" in figures) == (len(set(labels)) == 2)
    assert "logloss" not in figures


def test_of_a_detector_only_the_order_is_judged() -> None:
    """How odd what had the outcome was, beside what had not; rows without an answer are left out."""
    board = Scoreboard(TASKS["anomaly"])
    for score, y in ((7.0, True), (3.0, False), (math.nan, True), (5.0, True), (6.0, False)):
        board.add(score=score, served=0.0, y=y)

    assert {"window": 5.0, "base_rate": 0.6, "auc": 0.75, "auc_served": 0.5} == board.metrics()


def test_figures_are_of_the_window_and_counts_of_all() -> None:
    """A bad beginning is forgotten by the figures, not by the counts."""
    bad = [(0.1, 0.1, True)] * 1000
    good = [(0.9, 0.8, True), (0.1, 0.2, False)] * (WINDOW // 2)
    board = board_of(bad + good)

    assert (1000 + WINDOW, 1000 + WINDOW // 2) == (board.examples, board.positives)
    assert board_of(good).metrics() == board.metrics()


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, more=ROWS)
def test_a_scoreboard_goes_on_where_it_was(
    rows: list[tuple[float, float, bool]], more: list[tuple[float, float, bool]]
) -> None:
    """Through plain data and back it gives, after the same examples, the same figures to the last bit."""
    whole = board_of(rows)
    again = Scoreboard.from_rows(msgspec.msgpack.decode(msgspec.msgpack.encode(whole.as_rows())))
    for p, served, y in more:
        for board in (whole, again):
            board.add(score=p, served=served, y=y)

    assert whole.metrics() == again.metrics()
    assert whole.as_rows() == again.as_rows()

"""From label to served score: the first answer that had learned it, and which intervals count."""

from __future__ import annotations

from streams.demo.freshness import label_to_served


def test_a_label_is_served_by_the_first_answer_that_had_learned_it() -> None:
    """Later answers by the same version, or by an older one that overtook it, change nothing."""
    answers = [(1000.0, -1), (3000.0, 5), (3100.0, -1), (4000.0, 5)]

    fresh = label_to_served([(4, 900.0), (5, 2900.0)], answers, [(5, 0)])

    assert fresh.waited_s.tolist() == [2.1, 0.1]
    assert fresh.unserved == 0


def test_answers_need_not_come_in_order() -> None:
    """The client's connections report when they have the answer; they are put in order by that time."""
    fresh = label_to_served([(0, 0.0)], [(2000.0, 3), (1000.0, 0)], [(3, 0)])

    assert fresh.waited_s.tolist() == [1.0]


def test_intervals_in_which_the_gate_refused_a_candidate_are_told_apart() -> None:
    """They are measured, and left out of the promise."""
    releases = [(9, 0), (19, 1), (29, 1)]
    answers = [(100.0, 9), (9000.0, 19), (9200.0, 29)]

    fresh = label_to_served([(9, 0.0), (10, 0.0), (19, 0.0), (20, 9100.0)], answers, releases)

    assert fresh.passed.tolist() == [True, False, False, True]
    assert fresh.quantile_s(1.0) == 0.1
    assert fresh.waited_s.max() == 9.0


def test_a_label_that_no_answer_has_learned_is_counted_as_unserved() -> None:
    """It has no time, and it is not forgotten."""
    fresh = label_to_served([(0, 0.0), (1, 0.0)], [(50.0, 0)], [(0, 0)])

    assert (len(fresh.waited_s), fresh.unserved) == (1, 1)


def test_nothing_seen_is_nothing_measured() -> None:
    """No division by zero, no invented figure."""
    fresh = label_to_served([], [], [])

    assert fresh.quantile_s(0.99) is None
    assert label_to_served([(0, 0.0)], [], []).unserved == 1

"""Killed, sent away and frozen workers: the checker finds nothing wrong with what they leave behind."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.topics import Cluster
from tests.soak.monkey import Blow
from tests.soak.run import Report, Run, Size

RATE_PER_S = 5000.0  # more than two cores handle: there is always something under way


def run(kafka: str, folder: Path, size: Size, blows: Sequence[Blow], within_s: float) -> Report:
    """A run on the shared broker, which nobody kills."""
    cluster = Cluster(kafka, f"kills-{uuid.uuid4().hex[:8]}.")
    # The oracle has its own 10,000 schedules, and would take as long as all the rest of the verdict.
    return Run(7, size, cluster, folder, blows=blows, rate_per_s=RATE_PER_S, ask_oracle=False).to_the_end(within_s)


@pytest.mark.timeout(270)
def test_five_kills_in_50_000_events_lose_double_and_alter_nothing(kafka: str, tmp_path: Path) -> None:
    """A tenth of them poison: scores, examples, dead letters, weights and offsets are those of a run left alone."""
    size = Size(events=50_000, kills=5, scorers=1, learners=1, edges=0, partitions=2)
    roles = ("scorer", "learner", "scorer", "learner", "scorer")
    blows = [Blow(12_000 + 8_000 * place, "kill", role, hurried=True) for place, role in enumerate(roles)]
    report = run(kafka, tmp_path, size, blows, within_s=200)

    assert report.ok, report.as_dict()
    assert {"scorer": 3, "learner": 2} == report.killed
    assert report.verdict is not None
    assert 50_000 == report.verdict.read["events"]
    assert report.verdict.read["dead letters"] >= 5_000


@pytest.mark.timeout(270)
def test_scorers_that_join_leave_and_come_back_as_zombies_do_no_harm(kafka: str, tmp_path: Path) -> None:
    """One leaves and another joins; one is stopped beyond its session and goes on with what it had in hand."""
    size = Size(events=5_000, kills=0, scorers=2, learners=1, edges=0, partitions=4)
    blows = [Blow(1_500, "leave", "scorer"), Blow(3_000, "freeze", "scorer")]
    report = run(kafka, tmp_path, size, blows, within_s=180)

    assert report.ok, report.as_dict()
    assert {"scorer-1", "scorer-2", "scorer-3", "learner-1"} == set(report.exits)
    assert {"scorer left", "scorer frozen"} == set(report.recovery_s)

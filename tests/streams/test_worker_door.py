"""What a worker says over HTTP: its figures, that it is alive, and whether it gets on."""

from __future__ import annotations

from typing import Any

import pytest

from streams.metrics import Metrics
from streams.worker_door import WorkerDoor
from tests.scoring.asgi import Reply, call

METRICS = Metrics("clicks")


def asked(method: str, path: str, problem: str = "") -> Reply:
    door: Any = WorkerDoor(METRICS, lambda: problem)
    reply = call(door, method, path)
    assert reply is not None
    return reply


def test_ready_says_why_it_is_not() -> None:
    """200 while there is no problem, 503 with the problem while there is one; alive in both cases."""
    ready, stalled = asked("GET", "/ready"), asked("GET", "/ready", "no progress for 31 s: events partition 0")

    assert (ready.status, ready.json) == (200, {"ready": True})
    assert (stalled.status, stalled.json) == (
        503,
        {"ready": False, "reason": "no progress for 31 s: events partition 0"},
    )
    assert asked("GET", "/live", "no progress for 31 s").status == 200


def test_metrics_are_in_the_text_format_with_help_and_unit() -> None:
    """Every figure says what it is; names end in their unit."""
    METRICS.lag(3).set(12)
    METRICS.settle().observe(0.2)
    reply = asked("GET", "/metrics")
    text = reply.body.decode()

    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "# HELP freshet_lag_records Records of the input that are not handled yet." in text
    assert 'freshet_lag_records{model="clicks",partition="3"} 12.0' in text
    assert 'freshet_settle_seconds_bucket{le="0.3",model="clicks"} 1.0' in text
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP freshet_")}
    typed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE freshet_")}
    assert helped == typed
    assert len(helped) > 15


def test_partitions_that_are_another_workers_are_not_told() -> None:
    """Else two workers would tell of one partition, one of them what was."""
    metrics = Metrics("clicks")
    metrics.lag(3).set(12)
    metrics.difference("events", 3).set(1)
    metrics.journal_entries().inc()
    metrics.forget_partitions()

    assert b"partition=" not in metrics.text()
    assert b'freshet_journal_entries_total{model="clicks"} 1.0' in metrics.text()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/ready", 405), ("HEAD", "/live", 200)]
)
def test_anything_else_is_refused(method: str, path: str, status: int) -> None:
    """Nothing can be changed from here."""
    assert asked(method, path).status == status

"""A flood of log lines is held to one a minute, with a count, and nothing else is held back."""

from __future__ import annotations

import logging

import pytest

from streams.flood import FloodFilter, hold_back


def test_a_repeated_message_is_said_once_a_minute_with_a_count() -> None:
    """Whatever its arguments; another message is not held back by it."""
    now_s = 0.0
    shown: list[str] = []
    flood = FloodFilter(clock=lambda: now_s)
    for at_s, message, *args in (
        (0, "no node %d", 1), (0.1, "no node %d", 2), (0.2, "another"), (59.9, "no node %d", 1), (60, "no node %d", 3),
        (60.1, "no node %d", 3), (130, "another"),
    ):  # fmt: skip
        now_s = float(at_s)
        record = logging.LogRecord("aiokafka.client", logging.ERROR, "", 0, str(message), tuple(args), None)
        if flood.filter(record):
            shown.append(record.getMessage())

    assert shown == ["no node 1", "another", "no node 3 (2 more like it since the last)", "another"]


def test_loggers_below_a_package_are_held_back(caplog: pytest.LogCaptureFixture) -> None:
    """A filter on a logger does not hold for those below it, so each gets it; those beside it do not."""
    inside, beside = logging.getLogger("floody.client"), logging.getLogger("floodymore")
    hold_back("floody")
    for _ in range(3):
        inside.error("away")
        beside.error("away")

    assert [record.name for record in caplog.records] == ["floody.client", "floodymore", "floodymore", "floodymore"]

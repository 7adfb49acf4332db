"""Crash points: named places at which a test can end the process as `kill -9` would.

`FRESHET_CRASH_POINT=name` ends it there, `name:7` at the seventh time. Without the variable each costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "FRESHET_CRASH_POINT"

NAMES: Final = (
    # taking over a partition
    "journal.before_fence",
    "journal.after_fence",
    "takeover.after_restore",
    # a chunk of events
    "scorer.after_decision",
    "scorer.after_score",
    "scorer.after_send",
    # a chunk of examples
    "learner.after_learning",
    # making it durable
    "settle.before_sent",
    "settle.after_sent",
    "journal.after_object",
    "journal.after_part",
    "journal.before_drop",
    "journal.after_drop",
    "settle.after_journal",
    "settle.after_ack",
    # letting go of a partition
    "revoke.before_settle",
    "revoke.after_settle",
    # a release
    "release.before_export",
    "release.after_judgement",
    "release.before_alias",
    "release.after_alias",
    # a swap
    "swap.before_load",
    "swap.after_load",
    "swap.after_swap",
)
"""Every point there is, in the order in which an event's effects meet them."""

_name, _, _times = os.environ.get(VARIABLE, "").partition(":")
_left = int(_times or 1)


def crash_point(name: str) -> None:
    """End the process at once, without a last word, if this is the point that the environment names."""
    if _name == name:
        _count()


def _count() -> None:
    global _left  # noqa: PLW0603  # a process crashes once
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

"""Crash points: named places at which a test can end the process as `kill -9` would.

`FRESHET_CRASH_POINT=name` ends it there, `name:7` at the seventh time. Without the variable each costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "FRESHET_CRASH_POINT"

NAMES: Final = (
    "journal.before_fence",
    "journal.after_fence",
    "journal.after_part",
    "journal.before_drop",
    "journal.after_drop",
    "settle.before_sent",
    "settle.after_sent",
    "settle.after_journal",
    "settle.after_ack",
    "scorer.after_decision",
    "scorer.after_score",
    "scorer.after_send",
    "learner.after_learning",
    "release.after_judgement",
    "release.before_alias",
    "release.after_alias",
)

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

"""Flood: a client that says the same thing ten times a second, held to one line a minute, with a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_QUIET_S: Final = 60.0


@dataclass(slots=True)
class _Said:
    at_s: float
    more: int = 0


class FloodFilter(logging.Filter):
    """Lets each message through once a minute, whatever its arguments; the next one says how many were held back.

    Args:
        quiet_s: for how long a message is held back.
        clock: seconds.
    """

    def __init__(self, quiet_s: float = _QUIET_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._quiet_s = quiet_s
        self._clock = clock
        self._said: dict[tuple[str, str], _Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is shown."""
        name, now_s = (record.name, str(record.msg)), self._clock()
        said = self._said.get(name)
        if said is not None and now_s - said.at_s < self._quiet_s:
            said.more += 1
            return False
        self._said[name] = _Said(now_s)
        if said is not None and said.more:
            record.msg, record.args = f"{record.getMessage()} ({said.more} more like it since the last)", ()
        return True


def hold_back(package: str) -> None:
    """Hold back the floods of a package's loggers, as far as it was imported."""
    held_back = FloodFilter()
    for name in (package, *logging.root.manager.loggerDict):
        if name == package or name.startswith(f"{package}."):
            logging.getLogger(name).addFilter(held_back)

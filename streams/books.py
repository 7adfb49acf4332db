"""Books: what a worker did, in figures, and whether they add up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from streams.law import Alarm, Balance
from streams.metrics import Metrics, total

_EVERY_S: Final = 1.0
# Counting takes time that grows with what is counted: at most a hundredth of all time goes into it.
_SHARE: Final = 0.01


class Books:
    """The metrics of a worker, and the laws that they keep.

    Args:
        model: whose worker it is.
        law_s: how long a law may be broken before it is an alarm.
    """

    def __init__(self, model: str, law_s: float) -> None:
        self.metrics = Metrics(model)
        self._alarm = Alarm(model, law_s)
        self._due_s = 0.0

    def strike(self, balances: Callable[[], Sequence[Balance]], now_s: float) -> None:
        """Strike balances, if it is time to; to be called between two chunks, when every record is in one place."""
        if now_s < self._due_s:
            return
        started_s = time.perf_counter()
        struck = balances()
        broken = self._alarm.look(struck, now_s)
        for balance in struck:
            self._show(balance, is_broken=balance in broken)
        self._due_s = now_s + max(_EVERY_S, (time.perf_counter() - started_s) / _SHARE)

    def _show(self, balance: Balance, *, is_broken: bool) -> None:
        metrics, law, partition = self.metrics, balance.law, balance.partition
        metrics.difference(law, partition).set(balance.difference)
        metrics.broken(law, partition).set(is_broken)
        total(metrics.came(law, partition), balance.came)
        for part, count in balance.parts.items():
            metrics.parts(law, partition, part).set(count)

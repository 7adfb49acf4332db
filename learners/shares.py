"""Shares: how much of what was learned last came from which visitor, so that none of them can teach a learner alone."""

from __future__ import annotations

import zlib
from collections import deque
from typing import Any, Final

WINDOW: Final = 1000
# So many times what one of them has on average: where a thousand come, nobody is more than 2 % of what is learned;
# where seventy come and stay for long, one may be a quarter; a model that a single visitor tries out learns.
TIMES_THE_MEAN: Final = 20
# The window must go on where only those come who have had their share, or nothing would be learned ever again.
_REFUSED_PER_STEP: Final = 20


class Shares:
    """Who taught the last 1,000 examples.

    >>> shares = Shares()
    >>> for i in range(1000): shares.add(f"visitor-{i}")
    >>> taught = 0
    >>> for _ in range(200):
    ...     if shares.admits("visitor-7"): shares.add("visitor-7"); taught += 1
    >>> taught
    21
    """

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._of: dict[int, int] = {}
        self._refused = 0

    def admits(self, visitor: str) -> bool:
        """Return whether the visitor may teach one example more; if not, it is counted here that one was refused."""
        has = self._of.get(key_of(visitor), 0)
        if not has or has * len(self._of) < TIMES_THE_MEAN * len(self._recent):
            return True
        self._refused += 1
        if self._refused % _REFUSED_PER_STEP == 0:
            self._drop_oldest()
        return False

    def add(self, visitor: str) -> None:
        """Count one example that was learned."""
        if len(self._recent) == WINDOW:
            self._drop_oldest()
        key = key_of(visitor)
        self._recent.append(key)
        self._of[key] = self._of.get(key, 0) + 1

    def as_rows(self) -> list[Any]:
        """Return the shares as plain data."""
        return [self._refused, list(self._recent)]

    @classmethod
    def from_rows(cls, rows: list[Any]) -> Shares:
        """Return the shares that `as_rows` described."""
        shares = cls()
        shares._refused, recent = rows
        for key in recent:
            shares._recent.append(key)
            shares._of[key] = shares._of.get(key, 0) + 1
        return shares

    def _drop_oldest(self) -> None:
        key = self._recent.popleft()
        self._of[key] -= 1
        if not self._of[key]:
            del self._of[key]


def key_of(visitor: str) -> int:
    """Return a visitor in four bytes: ids may be of any length, and a thousand of them are in every journal entry.

    Who finds an id with another visitor's key can have that one withheld, which harms nobody; nobody learns more by it.
    """
    return zlib.crc32(visitor.encode("utf-8", "surrogatepass"))

"""Profile: what is remembered of a visitor, and no more than the model's features ask for."""

from __future__ import annotations

from typing import Final

# A count saturates here: what a robot does a million times says no more than what it does a thousand times.
MOST_REMEMBERED: Final = 1000


class Profile:
    """What is remembered of one visitor.

    Attributes:
        seen_ms: event time of the newest event.
        times: for each counted event type (in `Reader.counted` order) the event times in its window, ascending.
        last: for each event type with a recency (in `Reader.recent` order) its last event times, ascending: the newest
            one that no event is waited for before, and what came after it.
        touched: offset of the last event read of the visitor; where profiles lie in that order, the first are the
            first to be forgotten.
    """

    __slots__ = ("last", "seen_ms", "times", "touched")

    def __init__(self, seen_ms: int, times: list[list[int]], last: list[list[int]], touched: int = -1) -> None:
        self.seen_ms = seen_ms
        self.times = times
        self.last = last
        self.touched = touched

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self.as_row() == other.as_row()

    __hash__ = None  # type: ignore[assignment]  # a profile changes

    def as_row(self) -> tuple[int, list[list[int]], list[list[int]]]:
        """Return what the features read as plain data; `Profile(*row)` is its inverse.

        >>> Profile(*Profile(7, [[5, 7]], [[]]).as_row()).times
        [[5, 7]]
        """
        return (self.seen_ms, self.times, self.last)

"""Changes: what a partition's state has gained and lost since its last journal entry, as bytes, and the way back.

Beside what changed, every entry carries a slice of a snapshot that is always under way: as many rows as have changed,
and no fewer than `LEAST_ROWS`, so that a small state is whole in every entry, and a large one is written over once
while it changes over once. The rows of a slice are what they are when the entry is made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec

from learners.join import Join, Pending
from schemas.errors import StateUnreadable
from schemas.profile import Profile
from schemas.reader import X

LEAST_ROWS: Final = 2000
FORMAT: Final = 3

Known = tuple[str, int]
Outcome = tuple[int, str]
PendingRow = tuple[int, str, str, int, X, float, int]
ProfileRow = tuple[str, int, int, list[list[int]], list[list[int]]]
T = TypeVar("T")


class Rows(msgspec.Struct, array_like=True, gc=False):
    """Rows of a state; those of known events and of outcomes are numbered from `..._at` on, without a gap."""

    known_at: int = 0
    known: Sequence[Known] = ()
    outcomes_at: int = 0
    outcomes: Sequence[Outcome] = ()
    pendings: Sequence[PendingRow] = ()
    profiles: Sequence[ProfileRow] = ()


class Totals(msgspec.Struct, array_like=True, gc=False):
    """What is no row: positions and counts, with which what is put together again is checked."""

    next_offset: int
    newest_ms: int
    seq: int
    events: int
    known: int
    outcomes_read: int
    outcomes: int
    opened: int
    positive: int
    negative: int
    profiles: int
    counts: list[int]


class Body(msgspec.Struct, array_like=True, gc=False):
    """What one journal entry of a scorer says."""

    format: int
    spec: str
    totals: Totals
    changed: Rows
    closed: Sequence[int]
    forgotten: Sequence[str]
    slice: Rows


class Changes:
    """What has changed since the last entry.

    Args:
        from_offset: everything before it is in some entry.

    Attributes:
        known, outcomes: events and outcomes that were read, to be added to in their order.
    """

    def __init__(self, from_offset: int) -> None:
        self.from_offset = from_offset
        self.known: list[Known] = []
        self.outcomes: list[Outcome] = []
        self.closed: list[int] = []
        self.forgotten: set[str] = set()
        self._pendings: list[Pending] = []
        self._touched: dict[str, Profile] = {}

    def add(
        self, pendings: list[Pending], closed: Iterable[Pending], touched: dict[str, Profile], forgotten: set[str]
    ) -> None:
        """Take what else a chunk came to; a visitor is touched or forgotten by it, not both."""
        self._pendings += pendings
        self.closed += [pending.number for pending in closed]
        for visitor in forgotten:
            self._touched.pop(visitor, None)
        self.forgotten |= forgotten
        self.forgotten.difference_update(touched)
        self._touched |= touched

    @property
    def size(self) -> int:
        """How many rows have changed."""
        return len(self.known) + len(self.outcomes) + len(self.closed) + len(self._pendings) + len(self._touched)

    def rows(self, totals: Totals) -> Rows:
        """Return what was gained, given what there is now."""
        return Rows(
            totals.events - len(self.known),
            self.known,
            totals.outcomes_read - len(self.outcomes),
            self.outcomes,
            # What closed before it was ever written has no row, and its number in `closed` means nothing to a reader.
            [_pending_row(pending) for pending in self._pendings if pending.open],
            [_profile_row(visitor, profile) for visitor, profile in self._touched.items()],
        )


class Snapshot:
    """A snapshot under way: the rows that there were when it began and that no entry since has written anew.

    Args:
        from_offset: what was touched since is in the entries from the snapshot's first on.
        changed: the rows of its first entry.
        known, join, profiles: the state as it is now.
    """

    def __init__(
        self,
        from_offset: int,
        changed: Rows,
        known: OrderedDict[str, int],
        join: Join,
        profiles: OrderedDict[str, Profile],
    ) -> None:
        self._from_offset = from_offset
        # Lists of what is there already: a stall of a second for a million visitors, once a snapshot.
        self._known = list(islice(known.items(), max(0, len(known) - len(changed.known))))
        self._known_at = changed.known_at - len(self._known)
        self._outcomes = list(islice(join.outcomes, max(0, len(join.outcomes) - len(changed.outcomes))))
        self._outcomes_at = changed.outcomes_at - len(self._outcomes)
        first_new = changed.known_at
        self._pendings = [pending for pending in join.pendings if pending.number < first_new]
        self._visitors = list(profiles)
        self._done = [0, 0, 0, 0]

    @property
    def done(self) -> bool:
        """Whether its last slice was taken."""
        return self._done == [len(self._known), len(self._outcomes), len(self._pendings), len(self._visitors)]

    @property
    def progress(self) -> float:
        """How much of it was taken, from 0 to 1."""
        rows = len(self._known) + len(self._outcomes) + len(self._pendings) + len(self._visitors)
        return sum(self._done) / rows if rows else 1.0

    def slice(self, rows: int, totals: Totals, profiles: OrderedDict[str, Profile]) -> Rows:
        """Return the next rows: no more than `rows` of them, and none that the state has let go of since."""
        known, rows = self._next(0, self._known, rows, totals.events - totals.known - self._known_at)
        outcomes, rows = self._next(1, self._outcomes, rows, totals.outcomes_read - totals.outcomes - self._outcomes_at)
        pendings, rows = self._next(2, self._pendings, rows)
        visitors, _ = self._next(3, self._visitors, rows)
        held = ((visitor, profiles.get(visitor)) for visitor in visitors)
        return Rows(
            self._known_at + self._done[0] - len(known),
            known,
            self._outcomes_at + self._done[1] - len(outcomes),
            outcomes,
            [_pending_row(pending) for pending in pendings if pending.open],
            [
                _profile_row(visitor, profile)
                for visitor, profile in held
                if profile is not None and profile.touched < self._from_offset
            ],
        )

    def _next(self, which: int, of: list[T], most: int, gone: int = 0) -> tuple[list[T], int]:
        start = min(max(self._done[which], gone), len(of))
        taken = of[start : start + most]
        self._done[which] = start + len(taken)
        return taken, most - len(taken)


def _pending_row(pending: Pending) -> PendingRow:
    return (
        pending.number,
        pending.event,
        pending.visitor,
        pending.time_ms,
        pending.x,
        pending.score,
        pending.version,
    )


def _profile_row(visitor: str, profile: Profile) -> ProfileRow:
    return visitor, profile.touched, profile.seen_ms, profile.times, profile.last


def put_together(bodies: Sequence[bytes]) -> tuple[Body, OrderedDict[str, int], dict[str, object], list[ProfileRow]]:
    """Return the state that entries describe, first to last: the last body, known events, the join's rows, profiles.

    Raises:
        StateUnreadable: of another format, or they do not follow one another from a snapshot's beginning on.
        msgspec.DecodeError: damaged.
    """
    said = [_decode(body) for body in bodies]
    if wrong := [body.format for body in said if body.format != FORMAT]:
        raise StateUnreadable(f"a journal entry of the scorer has format {wrong[0]}; this freshet reads {FORMAT}")
    known: dict[int, Known] = {}
    outcomes: dict[int, Outcome] = {}
    pendings: dict[int, PendingRow] = {}
    profiles: dict[str, ProfileRow] = {}
    for body in said:
        for rows in (body.slice, body.changed):
            known.update(enumerate(rows.known, rows.known_at))
            outcomes.update(enumerate(rows.outcomes, rows.outcomes_at))
            pendings.update((row[0], row) for row in rows.pendings)
            profiles.update((row[0], row) for row in rows.profiles)
        for number in body.closed:
            pendings.pop(number, None)
        for visitor in body.forgotten:
            profiles.pop(visitor, None)
    last = said[-1]
    now = last.totals
    live = OrderedDict(known.get(at, ("", 0)) for at in range(now.events - now.known, now.events))
    heard = [outcomes.get(at, (0, "")) for at in range(now.outcomes_read - now.outcomes, now.outcomes_read)]
    waiting = now.opened - now.positive - now.negative
    if (
        "" in live
        or (0, "") in heard
        or (len(live), len(pendings), len(profiles))
        != (
            now.known,
            waiting,
            now.profiles,
        )
    ):
        raise StateUnreadable(
            f"journal entries of the scorer are missing: {len(live)} of {now.known} events, {len(pendings)} of "
            f"{waiting} pendings and {len(profiles)} of {now.profiles} profiles can be put together"
        )
    join = {
        "pendings": [pendings[number] for number in sorted(pendings)],
        "outcomes": heard,
        "counts": [now.opened, now.positive, now.negative, now.outcomes_read],
    }
    return last, live, join, sorted(profiles.values(), key=lambda row: row[1])


def encode_body(body: Body) -> bytes:
    """Return a body's bytes; `put_together` reads them."""
    return _encode(body)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode

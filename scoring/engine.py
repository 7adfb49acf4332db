"""Engine: the live session of each model, swapped by changing one reference."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from schemas.errors import NoModel
from scoring.session import Session

SWAPS_REMEMBERED: Final = 100


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of what is live."""

    model: str
    old: int
    new: int
    at_ms: int
    load_ms: float


class Engine:
    """The sessions that answer now.

    A caller takes the session once and keeps it for its whole request or chunk, so that every answer names the version
    that made it; the old session goes away with the last caller that holds it.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self.swaps: deque[Swap] = deque(maxlen=SWAPS_REMEMBERED)
        self.swapped = 0

    def session(self, model: str) -> Session:
        """Return the live session of a model.

        Raises:
            NoModel: none is loaded yet.
        """
        session = self._sessions.get(model)
        if session is None:
            raise NoModel(model)
        return session

    def sessions(self) -> list[Session]:
        """Return all live sessions."""
        return list(self._sessions.values())

    def version(self, model: str) -> int:
        """Return the live version, -1 where none is loaded."""
        session = self._sessions.get(model)
        return -1 if session is None else session.version

    async def ready(self, model: str) -> None:
        """Wait until a model has a live session."""
        await self._ready.setdefault(model, asyncio.Event()).wait()

    def swap(self, session: Session, now_ms: int) -> Swap:
        """Make a loaded session the live one of its model."""
        swap = Swap(session.model, self.version(session.model), session.version, now_ms, session.load_ms)
        self._sessions[session.model] = session
        self._ready.setdefault(session.model, asyncio.Event()).set()
        self.swaps.append(swap)
        self.swapped += 1
        return swap

"""Engine: the live session of each model, swapped by changing one reference, and those that were live before it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from schemas.errors import NoModel
from scoring.session import Session

SWAPS_REMEMBERED: Final = 100
# The live version and the two that were live before it: going back to those loads nothing.
VERSIONS_RESIDENT: Final = 3


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of what is live; `load_ms` is 0 where the session was still there."""

    model: str
    old: int
    new: int
    at_ms: int
    load_ms: float


class Engine:
    """The sessions that answer now.

    A caller takes the session once and keeps it for its whole request or chunk, so that every answer names the version
    that made it. A session stays for as long as it is among the last `VERSIONS_RESIDENT` that were live; then it goes
    away with the last caller that holds it.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        # Per model by version, the one that was live longest ago first.
        self._resident: dict[str, dict[int, Session]] = {}
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

    def models(self) -> list[str]:
        """Return the models that have a live session."""
        return list(self._sessions)

    def version(self, model: str) -> int:
        """Return the live version, -1 where none is loaded."""
        session = self._sessions.get(model)
        return -1 if session is None else session.version

    def resident(self, model: str, version: int) -> Session | None:
        """Return the session of a version that can still be asked for, None where it is not there."""
        return self._resident.get(model, {}).get(version)

    def versions(self, model: str) -> list[int]:
        """Return the versions that can be asked for, ascending."""
        return sorted(self._resident.get(model, ()))

    async def ready(self, model: str) -> None:
        """Wait until a model has a live session."""
        await self._ready.setdefault(model, asyncio.Event()).wait()

    def swap(self, session: Session, now_ms: int) -> Swap:
        """Make a loaded session the live one of its model."""
        model, version = session.model, session.version
        resident = self._resident.setdefault(model, {})
        load_ms = 0.0 if resident.pop(version, None) is session else session.load_ms
        resident[version] = session
        if len(resident) > VERSIONS_RESIDENT:
            del resident[next(iter(resident))]
        swap = Swap(model, self.version(model), version, now_ms, load_ms)
        self._sessions[model] = session
        self._ready.setdefault(model, asyncio.Event()).set()
        self.swaps.append(swap)
        self.swapped += 1
        return swap

    def unload(self, model: str) -> None:
        """Let all sessions of a model go; whoever holds one is still answered by it."""
        self._sessions.pop(model, None)
        self._resident.pop(model, None)
        if model in self._ready:
            self._ready[model].clear()  # and kept: somebody may be waiting for it

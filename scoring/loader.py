"""Loader: brings the live release of a model into the engine, unless an operator has taken the model out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final
from weakref import WeakKeyDictionary

from schemas.errors import ReleaseRefused
from schemas.records import Release
from scoring.engine import Engine
from scoring.registry import Registry
from scoring.session import Session

log = logging.getLogger(__name__)

_Attempt = tuple[int, str]
_NONE: Final[_Attempt] = (-1, "")


async def loaded(release: Release) -> Session:
    """Return a release, loaded in another thread.

    Raises:
        ReleaseRefused: it does not load.
    """
    return await asyncio.to_thread(Session, release)


class Loader:
    """Loads what is live, one model at a time; what does not load is logged once and the incumbent stays.

    Args:
        registry: what is live.
        engine: given the sessions.
        load: makes a session of a release, without holding up the event loop.
    """

    def __init__(
        self, registry: Registry, engine: Engine, load: Callable[[Release], Awaitable[Session]] = loaded
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._make_session = load
        self._tried: dict[str, _Attempt] = {}
        # A version's bytes never change, but for a topic that was deleted and made anew: so the digest counts too.
        self._digests: WeakKeyDictionary[Session, str] = WeakKeyDictionary()
        self._one_at_a_time = asyncio.Lock()
        self._unloaded: set[str] = set()
        self._refused: dict[str, str] = {}

    def why_not(self, model: str) -> str:
        """Return why the live release of a model is not loaded: `unloaded`, the check that refused it, or `loading`."""
        if model in self._unloaded:
            return "unloaded"
        check = self._refused.get(model)
        return "loading" if check is None else f"refused: {check}"

    def awaited(self) -> list[str]:
        """Return the models that have a live release, are not loaded, and will be: an edge is not ready before.

        An alias whose release is not there is not waited for: it may never come.
        """
        return [
            model
            for model in self._registry.models()
            if self._engine.version(model) < 0
            and self._registry.live(model) is not None
            and model not in self._unloaded
            and model not in self._refused
        ]

    async def load(self, model: str) -> bool:
        """Make the live release of a model answer, if it is known, was not refused before, and the model may be loaded.

        A version that is still resident is swapped in without loading it again.

        Returns:
            Whether it was swapped in now.
        """
        async with self._one_at_a_time:
            release = self._registry.live(model)
            if release is None or model in self._unloaded:  # the alias came first; the release will wake us
                return False
            attempt = (release.version, release.sha256)
            if self._tried.get(model, _NONE) == attempt:
                return False
            self._tried[model] = attempt
            try:
                session = await self._session(release)
            except ReleaseRefused as refused:
                self._refused[model] = refused.check
                log.warning(
                    "release_refused model=%s version=%d live=%d check=%s: %s",
                    model,
                    release.version,
                    self._engine.version(model),
                    refused.check,
                    refused.reason,
                )
                return False
            self._refused.pop(model, None)
            if model in self._unloaded:  # meanwhile
                return False
            self._swap(session)
            return True

    async def reload(self, model: str) -> bool:
        """Let a model be loaded again, and what was refused be tried again; return whether its live release answers."""
        self._unloaded.discard(model)
        release = self._registry.live(model)
        if release is None or self._engine.version(model) != release.version:
            self._tried.pop(model, None)
        await self.load(model)
        release = self._registry.live(model)
        return release is not None and self._engine.version(model) == release.version

    def unload(self, model: str) -> None:
        """Take a model out, until `reload`: new releases of it do not bring it back."""
        self._unloaded.add(model)
        self._tried.pop(model, None)
        self._engine.unload(model)
        log.info("model_unloaded model=%s", model)

    async def _session(self, release: Release) -> Session:
        resident = self._engine.resident(release.model, release.version)
        if resident is not None and self._digests.get(resident) == release.sha256:
            return resident
        session = await self._make_session(release)
        self._digests[session] = release.sha256
        return session

    def _swap(self, session: Session) -> None:
        swap = self._engine.swap(session, time.time_ns() // 1_000_000)
        log.info(
            "release_swapped model=%s old=%d new=%d load_ms=%.1f learned_through=%d",
            session.model,
            swap.old,
            swap.new,
            swap.load_ms,
            session.learned_through.offset,
        )

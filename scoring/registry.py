"""Registry: the releases and aliases read so far, and which version an alias stands for."""

from __future__ import annotations

import asyncio

from schemas.records import Alias, Release

LIVE = "live"


class Registry:
    """What `releases` and `aliases` say, in whatever order they are read.

    >>> registry = Registry()
    >>> registry.alias(Alias(model="m", alias="live", version=3, changed_at=0))
    >>> registry.live("m") is None   # its release has not been read yet
    True
    """

    def __init__(self) -> None:
        self._releases: dict[str, dict[int, Release]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self.changed = asyncio.Event()

    def release(self, release: Release) -> None:
        """Take a release."""
        self._releases.setdefault(release.model, {})[release.version] = release
        self.changed.set()

    def retire(self, model: str, version: int) -> None:
        """Forget a release that is kept no longer."""
        self._releases.get(model, {}).pop(version, None)

    def alias(self, alias: Alias) -> None:
        """Let a name stand for a version."""
        self._aliases[alias.model, alias.alias] = alias.version
        self.changed.set()

    def models(self) -> list[str]:
        """Return the models that have a live version, in alphabetical order."""
        return sorted(model for (model, alias) in self._aliases if alias == LIVE)

    def live(self, model: str) -> Release | None:
        """Return the release that `live` stands for, None as long as it has not been read."""
        version = self._aliases.get((model, LIVE))
        return None if version is None else self._releases.get(model, {}).get(version)

    def newest_version(self, model: str) -> int:
        """Return the highest version released, -1 before the first."""
        return max(self._releases.get(model, {-1: None}), default=-1)

    def kept_versions(self, model: str) -> list[int]:
        """Return the versions that are still held, ascending."""
        return sorted(self._releases.get(model, {}))

    def aliased_versions(self, model: str) -> set[int]:
        """Return the versions that some alias stands for."""
        return {version for (of, _), version in self._aliases.items() if of == model}

"""Repository: the Open Inference Protocol's model repository, as an edge has it: what is released, not what is sent."""

from __future__ import annotations

from typing import Final

import msgspec

from scoring.engine import Engine
from scoring.loader import Loader
from scoring.problem import Problem, malformed, unavailable
from scoring.registry import Registry

_READY: Final = "READY"
_UNAVAILABLE: Final = "UNAVAILABLE"


class Entry(msgspec.Struct, frozen=True):
    """One version of a model in the index; `reason` is "" where it is ready."""

    name: str
    version: str
    state: str
    reason: str


class _Wanted(msgspec.Struct):
    ready: bool | None = None


class _Load(msgspec.Struct):
    parameters: dict[str, object] | None = None


_wanted: Final = msgspec.json.Decoder(_Wanted).decode
_load: Final = msgspec.json.Decoder(_Load).decode


class Repository:
    """Index, load and unload.

    Args:
        engine: what is loaded.
        registry: what is released.
        loader: what brings the one into the other.
    """

    def __init__(self, engine: Engine, registry: Registry, loader: Loader) -> None:
        self._engine = engine
        self._registry = registry
        self._loader = loader

    def index(self, body: bytes) -> list[Entry]:
        """Return every version that can be asked for, and the live one of each model that is not loaded.

        Args:
            body: `{"ready": true}` leaves those out that are not ready; may be empty.

        Raises:
            Problem: the body is something else.
        """
        try:
            ready_only = bool(body) and bool(_wanted(body).ready)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise malformed('send nothing, {"ready": true} or {"ready": false}') from None
        entries = [
            Entry(model, str(version), _READY, "")
            for model in sorted(self._engine.models())
            for version in self._engine.versions(model)
        ]
        if ready_only:
            return entries
        for model in self._registry.models():
            live = self._registry.live(model)
            if live is not None and self._engine.resident(model, live.version) is None:
                entries.append(Entry(model, str(live.version), _UNAVAILABLE, self._loader.why_not(model)))
        return entries

    async def load(self, model: str, body: bytes) -> None:
        """Load the live release of a model, also one that was unloaded or refused before.

        Raises:
            Problem: no such model is released, its release is refused, or the request brings a model of its own.
        """
        self._known(model)
        try:
            parameters = _load(body).parameters if body else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise malformed("send nothing, or an empty JSON object") from None
        if parameters:
            # No model, no configuration and no address is ever taken from a request.
            raise malformed("a model comes from `releases`; load it without parameters", "parameters")
        if not await self._loader.reload(model):
            raise unavailable("not-loaded", f"the live release is not loaded: {self._loader.why_not(model)}")

    def unload(self, model: str) -> None:
        """Take a model out until it is loaded again.

        Raises:
            Problem: no such model is released.
        """
        self._known(model)
        self._loader.unload(model)

    def _known(self, model: str) -> None:
        if model not in self._registry.models() and model not in self._engine.models():
            raise Problem(404, "unknown-model", "no model of that name has been released")

"""Router: which model, which version and what of it a path asks for."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from scoring.problem import Problem

MODELS: Final = "/v2/models/"

_VERBS: Final = frozenset({"infer", "ready"})


class ModelRoute(NamedTuple):
    """A path below `/v2/models/`.

    Attributes:
        model: the model's name, as it stands there.
        version: the version's number as it stands there, None where the live one is meant.
        verb: `infer`, `ready`, or "" for the metadata.
    """

    model: str
    version: str | None
    verb: str


@functools.lru_cache(maxsize=1024)
def model_route(path: str) -> ModelRoute | None:
    """Return what a path below `/v2/models/` asks for, None where there is no such path.

    >>> model_route("/v2/models/m/infer")
    ModelRoute(model='m', version=None, verb='infer')
    >>> model_route("/v2/models/m/versions/3")
    ModelRoute(model='m', version='3', verb='')
    >>> model_route("/v2/models/m/versions")
    """
    match path.removeprefix(MODELS).split("/", 4):
        case [model]:
            return ModelRoute(model, None, "")
        case [model, verb] if verb in _VERBS:
            return ModelRoute(model, None, verb)
        case [model, "versions", version]:
            return ModelRoute(model, version, "")
        case [model, "versions", version, verb] if verb in _VERBS:
            return ModelRoute(model, version, verb)
    return None


def allow(method: str, *allowed: str) -> None:
    """Raise a 405 that names the methods a path has, unless `method` is one of them."""
    if method not in allowed:
        names = ", ".join(allowed)
        raise Problem(405, "method", f"use {names}", headers=((b"allow", names.encode()),))

"""Edges: a door and what stands behind it, in process, with models made by hand."""

from __future__ import annotations

import json
from typing import Any

from schemas.records import VisitorProfile, encode
from scoring.door import Door
from scoring.engine import Engine
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.session import Session
from tests.scoring.artifacts import EVENT_MS
from tests.scoring.asgi import Reply, call


class Edge:
    """A door, and what stands behind it."""

    def __init__(self, *releases: Any) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.profiles = Profiles()
        self.door = Door(self.engine, self.registry, self.profiles, clock=lambda: EVENT_MS + 1000)
        for each in releases:
            self.engine.swap(Session(each), now_ms=0)

    def post(self, body: Any, path: str = "/v1/events", **how: Any) -> Reply:
        reply = call(self.door, "POST", path, body if isinstance(body, bytes) else dumps(body), **how)
        assert reply is not None
        return reply

    def get(self, path: str, method: str = "GET") -> Reply:
        reply = call(self.door, method, path)
        assert reply is not None
        return reply

    def remember(
        self, times: list[list[int]], last: list[list[int]], *, seen: int = EVENT_MS - 1, as_of: int = 77
    ) -> None:
        record = VisitorProfile(model="m", visitor="v", seen=seen, times=times, last=last)
        self.profiles.put("m", "v", encode(record), as_of)


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()

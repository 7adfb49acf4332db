"""The admin listener: what is loaded, load and unload, for whoever sits at this machine and for no page."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.records import Alias, Release
from scoring.admin import Admin
from scoring.door import Door
from scoring.engine import Engine
from scoring.loader import Loader
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.repository import Repository
from tests.scoring.artifacts import SPEC, event, release
from tests.scoring.asgi import Reply, call


class Administered:
    """An edge's two doors."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.loader = Loader(self.registry, self.engine)
        self.door = Door(self.engine, self.registry, Profiles(), awaited=self.loader.awaited)
        self.admin = Admin(Repository(self.engine, self.registry, self.loader), self.door)

    def publish(self, *releases: Release) -> None:
        for each in releases:
            self.registry.release(each)
            self.registry.alias(Alias(model=each.model, alias="live", version=each.version, changed_at=0))

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "POST") -> Reply:
        raw = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        reply = call(self.admin, method, path, raw, headers)
        assert reply is not None
        return reply

    def ready(self) -> int:
        reply = call(self.door, "GET", "/v2/health/ready")
        assert reply is not None
        return reply.status


@pytest.fixture
def edge() -> Administered:
    edge = Administered()
    edge.publish(release(1), release(2))
    assert edge.post("/v2/repository/models/m/load").status == 200
    return edge


def test_the_index_says_what_is_loaded_and_what_is_not(edge: Administered) -> None:
    """Every version that can be asked, and why the live one of a model cannot."""
    late = msgspec.structs.replace(SPEC, name="late")
    edge.publish(release(3), release(0, spec=late), msgspec.structs.replace(release(4), sha256="0" * 64))
    edge.publish(release(3))
    edge.post("/v2/repository/models/m/load")
    edge.publish(msgspec.structs.replace(release(4), sha256="0" * 64))
    refused = edge.post("/v2/repository/models/m/load")

    every, ready = edge.post("/v2/repository/index"), edge.post("/v2/repository/index", {"ready": True})

    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "refused: digest" in refused.json["error"]
    assert ready.json == [
        {"name": "m", "version": "2", "state": "READY", "reason": ""},
        {"name": "m", "version": "3", "state": "READY", "reason": ""},
    ]
    assert every.json == [
        *ready.json,
        {"name": "late", "version": "0", "state": "UNAVAILABLE", "reason": "loading"},
        {"name": "m", "version": "4", "state": "UNAVAILABLE", "reason": "refused: digest"},
    ]


def test_an_unloaded_model_answers_nobody_until_it_is_loaded(edge: Administered) -> None:
    """Requests hear 503; an edge without any model is not ready; after the load all is as before."""
    before = edge.ready()
    unloaded = edge.post("/v2/repository/models/m/unload", {"parameters": {"unload_dependents": False}})
    during = edge.ready(), edge.post("/v1/events", event()).status, edge.post("/v2/models/m/infer", {}).status
    reason = edge.post("/v2/repository/index").json[0]["reason"]

    loaded = edge.post("/v2/repository/models/m/load", {"parameters": {}})

    assert (before, during, reason) == (200, (503, 503, 503), "unloaded")
    assert (unloaded.status, unloaded.json, loaded.status, loaded.json) == (200, {}, 200, {})
    assert (edge.ready(), edge.engine.version("m")) == (200, 2)


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("model", ["x", "", "..", "m/", "m/versions/1", "https://example.com/m"])
def test_only_what_is_released_can_be_loaded(edge: Administered, model: str, verb: str) -> None:
    """404; no name is a path or an address."""
    assert edge.post(f"/v2/repository/models/{model}/{verb}").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"config": "{}"}},
        {"parameters": {"file:1/model.onnx": "AAAA"}},
        {"parameters": {"uri": "https://example.com/model.onnx"}},
        [],
        b"{",
        b"\xff",
        b"[" * 200_000,
    ],
)
def test_no_request_brings_a_model(edge: Administered, body: Any) -> None:
    """400: models come from `releases` and from nowhere else."""
    reply = edge.post("/v2/repository/models/m/load", body)

    assert (reply.status, reply.json["error"] == reply.json["detail"]) == (400, True)


@pytest.mark.parametrize("body", [[], {"ready": 1}, b"x", b"[" * 200_000])
def test_an_index_of_nonsense_is_refused(edge: Administered, body: Any) -> None:
    """400, and what to send."""
    assert edge.post("/v2/repository/index", body).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/repository/index"),
        ("GET", "/v2/repository/models/m/load"),
        ("PUT", "/v2/repository/models/m/unload"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(edge: Administered, method: str, path: str) -> None:
    """405, with `Allow`: a link that somebody follows loads and unloads nothing."""
    reply = edge.post(path, method=method)

    assert (reply.status, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://example.com"},
        {"origin": "null"},
        {"host": "example.com"},
        {"host": "example.com:8081"},
        {"host": "127.0.0.1.example.com"},
        {"host": ""},
    ],
)
@pytest.mark.parametrize("path", ["/v2/repository/models/m/unload", "/v2/health/live"])
def test_a_page_that_reaches_for_this_machine_is_refused(
    edge: Administered, headers: dict[str, str], path: str
) -> None:
    """403, by where the browser says the page is from, or by the name under which it called."""
    reply = edge.post(path, headers=headers)

    assert reply.status == 403
    assert edge.engine.version("m") == 2


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081", "[::1]"])
def test_this_machine_may_call_itself_by_its_names(edge: Administered, host: str) -> None:
    """With the port or without."""
    assert edge.post("/v2/repository/index", headers={"host": host}).status == 200


def test_all_other_paths_are_the_doors(edge: Administered) -> None:
    """So that one client can load a model and ask it."""
    replies = [edge.post("/v1/events", event()), edge.post("/v2/models/m", method="GET"), edge.post("/v2/repository/x")]

    assert [reply.status for reply in replies] == [200, 200, 404]


def test_the_door_itself_loads_and_unloads_nothing(edge: Administered) -> None:
    """The listener that everybody reaches has no such paths."""
    replies = [call(edge.door, "POST", f"/v2/repository/{path}") for path in ("index", "models/m/unload")]

    assert [reply.status if reply else None for reply in replies] == [404, 404]
    assert edge.engine.version("m") == 2


def test_an_edge_is_ready_when_all_that_is_live_is_loaded(edge: Administered) -> None:
    """One model is not enough where two are live."""
    edge.publish(release(0, spec=msgspec.structs.replace(SPEC, name="late")))
    before = edge.ready()

    edge.post("/v2/repository/models/late/load")

    assert (before, edge.ready()) == (503, 200)

"""Admin: the model repository extension, on a listener of its own that only this machine reaches.

    POST /v2/repository/index                what is loaded, and what is not and why
    POST /v2/repository/models/{name}/load   load the live release
    POST /v2/repository/models/{name}/unload take the model out

Everything else is the door's.
"""

from __future__ import annotations

from typing import Final

from scoring.application import Application
from scoring.body import Receive, Scope, read_body
from scoring.door import Door
from scoring.problem import Problem
from scoring.repository import Repository
from scoring.response import JSON, Response, json_response
from scoring.router import allow

_INDEX: Final = "/v2/repository/index"
_MODELS: Final = "/v2/repository/models/"
_DONE: Final = Response(200, JSON, b"{}\n")
_OURS: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


class Admin(Application):
    """The application that an edge's operator meets.

    Args:
        repository: what is asked of.
        door: answers all other paths.
    """

    def __init__(self, repository: Repository, door: Door) -> None:
        self._repository = repository
        self._door = door

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to one request."""
        _refuse_browsers(scope)
        path, method = scope["path"], scope["method"]
        if path == _INDEX:
            allow(method, "POST")
            return json_response(self._repository.index(await read_body(scope, receive)))
        if path.startswith(_MODELS):
            model, _, verb = path.removeprefix(_MODELS).rpartition("/")
            if verb == "load":
                allow(method, "POST")
                await self._repository.load(model, await read_body(scope, receive))
                return _DONE
            if verb == "unload":
                allow(method, "POST")
                await read_body(scope, receive)
                self._repository.unload(model)
                return _DONE
        return await self._door.respond(scope, receive)


def _refuse_browsers(scope: Scope) -> None:
    # A page from anywhere can make a browser on this machine post to a loopback port, under any name it likes for it;
    # the browser then says where the page is from, or calls the host by that name.
    for name, value in scope["headers"]:
        if name == b"origin":
            raise Problem(403, "foreign", "no page may use this listener")
        if name == b"host" and _host(value) not in _OURS:
            raise Problem(403, "foreign", "call this listener by localhost or its address")


def _host(value: bytes) -> bytes:
    host, colon, port = value.rpartition(b":")
    return (host if colon and port.isdigit() else value).lower()

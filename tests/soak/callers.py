"""Callers: who ask the edges all the while, as clients behind a load balancer do, and count what is not answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from tests.scoring.artifacts import event

PER_S: Final = 50.0
_PROBE_EVERY_S: Final = 0.2
_PATIENCE_S: Final = 10.0
_BODY: Final = json.dumps(event(timestamp="2026-01-01T00:00:00Z")).encode()


class Callers:
    """A client that asks about 50 times a second while the `with` block runs.

    The edges take turns. One that refuses, breaks off or is not ready is left out until `/v2/health/ready` says
    otherwise, and the request goes to another at once, as a load balancer has it; an error is a request that nobody
    answered with scores.

    Args:
        ports: the edges'.

    Attributes:
        asked: how many requests.
        retried: how many times one went to another edge.
        errors: why a request got no answer.
        took_ms: how long each answer took.
        in_turn: the ports that are asked at present.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = tuple(ports)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_for_ever, name="callers", daemon=True)
        self._probes = threading.Thread(target=self._probe_for_ever, name="probes", daemon=True)
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self.asked = 0
        self.retried = 0
        self.errors: list[str] = []
        self.took_ms: list[float] = []
        self.in_turn: set[int] = set()

    def __enter__(self) -> Self:
        self._probes.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def begin(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._over.set()
        for thread in (self._thread, self._probes):
            if thread.ident is not None:
                thread.join(_PATIENCE_S + 5)

    def _ask_for_ever(self) -> None:
        due_s = time.monotonic()
        while not self._over.is_set():
            self.asked += 1
            started_s = time.monotonic()
            if why := self._ask_any():
                self.errors.append(why)
            else:
                self.took_ms.append((time.monotonic() - started_s) * 1000)
            due_s = max(due_s + 1 / PER_S, time.monotonic() - 1.0)  # what was missed for long is not made up for
            self._over.wait(max(0.0, due_s - time.monotonic()))

    def _ask_any(self) -> str:
        """Return why nobody answered; empty, somebody did."""
        whys: list[str] = []
        first = self.asked % len(self._ports)
        for port in (*self._ports[first:], *self._ports[:first]):
            if port not in self.in_turn:
                continue
            if not (why := self._ask(port)):
                self.retried += len(whys)
                return ""
            self.in_turn.discard(port)
            whys.append(f"{port}: {why}")
        return "; ".join(whys) or "no edge is ready"

    def _ask(self, port: int) -> str:
        connection = self._connections.setdefault(
            port, http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        )
        try:
            connection.request("POST", "/v1/events?forward=false", _BODY)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            return repr(error)
        return "" if response.status == 200 and answer["scores"] else f"{response.status} {answer}"

    def _probe_for_ever(self) -> None:
        while not self._over.wait(_PROBE_EVERY_S):
            for port in self._ports:
                if port not in self.in_turn and _is_ready(port):
                    self.in_turn.add(port)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        # Not health alone: it is ready without any model too, before it has read of the first.
        for method, path, body in (("GET", "/v2/health/ready", None), ("POST", "/v1/events?forward=false", _BODY)):
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                return False
        return bool(json.loads(answer)["scores"])
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()

"""Callers who ask an edge without a pause, and what they were answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.scoring.artifacts import event

CALLERS = 4
_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class Answered:
    """One good answer."""

    at_s: float
    caller: int
    version: int
    score: float


class Asking:
    """Callers, each on a keep-alive connection of its own, while the `with` block runs.

    Attributes:
        answers: the good ones, in the order in which they came.
        failures: why a request got none.
        ended: how many callers were told that an answer is the last on its connection and could not connect again.
    """

    def __init__(self, port: int, callers: int = CALLERS) -> None:
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(callers)]
        self.answers: list[Answered] = []
        self.failures: list[str] = []
        self.ended = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop asking."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def versions(self) -> set[int]:
        """Return the versions that have answered so far."""
        return {answer.version for answer in self.answers}

    def until_answered_by(self, version: int, within_s: float = 20.0) -> None:
        """Wait until a version has answered; fail if it does not."""
        end_s = time.monotonic() + within_s
        while version not in self.versions():
            assert time.monotonic() < end_s, f"version {version} has not answered within {within_s} s: {self.failures}"
            time.sleep(0.01)

    def _ask(self, caller: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        body = json.dumps(event(timestamp="2020-01-01T00:00:00Z")).encode()
        closed_by_server = False
        while not self._over.is_set():
            try:
                connection.connect() if connection.sock is None else None
            except ConnectionRefusedError:
                if closed_by_server:
                    self.ended += 1
                    return
                self.failures.append("refused")
                return
            try:
                connection.request("POST", "/v1/events?forward=false", body)
                response = connection.getresponse()
                answer: Any = json.loads(response.read())
                if response.status == 200:
                    (score,) = answer["scores"]
                    self.answers.append(Answered(time.monotonic(), caller, score["version"], score["score"]))
                else:
                    self.failures.append(f"{response.status}: {answer}")
                closed_by_server = response.will_close
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a request without an answer
                self.failures.append(repr(error))
                connection.close()
            time.sleep(_PAUSE_S)
        connection.close()

"""Asking: the client process, started, listened to and ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from schemas.errors import ProcessFailed
from streams.demo.answer import Answer

_ENDS_WITHIN_S: Final = 5.0
_KEPT_LINES: Final = 20
_read_answer: Final = msgspec.json.Decoder(Answer).decode


class Asking:
    """Has a client ask an edge while its `async with` body runs.

    It is never started again: requests that are missing because it died must show.

    Args:
        port: the edge's.
        rate_per_s: requests a second.
        events: a file of JSON lines, asked in turn.
        on_answer: gets every answer.
    """

    def __init__(self, port: int, rate_per_s: float, events: Path, on_answer: Callable[[Answer], None]) -> None:
        client = (sys.executable, "-P", "-m", "streams.demo.client")
        self._argv = (*client, "--port", str(port), "--rate", str(rate_per_s), str(events))
        self._on_answer = on_answer
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self._listening = asyncio.gather(self._listen(self._process), self._errors(self._process))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()  # that is what ends it
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                _, said = await self._listening
                exit_code = await process.wait()
        except TimeoutError:
            process.kill()
            exit_code, said = await process.wait(), [f"did not end within {_ENDS_WITHIN_S:g} s"]
        if exit_code and error is None:
            raise ProcessFailed("the client", exit_code, tuple(said))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._on_answer(_read_answer(line))

    async def _errors(self, process: asyncio.subprocess.Process) -> list[str]:
        assert process.stderr is not None
        said = await process.stderr.read()
        return said.decode(errors="replace").splitlines()[-_KEPT_LINES:]

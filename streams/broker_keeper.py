"""Broker keeper: a broker for as long as a command runs: the one that is named, else an embedded one, kept alive."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from schemas.errors import BrokerError
from streams.broker import EmbeddedBroker
from streams.broker.state import running

_LOOK_EVERY_S: Final = 0.5
_ATTEMPTS: Final = 5


class BrokerKeeper:
    """Gives `bootstrap` while its `async with` body runs.

    $KAFKA_BOOTSTRAP names a broker that is somebody else's to keep. Otherwise an embedded one is started over
    `data_dir`, started again on the same port when it dies (see `watch`), and stopped at the end.

    Args:
        data_dir: the embedded broker's.
        say: gets a line about what happens to it.
    """

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say
        self._broker: EmbeddedBroker | None = None
        self.bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "").strip()

    @property
    def embedded(self) -> bool:
        """Whether the broker is one that is kept here."""
        return self._broker is not None

    async def __aenter__(self) -> Self:
        if not self.bootstrap:
            try:
                await self._start(port=0)
            except BaseException:
                await self._stop()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._stop()

    async def watch(self) -> None:
        """Start the broker again whenever it has died; made to be awaited beside the work, see `supervisor.guarded`.

        Raises:
            BrokerError: it cannot be started again.
        """
        failures = 0
        while self._broker is not None:
            await asyncio.sleep(_LOOK_EVERY_S * 2**failures)
            if running(self._data_dir) is not None:
                failures = 0
                continue
            self._say(f"broker: it has died, starting it again on {self.bootstrap}")
            try:
                await self._start(port=int(self.bootstrap.rpartition(":")[2]))
            except BrokerError as error:
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                self._say(f"broker: {error}")

    async def _start(self, port: int) -> None:
        self._broker = EmbeddedBroker(self._data_dir, port=port, say=lambda line: self._say(f"broker: {line}"))
        starting = asyncio.create_task(asyncio.to_thread(self._broker.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: without waiting for it, its broker would outlive us.
            await asyncio.gather(starting, return_exceptions=True)
            raise
        self.bootstrap = self._broker.bootstrap
        self._say(f"broker: Kafka answers on {self.bootstrap}, its records are in {self._data_dir}")

    async def _stop(self) -> None:
        if self._broker is not None:
            broker, self._broker = self._broker, None
            await asyncio.to_thread(broker.stop)

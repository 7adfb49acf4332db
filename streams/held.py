"""Held: the chunks a worker has taken and not acknowledged yet, and the rule by which they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from streams.journal import Journal
from streams.transport import ChunkMessage

JOURNAL_INTERVAL_S: Final = 1.0
# A whole state is written each time, so a large one is written less often: at most a tenth of the time goes into it.
JOURNAL_SHARE: Final = 0.1


class Held:
    """The chunks of one partition that wait for their journal record.

    Args:
        journal: where the state goes.

    Attributes:
        sent: what the chunks sent, as futures that say when it is durable.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._chunks: list[ChunkMessage] = []
        self._due_s = time.monotonic() + JOURNAL_INTERVAL_S
        self.sent: list[asyncio.Future[Any]] = []

    def hold(self, chunk: ChunkMessage) -> None:
        """Keep a chunk whose effects are in the state; its records are not needed any more."""
        chunk.value = None
        self._chunks.append(chunk)

    @property
    def due(self) -> bool:
        """Whether there is something to write and it is time to."""
        return bool(self._chunks) and time.monotonic() >= self._due_s

    async def settle(self, next_offset: int, snapshot: Callable[[], bytes], consumer: Any) -> None:
        """Write the state and acknowledge what it contains.

        Args:
            next_offset: everything before it is in the state.
            snapshot: makes the state's bytes; called after what was sent is durable.
            consumer: takes the acknowledgements.

        Raises:
            KafkaError: something was not acknowledged by the broker, so neither is any chunk.
            StateUnreadable: the state has become too large for a journal record.
        """
        if not self._chunks:
            return
        # 1. What was sent is durable. 2. The state that says so is durable. 3. Only now acknowledge:
        # a crash before 3 repeats chunks, never loses one.
        await asyncio.gather(*self.sent)
        self.sent.clear()
        started_s = time.monotonic()
        await self._journal.write(next_offset, snapshot())
        for chunk in self._chunks:
            chunk.ack(consumer)
        self._chunks.clear()
        took_s = time.monotonic() - started_s
        self._due_s = time.monotonic() + max(JOURNAL_INTERVAL_S, took_s / JOURNAL_SHARE)

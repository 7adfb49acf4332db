"""Producer: sends a soak's records at a pace, and writes down what the broker has acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from streams.replay import close_windows
from streams.sender import Sender
from streams.topics import EVENTS, Cluster
from tests.soak.checker import produced_line
from tests.soak.traffic import Record

_SLICE_S: Final = 0.05
_MOST_WAITING: Final = 5000


class Producer:
    """Sends to `events`, each record acknowledged by all replicas, in order and once.

    Args:
        cluster: where the topic is.
        produced: a line for each acknowledged record goes there, see `checker.produced_line`.

    Attributes:
        sent: how many were handed over.
    """

    def __init__(self, cluster: Cluster, produced: Path) -> None:
        self._sender = Sender(cluster.bootstrap)
        self._topic = cluster.topic(EVENTS)
        self._produced = produced
        self._waiting: deque[tuple[asyncio.Future[Any], bytes]] = deque()
        self._newest_ms = 0
        self.sent = 0

    async def start(self) -> None:
        """Connect."""
        await self._sender.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._sender.stop()

    async def send_all(self, records: Iterator[Record], rate_per_s: Callable[[], float]) -> None:
        """Send them all; returns when all are acknowledged.

        Args:
            records: in the order in which they go.
            rate_per_s: asked again and again.
        """
        owed, there_is_more = 0.0, True
        with self._produced.open("wb") as lines:
            while there_is_more:
                started_s = time.monotonic()
                owed += rate_per_s() * _SLICE_S
                while there_is_more and owed >= 1:
                    owed -= 1
                    record = next(records, None)
                    there_is_more = record is not None
                    if record is not None:
                        await self._send(record)
                await self._write(lines, _MOST_WAITING)
                await asyncio.sleep(max(0.0, started_s + _SLICE_S - time.monotonic()))
            await self._write(lines, 0)

    async def close_windows(self, after_ms: int) -> None:
        """Let every label become known: in event time it is so much later now."""
        await close_windows(self._sender, self._topic, self._newest_ms + after_ms)

    async def _send(self, record: Record) -> None:
        sent = await self._sender.send(
            self._topic, record.key, record.value, partition=record.partition, headers=record.headers
        )
        self._waiting.append((sent, produced_line(record.key, record.value)))
        self.sent += 1
        self._newest_ms = max(self._newest_ms, record.time_ms)

    async def _write(self, lines: BinaryIO, most: int) -> None:
        """Write down what is acknowledged; wait until no more than `most` are not."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0][0].done()):
            sent, line = self._waiting.popleft()
            await sent
            lines.write(line)

"""Held: the chunks a worker has taken and not acknowledged yet, and the rule by which they are."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from faust.types import TP

from schemas.errors import StateUnreadable
from streams.crash_points import crash_point
from streams.journal import Journal, Journaled
from streams.transport import ChunkApp, ChunkMessage

log = logging.getLogger(__name__)

JOURNAL_INTERVAL_S: Final = 1.0
# A learner's entry is all it knows, so a large one is written less often: at most a tenth of the time goes into it.
JOURNAL_SHARE: Final = 0.1


class Held:
    """The chunks of one partition that wait for their journal entry.

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

    @property
    def epoch(self) -> int:
        """How many owners the state has had, this one included."""
        return self._journal.epoch

    async def settle(self, state: Journaled, consumer: Any) -> int:
        """Make durable what the chunks did to a state, and acknowledge them; return the entry's bytes, 0 without one.

        Args:
            state: asked for its change after what was sent is durable.
            consumer: takes the acknowledgements.

        Raises:
            KafkaError: something was not acknowledged by the broker, so neither is any chunk.
        """
        if not self._chunks:
            return 0
        # 1. What was sent is durable. 2. The entry that says so is durable. 3. Only now acknowledge:
        # a crash before 3 repeats chunks, never loses one.
        crash_point("settle.before_sent")
        await asyncio.gather(*self.sent)
        self.sent.clear()
        crash_point("settle.after_sent")
        started_s = time.monotonic()
        change = state.change()
        # Not the waiting for the broker: after one that was away for a minute the next entry would be ten minutes off.
        took_s = time.monotonic() - started_s
        await self._journal.append(state.next_offset, change)
        crash_point("settle.after_journal")
        for chunk in self._chunks:
            chunk.ack(consumer)
        self._chunks.clear()
        crash_point("settle.after_ack")
        self._due_s = time.monotonic() + max(JOURNAL_INTERVAL_S, took_s / JOURNAL_SHARE)
        return len(change.body)


async def resumed_at(app: ChunkApp, tp: TP, next_offset: int, key: str) -> int:
    """Return the offset with which a state goes on, and have its partition read from there.

    That is where the group has committed, or later, unless the journal had to fall back on an older state or is lost;
    then the input is read again, and a state that knows nothing begins with the first record there is.

    Args:
        app: whose consumer reads the partition.
        tp: of the input.
        next_offset: everything before it is in the state; -1, nothing is.
        key: whose state, for the message.

    Raises:
        StateUnreadable: what would have to be read again is not there any more.
    """
    committed, earliest = await app.consumer.bounds(tp)
    if next_offset < 0 and committed is None:
        return next_offset
    wanted = max(next_offset, 0)
    if wanted < earliest:
        raise StateUnreadable(
            f"the journal of {key} goes up to offset {wanted} of {tp.topic} partition {tp.partition}, which begins at "
            f"{earliest}: what lies between was deleted before it was in the journal. Keep {tp.topic} for longer "
            "(retention.ms), and give the model a new name, so that it starts afresh"
        )
    if committed is not None and wanted < committed:
        log.warning(
            "rewound key=%s partition=%d from=%d to=%d: what the journal lacks is read again",
            key,
            tp.partition,
            committed,
            wanted,
        )
        app.consumer.rewind(tp, wanted)
    return wanted

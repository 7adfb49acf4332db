"""Watchdog: notices that a worker has work and does not get on with it, says so, and in the end has it started again.

Getting on is: offsets of the input advance, and the broker acknowledges what was sent to it. Having work is: there are
records that were not handled, or something sent that was not acknowledged. An idle worker is a healthy one, and so is
one that is told to wait for something that is no fault of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from schemas.errors import Stalled
from streams.follow import stop_consumer
from streams.metrics import Metrics
from streams.sender import Sender
from streams.transport import ChunkApp
from streams.verdict import end

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
STALLED_AFTER_S: Final = 30.0
_ASK_EVERY_S: Final = 5.0
_ANSWER_WITHIN_S: Final = 10.0
_LONGEST_LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may last.

    Args:
        stalled_after_s: without progress, and the worker is not ready any more.
        give_up_after_s: without progress, and the process ends, to be started again.
        law_s: a conservation law may be broken, and the alarm is raised.
    """

    stalled_after_s: float = STALLED_AFTER_S
    give_up_after_s: float = 300.0
    law_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something a worker has to get on with.

    Args:
        name: what is wrong if it is not got on with; the same as long as `mark` is.
        owed: whether there is work.
        mark: changes whenever some of it is done.
    """

    name: str
    owed: bool
    mark: int


class Watched(Protocol):
    """A scorer or a learner, as a watchdog sees it."""

    @property
    def waits_for(self) -> str:
        """What it waits for that is no fault of its own; empty, nothing."""

    def positions(self) -> Mapping[TP, int]:
        """Return the partitions of the input that are this worker's, and up to where each is handled."""


@dataclass(slots=True)
class Stall:
    """The duty on which nothing has been done for longest."""

    name: str = ""
    lasted_s: float = 0.0


@dataclass(slots=True)
class Progress:
    """What has not moved, and since when: the watchdog's memory, without a clock of its own.

    >>> progress = Progress()
    >>> progress.look([Duty("events/0", owed=True, mark=7)], now_s=100.0)
    Stall(name='events/0', lasted_s=0.0)
    >>> progress.look([Duty("events/0", owed=True, mark=7)], now_s=131.0)
    Stall(name='events/0', lasted_s=31.0)
    >>> progress.look([Duty("events/0", owed=True, mark=8)], now_s=132.0)
    Stall(name='events/0', lasted_s=0.0)
    >>> progress.look([Duty("events/0", owed=False, mark=8)], now_s=999.0)
    Stall(name='', lasted_s=0.0)
    """

    _since_s: dict[tuple[str, int], float] = field(default_factory=dict)

    def look(self, duties: Iterable[Duty], now_s: float) -> Stall:
        """Return the longest stall there is now."""
        since_s = self._since_s
        owed = [(duty.name, duty.mark) for duty in duties if duty.owed]
        self._since_s = {each: since_s.get(each, now_s) for each in owed}
        if not owed:
            return Stall()
        (name, _), first_s = min(self._since_s.items(), key=lambda item: item[1])
        return Stall(name, now_s - first_s)


class Watchdog:
    """Watches one worker.

    Args:
        work: whom.
        app: whose consumer brings its input.
        sender: writes its output.
        metrics: told of lags and stalls.
        bootstrap: the broker, asked where partitions end by a client that nothing else uses: whether it answers does
            not depend on what may be stalled.
        limits: see there.

    Attributes:
        ends: where the partitions of the input end, as the broker said last.
        stall: what has not moved for longest.
    """

    def __init__(  # noqa: PLR0917
        self, work: Watched, app: ChunkApp, sender: Sender, metrics: Metrics, bootstrap: str, limits: Limits
    ) -> None:
        self._work = work
        self._app = app
        self._sender = sender
        self._metrics = metrics
        self._bootstrap = bootstrap
        self._limits = limits
        self._progress = Progress()
        self._answers = 0
        self._looks = 0
        self._not_ready = ""
        self.ends: dict[TP, int] = {}
        self.stall = Stall()

    @property
    def problem(self) -> str:
        """Why the worker is not ready; empty, it is."""
        if waits_for := self._work.waits_for:
            return f"waits for {waits_for}"
        if self.stall.lasted_s >= self._limits.stalled_after_s:
            return f"no progress for {self.stall.lasted_s:.0f} s: {self.stall.name}"
        return ""

    async def watch(self) -> None:
        """Look until cancelled.

        Raises:
            Stalled: for so long that starting again is the better hope.
        """
        over = threading.Event()
        threading.Thread(target=self._watch_loop, args=(over,), name="watchdog of the event loop", daemon=True).start()
        asking = asyncio.create_task(self._ask())
        spent_s, looked_s = 0.0, time.monotonic()
        try:
            while not asking.done():
                self.look(spent_s)
                await asyncio.sleep(LOOK_EVERY_S)
                # A process that was stopped and goes on (SIGSTOP, a laptop's lid) had no chance to get on meanwhile.
                spent_s += min(time.monotonic() - looked_s, _LONGEST_LOOK_S)
                looked_s = time.monotonic()
            asking.result()
        finally:
            over.set()
            asking.cancel()

    def look(self, now_s: float) -> None:
        """Take stock.

        Raises:
            Stalled: see `watch`.
        """
        self._looks += 1
        self.stall = self._progress.look(self._duties(), now_s)
        self._metrics.stalled().set(self.stall.lasted_s)
        if self.stall.lasted_s >= self._limits.give_up_after_s:
            raise Stalled(self.stall.name, self.stall.lasted_s)
        self._tell()

    def _duties(self) -> Iterator[Duty]:
        # Owed for ever: that the broker answers is progress in itself.
        yield Duty(f"the broker at {self._bootstrap} does not answer", owed=True, mark=self._answers)
        acknowledged = self._sender.acknowledged
        yield Duty("the broker does not acknowledge what was sent", owed=self._sender.waiting > 0, mark=acknowledged)
        is_waiting = bool(self._work.waits_for)
        for tp, at in self._work.positions().items():
            end_offset = self.ends.get(tp, 0)
            # Where a log ends with offsets that hold no record, nothing will ever be handled up to its end.
            behind = 0 if self._app.consumer.drained(tp, end_offset) else max(0, end_offset - max(0, at))
            self._metrics.lag(tp.partition).set(behind)
            name = f"{tp.topic} partition {tp.partition} is not handled beyond offset {max(0, at)}"
            yield Duty(name, owed=behind > 0 and not is_waiting, mark=at)

    def _tell(self) -> None:
        # Compared without its seconds, which change.
        problem = self.problem
        kind = self.stall.name if problem.startswith("no progress") else problem
        if kind == self._not_ready:
            return
        self._not_ready = kind
        if problem:
            log.warning("worker_not_ready %s", problem)
        else:
            log.info("worker_ready")

    async def _ask(self) -> None:
        """Ask the broker again and again where the partitions end."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, enable_auto_commit=False, retry_backoff_ms=500
            )
            try:
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await consumer.start()
                while True:
                    await self._ask_once(consumer)
                    await asyncio.sleep(_ASK_EVERY_S)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(_ASK_EVERY_S)  # away: the mark stays, which is what counts
            finally:
                with contextlib.suppress(KafkaError, OSError):
                    await stop_consumer(consumer)

    async def _ask_once(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [TopicPartition(tp.topic, tp.partition) for tp in self._work.positions()]
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            if partitions:
                ends = await consumer.end_offsets(partitions)
                self.ends = {TP(each.topic, each.partition): end_offset for each, end_offset in ends.items()}
            else:
                await consumer.topics()  # whether it answers is to be known all the same
        self._answers += 1

    def _watch_loop(self, over: threading.Event) -> None:
        # What blocks the event loop blocks the rest of this class too: a thread sees that it does not look any more.
        looks, blocked_s = self._looks, 0.0
        while not over.wait(LOOK_EVERY_S):
            blocked_s = 0.0 if looks != self._looks else blocked_s + LOOK_EVERY_S
            looks = self._looks
            if blocked_s >= self._limits.give_up_after_s:
                faulthandler.dump_traceback()
                end(Stalled("the event loop is blocked, see the traces above", blocked_s))

"""Forward: the events that an edge has answered, from its spill to `events`.

The path of an event, top to bottom, is `KafkaForwarder.offer`, then `_send_all`. Nothing is held but in the spill: what
is sent is read from there, whether it came a moment ago or lies there since before a crash, so an outage costs disk and
no memory. A visitor's events stay in order: they are read in it, have one partition, and that is written in order.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import platformdirs
from aiokafka.errors import InvalidMessageError, KafkaError, MessageSizeTooLargeError

from schemas.errors import BrokerError
from scoring.forward import UNWRITABLE, Outgoing
from scoring.spill import LIMIT_BYTES, Position, Spill
from streams.sender import Sender, Stamped, home_of
from streams.topics import EVENTS, Cluster, missing_topics

log = logging.getLogger(__name__)

VARIABLE: Final = "FRESHET_SPILL"
FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 5.0
# Events are sent together: a request of ten costs little more than one of one, and the answers share this process.
TOGETHER_S: Final = 0.05
# At the end, what is waiting is still sent if that takes no longer; else it stays in the spill for the next start.
DRAIN_S: Final = 0.5
_MOST_UNDERWAY: Final = 8
# What the broker says of a record that it will not take however often it is sent.
_REFUSED: Final = (MessageSizeTooLargeError, InvalidMessageError)


class _Underway(NamedTuple):
    through: Position
    events: int
    sent: list[asyncio.Future[Any]]


class KafkaForwarder:
    """Takes events to `events`, each at least once; see `scoring.forward.Forwarder`.

    Args:
        cluster: where `events` is; it need not be there yet.
        spill: where events wait, not opened yet.

    Attributes:
        forwarded: events that the broker has acknowledged since the start.
        lost: events that were taken and that the broker will not have (too large for its topic), since the start.
    """

    def __init__(self, cluster: Cluster, spill: Spill) -> None:
        self._cluster = cluster
        self._topic = cluster.topic(EVENTS)
        self._spill = spill
        self._offered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._interrupted = False
        self._connected = False
        self._one_by_one = False
        self.forwarded = 0
        self.lost = 0

    @property
    def spilled_bytes(self) -> int:
        """What waits for Kafka."""
        return self._spill.waiting_bytes

    @property
    def refused(self) -> dict[str, int]:
        """Events that were scored and not taken since the start, by reason."""
        return self._spill.refused

    @property
    def damaged(self) -> int:
        """Records of the spill found unreadable since the start, those that a crash left half written among them."""
        return self._spill.damaged

    def open(self) -> None:
        """Take the spill's directory. Where the disk has none to give, events will be scored and not forwarded.

        Raises:
            SpillTaken: another process has it.
        """
        try:
            self._spill.open()
        except OSError as error:
            log.warning(
                "spill_unwritable directory=%s: events are scored and not forwarded until the next start; %s",
                self._spill.directory,
                error.strerror,
            )

    def offer(self, outgoing: Outgoing) -> str:
        """See `Forwarder`: the event is in the spill when this returns ""."""
        if not self._spill.is_open:
            self._spill.refused[UNWRITABLE] += 1
            return UNWRITABLE
        reason = self._spill.append(_encode(outgoing))
        if not reason:
            self._offered.set()
        return reason

    async def start(self) -> None:
        """Begin to send; returns at once, whether or not Kafka is there."""
        if self._task is None and self._spill.is_open:
            self._task = asyncio.create_task(self._forward(), name="forward")

    async def stop(self) -> None:
        """Send what can be sent within `DRAIN_S`, and let the spill go; the rest stays in it."""
        end_s = time.monotonic() + DRAIN_S
        while self._connected and self.spilled_bytes and time.monotonic() < end_s:  # noqa: ASYNC110  # it ends soon
            await asyncio.sleep(0.02)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self.spilled_bytes:
            log.info("spill_left directory=%s bytes=%d", self._spill.directory, self.spilled_bytes)
        self._spill.close()

    async def _forward(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            before = self.forwarded
            try:
                await self._send_all()
            except (KafkaError, BrokerError, OSError) as error:  # a TimeoutError is an OSError
                self._one_by_one = isinstance(error, _REFUSED)
                self._say_interrupted(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not `stop`: aiokafka cancels tasks of its own and lets that out where they are awaited.
                self._say_interrupted(KafkaError("a request was given up"))
            except Exception:
                # Not expected, and no reason to stop either: events that are silently kept would be worse.
                self._interrupted = True
                log.exception("forwarding_failed topic=%s", self._topic)
            if self.forwarded > before:
                retry_s = FIRST_RETRY_S
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    def _say_interrupted(self, error: Exception) -> None:
        if not self._interrupted:  # told once; the next line says that it goes on
            self._interrupted = True
            reason = str(error) or type(error).__name__
            log.warning("forwarding_interrupted topic=%s reason=%s", self._topic, reason)

    async def _send_all(self) -> None:
        """Connect, and send what is in the spill and what comes into it, until something breaks.

        Raises:
            KafkaError, BrokerError, OSError: Kafka is away, or refuses.
        """
        # Looked for in a list of all: asking for a topic by name may create it, with the broker's defaults.
        if self._topic in await missing_topics(self._cluster):
            raise BrokerError(f"there is no topic {self._topic} yet")
        sender = Sender(self._cluster.bootstrap)
        underway: deque[_Underway] = deque()
        try:
            await sender.start()
            self._connected = True
            self._spill.rewind()
            if self._one_by_one and await self._find_refused(sender):
                return  # with it the sender's count of what it has sent is wrong: another one goes on
            # 1. Read what follows. 2. Send. 3. Wait for the broker. 4. Only now drop it: a crash before 4 sends it
            # again, with the same `_id`, and the scorer takes the first.
            while True:
                records, through = self._spill.read()
                if records:
                    underway.append(_Underway(through, len(records), await self._send(sender, records)))
                elif not underway:
                    self._offered.clear()
                    await self._offered.wait()
                    await asyncio.sleep(TOGETHER_S)
                if underway and (not records or len(underway) == _MOST_UNDERWAY):
                    await self._settle(underway.popleft())
        finally:
            self._connected = False
            for each in underway:
                for sent in each.sent:
                    sent.cancel()  # nobody waits for them any more
            await sender.abandon()

    async def _send(self, sender: Sender, records: Sequence[bytes]) -> list[asyncio.Future[Any]]:
        partitions = await sender.partitions(self._topic)
        of: dict[int, list[Stamped]] = {}
        for outgoing in self._decoded(records):
            stamped = (outgoing.key, outgoing.value, outgoing.at_ms, outgoing.headers)
            of.setdefault(home_of(outgoing.key, partitions), []).append(stamped)
        sent: list[asyncio.Future[Any]] = []
        for partition, of_partition in of.items():
            sent += await sender.send_stamped(self._topic, partition, of_partition)
        return sent

    async def _settle(self, underway: _Underway) -> None:
        for sent in underway.sent:
            await sent
        self._done(underway.through, underway.events)

    async def _find_refused(self, sender: Sender) -> bool:
        """Send records one by one, up to one that the broker refuses, which is lost; return whether it was met."""
        self._one_by_one = False
        while True:
            records, through = self._spill.read(1)
            if not records:
                return False
            for each in self._decoded(records):
                try:
                    sent = await sender.send(
                        self._topic, each.key, each.value, headers=each.headers, timestamp_ms=each.at_ms
                    )
                    await sent
                except _REFUSED as error:
                    self.lost += 1
                    log.error("event_lost topic=%s bytes=%d: %r", self._topic, len(each.value), error)  # noqa: TRY400
                    self._done(through, 0)
                    return True
            self._done(through, len(records))

    def _done(self, through: Position, events: int) -> None:
        self._spill.drop(through)
        self.forwarded += events
        if self._interrupted:
            self._interrupted = False
            log.info("forwarding_resumed topic=%s waiting_bytes=%d", self._topic, self.spilled_bytes)

    def _decoded(self, records: Sequence[bytes]) -> list[Outgoing]:
        found: list[Outgoing] = []
        for record in records:
            try:
                found.append(_decode(record))
            except msgspec.DecodeError as error:  # whole, and not ours: somebody else has written into the directory
                self.lost += 1
                log.error("event_lost directory=%s: %s", self._spill.directory, error)  # noqa: TRY400
        return found


def spill_directory(cluster: Cluster, port: int) -> Path:
    """Return where the edge on a port keeps events for a cluster: below $FRESHET_SPILL, else in the user's data.

    The name holds what makes it this edge's: one that is started again on the port finds what it had left, and one
    that is started for another cluster sends it nothing that was meant for this.

    >>> os.environ[VARIABLE] = "/tmp/spill"
    >>> str(spill_directory(Cluster("127.0.0.1:9092"), 8080))
    '/tmp/spill/8080-1250fb2f'
    >>> del os.environ[VARIABLE]
    """
    named = os.environ.get(VARIABLE)
    below = Path(named) if named else Path(platformdirs.user_data_dir("freshet")) / "spill"
    of = hashlib.sha256(f"{cluster.bootstrap} {cluster.topic(EVENTS)}".encode()).hexdigest()[:8]
    return below / f"{port}-{of}"


def kafka_forwarder(cluster: Cluster, directory: Path, limit_bytes: int = LIMIT_BYTES) -> KafkaForwarder:
    """Return a forwarder that has its spill.

    Raises:
        SpillTaken: another process has it.
    """
    forwarder = KafkaForwarder(cluster, Spill(directory, limit_bytes))
    forwarder.open()
    return forwarder


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Outgoing).decode

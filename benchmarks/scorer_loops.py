"""The four loops that `benchmarks.scorer` compares, each in a process of its own.

Run as `python -m benchmarks.scorer_loops LOOP BOOTSTRAP PREFIX EVENTS`; prints one line of JSON: events, CPU seconds of
the process between the first and the last event, wall seconds.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from learners import Model, load_model
from schemas.records import LearnedThrough, Score, encode, score_id
from scoring.engine import Engine
from scoring.registry import Registry
from scoring.session import Session
from streams import worker as workers
from streams.books import Books
from streams.changes import Changes
from streams.entry import Entry
from streams.held import Held
from streams.journal import Journal, Journaled
from streams.law import Intake
from streams.partition import Partition
from streams.releases import Releases
from streams.scorer import Owned, Scorer
from streams.topics import EVENTS, EXAMPLES, MIB, PROFILES, SCORES, Cluster, group_of
from streams.transport import ChunkMessage
from streams.worker import Worker

MODEL = Path(__file__).parents[1] / "examples" / "purchase_propensity.py"
PROFILE = os.environ.get("FRESHET_BENCH_PROFILE", "")


class Meter:
    """CPU and wall time from the first event to the last; then leaves the process."""

    def __init__(self, events: int) -> None:
        self.left = self.events = events
        self._profile = cProfile.Profile() if PROFILE else None
        self._started = (0.0, 0.0)

    def count(self, events: int) -> None:
        """Take note of events that were delivered."""
        if self.left == self.events:
            self._started = (time.process_time(), time.monotonic())
            if self._profile:
                self._profile.enable()
        self.left -= events

    def finish(self) -> None:
        """Print the figures and leave."""
        cpu_s = time.process_time() - self._started[0]
        wall_s = time.monotonic() - self._started[1]
        if self._profile:
            self._profile.disable()
            self._profile.dump_stats(PROFILE)
        print(json.dumps({"events": self.events, "cpu_s": cpu_s, "wall_s": wall_s}), flush=True)
        os._exit(0)


def freshet_loop(model: Model, cluster: Cluster, meter: Meter) -> None:
    """The scorer as it is: everything on, the journal included."""
    worker = Worker("scorer", model, cluster)
    scorer = worker._work
    assert isinstance(scorer, Scorer)
    take = scorer.take

    async def metered(message: ChunkMessage) -> None:
        meter.count(len(message.value))
        await take(message)
        if meter.left <= 0:
            await scorer.let_go()  # the last journal record counts as well
            meter.finish()

    scorer.take = metered  # type: ignore[method-assign]
    worker.run()


def unjournaled_loop(model: Model, cluster: Cluster, meter: Meter) -> None:
    """The scorer without its journal: nothing collected, nothing written; a chunk is acknowledged once it is sent."""

    async def nothing_there(self: Journal) -> list[Entry]:
        return []

    async def settle(self: Held, state: Journaled, consumer: Any) -> int:
        await asyncio.gather(*self.sent)
        self.sent.clear()
        for chunk in self._chunks:
            chunk.ack(consumer)
        self._chunks.clear()
        return 0

    def forget(self: Changes, *_: Any) -> None:
        self.known.clear()
        self.outcomes.clear()

    Journal.take_over = nothing_there  # type: ignore[method-assign]
    Held.settle = settle  # type: ignore[method-assign]
    Changes.add = forget  # type: ignore[method-assign]
    # A group of its own: the loop with a journal has committed the events of this round already.
    workers.group_of = lambda *names: f"{group_of(*names)}-unjournaled"  # type: ignore[attr-defined]
    freshet_loop(model, cluster, meter)


def stock_loop(model: Model, cluster: Cluster, meter: Meter) -> None:
    """Stock Faust: `take()`, `topic.send()`; the same decoding, features, ONNX, records and state as the scorer."""
    app = faust.App(
        f"{cluster.prefix}stock-{os.getpid()}",
        broker=f"kafka://{cluster.bootstrap}",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_commit_interval=0.5,
        producer_linger=0.005,
        producer_max_batch_size=MIB // 2,
        consumer_max_fetch_size=9 * MIB,
        consumer_metadata_max_age_ms=3000,
        worker_redirect_stdouts=False,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    source = app.topic(cluster.topic(EVENTS), **raw)
    out = {name: app.topic(cluster.topic(name), **raw) for name in (SCORES, EXAMPLES, PROFILES)}
    scorer = Scorer(None, model, Engine(), None, cluster, b"", Books(model.spec.name, 60.0))  # type: ignore[arg-type]  # its record makers only
    states: dict[int, Owned] = {}
    journaled_at_s = time.monotonic()
    sessions: list[Session] = []
    held = Held(None)  # type: ignore[arg-type]  # nothing is held here: Faust acknowledges

    @app.agent(source)
    async def score(stream: Any) -> None:
        nonlocal journaled_at_s
        sessions.append(await _live(cluster, model))
        async for events in stream.take_events(500, within=0.5):
            meter.count(len(events))
            by_partition: dict[int, list[Any]] = {}
            for event in events:
                message = event.message
                record = _Record(message.offset, int(message.timestamp * 1000), message.key, message.value)
                by_partition.setdefault(message.partition, []).append(record)
            for partition, records in by_partition.items():
                owned = states.setdefault(partition, Owned(Partition(model.reader), held, Intake(-1), 0.0))
                taken = owned.state.take(records)
                scorer._score(taken, sessions[0])
                sends = []
                for name, pairs in (
                    (SCORES, scorer._score_records(taken, LearnedThrough())),
                    (EXAMPLES, scorer._example_records(partition, owned, taken.closed)),
                    (PROFILES, scorer._profile_records(taken)),
                ):
                    sends += [await out[name].send(key=key, value=value) for key, value in pairs]
                await asyncio.gather(*sends)
            if time.monotonic() - journaled_at_s > 1.0:
                journaled_at_s = time.monotonic()
                for owned in states.values():
                    owned.state.snapshot()
            if meter.left <= 0:
                meter.finish()

    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


def bare_loop(model: Model, cluster: Cluster, meter: Meter) -> None:
    """By hand: aiokafka, decode, score, send; no past, no labels, no state, no promise."""

    async def run() -> None:
        session = await _live(cluster, model)
        reader = model.reader
        consumer = AIOKafkaConsumer(
            cluster.topic(EVENTS),
            bootstrap_servers=cluster.bootstrap,
            group_id=f"{cluster.prefix}bare-{os.getpid()}",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=9 * MIB,
        )
        producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all", max_batch_size=MIB // 2)
        await consumer.start()
        await producer.start()
        while meter.left > 0:
            for tp, records in (await consumer.getmany(timeout_ms=500, max_records=500)).items():
                meter.count(len(records))
                events = [reader.read(record.value, record.timestamp) for record in records]
                scores = session.score([reader.x(event, None) for event in events])
                batch = producer.create_batch()
                for event, score in zip(events, scores, strict=True):
                    value = Score(
                        id=score_id(session.model, event.id),
                        event=event.id,
                        visitor=event.visitor,
                        model=session.model,
                        version=session.version,
                        score=score,
                        learned_through=session.learned_through,
                        event_time=event.time_ms,
                        scored_at=0,
                        valid_until=0,
                    )
                    batch.append(key=event.visitor.encode(), value=encode(value), timestamp=None)
                await (await producer.send_batch(batch, cluster.topic(SCORES), partition=tp.partition))
        meter.finish()

    asyncio.run(run())


class _Record:
    """What `Partition.take` reads of a record."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = ()


async def _live(cluster: Cluster, model: Model) -> Session:
    registry, engine = Registry(), Engine()
    releases = Releases(cluster, registry, engine)
    await releases.start()
    await engine.ready(model.spec.name)
    await releases.stop()
    return engine.session(model.spec.name)


LOOPS: dict[str, Callable[[Model, Cluster, Meter], Awaitable[None] | None]] = {
    "freshet": freshet_loop,
    "freshet without its journal": unjournaled_loop,
    "stock Faust take()": stock_loop,
    "bare aiokafka": bare_loop,
}

if __name__ == "__main__":
    _, loop, bootstrap, prefix, events = sys.argv
    asyncio.set_event_loop(asyncio.new_event_loop())
    LOOPS[loop](load_model(MODEL), Cluster(bootstrap, prefix), Meter(int(events)))

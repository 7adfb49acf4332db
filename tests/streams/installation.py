"""An installation for tests: topics with a prefix of their own, and workers as real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from learners import Model, load_model
from learners.training import Training
from schemas.records import Example, Release, Score, decode
from streams.entry import Entry
from streams.journal import Journal
from streams.partition import Partition
from streams.replay import replay
from streams.sender import Sender
from streams.state_key import state_key
from streams.topics import EVENTS, EXAMPLES, MIB, RELEASES, SCORES, Cluster, create_topics, partitions_of

ROOT = Path(__file__).parents[2]


class Installation:
    """The topics of one test on the shared broker, and the workers that it started."""

    def __init__(self, bootstrap: str, model_path: Path, logs: Path, partitions: int = 2) -> None:
        self.cluster = Cluster(bootstrap, prefix=f"test-{uuid.uuid4().hex[:8]}.")
        self.model_path = model_path
        self.model: Model = load_model(model_path)
        self.logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        asyncio.run(create_topics(self.cluster, partitions))

    def start(self, role: str, **environment: str) -> None:
        """Start a worker, as a user would."""
        argv = [sys.executable, "-m", "streams.cli", "worker", role, "--model", str(self.model_path)]
        env = os.environ | {
            "KAFKA_BOOTSTRAP": self.cluster.bootstrap,
            "FRESHET_TOPIC_PREFIX": self.cluster.prefix,
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        with (self.logs / f"{role}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(argv, env=env, stdout=log, stderr=log)

    def kill(self, role: str) -> None:
        """`kill -9` a worker."""
        self._processes[role].kill()
        self._processes[role].wait(10)

    def stop(self, role: str) -> int:
        """Stop a worker with SIGTERM; return its exit code."""
        self._processes[role].terminate()
        return self._processes[role].wait(20)

    def ended(self, role: str, timeout_s: float = 40.0) -> int:
        """Return the exit code of a worker that is expected to end by itself."""
        return self._processes[role].wait(timeout_s)

    def dies(self, role: str) -> None:
        """Wait for a worker to be killed by itself, at a crash point; fail with its last words if it ends otherwise."""
        code = self.ended(role)
        assert code == -9, f"{role} ended with {code}\n{self._words()}"

    def stop_all(self) -> None:
        """End every worker, by id."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(10)

    def feed(self, events: Iterable[Any], *, rate_per_s: float = 0.0, close: bool = True) -> None:
        """Send events as `freshet replay` does, with the tick that closes every window."""
        spec = self.model.spec
        closing_ms = spec.within_ms + spec.lateness_ms + 1000 if close else 0
        asyncio.run(replay(self.cluster, events, rate_per_s=rate_per_s, closing_ms=closing_ms))

    def send(self, key: bytes | None, value: bytes | None) -> None:
        """Send one record to `events` as any producer might."""
        self.put(EVENTS, [(key, value)])

    def put(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Send records to a topic, each to the partition of its key."""

        async def send() -> None:
            sender = Sender(self.cluster.bootstrap)
            await sender.start()
            for sent in [await sender.send(self.cluster.topic(topic), key, value) for key, value in records]:
                await sent
            await sender.stop()

        asyncio.run(send())

    def records(self, topic: str) -> list[ConsumerRecord]:
        """Return all records of a topic, partition by partition."""
        return asyncio.run(_read(self.cluster, topic))

    def scores(self) -> list[Score]:
        return [decode(Score, record.value) for record in self.records(SCORES)]

    def examples(self) -> list[Example]:
        return [decode(Example, record.value) for record in self.records(EXAMPLES)]

    def releases(self) -> list[Release]:
        return [decode(Release, record.value) for record in self.records(RELEASES) if record.value]

    def newest_entries(self, topic: str) -> list[Entry]:
        """Return the entries of the model's newest state in a journal topic with one key; none before the first."""
        written = self.records(topic)
        if not written:
            return []
        home = written[-1].partition
        key = f"{self.model.spec.name}/{home}"
        journal = Journal(self.cluster, Sender(self.cluster.bootstrap), topic, home, key, state_key())
        return asyncio.run(journal.newest())

    def wait(self, until: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait for a condition; fail with the workers' last words if it does not come true."""
        end_s = time.monotonic() + timeout_s
        while not until():
            dead = [role for role, process in self._processes.items() if process.poll() not in (None, -9)]
            if dead or time.monotonic() > end_s:
                raise AssertionError(f"{what}: not within {timeout_s} s, exited: {dead}\n{self._words()}")
            time.sleep(0.3)

    def _words(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.logs.glob("*.log"))

    def expected_examples(self) -> set[tuple[Any, ...]]:
        """Return what one uninterrupted pass over the log of `events` gives: (id, x, y, source partition, seq)."""
        expected: set[tuple[Any, ...]] = set()
        by_partition: dict[int, list[ConsumerRecord]] = {}
        for record in self.records(EVENTS):
            by_partition.setdefault(record.partition, []).append(record)
        for partition, records in by_partition.items():
            state = Partition(self.model.reader)
            closed = state.take(records).closed
            for seq, each in zip(state.number(len(closed)), closed, strict=True):
                numbers, categories = self.model.reader.named(each.pending.x)
                x = (tuple(numbers.items()), tuple(categories.items()))
                expected.add((f"{self.model.spec.name}/{each.pending.event}", x, each.y, partition, seq))
        return expected

    def wanted(self) -> set[str]:
        """Return the ids of the scores that one uninterrupted pass over the log of `events` asks for."""
        states: dict[int, Partition] = {}
        return {
            f"{self.model.spec.name}/{pending.event}"
            for record in self.records(EVENTS)
            for pending in states.setdefault(record.partition, Partition(self.model.reader)).take([record]).pendings
        }

    def replayed_training(self, through: int | None = None) -> Training:
        """Return what one uninterrupted pass over the log of `examples` teaches, repeats dropped."""
        training = Training(self.model)
        for record in self.records(EXAMPLES):
            example = decode(Example, record.value)
            if (through is None or record.offset <= through) and not training.is_repeat(example):
                training.learn(record.offset, example, None)
        return training


def as_facts(examples: Iterable[Example]) -> set[tuple[Any, ...]]:
    """Return examples in the form of `expected_examples`: repeats fall together if they are equal."""
    return {
        (e.id, (tuple(e.numbers.items()), tuple(e.categories.items())), e.y, e.source.partition, e.source.seq)
        for e in examples
    }


async def _read(cluster: Cluster, topic: str) -> list[ConsumerRecord]:
    partitions = await partitions_of(cluster, topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=17 * MIB
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        for tp in partitions:
            while await consumer.position(tp) < ends[tp]:
                records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
        return records
    finally:
        await consumer.stop()

"""The embedded broker, on a real Kafka wherever Kafka's own behaviour is the point."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.errors import BrokerError
from streams.broker import EmbeddedBroker, embedded, ports, stop_broker
from streams.broker.jars import load_lock
from streams.broker.process import ProcessId
from streams.broker.state import BrokerState, read_state, running, write_state

REPOSITORY = Path(__file__).parents[2]
HEAP_MIB = 128
LARGEST_BYTES = 16 * 2**20  # a journal record


def quiet(_: str) -> None:
    """Take what a broker has to say."""


def small_broker(data_dir: Path, port: int = 0) -> EmbeddedBroker:
    """A broker for few and small records."""
    return EmbeddedBroker(data_dir, heap_mib=HEAP_MIB, port=port, say=quiet)


async def create_topic(bootstrap: str, topic: str) -> None:
    """Create a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Send the values, and return when the broker has acknowledged each."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=LARGEST_BYTES + 2**20
    )
    await producer.start()
    try:
        for sent in [await producer.send(topic, value) for value in values]:
            await sent
    finally:
        await producer.stop()


async def consume(bootstrap: str, topic: str) -> list[bytes]:
    """Read partition 0 from its start to its present end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while len(values) < end:
            batches = await consumer.getmany(partition, timeout_ms=1000)
            values += [record.value for record in batches.get(partition, [])]
        return values
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def orphan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BrokerState]:
    """A data directory and its broker, which runs on since the process that started it was killed with kill -9.

    The path has a space and a letter that is not ASCII.
    """
    data_dir = tmp_path_factory.mktemp("Zoë's data") / "kafka"
    program = (
        "import sys, time; from pathlib import Path; from streams.broker import EmbeddedBroker;"
        f"EmbeddedBroker(Path(sys.argv[1]), heap_mib={HEAP_MIB}).start();"
        "print('started', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(data_dir)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
    state = running(data_dir)
    assert state is not None
    return data_dir, state


@pytest.fixture(scope="module")
def serving(orphan: tuple[Path, BrokerState]) -> Iterator[EmbeddedBroker]:
    """A broker that runs, and ends with the tests that use it."""
    data_dir, state = orphan
    with small_broker(data_dir) as broker:
        yield broker
    assert state.process is not None
    assert not state.process.alive()


def test_largest_record_goes_through(kafka: str) -> None:
    """A record of 16 MiB, the largest a journal may hold, is taken and given back by the settings we ship."""
    topic = f"large-{uuid.uuid4().hex[:8]}"
    largest = os.urandom(1024) * (LARGEST_BYTES // 1024)

    asyncio.run(create_topic(kafka, topic))
    asyncio.run(produce(kafka, topic, [largest]))

    assert [largest] == asyncio.run(consume(kafka, topic))


def test_broker_of_a_killed_parent_is_taken_over(orphan: tuple[Path, BrokerState], serving: EmbeddedBroker) -> None:
    """A broker whose starter was killed is used by the next start, which also becomes the one that stops it."""
    data_dir, before = orphan
    after = running(data_dir)

    assert after == replace(before, owner=ProcessId.mine())
    assert serving.bootstrap == before.bootstrap


def test_second_object_shares_the_broker_and_leaves_it(serving: EmbeddedBroker) -> None:
    """Who comes second uses the broker that runs, and does not take it down with him."""
    before = running(serving.data_dir)

    with small_broker(serving.data_dir) as second:
        shared = second.bootstrap

    assert shared == serving.bootstrap
    assert before is not None
    assert before == running(serving.data_dir)


def test_other_port_than_the_running_brokers_is_refused(serving: EmbeddedBroker) -> None:
    """A wish for another port does not end a broker that others use."""
    other = ports.free_ports(1)[0]

    with pytest.raises(BrokerError, match=f"already runs on {serving.bootstrap}"):
        small_broker(serving.data_dir, port=other).start()

    assert running(serving.data_dir) is not None


def test_directory_of_an_unknown_broker_is_left_alone(serving: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without broker.json to tell who serves a directory, Kafka's own lock does: no second Kafka touches its files."""
    monkeypatch.setattr(embedded, "DYING_PATIENCE_S", 0.1)
    state = read_state(serving.data_dir)
    assert state is not None
    (serving.data_dir / "broker.json").unlink()
    before = (serving.data_dir / "server.properties").read_bytes()
    try:
        with pytest.raises(BrokerError, match="another Kafka uses"):
            small_broker(serving.data_dir).start()
    finally:
        write_state(serving.data_dir, state)

    assert before == (serving.data_dir / "server.properties").read_bytes()
    assert not (serving.data_dir / "broker.previous.log").exists()


def test_refused_setting_is_named(tmp_path: Path) -> None:
    """A setting that Kafka cannot read is quoted with its name and value."""
    broker = EmbeddedBroker(tmp_path, overrides={"num.io.threads": "abc"}, say=quiet)

    with pytest.raises(BrokerError, match=r"refuses a setting: Invalid value abc for configuration num\.io\.threads"):
        broker.start()


def test_taken_port_is_refused_before_java_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program holds is told at once."""
    monkeypatch.setenv("KAFKA_JAVA", "/nowhere/java")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        with pytest.raises(BrokerError, match=f"port {port} is taken"):
            small_broker(tmp_path, port=port).start()


def test_lowered_version_is_refused(tmp_path: Path) -> None:
    """Records of a newer Kafka are not opened with an older one; 4.10 is newer than 4.9."""
    write_state(tmp_path, BrokerState("4.10.0"))
    older = EmbeddedBroker(tmp_path, say=quiet, lock=replace(load_lock(), version="4.9.3"))

    with pytest.raises(BrokerError, match=r"written by Kafka 4\.10\.0; this freshet runs 4\.9\.3.*freshet broker wipe"):
        older.start()


def test_unwritable_directory_is_told(tmp_path: Path) -> None:
    """A data directory that cannot be made is named."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(BrokerError, match="cannot keep Kafka's records in"):
        small_broker(tmp_path / "file" / "kafka").start()


def test_stray_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker process that hangs is ended, so that a new one gets its data directory."""
    monkeypatch.setattr(embedded, "STRAY_PATIENCE_S", 0.1)
    monkeypatch.setenv("KAFKA_JAVA", "/nowhere/java")  # the new start ends there: this test is about the old broker
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stray:
        stray_id = ProcessId.of(stray.pid)
        write_state(tmp_path, BrokerState("4.3.1", port=ports.free_ports(1)[0], process=stray_id))

        with pytest.raises(BrokerError, match="KAFKA_JAVA"):
            small_broker(tmp_path).start()

        assert not stray_id.alive()


def test_killed_broker_loses_no_acknowledged_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 a new start has every record that was acknowledged, also when it must draw its ports twice."""
    values = [b"%d" % number for number in range(1000)]
    killed = small_broker(tmp_path).start()
    asyncio.run(create_topic(killed.bootstrap, "events"))
    asyncio.run(produce(killed.bootstrap, "events", values))
    state = running(tmp_path)
    assert state is not None
    assert state.process is not None
    os.kill(state.process.pid, signal.SIGKILL)
    killed.stop()
    assert not state.process.alive()

    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        draws = [[taken, *ports.free_ports(1)]]
        free_ports = ports.free_ports
        monkeypatch.setattr(ports, "free_ports", lambda count: draws.pop() if draws else free_ports(count))
        with small_broker(tmp_path) as restarted:
            survived = asyncio.run(consume(restarted.bootstrap, "events"))
            bootstrap = restarted.bootstrap

    assert values == survived
    assert not draws
    assert bootstrap != f"127.0.0.1:{taken}"


def test_stop_of_nothing_is_no_error(tmp_path: Path) -> None:
    """`down` may be run twice, and before there ever was a broker."""
    assert stop_broker(tmp_path / "never") is None
    assert stop_broker(tmp_path) is None

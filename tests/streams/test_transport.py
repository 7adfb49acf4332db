"""What the chunk transport promises, and what it relies on in Faust's internals."""

from __future__ import annotations

import asyncio
import inspect
import urllib.request
from collections import defaultdict, deque
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.broker.ports import free_ports
from streams.simulator import Simulator
from streams.topics import EVENTS
from streams.transport import ChunkApp, ChunkConsumer, ChunkMessage, _chunk_message
from tests.streams.installation import ROOT, Installation

HERE = TP("events", 0)


def consumer() -> Any:
    """A chunk consumer with nothing behind it: its bookkeeping only."""
    bare = ChunkConsumer.__new__(ChunkConsumer)
    bare._delivered = defaultdict(deque)
    bare._committable = {}
    bare._unacked_messages = set()
    bare._waiting_for_ack = None
    return bare


def records(*offsets: int) -> list[ConsumerRecord]:
    return [ConsumerRecord("events", 0, offset, 0, 0, None, b"", None, 0, 0, ()) for offset in offsets]


def test_the_versions_that_were_read_are_the_versions_installed() -> None:
    """The internals below were read in exactly these versions; a new pin means reading them again."""
    installed = {name: metadata.version(name) for name in ("faust-streaming", "mode-streaming", "aiokafka")}

    assert installed == {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (Consumer, "_drain_messages", ["self", "fetcher"]),
        (Consumer, "_filter_tps_with_pending_acks", ["self", "topics"]),
        (Consumer, "_new_offset", ["self", "tp"]),
        (Consumer, "_wait_next_records", ["self", "timeout"]),
        (Consumer, "perform_seek", ["self"]),
        (Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (Consumer, "commit", ["self", "topics", "start_new_transaction"]),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (faust.App, "_new_transport", ["self"]),
        (ChunkMessage, "on_final_ack", ["self", "consumer"]),
    ],
)
def test_what_is_overridden_or_called_is_there(owner: type, name: str, parameters: list[str]) -> None:
    """A private method that Faust renames or gives another signature must not be overridden in vain."""
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_attributes_that_are_read_are_set_by_faust() -> None:
    """The bookkeeping that the transport shares with Faust has the names it uses."""
    source = inspect.getsource(Consumer) + inspect.getsource(driver) + inspect.getsource(faust.App)

    for name in ("_read_offset", "_unacked_messages", "_waiting_for_ack", "flow_active", "suspend_flow", "callback"):
        assert f"self.{name}" in source
    assert "app.consumer_generation_id = generation" in source
    assert issubclass(driver.Transport.Consumer, Consumer)
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in inspect.getsource(AIOKafkaConsumer.start)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_no_commit_passes_an_unfinished_chunk(sizes: list[int], random: Any) -> None:
    """Whatever the order in which chunks are done, the commit is the start of the first that is not."""
    bookkeeping = consumer()
    at, chunks = 0, []
    for size in sizes:
        chunks.append(_chunk_message(HERE, records(*range(at, at + size)), at, 1))
        bookkeeping._delivered[HERE].append(chunks[-1])
        at += size

    for done in random.sample(chunks, len(chunks)):
        done.on_final_ack(bookkeeping)
        unfinished = [chunk.start for chunk in chunks if not chunk.acked]
        position = bookkeeping._new_offset(HERE)
        assert position is None or position <= min(unfinished, default=at)

    assert bookkeeping._new_offset(HERE) == at


def test_a_chunk_answers_for_the_gaps_before_and_in_it() -> None:
    """Transaction markers and compacted records hold no record, and hold up no commit."""
    first = _chunk_message(HERE, records(3, 4, 9), 2, 1)
    second = _chunk_message(HERE, records(12), first.stop, 1)

    assert (first.start, first.stop) == (2, 10)
    assert (second.start, second.stop) == (10, 13)


def test_an_event_s_value_is_its_records_undecoded() -> None:
    """Nothing is decoded on the way, so nothing undecodable can kill or wedge an agent."""
    from streams.transport import _ChunkSchema

    app = SimpleNamespace(create_event=lambda *given: given)
    message = _chunk_message(HERE, records(0, 1), 0, 1)

    decode = _ChunkSchema().compile(app, on_key_decode_error=None, on_value_decode_error=None)
    event = asyncio.run(decode(message))

    assert event == (None, message.value, None, message)


def test_events_of_a_transactional_producer_are_committed_to_the_end(kafka: str, tmp_path: Path) -> None:
    """Each transaction leaves an offset without a record: a gap, which is counted as one and is no lag at the end."""
    installation = Installation(kafka, ROOT / "examples" / "purchase_propensity.py", tmp_path, partitions=1)
    topic = installation.cluster.topic(EVENTS)
    tp = TopicPartition(topic, 0)

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
        await producer.start()
        payloads = Simulator(seed=4, visitors=20).payloads(140)
        for at in range(0, len(payloads), 7):
            async with producer.transaction():
                for key, value in payloads[at : at + 7]:
                    await producer.send(topic, value, key, partition=0)
        await producer.stop()

    async def committed() -> int:
        group = f"{installation.cluster.prefix}freshet-scorer-purchase-propensity"
        client = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
        await client.start()
        try:
            return await client.committed(tp) or 0
        finally:
            await client.stop()

    (port,) = free_ports(1)

    def told(line: str) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as metrics:
            return f"freshet_{line}" in metrics.read().decode()

    part = 'came_to{law="events",model="purchase-propensity",part="%s",partition="0"} %s'
    try:
        asyncio.run(send())
        installation.start("learner")
        installation.start("scorer", FRESHET_WORKER_PORT=str(port))
        # 20 transactions of 7 records and a marker; the last marker may stay unread.
        installation.wait(lambda: asyncio.run(committed()) >= 159, "offset 159 committed")
        installation.wait(lambda: told(part % ("gaps", "19.0")), "19 gaps")
        installation.wait(lambda: told('lag_records{model="purchase-propensity",partition="0"} 0.0'), "no lag")
        assert told('conservation_difference{law="events",model="purchase-propensity",partition="0"} 0.0')
    finally:
        installation.stop_all()

    assert len(installation.scores()) <= 140


def test_a_fetch_that_finds_nothing_is_short(tmp_path: Path) -> None:
    """A partition whose records wait to be handled stands still for as long as the fetch of the quiet ones may take."""
    app = ChunkApp("short", broker="kafka://127.0.0.1:1", datadir=str(tmp_path), web_enabled=False)

    async def wait_ms() -> int:
        thread = ChunkConsumer._new_consumer_thread(app.consumer)
        consumer = thread._create_worker_consumer(app.transport)
        return int(consumer._fetch_max_wait_ms)

    assert asyncio.run(wait_ms()) <= 100

"""What is given to the sender arrives, in order and once, whatever happens to the broker meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams import sender as sender_module
from streams.broker import EmbeddedBroker
from streams.broker.state import running
from streams.sender import Sender

REQUEST_TIMEOUT_MS = 500


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def values(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    read: list[bytes] = []
    while await consumer.position(tp) < end:
        read += [record.value for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])]
    await consumer.stop()
    return read


def test_a_broker_that_dies_and_comes_back_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away for many times as long as a request may take: sends wait, then all arrive, in order, and none twice."""
    monkeypatch.setattr(sender_module, "_REQUEST_TIMEOUT_MS", REQUEST_TIMEOUT_MS)
    broker = EmbeddedBroker(tmp_path, heap_mib=128, say=lambda line: None).start()
    port = int(broker.bootstrap.rpartition(":")[2])
    sent = [b"%d" % number for number in range(40)]

    async def outage() -> tuple[int, int, list[bytes]]:
        nonlocal broker
        await make_topic(broker.bootstrap, "t")
        sender = Sender(broker.bootstrap)
        await sender.start()
        futures = await sender.send_chunk("t", 0, [(b"k", value) for value in sent[:10]])
        await asyncio.gather(*futures)
        state = running(tmp_path)
        assert state is not None
        assert state.process is not None
        os.kill(state.process.pid, signal.SIGKILL)
        giving = asyncio.create_task(give(sender, sent[10:]))
        restarting = asyncio.to_thread(EmbeddedBroker(tmp_path, port=port, heap_mib=128, say=lambda line: None).start)
        await asyncio.sleep(4 * REQUEST_TIMEOUT_MS / 1000)
        waiting = sender.waiting
        broker = await restarting
        await asyncio.wait_for(giving, 60)
        await sender.stop()
        return waiting, sender.waiting, await values(broker.bootstrap, "t")

    async def give(sender: Sender, rest: list[bytes]) -> None:
        futures = []
        for value in rest:
            futures += await sender.send_chunk("t", 0, [(b"k", value)])
        await asyncio.gather(*futures)

    try:
        waiting, left, read = asyncio.run(outage())
    finally:
        broker.stop()

    assert waiting > 0
    assert left == 0
    assert read == sent

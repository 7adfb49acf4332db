"""A follower takes everything, in order, once, and goes on whatever happens to Kafka."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

import streams.follow
from streams.broker import EmbeddedBroker
from streams.broker.ports import free_ports
from streams.follow import Follower
from tests.streams.published import new_cluster, until, write


class Taken(list[bytes | None]):
    """The values that a follower handed over; b"damaged" makes it stumble."""

    def take(self, record: ConsumerRecord) -> None:
        if record.value == b"damaged":
            raise ValueError("not a record")
        self.append(record.value)


async def create(bootstrap: str, topic: str, partitions: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


@pytest.fixture
def topic(kafka: str) -> str:
    return new_cluster(kafka).topic("followed")


def test_everything_is_taken_from_the_beginning_and_then_what_comes(kafka: str, topic: str) -> None:
    """`caught_up` is set when what was there has been taken, not before; later records follow by themselves."""

    async def scene() -> None:
        await create(kafka, topic, partitions=3)
        await write(kafka, [(topic, b"%d" % number, b"%d" % number) for number in range(300)])
        taken = Taken()
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()

        await follower.caught_up.wait()
        at_caught_up = len(taken)
        await write(kafka, [(topic, b"k", b"later"), (topic, b"k", None)])
        await until(lambda: len(taken) == 302)
        await follower.stop()

        assert at_caught_up == 300
        assert {int(value) for value in taken[:300] if value} == set(range(300))
        assert taken[300:] == [b"later", None]

    run(scene())


def test_a_partition_is_taken_in_its_order(kafka: str, topic: str) -> None:
    """Several topics, in one partition each: every topic's records come as they were written."""

    async def scene() -> None:
        topics = [f"{topic}-{number}" for number in range(2)]
        for each in topics:
            await create(kafka, each)
        await write(kafka, [(topics[number % 2], b"k", b"%d" % number) for number in range(500)])
        taken = Taken()
        follower = Follower(kafka, topics, taken.take)
        await follower.start()

        await follower.caught_up.wait()
        await follower.stop()

        numbers = [int(value) for value in taken if value]
        assert [number for number in numbers if number % 2] == list(range(1, 500, 2))
        assert [number for number in numbers if not number % 2] == list(range(0, 500, 2))

    run(scene())


def test_an_empty_topic_is_caught_up_with_at_once(kafka: str, topic: str) -> None:
    """There is nothing to wait for."""

    async def scene() -> None:
        await create(kafka, topic)
        follower = Follower(kafka, [topic], Taken().take)
        await follower.start()

        await asyncio.wait_for(follower.caught_up.wait(), 10)
        await follower.stop()

    run(scene())


def test_a_topic_that_ends_in_no_record_is_caught_up_with(kafka: str, topic: str) -> None:
    """A transaction's marker has an offset and is never handed over: waiting for the last offset would be for ever."""

    async def scene() -> None:
        await create(kafka, topic)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"one")
        await producer.stop()
        taken = Taken()
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()

        await asyncio.wait_for(follower.caught_up.wait(), 10)
        await follower.stop()

        assert taken == [b"one"]

    run(scene())


def test_a_record_that_cannot_be_taken_is_told_and_passed_over(
    kafka: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where it is; the next record is taken as if nothing had been."""

    async def scene() -> Follower:
        await create(kafka, topic)
        await write(kafka, [(topic, b"k", value) for value in (b"one", b"damaged", b"two")])
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()
        await follower.caught_up.wait()
        await follower.stop()
        return follower

    taken = Taken()
    with caplog.at_level(logging.WARNING):
        follower = asyncio.run(scene())

    assert taken == [b"one", b"two"]
    assert follower.skipped == 1
    assert f"record_skipped topic={topic} partition=0 offset=1" in caplog.text


def test_a_topic_that_is_not_there_is_waited_for_and_not_created(kafka: str, topic: str) -> None:
    """The follower says so once, and reads the topic once somebody has made it."""

    async def scene() -> None:
        taken = Taken()
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()
        await asyncio.sleep(2)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        there = topic in await admin.list_topics()
        await admin.close()

        await create(kafka, topic)
        await write(kafka, [(topic, b"k", b"one")])
        await until(lambda: taken == [b"one"])
        await follower.stop()

        assert not there

    run(scene())


def test_new_partitions_are_followed_and_nothing_is_taken_twice(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic that grows is followed into its new partitions, from their beginning."""
    monkeypatch.setattr(streams.follow, "CHECK_EVERY_S", 0.3)
    monkeypatch.setattr(streams.follow, "METADATA_AGE_S", 0.5)

    async def scene() -> None:
        await create(kafka, topic)
        await write(kafka, [(topic, b"k", b"%d" % number) for number in range(5)])
        taken = Taken()
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()
        await follower.caught_up.wait()

        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(total_count=4)})
        await admin.close()
        await write(kafka, [(topic, b"%d" % number, b"%d" % number) for number in range(5, 45)])
        await until(lambda: len(taken) >= 45)
        await asyncio.sleep(0.5)
        await follower.stop()

        assert sorted(int(value) for value in taken if value) == list(range(45))

    run(scene())


def test_a_topic_made_anew_is_read_from_its_beginning(kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted and created again, as `freshet broker wipe` does to all of them: what is there now counts."""
    monkeypatch.setattr(streams.follow, "CHECK_EVERY_S", 0.5)

    async def scene() -> None:
        await create(kafka, topic)
        await write(kafka, [(topic, b"k", b"old %d" % number) for number in range(5)])
        taken = Taken()
        follower = Follower(kafka, [topic], taken.take)
        await follower.start()
        await follower.caught_up.wait()

        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await admin.close()
        await create(kafka, topic)
        await write(kafka, [(topic, b"k", b"new")])
        await until(lambda: b"new" in taken, within_s=40)
        await follower.stop()

        assert taken == [*(b"old %d" % number for number in range(5)), b"new"]

    run(scene())


def test_a_broker_that_comes_late_and_goes_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not there at the start, then there, then away for seconds, then back: each record is taken once, in order."""
    monkeypatch.setattr(streams.follow, "CHECK_EVERY_S", 0.5)
    monkeypatch.setattr(streams.follow, "PATIENCE_S", 1.0)
    port = free_ports(1)[0]
    bootstrap = f"127.0.0.1:{port}"

    def broker() -> EmbeddedBroker:
        return EmbeddedBroker(tmp_path, port=port, heap_mib=128, say=lambda _: None)

    async def scene() -> None:
        taken = Taken()
        follower = Follower(bootstrap, ["followed"], taken.take)
        await follower.start()
        await asyncio.sleep(1)
        first = await asyncio.to_thread(broker().start)
        await create(bootstrap, "followed")
        await write(bootstrap, [("followed", b"k", b"%d" % number) for number in range(3)])
        await until(lambda: len(taken) == 3, within_s=30)
        await asyncio.to_thread(first.stop)
        await asyncio.sleep(3)
        second = await asyncio.to_thread(broker().start)
        try:
            await write(bootstrap, [("followed", b"k", b"%d" % number) for number in range(3, 6)])
            await until(lambda: len(taken) >= 6, within_s=30)
            await follower.stop()
        finally:
            await asyncio.to_thread(second.stop)

        assert [int(value) for value in taken if value] == list(range(6))

    with caplog.at_level(logging.INFO, logger="streams.follow"):
        asyncio.run(asyncio.wait_for(scene(), 120))

    assert caplog.text.count("following_interrupted topics=followed") >= 2
    assert caplog.text.count("following topics=followed") >= 2


def test_stopping_ends_it_wherever_it_is(kafka: str, topic: str) -> None:
    """Connected, waiting for a topic or for a broker: nothing is taken afterwards, and stopping twice is fine."""

    async def scene() -> None:
        await create(kafka, topic)
        taken = Taken()
        followers = [
            Follower(kafka, [topic], taken.take),
            Follower(kafka, ["never made"], taken.take),
            Follower(f"127.0.0.1:{free_ports(1)[0]}", [topic], taken.take),
        ]
        for follower in followers:
            await follower.start()
        await followers[0].caught_up.wait()

        for follower in followers:
            await follower.stop()
            await follower.stop()
        await write(kafka, [(topic, b"k", b"one")])
        await asyncio.sleep(0.5)

        assert taken == []

    run(scene())

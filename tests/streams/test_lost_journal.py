"""Where a journal is lost, the events are read again; where they are gone too, a worker says so and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams.topics import EVENTS, JOURNAL_LEARNER, JOURNAL_SCORER, create_topics, missing_topics, partitions_of
from tests.streams.installation import ROOT, Installation, as_facts
from tests.streams.test_crash_points import journaled, replayed
from tests.streams.test_main_job import settle, values

MODEL = ROOT / "examples" / "purchase_propensity.py"


@pytest.fixture
def installation(kafka: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(kafka, MODEL, tmp_path)
    yield installation
    installation.stop_all()


def lose(installation: Installation, *names: str) -> None:
    """Delete topics and make them anew, empty."""
    cluster = installation.cluster

    async def lose() -> None:
        partitions = len(await partitions_of(cluster, EVENTS))
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([cluster.topic(name) for name in names])
        finally:
            await admin.close()
        wanted = {cluster.topic(name) for name in names}
        for _ in range(200):
            if wanted <= set(await missing_topics(cluster)):
                break
            await asyncio.sleep(0.1)
        await create_topics(cluster, partitions)

    asyncio.run(asyncio.wait_for(lose(), 30))


def forget_events(installation: Installation) -> None:
    """Delete the records of `events`, as its retention would; its offsets go on."""
    cluster = installation.cluster

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await admin.start()
        try:
            everything = RecordsToDelete(before_offset=-1)
            await admin.delete_records(dict.fromkeys(await partitions_of(cluster, EVENTS), everything))
        finally:
            await admin.close()

    asyncio.run(delete())


def run_a_while(installation: Installation, events: list[bytes]) -> None:
    installation.start("learner")
    installation.start("scorer")
    installation.feed(events, close=False)
    installation.wait(lambda: len(installation.scores()) >= len(installation.wanted()), "scores")
    assert (0, 0) == (installation.stop("scorer"), installation.stop("learner"))


@pytest.mark.timeout(120)
def test_a_lost_journal_costs_a_second_reading(installation: Installation) -> None:
    """The offsets say that everything was read; without a journal it is read again, from the first event on."""
    events = values(seed=31, count=600)
    run_a_while(installation, events[:400])
    lose(installation, JOURNAL_SCORER, JOURNAL_LEARNER)

    installation.start("learner")
    installation.start("scorer")
    installation.feed(events[400:])
    expected = settle(installation)

    assert expected == as_facts(installation.examples())
    assert replayed(installation) == journaled(installation)
    assert {key for key, *_ in expected} == {score.id for score in installation.scores()}


@pytest.mark.timeout(120)
def test_what_cannot_be_read_again_is_not_passed_over(installation: Installation) -> None:
    """Journal and events gone: the worker ends as one that a restart does not help, and says what to do."""
    run_a_while(installation, values(seed=32, count=300))
    lose(installation, JOURNAL_SCORER)
    forget_events(installation)

    installation.start("scorer")

    assert 78 == installation.ended("scorer")
    assert "was deleted before it was in the journal" in (installation.logs / "scorer.log").read_text()

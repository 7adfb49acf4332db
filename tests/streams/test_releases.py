"""The live release is loaded, whatever comes on the way, and nothing else is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest

import streams.releases
from schemas.records import Release
from scoring.engine import Engine
from scoring.registry import Registry
from scoring.session import Session
from streams.releases import Releases
from streams.topics import ALIASES, RELEASES, Cluster, create_topics
from tests.scoring.artifacts import release
from tests.streams.published import live, new_cluster, released, until, write


class Following:
    """Releases, followed from a cluster of topics of their own."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.engine = Engine()
        self.registry = Registry()
        self.releases = Releases(cluster, self.registry, self.engine)

    async def publish(self, *releases: Release) -> None:
        await write(self.cluster.bootstrap, [record for each in releases for record in released(self.cluster, each)])

    async def serves(self, version: int) -> None:
        await until(lambda: self.engine.version("m") == version)


class Loads(list[int]):
    """The versions that were loaded, in order; `takes_s` is how long a load takes at least."""

    takes_s = 0.0

    def load(self, release: Release) -> Session:
        self.append(release.version)
        time.sleep(self.takes_s)
        return Session(release)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """What is loaded from now on."""
    loads = Loads()
    monkeypatch.setattr(streams.releases, "Session", loads.load)
    return loads


def run(kafka: str, scene: Callable[[Following], Awaitable[None]]) -> None:
    async def whole() -> None:
        following = Following(new_cluster(kafka))
        await create_topics(following.cluster, partitions=1)
        try:
            await scene(following)
        finally:
            await following.releases.stop()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_a_start_loads_the_live_release_and_none_before_it(kafka: str, loads: Loads) -> None:
    """Twenty releases are there: one is loaded. `caught_up` says that it is."""

    async def scene(following: Following) -> None:
        await following.publish(*(release(version) for version in range(20)))
        await following.releases.start()

        await following.releases.caught_up.wait()

        assert following.engine.version("m") == 19
        assert loads == [19]
        assert following.registry.kept_versions("m") == list(range(20))

    run(kafka, scene)


def test_without_a_release_it_is_caught_up_and_waits(kafka: str, loads: Loads) -> None:
    """Nothing to load is no reason to wait; the first release is loaded when it comes."""

    async def scene(following: Following) -> None:
        await following.releases.start()
        await following.releases.caught_up.wait()
        before = following.engine.version("m")

        await following.publish(release(0))
        await following.serves(0)

        assert (before, loads) == (-1, [0])

    run(kafka, scene)


def test_what_comes_while_one_is_loading_is_skipped_up_to_the_newest(kafka: str, loads: Loads) -> None:
    """A load that takes long is followed by that of the newest release, not by those in between."""
    loads.takes_s = 1.0

    async def scene(following: Following) -> None:
        await following.releases.start()
        await following.releases.caught_up.wait()
        await following.publish(release(0))
        await until(lambda: loads == [0])

        await following.publish(*(release(version) for version in range(1, 7)))
        await following.serves(6)

        assert loads[0] == 0
        assert loads[-1] == 6
        assert len(loads) <= 3

    run(kafka, scene)


def test_a_rollback_is_an_alias_record(kafka: str) -> None:
    """The version goes down when the alias says so, and up again."""

    async def scene(following: Following) -> None:
        await following.publish(release(1), release(2))
        await following.releases.start()
        await following.serves(2)

        for version in (1, 2, 1):
            await write(kafka, [live(following.cluster, "m", version)])
            await following.serves(version)

        assert [(swap.old, swap.new) for swap in following.engine.swaps] == [(-1, 2), (2, 1), (1, 2), (2, 1)]

    run(kafka, scene)


def test_a_release_that_does_not_load_leaves_the_incumbent(kafka: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, once, and not tried again; the next good one is loaded."""

    async def scene(following: Following) -> None:
        await following.publish(release(1))
        await following.releases.start()
        await following.serves(1)

        await following.publish(msgspec.structs.replace(release(2), sha256="0" * 64))
        await until(lambda: "release_refused" in caplog.text)
        incumbent = following.engine.version("m")
        await following.publish(release(3))
        await following.serves(3)

        assert incumbent == 1
        assert caplog.text.count("release_refused model=m version=2 live=1 check=digest") == 1

    with caplog.at_level(logging.WARNING):
        run(kafka, scene)


def test_an_alias_may_come_before_its_release(kafka: str) -> None:
    """They are two topics: the incumbent answers until both are there."""

    async def scene(following: Following) -> None:
        await following.publish(release(1))
        await following.releases.start()
        await following.serves(1)
        later, alias = released(following.cluster, release(2))

        await write(kafka, [alias])
        await asyncio.sleep(0.5)
        between = following.engine.version("m")
        await write(kafka, [later])
        await following.serves(2)

        assert between == 1

    run(kafka, scene)


def test_damaged_records_do_not_keep_the_next_release_away(kafka: str, caplog: pytest.LogCaptureFixture) -> None:
    """In either topic; each is told with its place in Kafka."""

    async def scene(following: Following) -> None:
        releases, aliases = (following.cluster.topic(name) for name in (RELEASES, ALIASES))
        await write(
            kafka,
            [
                (releases, b"m/0", b"\xc3\x01nonsense"),
                (releases, b"no version", None),
                (releases, b"m/x", None),
                (aliases, b"m/live", b"{}"),
                (aliases, b"m/live", b"\x00\xff"),
                (aliases, b"m/live", b""),
                (aliases, b"m/live", None),
            ],
        )
        await following.publish(release(1))
        await following.releases.start()
        await following.serves(1)

        for topic, offsets in ((releases, range(3)), (aliases, range(3))):
            for offset in offsets:
                assert f"record_skipped topic={topic} partition=0 offset={offset} " in caplog.text

    with caplog.at_level(logging.WARNING):
        run(kafka, scene)


def test_a_tombstone_retires_a_release_and_not_the_session(kafka: str) -> None:
    """The registry forgets it; what is loaded answers on."""

    async def scene(following: Following) -> None:
        await following.publish(release(1), release(2))
        await following.releases.start()
        await following.serves(2)

        await write(kafka, [(following.cluster.topic(RELEASES), b"m/%d" % version, None) for version in (1, 2)])
        await until(lambda: following.registry.kept_versions("m") == [])

        assert following.engine.version("m") == 2

    run(kafka, scene)

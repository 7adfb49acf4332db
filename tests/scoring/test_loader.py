"""The loader keeps what is live loaded, takes no version twice that is still there, and heeds an operator."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from schemas.records import Alias, Release
from scoring.engine import Engine
from scoring.loader import Loader, loaded
from scoring.registry import Registry
from scoring.session import Session
from tests.scoring.artifacts import constant, release


class Loading:
    """A loader, and what it has loaded."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.loader = Loader(self.registry, self.engine, self._session)
        self.loaded: list[int] = []
        self.takes_s = 0.0

    async def _session(self, release: Release) -> Session:
        self.loaded.append(release.version)
        await asyncio.sleep(self.takes_s)
        return await loaded(release)

    def publish(self, release: Release) -> None:
        self.registry.release(release)
        self.go_live(release.version)

    def go_live(self, version: int) -> None:
        self.registry.alias(Alias(model="m", alias="live", version=version, changed_at=0))

    def load(self) -> bool:
        return asyncio.run(self.loader.load("m"))


@pytest.fixture
def loading() -> Loading:
    return Loading()


def damaged(version: int) -> Release:
    return msgspec.structs.replace(release(version), sha256="0" * 64)


def test_a_rollback_to_a_resident_version_loads_nothing(loading: Loading) -> None:
    """Back and forth between three versions: each is loaded once. A fourth pushes the eldest out."""
    for version in (1, 2, 3):
        loading.publish(release(version))
        assert loading.load()

    versions = []
    for version in (2, 3, 1, 3):
        loading.go_live(version)
        loading.load()
        versions.append(loading.engine.version("m"))

    assert versions == [2, 3, 1, 3]
    assert loading.loaded == [1, 2, 3]
    loading.publish(release(4))
    loading.load()
    loading.go_live(2)
    loading.load()
    assert loading.loaded == [1, 2, 3, 4, 2]


def test_the_same_version_with_other_bytes_is_another(loading: Loading) -> None:
    """As after a topic was deleted and made anew: what is resident is not what is released."""
    loading.publish(release(1))
    loading.load()
    loading.publish(release(2))
    loading.load()

    loading.publish(release(1, constant(9)))
    loading.load()

    assert loading.loaded == [1, 2, 1]
    assert loading.engine.session("m").score([((1.0, 2.0, 3.0, 4.0), ("CH",))]) == [10 / 4096]


def test_what_is_refused_is_tried_once_and_the_incumbent_stays(loading: Loading) -> None:
    """Until an operator wants it tried again, or there is another."""
    loading.publish(release(1))
    loading.load()
    loading.publish(damaged(2))
    swapped = loading.load(), loading.load()
    refused = loading.loader.why_not("m")

    again = asyncio.run(loading.loader.reload("m"))

    assert (refused, swapped) == ("refused: digest", (False, False))
    assert (again, loading.loaded, loading.engine.version("m")) == (False, [1, 2, 2], 1)


def test_an_unloaded_model_stays_out_until_it_is_loaded_again(loading: Loading) -> None:
    """New releases do not bring it back; then the newest comes."""
    loading.publish(release(1))
    loading.load()

    loading.loader.unload("m")
    loading.publish(release(2))
    loading.load()
    out = loading.engine.version("m"), loading.loader.why_not("m")
    back = asyncio.run(loading.loader.reload("m"))

    assert out == (-1, "unloaded")
    assert (back, loading.engine.version("m"), loading.loaded) == (True, 2, [1, 2])


def test_unloading_while_loading_wins(loading: Loading) -> None:
    """What is loaded when the operator has said no does not answer."""
    loading.publish(release(1))
    loading.takes_s = 0.2

    async def scene() -> None:
        task = asyncio.create_task(loading.loader.load("m"))
        await asyncio.sleep(0.05)
        loading.loader.unload("m")
        await task

    asyncio.run(scene())

    assert (loading.loaded, loading.engine.version("m")) == ([1], -1)


def test_two_who_want_it_loaded_load_it_once(loading: Loading) -> None:
    """The follower and an operator at the same moment."""
    loading.publish(release(1))
    loading.takes_s = 0.1

    async def scene() -> None:
        await asyncio.gather(loading.loader.load("m"), loading.loader.reload("m"))

    asyncio.run(scene())

    assert (loading.loaded, loading.engine.version("m")) == ([1], 1)


def test_an_edge_waits_for_what_will_come_and_for_nothing_else(loading: Loading) -> None:
    """A model that is live and not loaded; not one that was refused or taken out, nor an alias without its release."""
    loading.go_live(1)
    aliased = loading.loader.awaited()
    loading.publish(release(1))
    before = loading.loader.awaited()
    loading.load()
    after = loading.loader.awaited()
    loading.loader.unload("m")
    unloaded = loading.loader.awaited()
    refusing = Loading()
    refusing.publish(damaged(1))
    refusing.load()

    assert (aliased, before, after, unloaded, refusing.loader.awaited()) == ([], ["m"], [], [], [])

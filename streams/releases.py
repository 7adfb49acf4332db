"""Releases: what `releases` and `aliases` say, followed into a registry, and an engine kept on the live release."""

from __future__ import annotations

import asyncio

from aiokafka import ConsumerRecord

from schemas.records import Alias, Release, decode
from scoring.engine import Engine
from scoring.loader import Loader
from scoring.registry import Registry
from scoring.session import Session
from streams.crash_points import crash_point
from streams.follow import Follower
from streams.topics import ALIASES, RELEASES, Cluster


class Releases:
    """Follows the releases of all models and keeps the live one of each loaded.

    What does not load is logged and the incumbent stays. Versions may go down: the alias decides. While a release is
    being loaded more may arrive; then the newest of them comes next, and those in between are never loaded.

    Args:
        cluster: where the topics are.
        registry: told of every release and alias; `changed` is this object's to wait for.
        engine: given the sessions.

    Attributes:
        loader: what loads them.
        caught_up: set once the registry knows everything that was in the topics at the start, and what was live then
            is loaded, or was refused.
    """

    def __init__(self, cluster: Cluster, registry: Registry, engine: Engine) -> None:
        self._registry = registry
        self.loader = Loader(registry, engine, _loaded)
        self._aliases_topic = cluster.topic(ALIASES)
        topics = [cluster.topic(RELEASES), self._aliases_topic]
        self._follower = Follower(cluster.bootstrap, topics, self.take)
        self._task: asyncio.Task[None] | None = None
        self.caught_up = asyncio.Event()

    async def start(self) -> None:
        """Begin; returns at once, whether or not Kafka is there."""
        if self._task is None:
            await self._follower.start()
            self._task = asyncio.create_task(self._keep_loaded(), name="keep releases loaded")

    async def stop(self) -> None:
        """End; what is loaded stays loaded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._follower.stop()

    def take(self, record: ConsumerRecord) -> None:
        """Tell the registry what a record of `releases` or `aliases` says."""
        if record.topic == self._aliases_topic:
            if record.value is not None:  # no alias is ever withdrawn: what was live last goes on answering
                self._registry.alias(decode(Alias, record.value))
        elif record.value is not None:
            self._registry.release(decode(Release, record.value))
        else:
            model, _, version = record.key.decode().rpartition("/")
            self._registry.retire(model, int(version))

    async def _keep_loaded(self) -> None:
        await self._follower.caught_up.wait()  # else every version on the way would be loaded
        while True:
            self._registry.changed.clear()
            for model in self._registry.models():
                if await self.loader.load(model):
                    crash_point("swap.after_swap")
            self.caught_up.set()
            await self._registry.changed.wait()


async def _loaded(release: Release) -> Session:
    crash_point("swap.before_load")
    session = await asyncio.to_thread(Session, release)
    crash_point("swap.after_load")
    return session

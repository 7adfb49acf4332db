"""Edge: answers over HTTP with the live releases, which it follows, as it follows the visitors' profiles.

Kafka is read beside the answers, never for one: while it is away the edge goes on with what it has.
"""

from __future__ import annotations

import logging
import socket

import uvloop
from aiokafka import ConsumerRecord

from scoring.door import Door
from scoring.engine import Engine
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.server import Server, listen
from streams.follow import Follower
from streams.releases import Releases
from streams.supervisor import StopSignals
from streams.topics import PROFILES, Cluster

log = logging.getLogger(__name__)


class Edge:
    """The parts of an edge, put together: engine, registry, profiles, who feeds them, and the door in front.

    Args:
        cluster: where the topics are; they need not be there yet.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.profiles = Profiles()
        self.door = Door(self.engine, self.registry, self.profiles)
        self.releases = Releases(cluster, self.registry, self.engine)
        # A reader of its own: there may be millions of profiles, and the first release shall not wait behind them.
        self.follower = Follower(cluster.bootstrap, [cluster.topic(PROFILES)], self.take_profile)

    async def start(self) -> None:
        """Begin to follow; returns at once, whether or not Kafka is there."""
        await self.releases.start()
        await self.follower.start()

    async def stop(self) -> None:
        """End following."""
        await self.releases.stop()
        await self.follower.stop()

    def take_profile(self, record: ConsumerRecord) -> None:
        """Take a record of `profiles`: key `model/visitor`."""
        model, _, visitor = record.key.decode().partition("/")
        if record.value is None:
            self.profiles.forget(model, visitor)
        else:
            self.profiles.put(model, visitor, record.value, record.timestamp)


def run_edge(cluster: Cluster, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; answers what has been asked by then and ends within 5 s.

    Args:
        cluster: where the topics are.
        host, port: where to listen; port 0 takes a free one.

    Raises:
        PortTaken: cannot listen there.
    """
    listener = listen(host, port)
    uvloop.run(_serve(Edge(cluster), listener))


async def _serve(edge: Edge, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    server = Server(edge.door, listener)
    await edge.start()
    try:
        with StopSignals(server.stop):
            log.info("edge_listening url=http://%s:%d", f"[{host}]" if ":" in host else host, port)
            await server.run_until_stopped()
    finally:
        await edge.stop()
    log.info("edge_stopped requests=%d swaps=%d", server.server_state.total_requests, edge.engine.swapped)

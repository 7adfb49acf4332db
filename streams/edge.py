"""Edge: answers over HTTP with the live releases, which it follows, as it follows the visitors' profiles.

Kafka is read beside the answers, never for one: while it is away the edge goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

import uvloop
from aiokafka import ConsumerRecord

from scoring.admin import Admin
from scoring.door import Door
from scoring.engine import Engine
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.repository import Repository
from scoring.server import Server, listen
from streams.follow import Follower
from streams.releases import Releases
from streams.supervisor import StopSignals
from streams.topics import PROFILES, Cluster

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"


class Edge:
    """The parts of an edge, put together: engine, registry, profiles, who feeds them, and the doors in front.

    Args:
        cluster: where the topics are; they need not be there yet.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.profiles = Profiles()
        self.releases = Releases(cluster, self.registry, self.engine)
        loader = self.releases.loader
        self.door = Door(self.engine, self.registry, self.profiles, awaited=loader.awaited)
        self.admin = Admin(Repository(self.engine, self.registry, loader), self.door)
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


def run_edge(cluster: Cluster, host: str, port: int, admin_port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; answers what has been asked by then and ends within 5 s.

    Args:
        cluster: where the topics are.
        host, port: where to listen; port 0 takes a free one.
        admin_port: where to listen for this machine's operator, on loopback whatever `host` is; None: nowhere.

    Raises:
        PortTaken: cannot listen there.
    """
    listener = listen(host, port)
    admin_listener = None if admin_port is None else listen(LOOPBACK, admin_port)
    uvloop.run(_serve(Edge(cluster), listener, admin_listener))


async def _serve(edge: Edge, listener: socket.socket, admin_listener: socket.socket | None) -> None:
    server = Server(edge.door, listener)
    servers = [server]
    if admin_listener is not None:
        servers.append(Server(edge.admin, admin_listener))

    def stop() -> None:
        for each in servers:
            each.stop()

    await edge.start()
    try:
        with StopSignals(stop):
            log.info("edge_listening url=%s", _url(listener))
            if admin_listener is not None:
                log.info("admin_listening url=%s", _url(admin_listener))
            async with asyncio.TaskGroup() as group:
                for each in servers:
                    group.create_task(each.run_until_stopped())
    finally:
        await edge.stop()
    log.info("edge_stopped requests=%d swaps=%d", server.server_state.total_requests, edge.engine.swapped)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

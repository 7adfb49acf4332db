"""Edge: answers over HTTP with the live releases, which it follows, as it follows the visitors' profiles.

Kafka is read beside the answers, never for one: while it is away the edge goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Final

import uvloop
from aiokafka import ConsumerRecord

from scoring.admin import Admin
from scoring.door import Door
from scoring.engine import Engine
from scoring.limits import Limits
from scoring.profiles import MOST_BYTES, Profiles
from scoring.registry import Registry
from scoring.repository import Repository
from scoring.server import Server, listen
from scoring.spill import LIMIT_BYTES
from streams.access import Access, Doorkeeper
from streams.follow import Follower
from streams.forward import KafkaForwarder, kafka_forwarder, spill_directory
from streams.releases import Releases
from streams.supervisor import StopSignals
from streams.topics import PROFILES, Cluster

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"


class Edge:
    """The parts of an edge, put together: engine, registry, profiles, who feeds them, and the doors in front.

    Args:
        cluster: where the topics are; they need not be there yet.
        forwarder: takes answered events to `events`, which is open; None, they are answered and no more.
        profile_bytes: what the visitors' profiles may take.
    """

    def __init__(
        self, cluster: Cluster, forwarder: KafkaForwarder | None = None, profile_bytes: int = MOST_BYTES
    ) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.profiles = Profiles(profile_bytes)
        self.releases = Releases(cluster, self.registry, self.engine)
        loader = self.releases.loader
        self.forwarder = forwarder
        self.door = Door(self.engine, self.registry, self.profiles, awaited=loader.awaited, forwarder=forwarder)
        self.admin = Admin(Repository(self.engine, self.registry, loader), self.door)
        # A reader of its own: there may be millions of profiles, and the first release shall not wait behind them.
        self.follower = Follower(cluster.bootstrap, [cluster.topic(PROFILES)], self.take_profile)

    async def start(self) -> None:
        """Begin to follow and to forward; returns at once, whether or not Kafka is there."""
        await self.releases.start()
        await self.follower.start()
        if self.forwarder is not None:
            await self.forwarder.start()

    async def stop(self) -> None:
        """End following and forwarding."""
        await self.releases.stop()
        await self.follower.stop()
        if self.forwarder is not None:
            await self.forwarder.stop()

    def take_profile(self, record: ConsumerRecord) -> None:
        """Take a record of `profiles`: key `model/visitor`."""
        model, _, visitor = record.key.decode().partition("/")
        if record.value is None:
            self.profiles.forget(model, visitor)
        else:
            self.profiles.put(model, visitor, record.value, record.timestamp)


def run_edge(
    cluster: Cluster,
    host: str,
    port: int,
    admin_port: int | None = None,
    *,
    limits: Limits | None = None,
    access: Access | None = None,
    forward: bool = True,
    spill_dir: Path | None = None,
    spill_bytes: int = LIMIT_BYTES,
    profile_bytes: int = MOST_BYTES,
) -> None:
    """Serve until SIGTERM or SIGINT; answers what has been asked by then and ends within 5 s.

    Args:
        cluster: where the topics are.
        host, port: where to listen; port 0 takes a free one.
        admin_port: where to listen for this machine's operator, on loopback whatever `host` is; None: nowhere.
        limits: of each caller.
        access: keys and TLS.
        forward: whether answered events go on to `events`.
        spill_dir, spill_bytes: where they wait for Kafka, and how much of them; see `streams.forward`.
        profile_bytes: what the visitors' profiles may take.

    Raises:
        PortTaken: cannot listen there.
        SpillTaken: another edge has the directory.
        TooOpen: other machines would reach it, and nobody has said that they may.
        KeysUnreadable, TlsUnusable: a file cannot be used.
    """
    access = access or Access()
    access.check(host)
    doorkeeper, tls = Doorkeeper(access.keys), access.tls()
    listener = listen(host, port)
    admin_listener = None if admin_port is None else listen(LOOPBACK, admin_port)
    forwarder = None
    if forward:
        mine = spill_dir or spill_directory(cluster, listener.getsockname()[1])
        forwarder = kafka_forwarder(cluster, mine, spill_bytes)
    edge = Edge(cluster, forwarder, profile_bytes)
    uvloop.run(_serve(edge, listener, admin_listener, limits=limits, doorkeeper=doorkeeper, tls=tls))


async def _serve(
    edge: Edge,
    listener: socket.socket,
    admin_listener: socket.socket | None,
    *,
    limits: Limits | None,
    doorkeeper: Doorkeeper,
    tls: ssl.SSLContext | None,
) -> None:
    server = Server(doorkeeper.keyed(edge.door), listener, limits, tls)
    servers = [server]
    if admin_listener is not None:
        servers.append(Server(doorkeeper.keyed(edge.admin), admin_listener, limits))

    def stop() -> None:
        for each in servers:
            each.stop()

    await edge.start()
    try:
        with StopSignals(stop):
            log.info("edge_listening url=%s", _url(listener, "http" if tls is None else "https"))
            if admin_listener is not None:
                log.info("admin_listening url=%s", _url(admin_listener))
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(doorkeeper.watch())
                async with asyncio.TaskGroup() as serving:
                    for each in servers:
                        serving.create_task(each.run_until_stopped())
                watching.cancel()
    finally:
        await edge.stop()
    log.info("edge_stopped requests=%d swaps=%d", server.server_state.total_requests, edge.engine.swapped)


def _url(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

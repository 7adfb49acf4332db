"""Worker: a Faust process around a scorer or a learner: settings, services and signals, nothing that decides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import tempfile
from typing import Any, Final

import faust
import mode

from learners.model import Model
from schemas.errors import Stalled
from scoring.engine import Engine
from scoring.registry import Registry
from scoring.server import Server
from streams import garbage
from streams.books import Books
from streams.flood import hold_back
from streams.learner import Learner
from streams.releases import Releases
from streams.scorer import Scorer
from streams.sender import Sender
from streams.state_key import state_key
from streams.topics import EVENTS, EXAMPLES, MIB, Cluster, group_of, require_topics
from streams.transport import ChunkApp, chunk_topic
from streams.verdict import final
from streams.watchdog import Limits, Watchdog
from streams.worker_door import WorkerDoor

log = logging.getLogger(__name__)

_KEEP_TIME_S: Final = 0.25
# Before a supervisor loses its patience: after 15 s ours sends SIGKILL, after 10 s Docker does.
_STOP_WITHIN_S: Final = 8.0


class Worker:
    """One scorer or learner in a Faust app.

    Args:
        role: "scorer" or "learner".
        model: what it scores or learns.
        cluster: where the topics are.
        instance: which of the group's workers it is, where that outlives the process: started again within the session
            timeout, it has its partitions at once.
        listener: where `/metrics`, `/live` and `/ready` are served, see `scoring.server.listen`; None, nowhere.
        limits: how long what may last.
    """

    def __init__(  # noqa: PLR0917
        self,
        role: str,
        model: Model,
        cluster: Cluster,
        instance: str = "",
        listener: socket.socket | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._directory = tempfile.mkdtemp(prefix="freshet-worker-")
        self.app = _app(group_of(cluster, role, model.spec.name), cluster, self._directory, instance)
        self._model = model
        self._sender = Sender(cluster.bootstrap)
        self._engine = Engine()
        self._registry = Registry()
        self._releases = Releases(cluster, self._registry, self._engine)
        self._started = asyncio.Event()
        self._work: Scorer | Learner
        limits = limits or Limits()
        books = Books(model.spec.name, limits.law_s)
        secret = state_key()
        if role == "scorer":
            self._work = Scorer(self.app, model, self._engine, self._sender, cluster, secret, books)
            source = EVENTS
        else:
            self._work = Learner(self.app, model, self._engine, self._registry, self._sender, cluster, secret, books)
            source = EXAMPLES
        self._watchdog = Watchdog(self._work, self.app, self._sender, books.metrics, cluster.bootstrap, limits)
        self._listener = listener
        self._server = Server(WorkerDoor(books.metrics, self._problem), listener) if listener else None
        self._wire(cluster.topic(source))

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or an error that only a restart can mend; leaves the process."""
        try:
            faust.Worker(self.app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _wire(self, source: str) -> None:
        app, work = self.app, self._work

        @app.agent(chunk_topic(app, source), name="chunks")
        @final
        async def chunks(stream: Any) -> None:
            await self._started.wait()
            # noack: nothing is acknowledged by Faust, in particular not a chunk whose handling raised.
            async for event in stream.noack().events():
                await work.take(event.message)

        @app.task
        @final
        async def start() -> None:
            await self._sender.start()
            await self._releases.start()
            await self._releases.caught_up.wait()
            self._started.set()
            if isinstance(work, Learner):
                await self._release_for_ever(work)

        @app.task
        @final
        async def watch() -> None:
            await self._watchdog.watch()

        @app.task
        @final
        async def serve() -> None:
            if self._server is not None and self._listener is not None:
                host, port = self._listener.getsockname()[:2]
                log.info("worker_listening url=http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
                await self._server.run_until_stopped()

        @app.timer(_KEEP_TIME_S)
        @final
        async def keep_time() -> None:
            if self._started.is_set():
                await work.keep_time()

        @app.timer(garbage.COLLECT_EVERY_S)
        @final
        async def collect() -> None:
            garbage.collect()

        @final
        async def before_revoke(_: set[Any]) -> None:
            await work.let_go()

        async def go_on(*_: Any, **__: Any) -> None:
            work.go_on()

        @final
        async def before_shutdown(*_: Any, **__: Any) -> None:
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await work.let_go()
                    await app.consumer.commit()
                    await self._releases.stop()
                    await self._sender.stop()
            except TimeoutError:
                # What is not in the journal is read again; whoever asked for the end will not wait for a broker.
                raise Stalled("the broker does not take what there was to make durable", _STOP_WITHIN_S) from None

        app.before_revoke = before_revoke
        app.on_partitions_assigned.connect(go_on, weak=False)
        app.on_before_shutdown.connect(before_shutdown, weak=False)

    def _problem(self) -> str:
        return self._watchdog.problem if self._started.is_set() else "starting: reading the releases"

    async def _release_for_ever(self, learner: Learner) -> None:
        interval_s = self._model.release.interval_ms / 1000
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            await learner.release()
            # On a grid, so that a slow export does not stretch the interval; what was missed is not made up for.
            due_s = max(due_s + interval_s, loop.time())
            if self._registry.newest_version(self._model.spec.name) < 0:
                due_s = loop.time() + _KEEP_TIME_S  # not assigned yet, and scorers wait for the first release
            await asyncio.sleep(due_s - loop.time())


def run_worker(  # noqa: PLR0917
    role: str,
    model: Model,
    cluster: Cluster,
    instance: str = "",
    listener: socket.socket | None = None,
    limits: Limits | None = None,
) -> None:
    """Run a worker until it is told to stop or cannot go on; leaves the process. Arguments as those of `Worker`.

    Raises:
        BrokerError: no broker, or topics are missing.
    """
    # What they say of themselves hides what happens to the events; mode warns of every timer that ran long.
    for chatty, level in (("faust", logging.WARNING), ("mode", logging.ERROR), ("aiokafka", logging.WARNING)):
        logging.getLogger(chatty).setLevel(level)
    hold_back("aiokafka")
    garbage.leave_to_collect()
    asyncio.run(require_topics(cluster))
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        Worker(role, model, cluster, instance, listener, limits).run()


def _app(group: str, cluster: Cluster, directory: str, instance: str) -> ChunkApp:
    return ChunkApp(
        group,
        broker=f"kafka://{cluster.bootstrap}",
        datadir=directory,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,  # right only because nothing here is acknowledged by Faust
        agent_supervisor=mode.CrashingSupervisor,
        broker_commit_interval=0.5,
        consumer_group_instance_id=instance or None,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=3000,
        consumer_max_fetch_size=9 * MIB,
        producer_request_timeout=30.0,
        worker_redirect_stdouts=False,
    )

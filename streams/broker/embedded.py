"""A Kafka broker as a child process: one node, loopback only, real records on disk, no Docker and no shell scripts.

Below a data directory:

    broker.json         which process serves it, on which port (`state.py`)
    broker.log          what Kafka printed since its last start; broker.previous.log the time before
    server.properties   the settings it was started with
    log/                Kafka's own: the records
    broker.lock         held while it is started or stopped
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import BrokerError
from streams.broker import ports
from streams.broker.jars import KafkaLock, ensure_jars, load_lock
from streams.broker.java import find_java
from streams.broker.launcher import Launcher
from streams.broker.mutex import exclusive, java_holds
from streams.broker.process import ProcessId
from streams.broker.properties import common_settings, render_properties
from streams.broker.state import BrokerState, read_state, running, write_state
from streams.broker.symptoms import explain, refused_port, tail

START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 20.0
STRAY_PATIENCE_S = 20.0  # a broker whose starter was killed half-way may still come up; a hung one never does
DYING_PATIENCE_S = 5.0  # a killed JVM counts as dead before its last thread has let go of its files
_DRAWS = 3
_POLL_S = 0.05
_READY_LINE = "Kafka Server started"


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


class EmbeddedBroker:
    """A Kafka broker over a data directory, started when none serves it yet, else shared.

    The broker ends with the object that started it. One that another living process started, or that
    `freshet broker up` keeps, is used and left alone; one whose starter was killed is taken over.

    Args:
        data_dir: made when absent; the records in it outlive the broker.
        port: for clients, on 127.0.0.1; 0 draws a free one at each start.
        heap_mib: Java heap; 64 is enough to run at all, 16 MiB records want 192.
        overrides: Kafka settings on top of `server.properties`. They and the heap hold for a broker that is started
            here, not for one that is shared.
        say: told, in one line, what takes time.
        lock: the jars; those of `kafka.lock.json` unless given.

    A `with` block starts and stops it:

        with EmbeddedBroker(tmp_path) as broker:
            produce(broker.bootstrap)
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        heap_mib: int = 256,
        overrides: Mapping[str, str] | None = None,
        say: Callable[[str], None] = _to_stderr,
        lock: KafkaLock | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted_port = port
        self._heap_mib = heap_mib
        self._overrides = dict(overrides or {})
        self._say = say
        self._lock = lock or load_lock()
        self._state: BrokerState | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ours = False

    @property
    def bootstrap(self) -> str:
        """Where clients connect, as `host:port`.

        Raises:
            BrokerError: it has not been started.
        """
        if self._state is None:
            raise BrokerError("the embedded Kafka broker has not been started")
        return self._state.bootstrap

    def start(self, *, keep: bool = False) -> Self:
        """Return once the broker answers.

        Args:
            keep: leave it running when this process ends, until `freshet broker down`.

        Raises:
            BrokerError: it cannot be started; says why, and what to do.
        """
        if "," in str(self.data_dir):
            raise BrokerError(
                f"Kafka takes the comma in {self.data_dir} for the end of a path; choose another directory"
            )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(f"cannot keep Kafka's records in {self.data_dir}: {error}") from error
        with _turn(self.data_dir):
            self._refuse_newer_data()
            if not self._attach(keep=keep):
                self._launch(keep=keep)
        return self

    def stop(self) -> None:
        """Stop the broker in order if it is this object's; leave one that somebody else keeps."""
        if self._is_ours:
            with _turn(self.data_dir):
                state = running(self.data_dir)
                # Another state than ours: `freshet broker up` took it over, or it died and another process started it.
                if state is not None and state == self._state:
                    _end(self.data_dir, state)
        if self._child is not None:
            self._child.poll()  # reaps it, if it has ended
        self._state, self._child, self._is_ours = None, None, False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _refuse_newer_data(self) -> None:
        state = read_state(self.data_dir)
        if state and _order(state.version) > _order(self._lock.version):
            raise BrokerError(
                f"{self.data_dir} was written by Kafka {state.version}; this freshet runs {self._lock.version}, and "
                "Kafka cannot go back. Use a freshet that has it, or delete the records with `freshet broker wipe`."
            )

    def _attach(self, *, keep: bool) -> bool:
        """Use the broker that serves the data directory, if one does and answers; end one that does not answer."""
        state = running(self.data_dir)
        if state is None or state.process is None:
            return False
        if self._wanted_port not in (0, state.port):
            raise BrokerError(
                f"the Kafka broker of {self.data_dir} already runs on {state.bootstrap}; use that, "
                f"or stop it with `freshet broker down` before you start it on port {self._wanted_port}"
            )
        if not _answers(state, STRAY_PATIENCE_S):
            self._say(f"the Kafka broker left on {state.bootstrap} does not answer; ending it")
            state.process.terminate(patience_s=STOP_PATIENCE_S)
            return False
        self._say(f"using the Kafka broker that runs on {state.bootstrap}")
        self._state = state
        if keep:
            self._take_over(owner=None)
        elif state.owner is not None and not state.owner.alive():
            self._take_over(owner=ProcessId.mine())
        return True

    def _take_over(self, owner: ProcessId | None) -> None:
        assert self._state is not None
        self._state = replace(self._state, owner=owner)
        self._is_ours = owner is not None
        write_state(self.data_dir, self._state)

    def _launch(self, *, keep: bool) -> None:
        self._refuse_taken_port()
        self._refuse_unknown_kafka()
        java = find_java()
        launcher = Launcher(java, ensure_jars(self._lock, self._say), self.data_dir, self._heap_mib)
        for _draw in range(_DRAWS):
            port, controller_port = self._draw_ports()
            self._write_settings(port, controller_port)
            launcher.format_once()
            self._child = launcher.spawn()
            state = BrokerState(
                version=self._lock.version,
                port=port,
                process=ProcessId.of(self._child.pid),
                owner=None if keep else ProcessId.mine(),
            )
            # Before it is ready: should this process be killed now, the next one finds the broker all the same.
            write_state(self.data_dir, state)
            try:
                came_up = self._came_up(self._child, state)
            except BaseException:  # Ctrl-C too: nobody would know of the half-started broker
                _end(self.data_dir, state)
                self._child.wait(5)
                raise
            if came_up:
                self._state, self._is_ours = state, not keep
                return
        raise BrokerError(f"lost the race for a free port {_DRAWS} times; try again")

    def _came_up(self, child: subprocess.Popen[bytes], state: BrokerState) -> bool:
        """Wait until the broker is ready; False when the ports drawn for it were taken meanwhile."""
        log = self.data_dir / "broker.log"
        deadline_s = time.monotonic() + START_PATIENCE_S
        while child.poll() is None:
            # Both: the line is printed by this broker only, the answer proves that clients get through.
            if _READY_LINE in _read(log) and ports.speaks_kafka(state.port):
                return True
            if time.monotonic() > deadline_s:
                raise BrokerError(
                    f"Kafka did not answer on {state.bootstrap} within {START_PATIENCE_S:.0f} s; see {log}\n"
                    + tail(_read(log))
                )
            time.sleep(_POLL_S)
        output = _read(log)
        refused = refused_port(output)
        if refused is None:
            raise BrokerError(explain(output, self.data_dir))
        if refused == self._wanted_port:
            self._refuse_port()
        return False

    def _refuse_taken_port(self) -> None:
        if self._wanted_port and ports.is_taken(self._wanted_port):
            self._refuse_port()

    def _refuse_unknown_kafka(self) -> None:
        # Kafka looks at its lock too, but only after its controller has opened the metadata log and written to it,
        # under the feet of the one that runs.
        deadline_s = time.monotonic() + DYING_PATIENCE_S
        while java_holds(self.data_dir / "log" / ".lock"):
            if time.monotonic() > deadline_s:
                raise BrokerError(f"another Kafka uses {self.data_dir}; stop it, or choose another directory")
            time.sleep(_POLL_S)

    def _refuse_port(self) -> None:
        raise BrokerError(f"port {self._wanted_port} is taken, or not allowed; stop what holds it, or choose another")

    def _draw_ports(self) -> tuple[int, int]:
        if self._wanted_port:
            return self._wanted_port, ports.free_ports(1)[0]
        client, controller = ports.free_ports(2)
        return client, controller

    def _write_settings(self, port: int, controller_port: int) -> None:
        clients, controller = f"PLAINTEXT://{ports.LOOPBACK}:{port}", f"CONTROLLER://{ports.LOOPBACK}:{controller_port}"
        settings = common_settings() | {
            "process.roles": "broker,controller",
            "node.id": "1",
            # Static voters: a dynamic quorum would write the controller's port into the log, and it changes.
            "controller.quorum.voters": f"1@{ports.LOOPBACK}:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            # Loopback only: there is neither encryption nor a password.
            "listeners": f"{clients},{controller}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": (self.data_dir / "log").as_posix(),
        }
        text = render_properties(settings | self._overrides)
        (self.data_dir / "server.properties").write_text(text, encoding="ascii")


def stop_broker(data_dir: Path) -> BrokerState | None:
    """Stop whichever broker serves `data_dir`; return what ran, None when none did."""
    if not data_dir.exists():
        return None
    with _turn(data_dir):
        state = running(data_dir)
        if state is not None:
            _end(data_dir, state)
        return state


def _turn(data_dir: Path) -> AbstractContextManager[None]:
    # Longer than one start may take: the second of two starters waits, then shares the first one's broker.
    return exclusive(data_dir / "broker.lock", patience_s=START_PATIENCE_S * 1.5)


def _end(data_dir: Path, state: BrokerState) -> None:
    if state.process is not None:
        state.process.terminate(patience_s=STOP_PATIENCE_S)
    write_state(data_dir, BrokerState(state.version))


def _answers(state: BrokerState, patience_s: float) -> bool:
    deadline_s = time.monotonic() + patience_s
    while state.process is not None and state.process.alive():
        if ports.speaks_kafka(state.port):
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return False


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))

"""Supervisor: keeps child processes running, says what happens to them and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from schemas.errors import ModelFileError, ProcessFailed
from streams.topics import Cluster

T = TypeVar("T")
LineSink = Callable[[str, str], None]

# What an operator, a chaos test or the kernel's memory killer sends: no proof that the program itself cannot start.
_FROM_OUTSIDE: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
_CLEAN: Final = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})
_CHUNK_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running: `env` is laid over this process's environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what.

    Args:
        first_delay_s: before the first restart; doubled at each further one in a row.
        longest_delay_s: the most that is waited before a restart.
        settled_after_s: a child that lived so long has started; its delays begin anew when it dies.
        attempts: starts in a row after which a child that never settled is given up.
        stop_within_s: from SIGTERM to SIGKILL.
        keep_lines: how many of a child's last lines are kept for `ProcessFailed`.
    """

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    # A worker takes some seconds to import its learner: a shorter time would never see a broken model file fail early.
    settled_after_s: float = 10.0
    attempts: int = 5
    stop_within_s: float = 15.0
    keep_lines: int = 20

    def delay_s(self, deaths: int) -> float:
        """Return the wait before the restart that follows `deaths` deaths in a row.

        >>> [Patience().delay_s(deaths) for deaths in (1, 2, 3, 20)]
        [0.5, 1.0, 2.0, 30.0]
        """
        return min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(deaths - 1, 30))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended when it was asked to: `killed` after it ignored SIGTERM for `Patience.stop_within_s`."""

    name: str
    exit_code: int
    killed: bool

    @property
    def clean(self) -> bool:
        """Whether it ended by itself and without an error.

        >>> Ending("edge", 0, killed=False).clean, Ending("edge", -9, killed=True).clean
        (True, False)
        """
        return not self.killed and self.exit_code in _CLEAN


class Supervisor:
    """Keeps children running while its `async with` body runs; they are stopped when it ends, whatever ended it.

    Children run in sessions of their own, so that Ctrl-C in a terminal reaches this process alone and it can stop
    them in order. A child that dies is started again after a delay that grows while it keeps dying.

    Args:
        children: what to run; started together.
        on_line: gets (name, line) for each line a child prints, and ("supervisor", line) for what is done to them;
            must not raise.
        patience: see there.

    >>> import sys
    >>> async def once() -> list[Ending]:
    ...     hello = Child("hello", (sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"))
    ...     up = asyncio.Event()
    ...     async with Supervisor([hello], on_line=lambda name, line: up.set() if line == "up" else None) as supervisor:
    ...         await guarded(up.wait(), supervisor.watch())
    ...     return supervisor.endings
    >>> asyncio.run(once())
    [Ending(name='hello', exit_code=-15, killed=False)]
    """

    def __init__(self, children: Sequence[Child], *, on_line: LineSink, patience: Patience | None = None) -> None:
        self._children = tuple(children)
        self._on_line = on_line
        self._patience = patience or Patience()
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._killed: set[str] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._last_lines = {child.name: deque[str](maxlen=self._patience.keep_lines) for child in children}
        self.restarts: dict[str, int] = {child.name: 0 for child in children}
        self.endings: list[Ending] = []

    async def __aenter__(self) -> Self:
        self._keepers = [asyncio.create_task(self._keep(child), name=child.name) for child in self._children]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def pids(self) -> dict[str, int]:
        """Return the process id of each child that runs now."""
        return {name: process.pid for name, process in self._running.items() if process.returncode is None}

    async def watch(self) -> None:
        """Return when every child was stopped; made to be awaited beside the work, see `guarded`.

        Raises:
            ProcessFailed: a child never settled, however often it was started; carries its last lines.
        """
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_EXCEPTION)
        for keeper in done:
            keeper.result()

    async def stop(self) -> None:
        """End every child: SIGTERM to all, SIGKILL to what is left after a while, or at once when this is cancelled.

        Fills `endings`.
        """
        self._stopping.set()
        for name, process in self._running.items():
            self._terminate(name, process)
        try:
            if self._keepers:
                await asyncio.wait(self._keepers, timeout=self._patience.stop_within_s)
        finally:  # cancelled: whoever asks a second time will not wait
            self.kill()
            await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill(self) -> None:
        """End every child at once, with whatever it started in its session."""
        self._stopping.set()
        for name, process in self._running.items():
            if process.returncode is None:
                self._killed.add(name)
                self._say(f"{name}: killed, pid {process.pid}")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the leader of its session, so its pid is the group's

    async def _keep(self, child: Child) -> None:
        patience = self._patience
        settled = False
        deaths = failed_starts = 0
        while True:
            started_s = time.monotonic()
            exit_code = await self._run(child)
            if self._stopping.is_set():
                self.endings.append(Ending(child.name, exit_code, child.name in self._killed))
                return
            if exit_code == ModelFileError.exit_code:  # starting it again changes nothing; its one line says why
                said = [line for line in self._last_lines[child.name] if line.startswith("freshet: ")]
                raise ProcessFailed(child.name, exit_code, tuple(said[-1:]))
            lived_s = time.monotonic() - started_s
            if lived_s >= patience.settled_after_s:
                settled, deaths = True, 0
            deaths += 1
            # What once ran is started again for ever: a broker that is away for a while must not end the whole.
            failed_starts += not settled and exit_code not in _FROM_OUTSIDE
            if failed_starts >= patience.attempts:
                raise ProcessFailed(child.name, exit_code, tuple(self._last_lines[child.name]))
            delay_s = patience.delay_s(deaths)
            self._say(f"{child.name}: {_cause(exit_code)} after {lived_s:.1f} s, starts again in {delay_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
                return
            self.restarts[child.name] += 1

    async def _run(self, child: Child) -> int:
        self._last_lines[child.name].clear()
        try:
            process = await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **child.env},
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessFailed(child.name, 127, (str(error),)) from error
        self._running[child.name] = process
        self._say(f"{child.name}: started, pid {process.pid}")
        if self._stopping.is_set():  # asked to stop while the process was being made
            self._terminate(child.name, process)
        reading = asyncio.create_task(self._read(child.name, process))
        exit_code = await process.wait()
        # Its last words are still in the pipe; a grandchild may hold that open, so there is a limit.
        await asyncio.wait([reading], timeout=1.0)
        await _cancel(reading)
        return exit_code

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(_CHUNK_BYTES):  # readline() fails on a line longer than its buffer
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take_line(name, line)
        if rest:
            self._take_line(name, rest)

    def _take_line(self, name: str, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_lines[name].append(text)
        self._on_line(name, text)

    def _terminate(self, name: str, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            self._say(f"{name}: asked to stop, pid {process.pid}")
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    def _say(self, line: str) -> None:
        self._on_line("supervisor", line)


async def guarded(work: Coroutine[Any, Any, T], *watches: Coroutine[Any, Any, None]) -> T:
    """Return what `work` returns. A watch that fails meanwhile cancels it, and its error is raised instead.

    >>> async def broken() -> None:
    ...     raise ProcessFailed("edge", 1, ())
    >>> asyncio.run(guarded(asyncio.sleep(60), broken()))
    Traceback (most recent call last):
    schemas.errors.ProcessFailed: edge cannot be started: exit code 1, its last lines: none
    """
    task = asyncio.create_task(work)
    watching = [asyncio.create_task(watch) for watch in watches]
    try:
        pending: set[asyncio.Task[Any]] = {task, *watching}
        while not task.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # Before the work's own error: it may be no more than what the work made of a missing process.
            for watch in done - {task}:
                watch.result()
        return task.result()
    finally:
        for each in (task, *watching):
            await _cancel(each)


def pipeline(
    model_file: Path, cluster: Cluster, edge_ports: Sequence[int], worker_ports: Mapping[str, int] | None = None
) -> list[Child]:
    """Return the processes that serve and train a model: scorer, learner and an edge on each port.

    Args:
        model_file: the model.
        cluster: where the topics are.
        edge_ports: one edge on each.
        worker_ports: where a worker tells how it gets on, by role.

    >>> [child.name for child in pipeline(Path("model.py"), Cluster("127.0.0.1:9092"), [8080, 8081])]
    ['scorer', 'learner', 'edge-8080', 'edge-8081']
    """
    # -P: a folder called `schemas` where the command is run must not take the place of ours.
    freshet = (sys.executable, "-P", "-m", "streams.cli")
    env = {"KAFKA_BOOTSTRAP": cluster.bootstrap, "FRESHET_TOPIC_PREFIX": cluster.prefix}
    model = ("--model", str(model_file))
    served = {role: ("--port", str(port)) for role, port in (worker_ports or {}).items()}
    # The same through restarts: a worker that is started again has its partitions at once.
    instance = f"{socket.gethostname()}-{os.getpid()}"
    return [
        *(
            Child(role, (*freshet, "worker", role, *model, *served.get(role, ()), "--instance", instance), env)
            for role in ("scorer", "learner")
        ),
        *(Child(f"edge-{port}", (*freshet, "edge", "--port", str(port)), env) for port in edge_ports),
    ]


class StopSignals:
    """Turns each SIGINT and SIGTERM into a call of `stop` on the running loop.

    Attributes:
        received: the first signal that came, None while there was none.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        for number in _STOPPING:
            asyncio.get_running_loop().add_signal_handler(number, self._take, number)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number in _STOPPING:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _take(self, number: signal.Signals) -> None:
        self.received = self.received or number
        self._stop()


def _cause(exit_code: int) -> str:
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


async def _cancel(task: asyncio.Future[T]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it as forgotten

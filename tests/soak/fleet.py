"""Fleet: the processes of one installation, kept running, and killed, frozen and stopped on demand."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from streams.broker import EmbeddedBroker
from streams.broker.ports import free_ports
from streams.broker.state import running
from streams.crash_points import VARIABLE
from streams.topics import Cluster

ROOT: Final = Path(__file__).parents[2]
# Small, so that ordinary journal entries come in parts.
_PART_BYTES: Final = "20000"
_LOOK_EVERY_S: Final = 0.05
_STOP_WITHIN_S: Final = 40.0
_MOST_BY_ITSELF: Final = 50
# Less than a topic's partitions have by then.
_FULL_BYTES: Final = 16 * 1024
_GIVES_UP_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Death:
    """One end of a process.

    Args:
        name, role: whose.
        at_s: Unix time.
        cause: `killed`, `stopped`, a crash point's name, or `by itself`.
        code: its exit code.
    """

    name: str
    role: str
    at_s: float
    cause: str
    code: int


@dataclass(slots=True)
class Member:
    """A process of the fleet; `keep`: it is started again when it ends."""

    name: str
    role: str
    port: int
    keep: bool = True
    crash_point: str = ""  # of the start to come
    dies_at: str = ""  # of the present one
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it runs; one that is frozen does."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Fleet:
    """Workers and edges of an installation; `keep_up` starts again whatever ends.

    Args:
        cluster: where the topics are.
        model_path: what they score and learn.
        logs: a file for each is kept there.
        on_death: told of each.
    """

    cluster: Cluster
    model_path: Path
    logs: Path
    on_death: Callable[[Death], None] = lambda _: None
    members: dict[str, Member] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.keep = False
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait(10)

    def add(self, role: str, name: str) -> Member:
        """Start a process: `scorer`, `learner` or `edge`."""
        member = self.members[name] = Member(name, role, free_ports(1)[0])
        self._start(member)
        return member

    def of(self, *roles: str) -> list[Member]:
        """Return the members with these roles that are to run."""
        return [member for member in self.members.values() if member.role in roles and member.keep]

    async def keep_up(self) -> None:
        """Start again at once whatever ends, until cancelled.

        Raises:
            RuntimeError: too much ends that nobody has ended.
        """
        while True:
            for member in list(self.members.values()):
                self._look(member)
            if len(self.by_itself) > _MOST_BY_ITSELF:
                raise RuntimeError(f"too many ended by themselves, see {self.logs}: {self.by_itself[-1]}")
            await asyncio.sleep(_LOOK_EVERY_S)

    @property
    def by_itself(self) -> list[Death]:
        """Return the deaths that nobody had asked for."""
        return [death for death in self.deaths if death.cause == "by itself"]

    def kill(self, name: str, crash_point: str = "") -> None:
        """`kill -9` a process; the one that takes its place dies at `crash_point`, if one is given."""
        member = self.members[name]
        member.crash_point = crash_point
        if member.process is not None and member.process.poll() is None:
            member.process.kill()
            member.process.wait(10)
            self._bury(member, "killed")

    async def freeze(self, name: str, lasting_s: float) -> None:
        """SIGSTOP a process, and SIGCONT it after a while."""
        process = self.members[name].process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(lasting_s)
        finally:
            process.send_signal(signal.SIGCONT)

    async def stop(self, name: str) -> int:
        """SIGTERM a process for good; return its exit code, -9 where it had to be killed."""
        member = self.members[name]
        member.keep = False
        if member.process is None:
            return 0
        member.process.terminate()
        if not await became(lambda: not member.alive, _STOP_WITHIN_S):
            member.process.kill()
            member.process.wait(10)
        code = member.process.returncode
        self._bury(member, "stopped")
        return code

    def owns(self, name: str) -> bool:
        """Return whether a worker has a partition."""
        return b"freshet_journal_epoch{" in self._answer(name, "/metrics")

    def alarmed(self, name: str) -> bool:
        """Return whether a worker says that a conservation law is broken."""
        lines = self._answer(name, "/metrics").splitlines()
        return any(line.startswith(b"freshet_conservation_broken{") and not line.endswith(b" 0.0") for line in lines)

    def is_ready(self, name: str) -> bool:
        """Return whether a worker gets on with its work."""
        return bool(self._answer(name, "/ready"))

    def _answer(self, name: str, path: str) -> bytes:
        """Return what a worker answers; nothing where it does not, or not with 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.members[name].port}{path}", timeout=1) as answer:
                return bytes(answer.read())
        except (OSError, http.client.HTTPException):
            return b""

    def words(self) -> str:
        """Return the last words of each process."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.logs.glob("*.log")))

    def _look(self, member: Member) -> None:
        if not member.keep:
            return  # it is being stopped, and whoever does that buries it
        process = member.process
        if process is not None and process.poll() is not None:
            at_point = process.returncode == -signal.SIGKILL and member.dies_at
            self._bury(member, member.dies_at if at_point else "by itself")
        if member.process is None:
            self._start(member)

    def _bury(self, member: Member, cause: str) -> None:
        process, member.process = member.process, None
        code = process.returncode if process is not None else 0
        if cause == "stopped" and code == -signal.SIGKILL and member.dies_at:
            cause = member.dies_at
        death = Death(member.name, member.role, time.time(), cause, code)
        self.deaths.append(death)
        self.on_death(death)

    def _start(self, member: Member) -> None:
        # -P: a folder called `schemas` where the soak is run must not take the place of ours.
        argv = [sys.executable, "-P", "-m", "streams.cli"]
        if member.role == "edge":
            argv += ["edge", "--port", str(member.port)]
        else:
            argv += ["worker", member.role, "--model", str(self.model_path), "--port", str(member.port)]
        env = os.environ | {
            "KAFKA_BOOTSTRAP": self.cluster.bootstrap,
            "FRESHET_TOPIC_PREFIX": self.cluster.prefix,
            "FRESHET_JOURNAL_PART_BYTES": _PART_BYTES,
            "FRESHET_JOURNAL_DROP_TOGETHER": "2",
            "FRESHET_INSTANCE": member.name,
            "PYTHONPATH": str(ROOT),
        }
        member.dies_at, member.crash_point = member.crash_point, ""
        env.pop(VARIABLE, None)
        if member.dies_at:
            env[VARIABLE] = member.dies_at
        member.dies_at = member.dies_at.partition(":")[0]
        if member.dies_at == "journal.after_object":
            env["FRESHET_JOURNAL_INLINE_BYTES"] = _PART_BYTES  # the entries of this one start lie in the object store
        member.started_s = time.time()
        with (self.logs / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def became(true: Callable[[], bool], within_s: float = float("inf")) -> bool:
    """Return whether something becomes true within a time."""
    end_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end_s:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


class OwnBroker:
    """An embedded broker of a soak's own, on one port for good, that can be killed and frozen."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._broker = EmbeddedBroker(data_dir, port=free_ports(1)[0], say=lambda _: None)

    def __enter__(self) -> Self:
        self._broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.stop()

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return self._broker.bootstrap

    async def kill(self, away_s: float) -> None:
        """`kill -9` it, and start it again after a while; returns when it answers."""
        os.kill(self._pid(), signal.SIGKILL)
        self._broker.stop()  # there is nothing left to stop: it forgets the child
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._broker.start)

    async def freeze(self, lasting_s: float) -> None:
        """SIGSTOP it, and SIGCONT it after a while."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(lasting_s)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def fill(self, away_s: float) -> None:
        """Have its disk full, until it gives up, and start it again after a while, when there is room.

        No file of it may grow any more: what it writes fails as on a full disk, in the middle of an append too.
        """
        pid = self._pid()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_FULL_BYTES, _FULL_BYTES))
        gave_up = await became(lambda: not _lives(pid), _GIVES_UP_WITHIN_S)
        if not gave_up:
            os.kill(pid, signal.SIGKILL)
        self._broker.stop()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._broker.start)
        if not gave_up:
            raise RuntimeError(f"the broker did not notice within {_GIVES_UP_WITHIN_S:g} s that its disk was full")

    def _pid(self) -> int:
        state = running(self._data_dir)
        if state is None or state.process is None:
            raise RuntimeError(f"no broker runs over {self._data_dir}")
        return state.process.pid

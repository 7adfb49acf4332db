"""The supervisor restarts what dies, gives up on what never starts, and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import pytest

from schemas.errors import ProcessFailed
from streams.supervisor import Child, Patience, StopSignals, Supervisor, guarded

SLEEPS = "print('up', flush=True); import time; time.sleep(60)"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
IN_A_HURRY = Patience(first_delay_s=0.05, longest_delay_s=0.2, settled_after_s=5.0, attempts=3, stop_within_s=5.0)


class Watching:
    """What children and supervisor said, and a supervisor over `programs`."""

    def __init__(self, *programs: str, patience: Patience = IN_A_HURRY) -> None:
        self.lines: list[tuple[str, str]] = []
        children = [
            Child(f"child-{number}", (sys.executable, "-c", program)) for number, program in enumerate(programs)
        ]
        self.supervisor = Supervisor(children, on_line=lambda *line: self.lines.append(line), patience=patience)

    def said(self, name: str) -> list[str]:
        return [line for who, line in self.lines if who == name]

    async def until(self, holds: Callable[[], bool], within_s: float = 10.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.01)


def run(watching_test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(watching_test())  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_is_killed_is_started_again() -> None:
    """After kill -9 a new process runs under the same name, and the restart is counted and told."""

    async def scene() -> None:
        watching = Watching(SLEEPS)
        async with watching.supervisor as supervisor:
            await watching.until(lambda: watching.said("child-0") == ["up"])
            first = supervisor.pids()["child-0"]
            os.kill(first, signal.SIGKILL)
            await watching.until(lambda: watching.said("child-0") == ["up", "up"])
            second = supervisor.pids()["child-0"]

        assert first != second
        assert supervisor.restarts == {"child-0": 1}
        assert any("killed by SIGKILL" in line and "0.05 s" in line for line in watching.said("supervisor"))

    run(scene)


def test_the_wait_before_a_restart_doubles_up_to_a_limit() -> None:
    """A child that dies again and again is started ever more rarely."""
    patience = Patience(first_delay_s=1, longest_delay_s=30)

    assert [patience.delay_s(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_child_that_never_starts_ends_the_whole_with_its_last_lines() -> None:
    """The error carries what the child printed last; the other child is stopped, and the work cancelled."""

    async def scene() -> None:
        watching = Watching("print('port 1 is taken'); raise SystemExit(3)", SLEEPS)
        with pytest.raises(ProcessFailed) as raised:
            async with watching.supervisor as supervisor:
                await guarded(asyncio.sleep(60), supervisor.watch())

        assert (
            raised.value.name,
            raised.value.exit_code,
            raised.value.last_lines,
        ) == ("child-0", 3, ("port 1 is taken",))
        assert len(watching.said("child-0")) == 3
        assert [ending.name for ending in supervisor.endings] == ["child-1"]
        assert supervisor.pids() == {}

    run(scene)


def test_a_program_that_does_not_exist_is_said_to_be_missing() -> None:
    """There is nothing to try again: the first attempt raises."""

    async def scene() -> None:
        supervisor = Supervisor([Child("ghost", ("/no/such/program",))], on_line=lambda *_: None)
        with pytest.raises(ProcessFailed, match="No such file"):
            async with supervisor:
                await guarded(asyncio.sleep(60), supervisor.watch())

    run(scene)


def test_kills_from_outside_are_no_failed_starts() -> None:
    """A chaos test that kills a young worker more often than `attempts` does not end the whole."""

    async def scene() -> None:
        watching = Watching("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        async with watching.supervisor as supervisor:
            enough = IN_A_HURRY.attempts + 1
            await guarded(watching.until(lambda: supervisor.restarts["child-0"] > enough), supervisor.watch())

    run(scene)


def test_a_child_that_has_run_well_is_restarted_for_ever() -> None:
    """Only a child that never settled is given up: an outage later on may last."""

    async def scene() -> None:
        patience = Patience(first_delay_s=0.01, longest_delay_s=0.01, settled_after_s=0.0, attempts=2)
        watching = Watching("raise SystemExit(1)", patience=patience)
        async with watching.supervisor as supervisor:
            await guarded(watching.until(lambda: supervisor.restarts["child-0"] > 4), supervisor.watch())

    run(scene)


def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started() -> None:
    """After `stop_within_s` neither the child nor its own child is left, and its ending is not clean."""

    async def scene() -> None:
        grandchild = (
            f"import subprocess, sys; argv = [sys.executable, '-c', {SLEEPS!r}]; "
            "print(subprocess.Popen(argv, stdout=subprocess.DEVNULL).pid, flush=True); "
        )
        watching = Watching(grandchild + IGNORES_SIGTERM, patience=Patience(stop_within_s=0.3))
        async with watching.supervisor as supervisor:
            await watching.until(lambda: "up" in watching.said("child-0"))
        grandchild_pid = int(watching.said("child-0")[0])
        await watching.until(lambda: not is_running(grandchild_pid) or is_zombie(grandchild_pid))

        (ending,) = supervisor.endings
        assert (ending.exit_code, ending.killed, ending.clean) == (-signal.SIGKILL, True, False)

    run(scene)


def is_zombie(pid: int) -> bool:
    """Nobody reaps orphans in some containers; a zombie is dead all the same."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_stop_during_the_wait_for_a_restart_is_prompt() -> None:
    """Nobody waits out a back-off to stop."""

    async def scene() -> None:
        watching = Watching("raise SystemExit(1)", patience=Patience(first_delay_s=60, longest_delay_s=60))
        async with watching.supervisor:
            await watching.until(lambda: any("starts again" in line for line in watching.said("supervisor")))
            stop_asked_s = time.monotonic()

        assert time.monotonic() - stop_asked_s < 1.0

    run(scene)


def test_a_child_lives_in_a_session_of_its_own() -> None:
    """Ctrl-C in a terminal goes to the foreground group; children must not be in it."""

    async def scene() -> None:
        watching = Watching("import os; print(os.getsid(0) == os.getpid(), flush=True); " + SLEEPS)
        async with watching.supervisor:
            await watching.until(lambda: "up" in watching.said("child-0"))

        assert watching.said("child-0")[0] == "True"

    run(scene)


def test_a_line_longer_than_any_buffer_arrives_whole() -> None:
    """A child that prints a megabyte without a line end neither blocks nor loses it."""

    async def scene() -> None:
        watching = Watching("print('x' * 1_000_000, flush=True); " + SLEEPS)
        async with watching.supervisor:
            await watching.until(lambda: "up" in watching.said("child-0"))

        assert len(watching.said("child-0")[0]) == 1_000_000

    run(scene)


def test_guarded_work_returns_or_raises_its_own_while_children_run() -> None:
    """The work's own result and its own error pass through."""

    async def scene() -> None:
        watching = Watching(SLEEPS)
        async with watching.supervisor as supervisor:
            result = await guarded(asyncio.sleep(0.01, "done"), supervisor.watch())
            with pytest.raises(ZeroDivisionError):
                await guarded(fails(), supervisor.watch())

        assert result == "done"
        assert [ending.clean for ending in supervisor.endings] == [True]

    async def fails() -> float:
        await asyncio.sleep(0)
        return 1 / 0

    run(scene)


def test_cancelling_a_stop_kills_what_is_left() -> None:
    """Whoever asks a second time does not wait, and nothing is left behind."""

    async def scene() -> None:
        watching = Watching(IGNORES_SIGTERM, patience=Patience(stop_within_s=60))
        async with watching.supervisor as supervisor:
            await watching.until(lambda: "up" in watching.said("child-0"))
            stopping = asyncio.create_task(supervisor.stop())
            await asyncio.sleep(0.05)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping

        assert [ending.killed for ending in supervisor.endings] == [True]
        assert supervisor.pids() == {}

    run(scene)


def test_each_stop_signal_calls_and_the_first_is_remembered() -> None:
    """SIGTERM, then SIGINT: two calls."""

    async def scene() -> None:
        calls: asyncio.Queue[None] = asyncio.Queue()
        with StopSignals(lambda: calls.put_nowait(None)) as signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                await asyncio.wait_for(calls.get(), 5)

        assert signals.received is signal.SIGTERM
        assert calls.empty()

    run(scene)

"""A worker that does not get on says so, and ends so that it is started again; one that rightly waits is let be."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from schemas.errors import Stalled
from streams.metrics import Metrics
from streams.supervisor import Child, Patience, Supervisor, guarded
from streams.watchdog import Limits, Watchdog
from tests.streams.installation import ROOT

NOBODY = "127.0.0.1:1"
EVENTS = TP("events", 3)
LIMITS = Limits(stalled_after_s=30, give_up_after_s=300)


class Work:
    """A worker whose progress is what the test says."""

    def __init__(self) -> None:
        self.waits_for = ""
        self.at = 10

    def positions(self) -> dict[TP, int]:
        return {EVENTS: self.at}


class Consumer:
    def __init__(self) -> None:
        self.is_drained = False

    def drained(self, tp: TP, end: int) -> bool:
        return self.is_drained


class Watched:
    """A watchdog whose broker answers, and all that it looks at."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.work, self.consumer = Work(), Consumer()
        self.sender = SimpleNamespace(waiting=0, acknowledged=0)
        app: Any = SimpleNamespace(consumer=self.consumer)
        self.metrics = Metrics("clicks")
        self.dog = Watchdog(self.work, app, self.sender, self.metrics, NOBODY, limits)  # type: ignore[arg-type]
        self.dog.ends = {EVENTS: 10}

    def look(self, now_s: float) -> str:
        self.dog._answers += 1
        self.dog.look(now_s)
        return self.dog.problem


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_an_idle_worker_is_ready(watched: Watched) -> None:
    """Nothing to do for an hour is no stall."""
    assert [watched.look(at_s) for at_s in (0, 3600)] == ["", ""]


def test_lag_without_progress_is_told_and_ends_the_process(watched: Watched) -> None:
    """Not ready after 30 s, by name; given up after 300 s."""
    watched.dog.ends = {EVENTS: 12}
    problems = [watched.look(at_s) for at_s in (0, 29, 31)]

    assert problems == ["", "", "no progress for 31 s: events partition 3 is not handled beyond offset 10"]
    assert b'freshet_lag_records{model="clicks",partition="3"} 2.0' in watched.metrics.text()
    assert b'freshet_stalled_seconds{model="clicks"} 31.0' in watched.metrics.text()
    with pytest.raises(Stalled, match="not handled beyond offset 10") as stalled:
        watched.look(300)
    assert stalled.value.exit_code == 75


def test_a_step_now_and_then_is_progress(watched: Watched) -> None:
    """However far behind it is: as long as the offset moves, it is not stalled."""
    watched.dog.ends = {EVENTS: 10_000}
    problems = []
    for at_s in range(0, 3000, 25):
        watched.work.at += 1
        problems.append(watched.look(at_s))

    assert set(problems) == {""}


def test_a_log_that_ends_in_a_gap_is_no_work(watched: Watched) -> None:
    """A transaction's marker at the end of a partition will never be handled."""
    watched.dog.ends = {EVENTS: 11}
    watched.consumer.is_drained = True

    assert [watched.look(at_s) for at_s in (0, 3600)] == ["", ""]


def test_what_the_broker_does_not_acknowledge_is_a_stall_until_it_does(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Each acknowledgement is progress; the log says when readiness is lost and when it is back, once each."""
    watched.sender.waiting = 2
    with caplog.at_level(logging.INFO):
        problems = [bool(watched.look(at_s)) for at_s in (0, 40, 41)]
        watched.sender.acknowledged = 1
        problems += [bool(watched.look(at_s)) for at_s in (42, 70)]

    assert problems == [False, True, True, False, False]
    assert caplog.messages == [
        "worker_not_ready no progress for 40 s: the broker does not acknowledge what was sent",
        "worker_ready",
    ]


def test_waiting_for_somebody_else_is_not_ready_and_never_given_up(watched: Watched) -> None:
    """A scorer without a learner is not mended by being started again."""
    watched.dog.ends = {EVENTS: 12}
    watched.work.waits_for = "the first release"

    assert [watched.look(at_s) for at_s in (0, 3600)] == ["waits for the first release"] * 2
    watched.work.waits_for = ""
    assert watched.look(3601) == ""


def test_a_broker_that_does_not_answer_is_given_up_in_the_end() -> None:
    """Asked by the watchdog itself: whatever the worker's own clients believe."""
    watched = Watched(Limits(stalled_after_s=0.5, give_up_after_s=1.5))

    with pytest.raises(Stalled, match=f"the broker at {NOBODY} does not answer"):
        asyncio.run(asyncio.wait_for(watched.dog.watch(), 20))
    assert "does not answer" in watched.dog.problem


def test_a_broker_that_answers_is_enough_for_a_worker_without_a_partition(kafka: str) -> None:
    """One that stands by is ready."""
    watched = Watched()
    watched.dog._bootstrap = kafka
    watched.work.positions = dict  # type: ignore[method-assign]

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(watched.dog.watch(), 4))

    assert watched.dog._answers > 0
    assert watched.dog.problem == ""


BLOCKED = """
import asyncio, time
from types import SimpleNamespace as Stub
from streams.metrics import Metrics
from streams.watchdog import Limits, Watchdog

async def main():
    work, sender = Stub(waits_for="", positions=dict), Stub(waiting=0, acknowledged=0)
    dog = Watchdog(work, Stub(), sender, Metrics("m"), "127.0.0.1:1", Limits(give_up_after_s=2))
    watching = asyncio.create_task(dog.watch())
    await asyncio.sleep(0.5)
    time.sleep(60)  # a learner that does not come back

asyncio.run(main())
"""


def test_a_blocked_event_loop_ends_the_process_too() -> None:
    """With the place at which it is blocked, and the code that says that a restart may help."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip

    assert done.returncode == 75
    assert "in main" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("freshet: no progress for 2 s: the event loop is blocked")


def test_a_worker_that_gave_up_is_started_again(tmp_path: Path) -> None:
    """Exit code 75 is one that the supervisor of `freshet up` restarts."""
    script = "import pathlib, sys; mark = pathlib.Path(sys.argv[1])\nif mark.exists(): print('again', flush=True)\n"
    script += "mark.touch(); sys.exit(75)"
    child = Child("worker", (sys.executable, "-c", script, str(tmp_path / "mark")))
    said: list[str] = []

    async def watch() -> None:
        again = asyncio.Event()

        def on_line(name: str, line: str) -> None:
            said.append(line)
            if line == "again":
                again.set()

        async with Supervisor([child], on_line=on_line, patience=Patience(first_delay_s=0.01)) as supervisor:
            await guarded(asyncio.wait_for(again.wait(), 20), supervisor.watch())

    asyncio.run(watch())

    assert any("ended with exit code 75" in line for line in said)

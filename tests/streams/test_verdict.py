"""A worker that cannot go on ends at once, with its reason as its last words and an honest exit code."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ProcessFailed
from streams.simulator import Simulator
from streams.supervisor import Child, Supervisor, guarded
from tests.streams.installation import ROOT, Installation

FAILS = """
import asyncio, time
from schemas.errors import BrokerError, StateUnreadable
from streams.verdict import final

@final
async def work():
    {raises}

async def main():
    other = asyncio.create_task(asyncio.sleep(600))  # a service that would not end by itself
    await work()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("raises", "code", "last_words"),
    [
        ("raise StateUnreadable('another definition')", 78, "freshet: another definition"),
        ("raise BrokerError('away')", 1, "freshet: away"),
        ("raise RuntimeError('a slip of ours')", 70, "RuntimeError: a slip of ours"),
    ],
)
def test_the_reason_is_the_last_thing_said(raises: str, code: int, last_words: str) -> None:
    """Whatever else runs in the process, and although nobody awaits it any more."""
    done = subprocess.run(
        [sys.executable, "-c", FAILS.format(raises=raises)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == code
    assert done.stderr.strip().splitlines()[-1] == last_words


MODEL = """
from river import compose, linear_model, preprocessing
from learners import Model, count, event_type, every, happens

model = Model(
    name="changing",
    applies_to=event_type("web.webpagedetails.pageViews"),
    features=[count("web.webpagedetails.pageViews", within="1m")],
    outcome=happens("commerce.purchases", within="5s"),
    learner=preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    release=every("1s"),
)
"""


def test_a_changed_model_file_is_refused_in_one_line(kafka: str, tmp_path: Path) -> None:
    """What was learned would not fit; the workers say so, and a supervisor need not try again."""
    path = tmp_path / "changing.py"
    path.write_text(MODEL)
    installation = Installation(kafka, path, tmp_path, partitions=1)
    try:
        installation.start("learner")
        installation.start("scorer")
        installation.wait(lambda: bool(installation.releases()), "version 0")
        installation.feed([value for _, value in Simulator(seed=2).payloads(50)])
        installation.wait(lambda: installation.releases()[-1].examples > 0, "something learned")
        assert [0, 0] == [installation.stop("scorer"), installation.stop("learner")]

        path.write_text(MODEL.replace('within="1m"', 'within="2m"'))
        for role in ("scorer", "learner"):
            installation.start(role)
            code = installation.ended(role)
            words = (tmp_path / f"{role}.log").read_text().strip().splitlines()[-1]

            assert code == 78
            assert words.startswith("freshet: changing ")
            assert "give the model a new name" in words
    finally:
        installation.stop_all()


def test_what_a_restart_cannot_mend_is_not_restarted() -> None:
    """Exit code 78 ends the whole with the one line that says why."""
    child = Child("worker", (sys.executable, "-c", "print('noise'); print('freshet: rename it'); raise SystemExit(78)"))

    async def watch() -> None:
        async with Supervisor([child], on_line=lambda name, line: None) as supervisor:
            await guarded(asyncio.sleep(20), supervisor.watch())

    with pytest.raises(ProcessFailed, match="freshet: rename it") as failed:
        asyncio.run(watch())
    assert failed.value.exit_code == 78
    assert "noise" not in str(failed.value)

"""What docs/edge.md tells people to type works as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from learners import load_model
from schemas.records import Alias
from scoring.admin import Admin
from scoring.door import Door
from scoring.engine import Engine
from scoring.loader import Loader
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.repository import Repository
from scoring.session import Session
from tests.scoring.artifacts import constant, constant_p, release
from tests.scoring.serving import Serving

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "edge.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """An edge with the example's model, and where it is."""
    spec = load_model(ROOT / "examples" / "purchase_propensity.py").spec
    engine, registry = Engine(), Registry()
    loader = Loader(registry, engine)
    registry.release(release(7, constant(7, spec), spec))
    registry.alias(Alias(model=spec.name, alias="live", version=7, changed_at=0))
    engine.swap(Session(release(7, constant(7, spec), spec)), now_ms=0)
    door = Door(engine, registry, Profiles())
    with Serving(door) as edge, Serving(Admin(Repository(engine, registry, loader), door)) as admin:
        yield os.environ | {
            "EDGE": f"http://127.0.0.1:{edge.port}",
            "ADMIN": f"http://127.0.0.1:{admin.port}",
            "VERSION": "7",
            "no_proxy": "127.0.0.1",
        }


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: it would have shown that the examples work")
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_each_command_is_answered(environment: dict[str, str], number: int) -> None:
    """Each line of JSON that comes is a good answer."""
    command = ["sh", "-c", COMMANDS[number]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(answers)) == (0, COMMANDS[number].count("curl"))
    assert [answer for answer in answers if isinstance(answer, dict) and "error" in answer] == []
    assert "urn:freshet:problem" not in done.stdout


def test_the_program_prints_scores(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands there, but for the port."""
    pytest.importorskip("tritonclient.http", reason="it would have shown that the program works")
    (program,) = PROGRAMS

    exec(program.replace("127.0.0.1:8080", environment["EDGE"].removeprefix("http://")), {})  # our own documentation

    assert capsys.readouterr().out == f"[{constant_p(7)}, {constant_p(7)}]\n"


def test_there_are_commands() -> None:
    """So that the above tests something."""
    assert len(COMMANDS) >= 6

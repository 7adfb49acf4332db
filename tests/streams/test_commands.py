"""What a person sees of the command line when something is missing: one plain line that says what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.topics import TABLE
from tests.streams.installation import ROOT

MODEL = "examples/purchase_propensity.py"
Freshet = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def freshet(tmp_path: Path) -> Freshet:
    """Runs `freshet` as a process, with no broker but the one it is given."""

    def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "FRESHET_"))}
        environment = clean | {"FRESHET_KAFKA_DATA": str(tmp_path / "none")} | env
        return subprocess.run(
            [sys.executable, "-m", "streams.cli", *argv],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "argv",
    [
        ("worker", "scorer", "--model", MODEL),
        ("worker", "learner", "--model", MODEL),
        ("topics",),
        ("consume", "scores"),
        ("produce", "README.md"),
        ("simulate", "--events", "1"),
    ],
    ids=" ".join,
)
def test_without_a_broker_there_is_one_line(freshet: Freshet, argv: tuple[str, ...]) -> None:
    """It says where a broker comes from."""
    nowhere = freshet(*argv)
    dead = freshet(*argv, KAFKA_BOOTSTRAP="127.0.0.1:1")

    assert (nowhere.returncode, dead.returncode) == (1, 1)
    assert nowhere.stderr.strip().splitlines()[-1].startswith("freshet: no Kafka broker: set KAFKA_BOOTSTRAP")
    assert dead.stderr.strip().startswith("freshet: no Kafka broker answers at 127.0.0.1:1; set KAFKA_BOOTSTRAP")
    assert len(dead.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("argv", [("worker", "scorer", "--model", MODEL), ("produce", "README.md")], ids=" ".join)
def test_without_topics_there_is_one_line(freshet: Freshet, kafka: str, argv: tuple[str, ...]) -> None:
    """It names what is missing and how to make it."""
    done = freshet(*argv, KAFKA_BOOTSTRAP=kafka, FRESHET_TOPIC_PREFIX="nobody-made-these.")

    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert re.fullmatch(
        r"freshet: the broker at \S+ lacks .*nobody-made-these.events.*run `freshet topics --create`", line
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = 1", "defines 0 models; a model file defines exactly one"),
        ("def", r"MODEL:1: is not Python: "),
        (
            "from learners import number\n\nnumber('commerce.order.pricetotal')",
            r"MODEL:3: .*did you mean commerce.order.p",
        ),
        ("import nothing_of_that_name", r"MODEL:1: ModuleNotFoundError: "),
    ],
)
def test_a_wrong_model_file_is_one_line(freshet: Freshet, tmp_path: Path, text: str, says: str) -> None:
    """It says in which line, before any broker is looked for."""
    path = tmp_path / "mine.py"
    path.write_text(text)
    done = freshet("worker", "learner", "--model", str(path))

    assert done.returncode == 78
    (line,) = done.stderr.strip().splitlines()
    assert re.search(says.replace("MODEL", re.escape(str(path))), line)


def test_topics_are_listed_and_made(freshet: Freshet, kafka: str) -> None:
    """Listed as missing, made once, listed as there."""
    env = {"KAFKA_BOOTSTRAP": kafka, "FRESHET_TOPIC_PREFIX": "test-topics."}
    before, made, again, after = (
        freshet("topics", **env),
        freshet("topics", "--create", "--partitions", "2", **env),
        freshet("topics", "--create", **env),
        freshet("topics", **env),
    )

    assert before.stdout.count(" missing\n") == len(TABLE)
    assert all(f"test-topics.{topic.name}" in made.stdout for topic in TABLE)
    assert again.stdout == "all topics are there\n"
    assert after.stdout.count(" there\n") == len(TABLE)


def test_the_table_of_topics_in_the_docs_is_the_one_in_code() -> None:
    """Names, values and writers, row by row."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    in_docs = {row[0]: (row[1], row[2], row[4]) for row in rows if len(row) == 5}

    assert in_docs == {topic.name: (topic.key, topic.schema, topic.writer) for topic in TABLE}


@pytest.mark.parametrize("module", ["scoring", "schemas", "streams.edge", "streams.cli.edge"])
def test_an_edge_carries_none_of_the_heavy_four(module: str) -> None:
    """Nor does importing what it is made of, submodules included."""
    code = (
        f"import importlib, pkgutil, sys; m = importlib.import_module({module!r});"
        "below = pkgutil.walk_packages(getattr(m, '__path__', []), m.__name__ + '.');"
        "[importlib.import_module(each.name) for each in below];"
        "print([name for name in ('faust', 'river', 'sklearn', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"

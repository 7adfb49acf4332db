"""Every record that comes in is somewhere, once; and where one is not, somebody is told."""

from __future__ import annotations

import logging
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.books import Books
from streams.broker.ports import free_ports
from streams.cli.status import BROKEN_EXIT_CODE, command
from streams.law import Alarm, Balance, Intake
from streams.partition import Partition
from streams.simulator import Simulator
from tests.streams.installation import ROOT, Installation
from tests.streams.test_partition import READER, STEPS, Step, chunks, log_of


def chunk(records: list[ConsumerRecord], start: int) -> Any:
    """What the transport delivers of records that follow `start`."""
    return SimpleNamespace(value=records, start=start, stop=records[-1].offset + 1)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, cuts=st.lists(st.integers(0, 30), max_size=12), again=st.integers(0, 3), first=st.integers(0, 9))
def test_every_offset_is_in_exactly_one_part(steps: list[Step], cuts: list[int], again: int, first: int) -> None:
    """However the log is cut into chunks, wherever it begins, whatever gaps it has, and if chunks come twice."""
    state, intake = Partition(READER), Intake(-1)
    delivered = [each for each in chunks([r for r in log_of(steps) if r.offset >= first], cuts) if each]
    start = delivered[0][0].offset if delivered else 0
    for place, records in enumerate(delivered):
        for each in delivered[max(0, place - again) : place + 1]:  # those before it are delivered again
            state.counts.gaps += intake.add(chunk(each, min(start, each[0].offset)))
            state.number(len(state.take(each).closed))
        start = records[-1].offset + 1

    join = state.join
    assert intake.through == start == sum(state.counts.parts.values())
    assert state.counts.parts["scored"] == join.positive + join.negative + sum(1 for _ in join.pendings)
    assert state.seq == join.positive + join.negative


def test_a_swallowed_record_is_missed() -> None:
    """What is counted where records arrive does not depend on who handles them."""
    records = log_of([Step("web.webpagedetails.pageViews", 1000, "a")] * 5)
    state, intake = Partition(READER), Intake(-1)
    state.counts.gaps += intake.add(chunk(records, 0))
    state.take([*records[:2], *records[3:]])

    assert Balance("events", 0, intake.through, state.counts.parts).difference == 1


def test_an_alarm_is_raised_once_it_lasts_and_told_once_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A moment's difference is none; one that lasts is told with its parts, not every second, and again later."""
    right, wrong = Balance("events", 2, 5, {"scored": 5}), Balance("events", 2, 5, {"scored": 3, "dead": 1})
    alarm = Alarm("clicks", patience_s=60)
    with caplog.at_level(logging.ERROR):
        assert alarm.look([wrong], 0) == alarm.look([wrong], 59) == alarm.look([right], 59.5) == []
        assert alarm.look([wrong], 60) == alarm.look([wrong], 119) == []
        assert not caplog.records
        told = [len(caplog.records) for at_s in (120, 121, 179, 180) if alarm.look([wrong], at_s) == [wrong]]

    assert told == [1, 1, 1, 2]
    assert caplog.messages[0] == (
        "conservation_broken model=clicks law=events partition=2 difference=1 for_s=60: came=5 scored=3 dead=1"
    )


def test_books_are_not_struck_more_often_than_they_cost() -> None:
    """A count of a million pendings takes its time, and is taken so much less often."""
    books = Books("clicks", law_s=60)
    struck: list[float] = []

    def slowly() -> list[Balance]:
        struck.append(now_s)
        time.sleep(0.02)
        return []

    for now_s in (0.0, 0.5, 1.5, 1.9, 1000.0):
        books.strike(slowly, now_s)

    assert struck == [0.0, 1000.0]  # 0.02 s of counting buy 2 s of peace


# Imported by Python at the start of each worker: a bug that loses one record without a trace.
SWALLOWING = """
from streams.partition import Partition
event = Partition._event

def _event(self, record, taken):
    if record.offset != 7:
        event(self, record, taken)

Partition._event = _event
"""
MODEL = """
from river import compose, linear_model, preprocessing
from learners import Model, count, event_type, every, happens

model = Model(
    name="leaky",
    applies_to=event_type("web.webpagedetails.pageViews", "commerce.productViews"),
    features=[count("web.webpagedetails.pageViews", within="1m")],
    outcome=happens("commerce.purchases", within="5m"),
    learner=preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    release=every("1s"),
)
"""


def test_a_worker_that_loses_a_record_says_so(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its log, in its metrics, and to `freshet status`, which asks nobody but Kafka."""
    (tmp_path / "sitecustomize.py").write_text(SWALLOWING)
    (tmp_path / "leaky.py").write_text(MODEL)
    installation = Installation(kafka, tmp_path / "leaky.py", tmp_path, partitions=1)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("FRESHET_TOPIC_PREFIX", installation.cluster.prefix)
    (port,) = free_ports(1)
    log = tmp_path / "scorer.log"
    try:
        installation.start("learner")
        installation.start(
            "scorer",
            PYTHONPATH=f"{tmp_path}:{ROOT}", FRESHET_WORKER_PORT=str(port), FRESHET_ALARM_AFTER_S="1",
        )  # fmt: skip
        installation.wait(lambda: bool(installation.releases()), "version 0")
        before = CliRunner().invoke(command)
        installation.feed([value for _, value in Simulator(seed=2).payloads(300)])
        installation.wait(lambda: "conservation_broken" in log.read_text(), "the alarm")
        metrics = served(port, "/metrics")
        ready = served(port, "/ready")
        assert [0, 0] == [installation.stop("scorer"), installation.stop("learner")]
        after = CliRunner().invoke(command)
        as_json = CliRunner().invoke(command, ["--json", "--model", "leaky"])
    finally:
        installation.stop_all()

    assert "conservation_broken model=leaky law=events partition=0 difference=1" in log.read_text()
    assert 'freshet_conservation_difference{law="events",model="leaky",partition="0"} 1.0' in metrics
    assert 'freshet_conservation_broken{law="events",model="leaky",partition="0"} 1.0' in metrics
    assert 'freshet_conservation_broken{law="pendings",model="leaky",partition="0"} 0.0' in metrics
    assert 'freshet_came_total{law="events",model="leaky",partition="0"} 301.0' in metrics
    assert '{"ready":true}' == ready
    assert before.exit_code == 0, before.output
    assert after.exit_code == as_json.exit_code == BROKEN_EXIT_CODE, after.output
    assert "events +1" in after.output
    assert '"differences":{"events":1}' in as_json.output
    assert '"lag":0' in as_json.output


def served(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()

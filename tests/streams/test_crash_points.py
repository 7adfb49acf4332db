"""A death at any named point loses nothing and teaches nothing twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from learners.state import encode_state
from schemas.records import Example, Source, encode, score_id
from streams import crash_points
from streams.partition import Partition
from streams.topics import EVENTS, EXAMPLES
from tests.streams.installation import ROOT, Installation, as_facts
from tests.streams.test_main_job import journaled_training, settle, values

MODEL = ROOT / "examples" / "purchase_propensity.py"
KILLED = -9
# Small parts, so that an ordinary entry has some; entries dropped at once, so that they are at all; a fixed member, so
# that no death costs a session timeout.
SETTINGS = {
    "FRESHET_JOURNAL_PART_BYTES": "2000",
    "FRESHET_JOURNAL_DROP_TOGETHER": "1",
    "FRESHET_INSTANCE": "the one",
}
# So that an ordinary entry lies in the object store, and the next owner finds some there.
IN_STORE = {"FRESHET_JOURNAL_INLINE_BYTES": "2000"}

SCORER = (
    "journal.before_fence",
    "journal.after_fence",
    "takeover.after_restore",
    "scorer.after_decision",
    "scorer.after_score",
    "scorer.after_send:2",
    "settle.before_sent",
    "settle.after_sent",
    "journal.after_object:2",
    "journal.after_part:2",
    "journal.before_drop",
    "journal.after_drop",
    "settle.after_journal",
    "settle.after_ack:2",
    "swap.before_load",
    "swap.after_load",
    "swap.after_swap",
)
# What it shares with the scorer is tried there.
LEARNER = (
    "takeover.after_restore",
    "learner.after_learning",
    "settle.after_journal",
    "release.before_export",
    "release.after_judgement",
    "release.before_alias",
    "release.after_alias",
)
LETTING_GO = ("revoke.before_settle", "revoke.after_settle")


@pytest.fixture
def installation(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("FRESHET_OBJECT_STORE", (tmp_path / "objects").as_uri())
    installation = Installation(kafka, MODEL, tmp_path)
    yield installation
    installation.stop_all()


def settings(point: str) -> dict[str, str]:
    return SETTINGS | IN_STORE if point.startswith("journal.after_object") else SETTINGS


def objects(installation: Installation) -> list[Path]:
    return [path for path in (installation.logs / "objects").rglob("*") if path.is_file()]


def replayed(installation: Installation) -> bytes:
    """The learner that one uninterrupted pass over `examples` gives."""
    return encode_state(installation.replayed_training().learner)


def journaled(installation: Installation) -> bytes:
    """The learner as its newest journal entry has it."""
    return encode_state(journaled_training(installation).learner)


def test_every_point_is_tried() -> None:
    """The table names each point in the code once, and these tests try each."""
    tried = {point.partition(":")[0] for point in (*SCORER, *LEARNER, *LETTING_GO)}
    called = {
        name
        for path in (ROOT / "streams").rglob("*.py")
        for name in re.findall(r'crash_point\("([a-z_.]+)"\)', path.read_text())
    }

    assert called == tried == set(crash_points.NAMES)
    assert len(crash_points.NAMES) == len(called) >= 20


@pytest.mark.timeout(240)
def test_a_scorer_that_dies_at_each_point_scores_and_joins_as_one_that_lived(installation: Installation) -> None:
    """One death after another while events come: every event has its score, and the examples are those of the log."""
    installation.start("learner")
    installation.wait(lambda: bool(installation.releases()), "version 0")
    events = values(seed=21, count=150 * len(SCORER) + 1)
    for place, point in enumerate(SCORER):
        installation.feed(events[place * 150 : (place + 1) * 150], close=False)
        installation.start("scorer", FRESHET_CRASH_POINT=point, **settings(point))
        installation.dies("scorer")
        assert point != "journal.after_object:2" or len(objects(installation)) >= 2
    installation.feed(events[-1:])
    installation.start("scorer", **SETTINGS)
    expected = settle(installation)

    assert expected == as_facts(installation.examples())
    assert {key for key, *_ in expected} == {score.id for score in installation.scores()}
    assert [] == objects(installation)


@pytest.mark.timeout(240)
def test_a_learner_that_dies_at_each_point_learns_as_one_that_lived(installation: Installation) -> None:
    """One death after another while examples come: its state is that of one pass over them, byte for byte."""
    examples = made_examples(installation, count=40 * len(LEARNER))
    for place, point in enumerate(LEARNER):
        installation.put(EXAMPLES, examples[place * 40 : (place + 1) * 40])
        installation.start("learner", FRESHET_CRASH_POINT=point, **settings(point))
        installation.dies("learner")
    installation.start("learner", **SETTINGS)
    installation.wait(
        lambda: journaled_training(installation).scoreboard.examples == len(examples), "all of them learned"
    )

    assert replayed(installation) == journaled(installation)


def made_examples(installation: Installation, count: int) -> list[tuple[bytes, bytes]]:
    """Examples as a scorer of one partition writes them."""
    model = installation.model
    state = Partition(model.reader)
    records = []
    for offset, value in enumerate(values(seed=22, count=3 * count)):
        record = ConsumerRecord(EVENTS, 0, offset, 2**42, 0, None, value, None, 0, 0, ())
        taken = state.take([record])
        for seq, pending in zip(state.number(len(taken.pendings)), taken.pendings, strict=True):
            numbers, categories = model.reader.named(pending.x)
            example = Example(
                id=score_id(model.spec.name, pending.event),
                model=model.spec.name,
                event=pending.event,
                visitor=pending.visitor,
                numbers=numbers,
                categories=categories,
                y=seq % 3 == 0,
                score=0.5,
                version=0,
                event_time=pending.time_ms,
                closed_at=pending.time_ms,
                source=Source(partition=0, seq=seq),
            )
            records.append((model.spec.name.encode(), encode(example)))
    return records[:count]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", LETTING_GO)
def test_a_death_while_letting_go_loses_nothing(installation: Installation, point: str) -> None:
    """SIGTERM, and before or after what is held was made durable, the end."""
    installation.start("learner", FRESHET_CRASH_POINT=point)
    installation.start("scorer", FRESHET_CRASH_POINT=point)
    installation.wait(lambda: bool(installation.releases()), "version 0")
    events = values(seed=23, count=400)
    installation.feed(events[:-1], close=False)
    installation.wait(lambda: len(installation.scores()) > 100, "scores")

    assert (KILLED, KILLED) == (installation.stop("scorer"), installation.stop("learner"))

    installation.start("learner")
    installation.start("scorer")
    installation.feed(events[-1:])
    expected = settle(installation)

    assert expected == as_facts(installation.examples())
    assert replayed(installation) == journaled(installation)

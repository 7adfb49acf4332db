"""The main job on a real broker: nothing lost, nothing learned twice, poison put aside, releases equal to River."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from learners.state import encode_state
from learners.training import Training
from scoring.session import Session
from streams.simulator import Simulator
from streams.topics import DEAD_LETTERS, EVENTS, JOURNAL_LEARNER
from tests.streams.installation import ROOT, Installation, as_facts

MODEL = ROOT / "examples" / "purchase_propensity.py"
EVENTS_SENT = 3000


@pytest.fixture
def installation(kafka: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(kafka, MODEL, tmp_path)
    yield installation
    installation.stop_all()


def values(seed: int, count: int) -> list[bytes]:
    """Simulated events, as bytes."""
    return [value for _, value in Simulator(seed=seed).payloads(count)]


def written(installation: Installation) -> int:
    """How many distinct examples are in `examples`."""
    return len({example.id for example in installation.examples()})


def journaled_training(installation: Installation) -> Training:
    """The learner's state as its newest journal record has it."""
    entries = installation.newest_entries(JOURNAL_LEARNER)
    return Training.restore(installation.model, entries[-1].body) if entries else Training(installation.model)


def settle(installation: Installation) -> set[tuple[object, ...]]:
    """Wait until every label is known and learned; return what an uninterrupted pass over the log gives."""
    expected = installation.expected_examples()
    installation.wait(lambda: written(installation) == len(expected), f"{len(expected)} examples")
    installation.wait(
        lambda: journaled_training(installation).scoreboard.examples == len(expected), "all of them learned"
    )
    return expected


@pytest.mark.timeout(170)
def test_killed_workers_lose_nothing_and_learn_nothing_twice(installation: Installation) -> None:
    """After `kill -9` of scorer and learner in mid-run, examples and weights are those of a run left alone."""
    installation.start("learner")
    installation.start("scorer")
    installation.wait(lambda: bool(installation.releases()), "version 0")
    events = values(7, EVENTS_SENT)

    installation.feed(events[: EVENTS_SENT // 2], rate_per_s=1000, close=False)
    installation.kill("scorer")
    installation.kill("learner")
    installation.start("scorer")
    installation.start("learner")
    installation.feed(events[EVENTS_SENT // 2 :], rate_per_s=1000)
    expected = settle(installation)
    codes = [installation.stop("scorer"), installation.stop("learner")]

    assert codes == [0, 0]
    assert expected == as_facts(installation.examples())
    assert EVENTS_SENT == len({record.value for record in installation.records(EVENTS) if not record.headers})
    applicable = {key for key, *_ in expected}
    assert applicable == {score.id for score in installation.scores()}
    replayed = installation.replayed_training()
    journaled = journaled_training(installation)
    assert len(expected) == journaled.scoreboard.examples
    assert encode_state(replayed.learner) == encode_state(journaled.learner)


def test_poison_among_good_records_is_put_aside_untouched(installation: Installation) -> None:
    """Every bad record is in `dead-letters` with its original bytes and why; every good one is scored."""
    good = values(3, 400)
    bad = [
        b"not json",
        b"",
        b'{"_id": 7, "timestamp": "2026-01-01T00:00:00Z"}',
        b'{"_id": "a", "timestamp": "2026-01-01T00:00:00", "identityMap": {"ECID": [{"id": "v"}]}}',
        b'{"_id": "b", "timestamp": "2126-01-01T00:00:00Z", "identityMap": {"ECID": [{"id": "v"}]}}',
        b'{"_id": "c", "timestamp": "2026-01-01T00:00:00Z"}',
        b'{"_id": "d", "timestamp": NaN}',
        b'{"_id": "e", "x": "' + b"y" * 5_000_000 + b'"}',
        b'{"_id": "f", "timestamp": "2026-01-01T00:00:00Z", "identityMap": {"ECID": [{"id": "v"}]},'
        b' "commerce": {"productViews": {"value": 1e999}}}',
    ]
    mixed = list(good)
    for at, value in enumerate(bad):
        mixed.insert(10 + at * 40, value)
    installation.start("learner")
    installation.start("scorer")
    installation.send(b"visitor", None)  # a tombstone
    installation.feed(mixed)
    expected = settle(installation)

    dead = installation.records(DEAD_LETTERS)
    assert Counter([None, *bad]) == Counter(record.value for record in dead)
    assert expected == as_facts(installation.examples())
    for record in dead:
        happened = dict(record.headers)
        assert f"{installation.cluster.prefix}events".encode() == happened["__connect.errors.topic"]
        assert happened["__connect.errors.exception.message"]
    assert [0, 0] == [installation.stop("scorer"), installation.stop("learner")]


def test_released_onnx_scores_as_the_learner_that_was_released(installation: Installation) -> None:
    """Every score equals what the version it names gives for its x, and that is what River gives."""
    installation.start("learner")
    installation.start("scorer")
    installation.wait(lambda: bool(installation.releases()), "version 0")
    installation.feed(values(5, 1500), rate_per_s=300)
    settle(installation)

    releases = {release.version: release for release in installation.releases()}
    examples = installation.examples()
    assert len({example.version for example in examples}) > 1
    worst = 0.0
    for version in {example.version for example in examples}:
        release = releases[version]
        session = Session(release)
        river = installation.replayed_training(release.learned_through.offset).learner
        of_version = [example for example in examples if example.version == version]
        rows = [installation.model.reader.in_order(e.numbers, e.categories) for e in of_version]
        for example, again in zip(of_version, session.score(rows), strict=True):
            worst = max(worst, abs(example.score - again), abs(again - river.predict_proba_one(example.x)[True]))
    assert worst <= 1e-9


QUICK_MODEL = """
from river import compose, linear_model, preprocessing
from learners import Model, count, event_type, every, happens

model = Model(
    name="quick",
    applies_to=event_type("web.webpagedetails.pageViews"),
    features=[count("web.webpagedetails.pageViews", within="1m")],
    outcome=happens("commerce.purchases", within="5s"),
    learner=(compose.SelectType(float) | preprocessing.StandardScaler()) | linear_model.LogisticRegression(),
    release=every("1s"),
    lateness="1s",
)
"""


def test_a_partition_that_falls_silent_lets_its_labels_close(kafka: str, tmp_path: Path) -> None:
    """Where nothing happens the owner appends the time that passed, and pendings close by that record."""
    path = tmp_path / "quick.py"
    path.write_text(QUICK_MODEL)
    installation = Installation(kafka, path, tmp_path, partitions=1)
    try:
        installation.start("learner")
        installation.start("scorer")
        installation.feed(values(1, 40), close=False)
        installation.wait(lambda: any(record.headers for record in installation.records(EVENTS)), "a tick")
        expected = settle(installation)
    finally:
        installation.stop_all()

    applicable = {score.id for score in installation.scores()}
    assert applicable == {key for key, *_ in expected}

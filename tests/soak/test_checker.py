"""The checker finds nothing in a clean run, and whatever is wrong by name: a check that cannot fail proves nothing."""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord

from learners.training import Training
from schemas.records import Example, Release, Score, Source, decode, encode
from streams.dead_letters import PREFIX
from streams.replay import key_of
from streams.simulator import Simulator
from streams.topics import DEAD_LETTERS, EVENTS, EXAMPLES, RELEASES, SCORES
from tests.soak.checker import Checker, KafkaLog, Log, Verdict, check, main, name_of, newest_training, produced_line
from tests.streams.installation import ROOT, Installation

MODEL = ROOT / "examples" / "purchase_propensity.py"
SENT = 500

Records = list[ConsumerRecord]


class Kept:
    """What a log held, in memory, where a test can change it."""

    def __init__(self, log: Log, topics: dict[tuple[str, int], Records], training: Training | None) -> None:
        self.cluster, self.model = log.cluster, log.model
        self.topics = topics
        self.journaled = training
        self.committed: dict[str, tuple[int, int]] = {}

    async def partitions(self, topic: str) -> list[int]:
        return [partition for name, partition in self.topics if name == topic]

    async def chunks(self, topic: str, partition: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        records = self.topics[topic, partition]
        for start in range(0, len(records), 100):
            yield records[start : start + 100]

    async def training(self) -> Training | None:
        return self.journaled

    async def offsets(self) -> dict[str, tuple[int, int]]:
        return self.committed


async def kept(log: Log) -> Kept:
    topics: dict[tuple[str, int], Records] = {}
    for topic in (EVENTS, SCORES, EXAMPLES, DEAD_LETTERS, RELEASES):
        for partition in await log.partitions(topic):
            topics[topic, partition] = [record async for chunk in log.chunks(topic, partition) for record in chunk]
    copied = Kept(log, topics, await log.training())
    copied.committed = await log.offsets()
    return copied


class Run:
    """A run of both workers, at its end."""

    def __init__(self, installation: Installation, produced: Path) -> None:
        self.cluster, self.model, self.produced = installation.cluster, installation.model, produced
        self.log = asyncio.run(kept(KafkaLog(installation.cluster, installation.model)))

    def tampered(self) -> Kept:
        """What was in the topics, to be changed."""
        changed = Kept(self.log, {place: list(records) for place, records in self.log.topics.items()}, None)
        changed.journaled, changed.committed = self.log.journaled, dict(self.log.committed)
        return changed

    def verdict(self, log: Log) -> Verdict:
        return asyncio.run(Checker(log, self.produced).verdict())


@pytest.fixture(scope="module")
def run(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("checked")
    installation = Installation(kafka, MODEL, folder)
    values = [value for _, value in Simulator(seed=11, bad_every=20).payloads(SENT)]
    values[300:300] = values[290:292]  # sent twice
    (folder / "produced.jsonl").write_bytes(b"".join(produced_line(key_of(value), value) for value in values))
    try:
        installation.start("learner")
        installation.start("scorer")
        installation.wait(lambda: bool(installation.releases()), "version 0")
        installation.feed(values)
        expected = installation.expected_examples()
        installation.wait(lambda: learned(installation) == len(expected), f"{len(expected)} examples learned")
        assert [0, 0] == [installation.stop("scorer"), installation.stop("learner")]
        yield Run(installation, folder / "produced.jsonl")
    finally:
        installation.stop_all()


def learned(installation: Installation) -> int:
    training = asyncio.run(newest_training(installation.cluster, installation.model))
    return 0 if training is None else training.scoreboard.examples


def place_of(log: Kept, topic: str, which: Callable[[ConsumerRecord], bool]) -> tuple[Records, int]:
    """Where a record lies: the first that is asked for, past the middle of its partition where there are so many."""
    for (name, _), records in log.topics.items():
        for at in [*range(len(records) // 2, len(records)), *range(len(records) // 2)] if name == topic else ():
            if which(records[at]):
                return records, at
    raise LookupError(topic)


def any_record(_: ConsumerRecord) -> bool:
    return True


# --- nothing is wrong -------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_clean_run(run: Run) -> None:
    """Read from the broker: all is there, and every count is that of what was sent."""
    verdict = check(run.cluster, run.model, run.produced)

    assert verdict.ok, verdict.as_json()
    assert SENT + 2 == verdict.read["produced"] == verdict.read["events"]
    assert verdict.read["scores"] == verdict.read["examples"] > SENT // 2
    assert verdict.read["dead letters"] > SENT // 40
    assert verdict.read["releases"] > 1
    assert 64 == len(verdict.learner_sha256)


def test_the_verdict_is_a_line_of_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """For a soak that runs the checker as a process: exit code 0, and the figures."""
    where = ["--bootstrap", run.cluster.bootstrap, "--prefix", run.cluster.prefix, "--model", str(MODEL)]
    code = main([*where, "--produced", str(run.produced)])
    told = json.loads(capsys.readouterr().out)

    assert (0, True) == (code, told["ok"])
    assert {"count": 0, "first": []} == told["lost"]


def test_a_repeat_that_is_allowed_is_no_offence(run: Run) -> None:
    """At least once: scores, dead letters and examples again with the same number, as a recovered worker sends them."""
    log = run.tampered()
    for topic in (SCORES, DEAD_LETTERS, EXAMPLES):
        records, at = place_of(log, topic, any_record)
        records.append(records[at])
    verdict = run.verdict(log)

    assert verdict.ok, verdict.as_json()
    assert 1 == verdict.read["examples repeated"]


# --- something is wrong -----------------------------------------------------------------------------------------------


def test_an_event_dropped_is_lost(run: Run) -> None:
    """The producer sent it, the topic does not hold it; and its score is a score of nothing."""
    log = run.tampered()
    records, at = place_of(log, EVENTS, lambda record: scored(log, record))
    name = name_of(records.pop(at).value)
    verdict = run.verdict(log)

    assert f"{EVENTS} {name}" in verdict.lost.first
    assert f"{SCORES} {name}" in verdict.foreign.first


def scored(log: Kept, record: ConsumerRecord) -> bool:
    name = name_of(record.value)
    return any(
        name == decode(Score, each.value).event
        for (topic, _), records in log.topics.items()
        if topic == SCORES
        for each in records
    )


def test_an_event_altered_is_named(run: Run) -> None:
    """One byte of its value."""
    log = run.tampered()
    records, at = place_of(log, EVENTS, lambda record: scored(log, record))
    name, value = name_of(records[at].value), records[at].value
    records[at] = replace(records[at], value=value[:-1] + b" }")
    verdict = run.verdict(log)

    assert {"altered"} == set(verdict.wrong)
    assert (f"{EVENTS} {name}",) == verdict.altered.first


def test_an_event_doubled_is_named(run: Run) -> None:
    """Sent once, there twice: so late that it is scored again, which makes no second example."""
    log = run.tampered()
    records, at = place_of(log, EVENTS, lambda record: scored(log, record))
    records.append(replace(records[at], offset=records[-1].offset + 1))
    verdict = run.verdict(log)

    assert {"doubled"} == set(verdict.wrong), verdict.as_json()
    assert (f"{EVENTS} {name_of(records[at].value)}",) == verdict.doubled.first


def test_a_score_lost_is_named(run: Run) -> None:
    """An event that the model applies to, without a score."""
    log = run.tampered()
    records, at = place_of(log, SCORES, any_record)
    name = decode(Score, records.pop(at).value).event
    verdict = run.verdict(log)

    assert {"lost"} == set(verdict.wrong)
    assert (1, (f"{SCORES} {name}",)) == (verdict.lost.count, verdict.lost.first)


def test_an_example_doubled_is_named(run: Run) -> None:
    """Under a number of its own no learner can know it for a repeat."""
    log = run.tampered()
    records, at = place_of(log, EXAMPLES, any_record)
    example = decode(Example, records[at].value)
    seq = 1 + max(seq_of(record) for record in records if decode(Example, record.value).source.partition == 0)
    again = msgspec.structs.replace(example, source=Source(partition=0, seq=seq))
    records.append(replace(records[-1], offset=records[-1].offset + 1, value=encode(again)))
    verdict = run.verdict(log)

    assert {"doubled", "unlearned"} == set(verdict.wrong)
    assert (f"{EXAMPLES} {example.event}",) == verdict.doubled.first


def seq_of(record: ConsumerRecord) -> int:
    return decode(Example, record.value).source.seq


def test_an_example_learned_twice_is_seen_in_the_learner(run: Run) -> None:
    """Though the topic is as it should be."""
    log = run.tampered()
    records, at = place_of(log, EXAMPLES, any_record)
    assert log.journaled is not None
    log.journaled = copy.deepcopy(log.journaled)
    log.journaled.learn(records[at].offset, decode(Example, records[at].value), None)
    verdict = run.verdict(log)

    assert {"unlearned"} == set(verdict.wrong)


def test_an_example_lost_is_named(run: Run) -> None:
    """And the gap in its partition's numbers, and the learner that has learned it."""
    log = run.tampered()
    records, at = place_of(log, EXAMPLES, any_record)
    example = decode(Example, records.pop(at).value)
    verdict = run.verdict(log)

    assert {"lost", "misnumbered", "unlearned"} == set(verdict.wrong)
    assert (f"{EXAMPLES} {example.event}",) == verdict.lost.first
    assert (f"{EXAMPLES} {example.source.partition}/{example.source.seq} is missing",) == verdict.misnumbered.first


@pytest.mark.parametrize("field", ["numbers", "y"])
def test_an_example_altered_is_named(run: Run, field: str) -> None:
    """Its label, or a feature in the last bit."""
    log = run.tampered()
    records, at = place_of(log, EXAMPLES, lambda record: any(decode(Example, record.value).numbers.values()))
    example = decode(Example, records[at].value)
    numbers = {name: math.nextafter(value, 1e9) for name, value in example.numbers.items()}
    changed: Any = {"numbers": numbers} if field == "numbers" else {"y": not example.y}
    records[at] = replace(records[at], value=encode(msgspec.structs.replace(example, **changed)))
    verdict = run.verdict(log)

    assert (f"{EXAMPLES} {example.event}",) == verdict.altered.first
    assert "lost" not in verdict.wrong


def test_a_repeat_that_differs_is_named(run: Run) -> None:
    """The same number, closed at another moment: a log has one order only."""
    example, told = with_a_repeat(run, closed_at=1)

    assert {"altered"} == set(told.wrong)
    assert (f"{EXAMPLES} {example.event}",) == told.altered.first


def test_a_repeat_that_another_version_has_scored_is_no_offence(run: Run) -> None:
    """Its event was scored after the last journal entry, and so scored again after a crash."""
    _, told = with_a_repeat(run, version=99, score=0.25)

    assert told.ok, told.as_json()


def with_a_repeat(run: Run, **changed: Any) -> tuple[Example, Verdict]:
    log = run.tampered()
    records, at = place_of(log, EXAMPLES, any_record)
    example = decode(Example, records[at].value)
    other = msgspec.structs.replace(example, **changed)
    records.append(replace(records[-1], offset=records[-1].offset + 1, value=encode(other)))
    return example, run.verdict(log)


def test_a_weight_changed_in_the_last_bit_is_seen(run: Run) -> None:
    """Both digests are told."""
    log = run.tampered()
    log.journaled = copy.deepcopy(log.journaled)
    weights = log.journaled.learner["LogisticRegression"]._weights  # type: ignore[union-attr]
    name = next(iter(weights))
    weights[name] = math.nextafter(weights[name], math.inf)
    verdict = run.verdict(log)

    assert {"unlearned"} == set(verdict.wrong)
    assert verdict.learner_sha256 in verdict.unlearned.first[0]


@pytest.mark.parametrize("part", ["value", "key", "header", "missing header"])
def test_a_dead_letter_altered_is_named(run: Run, part: str) -> None:
    """By the record that it was: a byte more, another key, another reason, or one header less."""
    log = run.tampered()
    records, at = place_of(log, DEAD_LETTERS, lambda record: record.value is not None)
    letter = records[at]
    headers = dict(letter.headers)
    changed: Any = {
        "value": {"value": letter.value + b" "},
        "key": {"key": b"another"},
        "header": {"headers": tuple((headers | {PREFIX + "stage": b"?"}).items())},
        "missing header": {"headers": tuple(each for each in letter.headers if not each[0].endswith("message"))},
    }[part]
    records[at] = replace(letter, **changed)
    verdict = run.verdict(log)

    where = "/".join(headers[PREFIX + name].decode() for name in ("topic", "partition", "offset"))
    assert {"altered"} == set(verdict.wrong)
    assert (f"{DEAD_LETTERS} {where}",) == verdict.altered.first


def test_a_dead_letter_lost_is_named(run: Run) -> None:
    """By the record that should be there."""
    log = run.tampered()
    records, at = place_of(log, DEAD_LETTERS, any_record)
    headers = dict(records.pop(at).headers)
    verdict = run.verdict(log)

    where = "/".join(headers[PREFIX + name].decode() for name in ("topic", "partition", "offset"))
    assert {"lost"} == set(verdict.wrong)
    assert (f"{DEAD_LETTERS} {where}",) == verdict.lost.first


def test_a_release_altered_is_named(run: Run) -> None:
    """The graph is not the one whose digest it states."""
    log = run.tampered()
    records, at = place_of(log, RELEASES, any_record)
    release = decode(Release, records[at].value)
    records[at] = replace(records[at], value=encode(msgspec.structs.replace(release, onnx=release.onnx + b"\0")))
    verdict = run.verdict(log)

    assert (f"{RELEASES} {release.model}/{release.version}",) == verdict.altered.first


def test_an_offset_that_is_behind_is_named(run: Run) -> None:
    """A worker that was stopped before it had acknowledged everything."""
    log = run.tampered()
    where, (_, end) = next(each for each in log.committed.items() if each[1][1])
    log.committed[where] = (end - 1, end)
    verdict = run.verdict(log)

    assert {"behind"} == set(verdict.wrong)
    assert (f"{where} {end - 1} of {end}",) == verdict.behind.first

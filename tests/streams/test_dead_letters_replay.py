"""Dead letters go back as they came, once, and then all is as if there had been no fault."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from click.testing import CliRunner, Result

from learners.join import Closed
from schemas.errors import BrokerError, EventInvalid, Poison
from schemas.features import Spec
from schemas.reader import Event, Reader
from schemas.records import Release
from streams.cli import root
from streams.dead_letters import dead_letter_headers
from streams.dead_letters.headers import replay_of
from streams.dead_letters.letters import Letter, Status, read_letters
from streams.dead_letters.marks import Mark, mark_headers, mark_value
from streams.dead_letters.replay import Refusal, Step, Summary, replay_letters
from streams.partition import Partition
from streams.replay import newest_event_times
from streams.sender import Header, Sender
from streams.simulator import Simulator
from streams.topics import DEAD_LETTERS, EVENTS, EXAMPLES
from tests.scoring.artifacts import event, release
from tests.streams.installation import Installation
from tests.streams.published import released, write

MODEL = """
from river import compose, linear_model, preprocessing
from learners import Model, category, count, event_type, every, happens, number

{fault}

model = Model(
    name="shop",
    applies_to=event_type("web.webpagedetails.pageViews", "commerce.productViews"),
    features=[
        category("placeContext.geo.countryCode"),
        number("commerce.order.priceTotal", least=0, most=1e6),
        count("web.webpagedetails.pageViews", within="10m"),
        count("commerce.productViews", within="10m"),
    ],
    outcome=happens("commerce.purchases", within="10m"),
    learner=(compose.SelectType(float) | preprocessing.StandardScaler()) | linear_model.LogisticRegression(),
    release=every("1s"),
    lateness="10m",
)
"""
# What a worker would run with a release of freshet that refuses what it should take: every fifth event.
FAULT = """
import sys
from schemas.errors import EventInvalid
from schemas.reader import Reader

def refusing(read):
    def refuses(self, value, now_ms):
        event = read(self, value, now_ms)
        if event.id.endswith(("0", "5")):
            raise EventInvalid("_id", "is of a kind that this release refuses")
        return event
    return refuses

Reader.read = refusing(Reader.read)
"""
CLOSING_MS = 3_600_000
THE_DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def installation(kafka: str, tmp_path: Path) -> Iterator[Installation]:
    path = tmp_path / "shop.py"
    path.write_text(MODEL.format(fault=""))
    installation = Installation(kafka, path, tmp_path)
    yield installation
    installation.stop_all()


@pytest.fixture
def freshet(installation: Installation) -> Callable[..., Result]:
    """Runs `freshet dead-letters` on the installation."""

    def run(*argv: str) -> Result:
        env = {
            "KAFKA_BOOTSTRAP": installation.cluster.bootstrap,
            "FRESHET_TOPIC_PREFIX": installation.cluster.prefix,
        }
        return CliRunner().invoke(root, ["dead-letters", *argv], env=env)

    return run


class FaultyReader(Reader):
    """Refuses events until it is told what is right."""

    def __init__(self, spec: Spec, refuses: Callable[[str], bool]) -> None:
        super().__init__(spec)
        self.refuses = refuses

    def read(self, value: bytes | None, now_ms: int) -> Event:
        read = super().read(value, now_ms)
        if self.refuses(read.id):
            raise EventInvalid("_id", "is of a kind that this release refuses")
        return read


class Work:
    """What a scorer does to its partitions' states and to `dead-letters`, called instead of running."""

    def __init__(self, installation: Installation, refuses: Callable[[str], bool] = lambda _: False) -> None:
        self._installation = installation
        self.reader = FaultyReader(installation.model.spec, refuses)
        self.partitions: dict[int, Partition] = {}
        self.closed: list[Closed] = []

    def on(self, records: Sequence[ConsumerRecord]) -> None:
        """Take the records that are new."""
        dead = []
        for record in records:
            state = self.partitions.setdefault(record.partition, Partition(self.reader))
            taken = state.take([record])
            self.closed += taken.closed
            dead += taken.dead
        self.put_aside(dead)

    def put_aside(self, dead: Sequence[tuple[ConsumerRecord, Poison]]) -> None:
        """Write dead letters, in the partitions of their records."""
        asyncio.run(self._put_aside(dead))

    async def _put_aside(self, dead: Sequence[tuple[ConsumerRecord, Poison]]) -> None:
        sender = Sender(self._installation.cluster.bootstrap)
        await sender.start()
        topic = self._installation.cluster.topic(DEAD_LETTERS)
        for record, poison in dead:
            headers = dead_letter_headers(record, poison)
            await (await sender.send(topic, record.key, record.value, partition=record.partition, headers=headers))
        await sender.stop()

    def labels(self) -> set[tuple[str, bool]]:
        return {(each.pending.event, each.y) for each in self.closed}

    def examples(self) -> set[tuple[Any, ...]]:
        return {(each.pending.event, repr(each.pending.x), each.y) for each in self.closed}

    def profiles(self) -> dict[tuple[int, str], Any]:
        return {
            (number, visitor): profile.as_row()
            for number, state in self.partitions.items()
            for visitor, profile in state.profiles.items()
        }


def letters_of(installation: Installation) -> list[Letter]:
    return asyncio.run(read_letters(installation.cluster)).all()


def replay(installation: Installation, **options: Any) -> tuple[Summary, list[Step]]:
    steps: list[Step] = []
    letters = letters_of(installation)
    return asyncio.run(replay_letters(installation.cluster, letters, on_step=steps.append, **options)), steps


def produce(installation: Installation, *records: tuple[str, bytes | None, bytes | None, list[Header], int]) -> None:
    """Write records (topic, key, value, headers, timestamp) to partition 1."""

    async def send() -> None:
        sender = Sender(installation.cluster.bootstrap)
        await sender.start()
        for topic, key, value, headers, timestamp_ms in records:
            full = installation.cluster.topic(topic)
            await (await sender.send(full, key, value, partition=1, headers=headers, timestamp_ms=timestamp_ms))
        await sender.stop()

    asyncio.run(send())


def publish(installation: Installation, *releases: Release) -> None:
    """Write releases and the aliases that make them live."""
    cluster = installation.cluster
    asyncio.run(write(cluster.bootstrap, [record for each in releases for record in released(cluster, each)]))


def as_produced(records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
    """A log without what was replayed into it."""
    return [record for record in records if not replay_of(record.headers)]


def an_event(**fields: Any) -> bytes:
    return json.dumps(event(**fields)).encode()


NOON_MS = 1_767_268_800_000


@pytest.mark.parametrize("fault", ["some", "all from then on"])
def test_after_a_fix_all_is_as_without_the_fault(installation: Installation, fault: str) -> None:
    """Labels and profiles, and every x where the log has the same order; the CLI's defaults, two partitions."""
    events = [value for _, value in Simulator(seed=11).payloads(900)]
    broken_from = 600
    ids = {json.loads(value)["_id"] for value in events[broken_from:]}
    refuses = (lambda each: each.endswith(("0", "5"))) if fault == "some" else ids.__contains__
    installation.feed(events, close=False)
    log = installation.records(EVENTS)
    undisturbed = Work(installation)
    undisturbed.on(log)
    work = Work(installation, refuses)
    work.on(log)
    dead = len(letters_of(installation))
    before = work.profiles()

    work.reader.refuses = lambda _: False  # the fix
    summary, _ = replay(installation, rate_per_s=0)
    work.on(installation.records(EVENTS))
    again, _ = replay(installation)
    installation.feed([an_event(timestamp="2026-01-02T00:00:00Z")])
    after = installation.records(EVENTS)
    work.on(after)
    undisturbed.on(as_produced(after))

    assert dead == len(ids) if fault != "some" else 120 < dead < 240
    assert before != undisturbed.profiles()
    assert (dead, 0) == (summary.replayed, sum(summary.refused.values()))
    assert (0, dead) == (again.replayed, again.before)
    assert undisturbed.labels() == work.labels()
    assert undisturbed.profiles() == work.profiles()
    if fault != "some":
        assert undisturbed.examples() == work.examples()


def test_a_record_goes_back_as_it_was(installation: Installation) -> None:
    """Partition, key, bytes, own headers and timestamp; beside them the attempt and where it lay."""
    value = an_event()
    produce(
        installation,
        (EVENTS, b"another's key", value, [("traceparent", b"00-1")], NOON_MS),
        (EVENTS, None, value.replace(b"e-1", b"e-2"), [], NOON_MS + 7),
    )
    work = Work(installation, lambda _: True)
    work.on(installation.records(EVENTS))
    summary, _ = replay(installation)

    first, second, one, two = installation.records(EVENTS)
    assert 2 == summary.replayed
    for original, back in ((first, one), (second, two)):
        for name in ("partition", "key", "value", "timestamp"):
            assert getattr(original, name) == getattr(back, name)
        origin = f"{installation.cluster.topic(EVENTS)}/1/{original.offset}".encode()
        assert (*original.headers, ("freshet.attempt", b"2"), ("freshet.replay-of", origin)) == back.headers


def test_a_dry_run_sends_nothing_and_tells_everything(
    installation: Installation, freshet: Callable[..., Result]
) -> None:
    """Not even a mark; the exit code is that of a replay."""
    produce(
        installation,
        (EVENTS, b"v", an_event(), [], NOON_MS),
        (EVENTS, b"v", b"not json", [], NOON_MS),
        (EXAMPLES, b"shop", b"not an example", [], NOON_MS),
    )
    work = Work(installation, lambda _: True)
    work.on(installation.records(EVENTS))
    (example,) = installation.records(EXAMPLES)
    work.put_aside([(example, Poison("decode", "not an example"))])
    before = [len(installation.records(topic)) for topic in (EVENTS, DEAD_LETTERS)]
    done = freshet("replay", "--dry-run")
    none = freshet("replay", "--dry-run", "--filter", "error~nothing of that kind")

    assert before == [len(installation.records(topic)) for topic in (EVENTS, DEAD_LETTERS)]
    events = installation.cluster.topic(EVENTS)
    assert f"1/0  -> {events}/1  key v, {len(an_event())} bytes, attempt 2\n" in done.stdout
    assert "1/1  refused: would fail again (decode: not a JSON event: " in done.stdout
    assert "1/2  refused: is an example: the learner has gone past its number" in done.stdout
    assert "1 would be replayed, 2 refused, 0 replayed before\n" in done.stdout
    assert (3, 0) == (done.exit_code, none.exit_code)
    assert none.stdout == "0 would be replayed, 0 refused, 0 replayed before\n"


def test_what_fails_again_and_again_is_refused(installation: Installation) -> None:
    """Each replay counts; after three failures it takes a person to say so."""
    produce(installation, (EVENTS, b"v", an_event(), [], NOON_MS))
    work = Work(installation, lambda _: True)
    came_to = []
    for _ in range(4):
        work.on(installation.records(EVENTS))
        came_to.append(replay(installation)[0])
    (patient, _) = replay(installation, most_attempts=9)

    assert [1, 1, 0, 0] == [summary.replayed for summary in came_to]
    assert {Refusal.LOOP: 1} == came_to[2].refused == came_to[3].refused
    assert 1 == patient.replayed
    assert [1, 2, 3] == [letter.attempt for letter in letters_of(installation)]
    assert [Status.FAILED_AGAIN, Status.FAILED_AGAIN, Status.REPLAYED] == [
        letter.status for letter in letters_of(installation)
    ]
    assert 4 == len(installation.records(EVENTS))


def test_a_replay_that_was_killed_is_taken_up(installation: Installation) -> None:
    """One letter was sent and not marked as sent, one was to be sent and was not: each is in `events` once."""
    produce(installation, *[(EVENTS, b"v", an_event(_id=f"e-{each}"), [], NOON_MS) for each in range(3)])
    Work(installation, lambda _: True).on(installation.records(EVENTS))
    topic = installation.cluster.topic(EVENTS)
    marks = [mark_value(Mark(f"{topic}/1/{each}", attempt=2, after=3)) for each in range(2)]
    back = [("freshet.attempt", b"2"), ("freshet.replay-of", f"{topic}/1/0".encode())]
    produce(
        installation,
        *[(DEAD_LETTERS, b"v", mark, list(mark_headers()), NOON_MS) for mark in marks],
        (EVENTS, b"v", an_event(_id="e-0"), back, NOON_MS),
    )
    begun = [letter.status for letter in letters_of(installation)]
    dry, _ = replay(installation, dry_run=True)
    summary, _ = replay(installation)
    again, _ = replay(installation)

    assert [Status.SENDING, Status.SENDING, Status.WAITING] == begun
    assert (2, 1) == (dry.replayed, dry.found)
    assert (2, 1) == (summary.replayed, summary.found)
    assert (0, 0, 3) == (again.replayed, again.found, again.before)
    assert ["e-0", "e-1", "e-2", "e-0", "e-1", "e-2"] == [
        json.loads(record.value)["_id"] for record in installation.records(EVENTS)
    ]
    assert [3, 4, 5] == [letter.sent_to for letter in letters_of(installation)]


def test_letters_that_cannot_go_back_are_refused_with_what_to_do(installation: Installation) -> None:
    """Examples, records of other topics, of partitions that are not there; a bad tick."""
    poison = EventInvalid("x", "is odd")
    produce(
        installation,
        (EXAMPLES, b"shop", b"{}", [], NOON_MS),
        (DEAD_LETTERS, b"k", b"v", [], NOON_MS),
        (EVENTS, None, b"tick", [("freshet.tick", b"1")], NOON_MS),
    )
    (example,) = installation.records(EXAMPLES)
    (tick,) = installation.records(EVENTS)
    elsewhere = [("__connect.errors.topic", installation.cluster.topic(EVENTS).encode()),
                 ("__connect.errors.partition", b"77")]  # fmt: skip
    produce(
        installation,
        (DEAD_LETTERS, b"shop", b"{}", dead_letter_headers(example, poison), NOON_MS),
        (DEAD_LETTERS, b"k", b"v", elsewhere, NOON_MS),
        (DEAD_LETTERS, None, b"tick", dead_letter_headers(tick, poison), NOON_MS),
    )
    summary, steps = replay(installation)

    assert {Refusal.EXAMPLE: 1, Refusal.NO_ORIGIN: 2, Refusal.STILL_POISON: 1} == summary.refused
    assert 1 == len(installation.records(EVENTS))
    assert any("give the model a new name" in step.detail for step in steps)


def test_models_say_what_is_late_and_what_would_fail(installation: Installation) -> None:
    """By their newest releases: an event later than the lateness gets no label; beyond all bounds it stays away."""
    cluster = installation.cluster
    spec = installation.model.spec
    wide = Spec.from_json(spec.to_json().replace('"shop"', '"wide"').replace("1000000.0", "9000000.0"))
    publish(installation, release(0, spec=spec), release(0, spec=wide))
    dear, dearest = ({"order": {"priceTotal": price}} for price in (5e6, 5e7))
    produce(
        installation,
        (EVENTS, b"v", an_event(_id="in-time", timestamp="2026-01-01T11:55:00Z"), [], NOON_MS),
        (EVENTS, b"v", an_event(_id="late", timestamp="2026-01-01T11:45:00Z"), [], NOON_MS),
        (EVENTS, b"v", an_event(_id="dear", timestamp="2026-01-01T11:45:00Z", commerce=dear), [], NOON_MS),
        (EVENTS, b"v", an_event(_id="dearest", commerce=dearest), [], NOON_MS),
    )
    Work(installation, lambda _: True).on(installation.records(EVENTS))
    produce(installation, (EVENTS, b"v", an_event(_id="newest", timestamp="2026-01-01T12:00:00Z"), [], NOON_MS))
    times = asyncio.run(newest_event_times(cluster))
    summary, steps = replay(installation)

    assert {0: 0, 1: NOON_MS} == times
    assert 3 == summary.replayed
    assert {"shop": 1, "wide": 2} == summary.late
    assert {Refusal.STILL_POISON: 1} == summary.refused
    (refused,) = [step for step in steps if step.refusal]
    assert "commerce.order.priceTotal" in refused.detail


def test_the_rate_is_kept(installation: Installation) -> None:
    """Forty at 40 a second take about a second."""
    produce(installation, *[(EVENTS, b"v", an_event(_id=f"e-{each}"), [], NOON_MS) for each in range(40)])
    Work(installation, lambda _: True).on(installation.records(EVENTS))
    times: list[float] = []

    async def timed() -> None:
        loop = asyncio.get_running_loop()
        letters = (await read_letters(installation.cluster)).all()
        await replay_letters(installation.cluster, letters, rate_per_s=40, on_step=lambda _: times.append(loop.time()))

    asyncio.run(timed())

    assert 40 == len(times)
    assert 0.8 < times[-1] - times[0] < 5


def test_list_and_show_tell_what_is_there(
    installation: Installation, freshet: Callable[..., Result], tmp_path: Path
) -> None:
    """A table with the newest last, counts by kind, JSON lines, one letter in full, its bytes in a file."""
    hostile = b'{"_id": "\xc2\x9b31m"}\xff' + bytes(300)
    produce(
        installation,
        (EVENTS, b"v", an_event(_id="e-1"), [("traceparent", b"00-1")], NOON_MS),
        (EVENTS, b"\x1b[31m\n", hostile, [], NOON_MS),
        (EVENTS, None, None, [], NOON_MS),
    )
    nothing = freshet("list")
    Work(installation, lambda _: True).on(installation.records(EVENTS))
    freshet("replay", "--filter", "key=v")
    listed = freshet("list")
    chosen = freshet("list", "--filter", "stage=decode", "--last", "1")
    lines = [json.loads(line) for line in freshet("list", "--json").stdout.splitlines()]
    good, bad, empty = (freshet("show", f"1/{offset}", "--out", str(tmp_path / "out")) for offset in range(3))
    freshet("show", "1/1", "--out", str(tmp_path / "bytes"))
    missing, mark, wrong = freshet("show", "1/99"), freshet("show", "1/3"), freshet("show", "first")
    odd = freshet("list", "--filter", "state=waiting")

    events = installation.cluster.topic(EVENTS)
    assert nothing.stdout == "no dead letters\n"
    assert [row.split()[0] for row in listed.stdout.splitlines()[:4]] == ["letter", "1/0", "1/1", "1/2"]
    assert "\n3 letters: 2 waiting, 1 replayed\n" in listed.stdout
    assert "      1  validate: _id is of a kind that this release refuses\n" in listed.stdout
    assert "\n2 letters (1 shown): 2 waiting\n" in chosen.stdout
    assert "\x1b" not in listed.stdout + bad.stdout
    assert "\x9b" not in bad.stdout
    assert ["replayed", "waiting", "waiting"] == [line["status"] for line in lines]
    assert ("1/0", events, 1, 0, NOON_MS, 1, 3, "v", len(an_event())) == tuple(
        lines[0][name]
        for name in ("letter", "topic", "partition", "offset", "timestamp", "attempt", "sentTo", "key", "valueBytes")
    )
    for said in ("2026-01-01T12:00:00.000Z", f"replayed, at {events}/1/3", "traceparent: 00-1", '  "_id": "e-1",'):
        assert said in good.stdout
    assert f"00000000  {hostile[:16].hex(' ')}" in bad.stdout
    assert "more bytes; --out FILE writes them all" in bad.stdout
    assert "value      none" in empty.stdout
    assert (tmp_path / "bytes").read_bytes() == hostile
    assert [2, 2, 2, 2] == [done.exit_code for done in (missing, mark, wrong, odd)]
    assert "there is no field state; there are letter, topic" in odd.stderr


@pytest.mark.parametrize("argv", [("list",), ("show", "1/0"), ("replay",)], ids=" ".join)
def test_without_a_broker_it_says_where_one_comes_from(argv: tuple[str, ...]) -> None:
    """What a person does about it."""
    done = CliRunner().invoke(root, ["dead-letters", *argv], env={"KAFKA_BOOTSTRAP": "127.0.0.1:1"})

    assert isinstance(done.exception, BrokerError)
    assert "no Kafka broker answers at 127.0.0.1:1; set KAFKA_BOOTSTRAP" in str(done.exception)


@pytest.mark.timeout(120)
def test_a_faulty_worker_then_a_fixed_one_come_to_what_one_without_fault_does(
    installation: Installation, freshet: Callable[..., Result]
) -> None:
    """Real processes: refused, put aside, replayed into the fixed worker; every event has its score and its label."""
    events = [value for _, value in Simulator(seed=5).payloads(600)]
    refused = sum(json.loads(value)["_id"].endswith(("0", "5")) for value in events)
    publish(installation, release(0, spec=installation.model.spec))
    installation.model_path.write_text(MODEL.format(fault=FAULT))
    installation.start("scorer")
    installation.feed(events, close=False)
    undisturbed = Work(installation)
    undisturbed.on(installation.records(EVENTS))
    installation.wait(lambda: len(letters_of(installation)) == refused, "dead letters")
    faulty = installation.stop("scorer")

    installation.model_path.write_text(MODEL.format(fault=""))
    installation.start("scorer")
    done = freshet("replay")
    installation.feed([an_event(timestamp="2026-01-02T00:00:00Z")])
    undisturbed.on(as_produced(installation.records(EVENTS)))
    expected = {(f"shop/{name}", y) for name, y in undisturbed.labels()}
    installation.wait(lambda: len({each.id for each in installation.examples()}) == len(expected), "all examples")
    fixed = installation.stop("scorer")

    assert (0, 0) == (faulty, fixed)
    assert (0, f"{refused} replayed, 0 refused, 0 replayed before\n") == (done.exit_code, done.stdout)
    assert expected == {(each.id, each.y) for each in installation.examples()}
    assert {name for name, _ in expected} == {score.id for score in installation.scores()}
    assert [Status.REPLAYED] * refused == [letter.status for letter in letters_of(installation)]

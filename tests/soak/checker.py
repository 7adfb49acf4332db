"""Checker: whether an installation has lost, doubled or altered anything, from what lies in its topics.

    python -m tests.soak.checker --bootstrap 127.0.0.1:9092 --prefix soak. --model model.py --produced sent.jsonl

To be run when the workers have stopped. It reads the topics whole and holds them against each other:

    events        once and byte for byte what the producer says it sent, where it says so
    scores        one or more for each event that the model applies to, and for nothing else
    examples      as a set of (id, x, y) those of one offline pass over `events` by `Partition`, which has to agree with
                  the oracle at every chunk; numbered without a gap by each source partition, repeats
                  identical but for the version that scored them again
    dead letters  one or more for each record that is poison: key, value, headers and where it came from
    releases      each version once, with the digest that it states
    the learner   its newest journal record, to the bit, one offline pass over `examples`, repeats dropped
    offsets       of both groups, at the ends

Memory: about 110 bytes an event (two 64-bit digests for each thing that is compared), twice that while they are
compared, beside the state of one partition at a time. Names are looked up in a second reading, and only where something
is wrong. Two of a million records share a digest by chance once in thirty million runs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner

from learners import Model, load_model
from learners.state import encode_state
from learners.training import Training
from schemas.catalog import is_single_object, read_single_object
from schemas.errors import Poison, SchemaUnknown
from schemas.reader import X
from schemas.records import Example, Release, Score, decode, score_id
from schemas.tick import TICK_HEADER
from streams.dead_letters import PREFIX
from streams.dead_letters.marks import read_mark
from streams.journal import Journal
from streams.partition import Partition, Taken
from streams.sender import Sender
from streams.state_key import state_key
from streams.topics import (
    DEAD_LETTERS,
    EVENTS,
    EXAMPLES,
    JOURNAL_LEARNER,
    MIB,
    RELEASES,
    SCORES,
    Cluster,
    partitions_of,
)
from tests.streams.oracle import Oracle, Read, rows_of

SHOWN: Final = 20
_CHUNK: Final = 2000
_FIRST: Final = PREFIX + "topic"
_HAPPENED: Final = ("topic", "partition", "offset", "timestamp", "stage", "exception.class.name", "exception.message")
_BROKEN: Final = (msgspec.DecodeError, SchemaUnknown, EOFError, ValueError, IndexError)


# --- the verdict ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """How often something is wrong, and the first of it by name: `topic id`."""

    count: int = 0
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker found.

    Attributes:
        lost: should be there and is not.
        doubled: is there more often than it should be, so that somebody takes it twice.
        altered: is there with another content.
        foreign: is there and should not be.
        misnumbered: examples whose number is not the one that an offline pass gives them, and gaps.
        disputed: `Partition` and the oracle disagree about the same log.
        unlearned: the learner's journaled state is not that of an offline pass.
        behind: group offsets that are not at the end.
        read: how many records of what were read; repeats that are allowed are among it.
        learner_sha256: of the journaled learner's canonical bytes.
    """

    lost: Found
    doubled: Found
    altered: Found
    foreign: Found
    misnumbered: Found
    disputed: Found
    unlearned: Found
    behind: Found
    read: dict[str, int]
    learner_sha256: str

    @property
    def wrong(self) -> dict[str, Found]:
        """Return what is not as it should be."""
        kinds = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: found for name, found in kinds.items() if isinstance(found, Found) and found.count}

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def as_json(self) -> str:
        """Return the verdict as one line of JSON."""
        return msgspec.json.encode({"ok": self.ok, **msgspec.to_builtins(self)}).decode()


class _Offences:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[tuple[str, int | str]]] = {}

    def add(self, kind: str, topic: str, name: int | str, count: int = 1) -> None:
        self._counts[kind] += count
        first = self._first.setdefault(kind, [])
        if len(first) < SHOWN:
            first.append((topic, name))

    @property
    def nameless(self) -> set[int]:
        return {name for first in self._first.values() for _, name in first if isinstance(name, int)}

    def found(self, kind: str, names: dict[int, str]) -> Found:
        shown = [(topic, names.get(name, f"#{name:016x}") if isinstance(name, int) else name)
                 for topic, name in self._first.get(kind, [])]  # fmt: skip
        return Found(self._counts[kind], tuple(f"{topic} {name}" for topic, name in shown))


# --- many things, compared --------------------------------------------------------------------------------------------


def digest(content: bytes) -> int:
    """Return 64 bits that stand for a content."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


class Bag:
    """Things with a name and a content, as 16 bytes each."""

    def __init__(self) -> None:
        self._names = array("Q")
        self._contents = array("Q")

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: int, content: int) -> None:
        """Add a thing by its digests."""
        self._names.append(name)
        self._contents.append(content)

    def arrays(self, *, unique: bool = False) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return names and contents; of equal contents the first, if `unique`."""
        names, contents = np.array(self._names, np.uint64), np.array(self._contents, np.uint64)
        if unique:
            _, first = np.unique(contents, return_index=True)
            names, contents = names[first], contents[first]
        return names, contents


def differences(expected: Bag, found: Bag, *, repeats: bool) -> Iterator[tuple[str, int, int]]:
    """Yield what is wrong with what was found: kind, name and how often.

    Args:
        expected: what should be there.
        found: what is there.
        repeats: whether a thing may be there more often than expected, always with the same content.

    >>> expected, found = Bag(), Bag()
    >>> for bag, things in ((expected, [(1, 10), (2, 20), (3, 30)]), (found, [(1, 10), (1, 10), (2, 21), (4, 40)])):
    ...     for name, content in things:
    ...         bag.add(name, content)
    >>> sorted(differences(expected, found, repeats=False))
    [('altered', 2, 1), ('doubled', 1, 1), ('foreign', 4, 1), ('lost', 3, 1)]
    """
    # Then neither is counted: an event that is repeated long after it is scored again, under the same id.
    names, contents = expected.arrays(unique=repeats)
    found_names, found_contents = found.arrays(unique=repeats)
    all_names = np.concatenate([names, found_names])
    _, first, of = np.unique(np.concatenate([contents, found_contents]), return_index=True, return_inverse=True)
    balance = np.bincount(of[: len(names)], minlength=len(first)) - np.bincount(of[len(names) :], minlength=len(first))
    missing: Counter[int] = Counter()
    extra: Counter[int] = Counter()
    for place in np.flatnonzero(balance):
        name, by = int(all_names[first[place]]), int(balance[place])
        (missing if by > 0 else extra)[name] += abs(by)
    for name in missing.keys() | extra.keys():
        altered = min(missing[name], extra[name])
        more = "doubled" if missing[name] or np.any(names == np.uint64(name)) else "foreign"
        for kind, count in (("altered", altered), ("lost", missing[name] - altered), (more, extra[name] - altered)):
            if count:
                yield kind, name, count


# --- what is read -----------------------------------------------------------------------------------------------------


class Log(Protocol):
    """What a checker reads: the topics of an installation, its learner's journal, its groups' offsets."""

    cluster: Cluster
    model: Model

    async def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic of the table."""
        ...

    def chunks(self, topic: str, partition: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Yield all records of a partition, in order."""
        ...

    async def training(self) -> Training | None:
        """Return the learner's newest journaled state."""
        ...

    async def offsets(self) -> dict[str, tuple[int, int]]:
        """Return committed offset and end by `group topic/partition`."""
        ...


class KafkaLog:
    """The topics of an installation on a broker."""

    def __init__(self, cluster: Cluster, model: Model) -> None:
        self.cluster = cluster
        self.model = model

    async def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic of the table."""
        return [tp.partition for tp in await partitions_of(self.cluster, topic)]

    async def chunks(self, topic: str, partition: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Yield all records of a partition, in order."""
        tp = TopicPartition(self.cluster.topic(topic), partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.cluster.bootstrap,
            enable_auto_commit=False,
            max_partition_fetch_bytes=17 * MIB,
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < end:
                yield (await consumer.getmany(tp, timeout_ms=200, max_records=_CHUNK)).get(tp, [])
        finally:
            await consumer.stop()

    async def training(self) -> Training | None:
        """Return the learner's newest journaled state."""
        return await newest_training(self.cluster, self.model)

    async def offsets(self) -> dict[str, tuple[int, int]]:
        """Return committed offset and end by `group topic/partition`; nothing was committed where nothing is."""
        name, prefix = self.model.spec.name, self.cluster.prefix
        groups = {f"{prefix}freshet-scorer-{name}": EVENTS, f"{prefix}freshet-learner-{name}": EXAMPLES}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.cluster.bootstrap, enable_auto_commit=False)
        await admin.start()
        await consumer.start()
        try:
            offsets: dict[str, tuple[int, int]] = {}
            for group, topic in groups.items():
                committed = await admin.list_consumer_group_offsets(group)
                ends = await consumer.end_offsets(await partitions_of(self.cluster, topic))
                for tp, end in ends.items():
                    at = committed[tp].offset if tp in committed else 0
                    offsets[f"{group} {tp.topic}/{tp.partition}"] = (max(0, at), end)
            return offsets
        finally:
            await consumer.stop()
            await admin.close()


async def newest_training(cluster: Cluster, model: Model) -> Training | None:
    """Return the training that a learner which takes over would begin with; None where there is none yet."""
    numbers = [tp.partition for tp in await partitions_of(cluster, EXAMPLES)]
    home = int(DefaultPartitioner()(model.spec.name.encode(), numbers, numbers))
    key = f"{model.spec.name}/{home}"
    journal = Journal(cluster, Sender(cluster.bootstrap), JOURNAL_LEARNER, home, key, state_key())
    entries = await journal.newest()
    return Training.restore(model, entries[-1].body) if entries else None


class Produced(msgspec.Struct, frozen=True):
    """A line of what a producer says it sent: the event's name, and the SHA-256 of key and value."""

    name: str
    sha256: str


def produced_line(key: bytes | None, value: bytes | None) -> bytes:
    """Return the line that a producer writes when the broker has acknowledged a record.

    >>> produced_line(b"v", b'{"_id": "e"}')[:13]
    b'{"name":"e","'
    """
    return msgspec.json.encode(Produced(name_of(value), _sha256_of(key, value))) + b"\n"


def name_of(value: bytes | None) -> str:
    """Return an event's `_id`; of a value that has none, its digest."""
    try:
        if value and is_single_object(value):
            return str(read_single_object(value, "experience_event")["_id"])
        event = _named(value or b"")
        event = event.body.entity if event.body is not None else event
        if event is not None and event.name:
            return str(event.name)
    except (*_BROKEN, RecursionError):
        pass  # poison has no name
    return f"sha256:{hashlib.sha256(value or b'').hexdigest()[:16]}"


class _Entity(msgspec.Struct):
    name: str | None = msgspec.field(default=None, name="_id")


class _Body(msgspec.Struct):
    entity: _Entity | None = msgspec.field(default=None, name="xdmEntity")


class _Named(_Entity):
    body: _Body | None = None


_named: Final[Any] = msgspec.json.Decoder(_Named).decode


def _sha256_of(key: bytes | None, value: bytes | None) -> str:
    return hashlib.sha256(b"".join(_framed([key, value]))).hexdigest()


def _framed(pieces: Iterable[bytes | None]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"-" if piece is None else b"%d:" % len(piece) + piece


def _is_tick(record: ConsumerRecord) -> bool:
    return any(name == TICK_HEADER for name, _ in record.headers)


# --- the checker ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Source:
    """What the log of one events partition should have led to in `examples`, and what is there."""

    expected: array[int] = field(default_factory=lambda: array("Q"))  # contents by number
    whole: array[int] = field(default_factory=lambda: array("Q"))  # of the first record of each number; 0 is a gap


class Checker:
    """One check of one installation.

    Args:
        log: what to read.
        produced: lines as `produced_line` writes them, None where nobody kept any.
        ask_oracle: whether the oracle has to agree with `Partition`; that is more than half of the time.
    """

    def __init__(self, log: Log, produced: Path | None = None, *, ask_oracle: bool = True) -> None:
        self._log = log
        self._model = log.model
        self._name = log.model.spec.name
        self._produced = produced
        self._ask_oracle = ask_oracle
        self._offences = _Offences()
        self._read: Counter[str] = Counter()
        self._events = Bag()
        self._sources: dict[int, _Source] = {}
        self._expected_examples = Bag()
        self._expected_dead = Bag()
        self._encode = msgspec.json.Encoder(order="sorted").encode

    async def verdict(self) -> Verdict:
        """Read everything and judge it."""
        for partition in await self._log.partitions(EVENTS):
            scores = await self._check_partition(partition)
            await self._check_scores(partition, scores)
        self._check_produced()
        training = await self._check_examples()
        await self._check_dead_letters()
        await self._check_releases()
        journaled = await self._check_learner(training)
        await self._check_offsets()
        names = await self._names(self._offences.nameless)
        kinds = [each.name for each in fields(Verdict) if each.type == "Found"]
        found = {kind: self._offences.found(kind, names) for kind in kinds}
        return Verdict(**found, read=dict(self._read), learner_sha256=journaled)

    # 1. What each events partition should have led to, said twice: by `Partition`, and by the oracle.

    async def _check_partition(self, partition: int) -> Bag:
        state, oracle = Partition(self._model.reader), Oracle(self._model.spec)
        source = self._sources[partition] = _Source()
        scores = Bag()
        async for records in self._log.chunks(EVENTS, partition):
            taken = state.take(records)
            if self._ask_oracle:
                self._agree(taken, records, [oracle.read(row) for row in rows_of(records, TICK_HEADER)])
            for record in records:
                self._read["ticks" if _is_tick(record) else "events"] += 1
                if not _is_tick(record) and self._produced is not None:
                    sha256 = _sha256_of(record.key, record.value)
                    self._events.add(digest(name_of(record.value).encode()), int(sha256[:16], 16))
            for pending in taken.pendings:
                name = digest(pending.event.encode())
                scores.add(name, name)
            for closed in taken.closed:
                content = self._content(closed.pending.event, closed.pending.x, closed.y)
                self._expected_examples.add(digest(closed.pending.event.encode()), content)
                source.expected.append(content)
            for record, poison in taken.dead:
                self._expect_dead(record, poison)
        return scores

    def _content(self, event: str, x: X, y: bool) -> int:
        numbers, categories = self._model.reader.named(x)
        return self._content_of(event, numbers, categories, y)

    def _content_of(self, event: str, numbers: dict[str, float], categories: dict[str, str], y: bool) -> int:
        return digest(self._encode([event, numbers, categories, y]))

    def _agree(self, taken: Taken, records: Sequence[ConsumerRecord], read: list[Read]) -> None:
        dead = {f"{each.partition}/{each.offset}" for each, _ in taken.dead}
        also_dead = {
            f"{record.partition}/{record.offset}"
            for record, each in zip(records, read, strict=True)
            if each.what == "dead"
        }
        for name in dead ^ also_dead:
            self._offences.add("disputed", DEAD_LETTERS, name)
        scored = Counter((each.event, self._content(each.event, each.x, y=False)) for each in taken.pendings)
        also_scored = Counter((each.event, self._content(each.event, each.x, y=False)) for each in read if each.x)
        closed = Counter((c.pending.event, self._content(c.pending.event, c.pending.x, c.y)) for c in taken.closed)
        also_closed = Counter((c.event, self._content(c.event, c.x, c.y)) for each in read for c in each.closed)
        for topic, one, other in ((SCORES, scored, also_scored), (EXAMPLES, closed, also_closed)):
            for event, _ in (one - other) | (other - one):
                self._offences.add("disputed", topic, event)

    def _check_produced(self) -> None:
        if self._produced is None:
            return
        sent, decoder = Bag(), msgspec.json.Decoder(Produced)
        with self._produced.open("rb") as lines:
            for line in lines:
                each = decoder.decode(line)
                sent.add(digest(each.name.encode()), int(each.sha256[:16], 16))
        self._read["produced"] = len(sent)
        self._differ(EVENTS, sent, self._events, repeats=False)

    def _differ(self, topic: str, expected: Bag, found: Bag, *, repeats: bool) -> None:
        for kind, name, count in differences(expected, found, repeats=repeats):
            self._offences.add(kind, topic, name, count)

    # 2. Scores, in the partition of their events.

    async def _check_scores(self, partition: int, expected: Bag) -> None:
        found = Bag()
        async for records in self._log.chunks(SCORES, partition):
            for record in records:
                score = self._decoded(SCORES, Score, record)
                if score is not None and score.model == self._name:
                    name = digest(score.event.encode())
                    found.add(name, name if score.id == score_id(self._name, score.event) else digest(record.value))
                    self._read["scores"] += 1
        self._differ(SCORES, expected, found, repeats=True)

    def _decoded(self, topic: str, kind: type[Any], record: ConsumerRecord) -> Any:
        try:
            return decode(kind, record.value or b"")
        except _BROKEN:
            self._offences.add("foreign", topic, f"{record.partition}/{record.offset} is unreadable")
            return None

    # 3. Examples, and a learner that takes them as they lie there.

    async def _check_examples(self) -> Training:
        found, training = Bag(), Training(self._model)
        for partition in await self._log.partitions(EXAMPLES):
            async for records in self._log.chunks(EXAMPLES, partition):
                for record in records:
                    if record.key == self._name.encode():
                        self._check_example(record, found, training)
        for number, source in self._sources.items():
            missing = [seq for seq, whole in enumerate(source.whole) if not whole]
            for seq in missing:
                self._offences.add("misnumbered", EXAMPLES, f"{number}/{seq} is missing")
        self._differ(EXAMPLES, self._expected_examples, found, repeats=False)
        return training

    def _check_example(self, record: ConsumerRecord, found: Bag, training: Training) -> None:
        example = self._decoded(EXAMPLES, Example, record)
        if example is None:
            return
        self._read["examples"] += 1
        if self._is_known(example):
            self._read["examples repeated"] += 1
            return
        content = self._content_of(example.event, example.numbers, example.categories, example.y)
        if example.id != score_id(self._name, example.event):
            content = digest(record.value)
        found.add(digest(example.event.encode()), content)
        expected = self._sources[example.source.partition].expected
        if example.source.seq < len(expected) and expected[example.source.seq] != content:
            self._offences.add("misnumbered", EXAMPLES, f"{example.source.partition}/{example.source.seq}")
        try:
            if not training.is_repeat(example):
                training.learn(record.offset, example, None)
        except Poison as poison:
            self._expect_dead(record, poison)

    def _is_known(self, example: Example) -> bool:
        """Return whether its number has been there before; a repeat has to be identical, but for who scored it.

        An event that was scored and labelled after the last journal entry is scored again after a crash, maybe by a
        newer version: both are true scores of the same x.
        """
        whole = self._sources.setdefault(example.source.partition, _Source()).whole
        seq = example.source.seq
        content = digest(self._encode(msgspec.structs.replace(example, score=0.0, version=0)))
        if seq < len(whole) and whole[seq]:
            if whole[seq] != content:
                self._offences.add("altered", EXAMPLES, example.event)
            return True
        whole.extend([0] * (seq + 1 - len(whole)))
        whole[seq] = content
        return False

    # 4. Dead letters, of the scorer and of the learner.

    def _expect_dead(self, record: ConsumerRecord, poison: Poison) -> None:
        happened = {
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "timestamp": str(record.timestamp),
            "stage": poison.stage,
            "exception.class.name": f"{type(poison).__module__}.{type(poison).__name__}",
            "exception.message": poison.reason,
        }
        self._expected_dead.add(*_letter(record, record.headers, happened))

    async def _check_dead_letters(self) -> None:
        found = Bag()
        for partition in await self._log.partitions(DEAD_LETTERS):
            async for records in self._log.chunks(DEAD_LETTERS, partition):
                for record in records:
                    if read_mark(record) is None:  # else it says what became of a letter
                        found.add(*_letter(record, *_apart(record)))
                        self._read["dead letters"] += 1
        self._differ(DEAD_LETTERS, self._expected_dead, found, repeats=True)

    # 5. Releases, the learner, the offsets.

    async def _check_releases(self) -> None:
        known: dict[int, str] = {}
        for partition in await self._log.partitions(RELEASES):
            async for records in self._log.chunks(RELEASES, partition):
                for record in records:
                    release = None if record.value is None else self._decoded(RELEASES, Release, record)
                    if release is None or release.model != self._name:
                        continue
                    self._read["releases"] += 1
                    sha256 = hashlib.sha256(release.onnx).hexdigest()
                    if sha256 != release.sha256 or known.setdefault(release.version, sha256) != sha256:
                        self._offences.add("altered", RELEASES, f"{self._name}/{release.version}")

    async def _check_learner(self, replayed: Training) -> str:
        journaled = await self._log.training()
        sha256 = "" if journaled is None else _sha256_of_learner(journaled)
        expected = _sha256_of_learner(replayed)
        if sha256 != expected and (journaled is not None or self._read["examples"]):
            through = -1 if journaled is None else journaled.learned_through.offset
            told = f"{sha256 or 'nothing'} through {through}, not {expected} through {replayed.learned_through.offset}"
            self._offences.add("unlearned", self._name, told)
        return sha256

    async def _check_offsets(self) -> None:
        for where, (committed, end) in (await self._log.offsets()).items():
            if committed != end:
                self._offences.add("behind", where, f"{committed} of {end}")

    # 6. Names, where something is wrong.

    async def _names(self, wanted: set[int]) -> dict[int, str]:
        names: dict[int, str] = {}
        if not wanted:
            return names
        async for name in self._all_names():
            if (number := digest(name.encode())) in wanted:
                names[number] = name
                if len(names) == len(wanted):
                    break
        return names

    async def _all_names(self) -> AsyncIterator[str]:
        if self._produced is not None:
            with self._produced.open("rb") as lines:
                for line in lines:
                    yield msgspec.json.decode(line, type=Produced).name
        for topic in (EVENTS, SCORES, EXAMPLES, DEAD_LETTERS):
            for partition in await self._log.partitions(topic):
                async for records in self._log.chunks(topic, partition):
                    for record in records:
                        for name in _names_in(topic, record):
                            yield name


def _names_in(topic: str, record: ConsumerRecord) -> Iterator[str]:
    if topic == DEAD_LETTERS:
        yield _place(_apart(record)[1])
        return
    yield f"{record.topic}/{record.partition}/{record.offset}"  # a dead letter's, where there should be one
    if topic == EVENTS:
        yield name_of(record.value)
        return
    kind: type[Score | Example] = Score if topic == SCORES else Example
    try:
        yield decode(kind, record.value or b"").event
    except _BROKEN:
        return


def _apart(record: ConsumerRecord) -> tuple[Sequence[tuple[str, bytes | None]], dict[str, str]]:
    """Return a dead letter's headers: its record's own, and what happened to it, which comes last."""
    names = [name for name, _ in record.headers]
    at = len(names) - names[::-1].index(_FIRST) - 1 if _FIRST in names else len(names)
    happened = {name.removeprefix(PREFIX): (text or b"").decode(errors="replace") for name, text in record.headers[at:]}
    return record.headers[:at], happened


def _place(happened: dict[str, str]) -> str:
    return "/".join(happened.get(name, "?") for name in ("topic", "partition", "offset"))


def _letter(
    record: ConsumerRecord, own: Sequence[tuple[str, bytes | None]], happened: dict[str, str]
) -> tuple[int, int]:
    """Return name and content of a dead letter: where it came from; all that it has to carry."""
    pieces: list[bytes | None] = [record.key, record.value]
    for name, text in own:
        pieces += [name.encode(), text]
    pieces += [(happened.get(name) or "is missing").encode() for name in _HAPPENED]
    return digest(_place(happened).encode()), digest(b"".join(_framed(pieces)))


def _sha256_of_learner(training: Training) -> str:
    return hashlib.sha256(encode_state(training.learner)).hexdigest()


def check(cluster: Cluster, model: Model, produced: Path | None = None, *, ask_oracle: bool = True) -> Verdict:
    """Return the verdict on an installation whose workers have stopped; arguments as those of `Checker`."""
    return asyncio.run(Checker(KafkaLog(cluster, model), produced, ask_oracle=ask_oracle).verdict())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the verdict as JSON; return 0 where nothing is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--model", type=Path, required=True, help="the model file")
    parser.add_argument("--produced", type=Path, help="what the producer says it sent, a JSON line each")
    args = parser.parse_args(argv)
    verdict = check(Cluster(args.bootstrap, args.prefix), load_model(args.model), args.produced)
    print(verdict.as_json())
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())

"""A journal gives back the newest state that can be trusted, on a real broker, whatever happened to its records."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from schemas.errors import StateUnreadable, StoreError
from streams.entry import PART_BYTES, Entry, EntryId, as_records
from streams.journal import Change, Journal, _bounds, _consumer, _range
from streams.object_store import DirectoryStore, ObjectStore
from streams.sender import Sender
from streams.topics import JOURNAL_SCORER, Cluster, create_topics

SECRET = b"s" * 32
KEY = "clicks/0"


@dataclass
class Topic:
    """A journal topic of a test's own, and the journals in it."""

    cluster: Cluster
    sender: Sender
    store: ObjectStore | None = None

    def journal(self, *, secret: bytes = SECRET, key: str = KEY) -> Journal:
        return Journal(self.cluster, self.sender, JOURNAL_SCORER, 0, key, secret, self.store)

    async def put(self, key: bytes, value: bytes | None) -> None:
        name = self.cluster.topic(JOURNAL_SCORER)
        await (await self.sender.send(name, key, value, partition=0))

    async def records(self) -> dict[bytes, bytes | None]:
        """What compaction would leave: the last value of each key."""
        async with _consumer(self.cluster.bootstrap) as consumer:
            tp = TopicPartition(self.cluster.topic(JOURNAL_SCORER), 0)
            first, end = await _bounds(consumer, tp)
            return {record.key: record.value for record in await _range(consumer, tp, first, end)}


@pytest.fixture
def on_topic(kafka: str) -> Callable[[Callable[[Topic], Awaitable[None]]], None]:
    def run(test: Callable[[Topic], Awaitable[None]]) -> None:
        async def with_topic() -> None:
            cluster = Cluster(kafka, prefix=f"journal-{uuid.uuid4().hex[:8]}.")
            await create_topics(cluster, partitions=1)
            sender = Sender(kafka)
            await sender.start()
            try:
                await test(Topic(cluster, sender))
            finally:
                await sender.stop()

        asyncio.run(asyncio.wait_for(with_topic(), 60))

    return run


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that no reader needs are dropped one by one."""
    monkeypatch.setattr("streams.journal.DROP_TOGETHER", 1)


OnTopic = Callable[[Callable[[Topic], Awaitable[None]]], None]


def said(entries: list[Entry]) -> list[bytes]:
    return [entry.body for entry in entries]


async def filled(topic: Topic, *bodies: bytes) -> Journal:
    """A journal with a whole snapshot "0" and then changes that belong to it."""
    journal = topic.journal()
    await journal.take_over()
    await journal.append(0, Change(b"0"))
    for number, body in enumerate(bodies, 1):
        await journal.append(number * 10, Change(body, begins=number == 1, ends=False))
    return journal


Alter = Callable[[bytes], bytes | None]


async def by_hand(topic: Topic, *bodies: bytes, bases: tuple[int, ...], alter: dict[int, Alter]) -> None:
    """What an owner would have written, fence first, but for the records of the numbers that are altered."""
    before = EntryId(0, 0)
    for number, (body, base) in enumerate(zip((b"", *bodies), (1, *bases), strict=True), 1):
        entry = Entry(EntryId(1, number), b"o" * 8, before, base, (number - 2) * 10, body)
        for key, value in as_records(entry, KEY, SECRET):
            changed = alter.get(number, lambda same: same)(value)
            if changed is not None:
                await topic.put(key, changed)
        before = entry.id


def test_nothing_is_there_before_the_first_entry(on_topic: OnTopic) -> None:
    """A fence is no state; other keys of the partition are somebody else's."""

    async def test(topic: Topic) -> None:
        await filled(replace(topic), b"1")
        other = topic.journal(key="clicks/00")

        assert [] == await other.take_over()
        assert [] == await other.newest()

    on_topic(test)


def test_entries_come_back_from_the_last_whole_snapshot_on(on_topic: OnTopic) -> None:
    """In order, across owners, with the offset of the last."""

    async def test(topic: Topic) -> None:
        journal = await filled(topic, b"1", b"2")
        again = topic.journal()
        entries = await again.take_over()
        await again.append(30, Change(b"3", begins=False, ends=False))
        await again.append(40, Change(b"4"))
        await again.append(50, Change(b"5", begins=True, ends=False))

        assert ([b"0", b"1", b"2"], 20) == (said(entries), entries[-1].next_offset)
        assert [b"4", b"5"] == said(await topic.journal().take_over())
        assert journal.epoch + 1 == again.epoch

    on_topic(test)


def test_an_owner_that_lost_the_partition_writes_in_vain(on_topic: OnTopic) -> None:
    """Its late entries stand behind the fence of the next owner; what it wrote before the fence counts."""

    async def test(topic: Topic) -> None:
        zombie = await filled(topic, b"1")
        owner = topic.journal()
        await owner.take_over()
        await zombie.append(20, Change(b"late", begins=False, ends=False))
        await zombie.append(30, Change(b"late too"))
        await owner.append(20, Change(b"2", begins=False, ends=False))

        assert [b"0", b"1", b"2"] == said(await topic.journal().take_over())

    on_topic(test)


def test_owners_that_take_over_at_once_have_different_epochs(on_topic: OnTopic) -> None:
    """However their fences fall: no two entries ever have one epoch and one number."""

    async def test(topic: Topic) -> None:
        await filled(topic, b"1")
        owners = [topic.journal() for _ in range(6)]
        await asyncio.gather(*[owner.take_over() for owner in owners])
        last = max(owners, key=lambda owner: owner.epoch)
        await asyncio.gather(*[owner.append(20, Change(b"%d" % owner.epoch, False, False)) for owner in owners])

        assert 6 == len({owner.epoch for owner in owners})
        assert [b"0", b"1", b"%d" % last.epoch] == said(await topic.journal().take_over())

    on_topic(test)


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda value: value[:-1], id="truncated"),
        pytest.param(lambda value: value.replace(b"two", b"TWO"), id="altered"),
        pytest.param(lambda value: b"", id="emptied"),
        pytest.param(lambda value: None, id="deleted"),
        pytest.param(
            lambda value: as_records(Entry(EntryId(1, 4), b"o" * 8, EntryId(1, 3), 2, 20, b"forged"), KEY, b"x" * 32)[
                -1
            ][1],
            id="forged",
        ),
    ],
)
def test_an_older_state_serves_where_the_newest_is_damaged(on_topic: OnTopic, alter: Alter) -> None:
    """The entries before the damage, with their own offset; and the journal goes on after it."""

    async def test(topic: Topic) -> None:
        await by_hand(topic, b"0", b"one", b"two", bases=(2, 2, 2), alter={4: alter})
        again = topic.journal()
        entries = await again.take_over()
        await again.append(20, Change(b"2", begins=False, ends=False))

        assert ([b"0", b"one"], 10) == (said(entries), entries[-1].next_offset)
        assert [b"0", b"one", b"2"] == said(await topic.journal().take_over())

    on_topic(test)


def test_the_snapshot_before_serves_where_the_last_is_damaged(on_topic: OnTopic) -> None:
    """One is kept behind the newest, for this."""

    async def test(topic: Topic) -> None:
        damage = {4: lambda value: value[:-3]}
        await by_hand(topic, b"0", b"one", b"two", b"three", bases=(2, 2, 4, 4), alter=damage)

        assert [b"0", b"one"] == said(await topic.journal().take_over())

    on_topic(test)


def test_a_journal_of_which_nothing_can_be_read_is_refused(on_topic: OnTopic) -> None:
    """It is not taken for an empty one: what the partition knew is lost, or sealed with another key."""

    async def test(topic: Topic) -> None:
        await filled(topic, b"one")
        with pytest.raises(StateUnreadable, match="FRESHET_STATE_KEY"):
            await topic.journal(secret=b"t" * 32).take_over()

    on_topic(test)


def test_a_large_entry_goes_in_parts(on_topic: OnTopic) -> None:
    """And comes back whole."""

    async def test(topic: Topic) -> None:
        large = bytes(range(256)) * (PART_BYTES // 256 * 3) + b"end"
        journal = await filled(topic, b"one")
        await journal.append(20, Change(large))

        assert [large] == said(await topic.journal().take_over())

    on_topic(test)


@pytest.mark.parametrize("damage", [lambda part: None, lambda part: part[:-1] + b"?"], ids=["missing", "altered"])
def test_a_large_entry_with_a_damaged_part_is_not_there(on_topic: OnTopic, damage: Alter) -> None:
    """The commit record names the digests of its parts."""

    async def test(topic: Topic) -> None:
        large = bytes(range(256)) * (PART_BYTES // 256 * 2)
        alter = {3: lambda value: damage(value) if len(value) == PART_BYTES else value}
        await by_hand(topic, b"0", large, bases=(2, 3), alter=alter)

        assert [b"0"] == said(await topic.journal().take_over())

    on_topic(test)


def test_what_no_reader_needs_is_dropped(on_topic: OnTopic, at_once: None) -> None:
    """After many snapshots two are left, however many owners and parts there were."""

    async def test(topic: Topic) -> None:
        for _ in range(3):
            journal = topic.journal()
            await journal.take_over()
            for number in range(5):
                body = b"x" * (PART_BYTES + 1) if number == 2 else b"%d" % number
                await journal.append(number, Change(body))
        left = [key for key, value in (await topic.records()).items() if value is not None]

        assert [b"clicks/0/3/17", b"clicks/0/3/18"] == sorted(left)

    on_topic(test)


def test_an_owner_that_lost_the_partition_drops_nothing(on_topic: OnTopic, at_once: None) -> None:
    """It was frozen, and does not know: what its successor begins with stays."""

    async def test(topic: Topic) -> None:
        zombie = await filled(topic, b"1")
        before = {key for key, value in (await topic.records()).items() if value is not None}
        await topic.journal().take_over()
        for number in range(4):
            await zombie.append(20 + number, Change(b"late"))
        after = {key for key, value in (await topic.records()).items() if value is not None}

        assert before <= after

    on_topic(test)


def test_a_long_journal_is_read_from_its_end(on_topic: OnTopic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through many entries of others and of its own, further and further back until the snapshot is there."""

    async def test(topic: Topic) -> None:
        journal, other = await filled(topic, b"1"), topic.journal(key="views/0")
        await other.take_over()
        await other.append(0, Change(b"x", begins=True, ends=False))
        for number in range(150):
            await other.append(number, Change(b"y", begins=False, ends=False))
        await journal.append(20, Change(b"2", begins=False, ends=False))

        assert [b"0", b"1", b"2"] == said(await topic.journal().take_over())
        assert 152 - 1 == len(await topic.journal(key="views/0").newest())

    monkeypatch.setattr("streams.journal._LOOK_BACK", 8)
    on_topic(test)


LARGE = b"large" * 100
"""Above the limit that tests of the object store set."""


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.journal.INLINE_BYTES", 100)


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


class Silent:
    """A store that does not answer."""

    def _fail(self) -> StoreError:
        return StoreError("nobody answers")

    def put(self, name: str, value: bytes) -> None:
        raise self._fail()

    def get(self, name: str) -> bytes | None:
        raise self._fail()

    def delete(self, name: str) -> None:
        raise self._fail()

    def names(self, prefix: str) -> list[str]:
        raise self._fail()


@pytest.mark.usefixtures("low_limit")
def test_a_body_above_the_limit_lies_in_the_object_store(on_topic: OnTopic, at_once: None, tmp_path: Path) -> None:
    """It comes back whole, Kafka has its record alone, and it goes when the entry goes."""

    async def test(topic: Topic) -> None:
        topic = replace(topic, store=DirectoryStore(tmp_path))
        journal = await filled(topic, LARGE + b"1", LARGE + b"2")
        again = topic.journal()
        entries = await again.take_over()
        values = [value for value in (await topic.records()).values() if value]

        assert [b"0", LARGE + b"1", LARGE + b"2"] == said(entries)
        assert (2, True) == (len(files(tmp_path)), all(b"large" not in value for value in values))
        assert [LARGE + b"1", LARGE + b"2"] == [path.read_bytes() for path in files(tmp_path)]

        await again.append(30, Change(LARGE + b"3"))
        await again.append(40, Change(LARGE + b"4"))

        assert journal.epoch + 1 == again.epoch
        assert [LARGE + b"3", LARGE + b"4"] == [path.read_bytes() for path in files(tmp_path)]
        assert [LARGE + b"4"] == said(await topic.journal().take_over())

    on_topic(test)


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(LARGE + b"?")], ids=["missing", "altered"]
)
def test_an_older_state_serves_where_an_object_is_damaged(
    on_topic: OnTopic, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The record has its digest; and the journal goes on after it."""

    async def test(topic: Topic) -> None:
        topic = replace(topic, store=DirectoryStore(tmp_path))
        await filled(topic, b"1", LARGE + b"2")
        damage(files(tmp_path)[0])
        again = topic.journal()
        entries = await again.take_over()
        await again.append(20, Change(LARGE + b"3", begins=False, ends=False))

        assert ([b"0", b"1"], 10) == (said(entries), entries[-1].next_offset)
        assert [b"0", b"1", LARGE + b"3"] == said(await topic.journal().take_over())

    on_topic(test)


def test_objects_elsewhere_are_not_taken_for_an_empty_journal(on_topic: OnTopic, tmp_path: Path) -> None:
    """A worker that looks in another place refuses to begin, and says which setting it is."""

    async def test(topic: Topic) -> None:
        entry = Entry(EntryId(1, 2), b"o" * 8, EntryId(1, 1), 2, 0, b"")
        for key, value in as_records(entry, KEY, SECRET, stored=b"d" * 32):
            await topic.put(key, value)

        with pytest.raises(StateUnreadable, match=r"missing, where \$FRESHET_OBJECT_STORE"):
            await replace(topic, store=DirectoryStore(tmp_path)).journal().take_over()

    on_topic(test)


@pytest.mark.usefixtures("low_limit")
def test_a_store_that_does_not_answer_is_no_damage(on_topic: OnTopic, tmp_path: Path) -> None:
    """Where a body lies there, the worker ends and tries again; where none does, it goes on."""

    async def test(topic: Topic) -> None:
        silent = replace(topic, store=Silent())
        await filled(silent, b"1")

        assert [b"0", b"1"] == said(await silent.journal().take_over())

        journal = replace(topic, store=DirectoryStore(tmp_path)).journal()
        await journal.take_over()
        await journal.append(20, Change(LARGE))

        with pytest.raises(StoreError, match="nobody answers"):
            await silent.journal().take_over()

    on_topic(test)


@pytest.mark.usefixtures("low_limit")
def test_the_next_owner_deletes_what_a_dead_one_left_in_the_store(on_topic: OnTopic, tmp_path: Path) -> None:
    """An object without a record goes; one of a live entry, of an owner that came later, of another journal stays."""

    async def test(topic: Topic) -> None:
        topic = replace(topic, store=DirectoryStore(tmp_path))
        dead = await filled(topic, LARGE + b"1")
        other = topic.journal(key="clicks/00")
        await other.take_over()
        await other.append(0, Change(LARGE + b"of another"))
        await dead._put(Entry(EntryId(dead.epoch, dead._last.number + 1), b"o" * 8, dead._last, 1, 20, LARGE + b"2"))
        later = EntryId(dead.epoch + 2, dead._last.number + 9)
        await dead._put(Entry(later, b"o" * 8, dead._last, 1, 20, LARGE + b"later"))
        entries = await topic.journal().take_over()
        left = {path.read_bytes() for path in files(tmp_path)}

        assert [b"0", LARGE + b"1"] == said(entries)
        assert {LARGE + b"1", LARGE + b"of another", LARGE + b"later"} == left

    on_topic(test)


@pytest.mark.usefixtures("low_limit")
def test_objects_that_an_owner_could_not_drop_go_with_the_next_drop(
    on_topic: OnTopic, at_once: None, tmp_path: Path
) -> None:
    """A death between the tombstones and the objects costs room until then."""

    async def test(topic: Topic) -> None:
        topic = replace(topic, store=DirectoryStore(tmp_path))
        journal = topic.journal()
        await journal.take_over()
        await journal.append(0, Change(LARGE + b"0"))
        journal._objects.clear()
        for number in (1, 2):
            await journal.append(number, Change(LARGE + b"%d" % number))
        before = {path.read_bytes()[-1:] for path in files(tmp_path)}
        again = topic.journal()
        await again.take_over()
        await again.append(3, Change(LARGE + b"3"))
        after = {path.read_bytes()[-1:] for path in files(tmp_path)}

        assert (set(b"012"), set(b"23")) == ({each[0] for each in before}, {each[0] for each in after})

    on_topic(test)

"""A shelf finds the objects of its own journal, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.entry import EntryId
from streams.object_store import DirectoryStore
from streams.shelf import Shelf
from streams.topics import Cluster

DIGEST = bytes(range(32))
Opened = Callable[..., Shelf]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Makes shelves in one store, of the cluster that the bootstrap is called."""

    async def cluster_id(cluster: Cluster) -> str:
        return cluster.bootstrap

    class OfCluster(Shelf):
        def __init__(self, cluster: str = "one", topic: str = "journal.scorer", key: str = "clicks/0") -> None:
            super().__init__(DirectoryStore(tmp_path), topic, key)
            asyncio.run(self.open(Cluster(cluster)))

    monkeypatch.setattr("streams.shelf.cluster_id", cluster_id)
    return OfCluster


@pytest.mark.parametrize(
    "other",
    [{"cluster": "-two"}, {"topic": "shop.journal.scorer"}, {"key": "clicks/1"}, {"key": "clicks/00"}, {"key": "../0"}],
    ids=str,
)
def test_another_journals_objects_are_not_found(shelf: Opened, other: dict[str, str]) -> None:
    """Whatever of the two differs, under the same epoch, number and digest."""
    mine, others = shelf(), shelf(**other)
    mine.put(EntryId(1, 2), DIGEST, b"mine")
    others.put(EntryId(1, 2), DIGEST, b"another's")

    assert [EntryId(1, 2)] == list(mine.objects().values())
    assert (b"mine", b"another's") == (mine.get(EntryId(1, 2), DIGEST), others.get(EntryId(1, 2), DIGEST))

    mine.delete(list(mine.objects()))

    assert (None, b"another's") == (mine.get(EntryId(1, 2), DIGEST), others.get(EntryId(1, 2), DIGEST))


def test_what_is_no_object_of_a_journal_is_passed_over(shelf: Opened, tmp_path: Path) -> None:
    """Somebody's file in the directory is not freshet's to delete."""
    mine = shelf()
    mine.put(EntryId(1, 2), DIGEST, b"mine")
    (object_,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    object_.with_name("notes.txt").write_text("keep")

    assert [EntryId(1, 2)] == list(mine.objects().values())

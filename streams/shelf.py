"""Shelf: what one journal has in the object store: the bodies that are too large for Kafka, by entry.

An object's name says which Kafka cluster, topic, model and partition it belongs to, and which entry has it as its body;
what is found there without an entry was left by a writer that died in between.
"""

from __future__ import annotations

import re
from typing import Final

from streams.entry import EntryId
from streams.object_store import ObjectStore
from streams.topics import Cluster, cluster_id

_OBJECT: Final = re.compile(r"(\d+)-(\d+)-[0-9a-f]{64}")


class Shelf:
    """The objects of one journal. Methods block, but for `open`, and raise `StoreError`.

    Args:
        store: where they lie.
        topic: the journal's, with its prefix.
        key: the journal's, `model/partition`.
    """

    def __init__(self, store: ObjectStore, topic: str, key: str) -> None:
        self._store = store
        self._topic = topic
        self._key = key
        self._place = ""

    async def open(self, cluster: Cluster) -> None:
        """Ask the cluster who it is, before anything else here: two of them may share one store.

        Raises:
            BrokerError: it does not answer.
        """
        # A cluster's id may begin with `-`, and a model may be called `..`.
        self._place = f"kafka-{await cluster_id(cluster)}/in-{self._topic}/of-{self._key.replace('/', '-')}"

    def name(self, entry: EntryId, digest: bytes) -> str:
        """Return the name of the object that is an entry's body."""
        return f"{self._place}/{entry.epoch}-{entry.number}-{digest.hex()}"

    def put(self, entry: EntryId, digest: bytes, body: bytes) -> None:
        """Keep an entry's body; return once it is durable."""
        self._store.put(self.name(entry, digest), body)

    def get(self, entry: EntryId, digest: bytes) -> bytes | None:
        """Return an entry's body, not checked; None where there is none."""
        return self._store.get(self.name(entry, digest))

    def delete(self, names: list[str]) -> None:
        """Let go of objects."""
        for name in names:
            self._store.delete(name)

    def objects(self) -> dict[str, EntryId]:
        """Return whose body each object is that lies here, by the object's name."""
        found = {name: _OBJECT.fullmatch(name.rpartition("/")[2]) for name in self._store.names(self._place)}
        return {name: EntryId(int(match[1]), int(match[2])) for name, match in found.items() if match}

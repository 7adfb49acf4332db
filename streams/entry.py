"""Entry: one step of a journal, as it lies in Kafka: sealed, chained to the step before it.

Where it is large its body goes in parts, and where that is too large for Kafka it lies in an object store.

An entry can be trusted or it is not there: its seal is an HMAC over everything it says, and its body must have the
digests that it names. The chain is by number: `before` names the entry that a reader has to apply first, `base` is
the number from which it has to begin.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from streams.object_store import VARIABLE as STORE_VARIABLE

PART_BYTES: Final = int(os.environ.get("FRESHET_JOURNAL_PART_BYTES", str(4 * 1024 * 1024)))
"""The most that goes into one record of a journal; the broker's own limit may be lower than its topics'."""
INLINE_BYTES: Final = int(os.environ.get("FRESHET_JOURNAL_INLINE_BYTES", str(64 * 1024 * 1024)))
"""The most of a body that goes through Kafka at all; above it, through the object store."""
_FORMAT: Final = 2
_STORED: Final = 3
"""The format of an entry whose body lies in the object store: its one part is there, under a name that is known."""


class EntryId(NamedTuple):
    """Which entry: its owner's epoch, and its number; numbers go on from epoch to epoch."""

    epoch: int
    number: int


NOTHING: Final = EntryId(0, 0)
"""What stands before the first entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a journal.

    Attributes:
        id: which.
        owner: who wrote it, a random token: two workers may take over at the same moment.
        before: the entry that has to be applied before it.
        base: the number of the entry with which a reader begins; itself, where it holds a whole snapshot.
        next_offset: everything before it is in the state once this entry is applied.
        body: what changed; empty in a fence.
    """

    id: EntryId
    owner: bytes
    before: EntryId
    base: int
    next_offset: int
    body: bytes

    @property
    def is_fence(self) -> bool:
        """Whether it only says that from here on an owner writes under a higher epoch."""
        return not self.body


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    format: int
    epoch: int
    number: int
    owner: bytes
    before: tuple[int, int]
    base: int
    next_offset: int
    parts: list[bytes]
    body: bytes
    seal: bytes


def as_records(entry: Entry, key: str, secret: bytes, stored: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Return an entry as Kafka records, keys and values: its parts, and last the record that makes them an entry.

    Args:
        entry: what to write.
        key: whose.
        secret: to seal it with.
        stored: the SHA-256 of its body, if that lies in the object store already.
    """
    parts: list[bytes] = []
    if len(entry.body) > PART_BYTES and not stored:
        parts = [entry.body[at : at + PART_BYTES] for at in range(0, len(entry.body), PART_BYTES)]
    name = record_key(key, entry.id)
    sealed = _Sealed(
        _STORED if stored else _FORMAT,
        entry.id.epoch,
        entry.id.number,
        entry.owner,
        entry.before,
        entry.base,
        entry.next_offset,
        [stored] if stored else [hashlib.sha256(part).digest() for part in parts],
        b"" if parts or stored else entry.body,
        b"",
    )
    sealed = msgspec.structs.replace(sealed, seal=_seal(sealed, key, secret))
    records = [(name + b"/%d" % place, part) for place, part in enumerate(parts)]
    return [*records, (name, msgspec.msgpack.encode(sealed))]


def record_key(key: str, entry: EntryId) -> bytes:
    """Return the key of an entry's record.

    With the epoch: compaction keeps the last record of a key, and a late one of a former owner must not be it.
    """
    return f"{key}/{entry.epoch}/{entry.number}".encode()


def _seal(sealed: _Sealed, key: str, secret: bytes) -> bytes:
    said = msgspec.msgpack.encode([key, msgspec.structs.replace(sealed, seal=b"")])
    return hmac.digest(secret, said, "sha256")


@dataclass(slots=True)
class Entries:
    """The entries of one key that were found in a journal topic, and which of them can be trusted.

    Args:
        key: whose journal.
        secret: that its entries are sealed with.
        stored: returns the body of an entry from the object store, by its SHA-256; None where there is none.

    Attributes:
        damaged: why an entry cannot be trusted, by id.
        parts: how many parts each id has, of what is there at all.
    """

    key: str
    secret: bytes
    stored: Callable[[EntryId, bytes], bytes | None]
    damaged: dict[EntryId, str] = field(default_factory=dict)
    parts: dict[EntryId, int] = field(default_factory=dict)
    _good: dict[EntryId, _Sealed] = field(default_factory=dict)
    _bodies: dict[tuple[EntryId, int], bytes] = field(default_factory=dict)
    _objects: dict[EntryId, bytes] = field(default_factory=dict)

    def add(self, records: list[ConsumerRecord]) -> None:
        """Take records that are older than all taken before; those of other keys are passed over."""
        prefix = f"{self.key}/".encode()
        ours = (record for record in records if record.key is not None and record.key.startswith(prefix))
        # Oldest last, so that of two with one id, written by two owners at once, the first in the log stays.
        for record in reversed(list(ours)):
            self._add(record, record.key[len(prefix) :].split(b"/"))

    def _add(self, record: ConsumerRecord, place: list[bytes]) -> None:
        numbers = [int(each) for each in place]
        entry = EntryId(*numbers[:2])
        if record.value is None:
            return
        if len(numbers) == 3:
            self._bodies[entry, numbers[2]] = record.value
            self.parts[entry] = max(self.parts.get(entry, 0), numbers[2] + 1)
            return
        self.parts.setdefault(entry, 0)
        self._good.pop(entry, None)
        self.damaged.pop(entry, None)
        try:
            sealed = msgspec.msgpack.decode(record.value, type=_Sealed)
        except msgspec.DecodeError as error:
            self.damaged[entry] = f"offset {record.offset}: {error}"
            return
        if sealed.format not in {_FORMAT, _STORED}:
            self.damaged[entry] = (
                f"offset {record.offset}: format {sealed.format}, this freshet reads {_FORMAT} and {_STORED}"
            )
        elif (sealed.epoch, sealed.number) != entry or not hmac.compare_digest(
            sealed.seal, _seal(sealed, self.key, self.secret)
        ):
            self.damaged[entry] = f"offset {record.offset}: the seal does not match"
        else:
            self._good[entry] = sealed

    @property
    def last(self) -> EntryId:
        """The highest epoch and the highest number there are, damaged ones too."""
        return EntryId(
            max((entry.epoch for entry in self.parts), default=0),
            max((entry.number for entry in self.parts), default=0),
        )

    def newest(self, *, all_read: bool) -> list[Entry] | None:
        """Return the entries to apply, first to last, of the newest state that can be trusted.

        Args:
            all_read: nothing older is left to be read; else a chain may go on where nothing has been read yet.

        Returns:
            An empty list where there is none; None where more has to be read before it can be told.

        Raises:
            StoreError: the object store does not answer. Blocks while it is asked.
        """
        for head in sorted(self._good, reverse=True):
            chain: list[EntryId] = []
            at = head
            base = self._good[head].base
            while at in self._good and self._whole(at, all_read=all_read):
                chain.append(at)
                if at.number <= base:
                    return [self._entry(each) for each in reversed(chain)]
                at = EntryId(*self._good[at].before)
            if not (all_read or at in self.damaged):
                return None
        return [] if all_read else None

    def _whole(self, entry: EntryId, *, all_read: bool) -> bool:
        if entry in self.damaged:
            return False
        sealed = self._good[entry]
        if sealed.format == _STORED:
            return self._whole_in_store(entry, sealed.parts[0])
        for place, digest in enumerate(sealed.parts):
            part = self._bodies.get((entry, place))
            if part is None and not all_read:
                return False
            if part is None or hashlib.sha256(part).digest() != digest:
                self.damaged[entry] = f"part {place} is missing or altered"
                return False
        return True

    def _whole_in_store(self, entry: EntryId, digest: bytes) -> bool:
        if entry in self._objects:
            return True
        body = self.stored(entry, digest)
        if body is None or hashlib.sha256(body).digest() != digest:
            self.damaged[entry] = (
                f"the object with its body is {'missing' if body is None else 'altered'}, where ${STORE_VARIABLE} says "
                "that objects are"
            )
            return False
        self._objects[entry] = body
        return True

    def _entry(self, entry: EntryId) -> Entry:
        sealed = self._good[entry]
        if sealed.format == _STORED:
            body = self._objects[entry]
        else:
            body = b"".join(self._bodies[entry, place] for place in range(len(sealed.parts))) or sealed.body
        return Entry(entry, sealed.owner, EntryId(*sealed.before), sealed.base, sealed.next_offset, body)

    def foreign(self, owner: bytes) -> bool:
        """Return whether somebody but `owner` wrote one of them."""
        return any(entry not in self._good or self._good[entry].owner != owner for entry in self.parts)

    def older_than(self, number: int) -> Iterator[EntryId]:
        """Return the ids whose number is below one, damaged ones too."""
        return (entry for entry in sorted(self.parts) if entry.number < number)

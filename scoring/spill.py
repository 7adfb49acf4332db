"""Spill: events on their way to Kafka, in files, so that neither an outage nor `kill -9` loses one that was answered.

A directory holds segments, files that are only appended to. A record is in the file, in one `write`, before its event
is answered; it is gone once the broker has it. There is no fsync: what was written outlives the process, not a power
cut.

    segment   frame frame frame ...     named by its number, `00000000000000000007.spill`
    frame     length u32, CRC-32 u32 of the record, record; little-endian
    cursor    segment u64, offset u64, CRC-32 u32: what lies before it is done; in a file `cursor`

A crash in the middle of a `write` leaves half a frame at a segment's end, of an event that nobody was answered: it is
passed over, counted and logged. So is a frame that the disk has damaged.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from schemas.errors import SpillTaken

log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
LIMIT_BYTES: Final = 256 * MIB
_SEGMENT_BYTES: Final = 4 * MIB
_SEGMENTS: Final = 8  # of a full spill, at least: room comes back a segment at a time
_FRAME: Final = struct.Struct("<II")
_CURSOR: Final = struct.Struct("<QQ")
_CRC: Final = struct.Struct("<I")
# A disk that has just refused is let alone for so long: no request waits for it meanwhile.
_LET_ALONE_S: Final = 1.0

FULL: Final = "full"
UNWRITABLE: Final = "unwritable"


class Position(NamedTuple):
    """A place between two records: a segment's number, and an offset in it."""

    segment: int
    offset: int


@dataclass(slots=True)
class _Segment:
    path: Path
    size_bytes: int


class Spill:
    """A bounded queue of records in files, for one process.

    Args:
        directory: made if it is not there, and removed by `close` if nothing is left in it.
        limit_bytes: what its segments may take together.

    Attributes:
        used_bytes: what its segments take.
        appended: records taken since the start.
        damaged: records found unreadable since the start, what a crash left half written among them.
        refused: records not taken since the start, by reason.

    >>> import tempfile
    >>> spill = Spill(Path(tempfile.mkdtemp()) / "spill")
    >>> spill.open()
    >>> spill.append(b"one"), spill.append(b"two")
    ('', '')
    >>> records, through = spill.read()
    >>> records
    [b'one', b'two']
    >>> spill.drop(through)
    >>> spill.waiting_bytes
    0
    >>> spill.close()
    """

    def __init__(self, directory: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, limit_bytes // _SEGMENTS)
        self._segments: dict[int, _Segment] = {}  # ascending
        self._next = 0  # number of the next segment
        self._lock = -1
        self._cursor = -1
        self._write = -1  # the last segment, where this process made it
        self._read = -1
        self._read_at = self._done = Position(0, 0)
        self._refuses_until_s = 0.0
        self._troubled = False
        self.used_bytes = 0
        self.appended = 0
        self.damaged = 0
        self.refused = {FULL: 0, UNWRITABLE: 0}

    def open(self) -> None:
        """Take the directory, and what an earlier process left in it.

        Raises:
            SpillTaken: another process has it.
            OSError: it cannot be made or read.
        """
        self._lock = _locked(self.directory)
        # Made anew, not gone on with: where it ends somebody may have died in the middle of a frame.
        for path in sorted(self.directory.glob("*.spill")):
            if path.stem.isdecimal():
                self._segments[int(path.stem)] = _Segment(path, path.stat().st_size)
        self.used_bytes = sum(each.size_bytes for each in self._segments.values())
        self._cursor = os.open(self.directory / "cursor", os.O_RDWR | os.O_CREAT, 0o600)
        done = _read_cursor(self._cursor)
        # Higher than any number before, or what is new could lie before the cursor.
        self._next = max(done.segment, *self._segments, 0) + 1
        self._done = max(done, Position(min(self._segments, default=self._next), 0))
        self._forget_done()
        self._read_at = self._done
        if self.waiting_bytes:
            log.info("spill_found directory=%s bytes=%d", self.directory, self.waiting_bytes)

    @property
    def is_open(self) -> bool:
        """Whether the directory is this process's."""
        return self._lock >= 0

    @property
    def waiting_bytes(self) -> int:
        """What has not been dropped yet."""
        done = self._done
        first = self._segments.get(done.segment)
        return self.used_bytes - (min(done.offset, first.size_bytes) if first is not None else 0)

    def append(self, record: bytes) -> str:
        """Take a record; return "" once it is in the file, else why it is not: `FULL` or `UNWRITABLE`."""
        if self._troubled and time.monotonic() < self._refuses_until_s:
            return self._refuse(UNWRITABLE)
        frame = _FRAME.pack(len(record), crc32(record)) + record
        if self.used_bytes + len(frame) > self._limit_bytes and not self._make_room(len(frame)):
            return self._refuse(FULL)
        segment = self._segments.get(self._next - 1) if self._write >= 0 else None
        try:
            if segment is None or segment.size_bytes >= self._segment_bytes:
                segment = self._roll()
            written = os.write(self._write, frame)
        except OSError as error:
            self._mend(segment, error)
            return self._refuse(UNWRITABLE)
        if written < len(frame):
            self._mend(segment, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return self._refuse(UNWRITABLE)
        segment.size_bytes += written
        self.used_bytes += written
        self.appended += 1
        if self._troubled:
            self._troubled = False
            log.info("spill_writable directory=%s", self.directory)
        return ""

    def read(self, most_bytes: int = 64 * 1024) -> tuple[list[bytes], Position]:
        """Return the records that follow those read before, and the place after them; none, if that was the last.

        Args:
            most_bytes: about how much; a larger record comes alone, and with 1 each does.

        Raises:
            OSError: the disk does not give them.
        """
        records: list[bytes] = []
        while not records and self._read_at.segment < self._next:
            number, offset = self._read_at
            segment = self._segments.get(number)
            if segment is not None and offset < segment.size_bytes:
                records, offset = self._frames(segment, offset, most_bytes)
                self._read_at = Position(number, offset)
                continue
            later = [each for each in self._segments if each > number]
            if not later:
                break
            self._close_read()
            self._read_at = Position(later[0], 0)
        return records, self._read_at

    def drop(self, through: Position) -> None:
        """Forget what lies before a place: the broker has it."""
        self._done = max(self._done, through)
        # Written, so that a crash does not send again what is only kept because of its neighbours.
        with contextlib.suppress(OSError):
            packed = _CURSOR.pack(*self._done)
            os.pwrite(self._cursor, packed + _CRC.pack(crc32(packed)), 0)
        self._forget_done()

    def rewind(self) -> None:
        """Read again what has been read and not been dropped."""
        self._close_read()
        self._read_at = self._done

    def close(self) -> None:
        """Let the directory go; what is waiting stays in it, and nothing else does."""
        if not self.is_open:
            return
        self._close_read()
        self._close_write()
        if not self.waiting_bytes:
            with contextlib.suppress(OSError):  # somebody's own file is in it: then it stays
                for segment in self._segments.values():
                    segment.path.unlink()
                (self.directory / "cursor").unlink()
                self.directory.rmdir()
        os.close(self._cursor)
        os.close(self._lock)
        self._lock = self._cursor = -1

    def _frames(self, segment: _Segment, offset: int, most_bytes: int) -> tuple[list[bytes], int]:
        """Return the records from an offset on, and the offset after them; none, where none of them can be read."""
        left = segment.size_bytes - offset
        wanted = min(left, max(most_bytes, _FRAME.size))
        data = self._bytes(segment, offset, wanted)
        records: list[bytes] = []
        at = 0
        while at < left:
            if wanted < left and at + _FRAME.size > wanted:
                break  # the next head is cut where the reading ended: it comes whole the next time
            length, crc = _FRAME.unpack_from(data, at) if at + _FRAME.size <= len(data) else (0, 0)
            end = at + _FRAME.size + length
            if not length or end > left:
                # Half a frame, or one whose length is damaged: where the next one begins is not known.
                self._say_damaged(segment, offset + at, left - at)
                at = left
                break
            if end > wanted:
                if records:
                    break
                wanted = end
                data = self._bytes(segment, offset, wanted)
            record = data[at + _FRAME.size : end]
            if crc32(record) == crc:
                records.append(record)
            else:
                self._say_damaged(segment, offset + at, end - at)
            at = end
        return records, offset + at

    def _bytes(self, segment: _Segment, offset: int, size: int) -> bytes:
        """Return bytes of a segment, fewer where somebody has cut or removed it."""
        if self._read < 0:
            try:
                self._read = os.open(segment.path, os.O_RDONLY)
            except FileNotFoundError:
                return b""
        return os.pread(self._read, size, offset)

    def _say_damaged(self, segment: _Segment, offset: int, size_bytes: int) -> None:
        self.damaged += 1
        log.warning("spill_damaged file=%s offset=%d bytes=%d: passed over", segment.path, offset, size_bytes)

    def _make_room(self, needed_bytes: int) -> bool:
        """Return whether there is room once a last segment that is done has been given up."""
        if needed_bytes > self._limit_bytes or self.waiting_bytes:
            return False
        self._close_read()
        self._close_write()
        self._read_at = self._done = Position(self._next, 0)
        self._forget_done()
        return not self.used_bytes

    def _forget_done(self) -> None:
        """Delete the segments that are done, but for the one that is written to."""
        while self._segments:
            number = next(iter(self._segments))
            segment = self._segments[number]
            is_written = self._write >= 0 and number == self._next - 1
            all_done = number == self._done.segment and self._done.offset >= segment.size_bytes and not is_written
            if number >= self._done.segment and not all_done:
                return
            if number == self._done.segment:
                self._done = Position(number + 1, 0)
            if self._read_at.segment == number:
                self._close_read()
                self._read_at = self._done
            segment.path.unlink(missing_ok=True)
            del self._segments[number]
            self.used_bytes -= segment.size_bytes

    def _roll(self) -> _Segment:
        path = self.directory / f"{self._next:020d}.spill"
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._close_write()
        self._write = opened
        segment = self._segments[self._next] = _Segment(path, 0)
        self._next += 1
        return segment

    def _mend(self, segment: _Segment | None, error: OSError) -> None:
        """Take back what was half written, so that what follows can be read."""
        self._refuses_until_s = time.monotonic() + _LET_ALONE_S
        if not self._troubled:
            self._troubled = True  # told once; the next line says that it goes on
            log.warning(
                "spill_unwritable directory=%s: events are scored and not forwarded; %s", self.directory, error.strerror
            )
        if segment is None or self._write < 0:
            return
        try:
            os.ftruncate(self._write, segment.size_bytes)
        except OSError:
            self._close_write()  # its size is known: nothing after it is read, and at a restart the half frame shows

    def _refuse(self, reason: str) -> str:
        self.refused[reason] += 1
        return reason

    def _close_read(self) -> None:
        if self._read >= 0:
            os.close(self._read)
            self._read = -1

    def _close_write(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


def _locked(directory: Path) -> int:
    """Return a descriptor of the directory that holds its lock; the system lets go of it when the process ends.

    Raises:
        SpillTaken: another process holds it.
    """
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed it just now: then this is the lock of a directory that nobody finds.
            if _same(directory, opened):
                return opened
        except BlockingIOError:
            os.close(opened)
            raise SpillTaken(str(directory)) from None
        except BaseException:
            os.close(opened)
            raise
        os.close(opened)


def _same(directory: Path, opened: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def _read_cursor(opened: int) -> Position:
    packed = os.pread(opened, _CURSOR.size + _CRC.size, 0)
    whole = len(packed) == _CURSOR.size + _CRC.size
    if whole and crc32(packed[: _CURSOR.size]) == _CRC.unpack(packed[_CURSOR.size :])[0]:
        return Position(*_CURSOR.unpack(packed[: _CURSOR.size]))
    return Position(0, 0)

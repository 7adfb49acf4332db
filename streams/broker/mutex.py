"""Locks between processes: ours, so that one of them starts a broker at a time, and Kafka's, which we only look at."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from schemas.errors import BrokerError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    _try_java_lock = _try_lock
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _try_java_lock(file: IO[bytes]) -> bool:
        # Java's FileLock is POSIX's record lock, which knows nothing of flock's.
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def exclusive(path: Path, *, patience_s: float) -> Iterator[None]:
    """Hold the file's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        BrokerError: another process still held it after `patience_s`.
    """
    deadline_s = time.monotonic() + patience_s
    try:
        opened = path.open("ab")
    except OSError as error:
        raise BrokerError(f"cannot write in {path.parent}: {error}") from error
    with opened as file:
        while not _try_lock(file):
            if time.monotonic() > deadline_s:
                raise BrokerError(
                    f"another process has been starting or stopping the Kafka broker in {path.parent} "
                    f"for {patience_s:.0f} s; see broker.log there"
                )
            time.sleep(0.05)
        yield


def java_holds(path: Path) -> bool:
    """Whether a Java program has locked the file.

    >>> java_holds(Path("no/such/file"))
    False
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BrokerError(f"cannot write in {path.parent}: {error}") from error
    with file:  # closing it lets go of what was just locked
        return not _try_java_lock(file)

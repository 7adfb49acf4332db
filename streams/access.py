"""Access: who may ask an edge, and whether others on the way can read along."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import KeysUnreadable
from scoring.application import Application
from scoring.exposure import check_exposure
from scoring.keyed_door import KeyedDoor
from scoring.keys import Keys
from scoring.tls import tls_context

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Access:
    """What an edge was told about access.

    Attributes:
        keys: the file of API keys; None: whoever reaches the edge may ask it.
        certificate, private_key: PEM files for TLS, both or neither.
        without_keys, without_tls: somebody has said in so many words that it shall be so, also beyond loopback.
    """

    keys: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    without_keys: bool = False
    without_tls: bool = False

    def check(self, host: str) -> None:
        """Return if an edge may listen on `host`.

        Raises:
            TooOpen: other machines reach it, and keys or TLS are neither there nor waived.
        """
        check_exposure(
            host, keys=self.keys is not None or self.without_keys, tls=self.certificate is not None or self.without_tls
        )

    def tls(self) -> ssl.SSLContext | None:
        """Return the context that encrypts connections, None where nothing does.

        Raises:
            TlsUnusable: a file cannot be used.
        """
        if self.certificate is None or self.private_key is None:
            return None
        return tls_context(self.certificate, self.private_key)


class Doorkeeper:
    """Puts a lock to each door, and gives all of them a file's keys, also when it changes.

    Args:
        file: of keys; None: no lock.

    Raises:
        KeysUnreadable: the file cannot be used.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._keys = None if file is None else Keys.read(file)
        self._stamp = _stamp(file)
        self._doors: list[KeyedDoor] = []

    def keyed(self, door: Application) -> Application:
        """Return the door, which needs a key where there are keys."""
        if self._keys is None:
            return door
        keyed = KeyedDoor(door, self._keys)
        self._doors.append(keyed)
        return keyed

    async def watch(self) -> None:
        """Take the file's new keys, and let go of those that are no longer in it, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Read the file if it has changed; while it cannot be used, the keys that were in it hold."""
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = Keys.read(self._file)
        except KeysUnreadable as error:
            log.warning("keys_kept reason=%r", str(error))
            return
        for each in self._doors:
            each.renew(keys)
        log.info("keys_renewed names=%s", ",".join(sorted(key.name for key in keys)))


def _stamp(file: Path | None) -> Collection[int]:
    if file is None:
        return ()
    try:
        stat = file.stat()
    except OSError:
        return ()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

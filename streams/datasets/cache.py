"""Cache: pinned files in the user's cache directory, checked by SHA-256 whenever they are used."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import DataUnavailable

LARGEST_BYTES = 64 << 20


def cache_dir() -> Path:
    """Return where fetched data are kept.

    Raises:
        DataUnavailable: platformdirs is not installed.
    """
    try:
        import platformdirs
    except ModuleNotFoundError as error:
        raise DataUnavailable("fetched data need platformdirs: pip install 'freshet[embedded]'") from error
    return Path(platformdirs.user_cache_dir("freshet")) / "data"


def holds(path: Path, sha256: str) -> bool:
    """Return whether there is a file with exactly these bytes.

    >>> holds(Path("no/such/file"), "0" * 64)
    False
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def keep(path: Path, content: bytes, sha256: str) -> Path:
    """Write a file whole or not at all, and return its path.

    Raises:
        DataUnavailable: the content is not what its hash says, or it cannot be written.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataUnavailable(f"{path.name} arrived with other bytes than expected (SHA-256 {found})")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place and then renamed: somebody who reads meanwhile sees the old file or the new one.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)  # noqa: PTH105  # the temporary file is named by a string
    except OSError as error:
        raise DataUnavailable(f"{path} cannot be written: {error.strerror}") from error
    return path


def fetch(url: str, within_s: float) -> bytes:
    """Return what an address answers, or give up in time.

    Raises:
        DataUnavailable: no answer within `within_s` seconds in all, or none that helps.
    """
    host = urlsplit(url).hostname
    answer: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=within_s) as response:  # noqa: S310  # a pinned address of ours
                answer.put(response.read(LARGEST_BYTES))
        except (OSError, http.client.HTTPException) as error:
            answer.put(error)

    # A thread, because neither the look-up of a name nor a trickle of bytes heeds urllib's time-out.
    threading.Thread(target=ask, name=f"fetch {host}", daemon=True).start()
    try:
        got = answer.get(timeout=within_s)
    except queue.Empty:
        raise DataUnavailable(f"{host} did not answer within {within_s:g} s") from None
    if isinstance(got, Exception):
        raise DataUnavailable(f"{host} cannot be reached ({getattr(got, 'reason', None) or got})") from got
    return got

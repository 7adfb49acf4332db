"""Kafka's jars: named with their hashes in `kafka.lock.json`, fetched once, checked at every start."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import IO

from schemas.errors import BrokerError
from streams.broker.extra import extra

_THREADS = 8
_ATTEMPTS = 3
_PAUSE_S = 0.5  # doubled after each attempt
_TIMEOUT_S = 20
_PART_BYTES = 1 << 16

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of a Maven repository.

    Args:
        path: below the repository's address.
        sha256: in hexadecimal.
        size_bytes: of the file.
    """

    path: str
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        """Its file name.

        >>> Jar("org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar", "", 0).name
        'slf4j-api-1.7.36.jar'
        """
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class KafkaLock:
    """One Kafka version and every jar it is run from."""

    version: str
    jars: tuple[Jar, ...]

    @property
    def size_bytes(self) -> int:
        """Of all jars together."""
        return sum(jar.size_bytes for jar in self.jars)


def load_lock() -> KafkaLock:
    """Return the package's `kafka.lock.json`.

    >>> load_lock().version
    '4.3.1'
    """
    fields = json.loads(resources.files("streams.broker").joinpath("kafka.lock.json").read_text(encoding="utf-8"))
    return KafkaLock(fields["version"], tuple(Jar(**jar) for jar in fields["jars"]))


def jar_dir(version: str) -> Path:
    """Return where the jars of a version are kept: under $KAFKA_CACHE, else in the user's cache directory."""
    cache = os.environ.get("KAFKA_CACHE") or extra("platformdirs").user_cache_dir("freshet")
    return Path(cache) / "kafka" / version / "libs"


def unfit_jars(lock: KafkaLock, folder: Path) -> list[Jar]:
    """Return the jars that are not in `folder` with the bytes the lock names."""
    with ThreadPoolExecutor(_THREADS) as pool:
        fit = pool.map(lambda jar: _is_fit(folder / jar.name, jar), lock.jars)
        return [jar for jar, is_fit in zip(lock.jars, fit, strict=True) if not is_fit]


def ensure_jars(lock: KafkaLock, say: Callable[[str], None]) -> Path:
    """Return a folder that holds exactly the jars of the lock, after fetching those that are missing or damaged.

    Looks at $KAFKA_MAVEN_URL (mirrors, separated by spaces; Maven Central when unset) and $KAFKA_OFFLINE.

    Raises:
        BrokerError: a jar is not to be had, or arrived with other bytes than the lock names. None of these is kept.
    """
    folder = jar_dir(lock.version)
    if unfit := unfit_jars(lock, folder):
        if os.environ.get("KAFKA_OFFLINE"):
            raise BrokerError(
                f"KAFKA_OFFLINE is set, and {len(unfit)} of {len(lock.jars)} Kafka jars are not in {folder}. Run "
                "`freshet broker prefetch` where there is a network, or copy that folder from a machine that has it."
            )
        _fetch_all(lock.version, unfit, folder, say)
    wanted = {jar.name for jar in lock.jars}
    for found in folder.glob("*.jar"):
        if found.name not in wanted:
            found.unlink()  # the class path is the whole folder
    return folder


def _fetch_all(version: str, jars: list[Jar], folder: Path, say: Callable[[str], None]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # a folder may be there and not be ours to write in
    except OSError as error:
        raise BrokerError(
            f"cannot keep Kafka's jars in {folder}: {error}. Set KAFKA_CACHE to another directory."
        ) from error
    size_bytes = sum(jar.size_bytes for jar in jars)
    say(f"fetching Kafka {version} once: {len(jars)} jars, {size_bytes / 1e6:.1f} MB, into {folder}")
    mirrors = os.environ.get("KAFKA_MAVEN_URL", "").split() or [extra("jgo.constants").MAVEN_CENTRAL_URL]
    with _progress_bar(size_bytes) as advance, ThreadPoolExecutor(_THREADS) as pool:
        fetches = [pool.submit(_fetch, jar, folder, mirrors, advance) for jar in jars]
        try:
            for fetch in fetches:
                fetch.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _progress_bar(size_bytes: int) -> Iterator[Advance]:
    console = extra("rich.console").Console(stderr=True)
    progress = extra("rich.progress")
    columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
    # In a log file a bar is only noise: what is fetched has been said.
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=size_bytes)
        yield lambda count: bar.advance(task, count)


def _fetch(jar: Jar, folder: Path, mirrors: list[str], advance: Advance) -> None:
    failures: list[str] = []
    for mirror in mirrors:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_S * 2 ** (attempt - 1))
            try:
                _download(jar, folder, mirror, advance)
            except urllib.error.HTTPError as error:
                failures.append(f"{mirror}: HTTP {error.code} {error.reason}")
                if error.code < 500 and error.code != 429:
                    break  # asking again will not change the answer
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append(f"{mirror}: {error}")
            else:
                return
    raise BrokerError(
        f"could not fetch {jar.path}\n  "
        + "\n  ".join(dict.fromkeys(failures))
        + "\nBehind a proxy: set HTTPS_PROXY, or KAFKA_MAVEN_URL to a Maven mirror. Without a network: copy "
        f"{folder} from a machine that has it, use docker compose, or set KAFKA_BOOTSTRAP to a broker."
    )


def _download(jar: Jar, folder: Path, mirror: str, advance: Advance) -> None:
    url = f"{mirror.rstrip('/')}/{jar.path}"
    draft = None
    try:
        # Whatever the address and its scheme, only the bytes that the lock names are kept.
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,  # noqa: S310
            tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file,
        ):
            draft = Path(file.name)
            got_bytes = _copy(answer, file, jar.size_bytes, advance)
        if got_bytes < jar.size_bytes:
            raise OSError(f"the connection ended after {got_bytes} of {jar.size_bytes} bytes")
        if (got := _sha256(draft)) != jar.sha256:
            raise BrokerError(
                f"{jar.path} from {mirror} has other bytes than the lock file names; it was deleted, nothing was run\n"
                f"  expected SHA-256 {jar.sha256}\n  got              {got}\n"
                "Something on the way may rewrite downloads: set KAFKA_MAVEN_URL to a mirror you trust."
            )
        draft.replace(folder / jar.name)
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _copy(source: IO[bytes], file: IO[bytes], size_bytes: int, advance: Advance) -> int:
    """Copy at most one byte more than `size_bytes`: enough to be refused, whatever a server goes on sending."""
    copied = 0
    while copied <= size_bytes and (part := source.read(min(_PART_BYTES, size_bytes + 1 - copied))):
        file.write(part)
        copied += len(part)
        advance(len(part))
    if copied < size_bytes:
        advance(-copied)  # it will be fetched again from its start
    return copied


def _is_fit(file: Path, jar: Jar) -> bool:
    try:
        return file.stat().st_size == jar.size_bytes and _sha256(file) == jar.sha256
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

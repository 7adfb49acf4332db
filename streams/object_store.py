"""Object store: where bodies lie that are too large for Kafka, under names, in a directory or in a bucket.

$FRESHET_OBJECT_STORE says where, by URL; without it, in a directory of this user's data. Workers on several machines
read each other's state, so there it has to name a place that all of them reach.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import platformdirs

from schemas.errors import StoreError

VARIABLE: Final = "FRESHET_OBJECT_STORE"
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")
_DRAFT: Final = "~"  # in no name, so that a draft is never taken for an object
_RETRY_FOR_S: Final = 30


class ObjectStore(Protocol):
    """Bytes under names.

    A name has parts of letters, digits, `.`, `_` and `-`, with `/` between them; none begins with `.` or `-`. Every
    method blocks, and raises `StoreError` where the store cannot be reached or does not do what it is asked to.
    """

    def put(self, name: str, value: bytes) -> None:
        """Keep bytes under a name; return once they are durable. What was there before is there until then."""

    def get(self, name: str) -> bytes | None:
        """Return the bytes under a name; None where there are none. A store that does not answer is an error."""

    def delete(self, name: str) -> None:
        """Let go of what is under a name, of what a writer that died left unfinished there too; nothing is no error."""

    def names(self, prefix: str) -> list[str]:
        """Return the names whose first parts are `prefix`, sorted; unfinished ones may be among them."""


class DirectoryStore:
    """Objects as files: whole or not there, whenever the process or the machine dies.

    Args:
        root: the directory; it is made when the first object is put, readable by this user alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return self._root.as_uri()

    def put(self, name: str, value: bytes) -> None:
        """See `ObjectStore`."""
        path = self._path(name)
        with _as_store_error(self, "put", name):
            _make(path.parent)
            draft = path.with_name(f"{path.name}{_DRAFT}{secrets.token_hex(8)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync(path.parent)  # or the name may be gone after a power cut, though the bytes are there

    def get(self, name: str) -> bytes | None:
        """See `ObjectStore`."""
        with _as_store_error(self, "get", name):
            try:
                return self._path(name).read_bytes()
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        path = self._path(name)
        with _as_store_error(self, "delete", name):
            for each in (path, *path.parent.glob(f"{path.name}{_DRAFT}*")):
                each.unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore`."""
        with _as_store_error(self, "list", prefix):
            files = [path for path in self._path(prefix).rglob("*") if path.is_file()]
        names = {path.relative_to(self._root).as_posix().partition(_DRAFT)[0] for path in files}
        return sorted(names)

    def _path(self, name: str) -> Path:
        return self._root / _checked(name)


class S3Store:
    """Objects in a bucket of S3, or of whatever speaks its protocol.

    Endpoint, region and credentials are those of the usual variables: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and the rest. A request that fails is tried again, for 30 s.

    Args:
        bucket: its name; it has to be there.
        prefix: before every name; empty, none.

    Raises:
        StoreError: the library for it is not installed, or a variable has a value that it does not take.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store as Bucket
        except ImportError:
            raise StoreError("s3:// needs a library: pip install 'freshet[store]'") from None
        self._errors = (OSError, ValueError, BaseError)
        self._url = f"s3://{bucket}/{prefix}".rstrip("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        try:
            self._bucket = Bucket(
                bucket,
                prefix=prefix or None,
                client_options={"allow_http": endpoint.startswith("http://")},
                retry_config={"retry_timeout": timedelta(seconds=_RETRY_FOR_S)},
            )
        except (BaseError, ValueError) as error:
            raise StoreError(f"{self._url}: {error}") from None

    def __str__(self) -> str:
        return self._url

    def put(self, name: str, value: bytes) -> None:
        """See `ObjectStore`."""
        with _as_store_error(self, "put", name, self._errors):
            self._bucket.put(_checked(name), value)

    def get(self, name: str) -> bytes | None:
        """See `ObjectStore`."""
        with _as_store_error(self, "get", name, self._errors):
            try:
                return self._bucket.get(_checked(name)).bytes().to_bytes()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):  # the library has one error for both
                    raise
                return None

    def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        with _as_store_error(self, "delete", name, self._errors):
            self._bucket.delete(_checked(name))

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore`."""
        with _as_store_error(self, "list", prefix, self._errors):
            return sorted(each["path"] for chunk in self._bucket.list(_checked(prefix)) for each in chunk)


def open_store(url: str = "") -> ObjectStore:
    """Return the store of a URL, `file:///path` or `s3://bucket/prefix`; without one, that of the environment.

    Nothing is read or written yet.

    Raises:
        StoreError: the URL names no store, or its library is not installed.

    >>> str(open_store("file:///srv/freshet"))
    'file:///srv/freshet'
    """
    url = url or os.environ.get("FRESHET_OBJECT_STORE", "")
    if not url:
        return DirectoryStore(Path(platformdirs.user_data_dir("freshet")) / "objects")
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return DirectoryStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and not parts.query:
        return S3Store(parts.netloc, parts.path.strip("/"))
    raise StoreError(f"{url!r} is no object store; set ${VARIABLE} to file:///a/directory or s3://bucket/prefix")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no name of an object")
    return name


@contextmanager
def _as_store_error(
    store: object, verb: str, name: str, errors: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise StoreError(f"{store} did not {verb} {name}: {error}") from error


def _make(directory: Path) -> None:
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

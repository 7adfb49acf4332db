"""An object store keeps bytes under names: the same laws for a directory and for a bucket."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.errors import StoreError
from streams.object_store import DirectoryStore, ObjectStore, S3Store, open_store
from tests.streams.bucket_server import serving

VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def of_aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for variable, value in zip(VARIABLES, (endpoint, "somebody", "a secret", "us-east-1"), strict=True):
        monkeypatch.setenv(variable, value)


@pytest.fixture(params=["directory", "bucket", "real bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty store of each kind; $FRESHET_TEST_S3, `s3://bucket/prefix`, names a real one."""
    if request.param == "directory":
        yield open_store((tmp_path / "objects").as_uri())
    elif request.param == "bucket":
        with serving("shop") as endpoint:
            of_aws(monkeypatch, endpoint)
            yield open_store("s3://shop/fresh/et")
    elif real := os.environ.get("FRESHET_TEST_S3", ""):
        yield open_store(f"{real}/{uuid.uuid4().hex}")
    else:
        pytest.skip("no $FRESHET_TEST_S3; it would have shown that an S3 that is not ours does the same")


def test_what_was_put_comes_back(store: ObjectStore) -> None:
    """Byte for byte, empty and large, and the last that was put."""
    large = os.urandom(12 * 1024 * 1024)  # to a bucket, in several parts
    store.put("a/large", large)
    store.put("a/empty", b"")
    store.put("a/twice", b"first")
    store.put("a/twice", b"second")

    assert (large, b"", b"second") == (store.get("a/large"), store.get("a/empty"), store.get("a/twice"))


def test_what_was_not_put_is_not_there(store: ObjectStore) -> None:
    """That is an answer, not an error; letting go of it is none either."""
    store.delete("a/nothing")

    assert store.get("a/nothing") is None
    assert [] == store.names("a")


def test_what_was_deleted_is_gone(store: ObjectStore) -> None:
    """And nothing else is."""
    store.put("a/1", b"1")
    store.put("a/10", b"10")
    store.delete("a/1")

    assert (None, b"10") == (store.get("a/1"), store.get("a/10"))


def test_names_are_listed_by_whole_parts(store: ObjectStore) -> None:
    """`a/b` is before `a/b/1` and not before `a/bc/1`; a listing has as many pages as it takes."""
    for name in ("a/b/3", "a/b/1", "a/b/2", "a/b/4", "a/b/5", "a/bc/1", "b/b/1"):
        store.put(name, b"x")

    assert ["a/b/1", "a/b/2", "a/b/3", "a/b/4", "a/b/5"] == store.names("a/b")
    assert ["b/b/1"] == store.names("b")


@pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a/../b", "a//b", "a b", "a/.b", "a~1", "ä"])
def test_a_name_that_could_lead_elsewhere_is_refused(store: ObjectStore, name: str) -> None:
    """Whatever it is wanted for."""
    calls: list[Callable[[], object]] = [
        lambda: store.put(name, b""),
        lambda: store.get(name),
        lambda: store.delete(name),
        lambda: store.names(name),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="no name"):
            call()


def test_a_directory_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    """Profiles lie there."""
    store = DirectoryStore(tmp_path / "of" / "mine")
    store.put("a/b", b"x")
    made = [tmp_path / "of", *(tmp_path / "of").rglob("*")]

    assert {0o700, 0o600} == {path.stat().st_mode & 0o777 for path in made}


def test_a_writer_that_died_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before still is; what is unfinished is listed, so that it can be deleted, and then is."""
    store = DirectoryStore(tmp_path)
    store.put("a/old", b"before")

    def dies(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("streams.object_store.os.fsync", dies)
    for name in ("a/old", "a/new"):
        with pytest.raises(StoreError, match="full"):
            store.put(name, b"after")

    assert (b"before", None) == (store.get("a/old"), store.get("a/new"))
    assert ["a/new", "a/old"] == store.names("a")

    store.delete("a/new")
    store.delete("a/old")

    assert [] == list((tmp_path / "a").iterdir())


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """Said with its path, and never taken for an object that is missing."""
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryStore(tmp_path / "file")

    with pytest.raises(StoreError, match=r"file:///.*/file did not put a/b"):
        store.put("a/b", b"x")
    with pytest.raises(StoreError, match="did not get"):
        store.get("a/b")


def test_a_bucket_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is asked for an object: what lies in the right bucket is not missing."""
    with serving("shop") as endpoint:
        of_aws(monkeypatch, endpoint)
        store = S3Store("nobody")
        for call in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: store.names("a")):
            with pytest.raises(StoreError, match="s3://nobody did not"):
                call()


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else it is a directory of the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("FRESHET_OBJECT_STORE", raising=False)
    default = str(open_store())
    monkeypatch.setenv("FRESHET_OBJECT_STORE", "s3://shop/objects/")

    assert "/freshet/objects" == default[-len("/freshet/objects") :]
    assert "s3://shop/objects" == str(open_store())


@pytest.mark.parametrize("url", ["/srv/objects", "file://host/a", "gs://shop", "s3://", "s3:///a", "s3://shop/a?b=c"])
def test_a_url_of_no_store_is_refused(url: str) -> None:
    """With what to write instead."""
    with pytest.raises(StoreError, match="FRESHET_OBJECT_STORE to file:///a/directory or s3://bucket/prefix"):
        open_store(url)

"""Fetching Kafka's jars: only the bytes that the lock names are ever kept, and each failure says what to do."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from schemas.errors import BrokerError
from streams.broker import jars
from streams.broker.jars import Jar, KafkaLock, ensure_jars, load_lock

CONTENT = b"the bytes of a jar " * 10_000


def locked(name: str, content: bytes) -> Jar:
    """A jar as a lock file names it."""
    return Jar(f"org/example/{name}", hashlib.sha256(content).hexdigest(), len(content))


JAR = locked("one-1.0.jar", CONTENT)
LOCK = KafkaLock("0.0.1", (JAR, locked("two-1.0.jar", CONTENT[::-1])))


class Mirror(ThreadingHTTPServer):
    """A Maven repository on loopback; `files` holds what it answers, `asked` what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {f"/{LOCK.jars[0].path}": CONTENT, f"/{LOCK.jars[1].path}": CONTENT[::-1]}
        self.cut_off: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers one request; a path in `cut_off` gets half of its bytes, once."""

    server: Mirror

    def do_GET(self) -> None:
        """Send the file, half of it, or 404."""
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path in self.server.cut_off:
            self.server.cut_off.discard(self.path)
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def handle(self) -> None:
        """Answer; a client that has seen enough hangs up, which is no error here."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """A repository that has both jars, named by KAFKA_MAVEN_URL; the cache is empty."""
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("KAFKA_MAVEN_URL", server.url)
        monkeypatch.setenv("KAFKA_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("KAFKA_OFFLINE", raising=False)
        for proxy in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        monkeypatch.setattr(jars, "_PAUSE_S", 0.0)
        yield server
        server.shutdown()


def names(folder: Path) -> list[str]:
    """Every file in the folder."""
    return sorted(file.name for file in folder.iterdir())


def test_each_jar_is_fetched_once(mirror: Mirror) -> None:
    """A second start finds the jars where the first one put them, and asks nobody."""
    said: list[str] = []
    folder = ensure_jars(LOCK, said.append)
    asked = len(mirror.asked)

    assert folder == ensure_jars(LOCK, said.append)
    assert names(folder) == ["one-1.0.jar", "two-1.0.jar"]
    assert len(mirror.asked) == asked == 2
    assert len(said) == 1


def test_other_bytes_are_refused_and_not_kept(mirror: Mirror) -> None:
    """A jar of the right length with other bytes stops the start; both hashes are named, nothing stays on disk."""
    forged = CONTENT.replace(b"bytes", b"bites")
    mirror.files[f"/{JAR.path}"] = forged

    with pytest.raises(BrokerError) as refusal:
        ensure_jars(LOCK, lambda _: None)

    assert JAR.sha256 in str(refusal.value)
    assert hashlib.sha256(forged).hexdigest() in str(refusal.value)
    assert "one-1.0.jar" not in names(jars.jar_dir(LOCK.version))
    assert not [name for name in names(jars.jar_dir(LOCK.version)) if name.endswith(".part")]


def test_endless_answer_is_cut_and_refused(mirror: Mirror) -> None:
    """What comes after the locked length is not read: one byte more is enough to refuse a jar."""
    mirror.files[f"/{JAR.path}"] = CONTENT * 50

    with pytest.raises(BrokerError, match="other bytes than the lock file names"):
        ensure_jars(LOCK, lambda _: None)


def test_lost_connection_is_tried_again(mirror: Mirror) -> None:
    """Half a jar is a network failure, not a forgery: it is fetched again."""
    mirror.cut_off.add(f"/{JAR.path}")

    folder = ensure_jars(LOCK, lambda _: None)

    assert (folder / JAR.name).read_bytes() == CONTENT
    assert mirror.asked.count(f"/{JAR.path}") == 2


def test_next_mirror_has_what_the_first_has_not(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """KAFKA_MAVEN_URL may name several repositories; each is asked in its turn."""
    monkeypatch.setenv("KAFKA_MAVEN_URL", f"{mirror.url}/empty/ {mirror.url}/")

    folder = ensure_jars(LOCK, lambda _: None)

    assert names(folder) == ["one-1.0.jar", "two-1.0.jar"]


def test_corrupt_jar_in_the_cache_is_fetched_again(mirror: Mirror) -> None:
    """One flipped byte in a cached jar does not reach Java."""
    folder = ensure_jars(LOCK, lambda _: None)
    (folder / JAR.name).write_bytes(b"X" + CONTENT[1:])

    ensure_jars(LOCK, lambda _: None)

    assert (folder / JAR.name).read_bytes() == CONTENT
    assert mirror.asked.count(f"/{JAR.path}") == 2


def test_stray_jar_leaves_the_class_path(mirror: Mirror) -> None:
    """The class path is the whole folder, so a jar that the lock does not name is removed from it."""
    folder = ensure_jars(LOCK, lambda _: None)
    (folder / "other-9.9.jar").write_bytes(b"PK")

    ensure_jars(LOCK, lambda _: None)

    assert names(folder) == ["one-1.0.jar", "two-1.0.jar"]


def test_offline_says_what_is_missing_and_asks_nobody(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """With KAFKA_OFFLINE a missing jar is an error that names the folder and the command that fills it."""
    folder = ensure_jars(LOCK, lambda _: None)
    (folder / JAR.name).unlink()
    mirror.asked.clear()
    monkeypatch.setenv("KAFKA_OFFLINE", "1")

    with pytest.raises(BrokerError) as refusal:
        ensure_jars(LOCK, lambda _: None)

    assert "1 of 2 Kafka jars" in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "freshet broker prefetch" in str(refusal.value)
    assert mirror.asked == []


def test_unreachable_mirror_is_named_with_every_way_out(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the message names the mirror, its error, and what else there is to try."""
    mirror.files.clear()
    unreachable = "http://127.0.0.1:1"
    monkeypatch.setenv("KAFKA_MAVEN_URL", f"{mirror.url} {unreachable}")

    with pytest.raises(BrokerError) as refusal:
        ensure_jars(LOCK, lambda _: None)

    message = str(refusal.value)
    assert f"{mirror.url}: HTTP 404" in message
    assert f"{unreachable}: " in message
    for way_out in ("HTTPS_PROXY", "KAFKA_MAVEN_URL", "docker compose", "KAFKA_BOOTSTRAP"):
        assert way_out in message


def test_lock_names_one_kafka_and_one_logging_binding() -> None:
    """All of Kafka's jars are of the locked version, and SLF4J is there once with the binding for its generation.

    Resolved in one go, the two roots of `streams/broker/lock.py` bring another kafka-clients; without the binding Kafka
    logs nothing, and the embedded broker would never see it start.
    """
    lock = load_lock()
    by_name = {jar.name: jar for jar in lock.jars}
    kafka = [jar for jar in lock.jars if jar.path.startswith("org/apache/kafka/")]

    assert len(by_name) == len(lock.jars)
    assert len(kafka) > 10
    assert all(f"/{lock.version}/" in jar.path for jar in kafka)
    assert [name for name in by_name if name.startswith("slf4j-api-")] == ["slf4j-api-1.7.36.jar"]
    assert [name for name in by_name if name.startswith("log4j-slf4j")] == ["log4j-slf4j-impl-2.25.4.jar"]

"""TLS: what an edge speaks when it has a certificate, and what it says of one that it cannot use."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import TlsUnusable
from scoring.door import Door
from scoring.engine import Engine
from scoring.limits import Limits
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.session import Session
from scoring.tls import tls_context
from tests.scoring.artifacts import event, release
from tests.scoring.certificates import certificate
from tests.scoring.serving import Serving, everything, post

EVENT = event(timestamp="2020-01-01T00:00:00Z")
LIMITS = Limits(request_s=1.0, connections=20, connections_per_address=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serving(files: tuple[Path, Path]) -> Iterator[Serving]:
    engine = Engine()
    engine.swap(Session(release(3)), now_ms=0)
    with Serving(Door(engine, Registry(), Profiles()), LIMITS, tls_context(*files)) as serving:
        yield serving


def client(cert: Path) -> ssl.SSLContext:
    """A client that trusts the certificate and nothing else."""
    return ssl.create_default_context(cafile=str(cert))


def test_a_client_that_knows_the_certificate_is_answered(serving: Serving, files: tuple[Path, Path]) -> None:
    """Several times through one connection, with TLS 1.3."""
    connection = http.client.HTTPSConnection("127.0.0.1", serving.port, context=client(files[0]), timeout=10)
    with contextlib.closing(connection):
        statuses = [post(connection, body)[0] for body in (EVENT, {}, EVENT)]
        version = connection.sock.version()  # type: ignore[union-attr]  # it is connected

    assert statuses == [200, 400, 200]
    assert version == "TLSv1.3"


def test_tls_1_2_is_the_oldest(serving: Serving, files: tuple[Path, Path]) -> None:
    """1.2 is spoken; 1.1 is not, however hard a client asks."""
    context = client(files[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", serving.port, context=context)) as connection:
        status = post(connection, EVENT)[0]
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    assert status == 200
    with contextlib.closing(serving.raw()) as raw, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(raw)


def test_plain_text_is_answered_with_nothing(serving: Serving) -> None:
    """Who speaks HTTP to a TLS port is let go, and others are served."""
    with contextlib.closing(serving.raw(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")) as raw:
        answered = everything(raw)

    assert b"HTTP/1.1" not in answered


def test_half_handshakes_count_and_are_hung_up_on(serving: Serving, files: tuple[Path, Path]) -> None:
    """asyncio's own servers would not count them, and would wait for a minute."""
    started = time.monotonic()
    halves = [serving.raw(b"\x16\x03\x01" * number) for number in range(3)]
    time.sleep(0.1)
    context = client(files[0])
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", serving.port, context=context)) as connection:
        connection.connect()
        refused = connection.sock.recv(4096)  # type: ignore[union-attr]
    ended = [everything(half) for half in halves]
    took_s = time.monotonic() - started
    for half in halves:
        half.close()
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", serving.port, context=context)) as connection:
        after = post(connection, EVENT)[0]

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert len(ended) == 3
    assert took_s < 3
    assert after == 200


def test_a_half_request_in_tls_is_hung_up_on(serving: Serving, files: tuple[Path, Path]) -> None:
    """With its reason, as without TLS."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", serving.port), 10)) as raw:
        stalled = client(files[0]).wrap_socket(raw, server_hostname="127.0.0.1")
        stalled.sendall(b"POST /v1/events HTTP/1.1\r\n")
        started = time.monotonic()
        answered = stalled.recv(4096)
        took_s = time.monotonic() - started

    assert answered.startswith(b"HTTP/1.1 408 ")
    assert took_s < 2


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """By the file's name, in words of ours; a key of another certificate, an encrypted key, a file that is neither."""
    cert, key = files
    _, other = certificate(tmp_path, "other")
    encrypted, garbage, torn = tmp_path / "encrypted.key", tmp_path / "garbage.pem", tmp_path / "torn.pem"
    argv = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", encrypted]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    garbage.write_bytes(b"\x00\xff")
    torn.write_text(cert.read_text()[:200])

    said = {}
    for name, pair in {
        "lacking": (tmp_path / "none.pem", key),
        "directory": (cert, tmp_path),
        "mismatch": (cert, other),
        "encrypted": (cert, encrypted),
        "garbage": (garbage, key),
        "swapped": (key, cert),
        "torn": (torn, key),
    }.items():
        with pytest.raises(TlsUnusable) as raised:
            tls_context(*pair)
        said[name] = str(raised.value)

    assert said["lacking"].endswith("none.pem cannot be used for TLS: No such file or directory")
    assert said["directory"].endswith("Is a directory")
    assert said["mismatch"] == f"{other} cannot be used for TLS: it is not the key of {cert}"
    assert "decrypt it" in said["encrypted"]
    assert said["garbage"] == f"{garbage} cannot be used for TLS: it has no certificate in PEM"
    assert "has no certificate in PEM" in said["swapped"]
    assert str(torn) in said["torn"]

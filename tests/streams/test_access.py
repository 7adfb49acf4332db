"""Access to an edge, from the command line: keys are made, faults are told, a changed file is taken."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.errors import TooOpen
from scoring.door import Door
from scoring.engine import Engine
from scoring.keys import Keys
from scoring.limits import Limits
from scoring.profiles import Profiles
from scoring.registry import Registry
from streams.access import Access, Doorkeeper
from streams.cli.edge import command as edge
from streams.cli.keys import command as keys
from streams.edge import run_edge
from streams.topics import Cluster
from tests.scoring.asgi import call
from tests.scoring.certificates import certificate


def made(name: str, *scopes: str) -> tuple[str, str]:
    """A key and its line."""
    result = CliRunner().invoke(keys, ["new", "--name", name, *(word for each in scopes for word in ("--scope", each))])
    assert result.exit_code == 0, result.output
    return result.stderr.rpartition(" ")[2].strip(), result.stdout


def test_a_new_key_is_told_once_and_its_line_opens(tmp_path: Path) -> None:
    """The line goes where it can be appended to a file, the key goes elsewhere."""
    file = tmp_path / "keys.txt"
    secret, line = made("shop", "infer", "metadata")
    file.write_text(line)

    key = Keys.read(file).find(secret.encode())
    listed = CliRunner().invoke(keys, ["list", str(file)]).output

    assert key is not None
    assert (key.name, key.scopes) == ("shop", {"infer", "metadata"})
    assert secret not in line
    assert listed == "shop  infer, metadata\n"


def test_a_changed_file_is_taken_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Until it is whole again the keys that were in it hold."""
    file = tmp_path / "keys.txt"
    (old, old_line), (new, new_line) = made("old", "metadata"), made("new", "metadata")
    file.write_text(old_line)
    doorkeeper = Doorkeeper(file)
    door = doorkeeper.keyed(Door(Engine(), Registry(), Profiles()))

    def statuses() -> list[int]:
        replies = [call(door, "GET", "/v2", headers={"X-API-Key": secret}) for secret in (old, new)]
        return [reply.status for reply in replies if reply is not None]

    told = [statuses()]
    for number, content in enumerate((old_line + "half a li", "", new_line)):
        file.write_text(content)
        os.utime(file, ns=(number, number))
        doorkeeper.look()
        told.append(statuses())
    file.unlink()
    doorkeeper.look()
    told.append(statuses())

    assert told == [[200, 401], [200, 401], [200, 401], [401, 200], [401, 200]]
    assert caplog.text.count("keys_kept") == 3
    assert "half a li" not in caplog.text


def test_without_a_file_there_is_no_guard() -> None:
    """Nor any cost of one."""
    door = Door(Engine(), Registry(), Profiles())

    assert Doorkeeper(None).keyed(door) is door


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "cert.pem"], "belong together"),
        (["--keys", "keys.txt", "--without-keys"], "different things"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem", "--without-tls"], "different things"),
        (["--max-connections", "0"], "0 is not in the range"),
        (["--idle-timeout", "0"], "not in the range"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], said: str) -> None:
    """Before anything is started."""
    result = CliRunner().invoke(edge, arguments)

    assert result.exit_code == 2
    assert said in result.output


def test_an_open_edge_is_refused_before_it_listens() -> None:
    """Unless somebody says so: then it is not this that stops it."""
    nowhere = Cluster("127.0.0.1:1")

    with pytest.raises(TooOpen):
        run_edge(nowhere, "0.0.0.0", 0)
    Access(without_keys=True, without_tls=True).check("0.0.0.0")


def test_options_become_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each where it belongs; those that are not given are the defaults."""
    taken: list[Limits] = []
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr("streams.edge.run_edge", lambda *_, limits, **__: taken.append(limits))
    words = "--max-body 10 --max-head 20 --request-timeout 30 --idle-timeout 40 --max-connections 50"

    for arguments in ([], [*words.split(), "--max-connections-per-address", "7"]):
        result = CliRunner().invoke(edge, arguments)
        assert result.exit_code == 0, result.output

    default, given = taken
    assert default == Limits()
    assert (given.body_bytes, given.head_bytes, given.request_s, given.idle_s) == (10, 20, 30.0, 40.0)
    assert (given.connections, given.from_one_address) == (50, 7)


def test_an_edge_with_keys_and_tls_serves_and_ends_in_time(tmp_path: Path) -> None:
    """As a process, without a broker: strangers are told to bring a key, also by the operator's listener; after SIGTERM
    it has ended within 5 s, though a hundred callers hold half a request or half a handshake."""
    cert, private_key = certificate(tmp_path)
    secret, line = made("shop", "metadata", "admin")
    file = tmp_path / "keys.txt"
    file.write_text(line)
    argv = [sys.executable, "-P", "-m", "streams.cli", "edge", "--port", "0", "--admin-port", "0", "--keys", str(file)]
    argv += ["--tls-cert", str(cert), "--tls-key", str(private_key)]
    env = os.environ | {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "PYTHONPATH": str(Path(__file__).parents[2])}
    log = tmp_path / "edge.log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=env, cwd=tmp_path, stdout=output, stderr=output)
    halves: list[socket.socket] = []
    try:
        end_s = time.monotonic() + 20
        while "admin_listening" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end_s, log.read_text()
            time.sleep(0.05)
        url, admin_url = re.findall(r"_listening url=(\S+)", log.read_text())
        context = ssl.create_default_context(cafile=str(cert))

        def ask(address: str, **headers: str) -> int:
            request = urllib.request.Request(address, headers=headers)
            try:
                with urllib.request.urlopen(
                    request, timeout=10, context=context if "https" in address else None
                ) as got:
                    return got.status
            except urllib.error.HTTPError as error:
                return error.code

        told = {
            "stranger": ask(f"{url}/v2"),
            "caller": ask(f"{url}/v2", Authorization=f"Bearer {secret}"),
            "probe": ask(f"{url}/v2/health/live"),
            "stranger at the operator's": ask(f"{admin_url}/v2/repository/index"),
            "operator": ask(f"{admin_url}/v2/repository/index", **{"X-API-Key": secret}),
        }
        for number in range(100):
            half = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)
            halves.append(half)
            if number % 2:
                half = context.wrap_socket(half, server_hostname="127.0.0.1")
                halves[-1] = half
                half.sendall(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"[: number + 20])
            else:
                half.sendall(b"\x16\x03\x01")
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        took_s = time.monotonic() - started
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        for half in halves:
            half.close()

    assert url.startswith("https://127.0.0.1:")
    assert told == {"stranger": 401, "caller": 200, "probe": 200, "stranger at the operator's": 401, "operator": 405}
    assert code == 0, log.read_text()
    assert took_s < 5
    assert secret not in log.read_text()

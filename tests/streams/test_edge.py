"""An edge as its users meet it: a process, real requests, a real Kafka that comes and goes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.profile import Profile
from schemas.reader import Reader
from schemas.records import Release, VisitorProfile
from scoring.server import listen
from scoring.session import Session
from streams.broker import EmbeddedBroker
from streams.broker.ports import free_ports
from streams.cli.edge import command
from streams.topics import PROFILES, Cluster, create_topics
from tests.scoring.artifacts import EVENT_MS, SPEC, constant_p, event, release, weighted
from tests.streams.asking import Asking
from tests.streams.published import Record, live, new_cluster, released, remembered, write

ROOT = Path(__file__).parents[2]


class EdgeProcess:
    """`freshet edge` on a free port."""

    def __init__(self, cluster: Cluster, log: Path, *arguments: str) -> None:
        self._log = log
        env = os.environ | {"KAFKA_BOOTSTRAP": cluster.bootstrap, "FRESHET_TOPIC_PREFIX": cluster.prefix}
        argv = [sys.executable, "-P", "-m", "streams.cli", "edge", *(arguments or ("--port", "0"))]
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, env=env | {"PYTHONPATH": str(ROOT)}, stdout=output, stderr=output)

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def port(self) -> int:
        """The port, once it listens."""
        return self._port("edge")

    @property
    def admin_port(self) -> int:
        """The operator's port, once it listens."""
        return self._port("admin")

    def _port(self, which: str) -> int:
        end_s = time.monotonic() + 20
        while (found := re.search(rf"{which}_listening url=http://127\.0\.0\.1:(\d+)", self.said)) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end_s, self.said
            time.sleep(0.02)
        return int(found[1])

    def ask(self, path: str, body: Any = None, *, port: int | None = None) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", data, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def until_ready(self, within_s: float = 20.0) -> None:
        """Wait until a model is loaded."""
        end_s = time.monotonic() + within_s
        while self.ask("/v2/health/ready")[0] != 200:
            assert time.monotonic() < end_s, self.said
            time.sleep(0.05)

    def end(self) -> None:
        """End it by its id, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    cluster = new_cluster(kafka)
    asyncio.run(create_topics(cluster, partitions=2))
    return cluster


@pytest.fixture
def edge(cluster: Cluster, tmp_path: Path) -> Iterator[EdgeProcess]:
    edge = EdgeProcess(cluster, tmp_path / "edge.log")
    yield edge
    edge.end()


def publish(cluster: Cluster, *records: Release | Record) -> None:
    flat = [record for each in records for record in (released(cluster, each) if isinstance(each, Release) else [each])]
    asyncio.run(write(cluster.bootstrap, flat))


def test_ten_swaps_under_load_fail_nobody(cluster: Cluster, edge: EdgeProcess) -> None:
    """Every request is answered; every answer names the version that made it; no caller sees a version go down."""
    publish(cluster, release(0))
    edge.until_ready()

    with Asking(edge.port) as asking:
        for version in range(1, 11):
            publish(cluster, release(version))
            asking.until_answered_by(version)

    assert asking.failures == []
    assert asking.versions() == set(range(11))
    assert [each for each in asking.answers if each.score != constant_p(each.version)] == []
    for caller in range(4):
        versions = [answer.version for answer in asking.answers if answer.caller == caller]
        assert versions == sorted(versions)
    assert edge.said.count("release_swapped") == 11


def test_kafka_may_come_late_and_go_away(tmp_path: Path) -> None:
    """Before Kafka is there an edge lives and says that it is not ready. While Kafka is gone for seconds nobody fails;
    when it is back the next release is swapped in."""
    port = free_ports(1)[0]
    cluster = Cluster(f"127.0.0.1:{port}")
    edge = EdgeProcess(cluster, tmp_path / "edge.log")

    def broker() -> EmbeddedBroker:
        return EmbeddedBroker(tmp_path / "kafka", port=port, heap_mib=128, say=lambda _: None)

    try:
        before = edge.ask("/v2/health/live")[0], edge.ask("/v2/health/ready")[0], edge.ask("/v1/events", event())[0]
        with broker():
            asyncio.run(create_topics(cluster, partitions=1))
            publish(cluster, release(0))
            edge.until_ready(within_s=40)
            asking = Asking(edge.port).__enter__()
        gone_at_s = time.monotonic()
        time.sleep(4)
        with broker():
            back_at_s = time.monotonic()
            publish(cluster, release(1))
            asking.until_answered_by(1, within_s=40)
            asking.stop()
    finally:
        edge.end()

    assert before == (200, 503, 503)
    assert asking.failures == []
    assert sum(gone_at_s < answer.at_s < back_at_s for answer in asking.answers) > 500
    assert asking.versions() == {0, 1}


def test_tensors_are_answered_by_the_versions_that_are_resident(cluster: Cluster, edge: EdgeProcess) -> None:
    """The last three that were live; a rollback to one of them loads nothing."""
    inputs = {"inputs": [{"name": "hour(timestamp)", "shape": [1], "datatype": "INT32", "data": [7]}]}
    for version in range(4):
        publish(cluster, release(version))
        _until_version(edge, version)

    asked = {version: edge.ask(f"/v2/models/m/versions/{version}/infer", inputs) for version in range(4)}
    publish(cluster, live(cluster, "m", 2))
    _until_version(edge, 2)

    assert [status for status, _ in asked.values()] == [404, 200, 200, 200]
    for version in (1, 2, 3):
        outputs = {each["name"]: each["data"] for each in asked[version][1]["outputs"]}
        assert (asked[version][1]["model_version"], outputs["score"]) == (str(version), [constant_p(version)])
    assert "release_swapped model=m old=3 new=2 load_ms=0.0" in edge.said


def _until_version(edge: EdgeProcess, version: int) -> None:
    end_s = time.monotonic() + 20
    while edge.ask("/v2/models/m")[1].get("version") != version:
        assert time.monotonic() < end_s, edge.said
        time.sleep(0.02)


def test_an_operator_has_a_listener_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    """On loopback: index, unload, load; the other listener has none of it; both end at SIGTERM."""
    edge = EdgeProcess(cluster, tmp_path / "edge.log", "--port", "0", "--admin-port", "0")
    try:
        publish(cluster, release(3))
        edge.until_ready()
        index = edge.ask("/v2/repository/index", b"{}", port=edge.admin_port)
        unloaded = (
            edge.ask("/v2/repository/models/m/unload", b"{}", port=edge.admin_port),
            edge.ask("/v2/health/ready")[0],
        )
        publish(cluster, release(4))
        end_s = time.monotonic() + 20
        # 503 as long as the alias is read, and the release that it names is not.
        while (loaded := edge.ask("/v2/repository/models/m/load", b"{}", port=edge.admin_port)[0]) == 503:
            assert time.monotonic() < end_s, edge.said
            time.sleep(0.02)
        _until_version(edge, 4)
        elsewhere = edge.ask("/v2/repository/index", b"{}")[0]

        edge.process.send_signal(signal.SIGTERM)
        exit_code = edge.process.wait(10)
    finally:
        edge.end()

    assert index == (200, [{"name": "m", "version": "3", "state": "READY", "reason": ""}])
    assert (unloaded, loaded, elsewhere) == (((200, {}), 503), 200, 404)
    assert exit_code == 0
    assert "Traceback" not in edge.said


def test_without_being_told_to_it_has_no_listener_for_operators(cluster: Cluster, edge: EdgeProcess) -> None:
    """The admin port is off unless given."""
    publish(cluster, release(0))
    edge.until_ready()

    assert "admin_listening" not in edge.said


def test_sigterm_under_load_drops_nobody(cluster: Cluster, edge: EdgeProcess) -> None:
    """Each caller's last answer says that it is the last; then the port is closed, and it exits with 0 within 5 s."""
    publish(cluster, release(3))
    edge.until_ready()
    with Asking(edge.port, callers=8) as asking:
        asking.until_answered_by(3)
        time.sleep(0.5)

        edge.process.send_signal(signal.SIGTERM)
        started_s = time.monotonic()
        exit_code = edge.process.wait(10)
        took_s = time.monotonic() - started_s
        time.sleep(0.5)

    assert exit_code == 0
    assert took_s < 5
    assert asking.failures == []
    assert asking.ended == 8
    assert "edge_stopped" in edge.said
    assert "Traceback" not in edge.said


def test_the_profiles_are_followed(cluster: Cluster, edge: EdgeProcess) -> None:
    """The score is to the last bit what Reader and Session give with the profile; when that was written is told."""
    weights = [1e-6, 0.01, 0.7, -0.003]
    profile = VisitorProfile(
        model="m",
        visitor="v/1",
        seen=EVENT_MS - 7,
        times=[[EVENT_MS - 61_234, EVENT_MS - 7]],
        last=[[EVENT_MS - 45_678]],
    )
    body = json.dumps(event(identityMap={"ECID": [{"id": "v/1", "primary": True}]})).encode()
    publish(cluster, release(0, weighted(weights)))
    edge.until_ready()
    unknown = edge.ask("/v1/events", body)[1]

    before_ms = time.time() * 1000
    publish(cluster, remembered(cluster, profile))
    known = _ask_until(edge, body, known=True)
    after_ms = time.time() * 1000
    publish(cluster, (cluster.topic(PROFILES), b"m/v/1", None))
    forgotten = _ask_until(edge, body, known=False)

    reader = Reader(SPEC)
    x = reader.x(reader.read(body, EVENT_MS), Profile(profile.seen, profile.times, profile.last))
    assert known["scores"][0]["score"] == Session(release(0, weighted(weights))).score([x])[0]
    assert known["scores"][0]["score"] != unknown["scores"][0]["score"]
    assert before_ms - 1 <= known["profile"]["asOf"] <= after_ms
    assert unknown == forgotten
    assert unknown["profile"] == {"known": False, "asOf": None}


def _ask_until(edge: EdgeProcess, body: bytes, *, known: bool) -> Any:
    end_s = time.monotonic() + 20
    while True:
        answer = edge.ask("/v1/events", body)[1]
        if answer["profile"]["known"] is known:
            return answer
        assert time.monotonic() < end_s, edge.said
        time.sleep(0.02)


def test_a_taken_port_is_one_plain_line(kafka: str, tmp_path: Path) -> None:
    """Exit code 1 and what to do, without a traceback and without asking Kafka."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    edge = EdgeProcess(Cluster(kafka), tmp_path / "edge.log", "--port", str(port))

    exit_code = edge.process.wait(20)
    listener.close()

    assert exit_code == 1
    assert edge.said == (
        f"freshet: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another with --port\n"
    )


@pytest.mark.parametrize("what", ["import streams.edge", "from streams.cli.edge import command"])
def test_an_edge_carries_none_of_the_heavy_four(what: str) -> None:
    """Neither Faust nor River nor scikit-learn nor pandas, so that its image needs none of them."""
    script = (
        f"import sys; {what}; print(sorted({{'faust', 'mode', 'river', 'sklearn', 'pandas'}} & sys.modules.keys()))"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert printed.stdout.strip() == "[]"


def test_a_running_edge_carries_none_of_the_heavy_four(cluster: Cluster, edge: EdgeProcess) -> None:
    """Nor does it load their libraries later, when it has loaded a model and answered."""
    publish(cluster, release(0))
    edge.until_ready()
    edge.ask("/v1/events", event())

    maps = Path(f"/proc/{edge.process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here: it would have shown that no library of River, scikit-learn or pandas is mapped")

    assert not re.search(r"site-packages/(faust|mode|river|sklearn|pandas)/", maps.read_text())


def test_help_teaches() -> None:
    """How to start it, how to ask it, what it answers."""
    text = CliRunner().invoke(command, ["--help"]).output

    assert "freshet edge --port 8080" in text
    assert "curl --data @- http://127.0.0.1:8080/v1/events" in text
    assert "identityMap" in text
    assert "503" in text

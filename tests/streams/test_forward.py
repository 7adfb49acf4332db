"""What an edge has answered comes to `events`, whatever becomes of Kafka, of the edge, or of its disk."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.reader import Reader
from schemas.records import Release, Score, decode, score_id
from schemas.score_header import ScoreHeader
from scoring.forward import Outgoing
from scoring.session import Session
from scoring.spill import Spill
from streams.broker import EmbeddedBroker
from streams.broker.ports import free_ports
from streams.forward import KafkaForwarder
from streams.partition import Partition
from streams.sender import home_of
from streams.topics import EVENTS, SCORES, Cluster, create_topics
from tests.scoring.artifacts import EVENT_MS, SPEC, constant_p, event, release
from tests.streams.installation import ROOT, Installation, _read
from tests.streams.published import new_cluster, released, until, write
from tests.streams.test_edge import EdgeProcess

PARTITIONS = 2


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    cluster = new_cluster(kafka)
    asyncio.run(create_topics(cluster, PARTITIONS))
    return cluster


def outgoing(number: int, visitor: str = "v", size_bytes: int = 0) -> Outgoing:
    value = json.dumps(event(_id=str(number), padding="x" * size_bytes)).encode()
    return Outgoing(EVENT_MS + number, visitor.encode(), value, [("traceparent", b"00")])


def publish(cluster: Cluster, *releases: Release) -> None:
    asyncio.run(write(cluster.bootstrap, [record for each in releases for record in released(cluster, each)]))


def in_events(cluster: Cluster) -> list[ConsumerRecord]:
    return asyncio.run(_read(cluster, EVENTS))


def names(records: Iterable[ConsumerRecord]) -> list[str]:
    return [json.loads(record.value)["_id"] for record in records]


def once(all_: Iterable[str]) -> list[str]:
    """Each, where it came first."""
    return list(dict.fromkeys(all_))


def until_in_events(cluster: Cluster, wanted: set[str], within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while missing := wanted - set(names(in_events(cluster))):
        assert time.monotonic() < end_s, f"{len(missing)} are not in events, such as {sorted(missing)[:3]}"
        time.sleep(0.2)


class Posting:
    """Callers who post numbered events of ten visitors; each knows which were answered as forwarded.

    Attributes:
        forwarded: the names of those, by visitor, in the order of their answers.
        scored_only: the names of those that were scored and not forwarded, with the reason.
        failures: what was no answer.
    """

    def __init__(self, port: int, *, rate_per_s: float = 200.0, callers: int = 2) -> None:
        self._port = port
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._post, args=(caller, callers / rate_per_s)) for caller in range(callers)
        ]
        self.forwarded: dict[str, list[str]] = {}
        self.scored_only: dict[str, str] = {}
        self.failures: list[str] = []

    def __enter__(self) -> Posting:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def names(self) -> set[str]:
        return {name for of_visitor in self.forwarded.values() for name in of_visitor}

    def _post(self, caller: int, period_s: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        number, due_s = 0, time.monotonic()
        while not self._over.wait(max(0.0, due_s - time.monotonic())):
            name, visitor = f"{caller}-{number}", f"v{caller}{number % 5}"
            number, due_s = number + 1, due_s + period_s
            body = event(_id=name, identityMap={"ECID": [{"id": visitor, "primary": True}]})
            try:
                connection.request("POST", "/v1/events", json.dumps(body).encode())
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(repr(error))
                connection.close()
                return
            if response.status != 200 or not answer["scores"]:
                self.failures.append(f"{response.status} {answer}")
            elif answer["forwarded"]:
                self.forwarded.setdefault(visitor, []).append(name)
            else:
                self.scored_only[name] = answer["notForwarded"]
        connection.close()


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[Any]:
    """Starts edges that keep their events in `tmp_path / "spill"`."""
    started: list[EdgeProcess] = []

    def start(cluster: Cluster, *more: str) -> EdgeProcess:
        log = tmp_path / f"edge-{len(started)}.log"
        edge = EdgeProcess(cluster, log, "--port", "0", "--spill-dir", str(tmp_path / "spill"), *more)
        started.append(edge)
        return edge

    yield start
    for edge in started:
        edge.end()


# --- one event --------------------------------------------------------------------------------------------------------


def test_an_event_comes_to_events_as_it_was_with_what_was_said_of_it(cluster: Cluster, edges: Any) -> None:
    """Bytes, key, partition and time; the header has the score, its version and the x; `?forward=false` sends nothing;
    at the end nothing is left behind."""
    edge = edges(cluster)
    publish(cluster, release(3))
    edge.until_ready()
    body = json.dumps(event(_id="one", placeContext={"geo": {"countryCode": "CH"}})).encode()
    before_ms = time.time() * 1000
    _, answer = edge.ask("/v1/events", body)
    _, only = edge.ask("/v1/events?forward=false", json.dumps(event(_id="two")).encode())
    edge.ask("/v1/events", json.dumps(event(_id="three", eventType="commerce.purchases")).encode())
    bad = edge.ask("/v1/events?forward=maybe", body)
    edge.process.send_signal(signal.SIGTERM)
    exit_code = edge.process.wait(10)
    records = in_events(cluster)

    assert (answer["forwarded"], answer.get("notForwarded")) == (True, None)
    assert (only["forwarded"], only["notForwarded"]) == (False, "asked")
    assert (bad[0], bad[1]["field"]) == (400, "forward")
    assert names(records) == ["one", "three"]
    one, three = records
    assert (one.value, one.key, one.partition) == (body, b"v", home_of(b"v", range(PARTITIONS)))
    assert before_ms - 1 <= one.timestamp <= time.time() * 1000
    header = ScoreHeader(reader := Reader(SPEC))
    assert [name for name, _ in one.headers] == [header.name]
    read = reader.read(one.value, one.timestamp)
    said = header.read(one.headers[0][1], read, reader.x(read, None))
    assert (said.score, said.version, said.id) == (constant_p(3), 3, "m/one")
    assert [said.score] == Session(release(3)).score([said.x])
    assert list(three.headers) == []
    assert exit_code == 0
    assert not list(Path(edge._log.parent).glob("spill*"))


# --- Kafka goes -------------------------------------------------------------------------------------------------------


def test_while_the_broker_is_away_nobody_fails_and_all_comes_to_events_in_order(tmp_path: Path, edges: Any) -> None:
    """Away for seconds under load: every answer says that it is forwarded; afterwards each event is in `events`, those
    of a visitor in the order of their answers, each taken once by a scorer's state."""
    port = free_ports(1)[0]
    cluster = Cluster(f"127.0.0.1:{port}")

    def broker() -> EmbeddedBroker:
        return EmbeddedBroker(tmp_path / "kafka", port=port, heap_mib=128, say=lambda _: None)

    with broker():
        asyncio.run(create_topics(cluster, PARTITIONS))
        publish(cluster, release(0))
        edge = edges(cluster)
        edge.until_ready(within_s=40)
        posting = Posting(edge.port).__enter__()
        time.sleep(0.5)
    time.sleep(2)
    with broker():
        time.sleep(1)
        posting.stop()
        until_in_events(cluster, posting.names)
        edge.process.send_signal(signal.SIGTERM)
        edge.process.wait(10)
        records = in_events(cluster)

    assert (posting.failures, posting.scored_only) == ([], {})
    assert len(posting.names) > 600
    for visitor, answered in posting.forwarded.items():
        assert once(names(each for each in records if each.key == visitor.encode())) == answered
    states = {partition: Partition(Reader(SPEC)) for partition in range(PARTITIONS)}
    taken = [pending.event for each in records for pending in states[each.partition].take([each]).pendings]
    assert Counter(taken) == Counter(posting.names)
    assert sum(state.counts.forwarded for state in states.values()) == len(taken)
    assert not (tmp_path / "spill").exists()


def test_kill_9_under_load_loses_no_event_that_was_answered(cluster: Cluster, edges: Any, tmp_path: Path) -> None:
    """Twice; the next edge sends what the last one left, also where Kafka had not been there for it at all."""
    publish(cluster, release(0))
    answered: list[set[str]] = []
    for attempt in range(2):
        edge = edges(cluster)
        edge.until_ready()
        with Posting(edge.port, rate_per_s=400) as posting:
            time.sleep(0.6 + 0.37 * attempt)
            edge.process.kill()
            edge.process.wait(10)
        answered.append(posting.names)
        assert len(posting.names) > 50
    last = edges(cluster)
    last.until_ready()
    until_in_events(cluster, set().union(*answered))
    last.process.send_signal(signal.SIGTERM)
    last.process.wait(10)

    assert not (tmp_path / "spill").exists()


def test_two_edges_never_share_a_spill(cluster: Cluster, edges: Any) -> None:
    """The second ends at once with a sentence; the first goes on."""
    first = edges(cluster)
    assert first.port
    second = edges(cluster)

    assert second.process.wait(20) == 1
    assert second.said.startswith("freshet: another edge has ")
    assert "--spill-dir" in second.said
    assert first.ask("/v2/health/live")[0] == 200


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_full_spill_and_a_disk_that_refuses_cost_no_score(tmp_path: Path) -> None:
    """Without Kafka for ever: the answers say `full`; where the directory cannot be made, `unwritable`."""

    async def offered(spill: Spill, count: int) -> list[str]:
        forwarder = KafkaForwarder(Cluster("127.0.0.1:1"), spill)
        forwarder.open()
        await forwarder.start()
        said = [forwarder.offer(outgoing(number, size_bytes=1000)) for number in range(count)]
        await forwarder.stop()
        return said

    (tmp_path / "file").write_text("in the way")
    full = asyncio.run(offered(Spill(tmp_path / "spill", 100_000), 200))
    unwritable = asyncio.run(offered(Spill(tmp_path / "file" / "spill"), 2))

    assert set(full[:70]) == {""}
    assert set(full[100:]) == {"full"}
    assert unwritable == ["unwritable"] * 2


def test_what_the_broker_never_takes_does_not_hold_up_the_rest(kafka: str, tmp_path: Path) -> None:
    """A topic of somebody else's with records of 20 KB: the larger one is lost, counted and told; all others come."""
    cluster = new_cluster(kafka)

    async def run() -> KafkaForwarder:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(cluster.topic(EVENTS), 1, 1, topic_configs={"max.message.bytes": "20000"})])
        await admin.close()
        forwarder = KafkaForwarder(cluster, Spill(tmp_path / "spill"))
        forwarder.open()
        for number in range(20):
            forwarder.offer(outgoing(number, size_bytes=30_000 if number == 7 else 100))
        await forwarder.start()
        await until(lambda: not forwarder.spilled_bytes)
        await forwarder.stop()
        return forwarder

    forwarder = asyncio.run(run())

    assert (forwarder.lost, forwarder.forwarded) == (1, 19)
    assert sorted(map(int, once(names(in_events(cluster))))) == [number for number in range(20) if number != 7]


# --- the scorer -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_the_scorer_awaits_the_edges_score_and_makes_no_other(kafka: str, tmp_path: Path, edges: Any) -> None:
    """Half of the events come by an edge and half by a producer, some by both: in `scores` each has one id; where the
    edge's copy was first it is the edge's score, version and moment; the examples follow from the log."""
    installation = Installation(kafka, ROOT / "examples" / "purchase_propensity.py", tmp_path, partitions=1)
    cluster, name = installation.cluster, installation.model.spec.name
    try:
        installation.start("learner")
        edge = edges(cluster)
        edge.until_ready(within_s=40)
        installation.start("scorer")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        bodies = {f"e{number}": json.dumps(event(_id=f"e{number}", timestamp=now)).encode() for number in range(60)}
        answers = {name_: edge.ask("/v1/events", body)[1] for name_, body in list(bodies.items())[:40]}
        installation.wait(lambda: len(installation.records(EVENTS)) >= 40, "events of the edge")
        installation.feed(list(bodies.values())[30:], close=False)
        installation.wait(lambda: len({each.id for each in installation.scores()}) == 60, "scores")
        scores: list[Score] = [decode(Score, record.value) for record in asyncio.run(_read(cluster, SCORES))]
    finally:
        installation.stop_all()

    by_id = {each.id: each for each in scores}
    assert len(scores) == len(by_id) == 60
    for name_, answer in answers.items():
        (said,) = answer["scores"]
        score = by_id[score_id(name, name_)]
        assert (score.score, score.version, score.valid_until) == (said["score"], said["version"], said["validUntil"])
    stamped = {json.loads(each.value)["_id"]: each.timestamp for each in reversed(installation.records(EVENTS))}
    assert [by_id[score_id(name, each)].scored_at for each in answers] == [stamped[each] for each in answers]

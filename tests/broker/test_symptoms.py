"""Kafka's own words, as 4.3.1 prints them, and what freshet says instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.broker.symptoms import explain, refused_port, tail

DATA = Path("/data/kafka")


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        pytest.param(
            "org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /data/kafka/log. A Kafka "
            "instance in another process or thread is using this directory.",
            "another Kafka uses /data/kafka; stop it",
            id="directory-in-use",
        ),
        pytest.param(
            "java.lang.RuntimeException: Stored node id 2 doesn't match previous node id 1 in /data/kafka/log",
            "/data/kafka does not belong to this broker",
            id="other-node",
        ),
        pytest.param(
            "java.lang.RuntimeException: Error: node ID not found in /data/kafka/log",
            "`freshet broker wipe` deletes it",
            id="damaged-directory",
        ),
        pytest.param(
            "java.lang.OutOfMemoryError: Java heap space", "give it more with `freshet broker up --heap`", id="heap"
        ),
        pytest.param("java.io.IOException: No space left on device", "the disk of /data/kafka is full", id="full-disk"),
        pytest.param("java.lang.Error: of a kind nobody saw", "all it said is in /data/kafka/broker.log", id="unknown"),
    ],
)
def test_kafkas_words_are_translated(printed: str, said: str) -> None:
    """The message says what it means and what to do, and quotes the line it is taken from."""
    message = explain(f"2026-11-24 INFO starting\n{printed}", DATA)

    assert said in message
    assert f"| {printed}" in message
    assert "INFO starting" not in message


def test_refused_port_is_told_from_other_trouble() -> None:
    """Only a port that could not be bound is worth another draw."""
    assert (
        refused_port("KafkaException: Socket server failed to bind to 127.0.0.1:9092: Address already in use.") == 9092
    )
    assert refused_port("java.lang.OutOfMemoryError: Java heap space") is None


def test_tail_without_an_error_is_the_end() -> None:
    """Where no line tells of an error, the last ones are all there is to show."""
    lines = [f"line {number}" for number in range(100)]

    assert tail("\n".join(lines)).splitlines() == [f"  | {line}" for line in lines[-12:]]

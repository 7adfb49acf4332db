"""A dead letter is the record as it came, and says in its headers what happened to it."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import EventInvalid, Poison
from schemas.records import DeadLetter
from streams.dead_letters import PREFIX, dead_letter_headers, own_headers, read_dead_letter
from streams.dead_letters.headers import replay_headers


def record_of(value: bytes | None = b"{", headers: Any = (), **changes: Any) -> ConsumerRecord:
    fields: dict[str, Any] = {
        "topic": "events", "partition": 3, "offset": 7, "timestamp": 1, "timestamp_type": 0, "key": b"v",
        "value": value, "checksum": None, "serialized_key_size": 1, "serialized_value_size": 1, "headers": headers,
    }  # fmt: skip
    return ConsumerRecord(**fields | changes)


def through_kafka(headers: list[tuple[str, bytes]]) -> Any:
    """The headers as a consumer finds them: in Kafka's own record format and back."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 2**24)
    builder.append(0, 1, b"k", b"v", headers)
    (record,) = DefaultRecordBatch(bytes(builder.build()))
    return record.headers


def test_the_headers_have_kafka_connects_names() -> None:
    """Tools made for Connect's dead letter queue find topic, partition, offset, exception and message."""
    headers = dead_letter_headers(record_of(), EventInvalid("timestamp", "has no time zone"))

    assert {
        "__connect.errors.topic": b"events",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"7",
        "__connect.errors.timestamp": b"1",
        "__connect.errors.stage": b"validate",
        "__connect.errors.exception.class.name": b"schemas.errors.EventInvalid",
        "__connect.errors.exception.message": b"timestamp has no time zone",
        "__connect.errors.attempt": b"1",
    } == dict(headers)


TEXTS = st.text(max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    own=st.lists(st.tuples(TEXTS, st.none() | st.binary())),
    topic=TEXTS,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**62),
    timestamp=st.integers(0, 2**62),
    stage=st.sampled_from(["decode", "validate", "learn"]),
    reason=TEXTS,
)
def test_a_dead_letter_reads_as_what_happened(own: list[tuple[str, bytes]], stage: str, reason: str, **at: Any) -> None:
    """Through Kafka's record format and back, whatever headers and bytes the record brought along."""
    record = record_of(headers=tuple(own), **at)
    headers = through_kafka(dead_letter_headers(record, Poison(stage, reason)))
    read = read_dead_letter(record.key, record.value, headers)

    assert own == own_headers(headers)
    assert DeadLetter(**at, stage=stage, error="schemas.errors.Poison", message=reason) == read


def test_a_record_that_dies_twice_tells_of_the_second_time() -> None:
    """Sent back to `events` with its headers and still poison, it names where it lay last."""
    first = dead_letter_headers(record_of(), Poison("decode", "first"))
    again = dead_letter_headers(record_of(headers=tuple(first), offset=99), Poison("validate", "second"))
    read = read_dead_letter(b"v", b"{", again)

    assert ("validate", "second", 99) == (read.stage, read.message, read.offset)


def test_a_record_on_its_way_back_has_its_own_headers_and_what_attempt_it_is() -> None:
    """The second time it says 3, whatever it said before; headers of its own, odd ones too, stay as they were."""
    own = (("traceparent", b"00-1"), (PREFIX + "topic", b"another system's"))
    first = dead_letter_headers(record_of(headers=own), Poison("decode", "first"))
    back = replay_headers(first, "events/3/7", 2)
    again = dead_letter_headers(record_of(headers=tuple(back), offset=99), Poison("decode", "second"))

    assert [*own, ("freshet.attempt", b"2"), ("freshet.replay-of", b"events/3/7")] == back
    assert (2, "events/3/7") == (
        read_dead_letter(b"v", b"{", again).attempt,
        read_dead_letter(b"v", b"{", again).replay_of,
    )
    assert [*own, ("freshet.attempt", b"3"), ("freshet.replay-of", b"events/3/99")] == replay_headers(
        again, "events/3/99", 3
    )


@pytest.mark.parametrize("odd", [None, b"", b"two", b"-1", b"9" * 400])
def test_an_attempt_that_is_no_number_is_the_first(odd: Any) -> None:
    """Producers may set any header."""
    letter = dead_letter_headers(record_of(headers=(("freshet.attempt", odd),)), Poison("decode", "why"))

    assert read_dead_letter(b"v", b"{", letter).attempt == 1


@pytest.mark.parametrize("odd", [None, b"", b"\xff\xfe"])
def test_odd_headers_of_others_do_no_harm(odd: Any) -> None:
    """A header of Connect's own may be null or no text: the rest is read all the same."""
    headers = [(PREFIX + "connector.name", odd), (PREFIX + "exception.stacktrace", odd)]
    read = read_dead_letter(b"v", b"{", headers + dead_letter_headers(record_of(), Poison("decode", "why")))
    odd_all = read_dead_letter(b"v", b"{", [(PREFIX + name, odd) for name in ("topic", "partition", "offset", "stage")])

    assert ("why", 7) == (read.message, read.offset)
    assert (-1, -1) == (odd_all.partition, odd_all.offset)


def test_a_record_without_such_headers_reads_as_one_of_which_nothing_is_known() -> None:
    """Somebody may put anything into `dead-letters`."""
    assert DeadLetter(
        key=None, value=b"x", topic="", partition=-1, offset=-1, stage="", error="", message=""
    ) == read_dead_letter(None, b"x", [("traceparent", b"00-1")])

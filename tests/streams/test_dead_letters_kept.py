"""What lies in `dead-letters` is told once, with what became of it, and found by filters that people guess."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import ConsumerRecord

from schemas.errors import EventInvalid, Poison
from streams.consume import as_json
from streams.dead_letters import dead_letter_headers
from streams.dead_letters.filters import parse_filter
from streams.dead_letters.headers import replay_headers
from streams.dead_letters.letters import Letter, Letters, Status, letter_of
from streams.dead_letters.marks import Mark, mark_headers, mark_value
from tests.streams.test_dead_letters import record_of

HOUR_MS = 3_600_000
TOPIC = "shop.events"


def letter_record(
    offset: int, at: int = 7, *, poison: Poison | None = None, headers: Any = (), put_aside_ms: int = 1000, **of: Any
) -> ConsumerRecord:
    """A record of `dead-letters`, at `offset`, about a record that lay in events/3 at `at`."""
    origin = record_of(topic=TOPIC, offset=at, headers=tuple(headers), **of)
    wrong = poison or EventInvalid("timestamp", "has no time zone")
    return record_of(
        topic="dead-letters", offset=offset, timestamp=put_aside_ms, key=origin.key, value=origin.value,
        headers=tuple(dead_letter_headers(origin, wrong)),
    )  # fmt: skip


def mark_record(offset: int, origin: str, *, after: int = 50, lies_at: int = -1) -> ConsumerRecord:
    value = mark_value(Mark(origin, attempt=2, after=after, offset=lies_at))
    return record_of(topic="dead-letters", offset=offset, value=value, headers=tuple(mark_headers()))


def taken(*records: ConsumerRecord) -> list[Letter]:
    letters = Letters()
    for record in records:
        letters.take(record)
    return letters.all()


def test_a_letter_says_where_its_record_lay_and_when_it_was() -> None:
    """The original timestamp too, which is not the letter's own."""
    (letter,) = taken(letter_record(0, put_aside_ms=9000, timestamp=4000))

    assert ("3/0", "shop.events/3/7", 4000, 9000) == (
        letter.place, letter.origin, letter.timestamp_ms, letter.put_aside_ms
    )  # fmt: skip
    assert (1, Status.WAITING, 1) == (letter.attempt, letter.status, letter.copies)


def test_a_letter_from_before_timestamps_were_kept_is_as_old_as_its_writing() -> None:
    """An event is no more than that ahead of its record than it was."""
    record = letter_record(0, put_aside_ms=9000)
    headers = tuple(each for each in record.headers if not each[0].endswith((".timestamp", ".attempt")))

    assert (9000, 1) == (
        letter_of(record_of(timestamp=9000, headers=headers)).timestamp_ms,
        letter_of(record_of(timestamp=9000, headers=headers)).attempt,
    )


def test_a_letter_that_was_written_twice_is_one() -> None:
    """A worker that was killed after writing it writes it again; what became of it holds, wherever the copy lies."""
    letters = Letters()
    for record in (letter_record(0), mark_record(1, "shop.events/3/7", lies_at=90), letter_record(2)):
        letters.take(record)
    (letter,) = letters.all()

    assert ("3/0", 2, Status.REPLAYED, 90) == (letter.place, letter.copies, letter.status, letter.sent_to)
    assert "3/0" == letters.first_of("3/2")


def test_another_record_at_the_same_place_is_another_letter() -> None:
    """A topic that was deleted and made anew counts from 0 again; what became of the old one is not the new one's."""
    old, new = taken(letter_record(0), mark_record(1, "shop.events/3/7", lies_at=90), letter_record(2, timestamp=2))

    assert (Status.REPLAYED, Status.WAITING) == (old.status, new.status)


def test_letters_that_do_not_say_where_they_come_from_stay_apart() -> None:
    """Somebody may put anything into `dead-letters`."""
    letters = taken(record_of(offset=0), record_of(offset=1), record_of(offset=2, headers=tuple(mark_headers())))

    assert ["3/0", "3/1", "3/2"] == [letter.place for letter in letters]
    assert {""} == {letter.origin for letter in letters}


def test_a_replay_that_was_interrupted_is_told_with_where_to_look() -> None:
    """The earliest of several: whichever began first may have sent the record."""
    origin = "shop.events/3/7"
    (letter,) = taken(letter_record(0), mark_record(1, origin, after=80), mark_record(2, origin, after=95))

    assert (Status.SENDING, 80) == (letter.status, letter.after)


def test_what_failed_again_points_to_the_newer_letter() -> None:
    """Also where the mark is missing: the newer letter names the one that it was."""
    first = letter_record(0)
    back = replay_headers(first.headers, "shop.events/3/7", 2)
    older, newer = taken(first, letter_record(1, at=90, headers=back))

    assert (Status.FAILED_AGAIN, 90) == (older.status, older.sent_to)
    assert (Status.WAITING, 2, "shop.events/3/7") == (newer.status, newer.attempt, newer.replay_of)


def test_a_mark_is_not_taken_for_a_letter_nor_a_letter_for_a_mark() -> None:
    """An event may bring any header along, that of a mark too."""
    disguised = letter_record(0, headers=mark_headers())

    assert 1 == len(taken(disguised))
    assert '{"mark":{"replayOf":"e/3/7","attempt":2,"after":50,"offset":-1}}' == as_json(
        "dead-letters", mark_record(1, "e/3/7")
    )


LETTER = letter_of(
    letter_record(
        5, at=17, poison=EventInvalid("timestamp", "has no time zone"), put_aside_ms=10 * HOUR_MS, key=b"visitor-1"
    )
)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("stage=validate", True),
        ("stage = decode", False),
        ("stage!=decode", True),
        ("topic=events", True),
        ("topic=shop.events", True),
        ("topic~event", True),
        ("origin=events/3/17", True),
        ("letter=3/5", True),
        ("partition=3", True),
        ("partition!=3", False),
        ("offset>=17", True),
        ("offset<17", False),
        ("attempt<=1", True),
        ("attempt>1", False),
        ("key=visitor-1", True),
        ("key~VISITOR", True),
        ("error=EventInvalid", True),
        ("error=schemas.errors.EventInvalid", True),
        ("error=timestamp has no time zone", True),
        ("error~time zone", True),
        ("error~eventinvalid: timestamp", True),
        ("error!~zone", False),
        ("status=waiting", True),
        ("status!=waiting", False),
        ("since=2h", True),
        ("since=30m", False),
        ("until=30m", True),
        ("until=2h", False),
        ("since=1970-01-01", True),
        ("since=1970-01-01T10:00", True),
        ("since=1970-01-01T10:00:00.001Z", False),
        ("until=1970-01-01T10:00+00:00", False),
        ("until=1970-01-01T12:00+01:00", True),
    ],
)
def test_filters_mean_what_they_say(expression: str, *, holds: bool) -> None:
    """An hour after a letter that was put aside at ten."""
    means = parse_filter(expression, now_ms=11 * HOUR_MS, prefix="shop.")

    assert holds == means(LETTER)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("decode", "'decode' is no filter; write for example stage=decode"),
        ("", "is no filter"),
        ("stage=", "stage= compares with nothing"),
        ("state=decode", "there is no field state; there are letter, topic, "),
        ("stage<decode", "stage is a text: compare it with =, !=, ~"),
        ("attempt=two", "attempt is a number: compare it with "),
        ("attempt~2", "attempt is a number"),
        ("since>2h", "since is a time: write since=2026-01-31"),
        ("until=soon", "soon is no time: write until=2026-01-31"),
    ],
)
def test_what_is_no_filter_is_told_what_would_be(expression: str, says: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as told:
        parse_filter(expression, now_ms=0)

    assert says in str(told.value)

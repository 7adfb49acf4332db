"""Every record survives bytes and back, and what is none is told from one."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import header, schema, write_single_object
from schemas.errors import SchemaUnknown
from schemas.records import (
    ON_TOPIC,
    Alias,
    DeadLetter,
    Example,
    LearnedThrough,
    ParityOf,
    Quarantine,
    Release,
    Score,
    Source,
    VisitorProfile,
    as_fields,
    decode,
    encode,
    score_id,
)

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
DOUBLES = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)  # the reader and the guard let nothing else through
TEXTS = st.text(max_size=20)
LEARNED = st.builds(LearnedThrough, offset=LONGS, event_time=LONGS)
KINDS = {
    Score: st.builds(
        Score,
        id=TEXTS, event=TEXTS, visitor=TEXTS, model=TEXTS, version=LONGS, score=st.floats(0, 1),
        learned_through=LEARNED, event_time=LONGS, scored_at=LONGS, valid_until=LONGS,
    ),
    Example: st.builds(
        Example,
        id=TEXTS, model=TEXTS, event=TEXTS, visitor=TEXTS, numbers=st.dictionaries(TEXTS, FINITE),
        categories=st.dictionaries(TEXTS, TEXTS), y=st.booleans(), score=st.floats(0, 1),
        version=LONGS, event_time=LONGS, closed_at=LONGS, source=st.builds(Source, partition=INTS, seq=LONGS),
    ),
    Release: st.builds(
        Release,
        model=TEXTS, version=LONGS, created_at=LONGS, sha256=TEXTS, onnx=st.binary(), spec=TEXTS,
        learned_through=LEARNED, examples=LONGS, positives=LONGS, refused=LONGS,
        metrics=st.dictionaries(TEXTS, DOUBLES), parity=st.builds(ParityOf, rows=INTS, max_abs_diff=DOUBLES),
    ),
    Alias: st.builds(Alias, model=TEXTS, alias=TEXTS, version=LONGS, changed_at=LONGS),
    Quarantine: st.builds(
        Quarantine,
        id=TEXTS, model=TEXTS, start=LONGS, stop=LONGS, examples=LONGS, reason=TEXTS, afresh=st.booleans(),
    ),
    VisitorProfile: st.builds(
        VisitorProfile,
        model=TEXTS, visitor=TEXTS, seen=LONGS, times=st.lists(st.lists(LONGS)), last=st.lists(st.lists(LONGS)),
    ),
    DeadLetter: st.builds(
        DeadLetter,
        key=st.none() | st.binary(), value=st.none() | st.binary(), topic=TEXTS, partition=INTS, offset=LONGS,
        stage=TEXTS, error=TEXTS, message=TEXTS, timestamp=LONGS, attempt=INTS, replay_of=TEXTS,
    ),
}  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
SCORE = Score(
    id="m/e", event="e", visitor="v", model="m", version=1, score=1.0, learned_through=LearnedThrough(), event_time=1,
    scored_at=2, valid_until=3,
)  # fmt: skip


@each_kind
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_record_survives_bytes_and_back(kind: Any, data: st.DataObject) -> None:
    """Every field, to the last bit of every number."""
    record = data.draw(KINDS[kind])

    assert record == decode(kind, encode(record))


@pytest.mark.parametrize("kind", [Score, Example], ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_travels_as_json_is_avro_json(kind: Any, data: st.DataObject) -> None:
    """What a console consumer prints of scores and examples, any Avro library's JSON decoder reads with the schema."""
    record = data.draw(KINDS[kind])
    (read,) = fastavro.json_reader(io.StringIO(encode(record).decode()), schema(kind.__name__.lower()))

    assert as_fields(record) == read


@pytest.mark.parametrize("kind", [Score, Example], ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_travels_as_json_may_come_in_avros_bytes_too(kind: Any, data: st.DataObject) -> None:
    """Its schema is in the catalog like any other."""
    record = data.draw(KINDS[kind])

    assert record == decode(kind, write_single_object(kind.__name__.lower(), as_fields(record)))


def test_a_score_is_one_line_of_json_in_xdms_spelling() -> None:
    """The fields of the record, camelCased, and no others."""
    assert (
        b'{"id":"m/e","event":"e","visitor":"v","model":"m","version":1,"score":1.0,"learnedThrough":'
        b'{"offset":-1,"eventTime":0},"eventTime":1,"scoredAt":2,"validUntil":3}' == encode(SCORE)
    )


@each_kind
def test_a_struct_has_the_fields_of_its_schema(kind: Any) -> None:
    """In the same order, so that one can be read beside the other."""
    name = {"VisitorProfile": "visitor_profile", "DeadLetter": "dead_letter"}.get(kind.__name__, kind.__name__.lower())

    assert [each["name"] for each in schema(name)["fields"]] == list(kind.__struct_encode_fields__)


@each_kind
@settings(max_examples=100, deadline=None)
@given(value=st.binary(max_size=80))
def test_what_is_no_record_raises_one_of_two_errors(kind: Any, value: bytes) -> None:
    """A worker that meets garbage has these to catch, and nothing else comes."""
    heads = [b"", *(header(name) for name in ("alias", "score", "example", "release"))]
    for each in (*(head + value for head in heads), b'{"id":' + b"[" * 10_000, b'{"id":"\xff"}'):
        try:
            decode(kind, each)
        except (msgspec.DecodeError, SchemaUnknown) as error:
            said = str(error)
        else:
            said = "a record, by chance"

        assert 0 < len(said) < 300


def test_another_record_is_not_taken_for_this_one() -> None:
    """An alias in `releases`, a score without its fields in `scores`."""
    alias = encode(Alias(model="m", alias="live", version=1, changed_at=1))
    for kind, value in ((Release, alias), (Example, alias), (Score, alias), (Score, b"{}"), (Example, encode(SCORE))):
        with pytest.raises(msgspec.DecodeError):
            decode(kind, value)


def test_every_topic_with_records_is_known() -> None:
    """What the command line can show as JSON."""
    assert {"scores", "examples", "releases", "aliases", "quarantine", "profiles"} == set(ON_TOPIC)
    assert set(ON_TOPIC.values()) <= set(KINDS)


def test_a_score_and_its_example_share_an_id() -> None:
    """Model and event, whatever signs the event's id has."""
    assert "m/a/b" == score_id("m", "a/b")


def test_an_examples_x_is_what_the_learner_takes() -> None:
    """Numbers and categories in one mapping, what is missing left out."""
    example = Example(
        id="m/e", model="m", event="e", visitor="v", numbers={"n": 1.0}, categories={"c": "x"}, y=True, score=0.5,
        version=1, event_time=1, closed_at=1, source=Source(partition=0, seq=0),
    )  # fmt: skip

    assert {"n": 1.0, "c": "x"} == example.x

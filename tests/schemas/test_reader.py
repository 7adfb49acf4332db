"""The reader makes an event of what is one, and poison, with a sentence, of everything else."""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.catalog import write_single_object
from schemas.errors import ModelFileError, Poison
from schemas.features import LONGEST, category, count, hour, number, seconds_since, weekday
from schemas.generated import APPLIES, OUTCOME
from schemas.reader import LONGEST_ID, Event, Reader
from schemas.xdm import EVENT_TYPES, MEASURES
from tests.schemas.events import (
    ADD,
    NOW_MS,
    PURCHASE,
    READABLE,
    VIEW,
    as_bytes,
    event,
    full_event,
    nested,
    shared,
    spec_of,
)

READER = Reader(
    spec_of(
        category("eventType"),
        category("placeContext.geo.countryCode"),
        category("web.webPageDetails.isHomePage"),
        number("commerce.order.priceTotal"),
        number("search.isPaid"),
        count(VIEW, within="1h"),
        seconds_since(PURCHASE),
        number("_acme.cart-size"),
    )
)
# Reads every field that a model can name.
OF_ALL = Reader(
    spec_of(
        *(number(path) if kind == "number" else category(path) for path, kind in READABLE.items()),
        *(number(path, name=f"{path} as 0 or 1") for path, kind in READABLE.items() if kind == "boolean"),
    )
)


def read(what: dict[str, Any], *, more: str = "") -> Event:
    return READER.read(as_bytes(what, more=more), NOW_MS)


def reason(value: bytes | None, reader: Reader = READER) -> str:
    """What the poison says that reading, or making x of, `value` must end in."""
    with pytest.raises(Poison) as poison:
        reader.x(reader.read(value, NOW_MS), None)
    return f"{poison.value.stage}: {poison.value.reason}"


# --- the forms in which an event travels ------------------------------------------------------------------------------


def test_a_bare_event_says_who_when_and_what() -> None:
    """A XED event in JSON becomes an id, a visitor, a time in milliseconds and the kinds that matter to the model."""
    got = read(event())

    assert ("e", "v", NOW_MS) == (got.id, got.visitor, got.time_ms)
    assert got.kinds & APPLIES
    assert not got.kinds & OUTCOME


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(
            {
                "schemaRef": {
                    "id": "https://ns.adobe.com/acme/schemas/1",
                    "contentType": "application/vnd.adobe.xed-full+json;version=1",
                },
                "imsOrgId": "acme@AdobeOrg",
                "datasetId": "d",
                "flowId": "f",
                "createdAt": 1,
                "source": {"name": "web"},
            },
            id="today's",
        ),
        pytest.param({"schemaRef": {"id": "x", "contentType": "y"}, "source": {"name": "connector"}}, id="connector's"),
        pytest.param({"msgType": "xdmEntityCreate", "msgId": "1", "xdmSchema": {"name": "x"}}, id="older"),
        pytest.param("not even an object", id="odd"),
        pytest.param(None, id="null"),
    ],
)
def test_an_envelope_is_opened_whatever_its_header_looks_like(header: Any) -> None:
    """The streaming-ingestion envelope gives the event in `body.xdmEntity`, with the header forms of all times."""
    envelope = {"header": header, "body": {"xdmMeta": {"schemaRef": {"id": "x"}}, "xdmEntity": event(_id="inside")}}

    assert "inside" == read(envelope).id
    assert "inside" == read({"body": envelope["body"]}).id


@pytest.mark.parametrize("body", [{}, {"xdmEntity": None}, {"xdmMeta": {}}], ids=["empty", "null", "only xdmMeta"])
def test_an_envelope_without_an_event_is_poison(body: Any) -> None:
    """The sentence names the member that is missing."""
    assert "validate: body.xdmEntity is missing from the envelope" == reason(as_bytes({"header": {}, "body": body}))


def test_a_field_inside_an_envelope_is_named_as_in_a_bare_event() -> None:
    """People look for `timestamp`, not for where the envelope put it."""
    envelope = {"header": {}, "body": {"xdmEntity": event(timestamp="yesterday")}}

    assert reason(as_bytes(event(timestamp="yesterday"))) == reason(as_bytes(envelope))


def test_avro_gives_the_same_event_as_json() -> None:
    """The same fields in single-object encoding give the same who, when, what and x."""
    fields = full_event()
    avro = OF_ALL.read(write_single_object("experience_event", fields | {"timestamp": NOW_MS}), NOW_MS)
    json_ = OF_ALL.read(as_bytes(fields), NOW_MS)

    assert json_[1:] == avro[1:]
    assert OF_ALL.x(json_, None) == OF_ALL.x(avro, None)


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identities", "visitor"),
    [
        ({"identityMap": {"Email": [{"id": "a"}], "ECID": [{"id": "b"}, {"id": "c", "primary": True}]}}, "c"),
        ({"identityMap": {"A": [{"id": "a", "primary": False}], "B": [{"id": "b", "primary": True}]}}, "b"),
        ({"identityMap": {"B": [{"id": "b", "primary": True}], "A": [{"id": "a", "primary": True}]}}, "b"),
        ({"identityMap": {"A": [{"primary": True}], "B": [{"id": "", "primary": True}, {"id": "b"}]}}, "b"),
        ({"identityMap": {"AAID": [{"id": "a"}], "ECID": [{"id": "e"}], "A": [{"id": "x"}]}}, "e"),
        ({"identityMap": {"AAID": [{"id": "a"}], "A": [{"id": "x"}]}}, "a"),
        ({"identityMap": {"Phone": [{"id": "p"}], "Email": [{"id": "m"}]}}, "m"),
        ({"identityMap": {"ECID": [{"id": "first"}, {"id": "second"}]}}, "first"),
        ({"identityMap": {"ECID": [], "Email": None, "Phone": [None, {"id": None}, {"id": "p"}]}}, "p"),
        ({"identityMap": {"ECID": [{"id": "e", "authenticatedState": "ambiguous", "more": {}}]}}, "e"),
        ({"identityMap": {"https://data.adobe.io/entities/namespace/4": [{"id": "u"}]}}, "u"),
        ({"identityMap": None, "endUserIDs": {"_experience": {"mcid": {"id": "m"}, "aaid": {"id": "a"}}}}, "m"),
        ({"identityMap": {}, "endUserIDs": {"_experience": {"mcid": None, "aaid": {"id": "a"}}}}, "a"),
        ({"endUserIDs": {"_experience": {"aaid": {"id": "a", "primary": True}, "mcid": {"id": "m"}}}}, "a"),
        ({"identityMap": {"A": [{"id": "x"}]}, "endUserIDs": {"_experience": {"mcid": {"id": "m"}}}}, "m"),
        ({"identityMap": {"ECID": [{"id": "e"}]}, "endUserIDs": {"_experience": {"mcid": {"id": "m"}}}}, "e"),
        (
            {"identityMap": {"A": [{"id": "x"}]}, "endUserIDs": {"_experience": {"a": {"id": "m", "primary": True}}}},
            "m",
        ),
        ({"identityMap": {"A": [{"id": "x" * LONGEST_ID}]}}, "x" * LONGEST_ID),
    ],
)
def test_the_visitor_is_the_primary_identity(identities: dict[str, Any], visitor: str) -> None:
    """Primary first, `identityMap` before `endUserIDs`; none primary: ECID, AAID, else by the namespace's name."""
    assert visitor == read(event(**{"identityMap": None, **identities})).visitor


@pytest.mark.parametrize(
    "identities",
    [
        {"identityMap": None},
        {"identityMap": {}},
        {"identityMap": {"ECID": []}},
        {"identityMap": {"ECID": None}},
        {"identityMap": {"ECID": [None]}},
        {"identityMap": {"ECID": [{"id": "", "primary": True}]}, "endUserIDs": None},
        {"identityMap": None, "endUserIDs": {"_experience": None}},
        {"identityMap": None, "endUserIDs": {"_experience": {"mcid": {"id": None}}}},
    ],
)
def test_an_event_of_nobody_is_poison(identities: dict[str, Any]) -> None:
    """Without an identity there is no key to join by; the sentence names both places where one could be."""
    said = reason(as_bytes(event(**identities)))

    assert "validate: identityMap names nobody, and endUserIDs._experience does not either" == said


# --- what -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MEASURES)
def test_a_missing_event_type_is_the_measure_above_zero(kind: str) -> None:
    """An event that carries only a measure counts as an event of that measure's type."""
    reader = Reader(spec_of(category("eventType"), applies_to=(kind,)))
    got = reader.read(as_bytes(event(eventType=None) | nested(MEASURES[kind], 1.0)), NOW_MS)

    assert got.kinds & APPLIES
    assert ((), (kind,)) == reader.x(got, None)


@pytest.mark.parametrize(
    ("commerce", "seen"),
    [
        ({"productListOpens": {"value": 1}, "productListAdds": {"value": 1}}, ADD),
        ({"productListAdds": {"value": 1}, "productListOpens": {"value": 1}}, ADD),
        ({"productViews": {"value": 2}, "purchases": {"value": 1}}, PURCHASE),
        ({"productViews": {"value": 1}, "purchases": {"value": 0}}, VIEW),
        ({"productViews": {"value": 0}}, ""),
        ({"productViews": {"value": -1}}, ""),
        ({"productViews": {"value": None}}, ""),
        ({"productViews": {"id": "x"}}, ""),
        ({"productViews": None}, ""),
    ],
)
def test_of_several_measures_the_one_nearest_to_the_purchase_names_the_event(commerce: Any, seen: str) -> None:
    """Which one does not depend on the order of the members; what is not above zero did not happen."""
    _, (kind, *_) = READER.x(read(event(eventType=None, commerce=commerce)), None)

    assert seen == kind


def test_an_event_with_two_measures_counts_for_both_types() -> None:
    """A view that is also a purchase gets a score and is an outcome; so it is with a stated type beside a measure."""
    both = event(eventType=None, commerce={"productViews": {"value": 1}, "purchases": {"value": 1}})
    stated = event(eventType=VIEW, commerce={"purchases": {"value": 1}})

    assert APPLIES | OUTCOME == read(both).kinds & (APPLIES | OUTCOME)
    assert APPLIES | OUTCOME == read(stated).kinds & (APPLIES | OUTCOME)


def test_a_stated_event_type_stands() -> None:
    """What the producer says is not overruled by a measure, and needs none beside it."""
    got = read(event(eventType="acme.somethingElse", commerce={"productViews": {"value": 1}}))

    assert "acme.somethingElse" == READER.x(got, None)[1][0]
    assert 0 == read(event(eventType="acme.somethingElse")).kinds


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "after_ms"),
    [
        ("2026-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00.5Z", 500),
        ("2026-01-01T00:00:00.123456789Z", 123),
        ("2026-01-01t00:00:00z", 0),
        ("2026-01-01T05:30:00+05:30", 0),
        ("2026-01-01T05:30:00+0530", 0),
        ("2025-12-31T16:00:00-08:00", 0),
        ("2026-01-01T00:00:00-00:00", 0),
        ("2026-01-01T00:05:00Z", 300_000),
        ("1969-12-31T23:59:59.999Z", -NOW_MS - 1),
    ],
)
def test_a_time_with_a_zone_is_read_to_the_millisecond(timestamp: str, after_ms: int) -> None:
    """Offsets are resolved, finer digits are cut off."""
    assert NOW_MS + after_ms == read(event(timestamp=timestamp)).time_ms


@pytest.mark.parametrize(
    ("timestamp", "problem"),
    [
        (None, "is missing"),
        ("", "is wrong: invalid RFC3339"),
        ("2026-01-01T00:00:00", "timezone"),
        ("2026-01-01", "is wrong: invalid RFC3339"),
        ("2026-01-01T00:00Z", "is wrong: invalid RFC3339"),
        ("2025-12-31T23:59:60Z", "is wrong: invalid RFC3339"),
        ("2026-02-30T00:00:00Z", "is wrong: invalid RFC3339"),
        ("2026-01-01T00:00:00+24:00", "is wrong: invalid RFC3339"),
        ("0000-01-01T00:00:00Z", "is wrong: invalid RFC3339"),
        ("10000-01-01T00:00:00Z", "is wrong: invalid RFC3339"),
        ("2026-01-01T00:05:00.001Z", "is more than 5 minutes ahead"),
        ("9999-12-31T23:59:59Z", "is more than 5 minutes ahead"),
        ("9999-12-31T23:59:59.999999-23:59", "is more than 5 minutes ahead"),
        (1_767_225_600_000, "is wrong: expected"),
        ([], "is wrong: expected"),
    ],
)
def test_a_time_that_cannot_be_is_poison(timestamp: Any, problem: str) -> None:
    """No zone, no such day, a leap second, the far future: each is refused, and the sentence names the timestamp."""
    said = reason(as_bytes(event(timestamp=timestamp)))

    assert said.startswith("validate: timestamp ")
    assert problem in said


@pytest.mark.parametrize("time_ms", [2**62, 10**17, 253_402_300_800_000, -62_135_596_800_001, -(10**17), -(2**62)])
def test_an_avro_time_beyond_the_calendar_is_poison(time_ms: int) -> None:
    """A long holds more than the years 1 to 9999."""
    said = reason(write_single_object("experience_event", event(timestamp=time_ms)))

    assert "validate: timestamp is not within the years 1 to 9999" == said


# --- what passes ------------------------------------------------------------------------------------------------------


def test_every_field_of_the_table_reaches_x() -> None:
    """A number, a text, a boolean as either: what the event has is what the model gets."""
    numbers, categories = OF_ALL.x(OF_ALL.read(as_bytes(full_event()), NOW_MS), None)

    assert {1.5, 1.0} == set(numbers)
    assert {"text", "true"} == set(categories)


def test_null_is_the_same_as_absent_everywhere() -> None:
    """Any field or group of fields may be null: the event stays readable, and what is null is missing from x."""
    paths = {".".join(path.split(".")[:depth]) for path in READABLE for depth in range(1, 9)}
    for path in sorted(paths):
        holed = full_event()
        *groups, leaf = path.split(".")
        node = holed
        for group in groups:
            node = node[group]
        node[leaf] = None
        with_null = OF_ALL.x(OF_ALL.read(as_bytes(holed), NOW_MS), None)
        del node[leaf]
        without = OF_ALL.x(OF_ALL.read(as_bytes(holed), NOW_MS), None)

        assert repr(with_null) == repr(without), path


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(unknown=JSON_VALUES, at=st.sampled_from(["unknown", "_acme.unknown", "commerce.unknown", "commerce.order.x.y"]))
def test_a_field_that_nobody_reads_may_have_any_shape(unknown: Any, at: str) -> None:
    """Tenants, new XDM versions and mistakes elsewhere pass by unlooked at, at the root and beside known fields."""
    plain = event(commerce={"order": {"priceTotal": 3}})
    with_more = plain | {"commerce": copy.deepcopy(plain["commerce"])}
    node = with_more
    *groups, leaf = at.split(".")
    for group in groups:
        node = node.setdefault(group, {})
    node[leaf] = unknown

    assert read(plain)[1:] == read(with_more)[1:]
    assert repr(READER.x(read(plain), None)) == repr(READER.x(read(with_more), None))


@pytest.mark.parametrize(
    "more",
    ['"x": ' + "9" * 5000, '"x": 1e999', '"x": ' + "[" * 300 + "]" * 300, '"\\u0000": 1', '"x": 1, "x": 2'],
    ids=["5000 digits", "1e999", "300 levels", "a NUL key", "a key twice"],
)
def test_oddities_in_fields_that_nobody_reads_do_no_harm(more: str) -> None:
    """A number that no machine holds is no reason to lose an event that nobody reads it from."""
    assert "e" == read(event(), more=more).id


def test_a_large_event_is_read() -> None:
    """Five megabytes of what the model does not read cost time, not the event."""
    large = as_bytes(event(productListItems=[{"SKU": "x" * 1000, "name": "y"}] * 5000))

    assert len(large) > 5_000_000
    assert "v" == READER.read(large, NOW_MS).visitor


# --- what is poison ---------------------------------------------------------------------------------------------------

PRICE = '"commerce": {"order": {"priceTotal": %s}}'
COUNTRY = '"placeContext": {"geo": {"countryCode": %s}}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "decode: the record is empty"),
        (b"", "decode: the record is empty"),
        (b" ", "decode: not a JSON event"),
        (b"{", "decode: not a JSON event"),
        (b"null", "validate: the event is wrong: expected `object`, got `null`"),
        (b"[]", "validate: the event is wrong: expected `object`, got `array`"),
        (b"{}", "validate: _id is missing"),
        (b"\xef\xbb\xbf{}", "decode: not a JSON event"),
        (as_bytes(event()) + b"}", "decode: not a JSON event"),
        (json.dumps(event()).encode("utf-16"), "decode: not a JSON event"),
        (b"\x00\x00\x00\x00\x01confluent", "decode: not a JSON event"),
        (b"\xc3\x01short", "decode: not a JSON event"),
        (b"\xc3\x01" + b"\x00" * 8, "decode: no schema in the catalog has the fingerprint 0000000000000000"),
        (as_bytes(event(_id=None)), "validate: _id is missing"),
        (as_bytes(event(_id="")), "validate: _id is missing"),
        (as_bytes(event(_id=7)), "validate: _id is wrong: expected `str"),
        (as_bytes(event(_id="x" * (LONGEST_ID + 1))), "validate: _id is longer than 512 characters"),
        (as_bytes(event(identityMap={"A": [{"id": "x" * 513}]})), "validate: identityMap has an id longer than 512"),
        (as_bytes(event(identityMap=[])), "validate: identityMap is wrong: expected `object"),
        (as_bytes(event(identityMap={"ECID": {"id": "v"}})), "validate: identityMap[...] is wrong: expected `array"),
        (as_bytes(event(identityMap={"ECID": [{"id": 7}]})), "validate: identityMap[...][0].id is wrong: expected"),
        (
            as_bytes(event(), more=PRICE % "NaN"),
            "decode: not a JSON event: JSON is malformed: invalid character (byte ",
        ),
        (as_bytes(event(), more=PRICE % "-Infinity"), "decode: not a JSON event: JSON is malformed: invalid"),
        (as_bytes(event(), more=PRICE % "1e999"), "validate: commerce.order.priceTotal is wrong: number out of range"),
        (as_bytes(event(), more=PRICE % ("9" * 400)), "validate: commerce.order.priceTotal is wrong: number out of"),
        (as_bytes(event(), more=PRICE % ("9" * 5000)), "validate: commerce.order.priceTotal is wrong: number out of"),
        (
            as_bytes(event(), more=PRICE % "1e12"),
            "validate: commerce.order.priceTotal is out of bounds: 1000000000000.0",
        ),
        (as_bytes(event(), more=PRICE % "-1000000001"), "validate: commerce.order.priceTotal is out of bounds"),
        (as_bytes(event(), more=PRICE % "true"), "validate: commerce.order.priceTotal is wrong: expected `float"),
        (as_bytes(event(), more='"commerce": []'), "validate: commerce is wrong: expected `object"),
        (as_bytes(event(), more='"_acme": {"cart-size": "2"}'), "validate: _acme.cart-size is wrong: expected `float"),
        (as_bytes(event(), more=COUNTRY % '"\\ud800"'), "decode: not a JSON event"),
        (as_bytes(event(_id="\ud83d")), "decode: not a JSON event"),
        (
            as_bytes(event(), more=COUNTRY % '"XX"').replace(b"XX", b"\xff\xff"),
            "decode: not a JSON event: 'utf-8' codec",
        ),
        (
            as_bytes(event(), more=COUNTRY % f'"{"x" * (LONGEST + 1)}"'),
            "validate: placeContext.geo.countryCode is longer than 2048 characters",
        ),
        (b'{"x": ' * 100_000, "decode: not a JSON event: maximum recursion depth"),
        (
            as_bytes(event(), more='"x": ' + "[" * 100_000 + "]" * 100_000),
            "decode: not a JSON event: maximum recursion",
        ),
    ],
)
def test_what_is_no_event_is_poison_with_a_sentence(value: bytes | None, said: str) -> None:
    """The sentence names the field, or the byte where the JSON stops being JSON."""
    assert reason(value).startswith(said)


def test_a_wrong_type_names_its_field() -> None:
    """Whatever field of the table has a value of another type, the sentence has its full path."""
    for path, kind in READABLE.items():
        wrong = 7 if kind in {"string", "boolean"} else "7"

        assert reason(as_bytes(event() | nested(path, wrong)), OF_ALL).startswith(f"validate: {path} is wrong: ")


def test_a_wrong_type_is_no_matter_to_a_model_that_does_not_read_the_field() -> None:
    """Each model checks the fields it reads, and the measures that tell the type of an event."""
    measures = set(MEASURES.values())
    for path, kind in READABLE.items():
        wrong = 7 if kind in {"string", "boolean"} else "7"
        if path in measures | {"eventType"} or path in {feature_path(f) for f in READER.spec.features}:
            continue

        assert "e" == READER.read(as_bytes(event() | nested(path, wrong)), NOW_MS).id, path


def feature_path(feature: Any) -> str:
    return getattr(feature, "path", "")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e12])
def test_an_absurd_number_in_avro_is_poison(value: float) -> None:
    """Avro has words for what JSON has none: they are out of bounds like any other."""
    avro = write_single_object("experience_event", event(timestamp=NOW_MS, commerce={"order": {"priceTotal": value}}))

    assert reason(avro).startswith(f"validate: commerce.order.priceTotal is out of bounds: {value!r}")


def test_a_bound_of_the_model_file_holds_to_the_digit() -> None:
    """`least` and `most` themselves are within."""
    reader = Reader(spec_of(number("search.position", least=1, most=10)))

    assert [(1.0,), (10.0,)] == [
        reader.x(reader.read(as_bytes(event(search={"position": n})), NOW_MS), None)[0] for n in (1, 10)
    ]
    assert "is not within 1 to 10" in reason(as_bytes(event(search={"position": 10.5})), reader)


AVRO = write_single_object("experience_event", event(timestamp=NOW_MS, placeContext={"geo": {"countryCode": "DE"}}))


@pytest.mark.parametrize("end", range(len(AVRO)))
def test_a_truncated_avro_event_is_poison(end: int) -> None:
    """Wherever it was cut."""
    assert reason(AVRO[:end]).startswith("decode: ")


def test_bytes_after_an_avro_event_are_poison() -> None:
    """They mean that it is not the event that its header says it is."""
    assert "decode: not an Avro event: 2 bytes follow the record" == reason(AVRO + b"xx")


def test_a_record_of_another_schema_is_poison_and_its_sentence_short() -> None:
    """fastavro quotes both schemas, 70 KB; a reason has to fit into a header of a dead letter."""
    alias = write_single_object("alias", {"model": "m", "alias": "live", "version": 1, "changedAt": 1})

    assert reason(alias).startswith("decode: not an Avro event: SchemaResolutionError")
    assert len(reason(alias)) < 500


def test_the_sentence_does_not_grow_with_the_record() -> None:
    """A megabyte of bytes that are no text is not quoted in the reason."""
    start = AVRO.index(b"DE") - 1
    broken = AVRO[:start] + b"\x80\x80\x80\x01" + b"\xff" * 2**20

    assert len(reason(broken)) < 500


# --- nothing but poison ever comes out --------------------------------------------------------------------------------


def verdict(value: bytes, reader: Reader) -> Event | Poison:
    """Read a record and make its x; any exception but poison is a worker that cannot go on."""
    try:
        got = reader.read(value, NOW_MS)
        reader.x(got, None)
    except Poison as poison:
        return poison
    return got


def only_poison(value: bytes, reader: Reader = READER) -> None:
    """An event that can be keyed and joined, or poison whose reason fits into a header."""
    said = verdict(value, reader)
    if isinstance(said, Poison):
        assert re.match(r"[a-z]+: \S", str(said))
        assert len(said.reason.encode()) < 4000
    else:
        assert 0 < len(said.id.encode())
        assert 0 < len(said.visitor.encode())
        assert said.time_ms <= NOW_MS + 300_000


@settings(max_examples=300, deadline=None)
@given(value=st.binary(max_size=200))
@example(value=b'{"_id"')
def test_random_bytes_are_poison(value: bytes) -> None:
    """Nothing that can lie in a record makes the reader raise anything else."""
    only_poison(value)
    only_poison(AVRO[:10] + value)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_event_is_an_event_or_poison(data: st.DataObject) -> None:
    """Bytes of a real-looking event changed, cut out or repeated, in JSON and in Avro."""
    whole = data.draw(
        st.sampled_from([AVRO, as_bytes(full_event()), as_bytes({"header": {}, "body": {"xdmEntity": event()}})])
    )
    value = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        cut = data.draw(st.integers(0, 3))
        value[at : at + cut] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"null", b"\\ud800", b"-"])
        )

    only_poison(bytes(value), OF_ALL)


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2**63,
        10**400,
        1e308,
        "",
        "\x00",
        "x" * 3000,
        [],
        [[]],
        [None],
        {},
        {"id": None},
        {"value": "x"},
    ]
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_event_with_an_odd_value_somewhere_is_an_event_or_poison(data: st.DataObject) -> None:
    """Any node of a full event replaced by something that is valid JSON and makes no sense there."""
    odd: dict[str, Any] = full_event() | {"endUserIDs": {"_experience": {"mcid": {"id": "m"}}}}
    node = data.draw(st.sampled_from([odd, {"header": {}, "body": {"xdmEntity": odd}}]))
    whole = node
    while True:
        key = data.draw(st.sampled_from(sorted(node)))
        if not node[key] or not isinstance(node[key], dict) or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(ODD)

    only_poison(json.dumps(whole).encode(), OF_ALL)


# --- what a spec may say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a-b", "a b", "class", "__init__", "ﬁ", "ª", "{x}", "x'y", "_", "0", "é"])
def test_a_tenants_field_may_have_any_name(key: str) -> None:
    """The generated code finds a field whose name is no Python identifier, or one that Python would spell otherwise."""
    reader = Reader(spec_of(number(f"_acme.{key}", name="n")))

    assert ((2.5,), ()) == reader.x(reader.read(as_bytes(event(_acme={key: 2.5})), NOW_MS), None)


def test_a_field_may_feed_several_features() -> None:
    """A boolean as a number and as a category; a number under two names and bounds."""
    reader = Reader(
        spec_of(
            number("search.isPaid", name="paid"),
            category("search.isPaid", name="paid?"),
            number("search.position", name="a"),
            number("search.position", name="b", most=5),
        )
    )
    got = reader.read(as_bytes(event(search={"isPaid": False, "position": 4})), NOW_MS)

    assert ((0.0, 4.0, 4.0), ("false",)) == reader.x(got, None)


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ((number("_acme.x"), category("_acme.x")), "_acme.x is read as two different types"),
        ((number("_acme.x"), number("_acme.x.y")), "_acme.x.y cannot be read: x is a value elsewhere in this model"),
        ((number("_acme.x.y"), number("_acme.x")), "_acme.x is read as two different types"),
        ((category("_id"),), "_id says who and when, and is no feature"),
        ((category("timestamp"),), "timestamp says who and when, and is no feature"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(features: Any, problem: str) -> None:
    """Before the first event, with the path in the sentence."""
    with pytest.raises(ModelFileError) as error:
        Reader(spec_of(*features))

    assert problem == str(error.value)


def test_a_model_need_not_read_anything_of_the_event() -> None:
    """Time and past alone make a feature."""
    reader = Reader(spec_of(hour(), weekday()))

    assert ((0.0, 3.0), ()) == reader.x(reader.read(as_bytes(event()), NOW_MS), None)  # 2026 began on a Thursday


# --- other people's events --------------------------------------------------------------------------------------------


def test_all_recorded_events_are_readable() -> None:
    """Each of Luma's 23,055 events, nulls and all; 318 of them are the purchases that are known to be there."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (all recorded events are readable)")
    file = pq.ParquetFile(shared("data/luma/luma_events.parquet", "all recorded events are readable"))
    spec = spec_of(
        *(number(path) for path in ("device.screenWidth", "search.pageDepth", "commerce.productViews.value")),
        *(category(path) for path in ("eventType", "placeContext.geo.countryCode", "web.webReferrer.type")),
        applies_to=tuple(sorted(EVENT_TYPES)),
    )
    reader = Reader(spec)
    read_ = kinds = 0
    for row in (row for batch in file.iter_batches(2000) for row in batch.to_pylist()):
        for name in ("timestamp", "receivedTimestamp"):
            row[name] = row[name] and row[name].isoformat() + "Z"
        value = json.dumps(row, default=str).encode().replace(b"NaN", b"null")
        got = reader.read(value, NOW_MS)
        reader.x(got, None)
        read_ += 1
        kinds += bool(got.kinds & OUTCOME)

    assert 23_055 == read_
    assert 318 == kinds

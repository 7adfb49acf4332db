"""Avro's single-object encoding, against Avro's own test data and an implementation of its fingerprint of our own."""

from __future__ import annotations

import io
import json
import re
from importlib import resources
from pathlib import Path

import fastavro
import fastavro.schema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import MARKER, header, is_single_object, read_single_object, schema, write_single_object
from schemas.errors import SchemaUnknown
from tests.schemas.events import shared

NAMES = sorted(
    each.name.removesuffix(".avsc")
    for each in resources.files("schemas").joinpath("avsc").iterdir()
    if each.name.endswith(".avsc")
)
ALIAS = {"model": "m", "alias": "live", "version": 3, "changedAt": 5}


def crc_64_avro(text: str) -> int:
    """The fingerprint as the specification has it ("Schema Fingerprints"), bit by bit."""
    empty = 0xC15D213AA4D7A795
    crc = empty
    for byte in text.encode():
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (empty if crc & 1 else 0)
    return crc


def canonical(text: str) -> str:
    return str(fastavro.schema.to_parsing_canonical_form(json.loads(text)))


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, str, int | None]]:
    """Avro's cases: a schema, its canonical form, its fingerprint where one is stated."""
    text = shared("avro/share/test/data/schema-tests.txt", "fingerprints are Avro's own").read_text()
    found: list[tuple[str, str, int | None]] = []
    for block in re.split(r"^// \d+$", text, flags=re.MULTILINE)[1:]:
        parts = dict(re.findall(r"^<<(INPUT|canonical|fingerprint)\s*(.*?)\s*(?=^<<|\Z)", block, re.M | re.S))
        schema_ = parts["INPUT"].removeprefix("INPUT\n").removesuffix("INPUT").strip()
        stated = re.match(r"-?\d+", parts.get("fingerprint", ""))
        found.append((schema_, parts["canonical"].split("\n")[0].strip(), int(stated[0]) if stated else None))
    return found


def test_the_fingerprint_is_the_one_that_avro_states(cases: list[tuple[str, str, int | None]]) -> None:
    """Our own CRC-64-AVRO and fastavro's both give the 26 stated numbers, and ours stands for all the rest below."""
    stated = [(form, number % 2**64) for _, form, number in cases if number is not None]

    assert len(stated) > 20
    assert [number for _, number in stated] == [crc_64_avro(form) for form, _ in stated]
    assert [number for _, number in stated] == [
        int.from_bytes(bytes.fromhex(fastavro.schema.fingerprint(form, "CRC-64-AVRO")), "little") for form, _ in stated
    ]


def test_the_canonical_form_is_the_one_that_avro_states(cases: list[tuple[str, str, int | None]]) -> None:
    """For every case: names in full, attributes in order, documentation dropped."""
    assert len(cases) > 30
    assert [form for _, form, _ in cases] == [canonical(text) for text, _, _ in cases]


@pytest.mark.parametrize("name", NAMES)
def test_a_header_is_marker_and_little_endian_fingerprint(name: str) -> None:
    """What another Avro library computes from the published .avsc file is what stands before the body."""
    text = resources.files("schemas").joinpath("avsc", f"{name}.avsc").read_text()

    assert MARKER + crc_64_avro(canonical(text)).to_bytes(8, "little") == header(name)


def test_avros_own_message_reads_as_single_object() -> None:
    """The header of the message that Avro ships is made of its schema in the same way, and the body follows."""
    folder: Path = shared("avro/share/test/data/messageV1", "a message by another implementation")
    message = (folder / "test_message.bin").read_bytes()
    text = (folder / "test_schema.avsc").read_text()

    assert is_single_object(message)
    assert MARKER + crc_64_avro(canonical(text)).to_bytes(8, "little") == message[:10]
    assert fastavro.schemaless_reader(io.BytesIO(message[10:]), fastavro.parse_schema(json.loads(text)), None)
    with pytest.raises(SchemaUnknown):
        read_single_object(message, "alias")


def test_every_schema_has_its_own_fingerprint() -> None:
    """Two records that share one could not be told apart."""
    assert len(NAMES) == len({header(name) for name in NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_says_what_it_is(name: str) -> None:
    """Somebody who finds the file alone knows what it describes."""
    assert len(schema(name)["doc"]) > 20


@pytest.mark.parametrize("value", [b"", b"\xc3", b"\xc3\x01", header("alias")[:9], b"{}", b"\xc3\x02" + b"\0" * 20])
def test_what_has_no_whole_header_is_no_single_object(value: bytes) -> None:
    """Ten bytes, of which the first two are fixed."""
    assert not is_single_object(value)
    assert is_single_object(header("alias"))


def test_an_unknown_writer_is_named_by_its_fingerprint() -> None:
    """So that somebody can look for the schema."""
    with pytest.raises(SchemaUnknown) as error:
        read_single_object(b"\xc3\x01" + bytes(range(8)), "alias")

    assert "0001020304050607" == error.value.fingerprint


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=60), name=st.sampled_from(NAMES), writer=st.sampled_from(NAMES))
def test_a_body_that_is_none_is_a_decode_error(body: bytes, name: str, writer: str) -> None:
    """Whatever fastavro stumbles over becomes one error, in few words."""
    try:
        read_single_object(header(writer) + body, name)
    except msgspec.DecodeError as error:
        said = str(error)
    else:
        said = "a record, by chance"

    assert 0 < len(said) < 300


def test_a_record_ends_where_its_value_ends() -> None:
    """Too few bytes and too many are both no such record."""
    value = write_single_object("alias", ALIAS)

    assert ALIAS == read_single_object(value, "alias")
    for damaged in (value[:-1], value + b"\0"):
        with pytest.raises(msgspec.DecodeError):
            read_single_object(damaged, "alias")

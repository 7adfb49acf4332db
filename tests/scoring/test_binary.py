"""The binary tensor data extension: the same tensors, as bytes behind the JSON, in and out."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.tensors import DATATYPES, from_bytes, from_json, to_bytes
from tests.scoring.asgi import Reply
from tests.scoring.mirror import Asked, mirror, output, tensor, whole

LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(mirror())


def in_bytes(name: str, shape: list[int], size_bytes: Any, datatype: str = "FP64") -> dict[str, Any]:
    """An input whose data come behind the JSON."""
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size_bytes}}


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def tails(reply: Reply) -> dict[str, bytes]:
    """The bytes of each binary output."""
    length = int(reply.headers[LENGTH])
    body = Reply(reply.status, reply.headers, reply.body[:length], 0).json
    at, found = length, {}
    for each in body["outputs"]:
        if "parameters" in each:
            size_bytes = each["parameters"]["binary_data_size"]
            found[each["name"]] = reply.body[at : at + size_bytes]
            at += size_bytes
    assert at == len(reply.body)
    return found


def test_inputs_in_bytes_are_answered_as_in_json(asked: Asked) -> None:
    """Numbers and strings, in the order of the inputs, with an input in JSON between them; NaN is missing."""
    values = np.array([0.1, np.nan, 3])
    cities, countries = texts("Zürich", ""), texts("CH", "\U0001f600")
    inputs = [
        in_bytes("country", [2], len(countries), "BYTES"),
        tensor("price", [2], [1.5, 2.5]),
        in_bytes("hour", [2, 1], 16),
        in_bytes("city", [2], len(cities), "BYTES"),
    ]

    reply = asked.infer(
        {"inputs": inputs, "outputs": [{"name": "seen_categories"}, {"name": "missing"}]},
        countries + values[:2].tobytes() + cities,
    )

    assert output(reply, "seen_categories") == ["CH", "Zürich", "\U0001f600", ""]
    assert output(reply, "missing") == [False, False, True, False, True, True]


def test_outputs_come_in_bytes_where_asked(asked: Asked) -> None:
    """One by one, or all but those that say otherwise; the header says where the JSON ends."""
    inputs = whole(([0.1, None, 3], ["CH", "é"]), ([4, 5, 6], ["", "b"]))
    names = ["score", "label", "seen_numbers", "seen_singles", "seen_categories", "missing"]
    all_but_one = {
        "inputs": inputs,
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": name, "parameters": {"binary_data": False} if name == "label" else None} for name in names
        ],
    }
    only_one = {
        "inputs": inputs,
        "outputs": [{"name": "label"}, {"name": "score", "parameters": {"binary_data": True}}],
    }

    most, one, every = (
        asked.infer(each)
        for each in (all_but_one, only_one, {"inputs": inputs, "parameters": {"binary_data_output": True}})
    )

    numbers = np.array([0.1, np.nan, 3, 4, 5, 6])
    assert tails(most) == {
        "score": np.full(2, 1 / 1024).tobytes(),
        "seen_numbers": numbers.tobytes(),
        "seen_singles": numbers.astype(np.float32).tobytes(),
        "seen_categories": texts("CH", "é", "", "b"),
        "missing": bytes([0, 1, 0, 0, 0, 0]),
    }
    assert list(tails(one)) == ["score"]
    assert list(tails(every)) == ["label", "probabilities", *names[2:], "score"]
    assert most.headers["content-type"] == "application/octet-stream"


def test_the_length_of_the_json_may_be_that_of_the_body(asked: Asked) -> None:
    """Clients send the header also where nothing is in bytes."""
    assert asked.infer({"inputs": whole(([1, 2, 3], ["a", "b"]))}, b"").status == 200


ONE = texts("a")
BAD: dict[str, tuple[Any, bytes, str, str]] = {
    "too few bytes": (
        [in_bytes("tax", [1], 8)],
        b"1234567",
        "inputs[0].parameters.binary_data_size",
        "7 bytes are left",
    ),
    "too many bytes": ([in_bytes("tax", [1], 8)], b"123456789", "", "1 bytes at the end"),
    "bytes for nothing": ([tensor("tax", [1], [1])], b"1", "", "1 bytes at the end"),
    "another size": ([in_bytes("tax", [1], 7)], b"1234567", "inputs[0].parameters.binary_data_size", "FP64 takes 8"),
    "minus": ([in_bytes("tax", [1], -8)], b"", "inputs[0].parameters.binary_data_size", "is -8"),
    "a fraction": ([in_bytes("tax", [1], 7.5)], b"", "inputs[0].parameters.binary_data_size", "expected `int"),
    "a string": ([in_bytes("tax", [1], "8")], b"", "inputs[0].parameters.binary_data_size", "expected `int"),
    "2 to the 63": ([in_bytes("tax", [1], 2**63)], b"", "inputs[0].parameters.binary_data_size", "are left"),
    "both": ([in_bytes("tax", [1], 8) | {"data": [1]}], b"12345678", "inputs[0].data", "beside binary_data_size"),
    "infinity": ([in_bytes("tax", [1], 8)], struct.pack("<d", float("-inf")), "inputs", "'tax'"),
    "cut length": ([in_bytes("city", [1], 3, "BYTES")], b"\x01\x00\x00", "inputs[0]", "within element 0"),
    "cut string": ([in_bytes("city", [1], 5, "BYTES")], b"\x02\x00\x00\x00a", "inputs[0]", "within element 0"),
    "long string": ([in_bytes("city", [1], 5, "BYTES")], b"\xff\xff\xff\xffa", "inputs[0]", "within element 0"),
    "one string more": ([in_bytes("city", [1], 10, "BYTES")], ONE + ONE, "inputs[0]", "has 2 elements"),
    "one string less": ([in_bytes("city", [2], 5, "BYTES")], ONE, "inputs[0]", "has 1 elements"),
    "no UTF-8": ([in_bytes("city", [1], 5, "BYTES")], b"\x01\x00\x00\x00\xff", "inputs[0]", "not UTF-8"),
    "NUL": ([in_bytes("city", [1], 5, "BYTES")], b"\x01\x00\x00\x00\x00", "inputs", "NUL"),
}


@pytest.mark.parametrize("name", BAD)
def test_bytes_that_do_not_fit_are_refused(asked: Asked, name: str) -> None:
    """400, with the field and what it should be."""
    inputs, tail, field, words = BAD[name]

    reply = asked.infer({"inputs": inputs}, tail)

    assert reply.status == 400
    assert words in reply.json["error"]
    assert reply.json.get("field", "") == field


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "9" * 40, "1000", "٣"])
def test_a_length_that_is_none_is_refused(asked: Asked, length: str) -> None:
    """400: it says what the header is for."""
    reply = asked.post("/v2/models/mirror/infer", b"{}", {LENGTH: length})

    assert reply.status == 400
    assert "the length of the JSON" in reply.json["error"]


def test_a_length_within_the_json_is_refused(asked: Asked) -> None:
    """What the header cuts off is no JSON."""
    reply = asked.post("/v2/models/mirror/infer", b'{"inputs": []}', {LENGTH: "3"})

    assert reply.status == 400


@settings(max_examples=300, deadline=None)
@given(data=st.data(), datatype=st.sampled_from(list(DATATYPES.values())), rows=st.integers(1, 5))
def test_bytes_and_json_stand_for_the_same_array(data: st.DataObject, datatype: Any, rows: int) -> None:
    """For any array of any datatype: out to bytes and back is the same, and so is out to JSON and back."""
    kind, size_bytes = datatype.dtype.kind, datatype.dtype.itemsize
    element: Any = {
        "b": st.booleans(),
        "u": st.integers(0, 2 ** (8 * size_bytes) - 1),
        "i": st.integers(-(2 ** (8 * size_bytes - 1)), 2 ** (8 * size_bytes - 1) - 1),
        "f": st.floats(allow_nan=False, allow_infinity=False, width=8 * size_bytes if kind == "f" else 64),  # type: ignore[arg-type]
        "O": st.text(max_size=9),
    }[kind]
    values = data.draw(st.lists(element, min_size=rows * 2, max_size=rows * 2))
    array = np.array(values, dtype=datatype.dtype).reshape(rows, 2)

    from_tail = from_bytes(datatype, [rows, 2], to_bytes(array), "x")
    from_text = from_json(datatype, [rows, 2], msgspec.json.encode(array.tolist()), "x")

    for back in (from_tail, from_text):
        assert back.dtype == array.dtype
        assert back.tolist() == array.tolist()

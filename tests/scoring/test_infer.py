"""Inference over JSON: what a model is asked is what the request says, in every form the protocol has for it."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.features import LONGEST, number
from schemas.records import Release
from scoring.body import LARGEST_BODY_BYTES
from scoring.feed import MOST_ROWS
from scoring.session import Session
from scoring.tensors import DATATYPES
from tests.scoring.artifacts import SPEC, answering_sum, constant_p, release, unanswering, weighted
from tests.scoring.mirror import MIRROR, Asked, mirror, output, tensor, whole

SHARED = Path(__file__).parents[3] / "shared"
# What no answer may show: where our files are, what our classes are called, where in memory things lie.
INSIDES = re.compile(rb"0x[0-9a-f]{5,}|Traceback|\.py\b|site-packages|msgspec|numpy|onnx|schemas\.|\w+Error\b")

NUMERIC = [name for name in DATATYPES if name != "BYTES"]


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(mirror())


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_has_every_output_and_says_who_made_it() -> None:
    """The model's name, its version, how far that had learned, the request's id, and the outputs in their order."""
    asked = Asked(release(3, answering_sum("regression", "prediction")))
    inputs = [tensor("numbers", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]), tensor("categories", [2, 1], ["CH", ""], "BYTES")]

    reply = asked.infer({"id": "42", "inputs": inputs}, model="m")

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == {
        "model_name": "m",
        "model_version": "3",
        "parameters": {"learned_through_offset": 30, "learned_through_event_time_ms": 3000},
        "outputs": [
            {"name": "prediction", "datatype": "FP64", "shape": [2], "data": [10.0, 26.0]},
            {"name": "score", "datatype": "FP64", "shape": [2], "data": [10.0, 26.0]},
        ],
        "id": "42",
    }


@pytest.mark.parametrize("task", ["classification", "regression", "anomaly"])
def test_the_score_is_bit_for_bit_what_an_event_would_get(task: str) -> None:
    """Whatever the model's task, and whether the row comes whole or feature by feature."""
    names = {"regression": "prediction", "anomaly": "score"}
    onnx = answering_sum(task, names[task]) if task in names else weighted([1e-6, 0.01, 0.7, -0.003])
    asked = Asked(release(0, onnx))
    row = (199.99, 13.0, 2.0, 45.678)
    by_name = [
        *(tensor(name, [1], [value]) for name, value in zip(SPEC.numbers, row, strict=True)),
        tensor("placeContext.geo.countryCode", [1, 1], ["CH"], "BYTES"),
    ]

    in_whole = asked.infer(
        {"inputs": [tensor("numbers", [1, 4], list(row)), tensor("categories", [1, 1], ["CH"], "BYTES")]}, model="m"
    )
    in_parts = asked.infer({"inputs": by_name}, model="m")

    expected = Session(release(0, onnx)).score([(row, ("CH",))])
    assert output(in_whole, "score") == expected
    assert output(in_parts, "score") == expected


def test_rows_reach_the_model_as_they_were_sent(asked: Asked) -> None:
    """Numbers to the last bit, strings of all planes, in their order."""
    rows = [([0.1, -0.0, 5e-324], ["CH", "\U0001f600"]), ([1e6, 1 / 3, -1e9], ["", "é\u202e\x01"])]

    reply = asked.infer({"inputs": whole(*rows)})

    assert output(reply, "seen_numbers") == [number for row, _ in rows for number in row]
    assert math.copysign(1, output(reply, "seen_numbers")[1]) == -1
    assert output(reply, "seen_categories") == ["CH", "\U0001f600", "", "é\u202e\x01"]


@pytest.mark.parametrize("datatype", NUMERIC)
def test_every_numeric_datatype_is_converted(asked: Asked, datatype: str) -> None:
    """In JSON, and in bytes; the model sees the double that numpy makes of it."""
    dtype = DATATYPES[datatype].dtype
    least, most = {"b": (0, 1), "u": (0, 200), "i": (-100, 100), "f": (-0.1, 33.3)}[dtype.kind]
    values = np.array([least, most, 1, 0, least, 1], dtype=dtype).reshape(2, 3)
    categories = tensor("categories", [2, 2], ["a", "b", "c", "d"], "BYTES")

    in_json = asked.infer({"inputs": [tensor("numbers", [2, 3], values.ravel().tolist(), datatype), categories]})
    parameters = {"binary_data_size": values.nbytes}
    head = {"name": "numbers", "shape": [2, 3], "datatype": datatype, "parameters": parameters}
    in_bytes = asked.infer({"inputs": [head, categories]}, values.tobytes())

    assert output(in_json, "seen_numbers") == values.astype(np.float64).ravel().tolist()
    assert output(in_bytes, "seen_numbers") == output(in_json, "seen_numbers")


def test_data_may_be_flat_or_in_rows(asked: Asked) -> None:
    """Also with the white space that people write."""
    flat = whole(([1, 2, 3], ["a", "b"]), ([4, 5, 6], ["c", "d"]))
    rows = [
        tensor("numbers", [2, 3], [[1, 2, 3], [4, 5, 6]]),
        tensor("categories", [2, 2], [["a", "b"], ["c", "d"]], "BYTES"),
    ]

    replies = [
        asked.infer({"inputs": flat}),
        asked.infer({"inputs": rows}),
        asked.infer(json.dumps({"inputs": rows}, indent=2).encode()),
    ]

    assert len({reply.body for reply in replies}) == 1
    assert output(replies[0], "seen_numbers") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_null_is_what_is_missing(asked: Asked) -> None:
    """JSON has no NaN: null is a missing number, and a missing string."""
    inputs = [tensor("numbers", [1, 3], [1, None, 3]), tensor("categories", [1, 2], [["CH", None]], "BYTES")]

    reply = asked.infer({"inputs": inputs, "outputs": [{"name": "missing"}, {"name": "seen_categories"}]})

    assert output(reply, "missing") == [False, True, False]
    assert output(reply, "seen_categories") == ["CH", ""]


def test_features_may_come_one_by_one(asked: Asked) -> None:
    """In any order and datatype, as [rows] or [rows, 1]; those that do not come are missing."""
    inputs = [
        tensor("city", [2, 1], ["Bern", ""], "BYTES"),
        tensor("tax", [2, 1], [[7], [8]], "UINT8"),
        tensor("price", [2], [9.5, None], "FP32"),
    ]

    reply = asked.infer({"inputs": inputs, "outputs": [{"name": "missing"}, {"name": "seen_categories"}]})

    assert output(reply, "missing") == [False, True, False, True, True, False]
    assert output(reply, "seen_categories") == ["", "Bern", "", ""]


def test_one_input_may_be_whole_and_the_other_in_features(asked: Asked) -> None:
    """Each of the two as it suits the client."""
    inputs = [tensor("country", [1], ["CH"], "BYTES"), tensor("numbers", [1, 3], [1, 2, 3])]

    reply = asked.infer({"inputs": inputs})

    assert output(reply, "seen_numbers") == [1.0, 2.0, 3.0]
    assert output(reply, "seen_categories") == ["CH", ""]


def test_only_the_outputs_that_are_asked_for_come(asked: Asked) -> None:
    """In the order in which they are asked for, of every datatype there is."""
    names = ["score", "label", "seen_singles", "missing", "probabilities"]

    reply = asked.infer({"inputs": whole(([0.1, 2, 3], ["a", "b"])), "outputs": [{"name": name} for name in names]})

    assert [each["name"] for each in reply.json["outputs"]] == names
    assert {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in reply.json["outputs"]} == {
        "score": ("FP64", [1], [1 / 1024]),
        "label": ("INT64", [1], [0]),
        "seen_singles": ("FP32", [1, 3], [float(np.float32(0.1)), 2.0, 3.0]),
        "missing": ("BOOL", [1, 3], [False, False, False]),
        "probabilities": ("FP64", [1, 2], [1 - 1 / 1024, 1 / 1024]),
    }


def test_an_id_comes_back_if_there_is_one(asked: Asked) -> None:
    """As it was sent, also when it is empty; none is made up."""
    inputs = whole(([1, 2, 3], ["a", "b"]))

    replies = [asked.infer({"inputs": inputs} | extra).json for extra in ({"id": "é\n"}, {"id": ""}, {"id": None}, {})]

    assert [reply.get("id", "none") for reply in replies] == ["é\n", "", "none", "none"]


def test_parameters_that_mean_nothing_here_are_let_be(asked: Asked) -> None:
    """Clients send content types, priorities, sequences; and null for whatever they leave out."""
    numbers, categories = whole(([1, 2, 3], ["a", "b"]))
    numbers["parameters"] = {"content_type": "np", "headers": None, "binary_data_size": None}
    categories["parameters"] = None
    request = {
        "inputs": [numbers, categories],
        "outputs": [{"name": "score", "parameters": {"content_type": "np"}}],
        "parameters": {"priority": 1, "sequence_id": "7", "nested": {"deep": [1]}},
    }

    assert asked.infer(request).status == 200


# --- versions ---------------------------------------------------------------------------------------------------------


def test_each_version_that_is_there_can_be_asked() -> None:
    """The last three that were live, each by its own weights; without a version the live one answers."""
    asked = Asked(*(release(version) for version in range(5)))
    inputs = [tensor("hour(timestamp)", [1], [1])]

    replies = {version: asked.infer({"inputs": inputs}, model="m", version=version) for version in ("2", "3", "4", "")}

    assert {version: (reply.json["model_version"], output(reply, "score")) for version, reply in replies.items()} == {
        "2": ("2", [constant_p(2)]),
        "3": ("3", [constant_p(3)]),
        "4": ("4", [constant_p(4)]),
        "": ("4", [constant_p(4)]),
    }
    assert asked.get("/v2/models/m").json["versions"] == ["2", "3", "4"]
    assert asked.get("/v2/models/m/versions/2").json["version"] == 2
    assert asked.get("/v2/models/m/versions/2/ready").json == {"name": "m", "ready": True}


@pytest.mark.parametrize("version", ["1", "5", "04", "-2", "4.0", "v4", "٤", "4" * 30, "latest", "%34"])
def test_another_version_is_told_which_there_are(version: str) -> None:
    """404, and never another version's answer."""
    asked = Asked(*(release(version) for version in range(5)))

    replies = [
        asked.infer({"inputs": []}, model="m", version=version),
        asked.get(f"/v2/models/m/versions/{version}"),
        asked.get(f"/v2/models/m/versions/{version}/ready"),
    ]

    assert {reply.status for reply in replies} == {404}
    assert replies[0].json["type"] == "urn:freshet:problem:unknown-version"
    assert "2, 3, 4" in replies[0].json["error"]


def test_a_model_that_is_not_there_is_not_read_for(asked: Asked) -> None:
    """404 before a byte of the body is taken."""
    reply = asked.post("/v2/models/other/infer", b"x" * 100)

    assert (reply.status, reply.pieces_taken) == (404, 0)
    assert reply.json["error"] == reply.json["detail"]


# --- no answer --------------------------------------------------------------------------------------------------------


def test_no_answer_is_an_error_in_json_and_nan_in_bytes() -> None:
    """JSON cannot say NaN: 422, which names output and row, and how to get it all the same."""
    asked = Asked(release(0, unanswering()))
    inputs = [tensor("hour(timestamp)", [2], [1, 2])]

    in_json = asked.infer({"inputs": inputs}, model="m")
    in_bytes = asked.infer({"inputs": inputs, "parameters": {"binary_data_output": True}}, model="m")

    assert (in_json.status, in_json.json["type"]) == (422, "urn:freshet:problem:no-answer")
    assert "row 0" in in_json.json["error"]
    assert "binary_data" in in_json.json["error"]
    assert in_bytes.status == 200
    assert np.isnan(np.frombuffer(in_bytes.body[-16:])).all()


# --- bad requests -----------------------------------------------------------------------------------------------------

GOOD = whole(([1, 2, 3], ["a", "b"]))


def numbers(**changes: Any) -> dict[str, Any]:
    """A request whose first input is changed; what is set to None is left out."""
    return {"inputs": [{key: value for key, value in (GOOD[0] | changes).items() if value is not None}, GOOD[1]]}


def categories(**changes: Any) -> dict[str, Any]:
    return {"inputs": [GOOD[0], {key: value for key, value in (GOOD[1] | changes).items() if value is not None}]}


BAD: dict[str, tuple[Any, str, str]] = {
    "nothing": (b"", "", "not a JSON inference request"),
    "no JSON": (b"hello", "", "not a JSON inference request"),
    "cut": (b'{"inputs": [', "", "not a JSON inference request"),
    "bytes after": (b'{"inputs": []}{}', "", "Inference-Header-Content-Length"),
    "no UTF-8": (b'{"inputs": [{"name": "\xff"}]}', "", "not a JSON"),
    "a list": ([], "", "expected `object`"),
    "no inputs": ({}, "", "missing required field `inputs`"),
    "empty inputs": ({"inputs": []}, "inputs", "has no 'numbers' and 'categories'"),
    "one of two": ({"inputs": GOOD[:1]}, "inputs", "has no 'categories'"),
    "an id of another kind": ({"id": 7, "inputs": GOOD}, "id", "expected `str | null`"),
    "no name": (numbers(name=None), "inputs[0]", "missing required field `name`"),
    "unknown name": (numbers(name="prise"), "inputs[0].name", "did you mean 'price'?"),
    "unknown and like nothing": (numbers(name="\x00" * 9000), "inputs[0].name", "did you mean"),
    "twice": ({"inputs": [GOOD[0], GOOD[0], GOOD[1]]}, "inputs[1].name", "was there before"),
    "a feature twice": ({"inputs": [*GOOD, tensor("price", [1], [1])]}, "inputs[2].name", "'numbers'"),
    "whole after a feature": ({"inputs": [tensor("tax", [1], [1]), *GOOD]}, "inputs[1].name", "features of its own"),
    "no datatype": (numbers(datatype=None), "inputs[0]", "missing required field `datatype`"),
    "unknown datatype": (numbers(datatype="INT322"), "inputs[0].datatype", "is none of BOOL, UINT8"),
    "bfloat": (numbers(datatype="BF16"), "inputs[0].datatype", "FP64"),
    "strings for numbers": (numbers(datatype="BYTES"), "inputs[0].datatype", "send FP64"),
    "numbers for strings": (categories(datatype="FP64"), "inputs[1].datatype", "send BYTES"),
    "no shape": (numbers(shape=None), "inputs[0]", "missing required field `shape`"),
    "shape of nothing": (numbers(shape=[]), "inputs[0].shape", "[rows, 3]"),
    "flat shape": (numbers(shape=[3]), "inputs[0].shape", "[rows, 3]"),
    "deep shape": (numbers(shape=[1, 1, 3]), "inputs[0].shape", "[rows, 3]"),
    "narrow": (numbers(shape=[1, 2], data=[1, 2]), "inputs[0].shape", "[rows, 3]"),
    "half a row": (numbers(shape=[1.5, 3]), "inputs[0].shape[0]", "expected `int`"),
    "no rows": (numbers(shape=[0, 3], data=[]), "inputs[0].shape", f"1 to {MOST_ROWS}"),
    "minus rows": (numbers(shape=[-1, 3]), "inputs[0].shape", f"1 to {MOST_ROWS}"),
    "too many rows": (numbers(shape=[MOST_ROWS + 1, 3]), "inputs[0].shape", f"1 to {MOST_ROWS}"),
    "2 to the 62 rows": (numbers(shape=[2**62, 3]), "inputs[0].shape", f"1 to {MOST_ROWS}"),
    "2 to the 70 rows": (b'{"inputs":[{"name":"numbers","datatype":"FP64","shape":[%d,3]}]}' % 2**70, "", "1 to"),
    "two features in a tensor": ({"inputs": [tensor("price", [1, 2], [1, 2])]}, "inputs[0].shape", "[rows, 1]"),
    "rows that differ": (categories(shape=[2, 2], data=["a"] * 4), "inputs[1].shape", "2 rows, the inputs before"),
    "no data": (numbers(data=None), "inputs[0].data", "is missing"),
    "null data": (b'{"inputs":[{"name":"tax","datatype":"FP64","shape":[1],"data":null}]}', "", "expected `array`"),
    "a number for a list": (numbers(data=3), "inputs[0].data", "expected `array`"),
    "too few": (numbers(data=[1, 2]), "inputs[0].data", "has 2 elements; shape [1, 3] takes 3"),
    "too many": (numbers(data=[1, 2, 3, 4]), "inputs[0].data", "has 4 elements"),
    "rows too short": (numbers(shape=[2, 3], data=[[1, 2, 3], [4, 5]]), "inputs[0].data", "2 rows of 2 to 3 elements"),
    "too few rows": (numbers(data=[[1, 2, 3], [4, 5, 6]]), "inputs[0].data", "2 rows of 3 elements"),
    "rows in rows": (numbers(data=[[[1, 2, 3]]]), "inputs[0].data[0][0]", "got `array`"),
    "rows for a column": ({"inputs": [tensor("tax", [1], [[1]])]}, "inputs[0].data", "1 rows of 1 elements"),
    "a row among numbers": (numbers(data=[1, [2], 3]), "inputs[0].data[1]", "got `array`"),
    "a string for a number": (numbers(data=[1, "2", 3]), "inputs[0].data[1]", "is wrong for FP64"),
    "a boolean for a number": (numbers(data=[1, True, 3]), "inputs[0].data[1]", "got `bool`"),
    "a fraction for an integer": (numbers(datatype="INT8", data=[1, 2.5, 3]), "inputs[0].data[1]", "for INT8"),
    "null for an integer": (numbers(datatype="INT8", data=[1, None, 3]), "inputs[0].data[1]", "for INT8"),
    "a number for a boolean": (numbers(datatype="BOOL", data=[1, 0, 1]), "inputs[0].data[0]", "for BOOL"),
    "a number for a string": (categories(data=["a", 7]), "inputs[1].data[1]", "for BYTES"),
    "300 in a byte": (numbers(datatype="INT8", data=[1, 300, 3]), "inputs[0].data", "beyond what INT8 can hold"),
    "less than nothing": (numbers(datatype="UINT64", data=[1, -1, 3]), "inputs[0].data", "beyond what UINT64"),
    "2 to the 64": (numbers(datatype="INT64", data=[1, 2**64 - 1, 3]), "inputs[0].data", "beyond what INT64"),
    "beyond single": (numbers(datatype="FP32", data=[1, 2, 1e300]), "inputs", "out of bounds: row 0, 'tax'"),
    "beyond double": (
        b'{"inputs":[{"name":"tax","datatype":"FP64","shape":[1],"data":[1e999]}]}',
        "inputs[0].data[0]",
        "out of range",
    ),
    "NaN": (b'{"inputs":[{"name":"tax","datatype":"FP64","shape":[1],"data":[NaN]}]}', "", "not a JSON"),
    "out of bounds": (numbers(data=[1e7, 2, 3]), "inputs", "row 0, 'price', is not within -1e+06 to 1e+06"),
    "absurd": (numbers(data=[1, 2, 1e12]), "inputs", "'tax'"),
    "a long string": (categories(data=["a", "x" * (LONGEST + 1)]), "inputs", f"more than {LONGEST}"),
    "NUL": (categories(data=["a", "C\x00"]), "inputs", "NUL"),
    "lone surrogate": (
        b'{"inputs":[{"name":"city","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
        "",
        "not a JSON",
    ),
    "unknown output": ({"inputs": GOOD, "outputs": [{"name": "x"}]}, "outputs[0].name", "label, probabilities"),
    "output twice": (
        {"inputs": GOOD, "outputs": [{"name": "label"}, {"name": "label"}]},
        "outputs[1].name",
        "was there before",
    ),
    "output without name": ({"inputs": GOOD, "outputs": [{}]}, "outputs[0]", "missing required field `name`"),
    "classification": (
        {"inputs": GOOD, "outputs": [{"name": "label", "parameters": {"classification": 3}}]},
        "outputs[0].parameters",
        "classification",
    ),
    "shared memory": (
        numbers(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 24}),
        "inputs[0].parameters.shared_memory_region",
        "send the data",
    ),
    "shared memory for outputs": (
        {"inputs": GOOD, "outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]},
        "outputs[0].parameters",
        "shared memory",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_in_a_sentence_that_names_the_field(asked: Asked, name: str) -> None:
    """400, as problem JSON (RFC 9457) with the protocol's `error`, and nothing of our insides."""
    body, field, words = BAD[name]

    reply = asked.infer(body)

    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    problem = reply.json
    assert problem["type"] == "urn:freshet:problem:inference-invalid"
    assert problem["error"] == problem["detail"]
    assert words in problem["error"]
    if field:
        assert problem["field"] == field
        assert problem["error"].startswith(field)
    assert not INSIDES.search(reply.body)
    assert len(reply.body) < 1000


def test_the_good_request_of_these_tests_is_answered(asked: Asked) -> None:
    """So that the refusals above are due to what was changed."""
    assert asked.infer({"inputs": GOOD}).status == 200


def test_a_problem_comes_as_json_to_whom_asks_for_that(asked: Asked) -> None:
    """The protocol's document knows no other content type; the body is the same."""
    replies = [
        asked.post("/v2/models/mirror/infer", b"{}", {"accept": accept})
        for accept in ("application/json", "*/*", "application/problem+json, application/json")
    ]

    assert [reply.headers["content-type"] for reply in replies] == [
        "application/json",
        "application/problem+json",
        "application/problem+json",
    ]
    assert len({reply.body for reply in replies}) == 1


def test_the_limits_themselves_are_allowed(asked: Asked) -> None:
    """As many rows as there may be, bounds, and the longest string."""
    rows = MOST_ROWS
    inputs = [tensor("price", [rows], [1e6, -1e6] * (rows // 2)), tensor("city", [rows], ["x" * 10] * rows, "BYTES")]
    long = [tensor("city", [1], ["x" * LONGEST], "BYTES")]

    replies = [asked.infer({"inputs": each, "outputs": [{"name": "score"}]}) for each in (inputs, long)]

    assert [len(output(reply, "score")) for reply in replies] == [rows, 1]


def test_a_compressed_or_large_body_is_refused(asked: Asked) -> None:
    """As everywhere at this door, before it is read."""
    path = "/v2/models/mirror/infer"

    encoded = asked.post(path, b"x", {"content-encoding": "gzip"})
    large = asked.post(path, b"x", {"content-length": str(LARGEST_BODY_BYTES + 1)})

    assert [(reply.status, reply.pieces_taken) for reply in (encoded, large)] == [(415, 0), (413, 0)]
    assert encoded.json["error"] == encoded.json["detail"]


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"[" * LARGEST_BODY_BYTES, id="deep"),
        pytest.param(b'{"inputs":' * 100_000, id="deep objects"),
        pytest.param(
            b'{"inputs":[{"name":"tax","shape":[1],"datatype":"FP64","data":' + b"[" * 1_000_000, id="deep data"
        ),
        pytest.param(b'{"inputs":[],"parameters":{"a":' + b"[" * 1_000_000 + b"}}", id="deep parameter"),
        pytest.param(b'{"inputs":[{"shape":[' + b"9" * 1_000_000 + b"]}]}", id="long number"),
        pytest.param(b'{"inputs":[{"shape":[' + b"9," * 500_000 + b"9]}]}", id="long shape"),
        pytest.param(
            b'{"inputs":[{"name":"tax","shape":[1],"datatype":"INT64","data":[' + b"9" * 1_000_000 + b"]}]}",
            id="long datum",
        ),
        pytest.param(b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b"}", id="many keys"),
        pytest.param(
            b'{"inputs":[' + b",".join([b'{"name":"","shape":[],"datatype":""}'] * 25_000) + b"]}", id="many inputs"
        ),
        pytest.param(
            msgspec.json.encode({"inputs": [tensor("x" * 1_000_000, [1], [1])]}),
            id="long name",
        ),
        pytest.param(
            b'{"inputs":[{"name":"tax","shape":[1],"datatype":"FP64","data":[' + b"1," * 500_000 + b"1]}]}",
            id="much data",
        ),
    ],
)
def test_a_bomb_costs_nothing(asked: Asked, bomb: bytes) -> None:
    """What is deep, long or many is refused in a moment: the event loop answers nobody else meanwhile."""
    started = time.process_time()  # not the clock: other processes' work is not the bomb's

    reply = asked.infer(bomb)

    assert reply.status in {400, 413}
    assert time.process_time() - started < 0.25


# --- MLServer's requests ----------------------------------------------------------------------------------------------


def mlserver(name: str) -> Any:
    path = SHARED / "mlserver" / name
    if not path.exists():
        pytest.skip("../shared/mlserver is not there: it would have shown that MLServer's own requests are answered")
    return json.loads(path.read_text())


def mlserver_model() -> Release:
    """A model whose input is MLServer's, by its shape: three numbers."""
    paths = ("commerce.order.priceTotal", "commerce.order.taxAmount", "commerce.order.discountAmount")
    spec = msgspec.structs.replace(MIRROR, name="sum-model", features=tuple(map(number, paths)))
    return release(7, answering_sum("regression", "prediction", spec), spec)


def test_mlservers_requests_are_answered_in_its_form() -> None:
    """Its fixtures, with our names for its tensors: the answer has every field that its answer has."""
    asked = Asked(mlserver_model())
    request = mlserver("inference-request.json")
    request["inputs"][0]["name"] = "numbers"
    with_output = mlserver("inference-request-with-output.json")
    with_output["inputs"][0]["name"] = "numbers"
    with_output["outputs"][0]["name"] = "prediction"
    theirs = mlserver("inference-response.json")

    plain, chosen = (asked.infer(each | {"id": theirs["id"]}, model="sum-model") for each in (request, with_output))

    assert (plain.status, chosen.status) == (200, 200)
    assert output(plain, "prediction") == output(chosen, "prediction") == [6.0]
    assert [each["name"] for each in chosen.json["outputs"]] == ["prediction"]
    assert theirs.keys() <= chosen.json.keys()
    assert (theirs["model_name"], theirs["id"]) == (chosen.json["model_name"], chosen.json["id"])
    assert theirs["outputs"][0].keys() == chosen.json["outputs"][0].keys()


def test_mlservers_bad_request_and_metadata_have_their_counterparts() -> None:
    """Its invalid datatype is refused; our metadata has every field that its metadata has."""
    asked = Asked(mlserver_model())

    refused = asked.infer(mlserver("inference-request-invalid-datatype.json"), model="sum-model")

    assert refused.status == 400
    for path, name in (
        ("/v2/models/sum-model", "metadata-model-response.json"),
        ("/v2", "metadata-server-response.json"),
    ):
        assert mlserver(name).keys() <= asked.get(path).json.keys()


# --- whatever else may come -------------------------------------------------------------------------------------------

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 4),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["numbers", "categories", "price", "city", "FP64", "BYTES", "INT8", "BOOL", "score", "label"]),
)
_KEYS = st.sampled_from(
    ["id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data", "binary_data_size", "binary_data"]
)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=14
)
_INPUTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["numbers", "categories", "price", "hour", "tax", "country", "city", "x"]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "datatype": st.sampled_from([*DATATYPES, "BF16"]),
    },
    optional={
        "data": st.lists(_LEAVES, max_size=6) | st.lists(st.lists(_LEAVES, max_size=3), max_size=3),
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 30) | _LEAVES}),
    },
)
_OUTPUTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["score", "label", "seen_numbers", "seen_categories", "x"])},
    optional={"parameters": st.fixed_dictionaries({}, optional={"binary_data": st.booleans() | _LEAVES})},
)
_REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(_INPUTS, max_size=4)},
    optional={"id": st.text(max_size=4), "outputs": st.lists(_OUTPUTS, max_size=3), "parameters": _JSON},
)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()  # lone surrogates, NaN and Infinity go out as Python has them


@settings(max_examples=700, deadline=None)
@given(
    body=st.one_of(st.binary(max_size=200), _JSON.map(_dumped), _REQUESTS.map(_dumped)),
    tail=st.none() | st.binary(max_size=40),
)
def test_no_body_makes_inference_fail(asked: Asked, body: bytes, tail: bytes | None) -> None:
    """Any bytes at all: 200, 400 or 422, and nothing of our insides."""
    reply = asked.infer(body, tail)

    assert reply.status in {200, 400, 422}
    if reply.status != 200:
        assert isinstance(reply.json["error"], str)
        assert not INSIDES.search(reply.body)


_VALUES = st.floats(-1e6, 1e6, allow_nan=False)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.lists(_VALUES, min_size=3, max_size=3), st.lists(_TEXTS, min_size=2, max_size=2)), min_size=1
    )
)
def test_whatever_is_sent_is_what_the_model_sees(asked: Asked, rows: list[tuple[list[float], list[str]]]) -> None:
    """For any rows: what comes back from a mirror is what went in."""
    reply = asked.infer({"inputs": whole(*rows)})

    assert output(reply, "seen_numbers") == [number for row, _ in rows for number in row]
    assert output(reply, "seen_categories") == [text for _, row in rows for text in row]

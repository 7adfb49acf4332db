"""A release that answers what it was asked: its outputs are its inputs, in every datatype that an artifact may give."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from schemas.features import Spec, category, hour, number
from schemas.records import Release
from scoring.door import Door
from scoring.engine import Engine
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.session import Session
from tests.scoring.artifacts import DAY_MS, release
from tests.scoring.asgi import Reply, call

MIRROR = Spec(
    name="mirror",
    applies_to=("commerce.productViews",),
    features=(
        number("commerce.order.priceTotal", name="price", least=-1e6, most=1e6),
        category("placeContext.geo.countryCode", name="country"),
        hour(name="hour"),
        number("commerce.order.taxAmount", name="tax"),
        category("placeContext.geo.city", name="city"),
    ),
    outcome="commerce.purchases",
    within_ms=1000,
    lateness_ms=0,
    remembers_ms=DAY_MS,
)


def mirror(version: int = 1) -> Release:
    """A classifier that says p = version / 1024 of everything, and shows what it was asked beside that."""
    p = version / 1024
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("label", TensorProto.INT64, ["N"]),
        ("probabilities", TensorProto.DOUBLE, ["N", 2]),
        ("seen_numbers", TensorProto.DOUBLE, ["N", 3]),
        ("seen_singles", TensorProto.FLOAT, ["N", 3]),
        ("seen_categories", TensorProto.STRING, ["N", 2]),
        ("missing", TensorProto.BOOL, ["N", 3]),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["numbers"], ["seen_numbers"]),
            helper.make_node("Identity", ["categories"], ["seen_categories"]),
            helper.make_node("Cast", ["numbers"], ["seen_singles"], to=TensorProto.FLOAT),
            helper.make_node("IsNaN", ["numbers"], ["missing"]),
            helper.make_node("Shape", ["numbers"], ["rows"], end=1),
            helper.make_node("Concat", ["rows", "one"], ["rows_of_one"], axis=0),
            helper.make_node("Expand", ["answer", "rows_of_one"], ["probabilities"]),
            helper.make_node("Expand", ["zero", "rows"], ["label"]),
        ],
        "made-by-hand",
        [
            helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["N", 3]),
            helper.make_tensor_value_info("categories", TensorProto.STRING, ["N", 2]),
        ],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(np.array([[1 - p, p]]), "answer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return release(version, model.SerializeToString(), MIRROR)


class Asked:
    """A door, and who asks it to infer."""

    def __init__(self, *releases: Release) -> None:
        self.engine = Engine()
        self.registry = Registry()
        self.door = Door(self.engine, self.registry, Profiles())
        for each in releases:
            self.engine.swap(Session(each), now_ms=0)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Reply:
        reply = call(self.door, "POST", path, body, headers)
        assert reply is not None
        return reply

    def get(self, path: str) -> Reply:
        reply = call(self.door, "GET", path)
        assert reply is not None
        return reply

    def infer(self, request: Any, tail: bytes | None = None, *, model: str = "mirror", version: str = "") -> Reply:
        """Ask with a request in JSON, or in bytes as they are; `tail` goes behind it, with the header that it needs."""
        body = request if isinstance(request, bytes) else msgspec.json.encode(request)
        headers = {} if tail is None else {"Inference-Header-Content-Length": str(len(body))}
        path = f"/v2/models/{model}{version and f'/versions/{version}'}/infer"
        return self.post(path, body + (tail or b""), headers)


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP64") -> dict[str, Any]:
    """One input in JSON."""
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def whole(*rows: tuple[list[float | None], list[str]]) -> list[dict[str, Any]]:
    """The two inputs of the mirror, whole."""
    numbers = [number for row, _ in rows for number in row]
    categories = [text for _, row in rows for text in row]
    return [
        tensor("numbers", [len(rows), 3], numbers),
        tensor("categories", [len(rows), 2], categories, "BYTES"),
    ]


def output(reply: Reply, name: str) -> Any:
    """The data of an output in a JSON response."""
    (found,) = (each for each in reply.json["outputs"] if each["name"] == name)
    return found["data"]

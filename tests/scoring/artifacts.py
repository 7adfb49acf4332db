"""Releases made by hand: graphs so small that what they must answer is known without running them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from schemas.features import Spec, category, count, hour, number, seconds_since
from schemas.records import LearnedThrough, ParityOf, Release

WINDOW_MS = 30 * 60_000
DAY_MS = 86_400_000

SPEC = Spec(
    name="m",
    applies_to=("commerce.productViews", "web.webpagedetails.pageViews"),
    features=(
        number("commerce.order.priceTotal", least=0, most=1e6),
        category("placeContext.geo.countryCode"),
        hour(),
        count("commerce.productListAdds", within="30m"),
        seconds_since("commerce.productViews"),
    ),
    outcome="commerce.purchases",
    within_ms=WINDOW_MS,
    lateness_ms=0,
    remembers_ms=30 * DAY_MS,
)


def constant_p(version: int) -> float:
    """What `constant(version)` answers to everything; exact in binary, so that it can be compared with ==."""
    return (version + 1) / 4096


def constant(version: int, spec: Spec = SPEC) -> bytes:
    """A graph that answers `constant_p(version)` whatever it is asked: its answers tell which version made them."""
    return _answering(constant_p(version), spec)


def unanswering(spec: Spec = SPEC) -> bytes:
    """A graph whose answer is NaN, which is how an artifact says that its learner has none."""
    return _answering(float("nan"), spec)


def weighted(weights: Sequence[float], spec: Spec = SPEC) -> bytes:
    """A logistic regression on the numbers, missing ones left out: its answers tell what it was asked."""
    return _graph(
        spec,
        [
            helper.make_node("MatMul", ["filled", "weights"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["p"]),
        ],
        weights=np.array(weights, dtype=np.float64).reshape(-1, 1),
    )


def answering_sum(task: str, output: str, spec: Spec = SPEC) -> bytes:
    """A graph that answers one number a row, the sum of the numbers that are there, and says what `task` that is."""
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["numbers"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "numbers"], ["filled"]),
            helper.make_node("ReduceSum", ["filled", "columns"], [output], keepdims=0),
        ],
        "made-by-hand",
        _inputs(spec),
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, ["N"])],
        [numpy_helper.from_array(np.zeros(1), "zero"), numpy_helper.from_array(np.array([1]), "columns")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"task": task})
    serialized: bytes = model.SerializeToString()
    return serialized


def _answering(p: float, spec: Spec) -> bytes:
    nodes = [
        helper.make_node("ReduceSum", ["filled", "columns"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["p"]),
    ]
    return _graph(spec, nodes, columns=np.array([1]), answer=np.array([p]))


def _graph(spec: Spec, nodes: list[Any], **constants: npt.NDArray[Any]) -> bytes:
    """A graph around `nodes`, which make "p" of shape (N, 1) from "filled", the numbers with 0 for missing."""
    all_constants = constants | {"zero": np.zeros(1), "one": np.ones(1)}
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["numbers"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "numbers"], ["filled"]),
            *nodes,
            helper.make_node("Sub", ["one", "p"], ["q"]),
            helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        ],
        "made-by-hand",
        _inputs(spec),
        [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in all_constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized


def _inputs(spec: Spec) -> list[Any]:
    inputs = [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["N", len(spec.numbers)])]
    if spec.categories:
        inputs.append(helper.make_tensor_value_info("categories", TensorProto.STRING, ["N", len(spec.categories)]))
    return inputs


def release(
    version: int, onnx: bytes | None = None, spec: Spec = SPEC, *, learned: tuple[int, int] | None = None
) -> Release:
    """A release of `onnx`, of `constant(version)` where none is given."""
    onnx = constant(version, spec) if onnx is None else onnx
    offset, event_time = learned or (version * 10, version * 1000)
    return Release(
        model=spec.name,
        version=version,
        created_at=0,
        sha256=hashlib.sha256(onnx).hexdigest(),
        onnx=onnx,
        spec=spec.to_json(),
        learned_through=LearnedThrough(offset=offset, event_time=event_time),
        examples=0,
        positives=0,
        refused=0,
        metrics={},
        parity=ParityOf(rows=0, max_abs_diff=0.0),
    )


def event(**fields: Any) -> dict[str, Any]:
    """A product view of visitor v at midnight, 2026-01-01, with `fields` on top; a field of None is left out."""
    whole = {
        "_id": "e-1",
        "timestamp": "2026-01-01T00:00:00Z",
        "eventType": "commerce.productViews",
        "identityMap": {"ECID": [{"id": "v", "primary": True}]},
    }
    return {key: value for key, value in (whole | fields).items() if value is not None}


EVENT_MS = 1_767_225_600_000

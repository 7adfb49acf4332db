"""Calibrated classifiers and thresholds: `learners.calibration`, the only estimators here that are not River's."""

from __future__ import annotations

from onnx import TensorProto

from learners.calibration import IsotonicCalibrated, PlattCalibrated, Thresholded
from learners.calibration.calibrated import LARGEST_IN, LARGEST_OUT, LEAST_P
from learners.onnx_export.answers import Classes, aligned
from learners.onnx_export.convert import Role, classes_of, full_name, predict, settings
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import both
from learners.onnx_export.votes import refuse_voter
from schemas.errors import NotExportable

_LABELS = (False, True)


@settings.register(IsotonicCalibrated)
@settings.register(PlattCalibrated)
@settings.register(Thresholded)
def settings_of_binary(model: PlattCalibrated, step: str, role: Role) -> None:
    refuse_voter(model.classifier, f"{step}/classifier")


@predict.register(PlattCalibrated)
def predict_by_platt(model: PlattCalibrated, graph: Graph, frame: Frame) -> Classes:
    member = _member(model, graph, frame)
    stretched = graph.op("Mul", _log_odds(graph, member), graph.numbers([model.slope]))
    return _calibrated(graph, member, graph.op("Add", stretched, graph.numbers([model.offset])))


@predict.register(IsotonicCalibrated)
def predict_by_isotonic(model: IsotonicCalibrated, graph: Graph, frame: Frame) -> Classes:
    """On a straight line between two places of the curve, both of them looked up."""
    member = _member(model, graph, frame)
    last = model.places - 1
    odds = _between(graph, _log_odds(graph, member), -LARGEST_IN, LARGEST_IN)
    shifted = graph.op("Add", odds, graph.numbers([LARGEST_IN]))
    at = graph.op("Mul", shifted, graph.numbers([last / (2.0 * LARGEST_IN)]))
    # On the last place itself, the line is the one before it.
    left = graph.op("Min", graph.op("Floor", at), graph.numbers([last - 1.0]))
    place = graph.op("Cast", left, to=TensorProto.INT64)
    below = graph.op("Gather", graph.numbers(model.curve[:-1]), place)
    above = graph.op("Gather", graph.numbers(model.curve[1:]), place)
    share = graph.op("Sub", at, left)
    rise = graph.op("Mul", share, graph.op("Sub", above, below))
    return _calibrated(graph, member, graph.op("Add", below, rise))


@predict.register(Thresholded)
def predict_by_threshold(model: Thresholded, graph: Graph, frame: Frame) -> Classes:
    """The probabilities as they are; the label is True from `at` on, and none where no class has any probability."""
    member = _member(model, graph, frame)
    p_true = graph.columns(member.probabilities, [1])
    likely = graph.op("Cast", graph.op("GreaterOrEqual", p_true, graph.numbers([model.least])), to=TensorProto.INT64)
    # The greatest, not the sum, which may be 0.0 only by rounding.
    greatest = graph.op("ReduceMax", member.probabilities, graph.integers([1]), keepdims=1)
    known = graph.op("Greater", greatest, graph.numbers([0.0]))
    winner = graph.op("Where", known, likely, graph.integers([-1]))
    return Classes(member.probabilities, _LABELS, member.unanswered, graph.op("Squeeze", winner, graph.integers([1])))


def _member(model: PlattCalibrated | IsotonicCalibrated | Thresholded, graph: Graph, frame: Frame) -> Classes:
    """What the classifier inside answers, as the probabilities of (False, True).

    Raises:
        NotExportable: it has learned other classes.
    """
    member = classes_of(model.classifier, graph, frame, "classifier")
    other = next((label for label in member.labels if label not in _LABELS), None)
    if other is not None:
        reason = f"the classifier in it has learned the class {other!r}"
        raise NotExportable(full_name(model), graph.step, reason, "the classes False and True")
    return Classes(aligned(graph, member, _LABELS), _LABELS, member.unanswered)


def _log_odds(graph: Graph, member: Classes) -> Tensor:
    """`learners.calibration.calibrated.log_odds`; shape (N, 1)."""
    logs = graph.op("Log", graph.op("Max", member.probabilities, graph.numbers([LEAST_P])))
    return graph.op("Sub", graph.columns(logs, [1]), graph.columns(logs, [0]))


def _calibrated(graph: Graph, member: Classes, odds: Tensor) -> Classes:
    p = graph.op("Sigmoid", _between(graph, odds, -LARGEST_OUT, LARGEST_OUT))
    return Classes(both(graph, p), _LABELS, member.unanswered)


def _between(graph: Graph, values: Tensor, least: float, most: float) -> Tensor:
    return graph.op("Max", graph.op("Min", values, graph.numbers([most])), graph.numbers([least]))

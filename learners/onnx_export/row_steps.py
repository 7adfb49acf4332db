"""Steps that look at one row and remember nothing: Binarizer and Normalizer."""

from __future__ import annotations

import math
from dataclasses import replace

from onnx import TensorProto
from river import preprocessing

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame, refuse_texts
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable


@settings.register(preprocessing.Binarizer)
def settings_of_binarizer(binarizer: preprocessing.Binarizer, step: str, role: Role) -> None:
    """Refuse a dtype that makes no number, and a threshold that is not finite."""
    if binarizer.dtype not in (bool, int, float):
        reason = f"its dtype {binarizer.dtype!r} makes something else than a number"
        raise NotExportable(full_name(binarizer), step, reason, "dtype=bool, int or float")
    if not math.isfinite(binarizer.threshold):
        reason = f"no number is told from another by the threshold {binarizer.threshold}"
        raise NotExportable(full_name(binarizer), step, reason, "a finite threshold")


@transform.register(preprocessing.Binarizer)
def transform_by_binarizer(binarizer: preprocessing.Binarizer, graph: Graph, frame: Frame) -> Frame:
    """1.0 above the threshold, else 0.0; texts pass."""
    if frame.one_hots and not 0.0 <= binarizer.threshold < 1.0:
        reason = f"by the threshold {binarizer.threshold} all one-hot keys are the same"
        raise NotExportable(full_name(binarizer), graph.step, reason, "it before the OneHotEncoder")
    if frame.numbers is None:
        return frame
    above = graph.op("Greater", frame.numbers.tensor, graph.numbers(float(binarizer.threshold)))
    binary = graph.op("Cast", above, to=TensorProto.DOUBLE)
    tensor = graph.op("Where", graph.op("IsNaN", frame.numbers.tensor), graph.nan(), binary)
    return replace(frame, numbers=Columns(tensor, frame.numbers.names))


@settings.register(preprocessing.Normalizer)
def settings_of_normalizer(normalizer: preprocessing.Normalizer, step: str, role: Role) -> None:
    """Refuse orders other than 1, 2 and infinity."""
    if normalizer.order not in (None, 1, 2, math.inf):
        reason = f"no exact converter is written yet for order {normalizer.order!r}"
        raise NotExportable(full_name(normalizer), step, reason, "order 1, 2 or math.inf")


@transform.register(preprocessing.Normalizer)
def transform_by_normalizer(normalizer: preprocessing.Normalizer, graph: Graph, frame: Frame) -> Frame:
    """Each number divided by the row's norm; River raises where the norm is 0, unless nothing is there to divide."""
    refuse_texts(normalizer, graph, frame)
    if frame.one_hots:
        raise NotExportable(full_name(normalizer), graph.step, ONE_HOT_IN_NORM, "it before the union with them")
    if frame.numbers is None:
        return frame
    values = graph.filled(frame.numbers.tensor)
    norm = _norm(graph, values, normalizer.order)
    zero = graph.op("Equal", norm, graph.numbers(0.0))
    present = graph.any_column(graph.op("Not", graph.op("IsNaN", frame.numbers.tensor)))
    unanswered = graph.op("And", zero, present)
    tensor = graph.op("Div", frame.numbers.tensor, norm)
    return replace(frame, numbers=Columns(tensor, frame.numbers.names), unanswered=(*frame.unanswered, unanswered))


ONE_HOT_IN_NORM = "a value that the encoder has not met counts in the norm, and has no column here"


def _norm(graph: Graph, values: Tensor, order: float | None) -> Tensor:
    """`numpy.linalg.norm` of each row; shape (N, 1)."""
    match order:
        case 1:
            return graph.total(graph.op("Abs", values))
        case math.inf:
            return graph.op("ReduceMax", graph.op("Abs", values), graph.integers([1]), keepdims=1)
        case _:
            return graph.op("Sqrt", graph.total(graph.op("Mul", values, values)))

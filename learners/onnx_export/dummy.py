"""Models that do not look at the features: what they have seen so far, in every row."""

from __future__ import annotations

import math
from numbers import Real

from river import dummy

from learners.onnx_export.answers import Classes, Value, no_class, predicted_from
from learners.onnx_export.convert import predict
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph
from schemas.errors import ReleaseRefused


@predict.register(dummy.NoChangeClassifier)
@predict.register(dummy.PriorClassifier)
def predict_by_seen_classes(
    model: dummy.NoChangeClassifier | dummy.PriorClassifier, graph: Graph, frame: Frame
) -> Classes:
    """The last class, or the share of each class."""
    shares = model.predict_proba_one({})
    if not shares:
        return no_class(frame)
    return predicted_from(graph, frame, graph.row([float(share) for share in shares.values()]), tuple(shares))


@predict.register(dummy.StatisticRegressor)
def predict_by_statistic(model: dummy.StatisticRegressor, graph: Graph, frame: Frame) -> Value:
    """The statistic as it stands; NaN while it is none yet."""
    try:
        number = model.predict_one({})
    except (LookupError, ArithmeticError, ValueError):  # of nothing, as some statistics are at first
        number = None
    if number is None:
        return Value(graph.row([math.nan], missing=True), frame.unanswered)
    if not isinstance(number, Real):
        raise ReleaseRefused("export", f"{graph.step} answers {number!r}, which is no number")
    return Value(graph.row([float(number)]), frame.unanswered)

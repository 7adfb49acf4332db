"""SimpleImputer in doubles: skl2onnx writes the operator Imputer, which onnxruntime has for floats only."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common.data_types import DoubleTensorType

from learners.onnx_export.frame import full_name
from learners.sklearn_export.embed import begin, embed, publish_columns
from schemas.errors import NotExportable


def refuse_imputer(imputer: Any, path: str) -> None:
    """Raise NotExportable for texts, another mark than NaN, and indicators."""
    reason = instead = ""
    if imputer.add_indicator:
        reason, instead = "it adds indicators", "add_indicator=False"
    elif imputer.statistics_.dtype.kind != "f" or not _is_nan(imputer.missing_values):
        reason, instead = "it imputes other than NaN", "SimpleImputer for the numbers only"
    if reason:
        raise NotExportable(full_name(imputer), path, reason, instead)


def shape_imputed(operator: Any) -> None:
    """skl2onnx's question for the width."""
    operator.outputs[0].type = DoubleTensorType([None, len(_kept(operator.raw_operator))])


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Each column's statistic where the column is NaN; a column that was always empty is left out, as there."""
    imputer = operator.raw_operator
    kept = _kept(imputer)
    graph, frame = begin(imputer.n_features_in_, refuse_missing=False)
    assert frame.numbers is not None
    with graph.at(type(imputer).__name__):
        values = graph.columns(frame.numbers.tensor, kept)
        statistics = graph.numbers([imputer.statistics_[kept]])
        publish_columns(graph, frame, graph.op("Where", graph.op("IsNaN", values), statistics, values), len(kept))
    embed(graph, scope, operator, container)


def _kept(imputer: Any) -> list[int]:
    return [int(place) for place in np.flatnonzero(~np.isnan(imputer.statistics_))]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124  # NaN is what differs from itself

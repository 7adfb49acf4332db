"""StatImputer, where what is missing is left out: nothing is imputed, and River raises."""

from __future__ import annotations

from dataclasses import replace

from river import preprocessing

from learners.onnx_export.convert import transform
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph
from learners.onnx_export.presence import rows_without


@transform.register(preprocessing.StatImputer)
def transform_by_stat_imputer(imputer: preprocessing.StatImputer, graph: Graph, frame: Frame) -> Frame:
    """Mark the rows in which River's `x[feature] is None` raises KeyError; the others pass unchanged.

    River imputes a key that is there and None. What is missing reaches it as no key at all.
    """
    masks = rows_without(imputer, graph, frame, tuple(imputer.stats))
    return replace(frame, unanswered=(*frame.unanswered, *masks))

"""Rows in which a step finds no feature where it reads `x[key]`, so that River raises KeyError."""

from __future__ import annotations

from collections.abc import Collection

from learners.onnx_export.frame import Frame, full_name
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable


def rows_without(step: object, graph: Graph, frame: Frame, keys: Collection[str]) -> tuple[Tensor, ...]:
    """Where one of these features is missing: masks for `Frame.unanswered`.

    Raises:
        NotExportable: a key is no number and no text of the frame, so that River would raise on every event.
    """
    unknown = next((key for key in keys if key not in {*frame.number_names, *frame.text_names}), None)
    if unknown is not None:
        reason = f"it reads {unknown!r}, which is not a feature here, so River raises on every event"
        known = ", ".join(map(str, (*frame.number_names, *frame.text_names))) or "none"
        raise NotExportable(full_name(step), graph.step, reason, f"a feature among {known}")
    read = frame.keep(graph, numbers=keys, texts=keys)
    missing = []
    if read.numbers:
        missing.append(graph.op("IsNaN", read.numbers.tensor))
    if read.texts:
        missing.append(graph.op("Equal", read.texts.tensor, graph.strings([""])))
    return tuple(graph.any_column(mask) for mask in missing)

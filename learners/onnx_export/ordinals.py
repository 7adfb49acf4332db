"""Texts as whole numbers: OrdinalEncoder."""

from __future__ import annotations

from dataclasses import replace

from river import preprocessing

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph
from schemas.errors import NotExportable


@settings.register(preprocessing.OrdinalEncoder)
def settings_of_ordinal(encoder: preprocessing.OrdinalEncoder, step: str, role: Role) -> None:
    """Refuse `unknown_value=None`."""
    if encoder.unknown_value is None:
        reason = "with unknown_value=None a value that was not met becomes None, which is no number"
        raise NotExportable(full_name(encoder), step, reason, "unknown_value=0")


@transform.register(preprocessing.OrdinalEncoder)
def transform_by_ordinal(encoder: preprocessing.OrdinalEncoder, graph: Graph, frame: Frame) -> Frame:
    """The code of each text, `unknown_value` for one without a code; a missing field stays missing."""
    if frame.numbers or frame.one_hots:
        reason = "it would give each number a code of its own"
        raise NotExportable(full_name(encoder), graph.step, reason, "SelectType(str) in front of it")
    if frame.texts is None:
        return frame
    fields = frame.texts.names
    if encoder.categories is not None:
        unlisted = next((field for field in fields if field not in encoder.categories), None)
        if unlisted is not None:
            reason = f"its categories do not list {unlisted!r}, so River raises"
            raise NotExportable(full_name(encoder), graph.step, reason, f"categories with codes for {unlisted!r}")
    # One table for all fields. Numbered, because `a` = "b_c" and `a_b` = "c" have codes of their own.
    numbered = [f"{place}:" for place in range(len(fields))]
    table = {
        f"{number}{value}": float(code)
        for number, field in zip(numbered, fields, strict=True)
        for value, code in encoder.values.get(field, {}).items()
        if isinstance(value, str)
    }
    keys = graph.op("StringConcat", graph.strings(numbered), frame.texts.tensor)
    codes = graph.lookup(keys, {"": 0.0, **table}, otherwise=float(encoder.unknown_value or 0))
    missing = graph.op("Equal", frame.texts.tensor, graph.strings([""]))
    tensor = graph.op("Where", missing, graph.nan(), codes)
    return replace(frame, numbers=Columns(tensor, fields), texts=None)

"""Agg and TargetAgg as they stand: a table from group to statistic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from river import feature_extraction

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.presence import rows_without
from schemas.errors import NotExportable, ReleaseRefused


@settings.register(feature_extraction.Agg)
@settings.register(feature_extraction.TargetAgg)
def settings_of_agg(agg: feature_extraction.Agg, step: str, role: Role) -> None:
    """Refuse statistics that say no finite number before they have learned: Quantile, Min, Max, Mode."""
    # A group that was not met gets a copy of `how`, which itself never learns.
    fresh = agg.how.get()
    if not isinstance(fresh, int | float) or not math.isfinite(fresh):
        reason = f"of a group that it has not met its {type(agg.how).__name__} says {fresh}, which is no number"
        raise NotExportable(full_name(agg), step, reason, "how=Mean(), BayesianMean(), Sum(), Count() or Var()")


@transform.register(feature_extraction.Agg)
@transform.register(feature_extraction.TargetAgg)
def transform_by_agg(agg: feature_extraction.Agg, graph: Graph, frame: Frame) -> Frame:
    """One number, that of the row's group; River raises where a field of `by` is missing."""
    fields = tuple(agg.by or ())
    numeric = next((field for field in fields if field in frame.number_names), None)
    if numeric is not None:
        reason = f"it groups by the number {numeric!r}"
        raise NotExportable(full_name(agg), graph.step, reason, "a category to group by")
    masks = rows_without(agg, graph, frame, fields)
    # `.get`, because `[]` would add the group to the model.
    if fields:
        value = _by_group(agg, graph, frame, fields)
    else:
        value = graph.row([_number(graph, agg._groups.get(None, agg.how).get())])
    return replace(
        frame,
        numbers=Columns(value, (agg._feature_name,)),
        texts=None,
        one_hots=(),
        unanswered=(*frame.unanswered, *masks),
    )


def _by_group(agg: feature_extraction.Agg, graph: Graph, frame: Frame, fields: tuple[str, ...]) -> Tensor:
    # Only texts reach it, so a group of anything else is never met again.
    groups = {
        group: _number(graph, statistic.get())
        for group, statistic in agg._groups.items()
        if all(isinstance(part, str) for part in group)
    }
    separator = _separator({letter for group in groups for part in group for letter in part})
    table = {separator.join(group): number for group, number in groups.items()}
    first, *others = (_field(graph, frame, field) for field in fields)
    key = first
    for other in others:
        key = graph.op("StringConcat", graph.op("StringConcat", key, graph.strings([separator])), other)
    return graph.lookup(key, table or {"": 0.0}, otherwise=float(agg.how.get()))


def _field(graph: Graph, frame: Frame, field: str) -> Tensor:
    tensor = frame.texts.tensor if frame.texts else ""
    return graph.columns(tensor, [frame.text_names.index(field)])


def _separator(letters: set[str]) -> str:
    """A letter of no group: then a row whose texts hold it has one too many to be taken for a group."""
    return next(letter for letter in map(chr, range(0x1F, 0xD800)) if letter not in letters)


def _number(graph: Graph, value: Any) -> float:
    if not isinstance(value, int | float):
        raise ReleaseRefused("export", f"{graph.step} holds {value!r}, which is no number")
    return float(value)

"""Steps that change values: scaling and one-hot encoding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from river import preprocessing

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame, OneHot, dense, refuse_clashes
from learners.onnx_export.graph import Graph
from schemas.errors import NotExportable, ReleaseRefused


@settings.register(preprocessing.StandardScaler)
def settings_of_standard_scaler(scaler: preprocessing.StandardScaler, step: str, role: Role) -> None:
    """Refuse a rolling variance: rounding takes it below zero, and then River's learning raises TypeError."""
    if scaler.window_size is not None and scaler.with_std:
        reason = "a rolling variance falls below zero by rounding, its root is complex, and River raises TypeError"
        raise NotExportable(full_name(scaler), step, reason, "AdaptiveStandardScaler(), which forgets as well")


@transform.register(preprocessing.StandardScaler)
def transform_by_standard_scaler(scaler: preprocessing.StandardScaler, graph: Graph, frame: Frame) -> Frame:
    """`(x - mean) / std`, and 0.0 for a feature that has not varied yet."""
    frame = dense(scaler, graph, frame, scaler.counts)
    if frame.numbers is None:
        return frame
    means = _values(scaler.means, frame.numbers.names)
    if not scaler.with_std:
        tensor = graph.op("Sub", frame.numbers.tensor, graph.numbers(means))
        return replace(frame, numbers=Columns(tensor, frame.numbers.names))
    variances = _values(scaler.vars, frame.numbers.names)
    stds = [_std(graph, name, variance) for name, variance in zip(frame.numbers.names, variances, strict=True)]
    # Dividing by infinity gives River's 0.0 and keeps NaN, so a missing feature stays missing. Without a mean, because
    # nothing is left of it, and x - mean could overflow to an infinity, which infinity does not divide to 0.0.
    means = [0.0 if math.isinf(std) else mean for mean, std in zip(means, stds, strict=True)]
    centred = graph.op("Sub", frame.numbers.tensor, graph.numbers(means))
    tensor = graph.op("Div", centred, graph.numbers(stds, infinite=True))
    return replace(frame, numbers=Columns(tensor, frame.numbers.names))


def _values(statistics: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """What a statistic of each feature says, 0.0 of one that was not met; with `window_size` River keeps objects."""
    # `get`, because `[]` on River's defaultdicts would add the feature to the model.
    found = map(statistics.get, names, itertools.repeat(0.0))
    return [each if type(each) is float else _value(each) for each in found]


def _value(statistic: Any) -> float:
    return statistic if isinstance(statistic, float | int) else float(statistic.get())


def _std(graph: Graph, name: str, variance: float) -> float:
    if not 0.0 <= variance < math.inf:
        raise ReleaseRefused("export", f"{graph.step} holds the variance {variance} of {name!r}")
    # River's own expression: `v**0.5` differs from sqrt(v) in the last bit for one value in a thousand.
    return float(variance**0.5) if variance else math.inf


@settings.register(preprocessing.OneHotEncoder)
def settings_of_one_hot(encoder: preprocessing.OneHotEncoder, step: str, role: Role) -> None:
    """Refuse `drop_first`, except with fixed categories."""
    if encoder.drop_first and (encoder.categories is None or encoder.drop_zeros):
        reason = "drop_first drops the smallest key of each event, unseen values included"
        raise NotExportable(full_name(encoder), step, reason, "OneHotEncoder(), or with categories={...}")
    if encoder.drop_first and not encoder._zero_dict:
        reason = "drop_first has no key to drop, so River raises"
        raise NotExportable(full_name(encoder), step, reason, "categories with values")


@transform.register(preprocessing.OneHotEncoder)
def transform_by_one_hot(encoder: preprocessing.OneHotEncoder, graph: Graph, frame: Frame) -> Frame:
    """The key of each field, and which keys are 0 where they are not 1."""
    if frame.numbers or frame.one_hots:
        reason = "it would encode numbers by how Python prints them"
        raise NotExportable(full_name(encoder), graph.step, reason, "SelectType(str) in front of it")
    if frame.texts is None:
        return frame
    zeros = frozenset(() if encoder.drop_zeros else encoder._zero_dict)
    allowed = _allowed(encoder, graph, frame.texts.names)
    if encoder.drop_first and allowed is not None:
        # All events have the same keys, so it is always the same one.
        first = frozenset({min(zeros)})
        zeros, allowed = zeros - first, allowed - first
    encoded = OneHot("", frame.texts.names, allowed, zeros)
    keys = graph.op("StringConcat", graph.strings(encoded.prefixes), frame.texts.tensor)
    frame = replace(frame, texts=None, one_hots=(replace(encoded, keys=keys),))
    refuse_clashes(graph, frame)
    return frame


def _allowed(encoder: preprocessing.OneHotEncoder, graph: Graph, fields: tuple[str, ...]) -> frozenset[str] | None:
    if encoder.categories is None:
        return None
    unknown = next((field for field in fields if field not in encoder.categories), None)
    if unknown is not None:
        reason = f"its categories do not list {unknown!r}, so River raises"
        raise NotExportable(full_name(encoder), graph.step, reason, f"categories with values for {unknown!r}")
    values = ((field, value) for field in fields for value in encoder.categories[field])
    return frozenset(f"{field}_{value}" for field, value in values if isinstance(value, str))

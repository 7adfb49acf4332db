"""Scalers beside StandardScaler: each keeps two numbers per feature, an offset and a divisor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from river import preprocessing

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame, dense
from learners.onnx_export.graph import Graph
from schemas.errors import NotExportable, ReleaseRefused


@settings.register(preprocessing.MinMaxScaler)
def settings_of_min_max(scaler: preprocessing.MinMaxScaler, step: str, role: Role) -> None:
    """Refuse `window_size`, with which River raises TypeError for a feature that it has not met."""
    if scaler.window_size is not None:
        reason = "with window_size River raises TypeError for a feature that it has not met"
        raise NotExportable(full_name(scaler), step, reason, "MinMaxScaler()")


@transform.register(preprocessing.MinMaxScaler)
def transform_by_min_max(scaler: preprocessing.MinMaxScaler, graph: Graph, frame: Frame) -> Frame:
    """`(x - min) / (max - min)`, and 0.0 for a feature that has not varied yet.

    Of a feature that was never met River makes the *number* NaN (online-ml/river#2001), which trees and Bayes pass over
    and which poisons sums. Here the feature is missing. Where that differs, River answers NaN, and `check_parity`
    releases nothing until the feature was met.
    """
    frame = dense(scaler, graph, frame, scaler.min)
    lows, spans = [], []
    for name in frame.number_names:
        low, high = _get(scaler.min, name), _get(scaler.max, name)
        met = low is not None and (low, high) != (math.inf, -math.inf)
        lows.append(low if met else 0.0)
        spans.append(_divisor(graph, name, high - low) if met else math.nan)
    return _scaled(graph, frame, lows, spans)


@transform.register(preprocessing.MaxAbsScaler)
def transform_by_max_abs(scaler: preprocessing.MaxAbsScaler, graph: Graph, frame: Frame) -> Frame:
    """`x / max(|x|)`, and 0.0 for a feature that was only 0, or never met."""
    frame = dense(scaler, graph, frame, scaler.abs_max)
    greatest = [_divisor(graph, name, _get(scaler.abs_max, name)) for name in frame.number_names]
    return _scaled(graph, frame, [0.0] * len(greatest), greatest)


@transform.register(preprocessing.AdaptiveStandardScaler)
def transform_by_adaptive(scaler: preprocessing.AdaptiveStandardScaler, graph: Graph, frame: Frame) -> Frame:
    """`(x - mean) / std`, both fading, and 0.0 for a feature that has not varied lately."""
    frame = dense(scaler, graph, frame, scaler.means)
    means = [_get(scaler.means, name) or 0.0 for name in frame.number_names]
    variances = [_get(scaler.vars, name) or 0.0 for name in frame.number_names]
    # A fading variance may come out a little below zero. NaN goes on to be refused.
    stds = [
        _divisor(graph, name, 0.0 if variance <= 0.0 else variance**0.5)
        for name, variance in zip(frame.number_names, variances, strict=True)
    ]
    return _scaled(graph, frame, means, stds)


@transform.register(preprocessing.RobustScaler)
def transform_by_robust(scaler: preprocessing.RobustScaler, graph: Graph, frame: Frame) -> Frame:
    """`(x - median) / iqr`, and 0.0 for a feature without a range, or never met."""
    frame = dense(scaler, graph, frame, {**scaler.median, **scaler.iqr})
    names = frame.number_names
    medians = [(_get(scaler.median, name) or 0.0) if scaler.with_centering else 0.0 for name in names]
    ranges = [_divisor(graph, name, _get(scaler.iqr, name)) if scaler.with_scaling else 1.0 for name in names]
    return _scaled(graph, frame, medians, ranges)


def _get(statistics: Any, name: str) -> Any:
    """What River's statistic of a feature says; None of one that it has not met."""
    # `.get`, because `[]` on River's defaultdicts would add the feature to the model.
    statistic = statistics.get(name)
    return None if statistic is None else statistic.get()


def _divisor(graph: Graph, name: str, value: float | None) -> float:
    """What the feature is divided by: River's "0.0 if there is nothing to divide by" is division by infinity."""
    if value and not math.isfinite(value):
        raise ReleaseRefused("export", f"{graph.step} divides {name!r} by {value}")
    return value or math.inf


def _scaled(graph: Graph, frame: Frame, offsets: Iterable[float], divisors: Iterable[float]) -> Frame:
    """`(x - offset) / divisor`, feature by feature; a divisor of NaN makes the feature missing."""
    if frame.numbers is None:
        return frame
    divisors = list(divisors)
    # Without an offset where nothing is left of it: x - offset could overflow, and inf / inf is not 0.0.
    offsets = [0.0 if math.isinf(by) else offset for offset, by in zip(offsets, divisors, strict=True)]
    tensor = frame.numbers.tensor
    if any(offsets):
        tensor = graph.op("Sub", tensor, graph.numbers(offsets))
    if any(by != 1.0 for by in divisors):
        tensor = graph.op("Div", tensor, graph.numbers(divisors, infinite=True, missing=True))
    return replace(frame, numbers=Columns(tensor, frame.numbers.names))

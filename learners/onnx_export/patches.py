"""Streaming random patches: ensembles whose members see some of the features each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from river import ensemble

from learners.onnx_export.answers import masks_of, no_class
from learners.onnx_export.convert import Classes, Role, Value, classes_of, predict, settings, value_of
from learners.onnx_export.ensemble import side_by_side
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import normalized
from learners.onnx_export.votes import counted, nobody, refuse_none, refuse_regressor, refuse_voter
from schemas.errors import ReleaseRefused


@settings.register(ensemble.SRPClassifier)
def settings_of_srp_classifier(model: ensemble.SRPClassifier, step: str, role: Role) -> None:
    refuse_voter(model.model, f"{step}/model")


@predict.register(ensemble.SRPClassifier)
def predict_by_srp_classifier(model: ensemble.SRPClassifier, graph: Graph, frame: Frame) -> Classes:
    """Each member's vote counts as much as its metric says.

    Raises:
        ReleaseRefused: nothing was learned, and the members answer without that. River answers the first row with
            nothing, draws the members' features from that row, and answers the next one by them.
    """
    if not model.models:
        if classes_of(model.model, graph, frame, "model").labels:
            reason = "an SRPClassifier that has learned nothing is changed by the first row that it answers"
            raise ReleaseRefused("export", f"{graph.step}: {reason}")
        return no_class(frame)
    members = [
        classes_of(member.model, graph, _seen(graph, frame, member.features), str(i))
        for i, member in enumerate(model.models)
    ]
    votes = counted(graph, members, [_weight(model, member.metric.get()) for member in model.models])
    if votes is None:
        return nobody(members)
    return Classes(normalized(graph, votes.total), votes.labels, votes.unanswered)


@settings.register(ensemble.SRPRegressor)
def settings_of_srp_regressor(model: ensemble.SRPRegressor, step: str, role: Role) -> None:
    refuse_regressor(model.model, f"{step}/model")


@predict.register(ensemble.SRPRegressor)
def predict_by_srp_regressor(model: ensemble.SRPRegressor, graph: Graph, frame: Frame) -> Value:
    """The members' mean, weighted by their metric if so set, or their median."""
    if not model.models:
        return Value(graph.row([0.0]), frame.unanswered)
    with graph.at("model"):
        refuse_none([member.model for member in model.models], graph)
    values = [
        value_of(member.model, graph, _seen(graph, frame, member.features), str(i))
        for i, member in enumerate(model.models)
    ]
    answers = side_by_side(graph, values)
    if model.aggregation_method == "median":
        return Value(_median(graph, answers, len(values)), masks_of(values))
    shares = _shares(model)
    if not shares.any():  # also when all members are equally bad
        return Value(graph.row([0.0]), masks_of(values))
    weighted = graph.total(graph.op("Mul", answers, graph.numbers(shares)))
    return Value(graph.op("Div", weighted, graph.numbers([shares.sum()])), masks_of(values))


def _weight(model: ensemble.SRPClassifier, metric: float) -> float:
    return float(metric) if metric > 0.0 and not model.disable_weighted_vote else 1.0


def _shares(model: ensemble.SRPRegressor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if model.disable_weighted_vote:
        return np.ones(len(model.models))
    weights = np.array([max(member.metric.get(), 0.0) for member in model.models])
    return weights if model.metric.bigger_is_better else weights.max() - weights


def _median(graph: Graph, answers: Tensor, n: int) -> Tensor:
    """Of n columns; shape (N, 1)."""
    ordered, _ = graph.ops("TopK", answers, graph.integers([n]), outputs=2, axis=1, largest=0, sorted=1)
    middle = graph.columns(ordered, [(n - 1) // 2, n // 2])
    return graph.op("Mul", graph.total(middle), graph.numbers([0.5]))


def _seen(graph: Graph, frame: Frame, features: Collection[str] | None) -> Frame:
    """The frame with only these features, one-hot keys included; all of it if None."""
    if features is None:
        return frame
    kept = frame.keep(graph, numbers=features, texts=features)
    one_hots = (
        replace(one_hot, allowed=frozenset(one_hot.emits(features)), zeros=one_hot.zeros & set(features))
        for one_hot in frame.one_hots
    )
    # A member's features are drawn from the rows that it learned, so that it may rightly see none of these.
    return replace(kept, one_hots=tuple(part for part in one_hots if part.allowed or part.zeros), thinned=True)

"""Ensembles whose members all vote: bagging, boosting, voting, weighted averages."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx import TensorProto
from river import ensemble

from learners.onnx_export.answers import certain, labels_of, masks_of, winners
from learners.onnx_export.convert import Classes, Role, Value, classes_of, predict, refuse, settings, value_of
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import normalized
from learners.onnx_export.votes import counted, nobody, refuse_none, refuse_regressor, refuse_voter


@settings.register(ensemble.BaggingClassifier)
@settings.register(ensemble.ADWINBaggingClassifier)
@settings.register(ensemble.LeveragingBaggingClassifier)
@settings.register(ensemble.AdaBoostClassifier)
@settings.register(ensemble.ADWINBoostingClassifier)
@settings.register(ensemble.BOLEClassifier)
def settings_of_voters(model: ensemble.BaggingClassifier, step: str, role: Role) -> None:
    refuse_voter(model.model, f"{step}/model")


@predict.register(ensemble.BaggingClassifier)
@predict.register(ensemble.ADWINBaggingClassifier)
@predict.register(ensemble.LeveragingBaggingClassifier)
def predict_by_bagging(model: ensemble.BaggingClassifier, graph: Graph, frame: Frame) -> Classes:
    members = _members(model, graph, frame)
    votes = counted(graph, members)
    if votes is None:
        return nobody(members)
    return Classes(normalized(graph, votes.total), votes.labels, votes.unanswered)


@predict.register(ensemble.AdaBoostClassifier)
@predict.register(ensemble.ADWINBoostingClassifier)
def predict_by_boosting(model: ensemble.AdaBoostClassifier, graph: Graph, frame: Frame) -> Classes:
    weights = [_log_odds_of_being_right(model, i) for i in range(len(model))]
    members = _members(model, graph, frame)
    votes = counted(graph, members, weights)
    if votes is None:
        return nobody(members)
    return Classes(_scaled(graph, votes.total), votes.labels, votes.unanswered)


@predict.register(ensemble.BOLEClassifier)
def predict_by_bole(model: ensemble.BOLEClassifier, graph: Graph, frame: Frame) -> Classes:
    """Only members with a weight vote; all do if none of those knows a class."""
    members = _members(model, graph, frame)
    weights = [_weight_within_bound(model, i) for i in range(len(model))]
    weighted = [i for i, weight in enumerate(weights) if weight and members[i].labels]
    voters = weighted or range(len(members))
    votes = counted(graph, [members[i] for i in voters], [weights[i] or 1.0 for i in voters])
    if votes is None:
        return nobody(members)
    return Classes(_scaled(graph, votes.total), votes.labels, masks_of(members))


@settings.register(ensemble.VotingClassifier)
def settings_of_voting(model: ensemble.VotingClassifier, step: str, role: Role) -> None:
    for i, member in enumerate(model):
        if model.use_probabilities:
            refuse_voter(member, f"{step}/{i}")
        else:
            refuse(member, f"{step}/{i}", "predict")


@predict.register(ensemble.VotingClassifier)
def predict_by_voting(model: ensemble.VotingClassifier, graph: Graph, frame: Frame) -> Classes:
    """Only a class: the first of those with the most votes, where without probabilities None can win too.

    Where a member is torn between two classes to the last bit, rounding may turn its whole vote. If the parity check
    meets such a row, it refuses the release.
    """
    members = _members(model, graph, frame)
    labels = labels_of(members)
    votes = counted(graph, members) if model.use_probabilities else None
    if not labels:
        return nobody(members)
    winner = graph.op("ArgMax", votes.total, axis=1, keepdims=0) if votes else _most_named(graph, members)
    return Classes(certain(graph, winner, labels), labels, masks_of(members), winner)


@settings.register(ensemble.BaggingRegressor)
def settings_of_bagging_regressor(model: ensemble.BaggingRegressor, step: str, role: Role) -> None:
    refuse_regressor(model.model, f"{step}/model")


@predict.register(ensemble.BaggingRegressor)
def predict_by_bagging_regressor(model: ensemble.BaggingRegressor, graph: Graph, frame: Frame) -> Value:
    refuse_none(list(model), graph)
    values = [value_of(member, graph, frame, str(i)) for i, member in enumerate(model)]
    mean = graph.op("Div", graph.total(side_by_side(graph, values)), graph.numbers([float(len(values))]))
    return Value(mean, masks_of(values))


@settings.register(ensemble.EWARegressor)
def settings_of_ewa(model: ensemble.EWARegressor, step: str, role: Role) -> None:
    for i, member in enumerate(model):
        refuse_regressor(member, f"{step}/{i}")


@predict.register(ensemble.EWARegressor)
def predict_by_ewa(model: ensemble.EWARegressor, graph: Graph, frame: Frame) -> Value:
    refuse_none(list(model), graph)
    values = [value_of(member, graph, frame, str(i)) for i, member in enumerate(model)]
    weighted = graph.op("Mul", side_by_side(graph, values), graph.numbers(model.weights))
    return Value(graph.total(weighted), masks_of(values))


def side_by_side(graph: Graph, values: Sequence[Value]) -> Tensor:
    """What each member answers; shape (N, len(values))."""
    return graph.op("Concat", *(member.value for member in values), axis=1)


def _members(model: Sequence[object], graph: Graph, frame: Frame) -> list[Classes]:
    return [classes_of(member, graph, frame, str(i)) for i, member in enumerate(model)]


def _log_odds_of_being_right(model: ensemble.AdaBoostClassifier, i: int) -> float:
    # `.get`, because River's own `[]` adds the member to the model's counts.
    wrong, correct = model.wrong_weight.get(i, 0), model.correct_weight.get(i, 0)
    epsilon = (wrong + 1e-16) / ((correct + wrong) + 1e-16)
    if epsilon == 0 or epsilon > 0.5:
        return 1.0
    odds = (1 - epsilon) / epsilon
    return math.log(odds) if odds != 0 else 0.0


def _weight_within_bound(model: ensemble.BOLEClassifier, i: int) -> float:
    """0.0 for a member that does not vote."""
    wrong, correct = model.wrong_weight.get(i, 0), model.correct_weight.get(i, 0)
    if not (correct > 0.0 and wrong > 0.0):
        return 0.0
    epsilon = wrong / (correct + wrong) + 1e-16
    return math.log((1 - epsilon) / epsilon) if epsilon <= model.error_bound else 0.0


def _scaled(graph: Graph, votes: Tensor) -> Tensor:
    """`river.utils.norm.normalize_values_in_dict`: times the reciprocal of the sum, unless that is 0."""
    total = graph.total(votes)
    is_zero = graph.op("Equal", total, graph.numbers(0.0))
    factor = graph.op("Reciprocal", graph.op("Where", is_zero, graph.numbers(1.0), total))
    return graph.op("Mul", votes, factor)


def _most_named(graph: Graph, members: Sequence[Classes]) -> Tensor:
    """What the first member names whose choice has the most votes; int64, shape (N,)."""
    labels = labels_of(members)
    named = graph.op(
        "Concat",
        *(graph.op("Unsqueeze", winners(graph, member, labels), graph.integers([1])) for member in members),
        axis=1,
    )
    alike = graph.op(
        "Equal",
        graph.op("Unsqueeze", named, graph.integers([2])),
        graph.op("Unsqueeze", named, graph.integers([1])),
    )
    counts = graph.total(graph.op("Cast", alike, to=TensorProto.INT64), axis=2, keepdims=False)
    first = graph.op("ArgMax", counts, axis=1, keepdims=1)
    return graph.op("Squeeze", graph.op("GatherElements", named, first, axis=1), graph.integers([1]))

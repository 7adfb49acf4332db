"""What the last step of a pipeline answers, and how the members of an ensemble come to one answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnx import TensorProto

from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor

Label: TypeAlias = bool | int | str


@dataclass(frozen=True, slots=True)
class Classes:
    """What a classifier answers.

    Attributes:
        probabilities: doubles, shape (N, len(labels)); 0.0 for a class that River's dict leaves out. Without labels
            there is no such tensor, and the name is empty: see `no_class`.
        labels: River's classes in the order in which River's dict holds them, which decides ties.
        unanswered: as in `Frame`.
        winner: int64, shape (N,): the place in `labels` of what `predict_one` answers, -1 for None. Left out, it is
            the first of the likeliest. Needed where River's dict has another order, or other classes, from row to row,
            and where `predict_one` does not take the likeliest.
    """

    probabilities: Tensor
    labels: tuple[Label, ...]
    unanswered: tuple[Tensor, ...]
    winner: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """What a regressor answers.

    Attributes:
        value: doubles, shape (N, 1); NaN where `predict_one` answers None.
        unanswered: as in `Frame`.
    """

    value: Tensor
    unanswered: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What an anomaly detector answers.

    Attributes:
        score: doubles, shape (N, 1).
        unanswered: as in `Frame`.
    """

    score: Tensor
    unanswered: tuple[Tensor, ...]


Answer: TypeAlias = Classes | Value | Score


def predicted_from(
    graph: Graph, frame: Frame, probabilities: Tensor, labels: Sequence[Label], winner: Tensor | None = None
) -> Classes:
    """The answer of a classifier that has seen `frame`."""
    return Classes(probabilities, tuple(labels), frame.unanswered, winner)


def no_class(frame: Frame) -> Classes:
    """The answer of a classifier that has met no class yet: River's is an empty dict."""
    return Classes("", (), frame.unanswered)


def labels_of(members: Iterable[Classes]) -> tuple[Label, ...]:
    """All classes that the members know, in the order in which they are met."""
    return tuple(dict.fromkeys(label for member in members for label in member.labels))


def masks_of(answers: Iterable[Answer]) -> tuple[Tensor, ...]:
    """Where an ensemble has no answer: River raises if any member does."""
    return tuple(dict.fromkeys(mask for answer in answers for mask in answer.unanswered))


def aligned(graph: Graph, classes: Classes, labels: Sequence[Label]) -> Tensor:
    """The probabilities of exactly these labels, 0.0 for one that `classes` does not know; shape (N, len(labels))."""
    if not classes.labels:
        return graph.row([0.0] * len(labels))
    if tuple(labels) == classes.labels:
        return classes.probabilities
    known = {label: place for place, label in enumerate(classes.labels)}
    probabilities = classes.probabilities
    if not known.keys() >= set(labels):
        probabilities = graph.op("Concat", probabilities, graph.row([0.0]), axis=1)
    return graph.columns(probabilities, [known.get(label, len(known)) for label in labels])


def winners(graph: Graph, classes: Classes, labels: Sequence[Label]) -> Tensor:
    """The place in `labels` of the class that River predicts, -1 where it predicts None; int64, shape (N,)."""
    if not classes.labels:
        return graph.op("Cast", graph.op("Squeeze", graph.row([-1.0]), graph.integers([1])), to=TensorProto.INT64)
    winner = classes.winner or graph.op("ArgMax", classes.probabilities, axis=1, keepdims=0)
    if tuple(labels) == classes.labels:
        return winner
    places = {label: place for place, label in enumerate(labels)}
    # The last entry is for -1: Gather counts negative places from the end.
    return graph.op("Gather", graph.integers([*(places.get(label, -1) for label in classes.labels), -1]), winner)


def likeliest(graph: Graph, votes: Tensor) -> Tensor:
    """The first of the greatest, or -1 where none is above 0.0: River's answer there is an empty dict; shape (N,)."""
    winner = graph.op("ArgMax", votes, axis=1, keepdims=0)
    greatest = graph.op("ReduceMax", votes, graph.integers([1]), keepdims=0)
    return graph.op("Where", graph.op("Greater", greatest, graph.numbers(0.0)), winner, graph.integers(-1))


def certain(graph: Graph, winner: Tensor, labels: Sequence[Label]) -> Tensor:
    """1.0 for the winner and 0.0 for all others, for who answers only a class; shape (N, len(labels))."""
    # Not OneHot, which onnxruntime has no double kernel for.
    column = graph.op("Unsqueeze", winner, graph.integers([1]))
    return graph.op("Cast", graph.op("Equal", column, graph.integers([[*range(len(labels))]])), to=TensorProto.DOUBLE)

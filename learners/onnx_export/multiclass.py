"""Many classes from classifiers of two: one against the rest, each against each, by codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import TensorProto
from river import base, compose, multiclass

from learners.onnx_export.answers import Classes, Label, aligned, certain, masks_of, no_class, winners
from learners.onnx_export.convert import Role, classes_of, full_name, predict, refuse, settings
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.linear import sigmoids_of
from schemas.errors import NotExportable


@settings.register(multiclass.OneVsOneClassifier)
def settings_of_one_vs_one(model: multiclass.OneVsOneClassifier, step: str, role: Role) -> None:
    refuse(model.classifier, f"{step}/classifier", "predict")


@settings.register(multiclass.OneVsRestClassifier)
@settings.register(multiclass.OutputCodeClassifier)
def settings_of_multiclass(
    model: multiclass.OneVsRestClassifier | multiclass.OutputCodeClassifier, step: str, role: Role
) -> None:
    refuse(model.classifier, f"{step}/classifier", "predict")
    last = model.classifier
    while type(last) is compose.Pipeline:  # isinstance would look through wrappers
        last = last[-1]
    if type(last).predict_proba_one is base.Classifier.predict_proba_one:
        reason = f"{type(last).__name__} gives no probabilities, so River raises"
        raise NotExportable(full_name(model), step, reason, "a classifier with predict_proba_one in it")
    if type(model) is multiclass.OutputCodeClassifier and model.code_size < 1:
        raise NotExportable(full_name(model), step, "its codes have no bits", "code_size=10")


@predict.register(multiclass.OneVsRestClassifier)
def predict_by_one_vs_rest(model: multiclass.OneVsRestClassifier, graph: Graph, frame: Frame) -> Classes:
    """The probability that each classifier gives to its own class, divided by their sum."""
    if not model.classifiers:
        return no_class(frame)
    labels = tuple(model.classifiers)
    votes, masks = _chances(graph, frame, model.classifiers)
    total = graph.total(votes)
    none = graph.op("Equal", total, graph.numbers(0.0))
    shares = graph.op("Div", votes, graph.op("Where", none, graph.numbers(1.0), total))
    shares = graph.op("Where", none, graph.numbers(1.0 / len(labels)), shares)
    return Classes(shares, labels, masks)


def _chances(graph: Graph, frame: Frame, classifiers: Mapping[Any, object]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The probability of True that each classifier gives, and where one of them has none.

    Returns:
        Doubles, shape (N, len(classifiers)), and masks as in `Frame`.
    """
    together = sigmoids_of([*classifiers.values()], graph, frame)
    if together is not None:
        return together, frame.unanswered
    members = [classes_of(member, graph, frame, str(name)) for name, member in classifiers.items()]
    chances = graph.op("Concat", *(aligned(graph, member, (True,)) for member in members), axis=1)
    return chances, masks_of(members)


@predict.register(multiclass.OneVsOneClassifier)
def predict_by_one_vs_one(model: multiclass.OneVsOneClassifier, graph: Graph, frame: Frame) -> Classes:
    """The class with the most votes; of equals, the one that was voted for first."""
    if not model.classifiers:
        return no_class(frame)
    pairs = tuple(model.classifiers)
    votes, masks = _verdicts(graph, frame, model.classifiers)
    labels: tuple[Label, ...] = tuple(dict.fromkeys(label for pair in pairs for label in pair))
    winner = graph.op("ArgMax", _ranked(graph, votes, pairs, labels), axis=1, keepdims=0)
    return Classes(certain(graph, winner, labels), labels, masks, winner)


def _verdicts(graph: Graph, frame: Frame, classifiers: Mapping[Any, object]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """1.0 where a classifier predicts True, 0.0 where False or None; otherwise as `_chances`."""
    chances = sigmoids_of([*classifiers.values()], graph, frame)
    if chances is not None:
        # Of equal probabilities, False stands first.
        is_true = graph.op("Greater", chances, graph.op("Sub", graph.numbers(1.0), chances))
        return graph.op("Cast", is_true, to=TensorProto.DOUBLE), frame.unanswered
    members = [classes_of(member, graph, frame, str(name)) for name, member in classifiers.items()]
    winner = [graph.op("Unsqueeze", winners(graph, member, (False, True)), graph.integers([1])) for member in members]
    is_true = graph.op("Equal", graph.op("Concat", *winner, axis=1), graph.integers(1))
    return graph.op("Cast", is_true, to=TensorProto.DOUBLE), masks_of(members)


def _ranked(graph: Graph, verdicts: Tensor, pairs: Sequence[tuple[Label, Label]], labels: Sequence[Label]) -> Tensor:
    """A number per class that is greatest for the winner; shape (N, len(labels)).

    River's dict of votes is filled pair by pair, so that of equals the class stands first that got its first vote from
    the earliest pair. No two classes got theirs from the same pair, so there are no ties left.
    """
    n = len(pairs)
    for_first = graph.op("Sub", graph.numbers(1.0), verdicts)
    votes = graph.op("Concat", for_first, verdicts, graph.row([0.0]), axis=1)
    # A class meets each other class once, so that it is n_classes - 1 columns and not all pairs that are looked at.
    columns = [
        [i for i, pair in enumerate(pairs) if pair[0] == label]
        + [n + i for i, pair in enumerate(pairs) if pair[1] == label]
        for label in labels
    ]
    width = max(map(len, columns))
    padded = [row + [2 * n] * (width - len(row)) for row in columns]
    own = graph.op("Gather", votes, graph.integers(padded), axis=1)
    earliest = graph.numbers([[float(n - column % n) for column in row] for row in padded])
    first = graph.op("ReduceMax", graph.op("Mul", own, earliest), graph.integers([2]), keepdims=0)
    return graph.op("Add", graph.op("Mul", graph.total(own, 2, keepdims=False), graph.numbers(float(n + 1))), first)


@predict.register(multiclass.OutputCodeClassifier)
def predict_by_output_code(model: multiclass.OutputCodeClassifier, graph: Graph, frame: Frame) -> Classes:
    """The class whose code is nearest to what the classifiers say of each of its bits.

    Codes are drawn when a class is first learned, and stand from then on, so that nothing random is left.
    """
    if not model.code_book:
        return no_class(frame)
    labels = tuple(model.code_book)
    codes = [model.code_book.get(label) for label in labels]
    chances, masks = _chances(graph, frame, model.classifiers)
    distance = graph.numbers([[0.0] * len(labels)])
    # Bit by bit, as River adds them: two codes may be equally far, and another order of sums would part them.
    for i in range(model.code_size):
        bits = graph.numbers([[float(code[i]) for code in codes]])
        apart = graph.op("Abs", graph.op("Sub", bits, graph.columns(chances, [i])))
        distance = graph.op("Add", distance, apart)
    winner = graph.op("ArgMin", distance, axis=1, keepdims=0)
    return Classes(certain(graph, winner, labels), labels, masks, winner)

"""What regression trees answer in the leaf that a row reaches: the mean met there, or a model of the features."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto
from river import linear_model

from learners.onnx_export.branches import Features, features_of, plant
from learners.onnx_export.convert import refuse, value_of
from learners.onnx_export.frame import Frame, refuse_texts
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.tree_table import Node, TreeTable

_NOTHING: Mapping[str, float] = {}


def refuse_leaf_model(tree: Any, step: str) -> None:
    """Raise NotExportable if leaves ask a model that has no exact form."""
    if tree.leaf_prediction != "mean" and tree.leaf_model is not None:
        refuse(tree.leaf_model, f"{step}/leaf_model", "predict")


def values_of_trees(graph: Graph, frame: Frame, step: object, trees: Sequence[Any]) -> Tensor:
    """What `predict_one` of each tree answers; shape (N, trees)."""
    features = features_of(graph, frame, step, [tree._root for tree in trees])
    table, leaves = TreeTable(), ValueLeaves()
    for tree in trees:
        if tree._root is None:
            table.root(leaves.say(table, 0.0))
        else:
            table.root(plant(table, tree._root, functools.partial(leaves.of, table, tree), features))
    return leaves.values(graph, features, features.leaves(graph, table))


def refuse_unreadable(graph: Graph, frame: Frame, tree: Any, *, is_new: bool) -> None:
    """Raise NotExportable for features that a leaf model could not read, also before there is a leaf.

    Args:
        tree: the tree, or the forest that makes it, with `leaf_prediction` and `leaf_model`.
        is_new: whether there is no leaf yet that would be asked.
    """
    if tree.leaf_prediction == "mean":
        return
    if tree.leaf_model is None or _is_linear(tree.leaf_model):
        refuse_texts(tree, graph, frame)
    elif is_new:
        value_of(tree.leaf_model, graph, frame, "leaf_model")


def model_asked(leaf: Any, tree: Any) -> Any:
    """The model that answers for this leaf, or None where its mean does."""
    if tree.leaf_prediction == "mean":
        return None
    if tree.leaf_prediction == "adaptive" and leaf._fmse_mean < leaf._fmse_model:
        return None
    return leaf._leaf_model


@dataclass(frozen=True, slots=True)
class _Sum:
    """`constant + weights · x`, the answer of a leaf; with a `member`, whose place that is, its answer instead."""

    constant: float
    weights: Mapping[str, float]
    member: int | None
    factor: float


class ValueLeaves:
    """A row for each leaf of a `TreeTable`: a constant and a weight per feature, or a place among the members.

    Linear models, which are what River's trees have if nothing else is asked for, are rows of one table. Any other
    model that can be exported is a part of the graph of its own, and answers for every row.
    """

    def __init__(self) -> None:
        self._leaves: list[_Sum] = []
        self._members: list[Any] = []

    def say(self, table: TreeTable, constant: float) -> Node:
        """The table's next leaf, with one answer for all rows."""
        self._leaves.append(_Sum(constant, _NOTHING, None, 1.0))
        return table.leaf()

    def of(self, table: TreeTable, tree: Any, leaf: Any, factor: float = 1.0) -> Node:
        """The table's next leaf, for a leaf of River's; its answer is multiplied by `factor`."""
        model = model_asked(leaf, tree)
        if model is None:
            self._leaves.append(_Sum(leaf.stats.mean.get() * factor, _NOTHING, None, factor))
        elif _is_linear(model):
            weights = {name: weight * factor for name, weight in model.weights.items()}
            self._leaves.append(_Sum(float(model.intercept) * factor, weights, None, factor))
        else:
            self._leaves.append(_Sum(0.0, _NOTHING, len(self._members), factor))
            self._members.append(model)
        return table.leaf()

    def values(self, graph: Graph, features: Features, leaves: Tensor) -> Tensor:
        """The answers of the leaves at these places, which have shape (N, trees); as many doubles."""
        constants = graph.numbers([leaf.constant for leaf in self._leaves])
        values = graph.op("Gather", constants, leaves, axis=0)
        names = tuple(dict.fromkeys(name for leaf in self._leaves for name, weight in leaf.weights.items() if weight))
        if names:
            rows = np.zeros((len(self._leaves), len(names)))
            columns = {name: column for column, name in enumerate(names)}
            for row, leaf in zip(rows, self._leaves, strict=True):
                for name, weight in leaf.weights.items():
                    if weight:
                        row[columns[name]] = weight
            x = graph.op("Unsqueeze", graph.filled(features.spread(graph, names)), graph.integers([1]))
            weights = graph.op("Gather", graph.numbers(rows), leaves, axis=0)
            values = graph.op("Add", graph.total(graph.op("Mul", weights, x), axis=2, keepdims=False), values)
        return self._or_members(graph, features.frame, leaves, values) if self._members else values

    def _or_members(self, graph: Graph, frame: Frame, leaves: Tensor, values: Tensor) -> Tensor:
        answers = []
        for place, model in enumerate(self._members):
            answer = value_of(model, graph, frame, f"leaf {place}")
            value = answer.value
            # Only rows that reach this leaf are without an answer; those the frame came with are marked anyway.
            for mask in answer.unanswered:
                if mask not in frame.unanswered:
                    value = graph.op("Where", mask, graph.nan(), value)
            answers.append(value)
        block = graph.op("Concat", *answers, axis=1) if len(answers) > 1 else answers[0]
        places = graph.integers([leaf.member or 0 for leaf in self._leaves])
        answered = graph.op("GatherElements", block, graph.op("Gather", places, leaves, axis=0), axis=1)
        factors = graph.numbers([leaf.factor for leaf in self._leaves])
        answered = graph.op("Mul", answered, graph.op("Gather", factors, leaves, axis=0))
        flags = graph.integers([int(leaf.member is not None) for leaf in self._leaves])
        is_member = graph.op("Cast", graph.op("Gather", flags, leaves, axis=0), to=TensorProto.BOOL)
        return graph.op("Where", is_member, answered, values)


def _is_linear(model: object) -> bool:
    return type(model) is linear_model.LinearRegression

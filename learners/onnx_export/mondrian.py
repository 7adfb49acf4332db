"""Mondrian trees and their forests, AMF: every node on a row's path has a say, and a leaf's row holds the sum of it.

AMF: Mourtada, Gaïffas & Scornet, JRSS B 83(3), 2021. Along a path the weights are fixed between two examples, so what a
row is told depends on nothing but its leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from river import forest
from river.tree import mondrian

from learners.onnx_export.answers import no_class
from learners.onnx_export.convert import Classes, Value, predict, predicted_from
from learners.onnx_export.frame import Frame, refuse_texts
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.tree_table import Node, TreeTable

Says: TypeAlias = Callable[[Sequence[Any]], npt.NDArray[np.float64]]
"""What each of some nodes says by itself; shape (len(nodes), width)."""


@predict.register(forest.AMFClassifier)
def predict_by_amf_classifier(model: forest.AMFClassifier, graph: Graph, frame: Frame) -> Classes:
    refuse_texts(model, graph, frame)
    # A set, whose order decides ties: River's own answer to one differs from process to process if classes are texts.
    labels = tuple(model._classes)
    if not labels:
        return no_class(frame)
    says = [(tree._root, _frequencies(tree, labels), bool(tree.use_aggregation)) for tree in model]
    return predicted_from(graph, frame, _sum_of_trees(model, graph, frame, says, model.n_estimators), labels)


@predict.register(mondrian.MondrianTreeClassifier)
def predict_by_tree_classifier(tree: mondrian.MondrianTreeClassifier, graph: Graph, frame: Frame) -> Classes:
    refuse_texts(tree, graph, frame)
    labels = tuple(tree._idx_to_class)
    if not labels:
        return no_class(frame)
    says = [(tree._root, _frequencies(tree, labels), bool(tree.use_aggregation))]
    return predicted_from(graph, frame, _sum_of_trees(tree, graph, frame, says, 1), labels)


@predict.register(forest.AMFRegressor)
def predict_by_amf_regressor(model: forest.AMFRegressor, graph: Graph, frame: Frame) -> Value:
    refuse_texts(model, graph, frame)
    if not len(model):
        return Value(graph.row([np.nan], missing=True), frame.unanswered)
    # The forest's own setting: `predict_one` imposes it on its trees.
    says = [(tree._root, _means, bool(model.use_aggregation)) for tree in model]
    return Value(_sum_of_trees(model, graph, frame, says, model.n_estimators), frame.unanswered)


@predict.register(mondrian.MondrianTreeRegressor)
def predict_by_tree_regressor(tree: mondrian.MondrianTreeRegressor, graph: Graph, frame: Frame) -> Value:
    refuse_texts(tree, graph, frame)
    if not tree._is_initialized:
        return Value(graph.row([np.nan], missing=True), frame.unanswered)
    says = [(tree._root, _means, bool(tree.use_aggregation))]
    return Value(_sum_of_trees(tree, graph, frame, says, 1), frame.unanswered)


def _sum_of_trees(
    step: object, graph: Graph, frame: Frame, trees: Sequence[tuple[Any, Says, bool]], divisor: int
) -> Tensor:
    """What the trees say about each row, divided by how many there are; shape (N, width)."""
    table = TreeTable()
    rows = [_plant(table, _Tree.below(root), says, is_aggregated) for root, says, is_aggregated in trees]
    leaves = table.emit(graph, frame, step)
    told = graph.op("Gather", graph.numbers(np.concatenate(rows) / divisor), leaves, axis=0)
    return graph.total(told, axis=1, keepdims=False)


def _plant(table: TreeTable, tree: _Tree, says: Says, is_aggregated: bool) -> npt.NDArray[np.float64]:
    """Write one tree, and return what each of its leaves says, in the order of their places; shape (leaves, width)."""
    told = _told(tree, says(tree.nodes), is_aggregated)
    planted: dict[int, Node] = {}
    rows = []
    # From the end, because there children come after their parents.
    for place in reversed(range(len(tree.nodes))):
        node = tree.nodes[place]
        if node.is_leaf:
            planted[place] = table.leaf()
            rows.append(told[place])
            continue
        left, right = node.children
        first = tree.first_child[place]
        planted[place] = table.split(
            node.feature,
            "<=",
            float(node.threshold),
            yes=planted.pop(first),
            no=planted.pop(first + 1),
            missing_is_yes=not left.weight < right.weight,  # `most_common_path`, which compares the nodes' log-weights
        )
    table.root(planted[0])
    return np.array(rows)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree level by level.

    Attributes:
        nodes: River's nodes; the two children of one stand side by side, behind it.
        parents: the place of each node's parent; of the root, 0.
        first_child: place of a branch -> place of its left child.
        levels: where each level starts, and the end.
    """

    nodes: list[Any]
    parents: npt.NDArray[np.int64]
    first_child: dict[int, int]
    levels: list[int]

    @classmethod
    def below(cls, root: Any) -> _Tree:
        nodes, parents, first_child, levels = [root], [0], {}, [0]
        while levels[-1] < len(nodes):
            level = range(levels[-1], len(nodes))
            levels.append(len(nodes))
            for place in level:
                if not nodes[place].is_leaf:
                    first_child[place] = len(nodes)
                    nodes.extend(nodes[place].children)
                    parents.extend((place, place))
        return cls(nodes, np.array(parents, np.int64), first_child, levels)


def _told(tree: _Tree, own: npt.NDArray[np.float64], is_aggregated: bool) -> npt.NDArray[np.float64]:
    """What a row hears on its way from the root to each node, if it ended there; shape (nodes, width).

    River goes up from the leaf: `share * own + (1 - share) * below`. The same sum from above needs each node once.
    """
    if not is_aggregated:
        return own
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused with the table
        share = 0.5 * np.exp(np.array([[node.weight - node.log_weight_tree] for node in tree.nodes]))
    heard, left = np.zeros_like(own), np.ones_like(share)
    for start, end in zip(tree.levels[1:], tree.levels[2:], strict=False):
        parents = tree.parents[start:end]
        heard[start:end] = heard[parents] + left[parents] * share[parents] * own[parents]
        left[start:end] = left[parents] * (1.0 - share[parents])
    told: npt.NDArray[np.float64] = heard + left * own
    return told


def _frequencies(tree: mondrian.MondrianTreeClassifier, labels: Sequence[Any]) -> Says:
    places = [tree._class_to_idx[label] for label in labels]

    def says(nodes: Sequence[Any]) -> npt.NDArray[np.float64]:
        n_classes = len(tree._classes)
        # A node's list ends at the last class that it met.
        counts = np.array([[*node.counts, *[0] * (n_classes - len(node.counts))] for node in nodes], np.float64)
        n_samples = np.array([[node.n_samples] for node in nodes], np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (counts + tree.dirichlet) / (n_samples + tree.dirichlet * n_classes)
        return np.asarray(shares[:, places], np.float64)

    return says


def _means(nodes: Sequence[Any]) -> npt.NDArray[np.float64]:
    return np.array([[node._mean.get()] for node in nodes], np.float64)

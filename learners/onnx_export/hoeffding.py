"""Hoeffding trees and their kin: one leaf answers, or in adaptive trees every leaf reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from river import tree
from river.tree.nodes.branch import DTBranch
from river.utils.norm import normalize_values_in_dict

from learners.onnx_export.answers import no_class
from learners.onnx_export.branches import Features, divide, features_of, heaviest, plant, refuse_empty
from learners.onnx_export.class_leaves import (
    ClassLeaves,
    classes_in_order,
    features_of_classifiers,
    is_bayesian,
    refuse_density,
    votes_of_trees,
)
from learners.onnx_export.convert import Classes, Role, Value, predict, predicted_from, settings
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import normalized
from learners.onnx_export.tree_table import Node, TreeTable
from learners.onnx_export.value_leaves import (
    ValueLeaves,
    refuse_leaf_model,
    refuse_unreadable,
    values_of_trees,
)
from schemas.errors import ReleaseRefused


@settings.register(tree.HoeffdingTreeClassifier)
@settings.register(tree.ExtremelyFastDecisionTreeClassifier)
@settings.register(tree.HoeffdingAdaptiveTreeClassifier)
@settings.register(tree.LASTClassifier)
def settings_of_classifier(model: tree.HoeffdingTreeClassifier, step: str, role: Role) -> None:
    refuse_density(model, step)


@settings.register(tree.HoeffdingTreeRegressor)
@settings.register(tree.HoeffdingAdaptiveTreeRegressor)
def settings_of_regressor(model: tree.HoeffdingTreeRegressor, step: str, role: Role) -> None:
    refuse_leaf_model(model, step)


@predict.register(tree.HoeffdingTreeClassifier)
@predict.register(tree.ExtremelyFastDecisionTreeClassifier)
@predict.register(tree.LASTClassifier)
def predict_by_classifier(model: tree.HoeffdingTreeClassifier, graph: Graph, frame: Frame) -> Classes:
    refuse_empty(model, graph, frame)
    labels = classes_in_order(model)
    if not labels:
        return no_class(frame)
    votes = votes_of_trees(graph, frame, model, [model], labels)
    return predicted_from(graph, frame, graph.op("Squeeze", votes, graph.integers([1])), labels)


@predict.register(tree.HoeffdingTreeRegressor)
def predict_by_regressor(model: tree.HoeffdingTreeRegressor, graph: Graph, frame: Frame) -> Value:
    refuse_empty(model, graph, frame)
    refuse_unreadable(graph, frame, model, is_new=model._root is None)
    return Value(values_of_trees(graph, frame, model, [model]), frame.unanswered)


@predict.register(tree.HoeffdingAdaptiveTreeClassifier)
def predict_by_adaptive_classifier(model: tree.HoeffdingAdaptiveTreeClassifier, graph: Graph, frame: Frame) -> Classes:
    """The votes of all leaves reached, each divided by the square of its error."""
    refuse_empty(model, graph, frame)
    labels = list(model.classes)  # River does not sort here
    if model._root is None:
        return no_class(frame)
    features = features_of_classifiers(graph, frame, model, [model])
    table, leaves = TreeTable(), ClassLeaves(labels)

    def reach(leaf: Any, times: int) -> Node:
        return _add_adaptive(table, leaves, leaf, model, times) if times else leaves.add(table, {})

    _plant_with_alternates(table, model._root, reach, features)
    votes = leaves.votes(graph, features, features.leaves(graph, table), table.trees)
    return predicted_from(graph, frame, normalized(graph, graph.total(votes, axis=1, keepdims=False)), labels)


@predict.register(tree.HoeffdingAdaptiveTreeRegressor)
def predict_by_adaptive_regressor(model: tree.HoeffdingAdaptiveTreeRegressor, graph: Graph, frame: Frame) -> Value:
    """The mean of all leaves reached."""
    refuse_empty(model, graph, frame)
    refuse_unreadable(graph, frame, model, is_new=model._root is None)
    if model._root is None:
        return Value(graph.row([0.0]), frame.unanswered)
    features = features_of(graph, frame, model, [model._root])
    table, leaves, counts = TreeTable(), ValueLeaves(), list[float]()

    def reach(leaf: Any, times: int) -> Node:
        counts.append(float(times))
        return leaves.of(table, model, leaf, float(times)) if times else leaves.say(table, 0.0)

    _plant_with_alternates(table, model._root, reach, features)
    reached = features.leaves(graph, table)
    values = leaves.values(graph, features, reached)
    if table.trees == 1:
        return Value(values, frame.unanswered)
    count = graph.total(graph.op("Gather", graph.numbers(counts), reached, axis=0))
    return Value(graph.op("Div", graph.total(values), count), frame.unanswered)


@predict.register(tree.SGTClassifier)
def predict_by_gradient_classifier(model: tree.SGTClassifier, graph: Graph, frame: Frame) -> Classes:
    p = _predictions(model, graph, frame)
    # River answers True first, so that it wins a tie.
    both = graph.op("Concat", p, graph.op("Sub", graph.numbers([1.0]), p), axis=1)
    return predicted_from(graph, frame, both, (True, False))


@predict.register(tree.SGTRegressor)
def predict_by_gradient_regressor(model: tree.SGTRegressor, graph: Graph, frame: Frame) -> Value:
    return Value(_predictions(model, graph, frame), frame.unanswered)


def _predictions(model: Any, graph: Graph, frame: Frame) -> Tensor:
    """What the leaves of a stochastic gradient tree say; shape (N, 1)."""
    refuse_empty(model, graph, frame)
    features = features_of(graph, frame, model, [model._root])
    table, values = TreeTable(), list[float]()

    def leaf(found: Any) -> Node:
        try:
            values.append(float(model.loss_func.transfer(found.prediction())))
        except OverflowError as error:
            reason = f"a leaf of the tree holds {found.prediction()}, of which River can make no probability"
            raise ReleaseRefused("export", reason) from error
        return table.leaf()

    table.root(plant(table, model._root, leaf, features))
    leaves = features.leaves(graph, table)
    return graph.op("Gather", graph.numbers(values), leaves, axis=0)


def _add_adaptive(table: TreeTable, leaves: ClassLeaves, leaf: Any, model: Any, times: int) -> Node:
    if not leaf.stats:
        raise ReleaseRefused("export", "a leaf of the tree has met nothing, so River raises AttributeError there")
    error = leaf._mean_error.get()
    if is_bayesian(leaf, model):
        if sum(leaf.stats.values()) == 0:
            return leaves.add(table, {})
        factor = times / (error * error) if error else float(times)
        return leaves.add(table, {}, asked=leaf, factor=factor, is_unit=bool(error))
    shares = normalize_values_in_dict(leaf.stats, inplace=False)
    shares = normalize_values_in_dict(shares, sum(shares.values()) * error * error, inplace=False)
    return leaves.add(table, shares, factor=float(times))


def _plant_with_alternates(table: TreeTable, root: Any, reach: Callable[[Any, int], Node], features: Features) -> None:
    """A tree for each alternate subtree, and then the main one.

    A row is answered by its leaf in the main tree, and by the alternate of every branch on its way there. An alternate
    is always one leaf: when it splits, River puts the new branch in the main tree. `reach` makes a leaf of how often
    one of River's is reached, 0 to 2 times: a branch to which a row comes without the feature that is asked for above
    it is visited twice by River's `walk`.
    """
    for path in _paths_to_alternates(root):
        table.root(_plant_alternate(table, path, reach, features))
    table.root(plant(table, root, lambda leaf: reach(leaf, 1), features))


def _paths_to_alternates(root: Any) -> Iterator[list[tuple[Any, int]]]:
    """For each branch with an alternate, in River's order from the root: the branches on the way, and the child taken.

    The last is the branch itself, with child -1.
    """
    open_: list[tuple[Any, list[tuple[Any, int]]]] = [(root, [])]
    while open_:
        node, way = open_.pop(0)
        if isinstance(node, DTBranch):
            if node._alternate_tree is not None:
                yield [*way, (node, -1)]
            open_.extend((child, [*way, (node, place)]) for place, child in enumerate(node.children))


def _plant_alternate(
    table: TreeTable, path: Sequence[tuple[Any, int]], reach: Callable[[Any, int], Node], features: Features
) -> Node:
    *way, (branch, _) = path
    alternate = branch._alternate_tree
    if isinstance(alternate, DTBranch):
        raise ReleaseRefused("export", "an alternate of the tree is a branch, so River raises AttributeError there")
    node, never = reach(alternate, 1), reach(alternate, 0)
    for above, place in reversed(way):
        children = [never] * len(above.children)
        children[place] = node
        goes_on = heaviest(above, [child.total_weight for child in above.children])
        missing = children[goes_on]
        if goes_on == place and above is way[-1][0]:
            missing = reach(alternate, 2)
        node = divide(table, above, children, missing, features)
    return node

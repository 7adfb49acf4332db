"""scikit-learn's trees, forests and boosting in doubles.

skl2onnx writes TreeEnsembleClassifier and TreeEnsembleRegressor, which answer floats: 4e-8 off for a random forest, and
at opset 20 with doubles most of them do not even load. Here the leaf is found by `TreeTable`, as for River's trees.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn import ensemble, tree
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor

from learners.onnx_export.answers import Classes, Value
from learners.onnx_export.frame import Columns, Frame, full_name
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.tree_table import Node, TreeTable
from learners.sklearn_export.embed import begin, embed, publish_classes, publish_value
from schemas.errors import NotExportable

SINGLE = (
    tree.DecisionTreeClassifier,
    tree.DecisionTreeRegressor,
    tree.ExtraTreeClassifier,
    tree.ExtraTreeRegressor,
)
FORESTS = (
    ensemble.ExtraTreesClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.RandomForestClassifier,
    ensemble.RandomForestRegressor,
)
GRADIENT = (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
HISTOGRAM = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
CLASSES: tuple[type, ...] = (*SINGLE, *FORESTS, *GRADIENT, *HISTOGRAM)


def refuse_trees(model: Any, path: str) -> None:
    """Raise NotExportable for the settings of a supported class that have no exact form here."""
    reason = instead = ""
    if getattr(model, "n_outputs_", 1) > 1:
        reason, instead = "it answers several outputs", "one model per output"
    elif type(model) in GRADIENT and not _starts_from_a_constant(model):
        reason, instead = "its init is an estimator", "init=None or init='zero'"
    elif type(model) in HISTOGRAM and model.is_categorical_ is not None:
        reason, instead = "it splits at sets of categories", "OneHotEncoder in front of it"
    elif type(model) in HISTOGRAM and not is_classifier(model) and model.loss in {"poisson", "gamma"}:
        reason, instead = f"its loss is {model.loss}", "another loss"
    if reason:
        raise NotExportable(full_name(model), path, reason, instead)


def convert_averaged(scope: Any, operator: Any, container: Any) -> None:
    """A tree, or a forest that answers the mean of its trees."""
    model = operator.raw_operator
    trees = model.estimators_ if type(model) in FORESTS else [model]
    graph, frame = begin(model.n_features_in_, refuse_missing=not trees[0].__sklearn_tags__().input_tags.allow_nan)
    with graph.at(type(model).__name__):
        table, rows = TreeTable(), []
        for each in trees:
            rows.append(_grow(table, each.tree_))
        leaves = table.emit(graph, _as_floats(graph, frame), model)
        said = np.concatenate(rows)  # shape (leaves, classes), or (leaves, 1) of a regressor
        gathered = graph.op("Gather", graph.numbers(said), leaves, axis=0)
        total = graph.total(gathered, axis=1, keepdims=False)
        mean = total if len(trees) == 1 else graph.op("Div", total, graph.numbers(float(len(trees))))
        if is_classifier(model):
            publish_classes(graph, Classes(mean, tuple(model.classes_.tolist()), frame.unanswered), model)
        else:
            publish_value(graph, Value(mean, frame.unanswered))
    embed(graph, scope, operator, container)


def convert_gradient(scope: Any, operator: Any, container: Any) -> None:
    """GradientBoosting: a constant, and what each tree adds to one of the raw values."""
    model = operator.raw_operator
    graph, frame = begin(model.n_features_in_, refuse_missing=True)
    with graph.at(type(model).__name__):
        table, rows = TreeTable(), []
        for each in model.estimators_.ravel():
            rows.append(model.learning_rate * _grow(table, each.tree_)[:, 0])
        # Constants are the same for every row, so any row may be asked.
        start = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32)).ravel()
        leaves = table.emit(graph, _as_floats(graph, frame), model)
        raw = _raw(graph, np.concatenate(rows), leaves, start)
        if is_classifier(model):
            # River's habit for ties is not scikit-learn's: at a raw value of 0 the second class wins here.
            doubled = graph.op("Mul", raw, graph.numbers(2.0)) if model.loss == "exponential" else raw
            _publish_raw(graph, frame, raw, doubled, model, at_zero=1)
        else:
            publish_value(graph, Value(raw, frame.unanswered))
    embed(graph, scope, operator, container)


def convert_histogram(scope: Any, operator: Any, container: Any) -> None:
    """HistGradientBoosting: as above, but its thresholds are doubles and its rows are not rounded to floats."""
    model = operator.raw_operator
    graph, frame = begin(model.n_features_in_, refuse_missing=False)
    with graph.at(type(model).__name__):
        table, values = TreeTable(), []
        for predictor in itertools.chain.from_iterable(model._predictors):
            values.append(_grow_histogram(table, predictor.nodes))
        leaves = table.emit(graph, frame, model)
        raw = _raw(graph, np.concatenate(values), leaves, np.ravel(model._baseline_prediction))
        if is_classifier(model):
            _publish_raw(graph, frame, raw, raw, model, at_zero=0)
        else:
            publish_value(graph, Value(raw, frame.unanswered))
    embed(graph, scope, operator, container)


def _raw(graph: Graph, values: Any, leaves: Tensor, start: Any) -> Tensor:
    """The sum over the stages, which stand one behind the other; shape (N, raw values of a stage)."""
    gathered = graph.op("Gather", graph.numbers(values), leaves, axis=0)
    stages = graph.op("Reshape", gathered, graph.integers([0, -1, len(start)]))
    return graph.op("Add", graph.total(stages, axis=1, keepdims=False), graph.numbers([start]))


def _publish_raw(graph: Graph, frame: Frame, raw: Tensor, logits: Tensor, model: Any, *, at_zero: int) -> None:
    """Probabilities of raw values; of two classes there is one such value, and `at_zero` says who wins if it is 0."""
    labels = tuple(model.classes_.tolist())
    if len(labels) > 2:
        winner = graph.op("ArgMax", raw, axis=1, keepdims=0)
        publish_classes(graph, Classes(graph.op("Softmax", logits, axis=1), labels, frame.unanswered, winner), model)
        return
    p = graph.op("Sigmoid", logits)
    both = graph.op("Concat", graph.op("Sub", graph.numbers(1.0), p), p, axis=1)
    above = graph.op("GreaterOrEqual" if at_zero else "Greater", raw, graph.numbers(0.0))
    winner = graph.op("Cast", graph.op("Squeeze", above, graph.integers([1])), to=TensorProto.INT64)
    publish_classes(graph, Classes(both, labels, frame.unanswered, winner), model)


def _as_floats(graph: Graph, frame: Frame) -> Frame:
    """The columns as scikit-learn's trees see them: rounded to float, compared as double."""
    assert frame.numbers is not None
    rounded = graph.op("Cast", frame.numbers.tensor, to=TensorProto.FLOAT)
    doubles = graph.op("Cast", rounded, to=TensorProto.DOUBLE)
    return Frame(Columns(doubles, frame.numbers.names), unanswered=frame.unanswered)


def _grow(table: TreeTable, grown: Any) -> Any:
    """Add one tree; returns what its leaves say, in the order in which the table counts them."""
    below = grown.children_left, grown.children_right
    # A child's number is greater than its parent's, so from the end children come first.
    nodes: dict[int, Node] = {}
    said: list[int] = []
    for place in range(grown.node_count - 1, -1, -1):
        left, right = (int(children[place]) for children in below)
        if left < 0:
            nodes[place] = table.leaf()
            said.append(place)
            continue
        missing_left = bool(grown.missing_go_to_left[place])
        split = _split(table, grown.feature[place], missing_left)
        nodes[place] = split(_finite(grown.threshold[place]), yes=nodes[left], no=nodes[right])
    table.root(nodes[0])
    return grown.value[said, 0, :]


def _grow_histogram(table: TreeTable, grown: Any) -> Any:
    nodes: dict[int, Node] = {}
    said: list[int] = []
    for place in range(len(grown) - 1, -1, -1):
        each = grown[place]
        if each["is_leaf"]:
            nodes[place] = table.leaf()
            said.append(place)
            continue
        split = _split(table, each["feature_idx"], bool(each["missing_go_to_left"]))
        left, right = nodes[int(each["left"])], nodes[int(each["right"])]
        nodes[place] = split(_finite(each["num_threshold"]), yes=left, no=right)
    table.root(nodes[0])
    return grown["value"][said]


def _finite(threshold: Any) -> float:
    """A split of what is there from what is missing has an infinite threshold, and all numbers lie below it."""
    return min(float(threshold), sys.float_info.max)


def _split(table: TreeTable, feature: Any, missing_left: bool) -> Callable[..., Node]:
    """What makes a split at a column, which the frame knows by its place."""
    place: Any = int(feature)
    return functools.partial(table.split, place, "<=", missing_is_yes=missing_left)


def _starts_from_a_constant(model: Any) -> bool:
    if isinstance(model.init_, str):
        return model.init_ == "zero"
    constant: Sequence[type] = (DummyClassifier, DummyRegressor)
    return type(model.init_) in constant

"""The leaf that the graph finds is the leaf that a plain walk finds, for every tree and every value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph
from learners.onnx_export.tree_table import Node, Test, TreeTable
from schemas.errors import NotExportable, ReleaseRefused

FEATURES = ("a", "b", "c")


@dataclass(frozen=True)
class Leaf:
    """An end of the walk."""


@dataclass(frozen=True)
class Split:
    """One comparison."""

    feature: str
    test: Test
    threshold: float
    missing_is_yes: bool
    yes: Any
    no: Any


@dataclass(frozen=True)
class Choice:
    """Many branches, one per value."""

    feature: str
    branches: tuple[tuple[float, Any], ...]
    otherwise: Any


def passes(split: Split, value: float) -> bool:
    match split.test:
        case "<=":
            return value <= split.threshold
        case "<":
            return value < split.threshold
        case "==":
            return value == split.threshold


class Trees:
    """The same trees twice: in a table, and to be walked."""

    def __init__(self, trees: list[Any]) -> None:
        self.trees = trees
        self.table = TreeTable()
        self._leaf_of: list[dict[int, int]] = []
        for tree in trees:
            self._leaf_of.append({})
            self.table.root(self._grow(tree, ()))

    def _grow(self, tree: Any, path: tuple[int, ...]) -> Node:
        match tree:
            case Leaf():
                node = self.table.leaf()
                self._leaf_of[-1][hash(path)] = node.place
                return node
            case Split():
                no = self._grow(tree.no, (*path, 0))  # either way first; the table does not care
                yes = self._grow(tree.yes, (*path, 1))
                return self.table.split(
                    tree.feature, tree.test, tree.threshold, yes=yes, no=no, missing_is_yes=tree.missing_is_yes
                )
            case _:
                branches = {value: self._grow(branch, (*path, i)) for i, (value, branch) in enumerate(tree.branches)}
                return self.table.choice(tree.feature, branches, self._grow(tree.otherwise, (*path, -1)))

    def walk(self, row: Mapping[str, float]) -> list[int]:
        return [self._walk(tree, row, leaves) for tree, leaves in zip(self.trees, self._leaf_of, strict=True)]

    @staticmethod
    def _walk(tree: Any, row: Mapping[str, float], leaves: Mapping[int, int]) -> int:
        path: tuple[int, ...] = ()
        while not isinstance(tree, Leaf):
            value = row[tree.feature]
            if isinstance(tree, Split):
                step = int(tree.missing_is_yes if math.isnan(value) else passes(tree, value))
                tree = tree.yes if step else tree.no
            else:
                step = next((i for i, (key, _) in enumerate(tree.branches) if key == value), -1)
                tree = tree.otherwise if step < 0 else tree.branches[step][1]
            path = (*path, step)
        return leaves[hash(path)]


def model_of(table: TreeTable) -> onnx.ModelProto:
    graph = Graph()
    frame = Frame(numbers=Columns(graph.input("numbers", TensorProto.DOUBLE, len(FEATURES)), FEATURES))
    leaves = table.emit(graph, frame, step="a test")
    graph.output("leaves", leaves, TensorProto.INT64, ["N", table.trees])
    model = graph.model("test", 1, {})
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


def leaves_of(model: onnx.ModelProto, rows: list[dict[str, float]]) -> list[list[int]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"numbers": block(rows)})[0].tolist()


def block(rows: list[dict[str, float]]) -> Any:
    return np.array([[row[name] for name in FEATURES] for row in rows], np.float64)


# Few values, so that a value often equals a threshold; neighbours that a float cannot tell apart; small integers, which
# onnxruntime folds into bit masks when they are compared one after the other.
VALUES = [0.0, -0.0, 1.0, 2.0, 3.0, 31.0, 32.0, 33.0, 64.0, 65.0, -1.0, 0.1, 0.1 + 1e-12, 0.1 - 1e-12, 1e300, -1e300]
value = st.sampled_from(VALUES)


def grown(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branches = st.lists(st.tuples(value, children), min_size=1, max_size=5, unique_by=lambda branch: branch[0])
    return st.builds(
        Split, st.sampled_from(FEATURES), st.sampled_from(["<=", "<", "=="]), value, st.booleans(), children, children
    ) | st.builds(Choice, st.sampled_from(FEATURES), branches.map(tuple), children)


tree = st.recursive(st.just(Leaf()), grown, max_leaves=12)
row = st.fixed_dictionaries(dict.fromkeys(FEATURES, value | st.just(math.nan) | st.floats(allow_infinity=False)))


@given(trees=st.lists(tree, min_size=1, max_size=5), rows=st.lists(row, min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
def test_graph_finds_the_leaf_of_a_plain_walk(trees: list[Any], rows: list[dict[str, float]]) -> None:
    """Equal to a threshold, missing, a lone leaf, many branches: each tree ends where Python ends."""
    both = Trees(trees)

    found = leaves_of(model_of(both.table), rows)

    assert found == [both.walk(row) for row in rows]


@given(trees=st.lists(tree, min_size=1, max_size=3), rows=st.lists(row, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_reference_finds_it_too(trees: list[Any], rows: list[dict[str, float]]) -> None:
    """The graph means the same to onnx's own implementation."""
    both = Trees(trees)

    found = ReferenceEvaluator(model_of(both.table)).run(None, {"numbers": block(rows)})[0]

    assert found.tolist() == [both.walk(row) for row in rows]


def frame_of_texts(graph: Graph) -> Frame:
    return Frame(texts=Columns(graph.input("categories", TensorProto.STRING, 1), ("country",)))


def test_text_is_compared_by_its_code() -> None:
    """A nominal split sees the text that it was made of, another one, and none."""
    graph, table = Graph(), TreeTable()
    leaves = {name: table.leaf().place for name in ("at", "de", "other")}
    table.root(
        table.choice(
            "country",
            {1.0: Node(leaves["at"], is_leaf=True), 2.0: Node(leaves["de"], is_leaf=True)},
            Node(2, is_leaf=True),
        )
    )
    graph.output(
        "leaves",
        table.emit(graph, frame_of_texts(graph), "a test", {"at": 1.0, "de": 2.0}),
        TensorProto.INT64,
        ["N", 1],
    )
    session = ort.InferenceSession(graph.model("test", 1, {}).SerializeToString(), providers=["CPUExecutionProvider"])

    found = session.run(None, {"categories": np.array([["de"], ["at"], ["fr"], [""]], object)})[0]

    assert found.tolist() == [[leaves["de"]], [leaves["at"]], [leaves["other"]], [leaves["other"]]]


def test_text_without_codes_is_refused() -> None:
    """A threshold on a text has no meaning."""
    graph, table = Graph(), TreeTable()
    table.root(table.split("country", "<=", 1.0, yes=table.leaf(), no=table.leaf(), missing_is_yes=True))

    with pytest.raises(NotExportable, match="the text 'country' reaches it"):
        table.emit(graph, frame_of_texts(graph), "a test")


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_broken_threshold_is_refused(threshold: float) -> None:
    """A tree that saw NaN is not released."""
    table = TreeTable()

    with pytest.raises(ReleaseRefused, match="splits 'a' at"):
        table.split("a", "<=", threshold, yes=table.leaf(), no=table.leaf(), missing_is_yes=True)


def test_deep_tree_needs_no_deep_stack() -> None:
    """Ten thousand splits in a row are walked by the graph as by hand."""
    table = TreeTable()
    node = table.leaf()
    for threshold in range(10_000):
        node = table.split("a", "<=", -float(threshold), yes=node, no=table.leaf(), missing_is_yes=True)
    table.root(node)

    found = leaves_of(model_of(table), [{"a": -9_998.5, "b": 0.0, "c": 0.0}, {"a": math.nan, "b": 0.0, "c": 0.0}])

    # The split at -9,998 is passed, the one above it, at -9,999, is not.
    assert found == [[10_000], [0]]


@pytest.mark.parametrize("lie", ["<", "missing"])
def test_mutation_is_found(lie: str) -> None:
    """`<` for `<=` and another way for missing values show in the comparison above, so it is not blind."""
    right, wrong = (
        Trees([Split("a", test, 0.1, is_yes, Leaf(), Leaf())])
        for test, is_yes in [("<=", True), ("<" if lie == "<" else "<=", lie != "missing")]
    )
    rows = [{"a": value, "b": 0.0, "c": 0.0} for value in (0.1, math.nan)]

    assert leaves_of(model_of(wrong.table), rows) != [right.walk(row) for row in rows]

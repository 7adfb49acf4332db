"""Trees of any kind as one operator: the graph finds each tree's leaf, and the family looks up what the leaf says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from onnx import TensorProto, helper

from learners.onnx_export.frame import Frame, spread
from learners.onnx_export.graph import ML_DOMAIN, Graph, Tensor
from schemas.errors import ReleaseRefused

Test: TypeAlias = Literal["<=", "<", "=="]

# The operator's codes, ai.onnx.ml 5.
_MODES: dict[Test, int] = {"<=": 0, "<": 1, "==": 4}
_SUM = 1


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a `TreeTable`: of a leaf among the leaves, or of a split among the splits."""

    place: int
    is_leaf: bool


@dataclass(frozen=True, slots=True)
class _Split:
    feature: str
    test: Test
    threshold: float
    yes: Node
    no: Node
    missing_is_yes: bool


class TreeTable:
    """Trees over the features of one frame, gathered from the leaves up; `emit` writes them as one `TreeEnsemble`.

    A leaf of that operator holds one number, and its classifiers of older versions answer floats. So the number is the
    leaf's place, counted over all trees, and whatever a leaf says (a probability per class, a weight per feature) comes
    from a table with a row per leaf: `graph.op("Gather", graph.numbers(rows), leaves, axis=0)`.

    >>> from learners.onnx_export.frame import Columns
    >>> graph = Graph()
    >>> frame = Frame(numbers=Columns(graph.input("numbers", TensorProto.DOUBLE, 1), ("price",)))
    >>> table = TreeTable()
    >>> cheap, dear = table.leaf(), table.leaf()
    >>> table.root(table.split("price", "<=", 9.5, yes=cheap, no=dear, missing_is_yes=True))
    >>> leaves = table.emit(graph, frame, step="a doctest")
    >>> value = graph.op("Gather", graph.numbers([1.0, 2.0]), leaves, axis=0)
    """

    def __init__(self) -> None:
        self._splits: list[_Split] = []
        self._roots: list[Node] = []
        self.leaves = 0

    @property
    def trees(self) -> int:
        """How many roots there are."""
        return len(self._roots)

    def leaf(self) -> Node:
        """The next leaf; its `place` is the row of the family's table that speaks for it."""
        self.leaves += 1
        return Node(self.leaves - 1, is_leaf=True)

    def split(self, feature: str, test: Test, threshold: float, *, yes: Node, no: Node, missing_is_yes: bool) -> Node:
        """A node above two others.

        Args:
            feature: by its name; `emit` finds it in the frame.
            test: how the feature is compared with the threshold.
            threshold: a double; for a text, its code.
            yes: where a row goes that passes.
            no: where it goes otherwise.
            missing_is_yes: where it goes without the feature.

        Raises:
            ReleaseRefused: the threshold is not finite.
        """
        if not math.isfinite(threshold):
            raise ReleaseRefused("export", f"a tree splits {feature!r} at {threshold}")
        if yes == no:
            return yes
        self._splits.append(_Split(feature, test, threshold, yes, no, missing_is_yes))
        return Node(len(self._splits) - 1, is_leaf=False)

    def choice(self, feature: str, branches: Mapping[float, Node], otherwise: Node) -> Node:
        """A node above many: the branch whose key the feature equals, `otherwise` without the feature or such a key."""
        node = otherwise
        for value, branch in branches.items():
            node = self.split(feature, "==", value, yes=branch, no=node, missing_is_yes=False)
        return node

    def root(self, node: Node) -> None:
        """Close a tree; its number is the count of those before it."""
        self._roots.append(node)

    def emit(self, graph: Graph, frame: Frame, step: object, codes: Mapping[str, float] | None = None) -> Tensor:
        """The leaf that each row reaches in each tree; int64, shape (N, trees).

        Args:
            step: the estimator, for errors.
            codes: numbers of the texts that splits compare with, as in `spread`.

        Raises:
            NotExportable: a split reads a text, and there are no codes.
        """
        # A tree that is only a leaf stays outside: onnx's reference reads such a tree otherwise than onnxruntime.
        lone = [tree for tree, root in enumerate(self._roots) if root.is_leaf]
        grown = [tree for tree, root in enumerate(self._roots) if not root.is_leaf]
        blocks = []
        if grown:
            blocks.append(self._ensemble(graph, frame, step, codes))
        if lone:
            blocks.append(graph.row([float(self._roots[tree].place) for tree in lone]))
        leaves = blocks[0]
        if lone and grown:
            order = [*grown, *lone]
            block = graph.op("Concat", *blocks, axis=1)
            leaves = graph.columns(block, [order.index(tree) for tree in range(self.trees)])
        return graph.op("Cast", leaves, to=TensorProto.INT64)

    def _ensemble(self, graph: Graph, frame: Frame, step: object, codes: Mapping[str, float] | None) -> Tensor:
        """The leaves of those trees that have a split; doubles, shape (N, as many)."""
        features = tuple(dict.fromkeys(split.feature for split in self._splits))
        places = {name: place for place, name in enumerate(features)}
        splits = self._splits
        roots = [root.place for root in self._roots if not root.is_leaf]
        leaf_tree = {leaf: tree for tree, root in enumerate(roots) for leaf in _leaves_below(splits, root)}
        return graph.op(
            "TreeEnsemble",
            spread(step, graph, frame, features, codes),
            domain=ML_DOMAIN,
            tree_roots=roots,
            nodes_featureids=[places[split.feature] for split in splits],
            nodes_splits=_doubles("splits", [split.threshold for split in splits]),
            nodes_modes=helper.make_tensor(
                "modes", TensorProto.UINT8, [len(splits)], [_MODES[split.test] for split in splits]
            ),
            nodes_truenodeids=[split.yes.place for split in splits],
            nodes_trueleafs=[int(split.yes.is_leaf) for split in splits],
            nodes_falsenodeids=[split.no.place for split in splits],
            nodes_falseleafs=[int(split.no.is_leaf) for split in splits],
            nodes_missing_value_tracks_true=[int(split.missing_is_yes) for split in splits],
            leaf_targetids=[leaf_tree.get(leaf, 0) for leaf in range(self.leaves)],
            leaf_weights=_doubles("leaves", [float(leaf) for leaf in range(self.leaves)]),
            n_targets=len(roots),
            aggregate_function=_SUM,
            post_transform=0,
        )


def _leaves_below(splits: list[_Split], root: int) -> list[int]:
    """The leaves of one tree; without recursion, because River's trees may be deeper than Python's stack."""
    found, open_, seen = [], [root], {root}
    while open_:
        split = splits[open_.pop()]
        for node in (split.yes, split.no):
            if node.is_leaf:
                found.append(node.place)
            elif node.place not in seen:
                seen.add(node.place)
                open_.append(node.place)
    return found


def _doubles(name: str, values: list[float]) -> object:
    array = np.asarray(values, np.float64)
    return helper.make_tensor(name, TensorProto.DOUBLE, array.shape, array.tobytes(), raw=True)

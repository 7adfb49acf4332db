"""River's branches as splits of a `TreeTable`: which child a row goes to, also without the feature or a known value."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, TypeAlias

from river.tree.nodes.branch import (
    DTBranch,
    NominalBinaryBranch,
    NominalMultiwayBranch,
    NumericBinaryBranch,
    NumericMultiwayBranch,
)
from river.tree.nodes.efdtc_nodes import BaseEFDTBranch

from learners.onnx_export.frame import Columns, Frame, full_name, spread
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.tree_table import Node, Test, TreeTable
from schemas.errors import NotExportable, ReleaseRefused

Codes: TypeAlias = Mapping[str, float]
"""A whole number from 1.0 for each text that a tree tells apart; all others are smaller, see `frame.spread`."""


@dataclass(frozen=True, slots=True)
class Features:
    """What trees read.

    Attributes:
        frame: the features.
        step: the estimator that reads them, for errors.
        codes: numbers for the texts among them.
    """

    frame: Frame
    step: object
    codes: Codes

    def spread(self, graph: Graph, names: Sequence[str]) -> Tensor:
        """These features as doubles; shape (N, len(names))."""
        return spread(self.step, graph, self.frame, names, self.codes)

    def leaves(self, graph: Graph, table: TreeTable) -> Tensor:
        """The leaf that each row reaches in each tree; int64, shape (N, trees)."""
        return table.emit(graph, self.frame, self.step, self.codes)


def nodes_of(root: object) -> Iterator[Any]:
    """All branches and leaves below and with `root`, alternate subtrees too; without recursion, for deep trees."""
    open_ = [root]
    while open_:
        node = open_.pop()
        yield node
        if isinstance(node, DTBranch):
            open_.extend(node.children)
            alternate = getattr(node, "_alternate_tree", None)
            if alternate is not None:
                open_.append(alternate)


def features_of(
    graph: Graph, frame: Frame, step: object, roots: Sequence[object], further: Iterable[object] = ()
) -> Features:
    """What these trees read: a code for each text that a branch or `further` knows, and the slots of numbers."""
    values: list[object] = [*further]
    divided = []
    for root in roots:
        for node in nodes_of(root):
            match node:
                case NominalBinaryBranch():
                    values.append(node.value)
                case NominalMultiwayBranch():
                    values.extend(node._mapping)
                case NumericMultiwayBranch():
                    divided.append(node)
    texts = sorted({value for value in values if isinstance(value, str) and value})
    codes = {text: float(code) for code, text in enumerate(texts, 1)}
    return Features(_with_slots(graph, frame, step, divided), step, codes)


def plant(table: TreeTable, root: Any, leaf: Callable[[Any], Node], features: Features) -> Node:
    """The tree below `root` in the table, each of River's leaves by what `leaf` makes of it."""
    done: dict[int, tuple[Node, float]] = {}
    open_ = [(root, False)]
    while open_:
        node, is_below_done = open_.pop()
        if not isinstance(node, DTBranch):
            done[id(node)] = leaf(node), node.total_weight
        elif not is_below_done:
            open_.append((node, True))
            open_.extend((child, False) for child in node.children)
        else:
            children, weights = zip(*(done[id(child)] for child in node.children), strict=True)
            missing = children[heaviest(node, weights)]
            # River adds up all leaves at each branch again, so `total_weight` of every branch would take a while.
            weight = node.total_weight if isinstance(node, BaseEFDTBranch) else sum(weights)
            done[id(node)] = divide(table, node, children, missing, features), weight
    return done[id(root)][0]


def heaviest(branch: DTBranch, weights: Sequence[float]) -> int:
    """Where `most_common_path` goes, given the weights of the children; of equals, the first."""
    return max(range(len(weights)), key=weights.__getitem__)


def divide(table: TreeTable, branch: Any, children: Sequence[Node], missing: Node, features: Features) -> Node:
    """The branch above these children, in River's order, and above the node for rows that `branch_no` cannot place.

    Raises:
        ReleaseRefused: the branch was learned from values of another type, or leads nowhere.
    """
    match branch:
        case NumericBinaryBranch():
            _refuse_text(branch, features.frame)
            return _in_two(table, branch.feature, _at_most(branch.threshold), children, missing)
        case NominalBinaryBranch():
            code = _code(branch, branch.value, features)
            return _in_two(table, branch.feature, ("==", code), children, missing)
        case NominalMultiwayBranch():
            codes = {value: _code(branch, value, features) for value in branch._mapping}
            return table.choice(branch.feature, _others(branch, codes, children, missing), missing)
        case NumericMultiwayBranch():
            slots = {slot: float(slot) for slot in branch._mapping}
            return table.choice(_slot_name(branch), _others(branch, slots, children, missing), missing)
    raise ReleaseRefused("export", f"a tree holds a {full_name(branch)}, which is not known")


def refuse_empty(step: object, graph: Graph, frame: Frame) -> None:
    """Raise NotExportable if no feature can reach a tree."""
    if not (frame.numbers or frame.texts or frame.one_hots or frame.thinned):
        raise NotExportable(full_name(step), graph.step, "no feature reaches it", "steps that leave some feature")


def _others(branch: Any, codes: Mapping[Any, float], children: Sequence[Node], missing: Node) -> dict[float, Node]:
    """The child for each code; not those that are the one for all other rows, as onnxruntime takes no shared split."""
    if max(branch._mapping.values()) >= len(children):
        # ExtremelyFastDecisionTree keeps the children when it renews a test, also if that has other values now.
        raise ReleaseRefused("export", "a branch of a tree leads nowhere, so River raises IndexError there")
    return {codes[value]: children[place] for value, place in branch._mapping.items() if children[place] != missing}


def _at_most(threshold: float) -> tuple[Test, float]:
    """The test `<=` of a finite number; a threshold may be infinite, as the last one of SGT's bins is."""
    if math.isinf(threshold):
        return ("<=", sys.float_info.max) if threshold > 0.0 else ("<", -sys.float_info.max)
    return "<=", threshold


def _slot_name(branch: NumericMultiwayBranch) -> str:
    """The name of the column that holds the branch's slots; no feature has such a name."""
    return f"\0{branch.feature}\0{branch.radius!r}"


def _with_slots(graph: Graph, frame: Frame, step: object, branches: Iterable[NumericMultiwayBranch]) -> Frame:
    """The frame and a column for each way to divide a feature into slots: River's `floor(x / radius)`."""
    distinct = {_slot_name(branch): branch for branch in branches}
    if not distinct:
        return frame
    for branch in distinct.values():
        _refuse_text(branch, frame)
        if not 0.0 < branch.radius < math.inf:
            raise ReleaseRefused("export", f"a tree divides {branch.feature!r} by {branch.radius}")
    values = spread(step, graph, frame, [branch.feature for branch in distinct.values()])
    radii = graph.numbers([[float(branch.radius) for branch in distinct.values()]])
    slots = graph.op("Floor", graph.op("Div", values, radii))
    if frame.numbers is None:
        return replace(frame, numbers=Columns(slots, tuple(distinct)))
    both = graph.op("Concat", frame.numbers.tensor, slots, axis=1)
    return replace(frame, numbers=Columns(both, (*frame.numbers.names, *distinct)))


def _code(branch: Any, value: object, features: Features) -> float:
    """The number that the feature has in the graph where it has this value in River."""
    is_text = isinstance(value, str)
    if branch.feature in (features.frame.number_names if is_text else features.frame.text_names):
        raise _other_type(branch.feature, value)
    if isinstance(value, str):
        return features.codes.get(value, 0.0)  # no row has the code of "", which means missing
    if not isinstance(value, Number):
        raise _other_type(branch.feature, value)
    return float(value)  # type: ignore[arg-type]


def _refuse_text(branch: Any, frame: Frame) -> None:
    if branch.feature in frame.text_names:
        raise _other_type(branch.feature, 0.0)


def _other_type(feature: str, value: object) -> ReleaseRefused:
    return ReleaseRefused("export", f"a tree has learned {feature!r} as {type(value).__name__}, which it is not now")


def _in_two(
    table: TreeTable, feature: str, question: tuple[Test, float], children: Sequence[Node], missing: Node
) -> Node:
    test, threshold = question
    yes, no = children
    if missing not in (yes, no):
        # A third way: only rows without the feature can pass the same test after failing it.
        no = table.split(feature, test, threshold, yes=missing, no=no, missing_is_yes=True)
        return table.split(feature, test, threshold, yes=yes, no=no, missing_is_yes=False)
    return table.split(feature, test, threshold, yes=yes, no=no, missing_is_yes=missing == yes)

"""What classification trees answer in the leaf that a row reaches: the classes met there, or naive Bayes over them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from river.tree.splitter import ExhaustiveSplitter, GaussianSplitter
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif
from river.utils.norm import normalize_values_in_dict

from learners.onnx_export.answers import Label
from learners.onnx_export.branches import Features, features_of, nodes_of, plant
from learners.onnx_export.convert import full_name
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import ML_DOMAIN, Graph, Tensor
from learners.onnx_export.tree_table import Node, TreeTable
from schemas.errors import NotExportable, ReleaseRefused

_HALF_LOG_TAU = 0.5 * math.log(math.tau)

# What naive Bayes in a leaf asks about a number. The others have no density, or one made of bins.
_DENSITIES = (GaussianSplitter, ExhaustiveSplitter)


def refuse_density(model: Any, step: str) -> None:
    """Raise NotExportable if leaves ask naive Bayes, and the splitter's density has no converter."""
    splitter = model.splitter
    if model.leaf_prediction != "mc" and splitter is not None and type(splitter) not in _DENSITIES:
        reason = f"no exact converter is written yet for naive Bayes over {type(splitter).__name__}"
        raise NotExportable(full_name(model), step, reason, "leaf_prediction='mc', or GaussianSplitter()")


def classes_in_order(tree: Any) -> list[Label]:
    """The tree's classes as River answers them."""
    try:
        return sorted(tree.classes)
    except TypeError as error:
        raise ReleaseRefused("export", f"River cannot sort the classes {tree.classes}") from error


def votes_of_trees(graph: Graph, frame: Frame, step: object, trees: Sequence[Any], labels: Sequence[Label]) -> Tensor:
    """What `predict_proba_one` of each tree answers; shape (N, trees, labels)."""
    features = features_of_classifiers(graph, frame, step, trees)
    table, leaves = TreeTable(), ClassLeaves(labels)
    for tree in trees:
        if tree._root is None:
            table.root(leaves.add(table, {}))
        else:
            table.root(plant(table, tree._root, functools.partial(leaves.of, table, tree), features))
    return leaves.votes(graph, features, features.leaves(graph, table), table.trees)


def features_of_classifiers(graph: Graph, frame: Frame, step: object, trees: Sequence[Any]) -> Features:
    """What these classification trees read, with a code for each text that they tell apart."""
    return features_of(graph, frame, step, [tree._root for tree in trees], _values_in_leaves(trees))


def is_bayesian(leaf: Any, tree: Any) -> bool:
    """Whether the leaf would ask naive Bayes now."""
    if not leaf.is_active() or tree.leaf_prediction == "mc":
        return False
    if tree.leaf_prediction == "nb":
        return bool(leaf.total_weight >= tree.nb_threshold)
    return bool(leaf._nb_correct_weight >= leaf._mc_correct_weight)


@dataclass
class ClassLeaves:
    """A row for each leaf of a `TreeTable`: shares of the classes, or a place among the leaves that ask naive Bayes.

    Attributes:
        labels: the classes, in the order of the votes' last axis.
        shares: per leaf, what it says to every row; empty if it asks.
        asked: per leaf, whom it asks.
        factors: per leaf, what its votes are multiplied by.
        units: per leaf, whether its votes are first divided by their sum.
    """

    labels: Sequence[Label]
    shares: list[Mapping[Label, float]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    units: list[bool] = field(default_factory=list)

    def add(
        self,
        table: TreeTable,
        shares: Mapping[Label, float],
        *,
        asked: Any = None,
        factor: float = 1.0,
        is_unit: bool = False,
    ) -> Node:
        """The table's next leaf."""
        self.shares.append(shares)
        self.asked.append(asked)
        self.factors.append(factor)
        self.units.append(is_unit)
        return table.leaf()

    def of(self, table: TreeTable, tree: Any, leaf: Any) -> Node:
        """The table's next leaf, for one of a tree of which a row reaches one leaf."""
        if not is_bayesian(leaf, tree):
            return self.add(table, normalize_values_in_dict(leaf.stats, inplace=False))
        # River asks for a class by weight, and answers nothing if there is none.
        return self.add(table, {}, asked=leaf if leaf.stats and sum(leaf.stats.values()) != 0 else None)

    def votes(self, graph: Graph, features: Features, leaves: Tensor, trees: int) -> Tensor:
        """The votes of the leaves at these places, which have shape (N, trees); shape (N, trees, labels)."""
        places = {label: place for place, label in enumerate(self.labels)}
        rows = np.zeros((len(self.shares), len(places)))
        for row, shares, factor in zip(rows, self.shares, self.factors, strict=True):
            for label, share in shares.items():
                row[places[label]] = share * factor
        bayesian = [leaf for leaf in self.asked if leaf is not None]
        if not bayesian:
            return graph.op("Gather", graph.numbers(rows), leaves, axis=0)
        is_asked = [leaf is not None for leaf in self.asked]
        ranks = np.cumsum(is_asked) - 1
        asked = graph.op("Gather", graph.integers(np.where(is_asked, ranks, 0)), leaves, axis=0)
        votes = _Bayes(bayesian, places).votes(graph, features, asked, trees)
        votes = self._weighted(graph, votes, leaves)
        if all(is_asked):
            return votes
        flags = graph.op("Gather", graph.integers([[int(asks)] for asks in is_asked]), leaves, axis=0)
        said = graph.op("Gather", graph.numbers(rows), leaves, axis=0)
        return graph.op("Where", graph.op("Cast", flags, to=TensorProto.BOOL), votes, said)

    def _weighted(self, graph: Graph, votes: Tensor, leaves: Tensor) -> Tensor:
        if any(self.units):
            flags = graph.op("Gather", graph.integers([[int(is_unit)] for is_unit in self.units]), leaves, axis=0)
            whole = graph.op("Cast", flags, to=TensorProto.BOOL)
            votes = graph.op("Div", votes, graph.op("Where", whole, graph.total(votes, axis=2), graph.numbers(1.0)))
        if any(factor != 1.0 for factor in self.factors):
            factors = graph.numbers([[factor] for factor in self.factors])
            votes = graph.op("Mul", votes, graph.op("Gather", factors, leaves, axis=0))
        return votes


class _Bayes:
    """`do_naive_bayes_prediction` of many leaves: logarithms of what each class makes of each feature, added up.

    Each leaf reads its own features, a forest's only a few, so a leaf has as many slots as the busiest one needs.
    """

    def __init__(self, leaves: Sequence[Any], places: Mapping[Label, int]) -> None:
        self._leaves = leaves
        self._places = places

    def votes(self, graph: Graph, features: Features, asked: Tensor, trees: int) -> Tensor:
        shape = len(self._leaves), len(self._places)
        priors = np.full(shape, -np.inf)  # a class that the leaf has not met
        for row, leaf in zip(priors, self._leaves, strict=True):
            total = sum(leaf.stats.values())
            for label, weight in leaf.stats.items():
                row[self._places[label]] = math.log(weight / total) if weight > 0 else 0.0
        votes = graph.op("Gather", graph.numbers(priors, infinite=True), asked, axis=0)
        for part in (self._of_numbers, self._of_values):
            terms = part(graph, features, asked, trees)
            if terms:
                votes = graph.op("Add", votes, terms)
        # River's own expression: among votes of a million its rounding decides.
        highest = graph.op("ReduceMax", votes, graph.integers([2]), keepdims=1)
        spans = graph.total(graph.op("Exp", graph.op("Sub", votes, highest)), axis=2)
        whole = graph.op("Add", highest, graph.op("Log", spans))
        return graph.op("Exp", graph.op("Sub", votes, whole))

    def _of_numbers(self, graph: Graph, features: Features, asked: Tensor, trees: int) -> Tensor:
        """What Gaussians say; doubles, shape (N, trees, labels). Empty if there are none."""
        known = [self._gaussians(leaf) for leaf in self._leaves]
        slots = _Slots.of([list(gaussians) for gaussians in known])
        if not slots.names:
            return ""
        text = next((name for name in slots.names if name in features.frame.text_names), None)
        if text is not None:
            raise ReleaseRefused("export", f"a tree has learned {text!r} as float, which it is not now")
        shape = len(self._leaves), slots.width, len(self._places)
        # Divided by minus infinity, what a class knows nothing of counts nothing.
        means, spreads, heights = np.zeros(shape), np.full(shape, -np.inf), np.zeros(shape)
        for i, gaussians in enumerate(known):
            for name, by_class in gaussians.items():
                slot = slots.slot(i, name)
                for place, mean, variance in by_class:
                    means[i, slot, place] = mean
                    spreads[i, slot, place] = -2.0 * variance
                    heights[i, slot, place] = -_HALF_LOG_TAU - 0.5 * math.log(variance)
        values = slots.pick(graph, features.spread(graph, slots.names), asked, trees, math.nan)
        values = graph.op("Unsqueeze", values, graph.integers([3]))
        away = graph.op("Sub", values, graph.op("Gather", graph.numbers(means), asked, axis=0))
        bends = graph.op("Gather", graph.numbers(spreads, infinite=True), asked, axis=0)
        terms = graph.op("Div", graph.op("Mul", away, away), bends)
        terms = graph.op("Add", terms, graph.op("Gather", graph.numbers(heights), asked, axis=0))
        present = graph.op("Where", graph.op("IsNaN", values), graph.numbers(0.0), terms)
        return graph.total(present, axis=2, keepdims=False)

    def _gaussians(self, leaf: Any) -> dict[str, list[tuple[int, float, float]]]:
        """Per feature the place of each class that has a density, its mean and variance."""
        known: dict[str, list[tuple[int, float, float]]] = {}
        for name, splitter in leaf.splitters.items():
            if not isinstance(splitter, GaussianSplitter):
                continue
            for label, weight in leaf.stats.items():
                gaussian = splitter._att_dist_per_class.get(label)
                if gaussian is None or not weight > 0:
                    continue
                statistic = gaussian._var
                free = statistic.mean.n - statistic.ddof
                if free > 0 and statistic._S / free > 0.0:
                    entry = self._places[label], statistic.mean._mean, statistic._S / free
                    known.setdefault(name, []).append(entry)
        return known

    def _of_values(self, graph: Graph, features: Features, asked: Tensor, trees: int) -> Tensor:
        """What counts of nominal values say; doubles, shape (N, trees, labels). Empty if there are none."""
        known = [dict(_nominal(leaf)) for leaf in self._leaves]
        slots = _Slots.of([list(nominal) for nominal in known])
        if not slots.names:
            return ""
        numbers = sorted({value for nominal in known for s in nominal.values() for value in _numbers(s)})
        every: dict[object, float] = {value: code for code, value in enumerate([*features.codes, *numbers], 1)}
        # One row per leaf, feature and value that met there; the first is for all others.
        stride = 1.0 + len(every)
        rows: list[npt.NDArray[np.float64]] = [np.zeros(len(self._places))]
        found: dict[float, float] = {-1.0: 0.0}
        for i, nominal in enumerate(known):
            for name, splitter in nominal.items():
                base = (i * slots.width + slots.slot(i, name)) * stride
                for value, row in self._by_value(splitter, self._leaves[i].stats).items():
                    if value not in every or isinstance(value, str) != (name in features.frame.text_names):
                        continue  # "" is missing, and no feature is both text and number
                    found[base + every[value]] = float(len(rows))
                    rows.append(row)
        coded = _coded(graph, features, slots.names, {value: every[value] for value in numbers})
        values = slots.pick(graph, coded, asked, trees, 0.0)
        bases = stride * np.arange(len(self._leaves) * slots.width, dtype=np.float64)
        rows_of = graph.numbers(bases.reshape(len(self._leaves), slots.width))
        keys = graph.op("Add", values, graph.op("Gather", rows_of, asked, axis=0))
        places = graph.op("Cast", _looked_up(graph, keys, found), to=TensorProto.INT64)
        terms = graph.op("Gather", graph.numbers(np.stack(rows)), places, axis=0)
        return graph.total(terms, axis=2, keepdims=False)

    def _by_value(self, splitter: Any, stats: Mapping[Label, float]) -> dict[Any, npt.NDArray[np.float64]]:
        rows: dict[Any, npt.NDArray[np.float64]] = {}
        for label, weight in stats.items():
            # `.get`, because River's defaultdict would keep the class.
            counts = splitter._att_dist_per_class.get(label, {})
            total = sum(counts.values())
            for value, count in counts.items():
                if weight > 0 and total != 0 and count / total > 0:
                    row = rows.setdefault(value, np.zeros(len(self._places)))
                    row[self._places[label]] = math.log(count / total)
        return rows


@dataclass(frozen=True, slots=True)
class _Slots:
    """Which features each leaf reads, in a table as wide as the busiest leaf.

    Attributes:
        names: all features that are read.
        places: per leaf, the place of each of its features among the names, at most `width`.
        is_shared: whether every leaf has a slot for every feature instead, which saves picking.
    """

    names: tuple[str, ...]
    places: tuple[dict[str, int], ...]
    width: int
    is_shared: bool

    @classmethod
    def of(cls, read: Sequence[Sequence[str]]) -> _Slots:
        names = tuple(dict.fromkeys(name for features in read for name in features))
        busiest = max(map(len, read))
        is_shared = len(names) <= 2 * busiest
        own = tuple({name: slot for slot, name in enumerate(features)} for features in read)
        shared = {name: slot for slot, name in enumerate(names)}
        return cls(names, (shared,) * len(read) if is_shared else own, len(names) if is_shared else busiest, is_shared)

    def slot(self, leaf: int, name: str) -> int:
        return self.places[leaf][name]

    def pick(self, graph: Graph, values: Tensor, asked: Tensor, trees: int, otherwise: float) -> Tensor:
        """From the values of all names, shape (N, names), those in the slots of the leaves asked.

        Returns:
            Shape (N, trees, width), `otherwise` in an empty slot; (N, 1, width) if shared.
        """
        if self.is_shared:
            return graph.op("Unsqueeze", values, graph.integers([1]))
        columns = {name: column for column, name in enumerate(self.names)}
        empty = len(self.names)
        wanted = np.full((len(self.places), self.width), empty)
        for row, slots in zip(wanted, self.places, strict=True):
            for name, slot in slots.items():
                row[slot] = columns[name]
        padded = graph.op("Concat", values, graph.row([otherwise], missing=True), axis=1)
        flat = graph.integers([0, trees * self.width])
        wide = graph.op("Reshape", graph.op("Gather", graph.integers(wanted), asked, axis=0), flat)
        picked = graph.op("GatherElements", padded, wide, axis=1)
        return graph.op("Reshape", picked, graph.integers([0, trees, self.width]))


def _coded(graph: Graph, features: Features, names: Sequence[str], numbers: Mapping[float, float]) -> Tensor:
    """The codes of nominal features side by side, 0.0 where there is none; shape (N, len(names))."""
    texts = [name for name in names if name in features.frame.text_names]
    others = [name for name in names if name not in features.frame.text_names]
    blocks = []
    if texts:
        block = graph.filled(features.spread(graph, texts))
        blocks.append(graph.op("Max", block, graph.numbers(0.0)))  # unknown texts are below
    if others:
        block = features.spread(graph, others)
        blocks.append(_looked_up(graph, block, dict(numbers) or {-1.0: 0.0}))
    block = blocks[0] if len(blocks) == 1 else graph.op("Concat", *blocks, axis=1)
    found = [*texts, *others]
    return block if found == list(names) else graph.columns(block, [found.index(name) for name in names])


def _looked_up(graph: Graph, values: Tensor, table: Mapping[float, float]) -> Tensor:
    """Each double by its number in the table, 0.0 if it has none."""

    def doubles(name: str, entries: Iterable[float]) -> object:
        array = np.fromiter(entries, np.float64)
        return helper.make_tensor(name, TensorProto.DOUBLE, array.shape, array.tobytes(), raw=True)

    return graph.op(
        "LabelEncoder",
        values,
        domain=ML_DOMAIN,
        keys_tensor=doubles("keys", table.keys()),
        values_tensor=doubles("values", table.values()),
        default_tensor=doubles("default", [0.0]),
    )


def _nominal(leaf: Any) -> Iterator[tuple[str, NominalSplitterClassif]]:
    for name, splitter in leaf.splitters.items():
        if isinstance(splitter, NominalSplitterClassif):
            yield name, splitter


def _numbers(splitter: NominalSplitterClassif) -> Iterator[float]:
    return (float(value) for value in splitter._att_values if not isinstance(value, str) and math.isfinite(value))


def _values_in_leaves(trees: Sequence[Any]) -> Iterator[object]:
    for tree in trees:
        for node in nodes_of(tree._root):
            for _, splitter in _nominal(node) if _asks(node, tree) else ():
                yield from splitter._att_values


def _asks(node: Any, tree: Any) -> bool:
    return hasattr(node, "is_active") and is_bayesian(node, tree)

"""A replica: what answers in a learner's place, because River changes some estimators when they predict.

River's scalers note every feature they are asked about, factorization machines draw latents for values they have not
met, a nominal splitter notes every class. A whole copy would do, but a tree's statistics are most of it, they grow with
what was learned, and nobody who asks writes to them. So they are shared, and only the rest is copied.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from river import anomaly, drift, linear_model, proba
from river.tree import splitter
from river.tree.mondrian import mondrian_tree_nodes as mondrian
from river.tree.nodes import arf_htc_nodes, arf_htr_nodes, branch, efdtc_nodes, et_nodes, htc_nodes, htr_nodes
from river.tree.nodes.branch import DTBranch
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif


def replica(model: Any) -> Any:
    """A model that answers as `model` does and leaves it as it is; it may be asked, it must never learn.

    Args:
        model: a River estimator or pipeline between two events.

    >>> from river import preprocessing
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> asked = replica(model)
    >>> asked.predict_proba_one({"price": 3.0})[True]
    0.5
    >>> len(asked["StandardScaler"].vars), len(model["StandardScaler"].vars)
    (1, 0)
    """
    pickled = io.BytesIO()
    writer = _Writer(pickled)
    try:
        writer.dump(model)
    except (AttributeError, TypeError, pickle.PicklingError):
        # It holds a function without a name or the like, which deepcopy leaves where it is.
        return copy.deepcopy(model)
    pickled.seek(0)
    return _Reader(pickled, writer.shared).load()


class _Writer(pickle.Pickler):
    """Writes what is shared as its place in a list. Pickle, because it walks in C, and the bytes never leave here."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.shared: list[object] = []
        self._mixed: set[int] = set()

    def reducer_override(self, value: Any) -> Any:
        if not self._only_reads(value):
            return NotImplemented
        self.shared.append(value)
        return _shared, (len(self.shared) - 1,)

    def _only_reads(self, value: Any) -> bool:
        # By the exact class: a subclass may answer otherwise.
        only_reads = _ONLY_READS.get(type(value))
        if only_reads is not None:
            return only_reads(value)
        return type(value) in _BRANCHES and self._reads_below(value)

    def _reads_below(self, root: DTBranch) -> bool:
        if id(root) in self._mixed:
            return False
        nodes = list(_below(root))
        if all(type(node) in _BRANCHES or _ONLY_READS.get(type(node), _never)(node) for node in nodes):
            return True
        # Its parts are asked for next; without this, each branch would look through all that is below it again.
        self._mixed.update(map(id, nodes))
        return False


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file)
        self._shared = shared

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name == _shared.__name__:
            return self._shared.__getitem__
        return super().find_class(module, name)


def _shared(place: int) -> NoReturn:
    """Stands in the bytes for the list that `_Reader` is given."""
    raise LookupError(place)


def _below(root: DTBranch) -> Iterator[Any]:
    """All nodes with and below `root`; without recursion, because River's trees may be deeper than Python's stack."""
    open_: list[Any] = [root]
    while open_:
        node = open_.pop()
        yield node
        if isinstance(node, DTBranch):
            open_.extend(node.children)


def _always(_: object) -> bool:
    return True


def _never(_: object) -> bool:
    return False


def _knows_its_classes(leaf: Any) -> bool:
    """Whether naive Bayes finds all classes of the leaf in its nominal splitters; they would note one that is new."""
    nominal = (each for each in (leaf.splitters or {}).values() if type(each) is NominalSplitterClassif)
    return all(leaf.stats.keys() <= each._att_dist_per_class.keys() for each in nominal)


def _model_only_reads(leaf: Any) -> bool:
    return _ONLY_READS.get(type(leaf._leaf_model), _never)(leaf._leaf_model)


# Branches that only compare; those of adaptive trees are copied.
_BRANCHES: Final = frozenset(
    {
        branch.NominalBinaryBranch,
        branch.NominalMultiwayBranch,
        branch.NumericBinaryBranch,
        branch.NumericMultiwayBranch,
        efdtc_nodes.EFDTNominalBinaryBranch,
        efdtc_nodes.EFDTNominalMultiwayBranch,
        efdtc_nodes.EFDTNumericBinaryBranch,
        efdtc_nodes.EFDTNumericMultiwayBranch,
    }
)

# By class: whether everything that asking calls on this instance leaves it, and all that it holds, as it is.
_ONLY_READS: Final[dict[type, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        (
            anomaly.HalfSpaceTrees,
            linear_model.LinearRegression,
            linear_model.LogisticRegression,
            linear_model.Perceptron,
            # Asked for nothing but a density, which draws no number.
            proba.Gaussian,
            # Asked by nobody, or for a density.
            drift.ADWIN,
            splitter.EBSTSplitter,
            splitter.ExhaustiveSplitter,
            splitter.GaussianSplitter,
            splitter.QOSplitter,
            splitter.TEBSTSplitter,
            # Leaves that answer from their own numbers.
            arf_htc_nodes.RandomLeafMajorityClass,
            arf_htr_nodes.RandomLeafMean,
            efdtc_nodes.EFDTLeafMajorityClass,
            et_nodes.ETLeafMean,
            htc_nodes.LeafMajorityClass,
            htr_nodes.LeafMean,
            # Nodes lead to all others of their tree.
            mondrian.MondrianBranchClassifier,
            mondrian.MondrianBranchRegressor,
            mondrian.MondrianLeafClassifier,
            mondrian.MondrianLeafRegressor,
        ),
        _always,
    ),
    **dict.fromkeys(
        (
            arf_htc_nodes.RandomLeafNaiveBayes,
            arf_htc_nodes.RandomLeafNaiveBayesAdaptive,
            efdtc_nodes.EFDTLeafNaiveBayes,
            efdtc_nodes.EFDTLeafNaiveBayesAdaptive,
            htc_nodes.LeafNaiveBayes,
            htc_nodes.LeafNaiveBayesAdaptive,
        ),
        _knows_its_classes,
    ),
    **dict.fromkeys(
        (
            arf_htr_nodes.RandomLeafAdaptive,
            arf_htr_nodes.RandomLeafModel,
            et_nodes.ETLeafAdaptive,
            et_nodes.ETLeafModel,
            htr_nodes.LeafAdaptive,
            htr_nodes.LeafModel,
        ),
        _model_only_reads,
    ),
}

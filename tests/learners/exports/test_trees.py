"""Trees and forests answer in ONNX as they do in River, whatever reaches them and whatever is missing."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, numpy_helper
from river import compose, forest, linear_model, preprocessing, tree
from river.drift import ADWIN, NoDrift
from river.tree.nodes.branch import DTBranch, NominalMultiwayBranch, NumericBinaryBranch, NumericMultiwayBranch
from river.tree.splitter import (
    DynamicQuantizer,
    EBSTSplitter,
    ExhaustiveSplitter,
    HistogramSplitter,
    QOSplitter,
)

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.onnx_export.branches import Features, nodes_of, plant
from learners.onnx_export.frame import Frame
from learners.onnx_export.tree_table import TreeTable
from learners.parity import Parity, check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import (
    MIXED_STREAMS,
    Row,
    Stream,
    Target,
    assert_exact,
    flat,
    gappy,
    gappy_numeric,
    mixed,
    numeric,
)

# With gaps, because without them trees do no more than with them.
STREAMS = {"gappy numeric": gappy_numeric, "gappy": gappy, "flat": flat}
# Splits early, so that short streams make trees of some size.
EAGER: dict[str, Any] = {"grace_period": 20, "delta": 0.2}


def classifier(**options: Any) -> tree.HoeffdingTreeClassifier:
    return tree.HoeffdingTreeClassifier(**{**EAGER, **options})


def regressor(**options: Any) -> tree.HoeffdingTreeRegressor:
    return tree.HoeffdingTreeRegressor(**{**EAGER, **options})


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "mc": lambda: classifier(leaf_prediction="mc"),
    "nb": lambda: classifier(leaf_prediction="nb", nb_threshold=15),
    "nba": lambda: classifier(leaf_prediction="nba"),
    "binary": lambda: classifier(binary_split=True, leaf_prediction="nb"),
    "nominal numbers": lambda: classifier(nominal_attributes=["hour of day"], leaf_prediction="nb"),
    "exhaustive": lambda: classifier(splitter=ExhaustiveSplitter()),
    "small": lambda: classifier(max_depth=2, max_share_to_split=0.7, remove_poor_attrs=True),
    "fast": lambda: tree.ExtremelyFastDecisionTreeClassifier(min_samples_reevaluate=30, **EAGER),
    "last": lambda: tree.LASTClassifier(change_detector=ADWIN(delta=0.9, clock=4, grace_period=10)),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER),
}
# Regression trees that read texts, too: no leaf asks a linear model.
REGRESSORS: dict[str, Callable[[], Any]] = {
    "mean": lambda: regressor(leaf_prediction="mean"),
    "EBST": lambda: regressor(leaf_prediction="mean", splitter=EBSTSplitter(), binary_split=True),
    "slots": lambda: regressor(
        leaf_prediction="mean", min_samples_split=1, splitter=QOSplitter(radius=0.3, allow_multiway_splits=True)
    ),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeRegressor(leaf_prediction="mean", seed=1, **EAGER),
    "gradient": lambda: tree.SGTRegressor(feature_quantizer=DynamicQuantizer(), **EAGER),
}
MODEL_TREES: dict[str, Callable[[], Any]] = {
    "model": lambda: regressor(leaf_prediction="model"),
    "adaptive leaves": lambda: regressor(leaf_prediction="adaptive"),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeRegressor(seed=1, **EAGER),
    "own model": lambda: regressor(
        grace_period=100, leaf_model=preprocessing.StandardScaler() | linear_model.LinearRegression()
    ),
    "forest": lambda: forest.ARFRegressor(3, seed=1),
    "weighted forest": lambda: forest.ARFRegressor(
        4, aggregation_method="mean", disable_weighted_vote=False, max_features=None, seed=1
    ),
    "extra trees": lambda: forest.OXTRegressor(3, seed=1),
}


class TestClassifiers:
    @pytest.mark.parametrize("stream", ["gappy", "flat"])
    @pytest.mark.parametrize("make", CLASSIFIERS)
    def test_tree_is_exact(self, make: str, stream: str) -> None:
        """Every kind of leaf and branch, with gaps, unseen texts and a number that never varies."""
        parity = assert_exact(CLASSIFIERS[make], STREAMS[stream]("multiclass"))

        assert parity.max_abs_diff <= 1e-12

    @pytest.mark.parametrize("target", ["binary", "multiclass"])
    def test_forest_is_exact(self, target: Target) -> None:
        """Trees of a forest read different features, weigh differently and may not know all classes."""
        parity = assert_exact(lambda: forest.ARFClassifier(4, seed=1), gappy(target))

        assert parity.max_abs_diff <= 1e-12

    def test_forest_over_many_features_is_exact(self) -> None:
        """Each leaf reads a few of many features, which are picked row by row."""
        stream = wide(30)

        model = grown(forest.ARFClassifier(4, seed=2, lambda_value=2), stream)

        assert assert_answers(model, stream).max_abs_diff <= 1e-12
        assert "GatherElements" in operators(exported(model, stream))

    def test_forest_without_weights_is_exact(self) -> None:
        """Equal votes of majority classes, where a tie is likely."""
        assert_exact(
            lambda: forest.ARFClassifier(4, leaf_prediction="mc", disable_weighted_vote=True, seed=3),
            gappy_numeric("binary"),
        )

    def test_first_of_equal_classes_wins(self) -> None:
        """River sorts the classes, in whatever order they came."""
        stream = Stream(("price",), (), (({"price": 1.0}, "b"), ({"price": 1.0}, "a")), ({"price": 1.0},))

        model = grown(classifier(), stream)

        assert "a" == model.predict_one({})
        assert_answers(model, stream)

    def test_gradient_tree_is_exact(self) -> None:
        """Its True comes first, and wins where both are as likely, as in a tree that has learned nothing."""
        assert_exact(lambda: tree.SGTClassifier(feature_quantizer=DynamicQuantizer(), **EAGER), gappy("binary"))

    def test_gradient_tree_with_bins_without_end_is_exact(self) -> None:
        """The threshold of the last bin is infinite, which no operator takes."""
        stream = numeric("binary")
        model = grown(tree.SGTClassifier(**EAGER), stream)

        assert any(math.isinf(node.threshold) for node in nodes_of(model._root) if isinstance(node, DTBranch))
        assert_answers(model, stream)

    @pytest.mark.parametrize("stream", MIXED_STREAMS)
    def test_tree_behind_steps_is_exact(self, stream: str) -> None:
        """Scaled numbers and one-hot texts, whose keys the tree splits at."""
        encoded = compose.SelectType(str) | preprocessing.OneHotEncoder()
        scaled = compose.SelectType(float) | preprocessing.StandardScaler()

        assert_exact(lambda: copy.deepcopy(encoded + scaled) | classifier(), MIXED_STREAMS[stream]("binary"))

    def test_thousands_of_texts_are_exact(self) -> None:
        """A split with a branch for each of three thousand texts, a dot, a space and an accent in its name."""
        names = [f"n° {i}.é" for i in range(3000)]
        examples = tuple(({"à la .carte": name}, i % 3 > 0 or name < "n° 2") for i, name in enumerate(names * 2))
        stream = Stream((), ("à la .carte",), examples, ())
        model = grown(tree.HoeffdingTreeClassifier(grace_period=5500, tau=1.0, leaf_prediction="nb"), stream)

        assert isinstance(model._root, NominalMultiwayBranch)
        assert_answers(model, stream, [x for x, _ in examples[::37]])

    @given(data=st.data())
    @hypothesis_settings(max_examples=25, deadline=None)
    def test_any_stream_is_exact(self, data: st.DataObject) -> None:
        """Rows with any keys, equal values, texts that are numbers elsewhere, classes that come late."""
        numbers = st.sampled_from([-1.5, 0.0, 0.1, 0.2, 0.3, 1e9])
        texts = st.sampled_from(["0.1", "x", "é y"])
        row = st.fixed_dictionaries({}, optional={"a": numbers, "b": numbers, "c": texts})
        rows: list[Any] = data.draw(st.lists(row, min_size=30, max_size=60))
        labels = data.draw(st.lists(st.sampled_from([0, 1, 7]), min_size=len(rows), max_size=len(rows)))
        stream = Stream(("a", "b"), ("c",), tuple(zip(rows, labels, strict=True)), ())
        model = classifier(
            grace_period=5,
            delta=0.9,
            tau=0.9,
            leaf_prediction=data.draw(st.sampled_from(["mc", "nb", "nba"])),
            nominal_attributes=data.draw(st.sampled_from([None, ["b"]])),
        )

        assert_answers(grown(model, stream), stream, rows)


class TestRegressors:
    @pytest.mark.parametrize("stream", ["gappy", "flat"])
    @pytest.mark.parametrize("make", REGRESSORS)
    def test_tree_of_means_is_exact(self, make: str, stream: str) -> None:
        """Every kind of branch, texts too, with gaps and unseen texts."""
        parity = assert_exact(REGRESSORS[make], STREAMS[stream]("regression"))

        assert parity.max_abs_diff <= 1e-12

    @pytest.mark.parametrize("stream", ["gappy numeric", "flat"])
    @pytest.mark.parametrize("make", MODEL_TREES)
    def test_tree_of_models_is_exact(self, make: str, stream: str) -> None:
        """Leaves that ask a model, linear or any other that can be exported."""
        scaled = preprocessing.StandardScaler()
        parity = assert_exact(lambda: scaled.clone() | MODEL_TREES[make](), STREAMS[stream]("regression"))

        assert parity.max_abs_diff <= 1e-12

    @pytest.mark.parametrize("trees", [1, 4, 5])
    def test_median_of_a_forest_is_exact(self, trees: int) -> None:
        """Of an even number of trees, the mean of the two in the middle."""
        assert_exact(lambda: forest.ARFRegressor(trees, leaf_prediction="mean", seed=1), mixed("regression", n=200))

    def test_slots_are_floors(self) -> None:
        """A branch for each slot of a number; a number between two slots that were met goes with the heaviest."""
        stream = numeric("regression")
        model = grown(REGRESSORS["slots"](), stream)
        starts = [slot * 0.3 for slot in range(-30, 40)]
        edges = [{**stream.held[i % 40], "price": x, "naïve": x} for i, x in enumerate(starts)]
        edges += [{**stream.held[7], "price": math.nextafter(x, -math.inf), "naïve": x} for x in starts]

        assert any(isinstance(node, NumericMultiwayBranch) for node in nodes_of(model._root))
        assert_answers(model, stream, edges)


class TestAlternates:
    @pytest.mark.parametrize("leaf_prediction", ["mc", "nb", "nba"])
    @pytest.mark.parametrize("make_stream", [gappy_numeric, gappy])
    def test_votes_of_alternates_are_exact(self, make_stream: Callable[..., Stream], leaf_prediction: str) -> None:
        """Each leaf reached counts by its error, and an alternate twice where its branch is reached by a gap."""
        stream = make_stream("multiclass", n=500)
        model = tree.HoeffdingAdaptiveTreeClassifier(seed=1, leaf_prediction=leaf_prediction, **EAGER)
        give_alternates(grown(model, stream))

        assert assert_answers(model, stream).max_abs_diff <= 1e-12
        assert trees_in(exported(model, stream)) > 4

    @pytest.mark.parametrize("leaf_prediction", ["mean", "model", "adaptive"])
    def test_mean_over_alternates_is_exact(self, leaf_prediction: str) -> None:
        """As many leaves as are reached, those twice that River's walk visits twice."""
        stream = gappy_numeric("regression", n=500)
        model = tree.HoeffdingAdaptiveTreeRegressor(seed=1, leaf_prediction=leaf_prediction, **EAGER)
        give_alternates(grown(model, stream))

        assert assert_answers(model, stream).max_abs_diff <= 1e-12
        assert trees_in(exported(model, stream)) > 4

    def test_alternate_that_breaks_river_is_refused(self) -> None:
        """River cannot predict where an alternate is a branch, so nothing is released that would."""
        stream = numeric("binary")
        model = grown(tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER), stream)
        model._root._alternate_tree = copy.deepcopy(model._root)

        with pytest.raises(ReleaseRefused, match="River raises AttributeError"):
            exported(model, stream)


class TestStructure:
    def test_forest_is_one_operator(self) -> None:
        """All trees are walked by one node, and no tree adds nodes of its own."""
        stream = numeric("multiclass", n=300)
        few, many = (grown(forest.ARFClassifier(n, seed=1, drift_detector=NoDrift()), stream) for n in (2, 6))

        operators_of_many = operators(exported(many, stream))

        assert 1 == operators_of_many.count("TreeEnsemble")
        assert operators(exported(few, stream)) == operators_of_many

    def test_tree_deeper_than_the_stack(self) -> None:
        """Planting does not recurse."""
        leaf = tree.HoeffdingTreeClassifier()._new_leaf({True: 1.0})
        root: Any = leaf
        for depth in range(3000):
            root = NumericBinaryBranch({}, "price", float(depth), 0, leaf, root)
        table = TreeTable()

        table.root(plant(table, root, lambda _: table.leaf(), Features(Frame(), "a test", {})))

        assert 3001 == table.leaves


class TestMutations:
    @pytest.mark.parametrize("attribute", ["nodes_modes", "nodes_missing_value_tracks_true", "leaf_weights"])
    def test_another_tree_is_caught(self, attribute: str) -> None:
        """`<` for `<=`, gaps to the lighter child, or leaves in another order are no parity."""
        stream = gappy_numeric("multiclass")
        model = grown(classifier(leaf_prediction="mc", splitter=ExhaustiveSplitter()), stream)
        artifact = exported(model, stream)

        mutated(artifact, attribute)

        with pytest.raises(ReleaseRefused, match="River answers"):
            check_parity(model, artifact.SerializeToString(), asked(stream))

    def test_alternate_counted_once_is_caught(self) -> None:
        """The law sees that a gap counts an alternate twice."""
        stream = gappy_numeric("regression", n=500)
        model = tree.HoeffdingAdaptiveTreeRegressor(seed=1, leaf_prediction="mean", **EAGER)
        give_alternates(grown(model, stream))
        artifact = exported(model, stream)

        for constant in artifact.graph.initializer:
            numbers = numpy_helper.to_array(constant)
            if numbers.dtype.kind == "f" and set(numbers.ravel()) == {0.0, 1.0, 2.0}:
                constant.CopyFrom(numpy_helper.from_array(numbers.clip(0.0, 1.0), constant.name))

        with pytest.raises(ReleaseRefused, match="River answers"):
            check_parity(model, artifact.SerializeToString(), asked(stream))


class TestRefusals:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: classifier(splitter=HistogramSplitter()),
            lambda: tree.HoeffdingAdaptiveTreeClassifier(splitter=HistogramSplitter(), leaf_prediction="nb"),
            lambda: forest.ARFClassifier(splitter=HistogramSplitter()),
        ],
    )
    def test_density_of_bins_is_refused_by_name(self, make: Callable[[], Any]) -> None:
        """Naive Bayes over a histogram has no converter; majority classes have."""
        with pytest.raises(NotExportable, match="naive Bayes over HistogramSplitter"):
            refuse_unexportable(make())

        refuse_unexportable(classifier(splitter=HistogramSplitter(), leaf_prediction="mc"))

    @pytest.mark.parametrize("make", [regressor, forest.ARFRegressor, forest.OXTRegressor])
    def test_leaf_model_without_converter_is_refused_where_it_stands(self, make: Callable[..., Any]) -> None:
        """Before any data, unless no leaf would ask it."""
        model = Unknown()

        with pytest.raises(NotExportable) as refusal:
            refuse_unexportable(make(leaf_model=model), task=None)

        assert refusal.value.step.endswith("/leaf_model")
        refuse_unexportable(make(leaf_model=model, leaf_prediction="mean"), task=None)

    @pytest.mark.parametrize("make", [regressor, forest.ARFRegressor, tree.HoeffdingAdaptiveTreeRegressor])
    def test_text_that_reaches_a_linear_leaf_is_refused_untrained(self, make: Callable[..., Any]) -> None:
        """River would fail at the first event."""
        with pytest.raises(NotExportable, match=r"the text 'geo\.country' reaches it"):
            exported(make(), mixed("regression"))

    @pytest.mark.parametrize("make", [classifier, regressor, forest.ARFClassifier, forest.ARFRegressor])
    def test_no_feature_is_refused(self, make: Callable[..., Any]) -> None:
        """A tree that nothing reaches learns nothing."""
        with pytest.raises(NotExportable, match="no feature reaches it"):
            exported(compose.SelectType(int) | make(), numeric("binary"))

    def test_feature_that_was_a_number_is_refused_as_text(self) -> None:
        """A tree that has learned a feature as float cannot be served with texts under its name."""
        stream = numeric("binary")
        model = grown(classifier(leaf_prediction="mc"), stream)

        with pytest.raises(ReleaseRefused, match="learned 'price' as float"):
            to_onnx(model, ["naïve", "hour of day"], ["price"], name="law", version=1)

    def test_branch_that_leads_nowhere_is_refused(self) -> None:
        """River raises IndexError for a value whose child is gone, and a graph cannot."""
        stream = gappy("multiclass")
        model = grown(classifier(splitter=ExhaustiveSplitter(), leaf_prediction="mc"), stream)
        branch = next(node for node in nodes_of(model._root) if isinstance(node, NominalMultiwayBranch))
        branch.children.pop()

        with pytest.raises(ReleaseRefused, match="leads nowhere"):
            exported(model, stream)

    def test_adaptive_leaf_that_met_nothing_is_refused(self) -> None:
        """River raises AttributeError there."""
        stream = numeric("binary")
        model = grown(tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER), stream)
        next(node for node in nodes_of(model._root) if not isinstance(node, DTBranch)).stats = {}

        with pytest.raises(ReleaseRefused, match="has met nothing"):
            exported(model, stream)

    def test_tree_that_learned_nan_is_not_released(self) -> None:
        """Weights that are not finite answer nothing."""
        model = regressor(leaf_prediction="model")
        model.learn_one({"price": math.nan}, 1.0)

        with pytest.raises(ReleaseRefused, match="not finite"):
            to_onnx(model, ["price"], [], name="law", version=1)

    def test_gaussian_that_learned_nan_says_nothing(self) -> None:
        """River leaves it out, and so does the graph."""
        stream = numeric("binary", n=200)
        model = classifier(grace_period=10**6, leaf_prediction="nb")
        for x, y in stream.examples:
            model.learn_one({**x, "price": math.nan}, y)

        assert_answers(model, stream)


class Unknown(linear_model.LinearRegression):  # type: ignore[misc]  # River has no types
    """A subclass, which does not inherit its parent's converter."""


def wide(features: int) -> Stream:
    """Many numbers with gaps, of which three decide."""
    chance = random.Random(5)
    names = tuple(f"f {i}" for i in range(features))

    def row() -> dict[str, float | str]:
        return {name: round(chance.gauss(0.0, 1.0), 1) for name in names if chance.random() > 0.1}

    rows = [row() for _ in range(460)]
    examples = tuple((x, sum(float(x.get(name, 0.0)) for name in names[:3]) > 0.2) for x in rows[:400])
    return Stream(names, (), examples, tuple(rows[400:]))


def grown(model: Any, stream: Stream) -> Any:
    for x, y in stream.examples:
        model.learn_one(dict(x), y)
    return model


def exported(model: Any, stream: Stream) -> ModelProto:
    return to_onnx(model, stream.numbers, stream.categories, name="law", version=1)


def asked(stream: Stream) -> list[Row]:
    """Learned and held rows, and each with gaps."""
    chance = random.Random(3)
    rows = [*stream.held, *(x for x, _ in stream.examples[-80:])]
    gaps = [{name: value for name, value in x.items() if chance.random() > 0.5} for x in rows]
    return [*rows, *gaps]


def assert_answers(model: Any, stream: Stream, further: Sequence[Row] = ()) -> Parity:
    artifact = exported(model, stream).SerializeToString()
    return check_parity(model, artifact, [*asked(stream), *further], tolerance=1e-12)


def give_alternates(model: Any) -> None:
    """Every other branch gets another leaf of the tree as its alternate, as after a drift."""
    branches = [node for node in nodes_of(model._root) if isinstance(node, DTBranch)]
    leaves: Iterable[Any] = [node for node in nodes_of(model._root) if not isinstance(node, DTBranch)]
    met = [leaf for leaf in leaves if leaf.total_weight > 0]
    for i, branch in enumerate(branches):
        if i % 3 < 2:
            branch._alternate_tree = copy.deepcopy(met[7 * i % len(met)])


def operators(artifact: ModelProto) -> list[str]:
    return [node.op_type for node in artifact.graph.node]


def tree_attribute(artifact: ModelProto, name: str) -> AttributeProto:
    ensemble = next(node for node in artifact.graph.node if node.op_type == "TreeEnsemble")
    return next(attribute for attribute in ensemble.attribute if attribute.name == name)


def trees_in(artifact: ModelProto) -> int:
    return len(tree_attribute(artifact, "tree_roots").ints)


def mutated(artifact: ModelProto, name: str) -> None:
    attribute = tree_attribute(artifact, name)
    if name == "nodes_missing_value_tracks_true":
        attribute.ints[:] = [1 - way for way in attribute.ints]
        return
    values = numpy_helper.to_array(attribute.t)
    values = values * 0 + 1 if name == "nodes_modes" else values[::-1].copy()
    attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))

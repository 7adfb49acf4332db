"""Factorization machines, anomaly detectors and clusters answer in ONNX as they do in River."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from river import anomaly, cluster, compose, conf, facto, linear_model, optim, preprocessing

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import MIXED_STREAMS, NUMERIC_STREAMS, Row, Stream, assert_exact

ALL_STREAMS = {**NUMERIC_STREAMS, **MIXED_STREAMS}


def same_start(n_factors: int = 10) -> optim.initializers.Constant:
    """One small random vector for every feature."""
    return optim.initializers.Constant(np.random.default_rng(7).normal(0.0, 0.1, n_factors))


def encoded(model: Any) -> Any:
    """The model behind scaled numbers and one-hot texts."""
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (texts + (compose.SelectType(float) | preprocessing.StandardScaler())) | model


def classifier(**settings: Any) -> facto.FMClassifier:
    return facto.FMClassifier(latent_initializer=same_start(), **settings)


def regressor(**settings: Any) -> facto.FMRegressor:
    return facto.FMRegressor(latent_initializer=same_start(), intercept=np.float64(0.0), **settings)


class TestFactorizationMachines:
    @pytest.mark.parametrize("stream", ALL_STREAMS)
    def test_classifier_is_exact(self, stream: str) -> None:
        """Its own encoding of texts, gaps and categories that nobody met."""
        assert_exact(lambda: classifier(weight_optimizer=optim.Adam(0.05)), ALL_STREAMS[stream]("binary"))

    @pytest.mark.parametrize("stream", ALL_STREAMS)
    def test_regressor_is_exact(self, stream: str) -> None:
        """Its own encoding of texts, gaps and categories that nobody met."""
        assert_exact(lambda: regressor(clip_gradient=1.0), ALL_STREAMS[stream]("regression"))

    @pytest.mark.parametrize("stream", MIXED_STREAMS)
    def test_encoder_in_front_is_exact(self, stream: str) -> None:
        """One-hot keys of an encoder are not spread into columns."""
        assert_exact(lambda: encoded(classifier(l2_latent=0.1)), MIXED_STREAMS[stream]("binary"))

    def test_large_feature_keeps_the_digits_of_small_ones(self) -> None:
        """The pairs of small features count beside one whose square has no digits left for them."""
        model = regressor(intercept_lr=0.0)
        model.learn_one({"large": 0.5, "a": 0.5, "b": 0.5}, 1.0)
        model.latents["large"] = np.zeros(10)
        model.weights["large"] = 0.0
        artifact = to_onnx(model, ["large", "a", "b"], [], name="fm", version=1).SerializeToString()

        parity = check_parity(model, artifact, [{"large": 1e12, "a": 1.5, "b": -2.5}])
        assert parity.max_abs_diff <= 1e-12

    def test_random_latents_are_exact_once_all_is_learned(self) -> None:
        """With an encoder that lists its categories nothing new can be asked, and River draws nothing."""
        encoder = preprocessing.OneHotEncoder(categories={"plan": ["free", "paid"]})
        model = (compose.SelectType(str) | encoder) + compose.SelectType(float) | facto.FMClassifier(seed=1)
        rows: list[Row] = [{"plan": ["free", "paid"][i % 2], "price": float(i % 3)} for i in range(9)]
        for i, x in enumerate(rows):
            model.learn_one(dict(x), i % 2 == 0)
        artifact = to_onnx(model, ["price"], ["plan"], name="fm", version=1).SerializeToString()

        assert check_parity(model, artifact, rows).max_abs_diff <= 1e-12

    @pytest.mark.parametrize(("numbers", "categories"), [(["price", "new"], []), (["price"], ["plan"])])
    def test_random_latents_of_something_new_are_refused(self, numbers: list[str], categories: list[str]) -> None:
        """River would draw them when asked, and answer otherwise next time."""
        model = facto.FMClassifier(seed=1)
        model.learn_one({"price": 1.0, "other": 2.0}, True)

        with pytest.raises(NotExportable, match=r"draws random latents.*Constant"):
            to_onnx(model, numbers, categories, name="fm", version=1)

    def test_float_intercept_is_refused_for_regressor(self) -> None:
        """River itself raises on such a model when asked about one feature."""
        model = facto.FMRegressor(latent_initializer=same_start())
        with pytest.raises(AttributeError):
            model.predict_one({"price": 1.0})

        with pytest.raises(NotExportable, match=r"numpy.float64\(0.0\)"):
            refuse_unexportable(model, task=None)

    def test_initial_vector_of_another_length_is_refused(self) -> None:
        """River would raise when it meets the first feature."""
        with pytest.raises(NotExportable, match="begin with 3 numbers, and it has 10"):
            refuse_unexportable(facto.FMClassifier(latent_initializer=same_start(3)))

    def test_moved_latent_is_caught(self) -> None:
        """One latent off by 1e-6 fails the comparison."""
        stream = MIXED_STREAMS["mixed"]("binary")
        model = learned(classifier(), stream)
        artifact = exported(model, stream)
        model.latents["price"][3] += 1e-6

        with pytest.raises(ReleaseRefused, match="parity"):
            check_parity(model, artifact.SerializeToString(), stream.held)

    def test_thousands_of_categories_stay_a_table(self) -> None:
        """Each category costs its row of numbers, and no column."""
        model = classifier(n_factors=10)
        for i in range(3000):
            model.learn_one({"page": f"page {i}", "price": 1.0}, i % 3 == 0)
        artifact = to_onnx(model, ["price"], ["page"], name="fm", version=1).SerializeToString()

        check_parity(model, artifact, [{"page": f"page {i}", "price": 2.0} for i in range(0, 3000, 100)])
        assert len(artifact) < 3000 * 130


class TestHalfSpaceTrees:
    @staticmethod
    def make(window_size: int = 60) -> anomaly.HalfSpaceTrees:
        limits = {"price": (-3.0, 3.0), "hour of day": (-4.0, 6.0), "naïve": (-4.0, 8.0)}
        return anomaly.HalfSpaceTrees(5, height=6, window_size=window_size, limits=limits, seed=1)

    @pytest.mark.parametrize("stream", NUMERIC_STREAMS)
    def test_is_exact_to_the_last_bit(self, stream: str) -> None:
        """Masses are whole numbers, so nothing is rounded but the last division."""
        parity = assert_exact(self.make, NUMERIC_STREAMS[stream]("none"), tolerance=0.0)

        assert 0.0 == parity.max_abs_diff

    @pytest.mark.parametrize("stream", MIXED_STREAMS)
    def test_one_hot_keys_are_exact(self, stream: str) -> None:
        """A tree can split at a category of an encoder."""
        assert_exact(lambda: encoded(self.make()), MIXED_STREAMS[stream]("none"), tolerance=0.0)

    def test_lighter_child_without_a_feature_is_caught(self) -> None:
        """A graph that follows the other child where a feature is missing fails the comparison."""
        stream = NUMERIC_STREAMS["gappy numeric"]("none")
        model = learned(self.make(), stream)
        artifact = exported(model, stream)
        trees = next(node for node in artifact.graph.node if node.op_type == "TreeEnsemble")
        ways = next(entry for entry in trees.attribute if entry.name == "nodes_missing_value_tracks_true")
        ways.ints[:] = [1 - way for way in ways.ints]

        with pytest.raises(ReleaseRefused, match="parity"):
            check_parity(model, artifact.SerializeToString(), stream.held)

    def test_text_is_refused(self) -> None:
        """River compares features with numbers."""
        with pytest.raises(NotExportable, match="the text 'plan' reaches it"):
            to_onnx(self.make(), ["price"], ["plan"], name="hst", version=1)

    def test_no_window_is_refused(self) -> None:
        """River would divide by zero."""
        with pytest.raises(NotExportable, match="a window of 0 rows"):
            refuse_unexportable(anomaly.HalfSpaceTrees(window_size=0), task=None)


class TestOneClassSVM:
    @pytest.mark.parametrize("stream", ALL_STREAMS)
    def test_is_exact(self, stream: str) -> None:
        """A distance from a plane, over scaled numbers and one-hot keys."""
        assert_exact(lambda: encoded(anomaly.OneClassSVM(nu=0.2)), ALL_STREAMS[stream]("none"))

    def test_moved_weight_is_caught(self) -> None:
        """One weight off by 1e-6 fails the comparison."""
        stream = NUMERIC_STREAMS["numeric"]("none")
        model = learned(anomaly.OneClassSVM(nu=0.2), stream)
        artifact = exported(model, stream)
        weights = next(c for c in artifact.graph.initializer if list(c.dims) == [len(stream.numbers), 1])
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) + 1e-6, weights.name))

        with pytest.raises(ReleaseRefused, match="parity"):
            check_parity(model, artifact.SerializeToString(), stream.held)


class TestFilters:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: anomaly.QuantileFilter(TestHalfSpaceTrees.make(), q=0.9),
            lambda: anomaly.ThresholdFilter(preprocessing.StandardScaler() | anomaly.OneClassSVM(), threshold=0.5),
            lambda: preprocessing.StandardScaler() | anomaly.QuantileFilter(anomaly.OneClassSVM(), q=0.9),
        ],
        ids=["quantile", "threshold", "in a pipeline"],
    )
    def test_answers_as_its_detector(self, make: Callable[[], Any]) -> None:
        """A filter decides what is learned; the score is its detector's."""
        assert_exact(make, NUMERIC_STREAMS["gappy numeric"]("none"))

    def test_in_front_of_a_model_changes_no_answer(self) -> None:
        """Rows that it keeps from learning are answered all the same, whatever its detector is."""
        lof = anomaly.QuantileFilter(anomaly.LocalOutlierFactor(n_neighbors=5), q=0.5)
        assert_exact(lambda: lof | linear_model.LogisticRegression(), NUMERIC_STREAMS["numeric"]("binary").first(60))

    def test_detector_without_exact_form_is_refused(self) -> None:
        """As the last step its score would be the answer."""
        with pytest.raises(NotExportable) as refusal:
            refuse_unexportable(anomaly.QuantileFilter(anomaly.LocalOutlierFactor(), q=0.9), task=None)

        assert "QuantileFilter/anomaly_detector" == refusal.value.step


class TestKMeans:
    @pytest.mark.parametrize("p", [1, 2, 3])
    @pytest.mark.parametrize("stream", NUMERIC_STREAMS)
    def test_is_exact(self, stream: str, p: int) -> None:
        """The number of the nearest centre, ties and missing features as in River."""
        assert_exact(
            lambda: preprocessing.StandardScaler() | cluster.KMeans(sigma=0, n_clusters=3, p=p),
            NUMERIC_STREAMS[stream]("none"),
        )

    @pytest.mark.parametrize("stream", MIXED_STREAMS)
    def test_one_hot_keys_are_exact(self, stream: str) -> None:
        """A key that no centre has is equally far from all."""
        assert_exact(lambda: encoded(cluster.KMeans(sigma=0, n_clusters=3)), MIXED_STREAMS[stream]("none"))

    def test_the_first_of_centres_in_one_place_is_the_nearest(self) -> None:
        """Centres that have not moved yet stand in one place, however many numbers are added to the distance."""
        names = tuple("abcdefg")
        model = cluster.KMeans(sigma=0, n_clusters=4, p=1)
        model.learn_one(dict.fromkeys(names, 1e3))
        chance = random.Random(2)
        rows = [{name: chance.gauss(0.0, 100.0) for name in names} for _ in range(200)]
        artifact = to_onnx(model, names, [], name="km", version=1).SerializeToString()

        assert 0.0 == check_parity(model, artifact, rows).max_abs_diff

    def test_random_places_are_exact_once_all_is_learned(self) -> None:
        """River draws a place for a feature once, at the first row."""
        stream = NUMERIC_STREAMS["gappy numeric"]("none")
        model = learned(cluster.KMeans(n_clusters=4, sigma=3.0, seed=1), stream)

        check_parity(model, exported(model, stream).SerializeToString(), stream.held)
        assert 1 < len({model.predict_one(dict(x)) for x in stream.held})

    def test_random_place_of_something_new_is_refused(self) -> None:
        """River would draw it when asked, and answer otherwise next time."""
        with pytest.raises(NotExportable, match=r"draws random places.*KMeans\(sigma=0\)"):
            to_onnx(cluster.KMeans(seed=1), ["price"], [], name="km", version=1)

    def test_random_place_of_a_new_category_is_refused(self) -> None:
        """An encoder emits whatever it meets."""
        stream = MIXED_STREAMS["mixed"]("none")
        model = learned(encoded(cluster.KMeans(seed=1)), stream)

        with pytest.raises(NotExportable, match="draws random places"):
            exported(model, stream)

    def test_swapped_centres_are_caught(self) -> None:
        """A graph that numbers its centres otherwise fails the comparison."""
        stream = NUMERIC_STREAMS["numeric"]("none")
        model = learned(cluster.KMeans(n_clusters=2, sigma=0), stream)
        artifact = exported(model, stream)
        model.centers[0], model.centers[1] = model.centers[1], model.centers[0]

        with pytest.raises(ReleaseRefused, match="parity"):
            check_parity(model, artifact.SerializeToString(), stream.held)

    def test_no_cluster_is_refused(self) -> None:
        """River would raise on every row."""
        with pytest.raises(NotExportable, match="it has 0 clusters"):
            refuse_unexportable(cluster.KMeans(n_clusters=0), task=None)


@pytest.mark.parametrize("stream", NUMERIC_STREAMS)
def test_jackknife_answers_as_its_regressor(stream: str) -> None:
    """The interval is asked for by an argument, which a graph does not have."""
    assert_exact(
        lambda: preprocessing.StandardScaler() | conf.RegressionJackknife(linear_model.LinearRegression()),
        NUMERIC_STREAMS[stream]("regression"),
    )


@pytest.mark.parametrize(
    "make", [classifier, anomaly.OneClassSVM, lambda: cluster.KMeans(sigma=0)], ids=["fm", "svm", "k means"]
)
def test_model_that_saw_nan_is_refused(make: Callable[[], Any]) -> None:
    """In a graph its numbers would pass for missing ones."""
    model = make()
    x = {"price": math.nan, "width": 1.0}
    model.learn_one(x, True) if isinstance(model, facto.FMClassifier) else model.learn_one(x)

    with pytest.raises(ReleaseRefused, match="not finite"):
        to_onnx(model, ["price", "width"], [], name="broken", version=1)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0_"), min_size=1, max_size=6
)
NUMBER = st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, 0.1, -1e6])


@hypothesis_settings(max_examples=8, deadline=None)
@given(data=st.data(), names=st.lists(NAMES, min_size=2, max_size=5, unique=True))
@pytest.mark.parametrize("make", [classifier, lambda: TestHalfSpaceTrees.make(2)], ids=["fm", "hst"])
def test_any_stream_is_exact(make: Callable[[], Any], data: st.DataObject, names: list[str]) -> None:
    """Any names, any finite numbers, any gaps; the first row has every feature, as River's trees are built from it."""
    rows = data.draw(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(names, NUMBER)), max_size=12))
    rows = [dict.fromkeys(names, 0.5), *rows]
    is_classifier = hasattr(make(), "predict_proba_one")
    examples = tuple((row, i % 2 == 0 if is_classifier else None) for i, row in enumerate(rows))

    assert_exact(make, Stream(tuple(names), (), examples, ()))


@hypothesis_settings(max_examples=30, deadline=None)
@given(data=st.data(), names=st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_any_cluster_is_exact(data: st.DataObject, names: list[str]) -> None:
    """Any names and gaps, over whole numbers: no distance is rounded, so that centres are equally near or are not."""
    whole = st.integers(-8, 8).map(float)
    rows: list[Row] = data.draw(
        st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(names, whole)), min_size=1, max_size=10)
    )
    model = cluster.KMeans(n_clusters=3, sigma=0)
    for x in rows:
        model.learn_one(dict(x))
    artifact = to_onnx(model, names, [], name="km", version=1).SerializeToString()

    assert check_parity(model, artifact, rows).max_abs_diff == 0.0


def learned(model: Any, stream: Stream) -> Any:
    for x, y in stream.examples:
        model.learn_one(dict(x)) if y is None else model.learn_one(dict(x), y)
    return model


def exported(model: Any, stream: Stream) -> ModelProto:
    return to_onnx(model, stream.numbers, stream.categories, name="others", version=1)

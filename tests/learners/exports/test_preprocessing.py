"""Steps that scale, encode, name, select, expand and aggregate features answer in ONNX as they do in River."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, numpy_helper
from river import (
    compose,
    ensemble,
    feature_extraction,
    feature_selection,
    linear_model,
    naive_bayes,
    preprocessing,
    stats,
    tree,
    utils,
)

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import (
    CATEGORIES,
    NUMBERS,
    NUMERIC_STREAMS,
    Row,
    Stream,
    Target,
    assert_exact,
    gappy,
    gappy_numeric,
    mixed,
    numeric,
)

FEW_CATEGORIES = {field: {"at", "b_c", "é"} for field in CATEGORIES}
CODES = {field: {"at": 3, "é": 7, 5: 9} for field in CATEGORIES}


def sums(step: Any) -> Any:
    """A sum, which shows every value and every missing one."""
    return step | linear_model.LinearRegression()


def scaled(step: Any) -> Any:
    """The same behind steps of which the values may be large."""
    return step | preprocessing.StandardScaler() | linear_model.LinearRegression()


def numbers(step: Any) -> Any:
    return compose.SelectType(float) | step


def texts(step: Any) -> Any:
    return compose.SelectType(str) | step


def with_texts(step: Any, encoder: Any = None) -> Any:
    """The step after a union of one-hot texts and numbers."""
    encoder = encoder or preprocessing.OneHotEncoder()
    return (compose.SelectType(float) + (compose.SelectType(str) | encoder)) | step


def trained(model: Any, stream: Stream, n: int = 60) -> Any:
    """The model after the first examples that it can learn."""
    for x, y in stream.first(n).examples:
        model.learn_one(dict(x), y)
    return model


STEPS: dict[str, Callable[[], Any]] = {
    "max abs": lambda: sums(preprocessing.MaxAbsScaler()),
    "rolling max abs": lambda: sums(preprocessing.MaxAbsScaler(window_size=3)),
    "adaptive": lambda: sums(preprocessing.AdaptiveStandardScaler(fading_factor=0.6)),
    "robust": lambda: sums(preprocessing.RobustScaler()),
    "robust without centre": lambda: sums(preprocessing.RobustScaler(with_centering=False, q_inf=0.1)),
    "robust without range": lambda: scaled(preprocessing.RobustScaler(with_scaling=False)),
    "robust without either": lambda: scaled(preprocessing.RobustScaler(with_scaling=False, with_centering=False)),
    "binarizer": lambda: sums(preprocessing.Binarizer(threshold=0.5)),
    "binarizer and trees": lambda: (
        preprocessing.Binarizer(threshold=0.5, dtype=int) | tree.HoeffdingTreeRegressor(grace_period=20)
    ),
    "variance": lambda: scaled(feature_selection.VarianceThreshold(threshold=2.0, min_samples=5)),
    "no variance enough": lambda: scaled(feature_selection.VarianceThreshold(threshold=1e9)),
    "k best": lambda: scaled(feature_selection.SelectKBest(stats.PearsonCorr(), k=2, use_abs=True)),
    "k best of less": lambda: scaled(feature_selection.SelectKBest(stats.PearsonCorr(), k=9)),
    "polynomial": lambda: scaled(feature_extraction.PolynomialExtender(degree=3)),
    "interactions": lambda: scaled(
        feature_extraction.PolynomialExtender(degree=2, interaction_only=True, include_bias=True)
    ),
    "rbf": lambda: sums(
        preprocessing.MaxAbsScaler() | feature_extraction.RBFSampler(n_components=7, gamma=0.5, seed=3)
    ),
    "hasher": lambda: sums(preprocessing.StandardScaler() | preprocessing.FeatureHasher(n_features=2, seed=1)),
    "hasher without sign": lambda: scaled(preprocessing.FeatureHasher(n_features=50, seed=2, alternate_sign=False)),
    "prefix": lambda: scaled(compose.Prefixer("é ")),
    "suffix": lambda: scaled(compose.Suffixer("_x.y")),
    "rename": lambda: scaled(compose.Renamer({"price": "hour", "none": "x", "hour": "price", "naïve": "naïve"})),
    "names and classes": lambda: (
        compose.Prefixer("a_") | preprocessing.RobustScaler() | linear_model.LogisticRegression()
    ),
    "binarizer and bayes": lambda: (
        preprocessing.Binarizer(dtype=float) | feature_extraction.PolynomialExtender() | naive_bayes.GaussianNB()
    ),
}

MIXED_STEPS: dict[str, Callable[[], Any]] = {
    "max abs": lambda: sums(with_texts(preprocessing.MaxAbsScaler())),
    "adaptive": lambda: sums(with_texts(preprocessing.AdaptiveStandardScaler())),
    "robust": lambda: sums(with_texts(preprocessing.RobustScaler())),
    "binarizer": lambda: sums(with_texts(preprocessing.Binarizer(threshold=0.25))),
    "binarizer before": lambda: sums(
        preprocessing.Binarizer(threshold=0.25)
        | compose.Discard(CATEGORIES[1])
        | (compose.Discard(CATEGORIES[0]) + (compose.Select(CATEGORIES[0]) | preprocessing.OneHotEncoder()))
    ),
    "variance": lambda: scaled(with_texts(feature_selection.VarianceThreshold(threshold=0.2))),
    "k best": lambda: scaled(with_texts(feature_selection.SelectKBest(stats.PearsonCorr(), k=3, use_abs=True))),
    "k best without zeros": lambda: scaled(
        with_texts(
            feature_selection.SelectKBest(stats.PearsonCorr(), k=3), preprocessing.OneHotEncoder(drop_zeros=True)
        )
    ),
    "polynomial": lambda: scaled(with_texts(feature_extraction.PolynomialExtender())),
    "polynomial of fixed categories": lambda: scaled(
        with_texts(
            feature_extraction.PolynomialExtender(),
            preprocessing.OneHotEncoder(categories=FEW_CATEGORIES, drop_zeros=True),
        )
    ),
    "product": lambda: scaled(
        (numbers(preprocessing.MaxAbsScaler()) * texts(preprocessing.OneHotEncoder())) + compose.SelectType(float)
    ),
    "product of three": lambda: scaled(
        compose.Select(NUMBERS[0])
        * (compose.Select(CATEGORIES[0]) | preprocessing.OneHotEncoder(categories=FEW_CATEGORIES))
        * (compose.Select(CATEGORIES[1]) | preprocessing.OneHotEncoder())
    ),
    "rbf": lambda: sums(
        with_texts(preprocessing.MaxAbsScaler()) | feature_extraction.RBFSampler(n_components=3, seed=3)
    ),
    "ordinal": lambda: scaled(numbers(preprocessing.StandardScaler()) + texts(preprocessing.OrdinalEncoder())),
    "ordinal codes": lambda: scaled(
        texts(preprocessing.OrdinalEncoder(categories=CODES, unknown_value=-2)) + compose.SelectType(float)
    ),
    "ordinal and trees": lambda: (
        texts(preprocessing.OrdinalEncoder()) | tree.HoeffdingTreeRegressor(grace_period=20, leaf_prediction="mean")
    ),
    "prefix": lambda: scaled(with_texts(compose.Prefixer("p_"))),
    "prefix of texts": lambda: scaled(
        texts(compose.Prefixer("geo ") | preprocessing.OneHotEncoder(categories=None))
        + numbers(compose.Suffixer("*") | feature_extraction.PolynomialExtender(degree=1))
    ),
    "prefix of fixed categories": lambda: scaled(
        with_texts(compose.Prefixer("p_"), preprocessing.OneHotEncoder(categories=FEW_CATEGORIES))
    ),
    "rename": lambda: scaled(
        compose.Renamer({CATEGORIES[0]: "somewhere", NUMBERS[0]: "cost"}) | with_texts(compose.Prefixer(""))
    ),
    "first dropped": lambda: scaled(
        with_texts(compose.Prefixer(""), preprocessing.OneHotEncoder(categories=FEW_CATEGORIES, drop_first=True))
    ),
    "imputer": lambda: scaled(
        with_texts(compose.Prefixer(""))
        + (
            preprocessing.StatImputer((NUMBERS[0], stats.Mean()), (CATEGORIES[1], "at"))
            | compose.Select(NUMBERS[0])
            | compose.Prefixer("imputed ")
        )
    ),
    "target mean": lambda: scaled(
        compose.SelectType(float)
        + feature_extraction.TargetAgg(by=CATEGORIES[0], how=stats.BayesianMean(prior=3, prior_weight=2))
        + feature_extraction.TargetAgg(by=[*CATEGORIES], how=stats.Mean())
        + feature_extraction.TargetAgg(by=None, how=stats.Var())
    ),
    "aggregate": lambda: scaled(
        compose.SelectType(float)
        + feature_extraction.Agg(on=NUMBERS[0], by=CATEGORIES[1], how=utils.Rolling(stats.Mean, 5))
        + feature_extraction.Agg(on=NUMBERS[1], by=None, how=stats.Count())
    ),
}


@pytest.mark.parametrize("stream", ["gappy numeric", "flat"])
@pytest.mark.parametrize("step", STEPS)
def test_numbers_pass_each_step_as_in_river(step: str, stream: str) -> None:
    """Untrained, halfway and at the end, with features missing, constant and extreme."""
    target: Target = "binary" if "bayes" in step or "classes" in step else "regression"

    assert_exact(STEPS[step], NUMERIC_STREAMS[stream](target).first(120))


@pytest.mark.parametrize("step", MIXED_STEPS)
def test_numbers_and_texts_pass_each_step_as_in_river(step: str) -> None:
    """Values that were never met included, and rows in which River raises."""
    assert_exact(MIXED_STEPS[step], gappy("regression").first(120))


@pytest.mark.parametrize("stream", NUMERIC_STREAMS)
def test_min_max_scales_as_in_river_once_each_feature_was_met(stream: str) -> None:
    """River's NaN for what was never met is an answer that cannot be released, so the law starts a little later."""
    met = NUMERIC_STREAMS[stream]("regression")

    assert_exact(lambda: trained(sums(preprocessing.MinMaxScaler()), met), met)


def test_min_max_is_not_released_before_each_feature_was_met() -> None:
    """River answers NaN, and the check says so."""
    model = sums(preprocessing.MinMaxScaler())
    exported = to_onnx(model, NUMBERS, (), name="law", version=1)

    with pytest.raises(ReleaseRefused, match="River answers nan"):
        check_parity(model, exported.SerializeToString(), [])


def test_min_max_in_front_of_trees_is_exact_from_the_start() -> None:
    """A tree never splits on a feature that was not met."""
    assert_exact(
        lambda: preprocessing.MinMaxScaler() | tree.HoeffdingTreeRegressor(leaf_prediction="mean", grace_period=20),
        gappy_numeric("regression"),
    )


@pytest.mark.parametrize("order", [1, 2, None, math.inf])
def test_a_row_is_divided_by_its_norm(order: float | None) -> None:
    """A row of zeros, on which River raises, has no answer; an empty one has."""
    stream = gappy_numeric("regression")
    zeros = [dict.fromkeys(NUMBERS, 0.0), {"price": 0.0}, {"price": -3.0}, {}]
    normal = tuple((x, y) for x, y in stream.examples if any(x.values()))
    stream = Stream(stream.numbers, (), normal, stream.held)

    assert_exact(lambda: sums(preprocessing.Normalizer(order=order)), stream, held=zeros)


def test_ten_thousand_one_hot_keys_are_selected_from() -> None:
    """What is kept becomes a column, and nothing else does."""
    selector = feature_selection.SelectKBest(stats.PearsonCorr(), k=3, use_abs=True)
    model = compose.SelectType(str) | preprocessing.OneHotEncoder() | selector | linear_model.LinearRegression()
    encoder = model["OneHotEncoder"]
    encoder.values["page"] = {f"v{i}" for i in range(10_000)}
    encoder._zero_dict = {f"page_v{i}": 0 for i in range(10_000)}
    selector.leaderboard.update({f"page_v{i}": i / 1e4 for i in range(10_000)})
    model["LinearRegression"].weights.update({f"page_v{i}": 1.0 + i for i in range(9_000, 10_000)})
    exported = to_onnx(model, (), ("page",), name="pages", version=1).SerializeToString()

    parity = check_parity(model, exported, [{"page": f"v{i}"} for i in (0, 9_996, 9_997, 9_998, 9_999)])

    assert parity.max_abs_diff <= 1e-12
    assert len(exported) < 5_000


number = st.sampled_from([0.0, -1.0, 0.5, 2.5]) | st.floats(-1e4, 1e4)
category = st.sampled_from(["at", "b_c", "é", "_", "unit\x1fseparator", "\x1f", " "])
rows = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, number) | dict.fromkeys(CATEGORIES, category)),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(step=st.sampled_from(sorted(MIXED_STEPS)), learned=rows, asked=rows)
def test_any_stream_passes_each_step_as_in_river(step: str, learned: list[Row], asked: list[Row]) -> None:
    """Groups and categories that look like one another included."""
    model = MIXED_STEPS[step]()
    for place, x in enumerate(learned):
        try:
            model.learn_one(dict(x), float(place % 3))
        except KeyError:
            continue  # what the step reads is missing
    exported = to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)

    assert check_parity(model, exported.SerializeToString(), [*learned, *asked]).max_abs_diff <= 1e-9


def test_a_cosine_of_infinity_is_no_answer() -> None:
    """A number divided by the smallest double overflows, and River's math.cos raises; the graph answers NaN."""
    model = STEPS["rbf"]()
    model.learn_one({"price": 5e-324}, 1.0)
    exported = to_onnx(model, ("price",), (), name="law", version=1)

    parity = check_parity(model, exported.SerializeToString(), [{"price": -1.0}, {"price": 5e-324}, {"price": 0.0}])

    assert parity.max_abs_diff <= 1e-12


MOVED = ("max abs", "adaptive", "robust", "binarizer", "rbf", "hasher")


@pytest.mark.parametrize("step", MOVED)
def test_a_step_that_is_off_by_a_millionth_is_caught(step: str) -> None:
    """The laws bite: each number of the step moved by 1e-6 of itself is seen in the answers."""
    stream = numeric("regression")
    model = trained(STEPS[step](), stream, 300)
    exported = to_onnx(model, NUMBERS, (), name="law", version=1)
    for constant in _doubles(exported, "/".join(["Pipeline", [*model.steps][-2]])):
        values = numpy_helper.to_array(constant)
        constant.CopyFrom(numpy_helper.from_array(values * (1.0 - 1e-6), constant.name))

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), [x for x, _ in stream.examples])


def _doubles(exported: ModelProto, step: str) -> list[TensorProto]:
    """The numbers of one step, other than 0."""
    found = [
        constant
        for constant in exported.graph.initializer
        if constant.name.startswith(f"{step}/") and constant.data_type == TensorProto.DOUBLE
    ]
    assert any(numpy_helper.to_array(constant).any() for constant in found), "the step has no number to move"
    return found


def test_a_group_that_answers_for_another_is_caught() -> None:
    """Two values of the table exchanged."""
    stream = mixed("regression")
    model = trained(sums(feature_extraction.TargetAgg(by=CATEGORIES[0], how=stats.Mean())), stream, 300)
    exported = to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)
    table = next(node for node in exported.graph.node if node.op_type == "LabelEncoder")
    values = next(attribute for attribute in table.attribute if attribute.name == "values_tensor")
    exchanged = numpy_helper.to_array(values.t)[::-1].copy()
    values.t.CopyFrom(numpy_helper.from_array(exchanged, values.t.name))

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), [x for x, _ in stream.examples])


@pytest.mark.parametrize("scaler", [preprocessing.MinMaxScaler, preprocessing.MaxAbsScaler, preprocessing.RobustScaler])
def test_a_scaler_that_saw_infinity_is_not_exported(scaler: type) -> None:
    """What would divide by infinity would answer 0.0 for ever."""
    model = sums(scaler())
    for value in (1.0, math.inf, -math.inf, 2.0, math.inf, -math.inf, math.inf):
        model[0].learn_one({"price": value})

    with pytest.raises(ReleaseRefused, match="divides"):
        to_onnx(model, ("price",), (), name="law", version=1)


def test_an_adaptive_scaler_that_saw_nan_is_not_exported() -> None:
    """River would go on and answer 0.0."""
    model = sums(preprocessing.AdaptiveStandardScaler())
    model[0].learn_one({"price": math.nan})

    with pytest.raises(ReleaseRefused):
        to_onnx(model, ("price",), (), name="law", version=1)


def nested(first: Any, *others: Any) -> Any:
    return ensemble.BaggingClassifier(compose.Pipeline(first, *others), n_models=2, seed=1)


AT_LOAD: dict[str, tuple[Callable[[], Any], str]] = {
    "rolling min max": (lambda: preprocessing.MinMaxScaler(window_size=3), "TypeError"),
    "rolling standard": (lambda: preprocessing.StandardScaler(window_size=3), "TypeError"),
    "text binarizer": (lambda: preprocessing.Binarizer(dtype=str), "dtype"),
    "infinite threshold": (lambda: preprocessing.Binarizer(threshold=math.inf), "threshold"),
    "order 3": (lambda: preprocessing.Normalizer(order=3), "order 3"),
    "None for unknown": (lambda: preprocessing.OrdinalEncoder(unknown_value=None), "unknown_value"),
    "drop_first": (lambda: preprocessing.OneHotEncoder(drop_first=True), "drop_first"),
    "drop_first of nothing": (lambda: preprocessing.OneHotEncoder(categories={}, drop_first=True), "no key"),
    "quantile by group": (lambda: feature_extraction.Agg("price", "x", stats.Quantile()), "says None"),
    "maximum by group": (lambda: feature_extraction.TargetAgg("x", stats.Max()), "says -inf"),
    "name that is no text": (lambda: compose.Renamer({"price": 1}), "no str"),
    "type after binarizer": (lambda: preprocessing.Binarizer() | compose.SelectType(float), "Binarizer may be int"),
    "norm of one-hots": (lambda: with_texts(preprocessing.Normalizer()), "OneHotEncoder has not met"),
    "norm of unmet": (lambda: preprocessing.MinMaxScaler() | preprocessing.Normalizer(), "NaN"),
    "products without keys": (
        lambda: with_texts(feature_extraction.PolynomialExtender(), preprocessing.OneHotEncoder(drop_zeros=True)),
        "does not remember",
    ),
    "product without keys": (
        lambda: compose.SelectType(float) * texts(preprocessing.OneHotEncoder(drop_zeros=True)),
        "does not remember",
    ),
    "renamer in a union": (lambda: compose.Renamer({"a": "b"}) + compose.Prefixer("c"), "in the dict"),
    "renamer first in a union": (
        lambda: (compose.Renamer({"a": "b"}) | preprocessing.MaxAbsScaler()) + compose.Prefixer("c"),
        "in the dict",
    ),
    "pairs beside one-hots": (
        lambda: numbers(feature_extraction.RBFSampler(seed=1)) + texts(preprocessing.OneHotEncoder()),
        "no text as their name",
    ),
}


@pytest.mark.parametrize("case", AT_LOAD)
def test_what_has_no_exact_form_is_refused_at_load(case: str) -> None:
    """By name, before any data, with the reason."""
    make, reason = AT_LOAD[case]

    with pytest.raises(NotExportable, match=reason):
        refuse_unexportable(make() | linear_model.LogisticRegression())


def test_steps_inside_an_ensemble_follow_those_in_front_of_it() -> None:
    """The rules about order look into members."""
    member = nested(feature_extraction.PolynomialExtender(), linear_model.LogisticRegression())
    model = texts(preprocessing.OneHotEncoder(drop_zeros=True)) | member

    with pytest.raises(NotExportable, match="does not remember"):
        refuse_unexportable(model)


FROM_FEATURES: dict[str, tuple[Callable[[], Any], str]] = {
    "text in a scaler": (preprocessing.MaxAbsScaler, "geo.country"),
    "text in a selector": (feature_selection.VarianceThreshold, "geo.country"),
    "text in products": (feature_extraction.PolynomialExtender, "geo.country"),
    "code of a number": (preprocessing.OrdinalEncoder, "a code of its own"),
    "field without codes": (lambda: texts(preprocessing.OrdinalEncoder(categories={})), "do not list"),
    "imputed key that is none": (lambda: preprocessing.StatImputer(("no", 1.0)), "'no'"),
    "group by what is none": (lambda: feature_extraction.TargetAgg("no", stats.Mean()), "'no'"),
    "group by a number": (lambda: feature_extraction.TargetAgg("price", stats.Mean()), "the number 'price'"),
    "renamed to another": (lambda: compose.Renamer({"price": "naïve"}), "already"),
    "renamed key": (lambda: with_texts(compose.Renamer({"device type_at": "x"})), "one value"),
    "suffixed key": (lambda: with_texts(compose.Suffixer("x")), "how they end"),
    "all keys the same": (lambda: with_texts(preprocessing.Binarizer(threshold=1.0)), "all one-hot keys"),
    "too many products": (lambda: numbers(feature_extraction.PolynomialExtender(degree=60)), "more than"),
    "two products of one name": (
        lambda: numbers(compose.Renamer({"naïve": "price*price"})) | feature_extraction.PolynomialExtender(),
        "same name",
    ),
}


@pytest.mark.parametrize("case", FROM_FEATURES)
def test_what_these_features_make_inexact_is_refused_by_name(case: str) -> None:
    """At the first export, which needs no data."""
    make, reason = FROM_FEATURES[case]
    model = make() | linear_model.LinearRegression()

    with pytest.raises(NotExportable, match=reason):
        to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)


def test_exporting_an_aggregate_adds_no_group() -> None:
    """The table is read, and rows of other groups leave it as it was."""
    model = trained(sums(feature_extraction.TargetAgg(by=CATEGORIES[0], how=stats.Mean())), gappy("regression"), 0)
    to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)

    assert not model[0]._groups
    assert np.isfinite(model.predict_one({CATEGORIES[0]: "at"}))

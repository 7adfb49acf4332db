"""Ensembles, Mondrian forests and wrappers answer as River's do, whatever their members are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    bandit,
    base,
    compose,
    drift,
    ensemble,
    forest,
    imblearn,
    linear_model,
    metrics,
    model_selection,
    optim,
    preprocessing,
    tree,
)
from river.tree import mondrian

from learners.onnx_export import ensemble as ensemble_family
from learners.onnx_export import refuse_unexportable, to_onnx
from learners.onnx_export.answers import no_class
from learners.onnx_export.convert import Classes, predict, predicted_from
from learners.onnx_export.frame import Frame
from learners.onnx_export.graph import Graph
from learners.onnx_export.tree_table import Node, TreeTable
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import (
    CATEGORIES,
    NUMBERS,
    Row,
    Stream,
    assert_exact,
    gappy,
    gappy_flat,
    gappy_numeric,
)


def numbers_of(**encoder: Any) -> Any:
    """Texts one-hot encoded beside the numbers."""
    return (compose.SelectType(str) | preprocessing.OneHotEncoder(**encoder)) + compose.SelectType(float)


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def raw_logistic() -> Any:
    return linear_model.LogisticRegression(optimizer=optim.SGD(1e-3))


def linear(lr: float = 1e-3) -> Any:
    return preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(lr))


def amf(**settings: Any) -> Any:
    return forest.AMFClassifier(**{"n_estimators": 2, "seed": 1} | settings)


def hoeffding(**settings: Any) -> Any:
    return tree.HoeffdingTreeClassifier(**{"grace_period": 20, "delta": 0.1} | settings)


def hoeffding_regressor() -> Any:
    return tree.HoeffdingTreeRegressor(grace_period=20, delta=0.1)


EVENLY = {True: 0.5, False: 0.5}
SUBSPACES = {"subspace_size": 3, "seed": 1, "n_models": 4}

MODELS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "AMF": ("multiclass", amf),
    "AMF without aggregation": ("binary", lambda: amf(use_aggregation=False, split_pure=True, dirichlet=0.1)),
    "AMF with few nodes": ("multiclass", lambda: amf(max_nodes=7, step=0.2)),
    "AMF regressor": ("regression", lambda: forest.AMFRegressor(3, seed=1)),
    "AMF regressor without aggregation": ("regression", lambda: forest.AMFRegressor(3, use_aggregation=False, seed=1)),
    "Mondrian tree": ("multiclass", lambda: mondrian.MondrianTreeClassifier(seed=1)),
    "Mondrian regressor": ("regression", lambda: mondrian.MondrianTreeRegressor(seed=1)),
    "bagging": ("binary", lambda: ensemble.BaggingClassifier(logistic(), 3, seed=1)),
    "bagging of a selection": (
        "binary",
        lambda: ensemble.BaggingClassifier(compose.Select("price", "naïve") | amf(), 2, seed=1),
    ),
    "bagged forests": ("multiclass", lambda: ensemble.BaggingClassifier(amf(), 2, seed=1)),
    "ADWIN bagging": ("binary", lambda: ensemble.ADWINBaggingClassifier(logistic(), 3, seed=1)),
    "leveraging bagging": ("binary", lambda: ensemble.LeveragingBaggingClassifier(logistic(), 3, seed=1)),
    "AdaBoost": ("binary", lambda: ensemble.AdaBoostClassifier(logistic(), 3, seed=1)),
    "ADWIN boosting": ("binary", lambda: ensemble.ADWINBoostingClassifier(logistic(), 3, seed=1)),
    "BOLE": ("binary", lambda: ensemble.BOLEClassifier(logistic(), 3, seed=1)),
    "BOLE within a strict bound": (
        "binary",
        lambda: ensemble.BOLEClassifier(raw_logistic(), 3, seed=1, error_bound=0.2),
    ),
    "voting": ("binary", lambda: ensemble.VotingClassifier([logistic(), raw_logistic(), amf()])),
    "voting by classes": (
        "binary",
        lambda: ensemble.VotingClassifier([logistic(), raw_logistic(), amf()], use_probabilities=False),
    ),
    "stacking": ("binary", lambda: ensemble.StackingClassifier([logistic(), raw_logistic()], logistic())),
    "stacking on answers only": (
        "binary",
        lambda: ensemble.StackingClassifier([logistic(), amf()], logistic(), include_features=False),
    ),
    "stacking under a forest": ("multiclass", lambda: ensemble.StackingClassifier([amf(), amf(seed=2)], amf())),
    "bagged trees": ("multiclass", lambda: ensemble.BaggingClassifier(hoeffding(leaf_prediction="mc"), 3, seed=1)),
    "bagged tree regressors": ("regression", lambda: ensemble.BaggingRegressor(hoeffding_regressor(), 2, seed=1)),
    "boosted trees": ("multiclass", lambda: ensemble.AdaBoostClassifier(hoeffding(), 3, seed=1)),
    "stacked trees": ("multiclass", lambda: ensemble.StackingClassifier([hoeffding(), amf()], hoeffding())),
    "SRP as it comes": ("multiclass", lambda: ensemble.SRPClassifier(**SUBSPACES)),
    "SRP of numbers as it comes": ("regression", lambda: ensemble.SRPRegressor(**SUBSPACES)),
    "retrained tree": ("multiclass", lambda: drift.DriftRetrainingClassifier(hoeffding(leaf_prediction="mc"))),
    "bagging of numbers": ("regression", lambda: ensemble.BaggingRegressor(linear(), 3, seed=1)),
    "EWA": ("regression", lambda: ensemble.EWARegressor([linear(), linear(1e-4)], learning_rate=1e-4)),
    "SRP of numbers": ("regression", lambda: ensemble.SRPRegressor(linear(), **SUBSPACES)),
    "SRP by the median": (
        "regression",
        lambda: ensemble.SRPRegressor(linear(), 3, aggregation_method="median", seed=1),
    ),
    "SRP by an even median": (
        "regression",
        lambda: ensemble.SRPRegressor(linear(), aggregation_method="median", **SUBSPACES),
    ),
    "SRP by error": ("regression", lambda: ensemble.SRPRegressor(linear(), disable_weighted_vote=False, **SUBSPACES)),
    "SRP by fit": (
        "regression",
        lambda: ensemble.SRPRegressor(linear(), disable_weighted_vote=False, metric=metrics.R2(), **SUBSPACES),
    ),
    "SRP of one": ("regression", lambda: ensemble.SRPRegressor(linear(), 1, disable_weighted_vote=False, seed=1)),
    "greedy": ("regression", lambda: model_selection.GreedyRegressor([linear(1e-5), linear(), linear(1e-4)])),
    "bandit of numbers": (
        "regression",
        lambda: model_selection.BanditRegressor(
            [linear(1e-5), linear()], metric=metrics.MAE(), policy=bandit.EpsilonGreedy(0.2, seed=1)
        ),
    ),
    "bandit": (
        "binary",
        lambda: model_selection.BanditClassifier(
            [raw_logistic(), logistic()], metric=metrics.Accuracy(), policy=bandit.EpsilonGreedy(0.2, seed=1)
        ),
    ),
    "successive halving": (
        "binary",
        lambda: model_selection.SuccessiveHalvingClassifier(
            [raw_logistic(), logistic()], metric=metrics.Accuracy(), budget=100
        ),
    ),
    "successive halving of numbers": (
        "regression",
        lambda: model_selection.SuccessiveHalvingRegressor([linear(1e-5), linear()], metric=metrics.MAE(), budget=100),
    ),
    "retraining": ("binary", lambda: drift.DriftRetrainingClassifier(logistic())),
    "retraining in place": ("binary", lambda: drift.DriftRetrainingClassifier(amf(), train_in_background=False)),
    "under-sampling": ("binary", lambda: imblearn.RandomUnderSampler(logistic(), EVENLY, seed=1)),
    "over-sampling": ("binary", lambda: imblearn.RandomOverSampler(logistic(), EVENLY, seed=1)),
    "sampling": ("binary", lambda: imblearn.RandomSampler(logistic(), EVENLY, seed=1)),
    "sampled vote": (
        "binary",
        lambda: imblearn.RandomSampler(ensemble.VotingClassifier([logistic(), raw_logistic()]), EVENLY, seed=1),
    ),
    "hard sampling": ("binary", lambda: imblearn.HardSamplingClassifier(logistic(), 40, 0.1, seed=1)),
    "hard sampling of numbers": ("regression", lambda: imblearn.HardSamplingRegressor(linear(), 40, 0.1, seed=1)),
    "Chebyshev under-sampling": ("regression", lambda: imblearn.ChebyshevUnderSampler(linear(), seed=1)),
    "Chebyshev over-sampling": ("regression", lambda: imblearn.ChebyshevOverSampler(linear())),
    "scaled target": ("regression", lambda: preprocessing.TargetStandardScaler(linear())),
    "target between 0 and 1": ("regression", lambda: preprocessing.TargetMinMaxScaler(linear())),
    "clipped": ("regression", lambda: preprocessing.PredClipper(linear(), 0.0, 30.0)),
    "clipped backwards": ("regression", lambda: preprocessing.PredClipper(linear(), 30.0, 0.0)),
    "clipped nowhere": ("regression", lambda: preprocessing.PredClipper(linear(), -math.inf, math.inf)),
    "exponential": ("regression", lambda: compose.TargetTransformRegressor(linear(), math.atan, math.exp)),
    "exponential overflow": (
        "regression",
        lambda: compose.TargetTransformRegressor(linear_model.LinearRegression(), math.atan, math.exp),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_ensemble_answers_what_river_answers(name: str) -> None:
    """Untrained, halfway and at the end, with features missing, never varying, and values unseen."""
    target, make = MODELS[name]

    parity = assert_exact(lambda: numbers_of() | make(), shorter(gappy_flat(target)))

    assert parity.max_abs_diff < 1e-12


def shorter(stream: Stream) -> Stream:
    return stream.first(100)


row = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(NUMBERS, st.sampled_from([0.0, -1.0, 2.5]) | st.floats(-1e3, 1e3))
)
SMALL: dict[str, Callable[[], Any]] = {
    "AMF": lambda: amf(n_estimators=2),
    "AMF of pure leaves": lambda: amf(n_estimators=2, split_pure=True, use_aggregation=False),
    "boosted": lambda: ensemble.AdaBoostClassifier(logistic(), 2, seed=1),
    "BOLE": lambda: ensemble.BOLEClassifier(amf(n_estimators=1), 2, seed=1),
    "stacked": lambda: ensemble.StackingClassifier([logistic(), amf(n_estimators=1)], logistic()),
    "voted": lambda: ensemble.VotingClassifier([logistic(), amf(n_estimators=1)], use_probabilities=False),
}


@pytest.mark.parametrize("name", SMALL)
@given(stream=st.lists(st.tuples(row, st.booleans()), max_size=12), rows=st.lists(row, max_size=4))
@settings(max_examples=12, deadline=None)
def test_any_small_stream_is_answered(name: str, stream: list[tuple[Row, bool]], rows: list[Row]) -> None:
    """Whatever few examples were learned, also with ties, zero variance and empty rows."""
    model = SMALL[name]()
    for x, y in stream:
        model.learn_one(dict(x), y)

    exported = to_onnx(model, NUMBERS, [], name="law", version=1)

    assert check_parity(model, exported.SerializeToString(), [*rows, *(x for x, _ in stream)]).max_abs_diff <= 1e-9


def srp(model: Any, **settings: Any) -> Any:
    return ensemble.SRPClassifier(model, **SUBSPACES | settings)


SRP: dict[str, Callable[[], Any]] = {
    "of one-hot keys": lambda: numbers_of() | srp(logistic()),
    "of present one-hot keys": lambda: numbers_of(drop_zeros=True) | srp(logistic()),
    "of texts": lambda: srp(numbers_of() | logistic()),
    "of all features": lambda: numbers_of() | srp(logistic(), training_method="resampling"),
    "of forests": lambda: numbers_of() | srp(amf(), disable_weighted_vote=True),
    "by kappa": lambda: numbers_of() | srp(logistic(), metric=metrics.CohenKappa()),
}


@pytest.mark.parametrize("name", SRP)
def test_patches_see_their_features_only(name: str) -> None:
    """Once it has learned, each member answers by its own numbers, texts and one-hot keys."""
    stream = shorter(gappy("binary"))
    model = SRP[name]()
    for x, y in stream.examples[:1]:
        model.learn_one(dict(x), y)

    assert_exact(lambda: model, stream)


def test_patches_of_members_that_answer_nothing_untrained() -> None:
    """Members without a class make the untrained ensemble exact too."""
    assert_exact(lambda: srp(amf()), shorter(gappy_numeric("binary")))


def test_untrained_patches_that_would_change_are_not_released() -> None:
    """River draws the members' features from the first row that it answers; no graph can do that."""
    with pytest.raises(ReleaseRefused, match="changed by the first row"):
        to_onnx(srp(logistic()), NUMBERS, [], name="law", version=0)


class ByPrice(base.Classifier):  # type: ignore[misc]
    """Other classes, in another order, from row to row, as a tree's leaves; what it learned shifts them."""

    LEAVES: tuple[dict[str, float], ...] = (
        {"middle": 0.5, "low": 0.5},
        {"high": 1.0},
        {},
        {"low": 0.25, "high": 0.75},
        {"middle": 1.0},
        {"low": 1.0},
        {"high": 0.5, "middle": 0.5},
    )

    def __init__(self) -> None:
        self.shift = 0

    def learn_one(self, x: Row, y: Any) -> None:
        self.shift += 1 + len(x)

    def predict_proba_one(self, x: Row) -> dict[str, float]:
        if not self.shift:
            return {}
        place = sum(float(x.get("price", 9.0)) > edge for edge in self.edges)
        return dict(self.leaves[place])

    @property
    def edges(self) -> tuple[float, ...]:
        return (-1.0, -0.4, 0.1, 0.7, 1.2, 2.0)

    @property
    def leaves(self) -> list[dict[str, float]]:
        return [self.LEAVES[(place + self.shift) % len(self.LEAVES)] for place in range(len(self.LEAVES))]


@predict.register(ByPrice)
def predict_by_price(model: ByPrice, graph: Graph, frame: Frame) -> Classes:
    if not model.shift:
        return no_class(frame)
    labels = ("low", "middle", "high")
    table = TreeTable()
    leaves: list[Node] = [table.leaf() for _ in model.LEAVES]
    node = leaves[-1]
    for edge, leaf in reversed([*zip(model.edges, leaves, strict=False)]):
        node = table.split("price", "<=", edge, yes=leaf, no=node, missing_is_yes=False)
    table.root(node)
    reached = graph.op("Squeeze", table.emit(graph, frame, model), graph.integers([1]))
    rows = np.array([[leaf.get(label, 0.0) for label in labels] for leaf in model.leaves])
    first = [max(leaf, key=lambda label: leaf[label], default=None) for leaf in model.leaves]
    winner = graph.integers([-1 if label is None else labels.index(label) for label in first])
    probabilities = graph.op("Gather", graph.numbers(rows), reached, axis=0)
    return predicted_from(graph, frame, probabilities, labels, graph.op("Gather", winner, reached))


OF_ROW_DEPENDENT: dict[str, tuple[Any, Callable[[], Any]]] = {
    "voting by classes": (
        "multiclass",
        lambda: ensemble.VotingClassifier([ByPrice(), amf(), ByPrice()], use_probabilities=False),
    ),
    "retraining": ("multiclass", lambda: drift.DriftRetrainingClassifier(ByPrice())),
    "stacked on a sum": (
        "binary",
        lambda: ensemble.StackingClassifier(
            [ByPrice(), logistic()], linear_model.LogisticRegression(), include_features=False
        ),
    ),
}


@pytest.mark.parametrize("name", OF_ROW_DEPENDENT)
def test_members_may_leave_classes_out_where_no_sum_is_made(name: str) -> None:
    """A member that answers other classes from row to row, or none, is followed wherever only its winner counts."""
    target, make = OF_ROW_DEPENDENT[name]

    assert_exact(make, shorter(gappy_numeric(target)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ensemble.BaggingClassifier(ByPrice(), 2, seed=1),
        lambda: ensemble.VotingClassifier([amf(), ByPrice()]),
        lambda: srp(ByPrice(), lam=20),
    ],
    ids=["bagging", "voting", "patches"],
)
def test_members_that_leave_classes_out_are_refused_where_a_sum_is_made(make: Callable[[], Any]) -> None:
    """Which class River meets first, and so which one wins a tie, would be a guess."""
    model = make()
    for _ in range(5):
        model.learn_one({"price": 1.0}, "low")

    with pytest.raises(NotExportable, match="differ from row to row"):
        to_onnx(model, ["price"], [], name="law", version=1)


@pytest.mark.parametrize("weighted", [0, 1], ids=["has learned nothing", "has learned"])
def test_bole_asks_all_where_its_best_are_silent(weighted: int) -> None:
    """Members without a weight count only while those with one know no class."""
    model = ensemble.BOLEClassifier(amf(), 3, seed=1)
    stream = shorter(gappy_numeric("multiclass"))
    for x, y in stream.examples:
        model[1].learn_one(dict(x), y)
        model[2].learn_one({**x, "price": 0.0}, y)
    model.correct_weight.update({weighted: 5.0})
    model.wrong_weight.update({weighted: 1.0})

    exported = to_onnx(model, stream.numbers, [], name="law", version=1)

    assert check_parity(model, exported.SerializeToString(), stream.held).max_abs_diff < 1e-12


@pytest.mark.parametrize(
    "attribute", ["nodes_modes", "nodes_missing_value_tracks_true"], ids=["'<' for '<='", "missing goes the other way"]
)
def test_mutated_forest_is_found(attribute: str) -> None:
    """A tree that compares otherwise, or sends a missing feature elsewhere, does not pass."""
    stream = gappy_numeric("binary")
    model = amf()
    for x, y in stream.examples:
        model.learn_one(dict(x), y)
    root = model[0]._root  # thresholds are random, so no row meets one by chance
    held = [{**x, root.feature: root.threshold} for x, _ in stream.examples[:40]]
    exported = to_onnx(model, stream.numbers, [], name="law", version=1)
    rows = [*held, *stream.held]
    check_parity(model, exported.SerializeToString(), rows)
    node = next(node for node in exported.graph.node if node.op_type == "TreeEnsemble")
    mutated = next(entry for entry in node.attribute if entry.name == attribute)
    if attribute == "nodes_modes":
        mutated.t.int32_data[:] = [1] * len(mutated.t.int32_data)
    else:
        mutated.ints[:] = [1 - way for way in mutated.ints]

    with pytest.raises(ReleaseRefused, match="parity"):
        check_parity(model, exported.SerializeToString(), rows)


def test_mutated_member_weight_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose vote weighs a millionth more does not pass."""
    stream = gappy_numeric("binary")
    model = ensemble.AdaBoostClassifier(logistic(), 3, seed=1)
    for x, y in stream.examples:
        model.learn_one(dict(x), y)
    right = ensemble_family._log_odds_of_being_right
    monkeypatch.setattr(
        ensemble_family, "_log_odds_of_being_right", lambda model, i: right(model, i) * (1.0 + 1e-6 * (i == 1))
    )

    exported = to_onnx(model, stream.numbers, [], name="law", version=1)

    with pytest.raises(ReleaseRefused, match="parity"):
        check_parity(model, exported.SerializeToString(), stream.held)


@pytest.mark.parametrize(
    ("make", "step", "reason"),
    [
        (
            lambda: ensemble.BaggingClassifier(preprocessing.LDA() | raw_logistic()),
            "model/LDA",
            "learns while it transforms",
        ),
        (lambda: ensemble.BaggingClassifier(linear()), "model", "it has no predict_proba_one"),
        (
            lambda: ensemble.BaggingClassifier(
                imblearn.RandomSampler(ensemble.VotingClassifier([logistic(), amf()]), EVENLY)
            ),
            "model",
            "it has no predict_proba_one",
        ),
        (lambda: ensemble.BaggingRegressor(logistic()), "model", "it answers something else"),
        (
            lambda: ensemble.VotingClassifier([amf(), preprocessing.LDA() | amf()]),
            "1/LDA",
            "learns while it transforms",
        ),
        (
            lambda: ensemble.StackingClassifier([amf(), ByPrice()], logistic()),
            "1",
            "it leaves classes out row by row",
        ),
        (lambda: compose.TargetTransformRegressor(linear(), math.log, math.cosh), "", "'cosh' is any Python code"),
        (lambda: compose.TargetTransformRegressor(linear(), math.log, lambda y: y), "", "is any Python code"),
        (
            lambda: model_selection.GreedyRegressor([linear(), preprocessing.LDA() | linear()]),
            "1/LDA",
            "learns while it transforms",
        ),
        (lambda: srp(preprocessing.LDA() | logistic()), "model/LDA", "learns while it transforms"),
    ],
)
def test_member_without_an_exact_form_is_refused_at_once(make: Callable[[], Any], step: str, reason: str) -> None:
    """When the model file is loaded, with the place in the ensemble."""
    model = make()

    with pytest.raises(NotExportable, match=reason) as refused:
        refuse_unexportable(model, task=None)

    assert refused.value.step == "/".join(part for part in (type(model).__name__, step) if part)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ensemble.BaggingRegressor(forest.AMFRegressor(2), 2, seed=1),
        lambda: ensemble.EWARegressor([linear(), compose.SelectType(float) | forest.AMFRegressor(2)]),
        lambda: preprocessing.TargetStandardScaler(preprocessing.TargetMinMaxScaler(forest.AMFRegressor(2))),
    ],
    ids=["bagging", "EWA", "target"],
)
def test_regressor_of_none_is_not_released(make: Callable[[], Any]) -> None:
    """River cannot calculate with the None of a forest that has learned nothing, and says so by a TypeError."""
    with pytest.raises(ReleaseRefused, match=r"AMFRegressor .* has learned nothing"):
        to_onnx(make(), NUMBERS, [], name="law", version=0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_forest_that_met_what_is_no_number_is_not_released(broken: float) -> None:
    """A target or a feature that is not finite breaks the model, and the release is refused."""
    model = forest.AMFRegressor(2, seed=1)
    for i in range(30):
        model.learn_one({"a": float(i)}, broken if i == 20 else 1.0)

    with pytest.raises(ReleaseRefused, match="not finite"):
        to_onnx(model, ["a"], [], name="law", version=1)


@pytest.mark.parametrize("make", [amf, lambda: forest.AMFRegressor(2)])
def test_text_that_reaches_a_forest_is_refused(make: Callable[[], Any]) -> None:
    """Before any data, because River raises on the first example."""
    with pytest.raises(NotExportable, match=r"the text .geo\.country. reaches it"):
        to_onnx(make(), NUMBERS, CATEGORIES, name="law", version=0)


def test_feature_that_is_named_as_a_members_answer_is_refused() -> None:
    """River would take it for the answer, or the answer for it."""
    model = ensemble.StackingClassifier([raw_logistic(), raw_logistic()], raw_logistic())

    with pytest.raises(NotExportable, match="feature 'oof_1_True' comes twice"):
        to_onnx(model, ["oof_1_True"], [], name="law", version=0)

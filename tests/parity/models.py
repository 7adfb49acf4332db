"""The table: every estimator that has an exact form, alone or in pipelines that make sense for it, in several settings.

A configuration is made for a stream, because some name its features. What it cannot do there is said by its fields.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from river import (
    anomaly,
    bandit,
    base,
    cluster,
    compose,
    conf,
    drift,
    dummy,
    ensemble,
    facto,
    feature_extraction,
    feature_selection,
    forest,
    imblearn,
    linear_model,
    metrics,
    model_selection,
    multiclass,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    tree,
    utils,
)
from river.tree import mondrian, splitter

from learners.calibration import IsotonicCalibrated, PlattCalibrated, Thresholded
from tests.learners.export_laws import Stream, Target

Make: TypeAlias = Callable[[Stream], Any]
Table: TypeAlias = dict[str, tuple[Target, Make]]

# Splits early, so that a few hundred rows make trees of some size.
EAGER: dict[str, Any] = {"grace_period": 25, "delta": 0.1}
EVENLY = {True: 0.5, False: 0.5}


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to use River.

    Attributes:
        name: as the table shows it.
        family: whose converters it is about.
        target: what it can be taught.
        make: a new model for a stream's features.
        needs_texts: whether it reads nothing but texts, or names a category.
        first_met: how many examples it must have learned before it has an exact form, and why is in its converter.
    """

    name: str
    family: str
    target: Target
    make: Make
    needs_texts: bool = False
    first_met: int = 0


def onehot(**settings: Any) -> Any:
    return compose.SelectType(str) | preprocessing.OneHotEncoder(**settings)


def encoded(scaler: Any = None, **settings: Any) -> Any:
    """Texts one-hot encoded beside the numbers, which may be scaled."""
    numbers = compose.SelectType(float) | scaler if scaler else compose.SelectType(float)
    return onehot(**settings) + numbers


def scaled(**settings: Any) -> Any:
    return encoded(preprocessing.StandardScaler(), **settings)


def logistic(**settings: Any) -> Any:
    return linear_model.LogisticRegression(**settings)


def linear(lr: float = 0.01) -> Any:
    return linear_model.LinearRegression(optimizer=optim.SGD(lr), clip_gradient=1e3)


def numbers_into(*steps: Any) -> Any:
    """Numbers through steps, and a sum that shows every value and every missing one."""
    return compose.Pipeline(compose.SelectType(float), *steps, preprocessing.StandardScaler(), linear())


def texts_into(step: Any) -> Any:
    """Texts through a step, beside scaled numbers."""
    return ((compose.SelectType(str) | step) + compose.SelectType(float)) | preprocessing.StandardScaler() | linear()


def keys_into(step: Any, **settings: Any) -> Any:
    """Numbers and one-hot keys through a step."""
    return encoded(**settings) | step | preprocessing.StandardScaler() | linear()


def hoeffding(**settings: Any) -> Any:
    return tree.HoeffdingTreeClassifier(**EAGER | settings)


def hoeffding_regressor(**settings: Any) -> Any:
    return tree.HoeffdingTreeRegressor(**EAGER | settings)


def amf(n: int = 3, seed: int = 1, **settings: Any) -> Any:
    return forest.AMFClassifier(n, seed=seed, **settings)


def squared(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function of a model file: the square of one number, if that is small."""

    def square(x: dict[str, Any]) -> dict[str, Any]:
        return {"squared": min(x[name] * x[name], 9.0)} if name in x else {}

    return square


def constant(n_factors: int = 5) -> Any:
    """One start for every feature's latents: River draws them otherwise, also when it is asked."""
    return optim.initializers.Constant(np.random.default_rng(7).normal(0.0, 0.1, n_factors))


STEPS: Table = {
    "StandardScaler": ("regression", lambda s: compose.SelectType(float) | preprocessing.StandardScaler() | linear()),
    "StandardScaler(with_std=False)": (
        "binary",
        lambda s: compose.SelectType(float) | preprocessing.StandardScaler(with_std=False) | logistic(),
    ),
    "StandardScaler(window_size, with_std=False)": (
        "binary",
        lambda s: encoded(preprocessing.StandardScaler(window_size=20, with_std=False)) | logistic(),
    ),
    "StandardScaler of one-hots": ("binary", lambda s: encoded() | preprocessing.StandardScaler() | logistic()),
    "MaxAbsScaler": ("regression", lambda s: encoded(preprocessing.MaxAbsScaler()) | linear()),
    "MaxAbsScaler(window_size)": ("regression", lambda s: numbers_into(preprocessing.MaxAbsScaler(window_size=9))),
    "AdaptiveStandardScaler": ("regression", lambda s: encoded(preprocessing.AdaptiveStandardScaler(0.6)) | linear()),
    "RobustScaler": ("regression", lambda s: numbers_into(preprocessing.RobustScaler())),
    "RobustScaler(with_scaling=False)": (
        "regression",
        lambda s: numbers_into(preprocessing.RobustScaler(with_scaling=False, q_inf=0.1)),
    ),
    "Binarizer": ("regression", lambda s: keys_into(preprocessing.Binarizer(threshold=0.4))),
    "Binarizer | GaussianNB": (
        "multiclass",
        lambda s: compose.SelectType(float) | preprocessing.Binarizer(dtype=float) | naive_bayes.GaussianNB(),
    ),
    "Normalizer": ("regression", lambda s: compose.SelectType(float) | preprocessing.Normalizer() | linear()),
    "Normalizer(order=1)": ("regression", lambda s: compose.SelectType(float) | preprocessing.Normalizer(1) | linear()),
    "Normalizer(order=inf)": (
        "binary",
        lambda s: compose.SelectType(float) | preprocessing.Normalizer(math.inf) | logistic(),
    ),
    "FeatureHasher": (
        "regression",
        lambda s: numbers_into(preprocessing.StandardScaler(), preprocessing.FeatureHasher(n_features=3, seed=1)),
    ),
    "FeatureHasher(alternate_sign=False)": (
        "binary",
        lambda s: (
            compose.SelectType(float)
            | preprocessing.StandardScaler()
            | preprocessing.FeatureHasher(n_features=50, alternate_sign=False, seed=2)
            | logistic()
        ),
    ),
    "FeatureHasher of texts": (
        "binary",
        lambda s: (
            (compose.SelectType(str) + (compose.SelectType(float) | preprocessing.StandardScaler()))
            | preprocessing.FeatureHasher(n_features=32, seed=4)
            | logistic()
        ),
    ),
    "FuncTransformer": (
        "regression",
        lambda s: (
            (compose.SelectType(float) + compose.FuncTransformer(squared(s.numbers[0])))
            | preprocessing.StandardScaler()
            | linear()
        ),
    ),
    "OneHotEncoder": ("binary", lambda s: scaled() | logistic()),
    "OneHotEncoder(drop_zeros)": ("binary", lambda s: scaled(drop_zeros=True) | logistic()),
    "OneHotEncoder alone": ("binary", lambda s: onehot() | logistic()),
    "OrdinalEncoder": ("regression", lambda s: texts_into(preprocessing.OrdinalEncoder())),
    "OrdinalEncoder | tree": (
        "regression",
        lambda s: (
            (compose.SelectType(str) | preprocessing.OrdinalEncoder()) | hoeffding_regressor(leaf_prediction="mean")
        ),
    ),
    "PolynomialExtender": (
        "regression",
        lambda s: numbers_into(preprocessing.StandardScaler(), feature_extraction.PolynomialExtender()),
    ),
    "PolynomialExtender of one-hots": (
        "regression",
        lambda s: (
            ((compose.Select(s.numbers[0]) | preprocessing.StandardScaler()) + onehot())
            | feature_extraction.PolynomialExtender(interaction_only=True, include_bias=True)
            | linear(0.001)
        ),
    ),
    "RBFSampler": (
        "regression",
        lambda s: numbers_into(
            preprocessing.MaxAbsScaler(), feature_extraction.RBFSampler(n_components=6, gamma=0.5, seed=3)
        ),
    ),
    "RBFSampler of one-hots": (
        "binary",
        lambda s: scaled() | feature_extraction.RBFSampler(n_components=3, seed=3) | logistic(),
    ),
    "VarianceThreshold": ("regression", lambda s: keys_into(feature_selection.VarianceThreshold(0.2, min_samples=5))),
    "SelectKBest": (
        "regression",
        lambda s: keys_into(feature_selection.SelectKBest(stats.PearsonCorr(), k=3, use_abs=True)),
    ),
    "SelectKBest without zeros": (
        "regression",
        lambda s: keys_into(feature_selection.SelectKBest(stats.PearsonCorr(), k=2), drop_zeros=True),
    ),
    "Prefixer, Suffixer": (
        "regression",
        lambda s: numbers_into(compose.Prefixer("é "), compose.Suffixer("_x.y")),
    ),
    "Renamer": ("regression", lambda s: compose.Renamer({s.numbers[0]: "the first"}) | numbers_into()),
    "Discard": ("binary", lambda s: compose.Discard(s.numbers[0]) | scaled() | logistic()),
    "Select": (
        "binary",
        lambda s: (compose.Select(s.numbers[0], s.numbers[-1]) | preprocessing.StandardScaler()) | logistic(),
    ),
    "TransformerProduct": (
        "regression",
        lambda s: (
            ((compose.Select(s.numbers[0]) | preprocessing.StandardScaler()) * onehot())
            + (compose.SelectType(float) | preprocessing.StandardScaler())
            | linear()
        ),
    ),
    "StatImputer": (
        "regression",
        lambda s: preprocessing.StatImputer((s.numbers[0], stats.Mean())) | numbers_into(),
    ),
    "Agg": (
        "regression",
        lambda s: (
            (
                compose.SelectType(float)
                + feature_extraction.Agg(on=s.numbers[0], by=None, how=utils.Rolling(stats.Mean, 9))
            )
            | preprocessing.StandardScaler()
            | linear()
        ),
    ),
    "TargetAgg of all": (
        "regression",
        lambda s: (
            (compose.SelectType(float) + feature_extraction.TargetAgg(by=None, how=stats.Var()))
            | preprocessing.StandardScaler()
            | linear()
        ),
    ),
    "OneHotEncoder(categories)": (
        "binary",
        lambda s: (
            (
                ((compose.Select(s.categories[0])) | preprocessing.OneHotEncoder(categories={s.categories[0]: _met(s)}))
                + (compose.SelectType(float) | preprocessing.StandardScaler())
            )
            | logistic()
        ),
    ),
    "TargetAgg": (
        "regression",
        lambda s: (
            (
                compose.SelectType(float)
                + feature_extraction.TargetAgg(by=s.categories[0], how=stats.BayesianMean(prior=3, prior_weight=2))
                + feature_extraction.TargetAgg(by=[*s.categories], how=stats.Mean())
            )
            | preprocessing.StandardScaler()
            | linear()
        ),
    ),
    "Agg by category": (
        "regression",
        lambda s: (
            (
                compose.SelectType(float)
                + feature_extraction.Agg(on=s.numbers[0], by=s.categories[-1], how=utils.Rolling(stats.Mean, 5))
            )
            | preprocessing.StandardScaler()
            | linear()
        ),
    ),
}

# What reads nothing but texts, or names a category.
NEED_TEXTS = frozenset(
    {
        "OneHotEncoder alone",
        "OneHotEncoder(categories)",
        "OrdinalEncoder | tree",
        "TargetAgg",
        "Agg by category",
        "AdPredictor",
        "FeatureHasher of texts",
        "MultinomialNB",
        "MultinomialNB(alpha=0)",
        "ComplementNB",
        "ComplementNB of two",
    }
)

# MinMaxScaler says NaN of a feature that it has not met, so River has no answer yet.
MIN_MAX: Table = {
    "MinMaxScaler": ("regression", lambda s: compose.SelectType(float) | preprocessing.MinMaxScaler() | linear()),
    "MinMaxScaler | logistic": ("binary", lambda s: encoded(preprocessing.MinMaxScaler()) | logistic()),
    "MinMaxScaler | MultinomialNB": (
        "multiclass",
        lambda s: compose.SelectType(float) | preprocessing.MinMaxScaler() | naive_bayes.MultinomialNB(),
    ),
    "MinMaxScaler | AMFClassifier": (
        "multiclass",
        lambda s: compose.SelectType(float) | preprocessing.MinMaxScaler() | amf(),
    ),
    "MinMaxScaler | HalfSpaceTrees": (
        "none",
        lambda s: (
            compose.SelectType(float)
            | preprocessing.MinMaxScaler()
            | anomaly.HalfSpaceTrees(10, height=6, window_size=40, seed=1)
        ),
    ),
}

LINEAR: Table = {
    "LogisticRegression": ("binary", lambda s: scaled() | logistic()),
    "LogisticRegression(l2, Adam)": ("binary", lambda s: scaled() | logistic(l2=0.01, optimizer=optim.Adam())),
    "LogisticRegression(l1)": ("binary", lambda s: scaled() | logistic(l1=0.01)),
    "LogisticRegression(Hinge)": ("binary", lambda s: scaled() | logistic(loss=optim.losses.Hinge())),
    "LogisticRegression(FTRL)": (
        "binary",
        lambda s: scaled() | logistic(optimizer=optim.FTRLProximal(), intercept_init=0.5),
    ),
    "LogisticRegression raw": ("binary", lambda s: compose.SelectType(float) | logistic(optimizer=optim.SGD(1e-9))),
    "Perceptron": ("binary", lambda s: scaled() | linear_model.Perceptron()),
    "PAClassifier": ("binary", lambda s: scaled() | linear_model.PAClassifier(C=0.01, mode=2)),
    "PAClassifier(mode=1)": ("binary", lambda s: scaled() | linear_model.PAClassifier(mode=1)),
    "ALMAClassifier": ("binary", lambda s: scaled() | linear_model.ALMAClassifier()),
    "ALMAClassifier(p=3)": ("binary", lambda s: scaled(drop_zeros=True) | linear_model.ALMAClassifier(p=3)),
    "AdPredictor": ("binary", lambda s: onehot() | linear_model.AdPredictor()),
    "AdPredictor of numbers": ("binary", lambda s: scaled() | linear_model.AdPredictor(beta=0.5)),
    "LinearRegression": ("regression", lambda s: scaled() | linear()),
    "LinearRegression(Huber, AdaGrad)": (
        "regression",
        lambda s: scaled() | linear_model.LinearRegression(loss=optim.losses.Huber(), optimizer=optim.AdaGrad(0.1)),
    ),
    "LinearRegression(Quantile)": (
        "regression",
        lambda s: scaled() | linear_model.LinearRegression(loss=optim.losses.Quantile(0.9), intercept_lr=0.1),
    ),
    "LinearRegression(Poisson)": (
        "regression",
        lambda s: (
            scaled()
            | linear_model.LinearRegression(
                loss=optim.losses.Poisson(), optimizer=optim.SGD(1e-5), intercept_lr=1e-6, clip_gradient=1.0
            )
        ),
    ),
    "PARegressor": ("regression", lambda s: scaled() | linear_model.PARegressor(C=0.01, mode=2)),
    "BayesianLinearRegression": ("regression", lambda s: scaled() | linear_model.BayesianLinearRegression()),
    "BayesianLinearRegression(smoothing)": (
        "regression",
        lambda s: (
            (compose.SelectType(float) | preprocessing.StandardScaler())
            | linear_model.BayesianLinearRegression(smoothing=0.99)
        ),
    ),
    "SoftmaxRegression": ("multiclass", lambda s: scaled() | linear_model.SoftmaxRegression()),
    "SoftmaxRegression(l2)": ("binary", lambda s: scaled() | linear_model.SoftmaxRegression(optim.Adam(0.01), l2=0.1)),
    "OneVsRestClassifier": ("multiclass", lambda s: scaled() | multiclass.OneVsRestClassifier(logistic())),
    "OneVsRestClassifier of trees": ("multiclass", lambda s: multiclass.OneVsRestClassifier(hoeffding())),
    "OneVsOneClassifier": ("multiclass", lambda s: scaled() | multiclass.OneVsOneClassifier(logistic())),
    "OutputCodeClassifier": (
        "multiclass",
        lambda s: scaled() | multiclass.OutputCodeClassifier(logistic(), code_size=6, seed=1),
    ),
}

BAYES: Table = {
    "GaussianNB": ("multiclass", lambda s: compose.SelectType(float) | naive_bayes.GaussianNB()),
    "GaussianNB of one-hots": ("multiclass", lambda s: scaled() | naive_bayes.GaussianNB()),
    "GaussianNB of two": ("binary", lambda s: encoded(drop_zeros=True) | naive_bayes.GaussianNB()),
    "MultinomialNB": ("multiclass", lambda s: onehot() | naive_bayes.MultinomialNB()),
    "MultinomialNB(alpha=0)": ("binary", lambda s: onehot(drop_zeros=True) | naive_bayes.MultinomialNB(alpha=0.0)),
    "BernoulliNB": ("multiclass", lambda s: encoded() | naive_bayes.BernoulliNB()),
    "BernoulliNB(alpha=0)": ("binary", lambda s: encoded(drop_zeros=True) | naive_bayes.BernoulliNB(alpha=0.0)),
    "ComplementNB": ("multiclass", lambda s: onehot() | naive_bayes.ComplementNB()),
    "ComplementNB of two": ("binary", lambda s: onehot() | naive_bayes.ComplementNB(0.1)),
}

TREES: Table = {
    "HoeffdingTreeClassifier(mc)": ("multiclass", lambda s: hoeffding(leaf_prediction="mc")),
    "HoeffdingTreeClassifier(nb)": ("multiclass", lambda s: hoeffding(leaf_prediction="nb")),
    "HoeffdingTreeClassifier(nba)": ("multiclass", lambda s: hoeffding()),
    "HoeffdingTreeClassifier of two": ("binary", lambda s: hoeffding(binary_split=True)),
    "HoeffdingTreeClassifier(Exhaustive)": (
        "binary",
        lambda s: hoeffding(splitter=splitter.ExhaustiveSplitter(), leaf_prediction="mc"),
    ),
    "HoeffdingTreeClassifier(Histogram)": (
        "binary",
        lambda s: hoeffding(splitter=splitter.HistogramSplitter(), leaf_prediction="mc"),
    ),
    "HoeffdingTreeClassifier, nominal": (
        "binary",
        lambda s: hoeffding(nominal_attributes=[*s.categories, s.numbers[-1]], leaf_prediction="nb"),
    ),
    "scaled HoeffdingTreeClassifier": ("binary", lambda s: scaled() | hoeffding(max_depth=4)),
    "HoeffdingAdaptiveTreeClassifier": (
        "multiclass",
        lambda s: tree.HoeffdingAdaptiveTreeClassifier(
            seed=1, drift_window_threshold=30, drift_detector=drift.ADWIN(delta=0.2), **EAGER
        ),
    ),
    "HoeffdingAdaptiveTreeClassifier(mc)": (
        "binary",
        lambda s: tree.HoeffdingAdaptiveTreeClassifier(seed=2, leaf_prediction="mc", bootstrap_sampling=False, **EAGER),
    ),
    "ExtremelyFastDecisionTreeClassifier": (
        "multiclass",
        lambda s: tree.ExtremelyFastDecisionTreeClassifier(min_samples_reevaluate=40, **EAGER),
    ),
    "LASTClassifier": ("multiclass", lambda s: tree.LASTClassifier()),
    "SGTClassifier": (
        "binary",
        lambda s: tree.SGTClassifier(feature_quantizer=splitter.DynamicQuantizer(), **EAGER),
    ),
    "SGTClassifier(Static)": ("binary", lambda s: tree.SGTClassifier(**EAGER)),
    "HoeffdingTreeRegressor(mean)": ("regression", lambda s: hoeffding_regressor(leaf_prediction="mean")),
    "HoeffdingTreeRegressor(model)": ("regression", lambda s: scaled() | hoeffding_regressor(leaf_prediction="model")),
    "HoeffdingTreeRegressor(adaptive)": ("regression", lambda s: scaled() | hoeffding_regressor()),
    "HoeffdingTreeRegressor(EBST)": (
        "regression",
        lambda s: hoeffding_regressor(splitter=splitter.EBSTSplitter(), leaf_prediction="mean", binary_split=True),
    ),
    "HoeffdingTreeRegressor(QO, multiway)": (
        "regression",
        lambda s: (
            compose.SelectType(float)
            | preprocessing.StandardScaler()
            | hoeffding_regressor(
                leaf_prediction="mean",
                min_samples_split=1,
                splitter=splitter.QOSplitter(radius=0.5, allow_multiway_splits=True),
            )
        ),
    ),
    "HoeffdingAdaptiveTreeRegressor": (
        "regression",
        lambda s: scaled() | tree.HoeffdingAdaptiveTreeRegressor(seed=1, drift_window_threshold=30, **EAGER),
    ),
    "HoeffdingAdaptiveTreeRegressor(mean)": (
        "regression",
        lambda s: tree.HoeffdingAdaptiveTreeRegressor(seed=1, leaf_prediction="mean", **EAGER),
    ),
    "SGTRegressor": (
        "regression",
        lambda s: scaled() | tree.SGTRegressor(feature_quantizer=splitter.DynamicQuantizer(), **EAGER),
    ),
    "MondrianTreeClassifier": (
        "multiclass",
        lambda s: compose.SelectType(float) | mondrian.MondrianTreeClassifier(seed=1),
    ),
    "MondrianTreeRegressor": (
        "regression",
        lambda s: compose.SelectType(float) | mondrian.MondrianTreeRegressor(seed=1),
    ),
}

FORESTS: Table = {
    "ARFClassifier": ("multiclass", lambda s: forest.ARFClassifier(4, seed=1)),
    "ARFClassifier of two": ("binary", lambda s: forest.ARFClassifier(4, seed=2, leaf_prediction="mc")),
    "ARFClassifier unweighted": (
        "binary",
        lambda s: forest.ARFClassifier(3, seed=3, disable_weighted_vote=True, leaf_prediction="nb"),
    ),
    "ARFRegressor": ("regression", lambda s: scaled() | forest.ARFRegressor(4, seed=1)),
    "ARFRegressor(mean)": (
        "regression",
        lambda s: forest.ARFRegressor(3, seed=1, aggregation_method="mean", leaf_prediction="mean"),
    ),
    "ARFRegressor weighted": (
        "regression",
        lambda s: (
            scaled()
            | forest.ARFRegressor(3, seed=1, aggregation_method="mean", disable_weighted_vote=False, max_features=None)
        ),
    ),
    "OXTRegressor": ("regression", lambda s: scaled() | forest.OXTRegressor(3, seed=1)),
    "AMFClassifier": ("multiclass", lambda s: encoded() | amf()),
    "AMFClassifier unaggregated": (
        "binary",
        lambda s: compose.SelectType(float) | amf(use_aggregation=False, split_pure=True, dirichlet=0.1),
    ),
    "AMFRegressor": ("regression", lambda s: encoded() | forest.AMFRegressor(3, seed=1)),
    "AMFRegressor unaggregated": (
        "regression",
        lambda s: compose.SelectType(float) | forest.AMFRegressor(2, use_aggregation=False, seed=1),
    ),
}

ENSEMBLES: Table = {
    "BaggingClassifier": ("binary", lambda s: scaled() | ensemble.BaggingClassifier(logistic(), 3, seed=1)),
    "BaggingClassifier of trees": ("multiclass", lambda s: ensemble.BaggingClassifier(hoeffding(), 3, seed=1)),
    "BaggingClassifier of forests": ("binary", lambda s: encoded() | ensemble.BaggingClassifier(amf(2), 2, seed=1)),
    "BaggingRegressor": ("regression", lambda s: scaled() | ensemble.BaggingRegressor(linear(), 3, seed=1)),
    "BaggingRegressor of trees": (
        "regression",
        lambda s: ensemble.BaggingRegressor(hoeffding_regressor(leaf_prediction="mean"), 2, seed=1),
    ),
    "ADWINBaggingClassifier": ("binary", lambda s: scaled() | ensemble.ADWINBaggingClassifier(logistic(), 3, seed=1)),
    "LeveragingBaggingClassifier": (
        "multiclass",
        lambda s: ensemble.LeveragingBaggingClassifier(hoeffding(), 3, seed=1),
    ),
    "AdaBoostClassifier": ("binary", lambda s: scaled() | ensemble.AdaBoostClassifier(logistic(), 3, seed=1)),
    "AdaBoostClassifier of trees": ("multiclass", lambda s: ensemble.AdaBoostClassifier(hoeffding(), 3, seed=1)),
    "ADWINBoostingClassifier": ("binary", lambda s: scaled() | ensemble.ADWINBoostingClassifier(logistic(), 3, seed=1)),
    "BOLEClassifier": ("binary", lambda s: scaled() | ensemble.BOLEClassifier(logistic(), 3, seed=1)),
    "BOLEClassifier(error_bound)": (
        "multiclass",
        lambda s: ensemble.BOLEClassifier(hoeffding(), 3, seed=1, error_bound=0.3),
    ),
    "SRPRegressor(median)": (
        "regression",
        lambda s: scaled() | ensemble.SRPRegressor(linear(), 4, aggregation_method="median", seed=1),
    ),
    "SRPRegressor weighted": (
        "regression",
        lambda s: scaled() | ensemble.SRPRegressor(linear(), 3, disable_weighted_vote=False, seed=1),
    ),
    "VotingClassifier": (
        "binary",
        lambda s: scaled() | ensemble.VotingClassifier([logistic(), linear_model.PAClassifier(), amf(2)]),
    ),
    "VotingClassifier by classes": (
        "multiclass",
        lambda s: ensemble.VotingClassifier([hoeffding(), encoded() | amf(2), dummy.PriorClassifier()], False),
    ),
    "StackingClassifier": (
        "binary",
        lambda s: scaled() | ensemble.StackingClassifier([logistic(), amf(2)], logistic()),
    ),
    "StackingClassifier of answers": (
        "multiclass",
        lambda s: (
            encoded()
            | ensemble.StackingClassifier([amf(2), naive_bayes.GaussianNB()], hoeffding(), include_features=False)
        ),
    ),
    "EWARegressor": (
        "regression",
        lambda s: scaled() | ensemble.EWARegressor([linear(), linear(0.1)], learning_rate=1e-6),
    ),
    "GreedyRegressor": ("regression", lambda s: scaled() | model_selection.GreedyRegressor([linear(), linear(1e-4)])),
    "BanditRegressor": (
        "regression",
        lambda s: (
            scaled()
            | model_selection.BanditRegressor(
                [linear(), linear(1e-4)], metric=metrics.MAE(), policy=bandit.EpsilonGreedy(0.2, seed=1)
            )
        ),
    ),
    "BanditClassifier": (
        "binary",
        lambda s: (
            scaled()
            | model_selection.BanditClassifier(
                [logistic(), linear_model.ALMAClassifier()],
                metric=metrics.Accuracy(),
                policy=bandit.EpsilonGreedy(0.2, seed=1),
            )
        ),
    ),
    "SuccessiveHalvingClassifier": (
        "binary",
        lambda s: (
            scaled()
            | model_selection.SuccessiveHalvingClassifier(
                [logistic(), logistic(l2=0.1)], metric=metrics.Accuracy(), budget=100
            )
        ),
    ),
    "SuccessiveHalvingRegressor": (
        "regression",
        lambda s: (
            scaled()
            | model_selection.SuccessiveHalvingRegressor([linear(), linear(1e-4)], metric=metrics.MAE(), budget=100)
        ),
    ),
}

# River draws the members' features from the first row it is given, be it only asked.
PATCHES: Table = {
    "SRPClassifier": ("binary", lambda s: scaled() | ensemble.SRPClassifier(logistic(), 3, subspace_size=0.7, seed=1)),
    "SRPClassifier(resampling)": (
        "binary",
        lambda s: scaled() | ensemble.SRPClassifier(logistic(), 3, training_method="resampling", seed=1),
    ),
    "SRPClassifier of trees": (
        "multiclass",
        lambda s: compose.SelectType(float) | ensemble.SRPClassifier(hoeffding(), 4, subspace_size=0.7, seed=1),
    ),
}

WRAPPERS: Table = {
    "DriftRetrainingClassifier": ("binary", lambda s: scaled() | drift.DriftRetrainingClassifier(logistic())),
    "DriftRetrainingClassifier of a tree": (
        "multiclass",
        lambda s: drift.DriftRetrainingClassifier(hoeffding(), train_in_background=False),
    ),
    "RandomUnderSampler": ("binary", lambda s: scaled() | imblearn.RandomUnderSampler(logistic(), EVENLY, seed=1)),
    "RandomOverSampler": ("binary", lambda s: scaled() | imblearn.RandomOverSampler(logistic(), EVENLY, seed=1)),
    "RandomSampler": ("binary", lambda s: imblearn.RandomSampler(hoeffding(), EVENLY, seed=1)),
    "HardSamplingClassifier": (
        "binary",
        lambda s: scaled() | imblearn.HardSamplingClassifier(logistic(), 40, 0.1, seed=1),
    ),
    "HardSamplingRegressor": (
        "regression",
        lambda s: scaled() | imblearn.HardSamplingRegressor(linear(), 40, 0.1, seed=1),
    ),
    "ChebyshevUnderSampler": ("regression", lambda s: scaled() | imblearn.ChebyshevUnderSampler(linear(), seed=1)),
    "ChebyshevOverSampler": ("regression", lambda s: scaled() | imblearn.ChebyshevOverSampler(linear())),
    "TargetStandardScaler": ("regression", lambda s: scaled() | preprocessing.TargetStandardScaler(linear())),
    "TargetMinMaxScaler": ("regression", lambda s: scaled() | preprocessing.TargetMinMaxScaler(linear())),
    "PredClipper": ("regression", lambda s: scaled() | preprocessing.PredClipper(linear(), 0.0, 30.0)),
    "TargetTransformRegressor": (
        "regression",
        lambda s: scaled() | compose.TargetTransformRegressor(linear(0.001), math.atan, math.exp),
    ),
    "RegressionJackknife": ("regression", lambda s: scaled() | conf.RegressionJackknife(linear())),
    "PlattCalibrated": ("binary", lambda s: PlattCalibrated(scaled() | logistic())),
    "IsotonicCalibrated": ("binary", lambda s: IsotonicCalibrated(hoeffding(), places=33)),
    "Thresholded": ("binary", lambda s: Thresholded(scaled() | logistic(), at=0.3)),
    "NoChangeClassifier": ("multiclass", lambda s: dummy.NoChangeClassifier()),
    "PriorClassifier": ("binary", lambda s: dummy.PriorClassifier()),
    "StatisticRegressor": ("regression", lambda s: dummy.StatisticRegressor(stats.Quantile(0.9))),
}

OTHERS: Table = {
    "FMClassifier": (
        "binary",
        lambda s: (
            (compose.SelectType(str) + (compose.SelectType(float) | preprocessing.StandardScaler()))
            | facto.FMClassifier(5, latent_initializer=constant(), weight_optimizer=optim.Adam(0.01))
        ),
    ),
    "scaled FMClassifier": (
        "binary",
        lambda s: scaled(drop_zeros=True) | facto.FMClassifier(5, latent_initializer=constant()),
    ),
    "FMRegressor": (
        "regression",
        lambda s: (
            scaled()
            | facto.FMRegressor(
                5, latent_initializer=constant(), intercept=np.float64(0.0), clip_gradient=1.0, l2_latent=0.1
            )
        ),
    ),
    "HalfSpaceTrees": (
        "none",
        lambda s: (
            scaled()
            | anomaly.HalfSpaceTrees(8, height=6, window_size=40, seed=1, limits=dict.fromkeys(s.numbers, (-3.0, 3.0)))
        ),
    ),
    "OneClassSVM": ("none", lambda s: scaled() | anomaly.OneClassSVM(nu=0.2)),
    "QuantileFilter": ("none", lambda s: scaled() | anomaly.QuantileFilter(anomaly.OneClassSVM(), q=0.9)),
    "ThresholdFilter": ("none", lambda s: scaled() | anomaly.ThresholdFilter(anomaly.OneClassSVM(), threshold=0.5)),
    "filter before a model": (
        "binary",
        lambda s: scaled() | anomaly.QuantileFilter(anomaly.OneClassSVM(), q=0.8) | logistic(),
    ),
    "KMeans": ("none", lambda s: scaled() | cluster.KMeans(4, sigma=0)),
    "KMeans(p=1)": ("none", lambda s: compose.SelectType(float) | cluster.KMeans(3, sigma=0, p=1)),
}

FAMILIES: dict[str, Table] = {
    "steps": STEPS,
    "min-max": MIN_MAX,
    "linear": LINEAR,
    "Bayes": BAYES,
    "trees": TREES,
    "forests": FORESTS,
    "ensembles": ENSEMBLES | PATCHES,
    "wrappers": WRAPPERS,
    "others": OTHERS,
}


@functools.cache
def configurations() -> tuple[Configuration, ...]:
    """The whole table."""
    return tuple(
        Configuration(
            name,
            family,
            target,
            make,
            needs_texts=name in NEED_TEXTS,
            first_met=60 if name in MIN_MAX else 1 if name in PATCHES else 0,
        )
        for family, table in FAMILIES.items()
        for name, (target, make) in table.items()
    )


def classes_in(model: Any) -> set[type]:
    """The classes of the model and of every estimator inside it."""
    return {type(estimator) for estimator in inside(model)}


def inside(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """The model and every estimator inside it."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, base.Estimator):
        yield value
        inner = [*vars(value).values()]
    elif isinstance(value, dict):
        inner = [*value.values()]
    elif isinstance(value, list | tuple):
        inner = [*value]
    else:
        inner = [*getattr(value, "data", ())] if hasattr(value, "data") and hasattr(value, "append") else []
    for each in inner:
        yield from inside(each, seen)


def _met(stream: Stream) -> set[str]:
    """Half of the first category's values."""
    name = stream.categories[0]
    values = sorted({str(x[name]) for x, _ in stream.examples if name in x})
    return {*values[: 1 + len(values) // 2]}

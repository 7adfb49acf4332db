"""River's estimators without an exact ONNX form, each with the reason and with what to use instead.

Only names, so that the walk in `convert.py` can ask without importing River's modules. `catalogue.py` compares the
table with River: a class that is neither here nor converted fails the tests.
"""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """Why there is no exact form, and what to use instead."""

    reason: str
    instead: str


_NOT_YET = "no exact converter is written yet"
_OUTCOME = "its score compares a row with its outcome, which nobody knows when the graph is asked"
_TOKENS = "it takes a text apart with Python's regular expressions, which no standard operator does"
_PROJECTS = "it draws random numbers for each feature that it has not met"
_WINDOW = "it answers from a window of rows, which the graph would have to carry"
_TARGETS = "it answers several targets at once, and a graph answers one"
_PAIR = "it is asked by user and item, not by a row of features"
_HORIZON = "it answers for a time ahead, not for a row of features"
_CLUSTERS = "its clusters are made anew from the rows so far whenever it is asked"
_MEMBER = "it is a part of a forest, and converted with the forest"
_RULE = "it is a part of AMRules, and no exact converter is written yet"

_FM = Refusal(_NOT_YET, "facto.FMClassifier or facto.FMRegressor")
_DETECTOR = "anomaly.HalfSpaceTrees or anomaly.OneClassSVM"
_ONE_PER_TARGET = "one model per target"

REFUSED: dict[str, Refusal] = {
    "river.active.entropy.EntropySampler": Refusal(
        "it answers a pair, the second part of it a random choice of what to learn", "the classifier inside it"
    ),
    "river.anomaly.gaussian.GaussianScorer": Refusal(_OUTCOME, _DETECTOR),
    "river.anomaly.loda.LODA": Refusal(_NOT_YET, _DETECTOR),
    "river.anomaly.lof.LocalOutlierFactor": Refusal(_WINDOW, _DETECTOR),
    "river.anomaly.pad.PredictiveAnomalyDetection": Refusal(_OUTCOME, _DETECTOR),
    "river.anomaly.sad.StandardAbsoluteDeviation": Refusal(_OUTCOME, _DETECTOR),
    "river.cluster.clustream.CluStream": Refusal(_NOT_YET, "cluster.KMeans"),
    "river.cluster.dbstream.DBSTREAM": Refusal(_CLUSTERS, "cluster.KMeans"),
    "river.cluster.denstream.DenStream": Refusal(_CLUSTERS, "cluster.KMeans"),
    "river.cluster.odac.ODAC": Refusal("it has no answer for a row, also in River", "cluster.KMeans"),
    "river.cluster.streamkmeans.STREAMKMeans": Refusal(_NOT_YET, "cluster.KMeans"),
    "river.cluster.textclust.TextClust": Refusal(_TOKENS, "cluster.KMeans behind a OneHotEncoder"),
    "river.compat.sklearn_to_river.SKL2RiverClassifier": Refusal(
        "the model inside it is scikit-learn's", "skl2onnx for that model"
    ),
    "river.compat.sklearn_to_river.SKL2RiverRegressor": Refusal(
        "the model inside it is scikit-learn's", "skl2onnx for that model"
    ),
    "river.compose.grouper.Grouper": Refusal(_NOT_YET, "feature_extraction.Agg, which keeps one statistic per group"),
    "river.facto.ffm.FFMClassifier": _FM,
    "river.facto.ffm.FFMRegressor": _FM,
    "river.facto.fwfm.FwFMClassifier": _FM,
    "river.facto.fwfm.FwFMRegressor": _FM,
    "river.facto.hofm.HOFMClassifier": _FM,
    "river.facto.hofm.HOFMRegressor": _FM,
    "river.feature_extraction.kernel_approx.RandomTreesEmbedding": Refusal(
        "it grows other random trees when it meets a new feature, also when it only answers",
        "feature_extraction.RBFSampler",
    ),
    "river.feature_extraction.vectorize.BagOfWords": Refusal(_TOKENS, "OneHotEncoder on the fields of the event"),
    "river.feature_extraction.vectorize.TFIDF": Refusal(_TOKENS, "OneHotEncoder on the fields of the event"),
    "river.feature_selection.random.PoissonInclusion": Refusal(
        "it draws a random number for each feature that is not included yet", "VarianceThreshold or SelectKBest"
    ),
    "river.forest.adaptive_random_forest.BaseTreeClassifier": Refusal(_MEMBER, "tree.HoeffdingTreeClassifier"),
    "river.forest.adaptive_random_forest.BaseTreeRegressor": Refusal(_MEMBER, "tree.HoeffdingTreeRegressor"),
    "river.forest.online_extra_trees.ETRegressor": Refusal(_MEMBER, "tree.HoeffdingTreeRegressor"),
    "river.misc.zstd_classifier.ZstdClassifier": Refusal(
        "it compresses the text of the row, which no operator does", "naive_bayes.MultinomialNB on counts"
    ),
    "river.multioutput.chain.ClassifierChain": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.chain.MonteCarloClassifierChain": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.chain.ProbabilisticClassifierChain": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.chain.RegressorChain": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.encoder.MultiClassEncoder": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.per_output_classifier.PerOutputClassifier": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.multioutput.per_output.PerOutputRegressor": Refusal(_TARGETS, _ONE_PER_TARGET),
    "river.neighbors.knn_classifier.KNNClassifier": Refusal(_WINDOW, "forest.ARFClassifier or forest.AMFClassifier"),
    "river.neighbors.knn_regressor.KNNRegressor": Refusal(_WINDOW, "forest.ARFRegressor or forest.AMFRegressor"),
    "river.preprocessing.gap_encoder.GapEncoder": Refusal(
        "it updates an encoding by iteration for each text that it meets", "OneHotEncoder or OrdinalEncoder"
    ),
    "river.preprocessing.impute.PreviousImputer": Refusal(
        "it fills in None, and what is missing reaches a model as no key at all, so it would fill in nothing",
        "no imputer: scalers, sums and trees go on without what is missing",
    ),
    "river.preprocessing.lda.LDA": Refusal(
        "it draws random numbers and learns while it transforms", "preprocessing.OneHotEncoder"
    ),
    "river.preprocessing.random_projection.GaussianRandomProjector": Refusal(
        _PROJECTS, "feature_extraction.RBFSampler"
    ),
    "river.preprocessing.random_projection.SparseRandomProjector": Refusal(_PROJECTS, "feature_extraction.RBFSampler"),
    "river.reco.baseline.Baseline": Refusal(_PAIR, "facto.FMRegressor with user and item as categories"),
    "river.reco.biased_mf.BiasedMF": Refusal(_PAIR, "facto.FMRegressor with user and item as categories"),
    "river.reco.funk_mf.FunkMF": Refusal(_PAIR, "facto.FMRegressor with user and item as categories"),
    "river.reco.normal.RandomNormal": Refusal("it answers a random number", "dummy.StatisticRegressor"),
    "river.rules.amrules.AMRules": Refusal(_NOT_YET, "tree.HoeffdingTreeRegressor"),
    "river.rules.amrules.AdaptiveRegressor": Refusal(_RULE, "tree.HoeffdingTreeRegressor"),
    "river.rules.amrules.MeanRegressor": Refusal(_RULE, "dummy.StatisticRegressor(stats.Mean())"),
    "river.rules.amrules.RegRule": Refusal(_RULE, "tree.HoeffdingTreeRegressor"),
    "river.time_series.holt_winters.HoltWinters": Refusal(_HORIZON, "linear_model.LinearRegression on lagged features"),
    "river.time_series.snarimax.SNARIMAX": Refusal(_HORIZON, "linear_model.LinearRegression on lagged features"),
    "river.tree.isoup_tree_regressor.ISOUPTreeRegressor": Refusal(_TARGETS, _ONE_PER_TARGET),
}

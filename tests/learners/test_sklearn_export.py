"""A scikit-learn model becomes an artifact that answers as it does, with River learners inside it or without."""

from __future__ import annotations

import json
import math
import pickle
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
import skl2onnx
from onnx import numpy_helper
from river import compat, feature_extraction, forest, linear_model, multiclass, neighbors, preprocessing, tree
from river.compat import convert_river_to_sklearn as wrapped
from skl2onnx.common.data_types import DoubleTensorType
from sklearn import ensemble
from sklearn import tree as trees
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from learners.onnx_export.graph import IR_VERSION, ML_OPSET, OPSET
from learners.sklearn_export import check_sklearn_parity, sklearn_to_onnx
from schemas.errors import ModelFileError, NotExportable, ReleaseRefused

ROOT = Path(__file__).parents[2]
NUMBERS = {"price": float, "hour of day": float, "naïve": float}
MIXED = {"price": float, "hour of day": float, "country": str, "naïve": float}  # a text between numbers

_CHANCE = np.random.default_rng(3)
X = _CHANCE.normal(size=(300, 3)).round(1)
ASKED = _CHANCE.normal(size=(120, 3)).round(2)
COUNTRIES = ("at", "b_c", "é")
TEXTS = _CHANCE.choice(COUNTRIES, size=300)
X_MIXED = np.array([[a, b, text, c] for (a, b, c), text in zip(X.tolist(), TEXTS.tolist(), strict=True)], object)
YES_NO = (X[:, 0] + X[:, 1] > 0.3).astype(int)
THREE = np.array(["low", "middle", "high"])[YES_NO + (X[:, 2] > 0.3)]
AMOUNT = X @ [1.0, -2.0, 3.0] + X[:, 0] ** 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Boosting by histograms waits for its threads, on a busy machine for seconds."""
    with threadpool_limits(1):
        yield


def numeric_rows() -> list[dict[str, Any]]:
    return [dict(zip(NUMBERS, row, strict=True)) for row in ASKED.tolist()]


def mixed_rows() -> list[dict[str, Any]]:
    countries = _CHANCE.choice([*COUNTRIES, "unknown"], size=len(ASKED)).tolist()
    return [{**row, "country": country} for row, country in zip(numeric_rows(), countries, strict=True)]


def artifact(model: Any, columns: Any = NUMBERS) -> bytes:
    return bytes(sklearn_to_onnx(model, columns, name="test", version=3).SerializeToString())


def encoded() -> ColumnTransformer:
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("text", texts, [2]), ("numbers", "passthrough", [0, 1, 3])])


def hoeffding() -> Any:
    return wrapped(tree.HoeffdingTreeClassifier(grace_period=30, max_depth=4))


def linear() -> Any:
    return wrapped(preprocessing.StandardScaler() | linear_model.LogisticRegression())


def vote(**members: Any) -> VotingClassifier:
    return VotingClassifier([*members.items()], voting="soft", flatten_transform=False)


HELD_BY_SKLEARN: dict[str, tuple[Callable[[], Any], Any]] = {
    "a River pipeline": (linear, YES_NO),
    "a wrapped pipeline": (
        lambda: compat.River2SKLClassifier(preprocessing.MinMaxScaler() | hoeffding().instance_),
        THREE,
    ),
    "classes that are numbers": (hoeffding, YES_NO * 5 - 1),
    "a forest": (lambda: wrapped(forest.AMFClassifier(n_estimators=3, seed=1)), THREE),
    "behind a scaler": (lambda: make_pipeline(StandardScaler(), hoeffding()), THREE),
    "before a classifier": (
        lambda: make_pipeline(wrapped(preprocessing.StandardScaler()), LogisticRegression()),
        THREE,
    ),
    "a vote": (lambda: vote(river=linear(), sklearn=LogisticRegression()), np.where(YES_NO, "yes", "no")),
    "a vote of three": (lambda: vote(r=hoeffding(), s=LogisticRegression(), f=RandomForestClassifier(3)), THREE),
    "a stack": (lambda: StackingClassifier([("r", hoeffding()), ("s", LogisticRegression())], cv=2), THREE),
    "a regressor": (lambda: wrapped(preprocessing.StandardScaler() | linear_model.LinearRegression()), AMOUNT),
    "a vote of regressors": (
        lambda: VotingRegressor(
            [("r", wrapped(tree.HoeffdingTreeRegressor(grace_period=30))), ("s", LinearRegression())]
        ),
        AMOUNT,
    ),
}


@pytest.mark.parametrize("name", HELD_BY_SKLEARN)
def test_river_inside_sklearn_converts_as_a_whole(name: str) -> None:
    """One graph answers as the scikit-learn model does, River's part included."""
    make, target = HELD_BY_SKLEARN[name]
    model = make().fit(X, target)
    before = pickle.dumps(model)

    exported = artifact(model)
    parity = check_sklearn_parity(model, exported, numeric_rows())

    assert parity.max_abs_diff < 1e-12
    assert pickle.dumps(model) == before, "converting or comparing changed the model"


@pytest.mark.parametrize(
    "last", [hoeffding, linear, lambda: vote(r=hoeffding(), s=LogisticRegression())], ids=["tree", "linear", "vote"]
)
def test_texts_are_encoded_by_sklearn_in_front_of_river(last: Callable[[], Any]) -> None:
    """A ColumnTransformer one-hot encodes the texts, unknown ones included, and River sees numbers."""
    model = make_pipeline(encoded(), last()).fit(X_MIXED, YES_NO)

    exported = sklearn_to_onnx(model, MIXED, name="test", version=3)
    parity = check_sklearn_parity(model, exported.SerializeToString(), mixed_rows())

    assert parity.max_abs_diff < 1e-12
    assert [value.name for value in exported.graph.input] == ["numbers", "categories"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [(["country"], ["naïve", "price"]), ("country", slice("price", "hour of day")), ([2], slice(0, 2))],
    ids=["names", "slice of names", "places"],
)
def test_columns_of_a_table_may_be_chosen_by_name(text: Any, numbers: Any) -> None:
    """A ColumnTransformer that was fitted on a table gets its columns wherever they stand."""
    table = pa.table({name: X_MIXED[:, place].tolist() for place, name in enumerate(MIXED)})
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    chosen = [text] if isinstance(text, str) else text
    columns = ColumnTransformer([("text", texts, chosen), ("numbers", StandardScaler(), numbers)])
    model = make_pipeline(columns, hoeffding()).fit(table, THREE)

    parity = check_sklearn_parity(model, artifact(model, MIXED), mixed_rows())

    assert parity.max_abs_diff < 1e-12


def test_a_model_of_a_table_needs_no_names() -> None:
    """Without a ColumnTransformer the columns of the table are one matrix, in their order."""
    table = pa.table({name: X[:, place] for place, name in enumerate(NUMBERS)})
    model = LogisticRegression().fit(table, THREE)

    parity = check_sklearn_parity(model, artifact(model), numeric_rows())

    assert parity.max_abs_diff < 1e-12
    with pytest.raises(ModelFileError, match="fitted with the columns"):
        artifact(model, {"other": float, "hour of day": float, "naïve": float})


def test_each_member_of_a_vote_may_encode_for_itself() -> None:
    """A pipeline with a ColumnTransformer converts also inside a VotingClassifier."""
    members = {"r": make_pipeline(encoded(), hoeffding()), "s": make_pipeline(encoded(), LogisticRegression())}
    model = vote(**members).fit(X_MIXED, THREE)

    parity = check_sklearn_parity(model, artifact(model, MIXED), mixed_rows())

    assert parity.max_abs_diff < 1e-12


TRAINED_ELSEWHERE: dict[str, tuple[Callable[[], Any], Any]] = {
    "logistic": (LogisticRegression, THREE),
    "network": (lambda: MLPClassifier((4,), tol=1.0), THREE),
    "linear": (LinearRegression, AMOUNT),
    "polynomial": (lambda: make_pipeline(PolynomialFeatures(3), LogisticRegression(max_iter=500)), YES_NO),
    "tree": (lambda: trees.DecisionTreeClassifier(max_depth=6), THREE),
    "extra tree": (lambda: trees.ExtraTreeRegressor(max_depth=6), AMOUNT),
    "forest": (lambda: RandomForestClassifier(8), THREE),
    "forest of numbers": (lambda: ensemble.RandomForestRegressor(8), AMOUNT),
    "bagging": (lambda: ensemble.BaggingClassifier(n_estimators=3), THREE),
    "boosting, yes or no": (lambda: ensemble.GradientBoostingClassifier(n_estimators=8), YES_NO),
    "boosting, exponential": (lambda: ensemble.GradientBoostingClassifier(n_estimators=8, loss="exponential"), YES_NO),
    "boosting, three": (lambda: ensemble.GradientBoostingClassifier(n_estimators=4, init="zero"), THREE),
    "boosting, numbers": (lambda: ensemble.GradientBoostingRegressor(n_estimators=8), AMOUNT),
    "histograms, yes or no": (lambda: ensemble.HistGradientBoostingClassifier(max_iter=4), YES_NO),
    "histograms, three": (lambda: ensemble.HistGradientBoostingClassifier(max_iter=4), THREE),
    "histograms, numbers": (lambda: ensemble.HistGradientBoostingRegressor(max_iter=4), AMOUNT),
}


@pytest.mark.parametrize("name", TRAINED_ELSEWHERE)
def test_models_trained_elsewhere_convert_in_doubles(name: str) -> None:
    """Also trees and boosting, which skl2onnx writes in floats or not at all."""
    make, target = TRAINED_ELSEWHERE[name]
    model = make().fit(X, target)

    exported = sklearn_to_onnx(model, NUMBERS, name="test", version=3)
    parity = check_sklearn_parity(model, exported.SerializeToString(), numeric_rows())

    assert parity.max_abs_diff < 1e-12
    kinds = {value.type.tensor_type.elem_type for value in (*exported.graph.input, *exported.graph.output)}
    assert kinds <= {onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64}


def test_trees_compare_floats_with_double_thresholds() -> None:
    """A row goes as in scikit-learn also where only the rounding of the row to float decides."""
    model = trees.DecisionTreeClassifier().fit(X, THREE)
    grown = model.tree_
    splits = [(grown.feature[i], grown.threshold[i]) for i in range(grown.node_count) if grown.children_left[i] >= 0]
    rows = []
    for feature, threshold in splits:
        for value in (threshold, np.nextafter(threshold, -9), np.nextafter(threshold, 9), threshold + 1e-8):
            rows.append([value if place == feature else 0.2 for place in range(3)])
    assert len({*np.float32(rows)[:, 0]}) < len({*np.array(rows)[:, 0]}), "no row is decided by rounding"

    named = [dict(zip(NUMBERS, map(float, row), strict=True)) for row in rows]
    parity = check_sklearn_parity(model, artifact(model), named)

    assert parity.max_abs_diff == 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(5),
        lambda: ensemble.ExtraTreesClassifier(5),
        lambda: ensemble.HistGradientBoostingClassifier(max_iter=4),
        lambda: make_pipeline(SimpleImputer(strategy="median"), hoeffding()),
    ],
    ids=["forest", "extra trees", "histograms", "imputer"],
)
def test_missing_numbers_are_answered_where_the_model_takes_them(make: Callable[[], Any]) -> None:
    """NaN follows the branch that training chose, or becomes the imputer's statistic."""
    gappy = np.where(np.random.default_rng(5).random(X.shape) < 0.15, np.nan, X)
    model = make().fit(gappy, THREE)
    rows = [{**row, name: math.nan} for row in numeric_rows()[:40] for name in NUMBERS]

    parity = check_sklearn_parity(model, artifact(model), rows)

    assert parity.max_abs_diff < 1e-12


def test_a_row_that_the_wrapper_refuses_is_answered_with_nan() -> None:
    """`river.compat` raises for a NaN; the graph answers NaN and no class, and its neighbours as ever."""
    model = make_pipeline(StandardScaler(), hoeffding()).fit(X, THREE)
    rows = ASKED[:3].copy()
    rows[1, 2] = np.nan
    session = ort.InferenceSession(artifact(model), providers=["CPUExecutionProvider"])

    label, probabilities = session.run(["label", "probabilities"], {"numbers": rows})

    assert label[1] == -1
    assert np.isnan(probabilities[1]).all()
    np.testing.assert_allclose(probabilities[[0, 2]], model.predict_proba(rows[[0, 2]]), atol=1e-12)


def test_artifacts_look_like_those_of_river() -> None:
    """Versions are pinned, the metadata says what an edge needs, and onnx's full check passes strictly."""
    model = make_pipeline(encoded(), hoeffding()).fit(X_MIXED, THREE)

    exported = sklearn_to_onnx(model, MIXED, name="buys", version=3, metadata={"source": "here", "name": "other"})

    onnx.checker.check_model(exported, full_check=True)
    onnx.shape_inference.infer_shapes(exported, check_type=True, strict_mode=True, data_prop=True)
    opsets = {entry.domain: entry.version for entry in exported.opset_import}
    assert (opsets, exported.ir_version) == ({"": OPSET, "ai.onnx.ml": ML_OPSET}, IR_VERSION)
    properties = {entry.key: entry.value for entry in exported.metadata_props}
    assert properties["name"] == "buys"
    assert properties["source"] == "here"
    assert properties["task"] == "classification"
    assert json.loads(properties["numbers"]) == ["price", "hour of day", "naïve"]
    assert json.loads(properties["categories"]) == ["country"]
    assert json.loads(properties["columns"]) == [*MIXED]
    assert json.loads(properties["classes"]) == ["high", "low", "middle"]
    assert {"river", "sklearn", "skl2onnx"} <= properties.keys()
    assert [value.name for value in exported.graph.output] == ["label", "probabilities"]


def move_a_weight(exported: onnx.ModelProto, model: Any) -> None:
    """One of River's weights is off by a millionth."""
    weight = model[-1].instance_.weights[1]
    for constant in exported.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float64 and weight in values:
            constant.CopyFrom(numpy_helper.from_array(np.where(values == weight, weight + 1e-6, values), constant.name))
            return
    raise AssertionError("the graph does not hold the weight")


def swap_the_labels(exported: onnx.ModelProto, model: Any) -> None:
    """Two labels stand for each other."""
    encoder = next(node for node in exported.graph.node if "label" in node.output)
    values = next(attribute for attribute in encoder.attribute if attribute.name == "values_tensor")
    values.t.CopyFrom(numpy_helper.from_array(np.array([1, 0], np.int64), "values"))


@pytest.mark.parametrize("mutate", [move_a_weight, swap_the_labels])
def test_parity_catches_a_wrong_graph(mutate: Callable[[onnx.ModelProto, Any], None]) -> None:
    """A graph that answers otherwise is refused, so that agreement means something."""
    model = make_pipeline(wrapped(linear_model.LogisticRegression())).fit(X, YES_NO)
    exported = sklearn_to_onnx(model, NUMBERS, name="test", version=3)
    check_sklearn_parity(model, exported.SerializeToString(), numeric_rows())

    mutate(exported, model)

    with pytest.raises(ReleaseRefused, match="parity"):
        check_sklearn_parity(model, exported.SerializeToString(), numeric_rows())


@pytest.mark.parametrize("rows", [[], [{"price": 1.0}], [{**dict.fromkeys(NUMBERS, 1.0), "other": 1.0}]])
def test_parity_wants_whole_rows(rows: list[dict[str, float]]) -> None:
    """No rows prove nothing, and a row that lacks a column, or has another, is not silently filled or cut."""
    model = LogisticRegression().fit(X, YES_NO)

    with pytest.raises(ReleaseRefused, match="needs the columns"):
        check_sklearn_parity(model, artifact(model), rows)


REFUSED: dict[str, tuple[Callable[[], Any], Any, str, str]] = {
    "deep inside": (
        lambda: make_pipeline(
            StandardScaler(), vote(near=wrapped(neighbors.KNNClassifier()), other=LogisticRegression())
        ),
        YES_NO,
        "Pipeline/votingclassifier/near/KNNClassifier",
        "window of rows",
    ),
    "a step of a pipeline": (
        lambda: wrapped(preprocessing.PreviousImputer() | linear_model.LogisticRegression()),
        YES_NO,
        "Pipeline/PreviousImputer/PreviousImputer",
        "PreviousImputer",
    ),
    "only a class": (
        lambda: wrapped(multiclass.OneVsOneClassifier(linear_model.LogisticRegression())),
        THREE,
        "River2SKLClassifier/OneVsOneClassifier",
        "no probability",
    ),
    "texts of a yes/no learner": (
        linear,
        np.where(YES_NO, "yes", "no"),
        "Pipeline/LogisticRegression/LogisticRegression",
        "LabelEncoder",
    ),
    "names joined": (
        lambda: make_pipeline(wrapped(feature_extraction.PolynomialExtender()), LogisticRegression()),
        YES_NO,
        "Pipeline/river2skltransformer/PolynomialExtender",
        "PolynomialFeatures",
    ),
    "floats": (lambda: make_pipeline(StandardScaler(), SVC()), THREE, "Pipeline", "no probability"),
    "floats in a vote": (
        lambda: VotingRegressor([("a", LinearRegression()), ("b", make_pipeline(StandardScaler(), SVR()))]),
        AMOUNT,
        "VotingRegressor/b/svr",
        "SVMRegressor",
    ),
    "neighbours": (KNeighborsClassifier, THREE, "KNeighborsClassifier", "equally near"),
    "thresholds": (lambda: make_pipeline(Binarizer(), LogisticRegression()), THREE, "Pipeline/binarizer", "equals"),
    "discriminant": (LinearDiscriminantAnalysis, THREE, "LinearDiscriminantAnalysis", "wrong"),
    "no probabilities": (RidgeClassifier, THREE, "RidgeClassifier", "no probability"),
    "clipped": (lambda: SGDClassifier(loss="modified_huber"), THREE, "SGDClassifier", "log_loss"),
    "new categories": (
        lambda: make_pipeline(OneHotEncoder(), LogisticRegression()),
        THREE,
        "Pipeline/onehotencoder",
        "ignore",
    ),
    "a mask": (
        lambda: make_pipeline(ColumnTransformer([("a", StandardScaler(), [True, False, True])]), LogisticRegression()),
        THREE,
        "Pipeline/columntransformer",
        "mask",
    ),
    "a transformer": (StandardScaler, None, "StandardScaler", "neither classifier nor regressor"),
    "classes that are floats": (LogisticRegression, YES_NO.astype(float), "LogisticRegression", "float"),
    "a vote that skl2onnx cannot read": (
        lambda: VotingClassifier([("a", LogisticRegression())], voting="soft"),
        THREE,
        "VotingClassifier",
        "flatten_transform=False",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exact_is_refused_by_its_path(name: str) -> None:
    """The error names the estimator, where it stands in the scikit-learn model, why, and what to use instead."""
    make, target, step, said = REFUSED[name]
    model = make().fit(X) if target is None else make().fit(X, target)

    with pytest.raises(NotExportable) as refused:
        artifact(model)

    assert refused.value.step == step
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"price": float}, "fitted with 3 columns, and 1 are named"),
        ({"price": float, "hour": int, "naïve": float}, "write float for a number"),
    ],
)
def test_columns_that_do_not_fit_are_named(columns: Any, said: str) -> None:
    """A wrong number of columns and a wrong type are errors of the caller, before any conversion."""
    model = LogisticRegression().fit(X, THREE)

    with pytest.raises(ModelFileError, match=said):
        artifact(model, columns)


@pytest.mark.parametrize("model", [LogisticRegression(), wrapped(linear_model.LogisticRegression())])
def test_a_model_that_is_not_fitted_is_named(model: Any) -> None:
    """Nothing was learned, so neither columns nor classes are known."""
    with pytest.raises(ModelFileError, match="fitted"):
        artifact(model)


def test_skl2onnx_alone_converts_the_wrappers() -> None:
    """Who calls skl2onnx itself gets River's part too, or an error where skl2onnx cannot announce its operators."""
    types = [("X", DoubleTensorType([None, 3]))]
    model = make_pipeline(StandardScaler(), linear()).fit(X, YES_NO)
    grown = make_pipeline(StandardScaler(), wrapped(forest.AMFClassifier(n_estimators=2, seed=1))).fit(X, YES_NO)

    exported = skl2onnx.convert_sklearn(model, initial_types=types, target_opset=20, options={"zipmap": False})
    session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    _, probabilities = session.run(None, {"X": ASKED})

    np.testing.assert_allclose(probabilities, model.predict_proba(ASKED), atol=1e-12)
    with pytest.raises(NotExportable, match=r"sklearn_to_onnx"):
        skl2onnx.convert_sklearn(grown, initial_types=types, target_opset=20, options={"zipmap": False})
    with pytest.raises(NotExportable, match="opset 20"):
        skl2onnx.convert_sklearn(model, initial_types=types, target_opset=18, options={"zipmap": False})


@pytest.mark.parametrize("name", ["river_in_sklearn", "sklearn_trained_elsewhere"])
def test_examples_run_as_they_stand(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each prints sizes and worst differences."""
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")

    assert "bytes   worst of 301 rows" in capsys.readouterr().out

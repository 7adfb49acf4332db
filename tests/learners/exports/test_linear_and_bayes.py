"""Linear models, naive Bayes, many classes from two, and dummies answer as River's do."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from river import compose, dummy, linear_model, multiclass, naive_bayes, optim, preprocessing, stats, utils

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.onnx_export.error_function import _POINTS, erf
from learners.onnx_export.graph import Graph
from learners.parity import Parity, check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import (
    CATEGORIES,
    Row,
    Stream,
    assert_exact,
    flat,
    gappy,
    gappy_flat,
    mixed,
    numeric,
)


def numbers_of(**encoder: Any) -> Any:
    """Texts one-hot encoded beside the numbers."""
    return (compose.SelectType(str) | preprocessing.OneHotEncoder(**encoder)) + compose.SelectType(float)


def texts(**encoder: Any) -> Any:
    """Only texts, one-hot encoded."""
    return compose.SelectType(str) | preprocessing.OneHotEncoder(**encoder)


def scaled() -> Any:
    return numbers_of() | preprocessing.StandardScaler()


def logistic() -> Any:
    return linear_model.LogisticRegression()


def gaussian() -> Any:
    return preprocessing.StandardScaler() | naive_bayes.GaussianNB()


POISSON = {"loss": optim.losses.Poisson(), "optimizer": optim.SGD(1e-4), "clip_gradient": 1.0}

MODELS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "logistic, hinge": ("binary", lambda: scaled() | linear_model.LogisticRegression(loss=optim.losses.Hinge())),
    "perceptron": ("binary", lambda: scaled() | linear_model.Perceptron()),
    "passive aggressive": ("binary", lambda: numbers_of() | linear_model.PAClassifier(C=0.01, mode=2)),
    "ALMA": ("binary", lambda: numbers_of(drop_zeros=True) | linear_model.ALMAClassifier()),
    "AdPredictor": ("binary", lambda: numbers_of() | linear_model.AdPredictor()),
    "AdPredictor of present keys": (
        "binary",
        lambda: numbers_of(drop_zeros=True) | linear_model.AdPredictor(epsilon=0.0),
    ),
    "passive aggressive regressor": ("regression", lambda: scaled() | linear_model.PARegressor(C=0.01, mode=2)),
    "Bayesian": ("regression", lambda: numbers_of() | linear_model.BayesianLinearRegression()),
    "Bayesian, smoothed": ("regression", lambda: numbers_of() | linear_model.BayesianLinearRegression(smoothing=0.99)),
    "Poisson": ("regression", lambda: scaled() | linear_model.LinearRegression(**POISSON)),
    "Huber": (
        "regression",
        lambda: scaled() | linear_model.LinearRegression(loss=optim.losses.Huber(), optimizer=optim.AdaGrad(0.1)),
    ),
    "softmax": ("multiclass", lambda: scaled() | linear_model.SoftmaxRegression()),
    "softmax of keys": ("multiclass", lambda: numbers_of() | linear_model.SoftmaxRegression(optim.Adam(0.01))),
    "softmax of present keys": (
        "binary",
        lambda: numbers_of(drop_zeros=True) | linear_model.SoftmaxRegression(l2=0.01),
    ),
    "Gaussian": ("multiclass", lambda: numbers_of() | naive_bayes.GaussianNB()),
    "Gaussian of present keys": ("multiclass", lambda: numbers_of(drop_zeros=True) | naive_bayes.GaussianNB()),
    "multinomial": ("multiclass", lambda: numbers_of() | naive_bayes.MultinomialNB()),
    "multinomial of 0 to 1": (
        "multiclass",
        lambda: compose.SelectType(float) | preprocessing.MinMaxScaler() | naive_bayes.MultinomialNB(),
    ),
    "complement": ("multiclass", lambda: numbers_of() | naive_bayes.ComplementNB()),
    "Bernoulli": ("multiclass", lambda: numbers_of() | naive_bayes.BernoulliNB()),
    "Bernoulli where 0 is above": ("binary", lambda: numbers_of() | naive_bayes.BernoulliNB(0.1, true_threshold=-0.5)),
    "Bernoulli unsmoothed": ("multiclass", lambda: numbers_of(drop_zeros=True) | naive_bayes.BernoulliNB(alpha=0.0)),
    "one against the rest": ("multiclass", lambda: scaled() | multiclass.OneVsRestClassifier(logistic())),
    "one against the rest, pipelines": (
        "multiclass",
        lambda: numbers_of() | multiclass.OneVsRestClassifier(gaussian()),
    ),
    "each against each": ("multiclass", lambda: scaled() | multiclass.OneVsOneClassifier(logistic())),
    "each against each, pipelines": ("multiclass", lambda: numbers_of() | multiclass.OneVsOneClassifier(gaussian())),
    "codes": ("multiclass", lambda: scaled() | multiclass.OutputCodeClassifier(logistic(), 10, seed=1)),
    "codes, pipelines": (
        "multiclass",
        lambda: numbers_of() | multiclass.OutputCodeClassifier(gaussian(), 5, "exact", 1),
    ),
    "last class": ("multiclass", dummy.NoChangeClassifier),
    "prior": ("binary", dummy.PriorClassifier),
    "statistic": ("regression", lambda: dummy.StatisticRegressor(stats.Quantile(0.9))),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exact(name: str) -> None:
    """Untrained, halfway and at the end, with features missing, unseen or never varying."""
    target, make = MODELS[name]

    parity = assert_exact(make, gappy_flat(target))

    assert parity.max_abs_diff <= 1e-12


KEYED: dict[str, Callable[[float], Any]] = {
    "multinomial": naive_bayes.MultinomialNB,
    "complement": naive_bayes.ComplementNB,
    "Bernoulli": naive_bayes.BernoulliNB,
}


@pytest.mark.parametrize("drop_zeros", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("name", KEYED)
def test_bags_of_keys_are_exact(name: str, alpha: float, drop_zeros: bool) -> None:
    """Counts of keys, with a key that nobody met: smoothed by alpha, or, with none, no answer where River raises."""
    parity = assert_exact(lambda: texts(drop_zeros=drop_zeros) | KEYED[name](alpha), gappy("multiclass"))

    assert parity.max_abs_diff <= 1e-12


@pytest.mark.parametrize("name", KEYED)
def test_fixed_categories_are_exact(name: str) -> None:
    """A value that the encoder may not emit says nothing; one that it may, and nobody learned, is unmet."""
    categories = {CATEGORIES[0]: {"at", "nowhere"}, CATEGORIES[1]: {"é"}}

    parity = assert_exact(
        lambda: texts(categories=categories) | KEYED[name](1.0),
        mixed("multiclass"),
        held=[{CATEGORIES[0]: "nowhere"}, {CATEGORIES[0]: "nowhere", CATEGORIES[1]: "é"}, {CATEGORIES[1]: "at"}],
    )

    assert parity.max_abs_diff <= 1e-12


@pytest.mark.parametrize(
    "model",
    [
        naive_bayes.GaussianNB(),
        naive_bayes.MultinomialNB(),
        naive_bayes.ComplementNB(),
        naive_bayes.BernoulliNB(),
        linear_model.SoftmaxRegression(),
        multiclass.OneVsRestClassifier(logistic()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_absent_features_are_exact(model: Any) -> None:
    """A feature that one class never had, one that no class had, and one that is not there."""
    counts = [({"a": 2.0, "b": 1.0}, "x"), ({"a": 1.0}, "y"), ({"b": 4.0, "c": 1.0}, "y"), ({"a": 3.0}, "x"), ({}, "z")]
    rows: list[Row] = [{"a": 1.0, "new": 2.0}, {"new": 5.0}, {"c": 1.0}, {"a": 1.0, "b": 2.0, "c": 3.0, "new": 4.0}]

    parity = assert_exact(lambda: model, Stream(("a", "b", "c", "new"), (), tuple(counts), tuple(rows)))

    assert parity.max_abs_diff <= 1e-12


@hypothesis_settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 30),
    n_classes=st.integers(1, 6),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
    name=st.sampled_from(
        [
            "softmax",
            "Gaussian",
            "multinomial",
            "complement",
            "Bernoulli",
            "one against the rest",
            "each against each",
            "codes",
        ]
    ),
)
def test_made_streams_are_exact(seed: int, n: int, n_classes: int, missing: float, name: str) -> None:
    """Any number of classes, met in any order, from the first example on."""
    chance = random.Random(seed)

    def row() -> dict[str, float | str]:
        full: dict[str, float | str] = {f"n{i}.é": abs(chance.gauss(1.0, 2.0)) for i in range(3)}
        full |= {"of day": chance.choice(["a", "b", "c", "d_e"]), "of day 2": chance.choice(["", "b "])}
        return {name: value for name, value in full.items() if value != "" and chance.random() >= missing}

    examples = tuple((row(), chance.randrange(n_classes)) for _ in range(n))
    stream = Stream(("n0.é", "n1.é", "n2.é"), ("of day", "of day 2"), examples, tuple(row() for _ in range(10)))

    parity = assert_exact(MODELS[name][1], stream)

    assert parity.max_abs_diff <= 1e-10


def learned(make: Callable[[], Any], stream: Stream) -> Any:
    model = make()
    for x, y in stream.examples:
        model.learn_one(dict(x), y)
    return model


def export(model: Any, stream: Stream) -> onnx.ModelProto:
    return to_onnx(model, stream.numbers, stream.categories, name="test", version=1)


def parity_of(model: Any, exported: onnx.ModelProto, stream: Stream) -> Parity:
    return check_parity(model, exported.SerializeToString(), [*stream.held, *(x for x, _ in stream.examples)])


def test_votes_go_to_whom_was_voted_for_first() -> None:
    """Three classes that beat each other in a circle have one vote each: the first pair decides, row by row."""
    model = multiclass.OneVsOneClassifier(linear_model.LogisticRegression())
    for label in "abc":
        model.learn_one({"p": 1.0}, label)
    # (a, b), (a, c), (b, c): the sign of each feature decides one pair.
    for pair, name in zip([("a", "b"), ("a", "c"), ("b", "c")], "pqr", strict=True):
        classifier = model.classifiers[pair]
        classifier.intercept = 0.0
        classifier._weights = utils.VectorDict({name: 1.0})
    rows = [{"p": p, "q": q, "r": r} for p in (-1.0, 1.0) for q in (-1.0, 1.0) for r in (-1.0, 1.0)]
    assert [model.predict_one({"p": p, "q": -p, "r": p}) for p in (-1.0, 1.0)] == ["a", "b"]

    parity = check_parity(model, to_onnx(model, "pqr", [], name="test", version=1).SerializeToString(), rows)

    assert parity.rows > len(rows)


def test_overflow_of_an_exponential_is_no_answer() -> None:
    """River's math.exp raises there; the graph answers NaN, and the largest double before it."""
    model = linear_model.LinearRegression(**POISSON)
    model._weights = utils.VectorDict({"a": 1.0})
    rows: list[Row] = [{"a": 709.7}, {"a": 709.8}, {"a": -800.0}]

    parity = check_parity(model, to_onnx(model, ["a"], [], name="test", version=1).SerializeToString(), rows)

    assert parity.max_abs_diff <= 1e-12


def test_error_function_is_exact() -> None:
    """Over the whole line, and at the points of the interpolation, within 2e-15 of Python's."""
    graph = Graph()
    column = graph.input("z", TensorProto.DOUBLE, 1)
    graph.output("erf", erf(graph, column), TensorProto.DOUBLE, ["N", 1])
    session = ort.InferenceSession(graph.model("erf", 1, {}).SerializeToString(), providers=["CPUExecutionProvider"])
    z = np.array([*np.linspace(-8.0, 8.0, 20_001), *_POINTS, *-_POINTS, 0.0, 6.0, 1e-300, 1e300, -1e300])

    answered = session.run(["erf"], {"z": z[:, None]})[0][:, 0]

    np.testing.assert_allclose(answered, [math.erf(value) for value in z], rtol=0.0, atol=2e-15)


@pytest.mark.parametrize(
    "statistic",
    [
        stats.Mean(),
        stats.EWMean(0.3),
        stats.Var(),
        stats.Mode(),
        stats.Kurtosis(),
        stats.Shift(2),
        stats.IQR(),
        stats.RollingQuantile(0.5, 5),
        utils.Rolling(stats.Mean, window_size=5),
    ],
    ids=lambda statistic: type(statistic).__name__,
)
def test_statistics_are_exact(statistic: Any) -> None:
    """Whatever the statistic says now, also while it says nothing yet."""
    parity = assert_exact(lambda: dummy.StatisticRegressor(statistic), numeric("regression", n=40))

    assert 0.0 == parity.max_abs_diff


def test_statistic_of_nothing_that_is_infinite_is_not_released() -> None:
    """The greatest of no numbers is minus infinity, which is no prediction."""
    model = dummy.StatisticRegressor(stats.Max())

    with pytest.raises(ReleaseRefused):
        to_onnx(model, ["a"], [], name="test", version=1)

    model.learn_one({}, 2.0)
    assert check_parity(model, to_onnx(model, ["a"], [], name="test", version=1).SerializeToString(), []).rows > 0


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (multiclass.OneVsRestClassifier(multiclass.OneVsOneClassifier(logistic())), "gives no probabilities"),
        (multiclass.OutputCodeClassifier(multiclass.OneVsOneClassifier(logistic()), 4), "gives no probabilities"),
        (multiclass.OutputCodeClassifier(logistic(), 0), "no bits"),
        (multiclass.OneVsOneClassifier(preprocessing.LDA() | logistic()), "LDA"),
        (naive_bayes.BernoulliNB(alpha=-1.0), "alpha"),
        (linear_model.AdPredictor(prior_probability=0.1), "first row"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_what_is_not_exact_is_refused_before_any_data(model: Any, reason: str) -> None:
    """When the model file is loaded, by name and with the reason."""
    with pytest.raises(NotExportable, match=reason):
        refuse_unexportable(model)


@pytest.mark.parametrize(
    "model",
    [
        naive_bayes.GaussianNB(),
        naive_bayes.MultinomialNB(),
        naive_bayes.BernoulliNB(),
        linear_model.SoftmaxRegression(),
        linear_model.AdPredictor(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_texts_are_refused(model: Any) -> None:
    """None of them reads texts: they are one-hot encoded first."""
    with pytest.raises(NotExportable, match=r"the text 'c' reaches it.*OneHotEncoder"):
        to_onnx(model, ["a"], ["c"], name="test", version=1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "model",
    [
        naive_bayes.GaussianNB(),
        naive_bayes.MultinomialNB(),
        linear_model.SoftmaxRegression(),
        linear_model.PARegressor(),
        linear_model.BayesianLinearRegression(),
        multiclass.OneVsRestClassifier(linear_model.PAClassifier()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_that_saw_nan_or_inf_is_not_released(model: Any, bad: float) -> None:
    """NaN in a learner is never taken for "River raises" or for a missing feature."""
    broken = model.clone()
    for value in (1.0, bad, 2.0):
        broken.learn_one({"a": value}, 1)

    with pytest.raises(ReleaseRefused, match=r"finite|variance"):
        to_onnx(broken, ["a"], [], name="test", version=1)


def test_thousands_of_keys_stay_a_table() -> None:
    """Three thousand values of one category are rows of one table, and no columns."""
    model = texts(drop_zeros=True) | naive_bayes.MultinomialNB()
    for i in range(3000):
        model.learn_one({"sku": f"v{i}"}, "abc"[i % 3])

    exported = to_onnx(model, [], ["sku"], name="test", version=1)

    assert exported.ByteSize() < 200_000
    assert check_parity(model, exported.SerializeToString(), [{"sku": "v7"}, {"sku": "v2999"}]).max_abs_diff <= 1e-12


def moved(exported: onnx.ModelProto, by: float) -> list[onnx.ModelProto]:
    """A copy for each table of doubles, with its greatest number moved."""
    copies = []
    for place, constant in enumerate(exported.graph.initializer):
        table = numpy_helper.to_array(constant)
        if constant.data_type != TensorProto.DOUBLE or table.size < 3:
            continue
        copy = onnx.ModelProto()
        copy.CopyFrom(exported)
        changed = table.copy()
        changed.flat[np.where(np.isfinite(changed), np.abs(changed), -1.0).argmax()] += by
        copy.graph.initializer[place].CopyFrom(
            helper.make_tensor(constant.name, TensorProto.DOUBLE, table.shape, changed.tobytes(), raw=True)
        )
        copies.append(copy)
    return copies


@pytest.mark.parametrize(
    "make",
    [
        MODELS["softmax"][1],
        MODELS["Gaussian"][1],
        MODELS["one against the rest"][1],
        *(lambda last=last: texts() | last() for last in KEYED.values()),
    ],
    ids=["softmax", "Gaussian", "one against the rest", *KEYED],
)
def test_a_number_moved_by_a_millionth_is_found(make: Callable[[], Any]) -> None:
    """In every table of the graph."""
    stream = mixed("multiclass", n=150)
    model = learned(make, stream)
    mutants = moved(export(model, stream), 1e-6)
    assert mutants

    for mutant in mutants:
        with pytest.raises(ReleaseRefused):
            parity_of(model, mutant, stream)


@pytest.mark.parametrize("name", ["multinomial", "complement"])
def test_a_key_nobody_met_taken_for_a_missing_one_is_found(name: str) -> None:
    """The table's first row is for keys that nobody met, the second for none; here both are the second."""
    stream = mixed("multiclass", n=150)
    model = learned(lambda: texts() | KEYED[name](1.0), stream)
    mutant = export(model, stream)
    node = next(node for node in mutant.graph.node if node.op_type == "LabelEncoder")
    default = next(entry for entry in node.attribute if entry.name == "default_tensor")
    default.t.CopyFrom(numpy_helper.from_array(np.array([1.0]), "default"))

    with pytest.raises(ReleaseRefused):
        parity_of(model, mutant, stream)


def test_votes_in_another_order_are_found() -> None:
    """If the last pair decided between equals, and not the first, it would show."""
    stream = flat("multiclass")
    model = multiclass.OneVsOneClassifier(linear_model.LogisticRegression())
    for label in "abcd":
        model.learn_one({"price": 1.0}, label)
    for i, classifier in enumerate(model.classifiers.values()):
        classifier._weights = utils.VectorDict({stream.numbers[i % 3]: (-1.0) ** (i // 3)})
    mutant = export(model, stream)
    assert "d" in json.loads(next(entry.value for entry in mutant.metadata_props if entry.key == "classes"))
    parity_of(model, mutant, stream)
    ranks = next(node for node in mutant.graph.node if node.op_type == "ReduceMax").input[0]
    product = next(node for node in mutant.graph.node if node.output[0] == ranks)
    constant = next(entry for entry in mutant.graph.initializer if entry.name == product.input[1])
    table = numpy_helper.to_array(constant)
    constant.CopyFrom(
        helper.make_tensor(constant.name, TensorProto.DOUBLE, table.shape, (7.0 - table).tobytes(), raw=True)
    )

    with pytest.raises(ReleaseRefused):
        parity_of(model, mutant, stream)

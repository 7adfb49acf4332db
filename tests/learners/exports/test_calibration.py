"""Calibrated classifiers and thresholds answer in the graph what they answer in Python, whatever is inside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from river import (
    compose,
    drift,
    dummy,
    ensemble,
    forest,
    imblearn,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    tree,
)

from learners.calibration import IsotonicCalibrated, PlattCalibrated, Thresholded
from learners.onnx_export import refuse_unexportable, to_onnx
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import (
    NUMBERS,
    Row,
    Stream,
    assert_exact,
    flat,
    gappy,
    gappy_numeric,
    numeric,
)


def scaled() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def encoded() -> Any:
    return (compose.SelectType(str) | preprocessing.OneHotEncoder()) + (
        compose.SelectType(float) | preprocessing.StandardScaler()
    )


def hoeffding(leaf_prediction: str = "nba") -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=20, delta=0.1, leaf_prediction=leaf_prediction)


def under_sampled() -> Any:
    return imblearn.RandomUnderSampler(scaled(), {False: 0.8, True: 0.2}, seed=1)


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "Platt": lambda classifier: PlattCalibrated(classifier, memory_examples=200),
    "isotonic": lambda classifier: IsotonicCalibrated(classifier, memory_examples=200),
    "threshold": lambda classifier: Thresholded(classifier, at=0.3),
}
INSIDE: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "last step": lambda wrap: encoded() | wrap(linear_model.LogisticRegression()),
    "around a pipeline": lambda wrap: wrap(encoded() | linear_model.LogisticRegression()),
    "tree": lambda wrap: encoded() | wrap(hoeffding()),
    "tree that counts": lambda wrap: wrap(hoeffding("mc")),
    "forest": lambda wrap: wrap(forest.ARFClassifier(n_models=2, grace_period=20, leaf_prediction="mc", seed=1)),
    "naive Bayes": lambda wrap: encoded() | wrap(naive_bayes.GaussianNB()),
    "bagging": lambda wrap: encoded() | wrap(ensemble.BaggingClassifier(linear_model.LogisticRegression(), 2, seed=1)),
    "no change": lambda wrap: wrap(dummy.NoChangeClassifier()),
}


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_graph_answers_what_python_answers(wrapper: str, inside: str) -> None:
    """Untrained, halfway and at the end, with features missing and values unseen."""
    parity = assert_exact(lambda: INSIDE[inside](WRAPPERS[wrapper]), gappy("binary").first(80))

    assert parity.max_abs_diff < 1e-12


@pytest.mark.parametrize("stream", [numeric, flat], ids=["numeric", "flat"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_numbers_alone_are_enough(wrapper: str, stream: Callable[[Any], Stream]) -> None:
    """Also where one of them never varies."""
    assert_exact(lambda: WRAPPERS[wrapper](scaled()), stream("binary").first(80))


NESTED: dict[str, Callable[[], Any]] = {
    "a threshold on calibrated probabilities": lambda: Thresholded(PlattCalibrated(under_sampled()), at=0.2),
    "a calibrated threshold": lambda: PlattCalibrated(Thresholded(scaled(), at=0.2)),
    "calibrated twice": lambda: IsotonicCalibrated(PlattCalibrated(scaled())),
    "of few places": lambda: IsotonicCalibrated(scaled(), places=2, prior_examples=0.1),
    "of many places": lambda: IsotonicCalibrated(scaled(), places=200, prior_examples=0.01),
    "a threshold of all": lambda: Thresholded(scaled(), at=0.0),
    "a threshold of none": lambda: Thresholded(scaled(), at=1.0),
    "retrained after a drift": lambda: PlattCalibrated(drift.DriftRetrainingClassifier(scaled())),
    "calibrated members": lambda: ensemble.BaggingClassifier(PlattCalibrated(scaled()), 2, seed=1),
    "selected features": lambda: PlattCalibrated(compose.Select("price", "naïve") | scaled()),
}


@pytest.mark.parametrize("name", NESTED)
def test_they_stand_inside_one_another(name: str) -> None:
    """And inside and around what else wraps classifiers; a row that River cannot answer is NaN."""
    assert_exact(NESTED[name], gappy_numeric("binary").first(80))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_one_class_met_is_not_both(wrapper: str) -> None:
    """A classifier that has met only one answer, or none, leaves the other out of its own."""
    stream = gappy_numeric("binary").first(40)
    of_yes = Stream(stream.numbers, (), tuple((x, True) for x, _ in stream.examples), stream.held)

    assert_exact(lambda: WRAPPERS[wrapper](hoeffding("mc")), of_yes)


row = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(NUMBERS, st.sampled_from([0.0, -1.0, 2.5]) | st.floats(-1e3, 1e3))
)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@given(
    inside=st.sampled_from([scaled, linear_model.LogisticRegression, naive_bayes.GaussianNB, hoeffding]),
    stream=st.lists(st.tuples(row, st.booleans()), max_size=15),
    rows=st.lists(row, max_size=4),
)
@settings(max_examples=12, deadline=None)
def test_any_small_stream_is_answered(
    wrapper: str, inside: Callable[[], Any], stream: list[tuple[Row, bool]], rows: list[Row]
) -> None:
    """Whatever few examples were learned, also with probabilities of 0 and 1."""
    model = WRAPPERS[wrapper](inside())
    for x, y in stream:
        model.learn_one(dict(x), y)

    exported = to_onnx(model, NUMBERS, [], name="law", version=1)

    assert check_parity(model, exported.SerializeToString(), [*rows, *(x for x, _ in stream)]).max_abs_diff <= 1e-9


def test_label_is_yes_from_the_threshold_on() -> None:
    """A leaf with 3 of 10 is a yes at 0.3, and no is what it would be at a half."""
    model = Thresholded(dummy.PriorClassifier(), at=0.3)
    for i in range(10):
        model.learn_one({}, i < 3)
    exported = to_onnx(model, ["price"], [], name="law", version=1)
    session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])

    label, probabilities = session.run(None, {"numbers": np.array([[1.0]])})

    assert ([1], [[0.7, 0.3]]) == (label.tolist(), probabilities.tolist())


def trained(wrapper: str) -> tuple[Any, Stream]:
    stream = numeric("binary")
    model = WRAPPERS[wrapper](scaled())
    for x, y in stream.examples:
        model.learn_one(dict(x), y)
    return model, stream


def moved(exported: onnx.ModelProto, value: float, by: float) -> int:
    """Move a number wherever it stands among the constants; returns how often it stood there."""
    found = 0
    for constant in exported.graph.initializer:
        array = numpy_helper.to_array(constant)
        if array.dtype == np.float64 and (array == value).any():
            changed = np.where(array == value, array + by, array)
            constant.CopyFrom(numpy_helper.from_array(changed, constant.name))
            found += 1
    return found


NUMBERS_OF: dict[str, tuple[str, Callable[[Any], float]]] = {
    "slope": ("Platt", lambda model: model.slope),
    "offset": ("Platt", lambda model: model.offset),
    "curve": ("isotonic", lambda model: model.curve[64]),
}


@pytest.mark.parametrize("name", NUMBERS_OF)
def test_a_moved_number_is_found(name: str) -> None:
    """A millionth is enough."""
    wrapper, number_of = NUMBERS_OF[name]
    model, stream = trained(wrapper)
    exported = to_onnx(model, stream.numbers, [], name="law", version=1)
    check_parity(model, exported.SerializeToString(), stream.held)
    assert moved(exported, number_of(model), 1e-6) >= 1

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), stream.held)


def test_a_moved_threshold_is_found() -> None:
    """The probabilities agree, the label does not."""
    model, stream = trained("threshold")
    model.at = model.predict_proba_one(dict(stream.held[0]))[True]
    exported = to_onnx(model, stream.numbers, [], name="law", version=1)
    check_parity(model, exported.SerializeToString(), stream.held)
    assert 1 == moved(exported, model.least, 1e-6)

    with pytest.raises(ReleaseRefused, match="River predicts True, the artifact False"):
        check_parity(model, exported.SerializeToString(), stream.held)


def test_answers_of_the_other_class_are_found() -> None:
    """False and True swapped in the log-odds."""
    model, stream = trained("Platt")
    exported = to_onnx(model, stream.numbers, [], name="law", version=1)
    difference = next(
        node for node in exported.graph.node if node.op_type == "Sub" and all("Gather" in name for name in node.input)
    )
    difference.input[:] = reversed(difference.input)

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), stream.held)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_has_no_exact_form_inside_is_refused_by_name(wrapper: str) -> None:
    """Before any data: the class, where it stands, and what to use instead."""
    with pytest.raises(NotExportable, match=r"KNNClassifier .*answers from a window") as refused:
        refuse_unexportable(scaled()[0] | WRAPPERS[wrapper](neighbors.KNNClassifier()))

    assert refused.value.step.endswith("/classifier")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ensemble.VotingClassifier([scaled(), scaled()], use_probabilities=False), "predict_proba_one"),
        (lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(), "predict_proba_one"),
    ],
    ids=["only a class", "a number"],
)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_answers_no_probability_is_refused(wrapper: str, make: Callable[[], Any], words: str) -> None:
    """There is nothing to calibrate."""
    with pytest.raises(NotExportable, match=words):
        refuse_unexportable(WRAPPERS[wrapper](make()))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_other_classes_inside_are_refused_by_name(wrapper: str) -> None:
    """A classifier that was taught others before it was wrapped."""
    inside = naive_bayes.GaussianNB()
    inside.learn_one({"price": 1.0}, "high")

    with pytest.raises(NotExportable, match="has learned the class 'high'"):
        to_onnx(WRAPPERS[wrapper](inside), ["price"], [], name="law", version=1)

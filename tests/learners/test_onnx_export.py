"""River models and their graphs give the same answers, or the model is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from river import compose, linear_model, neighbors, optim, preprocessing
from river.utils import VectorDict

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.state import encode_state
from schemas.errors import ModelFileError, NotExportable, ReleaseRefused

NUMBERS = ("commerce.order.priceTotal", "hour of day", "naïve")
CATEGORIES = ("placeContext.geo.countryCode", "device type", "_tenant.größe")

Row: TypeAlias = dict[str, float | str]


def union(scaler: Any = None, encoder: Any = None) -> Any:
    texts = compose.SelectType(str) | (encoder or preprocessing.OneHotEncoder())
    return texts + (compose.SelectType(float) | (scaler or preprocessing.StandardScaler()))


def logistic(**settings: Any) -> Any:
    return linear_model.LogisticRegression(**settings)


PIPELINES: dict[str, Callable[[], Any]] = {
    "main": lambda: union() | logistic(),
    "drop_zeros": lambda: union(encoder=preprocessing.OneHotEncoder(drop_zeros=True)) | logistic(),
    "fixed categories": lambda: (
        union(encoder=preprocessing.OneHotEncoder(categories={field: {"a", "b_c", "é"} for field in CATEGORIES}))
        | logistic()
    ),
    "mean only": lambda: union(preprocessing.StandardScaler(with_std=False)) | logistic(),
    "rolling scaler": lambda: union(preprocessing.StandardScaler(window_size=3, with_std=False)) | logistic(),
    "no scaler": lambda: (
        ((compose.SelectType(str) | preprocessing.OneHotEncoder()) + compose.SelectType(float))
        | logistic(l2=0.1, optimizer=optim.Adam())
    ),
    "one field each": lambda: (
        ((compose.Discard(*NUMBERS, CATEGORIES[1]) | preprocessing.OneHotEncoder()) + compose.SelectType(float))
        | compose.Discard(NUMBERS[0])
        | logistic(l1=0.01)
    ),
    "numbers only": lambda: compose.SelectType(float) | preprocessing.StandardScaler() | logistic(),
    "scaled one-hots": lambda: (
        ((compose.SelectType(str) | preprocessing.OneHotEncoder()) + compose.SelectType(float))
        | preprocessing.StandardScaler()
        | logistic()
    ),
    "scaled one-hots without zeros": lambda: (
        compose.SelectType(str)
        | preprocessing.OneHotEncoder(drop_zeros=True)
        | preprocessing.StandardScaler()
        | logistic()
    ),
    "scaled fixed categories": lambda: (
        compose.SelectType(str)
        | preprocessing.OneHotEncoder(categories={field: {"a", "b_c", "é"} for field in CATEGORIES})
        | preprocessing.StandardScaler(with_std=False)
        | logistic()
    ),
    "categories only": lambda: compose.SelectType(str) | preprocessing.OneHotEncoder() | logistic(),
    "other losses": lambda: union() | logistic(loss=optim.losses.Hinge(), intercept_init=0.7, intercept_lr=0.0),
    "selected": lambda: (
        (compose.Select(NUMBERS[0]) | preprocessing.StandardScaler())
        + (compose.Select(CATEGORIES[0]) | preprocessing.OneHotEncoder())
        | logistic()
    ),
}

# Few distinct values, so that variances are zero, categories come back and steps meet what they have met.
number = st.sampled_from([0.0, -1.0, 2.5]) | st.floats(-1e6, 1e6)
# Without NUL, where onnxruntime cuts every string it is given.
letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
category = st.sampled_from(["a", "b_c", "é", "_", " ", "unit\x1fseparator"]) | st.text(letters, min_size=1, max_size=5)
row = st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, number) | dict.fromkeys(CATEGORIES, category))


class Answers:
    """The graph of a model, in onnxruntime."""

    def __init__(self, model: Any, numbers: Sequence[str] = NUMBERS, categories: Sequence[str] = CATEGORIES) -> None:
        self.numbers, self.categories = numbers, categories
        self.onnx = to_onnx(model, numbers, categories, name="test", version=3)
        self.session = ort.InferenceSession(self.onnx.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, *rows: Mapping[str, float | str]) -> tuple[list[bool | None], np.ndarray[Any, Any]]:
        feed: dict[str, Any] = {}
        if self.numbers:
            feed["numbers"] = np.array([[x.get(name, np.nan) for name in self.numbers] for x in rows], np.float64)
        if self.categories:
            feed["categories"] = np.array([[x.get(name, "") for name in self.categories] for x in rows], object)
        label, probabilities = self.session.run(["label", "probabilities"], feed)
        return [[False, True, None][index] for index in label], probabilities


def river_answers(model: Any, x: Row) -> tuple[bool | None, list[float]]:
    """River's answer; no answer where `Select` lacks its feature."""
    try:
        proba = model.predict_proba_one(x)
    except KeyError:
        return None, [math.nan, math.nan]
    return model.predict_one(x), [proba[False], proba[True]]


def learn(model: Any, stream: Sequence[tuple[Row, bool]]) -> None:
    for x, y in stream:
        try:
            model.learn_one(x, y)
        except KeyError:
            continue  # Select lacks its feature


@pytest.mark.parametrize("name", PIPELINES)
@given(stream=st.lists(st.tuples(row, st.booleans()), max_size=12), rows=st.lists(row, max_size=4))
@settings(max_examples=15, deadline=None)
def test_graph_answers_what_river_answers(name: str, stream: list[tuple[Row, bool]], rows: list[Row]) -> None:
    """Whatever was learned, the graph agrees on rows met and unmet, with features missing and values unseen."""
    model = PIPELINES[name]()
    learn(model, stream)
    asked: list[Row] = [{}, *rows, *(x for x, _ in stream)]

    labels, probabilities = Answers(model)(*asked)

    for x, label, answered in zip(asked, labels, probabilities, strict=True):
        expected_label, expected = river_answers(model, x)
        np.testing.assert_allclose(answered, expected, rtol=0, atol=1e-9)
        assert label == expected_label or abs(expected[0] - expected[1]) < 1e-12


@pytest.mark.parametrize("name", PIPELINES)
def test_model_that_has_learned_nothing_is_exported(name: str) -> None:
    """Version 0 exists before the first event and answers exactly what River answers."""
    model = PIPELINES[name]()
    x: Row = {**dict.fromkeys(NUMBERS, 3.5), **dict.fromkeys(CATEGORIES, "a")}

    labels, probabilities = Answers(model)(x)

    assert (labels[0], list(probabilities[0])) == river_answers(model, x)


def test_untrained_logistic_regression_says_one_half() -> None:
    """Ignorance is a tie, and River's first class wins it."""
    labels, probabilities = Answers(PIPELINES["main"]())({}, {NUMBERS[0]: 1e9})

    assert labels == [False, False]
    assert probabilities.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def with_weights(model: Any, **weights: float) -> Any:
    model["LogisticRegression"]._weights = VectorDict(weights)
    return model


def test_feature_without_variance_counts_zero() -> None:
    """River scales a feature that never varied to 0.0, whatever its value now."""
    model = with_weights(preprocessing.StandardScaler() | logistic(), a=5.0)
    for _ in range(3):
        model["StandardScaler"].learn_one({"a": 1e300})

    _, probabilities = Answers(model, ["a"], [])({"a": -1e300}, {"a": 7.0})

    assert probabilities[:, 1].tolist() == [0.5, 0.5]


def test_scale_is_rivers_power_not_a_square_root() -> None:
    """`v**0.5` and `sqrt(v)` differ in the last bit for some v; the graph holds the former."""
    variance = next(v for v in (i / 997 for i in range(1, 100_000)) if v**0.5 != math.sqrt(v))
    model = preprocessing.StandardScaler() | logistic()
    model["StandardScaler"].vars["a"] = variance

    constants = [numpy_helper.to_array(c).tolist() for c in Answers(model, ["a"], []).onnx.graph.initializer]

    assert [variance**0.5] in constants


@pytest.mark.parametrize(("z", "p"), [(30.1, 1.0), (-30.1, 0.0), (30.0, 1 / (1 + math.exp(-30))), (-800.0, 0.0)])
def test_sigmoid_ends_where_rivers_ends(z: float, p: float) -> None:
    """Beyond 30, River answers exactly 0 and 1."""
    model = with_weights(compose.SelectType(float) | logistic(), a=1.0)

    _, probabilities = Answers(model, ["a"], [])({"a": z})

    assert probabilities[0, 1] == pytest.approx(p, abs=1e-16)
    assert (p in {0.0, 1.0}) == (probabilities[0, 1] in {0.0, 1.0})


def test_selected_feature_that_is_missing_has_no_answer() -> None:
    """River raises; the graph, which cannot raise, answers NaN, and only for that row."""
    _, probabilities = Answers(compose.Select("a") | logistic(), ["a", "b"], [])({"b": 1.0}, {"a": 1.0})

    assert np.isnan(probabilities[0]).all()
    assert probabilities[1].tolist() == [0.5, 0.5]


def test_export_leaves_the_learner_alone() -> None:
    """Exporting reads; not even an empty entry of a defaultdict is added."""
    model = PIPELINES["main"]()
    learn(model, [({NUMBERS[0]: 1.0, CATEGORIES[0]: "a"}, True)])
    before = encode_state(model)

    Answers(model)

    assert encode_state(model) == before


def test_graph_is_pinned_and_strictly_typed() -> None:
    """Edges with an older onnxruntime load it, and every shape in it is inferred without a guess."""
    model = Answers(PIPELINES["main"]()).onnx

    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 20, "ai.onnx.ml": 5}
    assert model.ir_version == 10
    assert not model.functions


def test_metadata_says_how_to_ask() -> None:
    """The artifact carries its features in order, its classes and who made it."""
    onnx_model = to_onnx(
        PIPELINES["main"](), NUMBERS, CATEGORIES, name="buys", version=7, metadata={"spec": "{}", "name": "other"}
    )

    properties = {entry.key: entry.value for entry in onnx_model.metadata_props}
    assert tuple(json.loads(properties["numbers"])) == NUMBERS
    assert tuple(json.loads(properties["categories"])) == CATEGORIES
    assert json.loads(properties["classes"]) == [False, True]
    assert (properties["name"], properties["version"], properties["spec"]) == ("buys", "7", "{}")
    assert (properties["river"], properties["exporter"]) == ("0.26.1", "3")
    assert properties["task"] == "classification"


@pytest.mark.parametrize(
    ("numbers", "categories", "inputs"),
    [(NUMBERS, (), ["numbers"]), ((), CATEGORIES, ["categories"]), (NUMBERS, CATEGORIES, ["numbers", "categories"])],
)
def test_input_without_columns_is_left_out(
    numbers: Sequence[str], categories: Sequence[str], inputs: list[str]
) -> None:
    """Nobody has to send an empty tensor."""
    answers = Answers(PIPELINES["main"](), numbers, categories)

    assert [entry.name for entry in answers.session.get_inputs()] == inputs
    assert answers({})[1].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("numbers", "categories", "named"),
    [
        (["device_width"], ["device"], ("device", "device_width")),
        ([], ["device", "device_type"], ("device", "device_type")),
    ],
)
def test_features_that_could_get_one_name_are_refused(
    numbers: list[str], categories: list[str], named: tuple[str, str]
) -> None:
    """A category's value must not be taken for another feature, which River would do and a graph would not."""
    with pytest.raises(NotExportable) as refused:
        to_onnx(PIPELINES["main"](), numbers, categories, name="clash", version=0)

    assert all(repr(name) in str(refused.value) for name in named)


def test_feature_that_comes_twice_is_refused() -> None:
    """River keeps one of two equal names without a word."""
    model = (preprocessing.StandardScaler() + preprocessing.StandardScaler(with_std=False)) | logistic()

    with pytest.raises(NotExportable, match="feature 'a' comes twice"):
        to_onnx(model, ["a"], [], name="twice", version=0)


class Doubtful(linear_model.LogisticRegression):  # type: ignore[misc]
    """A subclass that answers something else."""

    def predict_proba_one(self, x: Row) -> dict[bool, float]:
        return {False: 0.5, True: 0.5}


@pytest.mark.parametrize(
    ("model", "step", "words"),
    [
        (union() | neighbors.KNNClassifier(), "Pipeline/KNNClassifier", "window of rows"),
        (preprocessing.LDA() | logistic(), "Pipeline/LDA", "learns while it transforms"),
        (Doubtful(), "Doubtful", "no exact converter is known"),
        (preprocessing.StandardScaler(), "StandardScaler", "the last step must predict"),
        (
            union(encoder=preprocessing.OneHotEncoder(drop_first=True)) | logistic(),
            "Pipeline/TransformerUnion/Pipeline/OneHotEncoder",
            "drop_first",
        ),
        (union() | logistic(loss=optim.losses.Poisson()), "Pipeline/LogisticRegression", "no sigmoid link"),
        (compose.FuncTransformer(str) | logistic(), "Pipeline/type", "no Python function"),
        (compose.Pipeline(), "Pipeline", "it has no steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_estimator_without_exact_form_is_refused_at_once(model: Any, step: str, words: str) -> None:
    """The model file's author learns which step it is, before any event came."""
    with pytest.raises(NotExportable, match=words) as refused:
        refuse_unexportable(model)

    assert refused.value.step == step
    assert refused.value.instead


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (preprocessing.StandardScaler() | logistic(), "the text 'c' reaches it"),
        (logistic(), "the text 'c' reaches it"),
        (preprocessing.OneHotEncoder() | logistic(), "how Python prints"),
        (compose.SelectType(bytes) | logistic(), "no feature reaches it"),
        (compose.Select("d") | logistic(), "'d', which is not a feature"),
        (
            compose.SelectType(str) | preprocessing.OneHotEncoder(categories={"d": {"x"}}) | logistic(),
            "do not list 'c'",
        ),
        (
            compose.SelectType(str) | preprocessing.OneHotEncoder() | compose.Discard("c_x") | logistic(),
            "'c_x' may be one value",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_use_of_features_without_exact_form_is_refused(model: Any, words: str) -> None:
    """What depends on the features shows at the first export, which needs no data."""
    with pytest.raises(NotExportable, match=words):
        to_onnx(model, ["n"], ["c"], name="wrong", version=0)


@pytest.mark.parametrize(("numbers", "categories"), [((), ()), (("a", "a"), ()), (("a",), ("a",))])
def test_model_needs_features_with_distinct_names(numbers: Sequence[str], categories: Sequence[str]) -> None:
    """Neither nothing nor one name for two things."""
    with pytest.raises(ModelFileError):
        to_onnx(PIPELINES["main"](), numbers, categories, name="names", version=0)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["means", "vars", "weight of a", "weight of c_x"])
def test_broken_learner_is_not_exported(poison: float, place: str) -> None:
    """A NaN inside the graph would pass for a missing value and be answered."""
    model = PIPELINES["main"]()
    model.learn_one({"a": 1.0, "c": "x"}, True)
    model.learn_one({"a": 2.0, "c": "x"}, False)
    if place.startswith("weight"):
        with_weights(model, **{place.removeprefix("weight of "): poison})
    else:
        vars(model["TransformerUnion"]["Pipeline1"]["StandardScaler"])[place]["a"] = poison

    with pytest.raises(ReleaseRefused, match="export"):
        to_onnx(model, ["a"], ["c"], name="broken", version=1)

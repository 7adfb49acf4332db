"""What all families stand on: three kinds of answers, members of ensembles, any features side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto
from river import anomaly, base, compose, linear_model, optim, preprocessing

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.onnx_export.answers import (
    Classes,
    Score,
    Value,
    aligned,
    certain,
    labels_of,
    likeliest,
    masks_of,
    no_class,
    predicted_from,
    winners,
)
from learners.onnx_export.convert import classes_of, predict, refuse, settings, value_of
from learners.onnx_export.frame import Columns, Frame, OneHot, refuse_texts, spread
from learners.onnx_export.graph import Graph
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners import export_laws
from tests.learners.export_laws import MIXED_STREAMS, NUMERIC_STREAMS, Row, assert_exact


class Frequencies(base.Classifier):  # type: ignore[misc]
    """Answers how often each class came, in the order in which they came; nothing about the features."""

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}

    def learn_one(self, x: Row, y: Any) -> None:
        self.counts[y] = self.counts.get(y, 0) + 1

    def predict_proba_one(self, x: Row) -> dict[Any, float]:
        return {y: count / sum(self.counts.values()) for y, count in self.counts.items()}


@predict.register(Frequencies)
def predict_by_frequencies(model: Frequencies, graph: Graph, frame: Frame) -> Classes:
    if not model.counts:
        return no_class(frame)
    total = sum(model.counts.values())
    row = graph.row([count / total for count in model.counts.values()])
    return predicted_from(graph, frame, row, tuple(model.counts))


class Vote(base.Classifier):  # type: ignore[misc]
    """Members learn by turns, so that they know different classes; answers only a class."""

    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self.turn = 0

    def learn_one(self, x: Row, y: Any) -> None:
        self.members[self.turn % len(self.members)].learn_one(x, y)
        self.turn += 1

    def predict_one(self, x: Row) -> Any:
        votes: dict[Any, float] = {}
        for member in self.members:
            for label, p in member.predict_proba_one(x).items():
                votes[label] = votes.get(label, 0.0) + p
        return max(votes, key=lambda label: votes[label], default=None)


@settings.register(Vote)
def settings_of_vote(vote: Vote, step: str, role: Any) -> None:
    for i, member in enumerate(vote.members):
        refuse(member, f"{step}/{i}", "predict")


@predict.register(Vote)
def predict_by_vote(vote: Vote, graph: Graph, frame: Frame) -> Classes:
    members = [classes_of(member, graph, frame, str(i)) for i, member in enumerate(vote.members)]
    labels = labels_of(members)
    if not labels:
        return no_class(frame)
    votes = graph.op("Sum", *(aligned(graph, member, labels) for member in members))
    winner = likeliest(graph, votes)
    return Classes(certain(graph, winner, labels), labels, masks_of(members), winner)


class Doubled(base.Regressor):  # type: ignore[misc]
    """Twice what another regressor answers, and None until it has learned."""

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor
        self.has_learned = False

    def learn_one(self, x: Row, y: float) -> None:
        self.regressor.learn_one(x, y)
        self.has_learned = True

    def predict_one(self, x: Row) -> float | None:
        return 2.0 * self.regressor.predict_one(x) if self.has_learned else None


@settings.register(Doubled)
def settings_of_doubled(doubled: Doubled, step: str, role: Any) -> None:
    refuse(doubled.regressor, f"{step}/regressor", "predict")


@predict.register(Doubled)
def predict_by_doubled(doubled: Doubled, graph: Graph, frame: Frame) -> Value:
    member = value_of(doubled.regressor, graph, frame, "regressor")
    if not doubled.has_learned:
        return replace(member, value=graph.row([math.nan], missing=True))
    return replace(member, value=graph.op("Mul", member.value, graph.numbers([2.0])))


class Distance(anomaly.base.AnomalyDetector if hasattr(anomaly, "base") else base.AnomalyDetector):  # type: ignore[misc]
    """The distance from the first row, features missing on either side left out."""

    def __init__(self) -> None:
        self.centre: dict[str, float] = {}

    def learn_one(self, x: dict[str, float]) -> None:
        self.centre = self.centre or dict(x)

    def score_one(self, x: dict[str, float]) -> float:
        return math.sqrt(sum((x[name] - c) ** 2 for name, c in self.centre.items() if name in x))


@predict.register(Distance)
def predict_by_distance(model: Distance, graph: Graph, frame: Frame) -> Score:
    refuse_texts(model, graph, frame)
    names = tuple(model.centre)
    if not names:
        return Score(graph.row([0.0]), frame.unanswered)
    away = graph.op("Sub", spread(model, graph, frame, names), graph.numbers([model.centre[name] for name in names]))
    squares = graph.filled(graph.op("Mul", away, away))
    return Score(graph.op("Sqrt", graph.total(squares)), frame.unanswered)


def one_hot(**settings: Any) -> Any:
    return (compose.SelectType(str) | preprocessing.OneHotEncoder(**settings)) + compose.SelectType(float)


MODELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "regressor": (
        "regression",
        lambda: one_hot() | preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(1e-4)),
    ),
    "wrapped regressor": (
        "regression",
        lambda: (
            one_hot()
            | Doubled(preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(1e-4)))
        ),
    ),
    "anomaly of numbers": ("none", lambda: compose.SelectType(float) | preprocessing.StandardScaler() | Distance()),
    "anomaly of one-hots": ("none", lambda: one_hot() | Distance()),
    "anomaly of present one-hots": ("none", lambda: one_hot(drop_zeros=True) | Distance()),
    "selected": ("none", lambda: compose.Select("price") | Distance()),
    "frequencies": ("multiclass", Frequencies),
    "vote of different classes": (
        "multiclass",
        lambda: one_hot() | Vote([Frequencies(), preprocessing.StandardScaler() | Frequencies(), Frequencies()]),
    ),
    "vote with a fixed class list": (
        "binary",
        lambda: one_hot() | Vote([linear_model.LogisticRegression(), Frequencies()]),
    ),
    "yes/no frequencies": ("binary", Frequencies),
}


@pytest.mark.parametrize("stream", ["numeric", "flat", "gappy"])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_answer_is_exact(name: str, stream: str) -> None:
    """Classes, values and scores, of members and wrappers too, are River's on every stream."""
    target, make = MODELS[name]

    parity = assert_exact(make, (NUMERIC_STREAMS | MIXED_STREAMS)[stream](target).first(120))  # type: ignore[arg-type]

    assert parity.rows > 100


def outputs_of(model: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The metadata and, for one row with a = 1.0, the answers."""
    exported = to_onnx(model, ["a"], [], name="test", version=0)
    session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    answered = session.run(names, {"numbers": np.array([[1.0]])})
    return {entry.key: entry.value for entry in exported.metadata_props}, dict(zip(names, answered, strict=True))


@pytest.mark.parametrize(
    ("make", "task", "outputs"),
    [
        (linear_model.LinearRegression, "regression", ["prediction"]),
        (linear_model.LogisticRegression, "classification", ["label", "probabilities"]),
        (Distance, "anomaly", ["score"]),
    ],
)
def test_task_names_the_outputs(make: Callable[[], Any], task: str, outputs: list[str]) -> None:
    """Whoever loads an artifact knows from one property what to ask of it."""
    properties, answered = outputs_of(make())

    assert properties["task"] == task
    assert [*answered] == outputs
    assert all(len(answer) == 1 for answer in answered.values())


def test_learner_without_a_class_answers_none() -> None:
    """River's empty dict is zeros and no winner, in the shape of a yes/no learner, so that version 0 can be served."""
    properties, answered = outputs_of(Frequencies())

    assert properties["classes"] == "[false, true]"
    assert answered["label"].tolist() == [-1]
    assert answered["probabilities"].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("learned", "label", "probabilities"),
    [
        ([True], 1, [0.0, 1.0]),
        ([False], 0, [1.0, 0.0]),
        ([True, False, True, False], 1, [0.5, 0.5]),  # River's dict begins with True, which wins the tie
        ([False, True], 0, [0.5, 0.5]),
    ],
)
def test_yes_and_no_have_fixed_places(learned: list[bool], label: int, probabilities: list[float]) -> None:
    """Column 1 is the probability of True, whatever came first; ties are still broken by what came first."""
    model = Frequencies()
    for y in learned:
        model.learn_one({}, y)

    properties, answered = outputs_of(model)

    assert json.loads(properties["classes"]) == [False, True]
    assert answered["label"].tolist() == [label]
    assert answered["probabilities"].tolist() == [probabilities]


def test_other_classes_keep_rivers_order() -> None:
    """Numbers and texts are classes too, and 0 and 1 are not taken for no and yes."""
    model = Frequencies()
    for y in (1, 0, 0, "é"):
        model.learn_one({}, y)

    properties, answered = outputs_of(model)

    assert properties["classes"] == '[1, 0, "é"]'
    assert answered["label"].tolist() == [1]


def test_class_that_json_has_no_word_for_is_refused() -> None:
    """A class shows only in the data, so the release is refused and the learner goes on."""
    model = Frequencies()
    model.learn_one({}, ("a", "tuple"))

    with pytest.raises(ReleaseRefused, match="is a tuple"):
        outputs_of(model)


def test_member_of_another_kind_is_refused() -> None:
    """A regressor's wrapper needs a regressor."""
    with pytest.raises(NotExportable, match="it answers something else") as refused:
        outputs_of(Doubled(linear_model.LogisticRegression()))

    assert refused.value.step == "Doubled/regressor"
    assert refused.value.instead == "a regressor"


def test_member_without_a_converter_is_refused_at_once() -> None:
    """A member deep inside is named when the model file is loaded."""
    with pytest.raises(NotExportable) as refused:
        refuse_unexportable(Vote([Frequencies(), preprocessing.LDA() | Frequencies()]), task=None)

    assert refused.value.step == "Vote/1/LDA"


@pytest.mark.parametrize(
    ("make", "tasks"),
    [
        (linear_model.LogisticRegression, ["classification"]),
        (lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(), ["regression"]),
        (lambda: preprocessing.StandardScaler() | Distance(), ["anomaly"]),
        (lambda: Vote([Frequencies()]), []),  # a class, but no probability that a score could be
    ],
    ids=["logistic", "linear", "distance", "vote"],
)
def test_model_file_gets_what_it_needs(make: Callable[[], Any], tasks: list[str]) -> None:
    """A regressor exports, but predicts no outcome, so a model file that holds one is refused."""
    for task in ("classification", "regression", "anomaly"):
        if task in tasks:
            refuse_unexportable(make(), task=task)
        else:
            with pytest.raises(NotExportable, match="it answers no"):
                refuse_unexportable(make(), task=task)


def run(graph: Graph, outputs: dict[str, tuple[str, Any]], numbers: Any, categories: Any) -> dict[str, Any]:
    """The named tensors; outputs: name -> (tensor, shape)."""
    for name, (tensor, shape) in outputs.items():
        graph.output(name, tensor, TensorProto.DOUBLE, shape)
    model = graph.model("test", 1, {})
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"numbers": np.array(numbers, np.float64), "categories": np.array(categories, object)}
    return dict(zip(outputs, session.run([*outputs], feed), strict=True))


def frame_of(graph: Graph, *, zeros: Sequence[str] = (), allowed: Sequence[str] | None = None) -> Frame:
    """Numbers a, b, and category c one-hot encoded."""
    numbers = Columns(graph.input("numbers", TensorProto.DOUBLE, 2), ("a", "b"))
    keys = graph.op("StringConcat", graph.strings(["c_"]), graph.input("categories", TensorProto.STRING, 1))
    may = None if allowed is None else frozenset(allowed)
    return Frame(numbers=numbers, one_hots=(OneHot(keys, ("c",), may, frozenset(zeros)),))


def test_spread_puts_any_features_in_any_order() -> None:
    """Numbers, keys with and without zeros, names that nobody has, and one name twice."""
    graph = Graph()
    frame = frame_of(graph, zeros=["c_x"])
    names = ["c_x", "b", "nobody", "c_y", "a", "b"]

    block = run(
        graph,
        {"block": (spread("test", graph, frame, names), ["N", 6])},
        [[1.0, 2.0], [math.nan, 3.0], [4.0, math.nan]],
        [["x"], ["y"], [""]],
    )["block"]

    nan = math.nan
    expected = [[1.0, 2.0, nan, nan, 1.0, 2.0], [0.0, 3.0, nan, 1.0, nan, 3.0], [0.0, nan, nan, nan, 4.0, nan]]
    np.testing.assert_array_equal(block, expected)


def test_spread_of_a_key_that_the_encoder_may_not_emit() -> None:
    """Fixed categories leave every other value out of River's dict."""
    graph = Graph()
    frame = frame_of(graph, zeros=["c_x", "c_1"], allowed=["c_x"])

    block = run(
        graph,
        {"block": (spread("test", graph, frame, ["c_y", "c_1", "c_x"]), ["N", 3])},
        [[1.0, 2.0]] * 3,
        [["x"], ["y"], ["1"]],
    )["block"]

    np.testing.assert_array_equal(block, [[math.nan, 0.0, 1.0], [math.nan, 0.0, 0.0], [math.nan, 0.0, 0.0]])


def test_spread_of_texts_by_their_codes() -> None:
    """One code per text in all fields, -1.0 for an unknown text, NaN for none."""
    graph = Graph()
    graph.input("numbers", TensorProto.DOUBLE, 1)
    texts = Columns(graph.input("categories", TensorProto.STRING, 2), ("c", "d"))

    block = run(
        graph,
        {"block": (spread("test", graph, Frame(texts=texts), ["d", "c"], {"x": 1.0, "y": 2.0}), ["N", 2])},
        [[0.0]] * 2,
        [["x", "y"], ["z", ""]],
    )["block"]

    np.testing.assert_array_equal(block, [[2.0, 1.0], [math.nan, -1.0]])


def test_spread_of_a_text_without_codes_is_refused() -> None:
    """Where only numbers are known, the text is named."""
    graph = Graph()
    texts = Columns(graph.input("categories", TensorProto.STRING, 1), ("c",))

    with pytest.raises(NotExportable, match="the text 'c' reaches it"):
        spread("test", graph, Frame(texts=texts), ["c"])


def test_probabilities_are_aligned() -> None:
    """Labels are reordered, filled and left out; winners follow, and a winner who is left out is none."""
    graph = Graph()
    graph.input("numbers", TensorProto.DOUBLE, 1)
    graph.input("categories", TensorProto.STRING, 1)
    classes = Classes(graph.row([0.1, 0.7, 0.2]), ("a", "b", "c"), ())

    def winner(labels: Sequence[str], of: Classes = classes) -> str:
        return graph.op("Cast", winners(graph, of, labels), to=TensorProto.DOUBLE)

    answered = run(
        graph,
        {
            "reordered": (aligned(graph, classes, ("c", "a", "b")), ["N", 3]),
            "filled": (aligned(graph, classes, ("x", "b")), ["N", 2]),
            "of nobody": (aligned(graph, no_class(Frame()), ("a", "b")), ["N", 2]),
            "winner": (winner(("c", "a", "b")), ["N"]),
            "winner left out": (winner(("c", "a")), ["N"]),
            "winner of nobody": (winner(("c", "a"), no_class(Frame())), ["N"]),
        },
        [[1.0], [math.nan]],
        [["x"], [""]],
    )

    assert {name: answer[0].tolist() for name, answer in answered.items()} == {
        "reordered": [0.2, 0.1, 0.7],
        "filled": [0.0, 0.7],
        "of nobody": [0.0, 0.0],
        "winner": 2.0,
        "winner left out": -1.0,
        "winner of nobody": -1.0,
    }
    assert all(answer[0].tolist() == answer[1].tolist() for answer in answered.values())


def exported(model: Any) -> onnx.ModelProto:
    return to_onnx(model, ["a"], [], name="test", version=1)


def taught(model: Any, *ys: Any) -> Any:
    for i, y in enumerate(ys):
        model.learn_one({"a": float(i)}, *([] if y is None else [y]))
    return model


@pytest.mark.parametrize(
    "model", [taught(linear_model.LinearRegression(), 1e6, 2e6), taught(Distance(), None)], ids=["value", "score"]
)
def test_lie_about_a_number_is_found(model: Any) -> None:
    """A value or a score that is off by more than a billionth of itself is refused, by less is not."""
    for factor, is_refused in ((1 + 3e-9, True), (1 + 3e-10, False)):
        lying = exported(model)
        place = len(lying.graph.node) - 1
        right = lying.graph.node[place].input[0]
        # Two steps: onnxruntime would drop a factor so near to 1.
        for name, number in (("twice", 2.0 * factor), ("half", 0.5)):
            lying.graph.initializer.append(onnx.helper.make_tensor(name, TensorProto.DOUBLE, [], [number]))
        lying.graph.node.insert(place, onnx.helper.make_node("Mul", [right, "twice"], ["between"]))
        lying.graph.node.insert(place + 1, onnx.helper.make_node("Mul", ["between", "half"], ["lied"]))
        lying.graph.node[-1].input[0] = "lied"

        rows: list[Row] = [{"a": 1e7}]
        if is_refused:
            with pytest.raises(ReleaseRefused, match="differing by"):
                check_parity(model, lying.SerializeToString(), rows)
        else:
            assert check_parity(model, lying.SerializeToString(), rows).max_abs_diff > 0.0


@pytest.mark.parametrize("op_type", ["Mul", "Div"])
def test_factor_that_is_nearly_one_counts(op_type: str) -> None:
    """onnxruntime takes a double for 1 that is 1 only as a float; the graph does not let it."""
    factor = 1.0 + 3e-8
    graph = Graph()
    block = graph.input("numbers", TensorProto.DOUBLE, 1)
    graph.input("categories", TensorProto.STRING, 1)

    answered = run(graph, {"y": (graph.op(op_type, block, graph.numbers([factor])), ["N", 1])}, [[3.0]], [["x"]])["y"]

    assert answered.tolist() == [[3.0 * factor if op_type == "Mul" else 3.0 / factor]]


def test_none_must_be_answered_with_nan() -> None:
    """A regressor without an answer is no regressor that answers zero."""
    silent, zero = Doubled(linear_model.LinearRegression()), linear_model.LinearRegression()

    assert check_parity(silent, exported(silent).SerializeToString(), []).max_abs_diff == 0.0
    with pytest.raises(ReleaseRefused, match="River has no answer"):
        check_parity(silent, exported(zero).SerializeToString(), [])
    with pytest.raises(ReleaseRefused, match="nan"):
        check_parity(zero, exported(silent).SerializeToString(), [])


def test_no_winner_is_not_the_first_winner() -> None:
    """A label must be -1 exactly where River predicts None."""
    model = Frequencies()
    lying = exported(model)
    first = onnx.helper.make_tensor("first", TensorProto.INT64, [1], [0])
    lying.graph.initializer.append(first)
    label = next(node for node in lying.graph.node if node.output[0] == "label")
    lying.graph.node.insert(len(lying.graph.node) - 2, onnx.helper.make_node("Abs", [label.input[0]], ["positive"]))
    label.input[0] = "positive"

    with pytest.raises(ReleaseRefused, match="River predicts None"):
        check_parity(model, lying.SerializeToString(), [])


class Forgetful(linear_model.LinearRegression):  # type: ignore[misc]
    """Changes when it is exported."""


@predict.register(Forgetful)
def predict_by_forgetful(model: Forgetful, graph: Graph, frame: Frame) -> Value:
    model.intercept += 1.0
    return Value(graph.row([float(model.intercept)]), frame.unanswered)


def test_law_finds_an_export_that_changes_the_model() -> None:
    """The learner that is exported goes on learning."""
    with pytest.raises(AssertionError, match="exporting changed the model"):
        assert_exact(Forgetful, export_laws.numeric("regression").first(3))

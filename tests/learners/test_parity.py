"""An artifact is released only if it follows its learner on every row, the rows it was not taught included."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from river import compose, linear_model, preprocessing
from river.utils import VectorDict

from learners.onnx_export import to_onnx
from learners.parity import check_parity
from learners.state import encode_state
from schemas.errors import ReleaseRefused

NUMBERS = ["price", "hour"]
CATEGORIES = ["country", "device"]
ROW = {"price": 3.0, "hour": 7.0, "country": "at", "device": "phone"}


def pipeline() -> Any:
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (texts + (compose.SelectType(float) | preprocessing.StandardScaler())) | linear_model.LogisticRegression()


def export(model: Any) -> onnx.ModelProto:
    return to_onnx(model, NUMBERS, CATEGORIES, name="test", version=1)


@pytest.fixture
def trained() -> Any:
    """A model that has learned 200 rows with every rule in use."""
    chance = random.Random(5)
    model = pipeline()
    for _ in range(200):
        full = {"price": chance.gauss(20, 5), "hour": float(chance.randrange(24)), "country": chance.choice("abc")}
        full["device"] = chance.choice(["phone", "desk"])
        row = {name: value for name, value in full.items() if chance.random() > 0.2}
        model.learn_one(row, full["price"] > 20)
    return model


def node(model: onnx.ModelProto, op_type: str, place: int = 0) -> Any:
    return [entry for entry in model.graph.node if entry.op_type == op_type][place]


def constant(model: onnx.ModelProto, name: str) -> Any:
    return next(entry for entry in model.graph.initializer if entry.name == name)


def move_weight(model: onnx.ModelProto) -> None:
    """A weight is off by a millionth."""
    weights = constant(model, node(model, "MatMul").input[1])
    weights.raw_data = (numpy_helper.to_array(weights) + np.array([[1e-6], [0.0]])).tobytes()


def drop_missing_rule(model: onnx.ModelProto) -> None:
    """NaN reaches the weighted sum."""
    present = node(model, "Where").output[0]
    scaled = node(model, "Div").output[0]
    matmul = node(model, "MatMul")
    assert matmul.input[0] == present
    matmul.input[0] = scaled


def count_missing_as_one(model: onnx.ModelProto) -> None:
    """A missing number counts one standard deviation."""
    constant(model, node(model, "Where").input[1]).raw_data = np.float64(1.0).tobytes()


def weigh_unseen(model: onnx.ModelProto) -> None:
    """A category that was never seen has a weight."""
    default = next(entry for entry in node(model, "LabelEncoder").attribute if entry.name == "default_tensor")
    default.t.raw_data = np.float64(0.01).tobytes()


def forget_a_category(model: onnx.ModelProto) -> None:
    """A known value is looked up under another field's name."""
    constant(model, node(model, "StringConcat").input[0]).string_data[0] = b"county_"


def swap_classes(model: onnx.ModelProto) -> None:
    """True is answered where False is meant."""
    concat = node(model, "Concat")
    inputs = list(concat.input)
    del concat.input[:]
    concat.input.extend(reversed(inputs))


def flip_labels(model: onnx.ModelProto) -> None:
    """The probabilities are right, the winner is the loser."""
    node(model, "ArgMax").op_type = "ArgMin"


FOUND_WITHOUT_ROWS = [
    move_weight,
    drop_missing_rule,
    count_missing_as_one,
    weigh_unseen,
    swap_classes,
    flip_labels,
]


@pytest.mark.parametrize("lie", FOUND_WITHOUT_ROWS, ids=lambda lie: lie.__name__)
def test_small_lie_is_found_without_any_row(trained: Any, lie: Callable[[onnx.ModelProto], None]) -> None:
    """The check makes the rows itself that show what a missing or unseen value does."""
    lying = export(trained)
    lie(lying)

    with pytest.raises(ReleaseRefused) as refused:
        check_parity(trained, lying.SerializeToString(), [])

    assert refused.value.check == "parity"


def test_lie_about_a_value_is_found_with_a_row_that_has_it(trained: Any) -> None:
    """What was learned of a value shows only where the value is."""
    lying = export(trained)
    forget_a_category(lying)

    with pytest.raises(ReleaseRefused, match="'country': 'a'"):
        check_parity(trained, lying.SerializeToString(), [{"country": "a"}])


def test_untouched_artifact_passes(trained: Any) -> None:
    """The mutations above are refused for what they changed: without them the artifact passes."""
    parity = check_parity(trained, export(trained).SerializeToString(), [ROW])

    assert parity.max_abs_diff < 1e-12


number = st.floats(-1e4, 1e4)
row = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(NUMBERS, number) | dict.fromkeys(CATEGORIES, st.sampled_from("abc_é"))
)


@given(stream=st.lists(st.tuples(row, st.booleans()), max_size=30))
@settings(max_examples=30, deadline=None)
def test_every_stream_has_parity(stream: list[tuple[dict[str, float | str], bool]]) -> None:
    """No stream makes learner and artifact part, and each of its rows is compared, with ten more."""
    model = pipeline()
    for x, y in stream:
        model.learn_one(x, y)

    parity = check_parity(model, export(model).SerializeToString(), [x for x, _ in stream])

    # All missing, two categories unseen, each of four features missing.
    assert parity.rows == len(stream) + 1 + 2 + 4
    assert parity.max_abs_diff <= 1e-9


def test_worst_row_is_named(trained: Any) -> None:
    """Whoever reads the release sees where it was closest to being refused."""
    lying = export(trained)
    move_weight(lying)
    rows = [{"price": 20.0}, {"price": 1e3}, {"hour": 3.0}]

    parity = check_parity(trained, lying.SerializeToString(), rows, tolerance=1.0)

    assert 0.0 < parity.max_abs_diff < 1e-3
    assert "price" in parity.worst


def test_tie_must_be_broken_as_river_breaks_it() -> None:
    """An untrained model ties; equal probabilities with another winner are no rounding."""
    model = pipeline()
    lying = export(model)
    node(lying, "ArgMax").attribute.append(onnx.helper.make_attribute("select_last_index", 1))

    with pytest.raises(ReleaseRefused, match="River predicts False, the artifact True"):
        check_parity(model, lying.SerializeToString(), [])


def test_winner_may_differ_where_rounding_decides(trained: Any) -> None:
    """Two classes closer than the tolerance are a tie that either side may break."""
    row = {"price": 20.0}
    logistic = trained["LogisticRegression"]
    # Move the decision onto the row: its probability is one half, but for the last bits.
    logistic.intercept -= math.log(trained.predict_proba_one(row)[True] / trained.predict_proba_one(row)[False])
    towards_the_other = -1e-12 if trained.predict_one(row) else 1e-12
    rounded = export(trained)
    intercept = constant(rounded, node(rounded, "Add").input[1])
    intercept.raw_data = (numpy_helper.to_array(intercept) + towards_the_other).tobytes()

    parity = check_parity(trained, rounded.SerializeToString(), [row])

    assert 0.0 < parity.max_abs_diff < 1e-11


def test_broken_learner_is_refused(trained: Any) -> None:
    """NaN is no answer, even if both sides give it."""
    artifact = export(trained).SerializeToString()
    trained["LogisticRegression"]._weights = VectorDict({"price": math.nan})

    with pytest.raises(ReleaseRefused, match="nan"):
        check_parity(trained, artifact, [ROW])


def test_row_with_a_feature_of_its_own_is_refused(trained: Any) -> None:
    """River would use a feature that the artifact never sees."""
    with pytest.raises(ReleaseRefused, match="'colour'"):
        check_parity(trained, export(trained).SerializeToString(), [{**ROW, "colour": "red"}])


def test_learner_is_left_alone(trained: Any) -> None:
    """River's scaler takes a note of every feature it is asked about; the copy takes it."""
    artifact = export(trained).SerializeToString()
    before = encode_state(trained)

    check_parity(trained, artifact, [{"price": 1.0}])

    assert encode_state(trained) == before


def test_no_answer_matches_no_answer() -> None:
    """Where River raises for want of a selected feature, the artifact must say NaN and nothing else."""
    model = (compose.Select("price") | preprocessing.StandardScaler()) | linear_model.LogisticRegression()
    artifact = export(model)

    assert check_parity(model, artifact.SerializeToString(), [ROW]).max_abs_diff == 0.0

    answering = export(compose.SelectType(float) | preprocessing.StandardScaler() | linear_model.LogisticRegression())
    with pytest.raises(ReleaseRefused, match="River raises"):
        check_parity(model, answering.SerializeToString(), [ROW])


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-40], lambda data: b"not an artifact"])
def test_bytes_that_do_not_load_are_refused(trained: Any, spoil: Callable[[bytes], bytes]) -> None:
    """What onnxruntime cannot load is a refusal, not a crash of the learner."""
    with pytest.raises(ReleaseRefused, match="onnxruntime"):
        check_parity(trained, spoil(export(trained).SerializeToString()), [])

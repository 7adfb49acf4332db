"""A learner that was written and read again goes on as if nothing had happened, or is refused by name."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import river
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    anomaly,
    cluster,
    compose,
    drift,
    ensemble,
    facto,
    feature_extraction,
    forest,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    stats,
    tree,
    utils,
)

from learners.state import decode_state, encode_state
from learners.state.envelope import FORMAT, MAGIC
from schemas.errors import NotStorable, StateUnreadable


def main_pipeline() -> Any:
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (texts + (compose.SelectType(float) | preprocessing.StandardScaler())) | linear_model.LogisticRegression()


def scaled(model: Any) -> Any:
    return preprocessing.StandardScaler() | model


LEARNERS: dict[str, Callable[[], Any]] = {
    "main pipeline": main_pipeline,
    "Adam, l2": lambda: scaled(linear_model.LogisticRegression(optim.Adam(), l2=0.1)),
    "FTRL": lambda: scaled(linear_model.LogisticRegression(optim.FTRLProximal())),
    "l1": lambda: scaled(linear_model.LogisticRegression(l1=0.01)),
    "random weights": lambda: linear_model.LogisticRegression(initializer=optim.initializers.Normal(seed=1)),
    "PAClassifier": linear_model.PAClassifier,
    "SoftmaxRegression": linear_model.SoftmaxRegression,
    "rolling scaler": lambda: preprocessing.StandardScaler(window_size=5) | linear_model.Perceptron(),
    "MinMaxScaler": lambda: preprocessing.MinMaxScaler() | naive_bayes.GaussianNB(),
    "RobustScaler": lambda: preprocessing.RobustScaler() | linear_model.LogisticRegression(),
    "AdaptiveStandardScaler": lambda: preprocessing.AdaptiveStandardScaler() | linear_model.LogisticRegression(),
    "GaussianNB": naive_bayes.GaussianNB,
    "BernoulliNB": naive_bayes.BernoulliNB,
    "HoeffdingTreeClassifier": lambda: tree.HoeffdingTreeClassifier(grace_period=20),
    "HoeffdingAdaptiveTreeClassifier": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
    "HoeffdingTreeRegressor": lambda: tree.HoeffdingTreeRegressor(grace_period=20),
    "SGTClassifier": tree.SGTClassifier,
    "ARFClassifier": lambda: forest.ARFClassifier(n_models=3, grace_period=20, seed=1),
    "ARFRegressor": lambda: forest.ARFRegressor(n_models=3, grace_period=20, seed=1),
    "AMFClassifier": lambda: forest.AMFClassifier(n_estimators=2, seed=1),
    "BaggingClassifier": lambda: ensemble.BaggingClassifier(linear_model.LogisticRegression(), n_models=2, seed=1),
    "SRPClassifier": lambda: ensemble.SRPClassifier(n_models=2, seed=1),
    "ADWINBoosting": lambda: ensemble.ADWINBoostingClassifier(linear_model.Perceptron(), n_models=2, seed=1),
    "OneVsRest": lambda: multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    "FMClassifier": lambda: facto.FMClassifier(n_factors=3, seed=1),
    "KNNClassifier": lambda: neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=40)),
    "HalfSpaceTrees": lambda: anomaly.HalfSpaceTrees(n_trees=3, height=3, window_size=20, seed=1),
    "DriftRetraining": lambda: drift.DriftRetrainingClassifier(naive_bayes.GaussianNB(), drift.binary.DDM()),
    "RBFSampler": lambda: feature_extraction.RBFSampler(seed=1) | linear_model.LogisticRegression(),
}
# A fifth of all values is missing; names and classes are strings, whose hashes differ between processes.
STREAM_LENGTH = 150


def stream(name: str, length: int = STREAM_LENGTH) -> list[tuple[dict[str, Any], Any]]:
    chance = random.Random(11)
    rows = []
    for _ in range(length):
        full: dict[str, Any] = {f"n{i}": chance.gauss(i, i + 1) for i in range(4)}
        y = full["n0"] + full["n1"] > 1
        if name == "main pipeline":
            full |= {f"c{i}": chance.choice("abcdé_") for i in range(2)}
        rows.append(({name: value for name, value in full.items() if chance.random() > 0.2}, y))
    return rows


def learn(model: Any, rows: list[tuple[dict[str, Any], Any]]) -> None:
    for x, y in rows:
        if isinstance(model, anomaly.HalfSpaceTrees):
            model.learn_one(x)
        else:
            model.learn_one(x, y)


def answer(model: Any, x: dict[str, Any]) -> Any:
    if isinstance(model, anomaly.HalfSpaceTrees):
        return model.score_one(x)
    if isinstance(model, tree.HoeffdingTreeRegressor | forest.ARFRegressor):
        return model.predict_one(x)
    try:
        return model.predict_proba_one(x)
    except NotImplementedError:
        return model.predict_one(x)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("learned", [0, 1, 100])
def test_reading_continues_where_writing_stopped(name: str, learned: int) -> None:
    """A learner written after n rows and read again answers, learns and is written like one that never stopped."""
    rows = stream(name)
    whole = LEARNERS[name]()
    learn(whole, rows[:learned])
    written = encode_state(whole)

    resumed = decode_state(written)

    assert encode_state(resumed) == written
    for x, y in rows[learned:]:
        assert answer(resumed, x) == answer(whole, x)
        learn(resumed, [(x, y)])
        learn(whole, [(x, y)])
    assert encode_state(resumed) == encode_state(whole)


number = st.sampled_from([0.0, 1.0]) | st.floats(-1e6, 1e6)
row = st.fixed_dictionaries(
    {}, optional={"a": number, "b": number, "c": st.text(min_size=1, max_size=3), "d": st.sampled_from("xyé")}
)
rows_of = st.lists(st.tuples(row, st.booleans()), max_size=15)


@given(before=rows_of, after=rows_of)
@settings(max_examples=60, deadline=None)
def test_main_pipeline_continues_on_every_stream(before: Any, after: Any) -> None:
    """The law above on streams nobody thought of."""
    whole = main_pipeline()
    learn(whole, before)

    resumed = decode_state(encode_state(whole))
    learn(whole, after)
    learn(resumed, after)

    assert encode_state(resumed) == encode_state(whole)
    assert resumed["LogisticRegression"].weights == whole["LogisticRegression"].weights


DIGESTS = """
import sys
sys.path.insert(0, {tests!r})
import hashlib, test_state
for name, learner in test_state.LEARNERS.items():
    model = learner()
    test_state.learn(model, test_state.stream(name, 60))
    print(name, hashlib.sha256(test_state.encode_state(model)).hexdigest())
"""


def test_equal_learners_give_equal_bytes_in_every_process() -> None:
    """Hashes of strings, which order sets, differ between processes; the bytes do not."""
    script = DIGESTS.format(tests=str(Path(__file__).parent))
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]

    assert len(printed[0].splitlines()) == len(LEARNERS)
    assert printed[0] == printed[1]


def test_predicting_does_not_show_in_the_bytes() -> None:
    """A pipeline plans its steps at the first call; the plan is not part of what was learned."""
    model = compose.Discard("x") | linear_model.LogisticRegression()
    before = encode_state(model)

    model.predict_proba_one({"a": 1.0})

    assert encode_state(model) == before


def test_shared_objects_stay_shared() -> None:
    """The trees of a forest draw from one generator; after reading they still take turns."""
    model = forest.ARFClassifier(n_models=3, seed=1)
    learn(model, stream("ARFClassifier", 20))

    resumed = decode_state(encode_state(model))

    assert all(member.rng is resumed._rng for member in resumed)
    assert resumed._rng.getstate() == model._rng.getstate()


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        5e-324,
        0.1 + 0.2,
        2**80,
        -(2**63),
        True,
        None,
        "é\0",
        b"\xff",
        (1, (2.0, "x")),
        frozenset({"a"}),
        float,
        functools.partial(utils.Rolling, stats.Mean, window_size=3),
        np.float64(0.1),
        np.float32(0.1),
        np.int64(7),
        np.bool_(True),
    ],
)
def test_value_keeps_its_type_and_bits(value: Any) -> None:
    """An int stays an int, numpy's float numpy's: they divide by zero differently."""
    model = compose.Discard()
    model.keys = value

    resumed = decode_state(encode_state(model)).keys

    assert type(resumed) is type(value)
    assert repr(resumed) == repr(value)


def test_set_has_one_encoding_whatever_its_order() -> None:
    """A set's own order is the process's: it must reach neither the bytes nor their digest."""
    forwards, backwards = compose.Discard(), compose.Discard()
    forwards.keys, backwards.keys = set(range(0, 24, 8)), set(range(16, -1, -8))

    assert list(forwards.keys) != list(backwards.keys)
    assert encode_state(forwards) == encode_state(backwards)
    assert decode_state(encode_state(forwards)).keys == {0, 8, 16}


def test_sign_of_zero_and_order_of_dicts_are_kept() -> None:
    """Both change what River computes next."""
    model = linear_model.LogisticRegression()
    model._weights = utils.VectorDict({"z": -0.0, "a": 1.0, "m": 2.0})

    weights = decode_state(encode_state(model)).weights

    assert list(weights) == ["z", "a", "m"]
    assert math.copysign(1.0, weights["z"]) == -1.0


@pytest.mark.parametrize("order", ["C", "F"])
def test_array_keeps_its_layout(order: Any) -> None:
    """numpy sums along the layout, so another layout is another sum."""
    model = compose.Discard()
    model.keys = np.array([[1.5, 2.5], [3.5, math.nan]], order=order)

    array = decode_state(encode_state(model)).keys

    np.testing.assert_array_equal(array, model.keys)
    assert array.flags.c_contiguous == (order == "C")
    array[0, 0] = 9.0


def test_graph_may_be_deeper_than_the_stack() -> None:
    """A degenerate tree of ten thousand levels is written and read without recursion."""
    model = compose.Discard()
    level: list[Any] = []
    model.keys = level
    for _ in range(10_000):
        level.append([])
        level = level[0]

    written = encode_state(model)

    assert encode_state(decode_state(written)) == written


class Homemade(linear_model.LogisticRegression):  # type: ignore[misc]
    """An estimator that River does not have."""


@pytest.mark.parametrize(
    ("model", "attribute", "words"),
    [
        (Homemade(), "the model", "not one of River's"),
        (compose.Discard() | Homemade(), "river.compose.pipeline.Pipeline.steps", "Homemade"),
        (compose.FuncTransformer(os.system), "river.compose.func.FuncTransformer.func", "not one of River's"),
        (compose.FuncTransformer(eval("lambda x: x")), "river.compose.func.FuncTransformer.func", "source is not"),
        (forest.ARFClassifier(), "the model", "without a seed"),
        (compose.Select("a", "b"), "the model", "order of a set"),
        (neighbors.KNNClassifier(), "river.neighbors.knn_classifier.KNNClassifier._nn", "LazySearch"),
        (cluster.KMeans(seed=1), "the model", "order of a set"),
        (tree.HoeffdingTreeClassifier(binary_split=True), "the model", "order of a set"),
        (feature_extraction.RandomTreesEmbedding(seed=1), "the model", "address in memory"),
        (compose.Discard(Homemade), "river.compose.select.Discard.keys", "plain data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_form_is_refused_by_name(model: Any, attribute: str, words: str) -> None:
    """The error names class and attribute, so that the model's author knows what to replace."""
    with pytest.raises(NotStorable, match=words) as refused:
        encode_state(model)

    assert refused.value.attribute == attribute


@pytest.mark.parametrize(
    "value",
    [np.array([[1, 2], [3, 4]])[:, 0], np.array(["a"]), np.array([{}]), iter([1]), [].append, random.SystemRandom()],
    ids=lambda value: type(value).__name__,
)
def test_value_without_form_is_refused(value: Any) -> None:
    """Views, texts and objects in arrays, iterators, methods of builtins, other generators."""
    model = compose.Discard()
    model.keys = value

    with pytest.raises(NotStorable, match=r"Discard\.keys"):
        encode_state(model)


@pytest.fixture(scope="module")
def written() -> bytes:
    model = main_pipeline()
    learn(model, stream("main pipeline", 5))
    return encode_state(model)


def test_truncated_state_is_unreadable(written: bytes) -> None:
    """At whatever byte a write was torn."""
    for length in range(len(written)):
        with pytest.raises(StateUnreadable):
            decode_state(written[:length])


def test_altered_state_is_unreadable(written: bytes) -> None:
    """Whichever bit flipped, header included."""
    for place in range(len(written)):
        altered = bytearray(written)
        altered[place] ^= 1 << place % 8
        with pytest.raises(StateUnreadable):
            decode_state(bytes(altered))


def test_state_with_something_behind_it_is_unreadable(written: bytes) -> None:
    """Two records run together are neither of them."""
    with pytest.raises(StateUnreadable):
        decode_state(written + b"\0")


def forged(shapes: Any, objects: Any, root: Any, version: str = river.__version__) -> bytes:
    """A state with a right digest that encode_state would not write."""
    payload = msgspec.msgpack.encode([version, shapes, objects, root])
    header = struct.pack(">4sBQ32s", MAGIC, FORMAT, len(payload), hashlib.sha256(payload).digest())
    return header + payload


PLAIN = [["river.compose.select", "Discard", ["keys"]]]


@pytest.mark.parametrize(
    "data",
    [
        forged([["os", "system", []]], [["instance", 0]], [0]),
        forged([["builtins", "object", []]], [["instance", 0]], [0]),
        forged([["river.datasets.phishing", "Phishing", []]], [["instance", 0]], [0]),
        forged([["river.drift.datasets.airline_passengers", "AirlinePassengers", []]], [["instance", 0]], [0]),
        forged([["river.stream.iter_csv", "DictReader", []]], [["instance", 0]], [0]),
        forged([["river.utils.rolling", "bisect.bisect", []]], [["instance", 0]], [0]),
        forged([["river.utils.rolling", "collections", []]], [["instance", 0]], [0]),
        forged([["river.compose.nowhere", "Select", []]], [["instance", 0]], [0]),
        forged([["river.naive_bayes.gaussian", "GaussianNB._make_gaussian", []]], [["instance", 0]], [0]),
        forged([["river.base.classifier", "Classifier", []]], [["instance", 0]], [0]),
        forged([], [], ["code", "os", "system"]),
        forged([], [], ["code", "", "eval"]),
        forged([], [], ["function", "halved", "0" * 64]),
        forged([], [], ["code", "river.utils.rolling", "inspect.isclass"]),
        forged(PLAIN, [["instance", 0, 1]], ["method", [0], "keys"]),
        forged(PLAIN, [["instance", 0, 1]], ["method", [0], "__class__"]),
        forged([], [], ["method", ["code", "", "float"], "fromhex"]),
        forged([], [["dict", [1], 2], ["list"]], [0]),
        forged(PLAIN, [["dict", [1], 2], ["instance", 0, 1]], [0]),
        forged(PLAIN, [["set", [1]], ["instance", 0, 1]], [0]),
        forged(PLAIN, [["instance", 0, 1, 2]], [0]),
        forged(PLAIN, [["instance", 5]], [0]),
        forged([], [], [3]),
        forged([], [["exec", "1"]], [0]),
        forged([], [], ["exec", "1"]),
        forged([], [["array", "O", [1], "C", bytes(8)]], [0]),
        forged([], [["array", "<f8", [10**9], "C", bytes(8)]], [0]),
        forged([], [["random", 3, b"short", None]], [0]),
        forged([], [["rust", "RsEWMean", ["tuple", 0.5], b"short"]], [0]),
        forged([], [["rust", "RsNothing", ["tuple"], b""]], [0]),
        forged([], [["vector", None, "a", "text"]], [0]),
        forged([], [["dict", "a"]], [0]),
        forged([], [], "x", version="0.1.0"),
        forged([], "x", [0]),
        forged([], [[[]]], [0]),
    ],
    ids=range(35),
)
def test_forged_state_is_unreadable(data: bytes) -> None:
    """With a right digest too, nothing is made that is not an estimator of River or plain data."""
    with pytest.raises(StateUnreadable):
        decode_state(data)


def test_forging_works_when_nothing_is_wrong() -> None:
    """The forgeries above fail for what is wrong with each, not for how they are made."""
    model = decode_state(forged(PLAIN, [["instance", 0, [1]], ["set", "a"]], [0]))

    assert model.keys == {"a"}

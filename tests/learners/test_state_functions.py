"""A model file's functions are not in a learner's state: they are taken from the model file when it is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import compose, linear_model, preprocessing

from learners import load_model
from learners.state import decode_state, encode_state
from schemas.errors import NotStorable, StateUnreadable

FILE = """\
import numpy as np
from river import linear_model, preprocessing
from learners import Model, event_type, every, happens, hour, number

ZERO = 0.0


def logged(x):
    # A comment is no part of it.
    return {**x, "log": np.log1p(abs(x.get("commerce.order.priceTotal", ZERO)))}


model = Model(
    name="buys",
    applies_to=event_type("commerce.productViews"),
    features=[number("commerce.order.priceTotal"), hour()],
    outcome=happens("commerce.purchases", within="30m"),
    learner=logged | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    release=every("2s"),
)
"""


def learner_of(tmp_path: Path, text: str, name: str = "buys.py") -> Any:
    """What the model file with this text defines."""
    file = tmp_path / name
    file.write_text(text)
    return load_model(file).new_learner()


def learn(learner: Any) -> None:
    for i in range(20):
        learner.learn_one({"commerce.order.priceTotal": float(i), "hour": float(i % 5)}, i % 3 == 0)


def test_a_learner_with_a_function_goes_on_where_it_was(tmp_path: Path) -> None:
    """Read in another process, by a model file whose comments have changed, it learns on bit for bit."""
    learner = learner_of(tmp_path, FILE)
    learn(learner)
    definition = learner_of(tmp_path, FILE.replace("# A comment", "\n    # Another comment"), "again.py")

    resumed = decode_state(encode_state(learner), definition)
    learn(learner)
    learn(resumed)

    assert encode_state(resumed) == encode_state(learner)
    assert resumed["logged"].func is definition["logged"].func


def test_a_state_brings_no_function_along(tmp_path: Path) -> None:
    """Not without a definition, and not where the definition has another function of this name."""
    state = encode_state(learner_of(tmp_path, FILE))
    other = learner_of(tmp_path, FILE.replace("log1p", "sqrt"), "other.py")

    for definition in (None, other, linear_model.LogisticRegression()):
        with pytest.raises(StateUnreadable, match="no function logged"):
            decode_state(state, definition)


def test_another_function_makes_another_fresh_state(tmp_path: Path) -> None:
    """By which a model is told to have changed under its name."""
    one, other = learner_of(tmp_path, FILE), learner_of(tmp_path, FILE.replace("log1p", "sqrt"), "other.py")

    assert encode_state(one) != encode_state(other)


def halved(x: Any, by: float = 2.0) -> Any:
    return {name: x.get(name, 0.0) / by for name in ("a", "b")}


def test_arguments_of_a_partial_are_data() -> None:
    """The function is the definition's, its arguments are the state's."""
    model = compose.FuncTransformer(functools.partial(halved, by=4.0)) | preprocessing.StandardScaler()

    resumed = decode_state(encode_state(model), compose.FuncTransformer(halved))

    assert {"a": 0.5, "b": 0.0} == resumed["partial"].transform_one({"a": 2.0})


def divided(by: float) -> Callable[[Any], Any]:
    return lambda x: {"a": x["a"] / by}


ALIKE = (lambda x: {"a": x["a"]}, lambda x: {"b": x["b"]})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (compose.FuncTransformer(divided(2.0)), "functools.partial"),
        (compose.FuncTransformer(ALIKE[0]) + compose.FuncTransformer(ALIKE[1]), "name of its own"),
        (compose.FuncTransformer("".join), "cannot be written"),
        (compose.Discard(halved), "cannot be written"),
    ],
    ids=["closure", "two lambdas of one line", "method of a builtin", "elsewhere"],
)
def test_what_a_name_does_not_tell_is_refused(model: Any, words: str) -> None:
    """Values of a closure, two functions of one name, functions where River keeps none."""
    with pytest.raises(NotStorable, match=words):
        encode_state(model)

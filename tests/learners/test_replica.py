"""A replica answers as its model does, and whatever it is asked, the model stays as it is."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import pytest
from river import anomaly, compose, facto, forest, linear_model, naive_bayes, preprocessing, tree
from river.tree.nodes.branch import NumericBinaryBranch

from learners import replica as module
from learners.onnx_export.branches import nodes_of
from learners.replica import replica
from learners.state import encode_state

Row: TypeAlias = dict[str, float | str]
Ask: TypeAlias = Literal["predict_proba_one", "predict_one", "score_one"]

EAGER: dict[str, Any] = {"grace_period": 20, "delta": 0.2}


def numeric(model: Any) -> Any:
    return compose.SelectType(float) | model


MODELS: dict[str, tuple[Ask, Callable[[], Any]]] = {
    "scaler": (
        "predict_proba_one",
        lambda: numeric(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
    ),
    "perceptron": ("predict_proba_one", lambda: numeric(linear_model.Perceptron())),
    "latents": ("predict_proba_one", lambda: facto.FMClassifier(seed=1)),
    "Bayes": ("predict_proba_one", lambda: numeric(naive_bayes.GaussianNB())),
    "tree mc": ("predict_proba_one", lambda: tree.HoeffdingTreeClassifier(leaf_prediction="mc", **EAGER)),
    "tree nb": ("predict_proba_one", lambda: tree.HoeffdingTreeClassifier(leaf_prediction="nb", **EAGER)),
    "tree nba": ("predict_proba_one", lambda: tree.HoeffdingTreeClassifier(leaf_prediction="nba", **EAGER)),
    "fast tree": (
        "predict_proba_one",
        lambda: tree.ExtremelyFastDecisionTreeClassifier(leaf_prediction="nb", **EAGER),
    ),
    "adaptive tree": ("predict_proba_one", lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER)),
    "forest mc": (
        "predict_proba_one",
        lambda: forest.ARFClassifier(3, leaf_prediction="mc", seed=1, grace_period=20),
    ),
    "forest nba": (
        "predict_proba_one",
        lambda: forest.ARFClassifier(3, leaf_prediction="nba", seed=1, grace_period=20),
    ),
    "Mondrian forest": ("predict_proba_one", lambda: numeric(forest.AMFClassifier(3, seed=1))),
    "line": ("predict_one", lambda: numeric(linear_model.LinearRegression())),
    "tree mean": ("predict_one", lambda: tree.HoeffdingTreeRegressor(leaf_prediction="mean", **EAGER)),
    "tree model": ("predict_one", lambda: numeric(tree.HoeffdingTreeRegressor(leaf_prediction="model", **EAGER))),
    "tree adaptive": ("predict_one", lambda: numeric(tree.HoeffdingTreeRegressor(**EAGER))),
    "forest of values": ("predict_one", lambda: numeric(forest.ARFRegressor(3, seed=1, grace_period=20))),
    "extra trees": ("predict_one", lambda: numeric(forest.OXTRegressor(3, seed=1, grace_period=20))),
    "Mondrian forest of values": ("predict_one", lambda: numeric(forest.AMFRegressor(3, seed=1))),
    "half-space trees": (
        "score_one",
        lambda: numeric(preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(3, window_size=50, seed=1)),
    ),
}


def rows(n: int = 300) -> list[Row]:
    """Numbers and texts, a fifth of them missing."""
    chance = random.Random(1)
    full: list[Row] = [
        {
            "price": chance.gauss(0.0, 2.0),
            "hour": chance.gauss(0.0, 2.0),
            "country": chance.choice("abc"),
            "device": chance.choice("abc"),
        }
        for _ in range(n)
    ]
    return [{name: value for name, value in row.items() if chance.random() > 0.2} for row in full]


def taught(ask: Ask, make: Callable[[], Any]) -> Any:
    """The model after 300 rows, the last of which bring a class that most leaves have not met."""
    model = make()
    for i, x in enumerate(rows()):
        signal = float(x.get("price", 0.0)) + (x.get("country") == "a")
        if ask == "score_one":
            model.learn_one(x)
        elif ask == "predict_one":
            model.learn_one(x, signal)
        else:
            model.learn_one(x, 2 if i > 290 and not isinstance(model, facto.FMClassifier) else signal > 0.0)
    return model


def strange() -> list[Row]:
    """What was learned, with gaps, and what nobody has met."""
    return [*rows(60), {}, {"new": 1.0}, {"country": "new", "another": "x"}, {"price": 1e9}]


@pytest.mark.parametrize("name", MODELS)
def test_model_stays_as_it_is(name: str) -> None:
    """Not a byte of what would be journaled changes, and nothing that the journal leaves out."""
    ask, make = MODELS[name]
    model = taught(ask, make)
    state, whole = encode_state(model), pickle.dumps(model)
    asked = replica(model)

    for x in strange():
        getattr(asked, ask)(dict(x))

    assert state == encode_state(model)
    assert whole == pickle.dumps(model)


@pytest.mark.parametrize("name", MODELS)
def test_replica_answers_like_a_whole_copy(name: str) -> None:
    """Shared or copied, all of it is there: the same bits, also after strange rows, also of what River draws."""
    ask, make = MODELS[name]
    model = taught(ask, make)

    asked, whole = replica(model), copy.deepcopy(model)

    for x in strange():
        assert getattr(whole, ask)(dict(x)) == getattr(asked, ask)(dict(x))


@pytest.mark.parametrize("name", ["scaler", "latents", "tree nb"])
def test_models_here_would_change_if_they_were_asked(name: str) -> None:
    """Without a replica these change, so that the tests above can fail."""
    ask, make = MODELS[name]
    model = taught(ask, make)
    before = pickle.dumps(model)

    for x in strange():
        getattr(model, ask)(dict(x))

    assert before != pickle.dumps(model)


def test_leaf_that_would_note_a_class_is_copied_and_others_are_shared() -> None:
    """A nominal splitter notes each class that naive Bayes asks for; what only reads costs no copy."""
    model = taught(*MODELS["tree nb"])
    leaves = [node for node in nodes_of(model._root) if hasattr(node, "splitters")]
    noting = [leaf for leaf in leaves if not module._knows_its_classes(leaf)]

    shared = {id(node) for node in nodes_of(replica(model)._root)}

    assert 0 < len(noting) < len(leaves)
    assert {id(leaf) for leaf in leaves} & shared == {id(leaf) for leaf in leaves} - {id(leaf) for leaf in noting}


def test_tree_that_only_reads_is_shared_whole() -> None:
    """Also one that is deeper than Python's stack, which nothing that recurses could copy."""
    model = taught(*MODELS["tree mc"])
    leaf = next(node for node in nodes_of(model._root) if hasattr(node, "splitters"))
    for _ in range(3000):
        model._root = NumericBinaryBranch({}, "price", -1e9, 0, leaf, model._root)

    assert replica(model)._root is model._root


def test_model_that_pickle_cannot_write_is_copied() -> None:
    """A function without a name of its own is kept, and all else of the model copied."""
    model = compose.FuncTransformer(lambda x: x) | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    model.learn_one({"price": 1.0}, True)

    replica(model).predict_proba_one({"hour": 1.0})

    assert ["price"] == list(model["StandardScaler"].vars)

"""FeatureHasher answers in ONNX as in River, texts included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import helper
from river import compose, linear_model, preprocessing, tree

from learners.onnx_export import to_onnx
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import CATEGORIES, NUMBERS, Row, assert_exact, gappy, mixed

HASHERS: dict[str, Callable[[], Any]] = {
    "all in few buckets": lambda: preprocessing.FeatureHasher(n_features=3, seed=1),
    "all in one bucket": lambda: preprocessing.FeatureHasher(n_features=1, seed=5),
    "all in many buckets": lambda: preprocessing.FeatureHasher(n_features=1_000, seed=2),
    "all without sign": lambda: preprocessing.FeatureHasher(n_features=7, seed=3, alternate_sign=False),
    "texts": lambda: compose.SelectType(str) | preprocessing.FeatureHasher(n_features=16, seed=2**32 - 1),
    "scaled beside texts": lambda: (
        (compose.SelectType(float) | preprocessing.StandardScaler())
        + (compose.SelectType(str) | preprocessing.FeatureHasher(n_features=16, seed=4))
    ),
}


@pytest.mark.parametrize("hasher", HASHERS)
def test_numbers_and_texts_are_hashed_as_in_river(hasher: str) -> None:
    """Into the same bucket with the same sign, values that were never met included; an empty bucket is missing."""
    assert_exact(
        lambda: HASHERS[hasher]() | preprocessing.StandardScaler() | linear_model.LinearRegression(),
        gappy("regression").first(80),
    )


def test_a_tree_splits_on_buckets() -> None:
    """Where a bucket is empty the tree goes on without it."""
    assert_exact(
        lambda: (
            preprocessing.FeatureHasher(n_features=4, seed=1) | tree.HoeffdingTreeRegressor(grace_period=20, tau=0.9)
        ),
        gappy("regression"),
    )


texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40)
rows = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, st.floats(-1e4, 1e4)) | dict.fromkeys(CATEGORIES, texts)),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=30, deadline=None)
@given(n_features=st.integers(1, 4096), seed=st.integers(0, 2**32 - 1), learned=rows, asked=rows)
def test_any_text_is_hashed_as_in_river(n_features: int, seed: int, learned: list[Row], asked: list[Row]) -> None:
    """Any letters, any number of buckets, any seed."""
    hasher = preprocessing.FeatureHasher(n_features=n_features, seed=seed)
    # All buckets weigh otherwise, so that none is taken for another.
    model = hasher | linear_model.LinearRegression()
    model["LinearRegression"]._weights.update({bucket: 1.0 + bucket for bucket in range(n_features)})
    exported = to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)

    assert check_parity(model, exported.SerializeToString(), [*learned, *asked]).max_abs_diff <= 1e-9


def test_the_operator_that_is_no_standard_one_is_named() -> None:
    """In the metadata of a graph that hashes texts, and of no other."""
    model = preprocessing.FeatureHasher(n_features=8, seed=1) | linear_model.LinearRegression()
    properties = [
        {entry.key: entry.value for entry in to_onnx(model, NUMBERS, categories, name="x", version=1).metadata_props}
        for categories in (CATEGORIES, ())
    ]

    assert "com.microsoft.MurmurHash3" == properties[0]["operators"]
    assert "operators" not in properties[1]


MUTATIONS: dict[str, Callable[[Any], None]] = {
    "another seed": lambda node: node.attribute.extend([helper.make_attribute("seed", 2)]),
    "the unsigned hash": lambda node: node.attribute.extend([helper.make_attribute("positive", 1)]),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_another_hash_is_caught(mutation: str) -> None:
    """The laws bite; an unsigned hash has another remainder in half of all texts."""
    stream = mixed("regression")
    hasher = preprocessing.FeatureHasher(n_features=7, seed=1, alternate_sign=False)
    model = hasher | preprocessing.StandardScaler() | linear_model.LinearRegression()
    for x, y in stream.first(60).examples:
        model.learn_one(dict(x), y)
    exported = to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)
    node = next(node for node in exported.graph.node if node.op_type == "MurmurHash3")
    attribute = "seed" if mutation == "another seed" else "positive"
    kept = [each for each in node.attribute if each.name != attribute]
    del node.attribute[:]
    node.attribute.extend(kept)
    MUTATIONS[mutation](node)

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), [x for x, _ in stream.examples])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a million buckets": (lambda: preprocessing.FeatureHasher(seed=1), "each of its 1048576 buckets"),
    "one-hot keys": (
        lambda: compose.SelectType(str) | preprocessing.OneHotEncoder() | preprocessing.FeatureHasher(seed=1),
        "no columns any more",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_hashed_exactly_is_refused_by_name(case: str) -> None:
    """At the first export, with what to use instead."""
    make, reason = REFUSED[case]

    with pytest.raises(NotExportable, match=reason):
        to_onnx(make() | linear_model.LinearRegression(), NUMBERS, CATEGORIES, name="law", version=1)

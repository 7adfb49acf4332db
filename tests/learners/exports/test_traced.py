"""A function in a pipeline answers in ONNX as Python does, or is refused by the line that has no exact form."""

from __future__ import annotations

import contextlib
import functools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from river import compose, linear_model, preprocessing, tree

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.onnx_export.symbols import Untraceable
from learners.onnx_export.traced import MOST_WAYS, trace
from learners.parity import check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import CATEGORIES, NUMBERS, Row, assert_exact, gappy, mixed

Features = dict[str, Any]


def defaults(x: Mapping[str, Any]) -> Features:
    price = x.get("price", 0.0)
    return {"double": 2 * price, "hour": x.get("hour of day", -1), "constant": 3, "is at": x.get("geo.country") == "at"}


def added(x: Mapping[str, Any]) -> Features:
    kept = {**x, "sum": x.get("price", 1.5) + x.get("naïve", 0.0) - 0.25}
    return {name: value for name, value in kept.items() if isinstance(value, float)}


def without_texts(x: Mapping[str, Any]) -> Features:
    return {f"old {name}": value for name, value in x.items() if not isinstance(value, str)}


def branches(x: Mapping[str, Any]) -> Features:
    hour = x.get("hour of day")
    if hour is None:
        return {"unknown": True}
    if 6 <= hour < 18 and not x.get("price", 0.0) < 0:
        return {"day": hour, "clipped": min(max(hour, 8.0), 12)}
    return {"night": abs(hour - 24), "price": x.get("price") or 7.0}


def tried(x: Mapping[str, Any]) -> Features:
    try:
        ratio = x["price"] / x["hour of day"]
    except KeyError as error:
        ratio = 5.0 if "price" in str(error) else 6.0
    except ZeroDivisionError:
        ratio = -1.0
    return {"ratio": ratio, "both": ("price" in x) + ("naïve" in x) * 2}


def of_numpy(x: Mapping[str, Any]) -> Features:
    price, hour = x.get("price", 0.0), x.get("hour of day", 0.0)
    return {
        "log": np.log(np.square(price) + 1e-9),
        "log1p": np.log1p(np.abs(price) * 1e-7),
        "root": np.sqrt(abs(hour)),
        "exp": np.exp(-abs(price)),
        "sin": np.sin(hour / 24 * 2 * math.pi),
        "cos": np.cos(hour),
        "clipped": np.minimum(np.maximum(price, -1), 2.5),
        "rounded": np.floor(price) + np.ceil(hour) * np.rint(price) - np.sign(hour),
        "safe": np.float64(1.0) / (np.tanh(hour) + 2),
        "greater": np.float64(1.0) < price,
    }


def whole(x: Mapping[str, Any]) -> Features:
    price, hour = x.get("price", 0.5), x.get("hour of day", 0.0)
    quotient, rest = divmod(price, 0.3)
    return {
        "quotient": quotient,
        "rest": rest,
        "negative": price % -2.5,
        "of hours": -7 // (abs(hour) + 0.1),
        "rounded": round(price) + math.floor(hour) - math.ceil(price),
        "squared": price**2 + hour**3,
        "root": abs(price) ** 0.5,
        "to the power": 1.1 ** min(max(hour, -9.0), 9.0),
    }


def read(x: Mapping[str, Any]) -> Features:
    return {"price": -x["price"], "hour": +x["hour of day"]}


def scaled_by(x: Mapping[str, Any], factor: float, other: float = 0.0) -> Features:
    return {name: x.get(name, other) * factor for name in ("price", "naïve")}


def truths(x: Mapping[str, Any]) -> Features:
    high, low = x.get("price", 0.0) > 0.5, x.get("naïve", 0.0) <= np.float64(1.0)
    return {"high": high, "differ": high != low, "both": high & (not low), "sum": high + low + 0.5, "less": -1 * high}


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "defaults": defaults,
    "added": added,
    "without texts": without_texts,
    "branches": branches,
    "tried": tried,
    "of numpy": of_numpy,
    "whole": whole,
    "read": read,
    "partial": functools.partial(scaled_by, factor=0.3, other=2.0),
    "truths": truths,
}


def scaled(step: Any) -> Any:
    return step | preprocessing.StandardScaler() | linear_model.LinearRegression()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_answers_as_in_python(function: str) -> None:
    """Untrained, halfway and at the end, with features missing, categories that were never met and extreme numbers."""
    assert_exact(lambda: scaled(compose.FuncTransformer(FUNCTIONS[function])), gappy("regression").first(80))


def crossed(x: Mapping[str, Any]) -> Features:
    country, device = x.get("geo.country", "nowhere"), x.get("device type")
    # Not a set, which would need the text's hash.
    known = country in ("at", "é")
    cross = country + "/" + device if device is not None else "no " + country
    return {"cross": cross, "country": country if known else "other", "known": known, "price": x.get("price", 0.0)}


def test_texts_are_compared_and_joined_as_in_python() -> None:
    """And go on as categories."""
    encoded = compose.Discard("known", "price") | preprocessing.OneHotEncoder()
    plain = compose.Select("known") + compose.Select("price")

    assert_exact(lambda: scaled(crossed | (encoded + plain)), gappy("regression").first(80))


def test_a_tree_goes_on_without_what_a_branch_leaves_out() -> None:
    """What only some ways return is missing in the others, not zero."""
    assert_exact(
        lambda: compose.FuncTransformer(branches) | tree.HoeffdingTreeRegressor(grace_period=20, tau=0.9),
        gappy("regression"),
    )


def risky(x: Mapping[str, Any]) -> Features:
    price, hour = x["price"], x.get("hour of day", 1.0)
    if x.get("geo.country") == "b_c":
        raise ValueError("no such country")
    return {"ratio": price / hour, "rest": price % hour, "inverse": (hour - 0.5) ** -1, "whole": price // hour}


number = st.sampled_from([0.0, -0.0, -1.0, 0.5, 2.5, 0.3, 0.6, -7.5]) | st.floats(-1e4, 1e4).map(
    lambda value: round(value, 3)
)
rows = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(NUMBERS, number) | dict.fromkeys(CATEGORIES, st.sampled_from(["at", "b_c", "é", "_"])),
    ),
    min_size=1,
    max_size=10,
)
ANY: dict[str, Callable[[Any], Any]] = {**FUNCTIONS, "risky": risky}


@functools.cache
def weighing(function: str) -> tuple[Any, bytes]:
    """A model in which each of the function's features weighs otherwise, and its graph."""
    model = compose.FuncTransformer(ANY[function]) | linear_model.LinearRegression()
    ways = trace(ANY[function], NUMBERS, CATEGORIES).ways
    names = dict.fromkeys(name for way in ways for name in way.features or {})
    model["LinearRegression"]._weights.update({name: 0.5 + place for place, name in enumerate(names)})
    return model, to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1).SerializeToString()


@hypothesis_settings(max_examples=80, deadline=None)
@given(function=st.sampled_from(sorted(ANY)), asked=rows)
def test_any_row_is_answered_as_in_python(function: str, asked: list[Row]) -> None:
    """Rows in which Python raises included: they have no answer."""
    model, exported = weighing(function)

    assert check_parity(model, exported, asked).max_abs_diff <= 1e-9


def test_what_is_no_finite_number_is_no_answer() -> None:
    """A logarithm of zero, the root of a negative number: River would learn an infinity or a complex number."""
    model = (
        compose.FuncTransformer(
            lambda x: {"log": np.log(x["price"]), "root": x["price"] ** 0.5, "kept": x.get("naïve", 1.0)}
        )
        | linear_model.LinearRegression()
    )
    exported = to_onnx(model, NUMBERS, (), name="law", version=1).SerializeToString()

    assert answers(exported, [0.0, -4.0, math.nan]).tolist() == pytest.approx([math.nan] * 3, nan_ok=True)
    assert answers(exported, [4.0]).tolist() == [0.0]


def answers(exported: bytes, prices: list[float]) -> Any:
    rows = np.full((len(prices), len(NUMBERS)), math.nan)
    rows[:, 0] = prices
    return ort.InferenceSession(exported).run(["prediction"], {"numbers": rows})[0]


def branch_count(n: int) -> Callable[[Any], Any]:
    return lambda x: {"high": sum(x["price"] > place for place in range(n))}


TABLE = {"at": 1.0}


def counts_up(x: Mapping[str, Any]) -> Features:
    total = 0.0
    for _ in x:
        total += 1.0
    return {"total": total}


def changes(x: Any) -> Any:
    x["a"] = 1.0
    return x


def draws(x: Mapping[str, Any]) -> Features:
    return {"a": x.get("price", 0.0) * random.random()}


def default_of_a_copy(x: Mapping[str, Any]) -> Features:
    return {"a": dict(x).get("price", 1.0)}


def hidden_error(x: Mapping[str, Any]) -> Features:
    with contextlib.suppress(Exception):  # what the tracer says must pass here
        return {"a": math.log(x["price"])}
    return {"a": 0.0}


def deeper(x: Mapping[str, Any]) -> Features:
    return hidden_error(x)


def a_list(x: Mapping[str, Any]) -> Any:
    return [x["price"]]


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "math": (lambda x: {"a": math.sqrt(x.get("price", 0.0))}, r"functions of math .*\(test_traced.py:\d+: .*math.sqrt"),
    "float": (lambda x: {"a": float(x["price"])}, r"float\(\), int\(\)"),
    "int": (lambda x: {"a": int(x["price"])}, r"float\(\), int\(\)"),
    "caught": (hidden_error, r"functions of math .*\(test_traced.py:\d+: return .*math.log"),
    "called by another": (deeper, r"math.log"),
    "round to digits": (lambda x: {"a": round(x["price"], 1)}, "rounds to digits"),
    "f-string of a number": (lambda x: {f"a{x['price']}": 1.0}, "makes a text of a number"),
    "f-string of a text": (lambda x: {"a": f"{x['geo.country']}!"}, r"join them by \+"),
    "table": (lambda x: {"a": TABLE.get(x["geo.country"], 0.0)}, "looks a text up"),
    "set": (lambda x: {"a": x["price"] in {1.0, 2.0}}, "looks a number up"),
    "method of a text": (lambda x: {"a": x["geo.country"].upper()}, r"a text for \.upper"),
    "length of a text": (lambda x: {"a": len(x["geo.country"])}, "looks into a text"),
    "order of texts": (lambda x: {"a": x["geo.country"] < "b"}, "orders texts"),
    "array": (lambda x: {"a": np.where(x["price"] > 0, 1.0, 0.0)}, "numpy.where, .* an if does"),
    "function of numpy": (lambda x: {"a": np.arctan(x["price"])}, "numpy.arctan"),
    "text as number": (lambda x: {"a": x["geo.country"] + 1}, "TypeError"),
    "None as number": (lambda x: {"a": x.get("price") + 1}, "TypeError"),
    "None": (lambda x: {"a": x.get("price")}, "is None"),
    "empty text": (lambda x: {"a": x.get("geo.country", "")}, "is ''"),
    "infinity": (lambda x: {"a": math.inf}, "is inf"),
    "name that is none": (lambda x: {1: 1.0}, "no str"),
    "list": (a_list, "returns a list"),
    "unknown feature": (lambda x: {"a": x["no"]}, "'no', which is not a feature here"),
    "always": (lambda x: {"a": TABLE["no"]}, "raises on every event"),
    "text or number": (lambda x: {"a": x.get("geo.country", 1.0)}, "a text in some rows"),
    "changed row": (changes, "changes the row"),
    "popped": (lambda x: x.pop("price"), "changes the row"),
    "length of the row": (lambda x: {"a": len(x)}, "counts or compares"),
    "counted in a loop": (counts_up, "loops over the row, and without"),
    "default of a copy": (default_of_a_copy, "loops over the row, and without 'price'"),
    "constant for each": (lambda x: dict.fromkeys(x, 1.0), "loops over the row, and without"),
    "overwritten by the row": (lambda x: {"price": 1.0, **x}, "loops over the row, and without 'price'"),
    "computed in a loop": (lambda x: {name: value * 2 for name, value in x.items()}, "read each feature by its name"),
    "compared in a loop": (lambda x: {k: v for k, v in x.items() if v != 0}, "read each feature by its name"),
    "random": (draws, "otherwise when it is asked again"),
    "too many ways": (branch_count(MOST_WAYS), f"more than {MOST_WAYS} ways"),
    "whole power": (lambda x: {"a": 2 ** round(x["price"])}, "whole number to a whole number"),
    "large whole number": (lambda x: {"a": x["price"] + 2**60}, "is no double"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_exact_form_is_refused_by_its_line(case: str) -> None:
    """At the first export, which needs no data."""
    function, reason = REFUSED[case]

    with pytest.raises(NotExportable, match=reason):
        to_onnx(scaled(compose.FuncTransformer(function)), NUMBERS, CATEGORIES, name="law", version=1)


def typed(x: Mapping[str, Any]) -> Features:
    return {"a": 1.0 if type(x["a"]) is float else 0.0}


AT_LOAD: dict[str, tuple[Callable[[], Any], str]] = {
    "type": (lambda: compose.FuncTransformer(typed), r"type\(\)"),
    "type in another": (lambda: compose.FuncTransformer(lambda x: {**x, **typed(x)}), r"type\(\)"),
    "identity": (lambda: compose.FuncTransformer(lambda x: {"a": (x["a"] > 0) is True}), "is True or is False"),
    "no function": (lambda: compose.FuncTransformer(dict), "no Python function"),
    "behind numbers that may be int": (
        lambda: preprocessing.Binarizer() | compose.FuncTransformer(defaults),
        "computes otherwise",
    ),
    "behind a function": (lambda: compose.FuncTransformer(defaults) | defaults, "computes otherwise"),
    "type behind a function": (
        lambda: compose.FuncTransformer(defaults) | compose.SelectType(float),
        "FuncTransformer may be int",
    ),
}


@pytest.mark.parametrize("case", AT_LOAD)
def test_what_depends_on_no_feature_is_refused_at_load(case: str) -> None:
    """Before any data."""
    make, reason = AT_LOAD[case]

    with pytest.raises(NotExportable, match=reason):
        refuse_unexportable(scaled(make()), task=None)


def test_branches_alike_are_one() -> None:
    """A graph grows with what its features decide, not with all ways through."""
    exported = to_onnx(scaled(compose.FuncTransformer(tried)), NUMBERS, CATEGORIES, name="law", version=1)

    assert len(exported.graph.node) < 60


def test_a_loop_without_effects_needs_no_ways() -> None:
    """Features that are only kept are not decided about, however many they are."""
    names = [f"feature {place}" for place in range(100)]

    assert 1 == len(trace(lambda x: {**x, "one": 1.0}, names, []).ways)


def test_the_limit_of_ways_is_met_exactly() -> None:
    """One for each answer of each decision that is reached, and one where the price is missing."""
    names = ["price"]
    nested = MOST_WAYS - 2

    def first_above(x: Mapping[str, Any]) -> Features:
        return {"first": next((place for place in range(nested) if x["price"] < place), nested)}

    assert MOST_WAYS == len(trace(first_above, names, []).ways)
    nested += 1
    with pytest.raises(Untraceable, match="ways"):
        trace(first_above, names, [])


def trained() -> tuple[Any, ModelProto, list[Row]]:
    stream = mixed("regression")
    model = scaled(compose.FuncTransformer(lambda x: {"a": 0.4 * x["price"] if x["price"] < 0.5 else -x["price"]}))
    for x, y in stream.first(200).examples:
        model.learn_one(dict(x), y)
    exported = to_onnx(model, NUMBERS, CATEGORIES, name="law", version=1)
    return model, exported, [x for x, _ in stream.examples]


def other_bound(exported: ModelProto) -> None:
    for node in exported.graph.node:
        if node.op_type == "Less":
            node.op_type = "LessOrEqual"


def other_branch(exported: ModelProto) -> None:
    node = next(node for node in exported.graph.node if node.op_type == "Where" and "<lambda>" in node.name)
    node.input[1], node.input[2] = node.input[2], node.input[1]


def other_factor(exported: ModelProto) -> None:
    for constant in _constants(exported):
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float64 and values.size == 1 and values.item() == 0.4:
            constant.CopyFrom(numpy_helper.from_array(values * (1 + 1e-6), constant.name))


def _constants(exported: ModelProto) -> Iterator[Any]:
    return iter([constant for constant in exported.graph.initializer if "<lambda>" in constant.name])


@pytest.mark.parametrize("mutate", [other_bound, other_branch, other_factor])
def test_another_function_is_caught(mutate: Callable[[ModelProto], None]) -> None:
    """The laws bite: `<=` for `<`, the branches exchanged, a factor moved by 1e-6."""
    model, exported, asked = trained()
    check_parity(model, exported.SerializeToString(), asked)

    mutate(exported)

    with pytest.raises(ReleaseRefused, match="differing by"):
        check_parity(model, exported.SerializeToString(), asked)

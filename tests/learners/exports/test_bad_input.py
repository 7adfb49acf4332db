"""Bad input is a named error or a correct graph, for every configuration of the table: never a graph that is wrong."""

from __future__ import annotations

import copy
import functools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from river import (
    compose,
    facto,
    feature_extraction,
    linear_model,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    tree,
)

from learners import Model, category, event_type, every, happens, number
from learners.onnx_export import to_onnx
from learners.training import MOST_ONNX_BYTES, Training
from schemas.errors import ModelFileError, NotExportable, ReleaseRefused
from schemas.records import Example, Source
from tests.learners.export_laws import CATEGORIES, NUMBERS, Row, Stream, Target, mixed
from tests.parity.comparison import Compared, asked, compare_now
from tests.parity.models import Configuration, configurations

# What River raises when it learns what it cannot: it is the learner's own, before any graph.
_NOT_LEARNED = (KeyError, ValueError, OverflowError)

every_configuration = pytest.mark.parametrize("configuration", configurations(), ids=lambda each: each.name)


def taught(configuration: Configuration, stream: Stream) -> Any:
    """The configuration after all examples that it can learn."""
    model = configuration.make(stream)
    for x, y in stream.examples:
        try:
            model.learn_one(dict(x)) if y is None else model.learn_one(dict(x), y)
        except _NOT_LEARNED:
            continue
    return model


def outcome_of(configuration: Configuration, model: Any, stream: Stream) -> Compared | NotExportable | ReleaseRefused:
    """How the model's graph compares, or the error that says why it has none."""
    compared = Compared(configuration.name, configuration.family, "bad input")
    try:
        compare_now(model, stream, [*asked(stream)][:12], compared)
    except (NotExportable, ReleaseRefused) as refusal:
        return refusal
    return compared


def assert_named_or_exact(configuration: Configuration, model: Any, stream: Stream) -> bool:
    """The model has an exact graph, or an error says by name why it has none; returns which."""
    match outcome_of(configuration, model, stream):
        case Compared() as compared:
            assert compared.is_exact, compared
            return True
        case NotExportable() as refusal:
            assert refusal.reason
            assert refusal.instead
        case ReleaseRefused() as refusal:
            # Refused where the model is read, not because a wrong graph was found out.
            assert "export" == refusal.check, refusal
    return False


# --- numbers that are none --------------------------------------------------------------------------------------------


@every_configuration
def test_a_model_that_saw_nan_or_infinity_is_refused_or_exact(configuration: Configuration) -> None:
    """In the middle of what it learned; it may forget it, never know it, or be broken for good."""
    clean = mixed(configuration.target, n=24)
    # Of the two infinities, one or the other.
    for poison in (math.nan, (-1) ** configurations().index(configuration) * math.inf):
        examples = list(clean.examples)
        examples[20] = ({**examples[20][0], NUMBERS[0]: poison}, examples[20][1])
        stream = replace(clean, examples=tuple(examples))

        assert_named_or_exact(configuration, taught(configuration, stream), stream)


def test_most_that_sum_are_refused_and_most_that_split_are_exact() -> None:
    """The law above is no excuse to refuse everything, nor to answer from NaN."""
    by_name = {each.name: each for each in configurations()}

    def answers(name: str, poison: float) -> bool:
        stream = mixed(by_name[name].target, n=30)
        x, y = stream.examples[9]
        stream = replace(stream, examples=(*stream.examples, ({**x, NUMBERS[0]: poison}, y)))
        return assert_named_or_exact(by_name[name], taught(by_name[name], stream), stream)

    assert [False, False] == [answers("LogisticRegression", poison) for poison in (math.nan, math.inf)]
    assert [True, True] == [answers("HoeffdingTreeClassifier(mc)", poison) for poison in (math.nan, math.inf)]


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "categories", "words"),
    [
        ((), (), "at least one feature"),
        (("price", "price"), (), "two features are named 'price'"),
        (("price",), ("price",), "two features are named 'price'"),
        ((), ("device", "device"), "two features are named 'device'"),
    ],
    ids=["none", "numbers", "number and category", "categories"],
)
def test_no_feature_or_two_of_one_name_are_refused(
    numbers: tuple[str, ...], categories: tuple[str, ...], words: str
) -> None:
    """Of whatever kind the two are, by every configuration."""
    for configuration in configurations():
        model = configuration.make(mixed(configuration.target, n=1))

        with pytest.raises(ModelFileError, match=words):
            to_onnx(model, numbers, categories, name="bad", version=0)


ODD = [
    ("", "a.b c", 'it\'s "quoted"', "line\nbreak", "🛒 cart"),
    ("日本", "\t", "back\\slash", "{'json': [1]}", "e\u0301"),
    ("a" * 300, " ", "\ufeffbom", "%s{}", "\u202eright to left"),
]
ODD_VALUES = ["it's", "🛒", "a\nb", "x,y", " ", "\x1f", "ß" * 100]


@every_configuration
def test_odd_names_and_values_are_answered_as_in_river(configuration: Configuration) -> None:
    """Dots, spaces, quotes, other scripts, emoji, line ends, no name at all: a name is a name."""
    names = ODD[configurations().index(configuration) % len(ODD)]
    stream = oddly_named(configuration.target, names[:3], names[3:])

    assert assert_named_or_exact(configuration, taught(configuration, stream), stream)


def oddly_named(target: Target, numbers: tuple[str, ...], categories: tuple[str, ...]) -> Stream:
    """The mixed stream under other names, and with other values."""
    stream = mixed(target, n=40)
    names = dict(zip(NUMBERS, numbers, strict=True)) | dict(zip(CATEGORIES, categories, strict=True))
    chance = random.Random(3)

    def renamed(x: Row) -> Row:
        return {names[name]: chance.choice(ODD_VALUES) if isinstance(v, str) else v for name, v in x.items()}

    examples = tuple((renamed(x), y) for x, y in stream.examples)
    return Stream(numbers, categories, examples, tuple(renamed(x) for x in stream.held))


# --- ten thousand categories ------------------------------------------------------------------------------------------

PAGES = [f"page {i}" for i in range(10_000)]


def pages(**settings: Any) -> Any:
    return compose.SelectType(str) | preprocessing.OneHotEncoder(**settings)


@functools.cache
def encoder_of_all_pages() -> preprocessing.OneHotEncoder:
    """It has met them all; a row of it has ten thousand keys."""
    encoder = preprocessing.OneHotEncoder()
    for page in PAGES:
        encoder.learn_one({"page": page})
    return encoder


def knows_all_pages(*steps: Any) -> Any:
    """A pipeline of which the encoder has met them all, and the rest two."""
    model = compose.Pipeline(compose.SelectType(str), copy.deepcopy(encoder_of_all_pages()), *steps)
    for i, page in enumerate(PAGES[:2]):
        model.learn_one({"page": page}, i % 2 == 0)
    return model


def met_all_pages(model: Any) -> Any:
    """A model that has learned a row with each."""
    for i, page in enumerate(PAGES):
        model.learn_one({"page": page, "price": float(i % 7)}, i % 3 == 0)
    return model


LARGE: dict[str, tuple[Callable[[], Any], int]] = {
    "logistic": (lambda: knows_all_pages(linear_model.LogisticRegression()), 250_000),
    "logistic of present keys": (
        lambda: met_all_pages(pages(drop_zeros=True) | linear_model.LogisticRegression()),
        300_000,
    ),
    "AdPredictor": (lambda: met_all_pages(pages(drop_zeros=True) | linear_model.AdPredictor()), 450_000),
    "multinomial": (lambda: met_all_pages(pages(drop_zeros=True) | naive_bayes.MultinomialNB()), 600_000),
    "complement": (lambda: met_all_pages(pages(drop_zeros=True) | naive_bayes.ComplementNB()), 600_000),
    "Bernoulli": (lambda: met_all_pages(pages(drop_zeros=True) | naive_bayes.BernoulliNB()), 600_000),
    "scaled": (
        lambda: knows_all_pages(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        900_000,
    ),
    "ordinal": (
        lambda: met_all_pages(
            (compose.SelectType(str) | preprocessing.OrdinalEncoder()) | tree.HoeffdingTreeClassifier()
        ),
        300_000,
    ),
    "target mean": (
        lambda: met_all_pages(
            feature_extraction.TargetAgg(by="page", how=stats.Mean()) | linear_model.LogisticRegression()
        ),
        300_000,
    ),
    "factorization": (
        lambda: met_all_pages(
            compose.SelectType(str) | facto.FMClassifier(2, latent_initializer=optim.initializers.Constant(0.1))
        ),
        600_000,
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_ten_thousand_categories_are_exact_within_a_stated_size(name: str) -> None:
    """A table has a row for each; columns are made only where a step looks at each key."""
    make, most_bytes = LARGE[name]
    model = make()
    stream = Stream(("price",), ("page",), (), ())
    met: list[Row] = [{"page": PAGES[i], "price": 2.0} for i in (0, 1, 9_999)]
    rows: list[Row] = [{}, {"page": "none"}, *met]
    compared = Compared(name, "large", "pages")

    compare_now(model, stream, rows, compared)

    assert compared.is_exact
    assert compared.onnx_bytes <= most_bytes


def test_products_of_ten_thousand_keys_are_refused_by_name() -> None:
    """Fifty million columns are no graph."""
    model = encoder_of_all_pages() | feature_extraction.PolynomialExtender() | linear_model.LogisticRegression()

    with pytest.raises(NotExportable, match="it makes 50015000 features, more than 20000"):
        to_onnx(model, [], ["page"], name="large", version=0)


def test_a_graph_above_the_limit_is_refused_and_the_learner_goes_on() -> None:
    """Its table of addresses fills a release; a release that can follow says how many were refused before it."""
    model = Model(
        name="large",
        applies_to=event_type("commerce.productViews"),
        features=[category("web.webPageDetails.URL"), number("search.position")],
        outcome=happens("commerce.purchases", within="1m"),
        learner=pages(drop_zeros=True) | linear_model.LogisticRegression(),
        release=every("2s"),
    )
    training = Training(model)
    for i in range(5000):
        training.learn(i, example_of(i, f"https://shop.example/{i:05d}/{'x' * 120}"), None)

    with pytest.raises(ReleaseRefused, match=f"a release holds at most {MOST_ONNX_BYTES}") as refusal:
        training.candidate(1, 0)

    training.learn(5000, example_of(5000, "https://shop.example/"), None)
    assert "size" == refusal.value.check
    assert (1, 5000) == (training.refused, training.learned_through.offset)
    # As after a restart with a learner that has been made smaller.
    training.learner = model.new_learner()
    assert 1 == training.candidate(2, 0).refused


def example_of(seq: int, page: str) -> Example:
    return Example(
        id=f"large/0-{seq}",
        model="large",
        event=f"0-{seq}",
        visitor="v",
        numbers={},
        categories={"web.webPageDetails.URL": page},
        y=seq % 3 == 0,
        score=0.5,
        version=0,
        event_time=1000 + seq,
        closed_at=2000 + seq,
        source=Source(partition=0, seq=seq),
    )

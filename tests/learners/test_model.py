"""A model file is read whole, or refused with file, line and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from river import anomaly, compose, dummy, ensemble, linear_model, neighbors, preprocessing, stats

from learners import Model, event_type, every, happens, load_model
from learners.state import encode_state
from schemas.errors import ModelFileError, NotExportable, NotStorable
from schemas.features import Spec, count, hour, number

FILE = """\
from river import compose, linear_model, preprocessing
from learners import Model, category, count, event_type, every, happens, hour, number, seconds_since

model = Model(
    name="buys",
    applies_to=event_type("commerce.productViews"),
    features=[
        number("commerce.order.priceTotal"),
        hour(),
        count("commerce.productListAdds", within="30m"),
        seconds_since("commerce.productViews"),
    ],
    outcome=happens("commerce.purchases", within="30m"),
    learner=preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    release=every("2s"),
)
"""


# It answers a class, and no probability of it.
VOTES = ensemble.VotingClassifier(
    [linear_model.LogisticRegression(), linear_model.Perceptron()], use_probabilities=False
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "buys.py"


def model_of(**changes: Any) -> Model:
    arguments: dict[str, Any] = {
        "name": "buys",
        "applies_to": event_type("commerce.productViews"),
        "features": [hour()],
        "outcome": happens("commerce.purchases", within="30m"),
        "learner": preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        "release": every("2s"),
    }
    return Model(**arguments | changes)


def refusal(file: Path, text: str) -> str:
    """What loading a file with this text says, its path shortened."""
    file.write_text(text)
    with pytest.raises(ModelFileError) as error:
        load_model(file)
    return str(error.value).replace(str(file), "FILE")


def test_a_model_file_becomes_a_spec_a_reader_and_a_learner(file: Path) -> None:
    """Durations are milliseconds, features stay in order, and the defaults are in."""
    file.write_text(FILE)
    model = load_model(file)

    assert ("buys", ("commerce.productViews",), "commerce.purchases") == (
        model.spec.name,
        model.spec.applies_to,
        model.spec.outcome,
    )
    assert (1_800_000, 60_000, 90 * 86_400_000) == (
        model.spec.within_ms,
        model.spec.lateness_ms,
        model.spec.remembers_ms,
    )
    assert 2000 == model.release.interval_ms
    assert 4 == len(model.spec.features)
    assert model.reader.spec == model.spec == Spec.from_json(model.spec.to_json())


def test_every_learner_is_new() -> None:
    """What one learns, another one does not know, nor does the model file."""
    model = model_of()
    first, second = model.new_learner(), model.new_learner()
    first.learn_one({"hour(timestamp)": 1.0}, True)

    assert encode_state(second) == encode_state(model.new_learner())
    assert encode_state(first) != encode_state(second)


def test_a_model_may_have_two_names_in_its_file(file: Path) -> None:
    """`model = best = Model(...)` is one model."""
    file.write_text(FILE + "best = model\n")

    assert "buys" == load_model(str(file)).spec.name


# --- refusals, with file and line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrote", "instead", "says"),
    [
        ('number("commerce.order.priceTotal")', 'number("commerce.order.pricetotal")',
         "FILE:8: no XDM field commerce.order.pricetotal; did you mean commerce.order.priceTotal?"),
        ('number("commerce.order.priceTotal")', 'number("commerce.order.currencyCode")',
         "FILE:8: commerce.order.currencyCode holds a string; write category('commerce.order.currencyCode')"),
        ('number("commerce.order.priceTotal")', 'category("commerce.order.priceTotal")',
         "FILE:8: commerce.order.priceTotal holds a number; write number('commerce.order.priceTotal')"),
        ('count("commerce.productListAdds", within="30m")', 'count("commerce.productListAdd", within="30m")',
         "FILE:10: no XDM event type commerce.productListAdd; did you mean commerce.productListAdds?"),
        ('count("commerce.productListAdds", within="30m")', 'count("commerce.productListAdds", within="half an hour")',
         "FILE:10: 'half an hour' is no duration; write a whole number and ms, s, m, h or d, such as \"30m\""),
        ('event_type("commerce.productViews")', 'event_type("commerce.productview")',
         "FILE:6: no XDM event type commerce.productview; did you mean commerce.productViews?"),
        ('event_type("commerce.productViews")', "event_type()", "FILE:6: event_type() needs at least one type"),
        ('event_type("commerce.productViews")', '"commerce.productViews"',
         "FILE:4: 'commerce.productViews' does not fit here; write for example applies_to=event_type("),
        ('happens("commerce.purchases", within="30m")', 'happens("commerce.purchase", within="30m")',
         "FILE:13: no XDM event type commerce.purchase; did you mean commerce.purchases?"),
        ('happens("commerce.purchases", within="30m")', '"commerce.purchases"',
         "FILE:4: 'commerce.purchases' does not fit here; write for example outcome=happens("),
        ('every("2s")', '"2s"', "FILE:4: '2s' does not fit here; write for example release=every("),
        ('every("2s")', 'every("0s")', "FILE:15: '0s' is no duration"),
        ('hour(),', 'hour(), hour(),', "FILE:4: two features are called 'hour(timestamp)'; give one of them name=..."),
        ('hour(),', '"hour",', "FILE:4: 'hour' is no feature; use number, category, hour, weekday, count"),
        ('hour(),', 'happens("commerce.purchases", within="1h"),', "FILE:4: Outcome("),
        ('name="buys"', 'name="what buys?"', "FILE:4: name='what buys?': a model's name has 1 to 64 letters"),
        ('linear_model.LogisticRegression()', 'preprocessing.LDA()', "FILE:4: river.preprocessing.lda.LDA"),
        ('linear_model.LogisticRegression()', 'preprocessing.StandardScaler()', "FILE:4: river.preprocessing."),
        ('release=every("2s"),', 'release=every("2s"), learns="fast",', "FILE:4: TypeError: "),
        ('release=every("2s"),', 'release=every("2s"', "FILE:4: is not Python: '(' was never closed"),
        ("model = Model(", "1 / 0\nmodel = Model(", "FILE:4: ZeroDivisionError: division by zero"),
        ("import compose,", "import compost,", "FILE:1: ImportError: cannot import name 'compost'"),
        ("model = Model(", "Model(", "FILE: defines 0 models; a model file defines exactly one"),
        ("model = Model(", "\0model = Model(", "FILE: "),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_where_it_was_made(file: Path, wrote: str, instead: str, says: str) -> None:
    """The line is the mistake's own, and the sentence says what is right."""
    assert refusal(file, FILE.replace(wrote, instead, 1)).startswith(says)


def test_the_place_of_a_mistake_is_data_too(file: Path) -> None:
    """A tool that shows the error need not take the sentence apart."""
    file.write_text(FILE.replace("priceTotal", "pricetotal"))
    with pytest.raises(ModelFileError) as error:
        load_model(file)

    assert (str(file), 8) == (error.value.path, error.value.line)
    assert error.value.problem.startswith("no XDM field")


def test_a_mistake_in_a_helper_is_shown_at_the_line_that_called_it(file: Path) -> None:
    """The innermost line of the model file, not the outermost."""
    text = FILE.replace("model = Model(", "def price():\n    return number('commerce.order.price')\n\nmodel = Model(")

    assert refusal(file, text.replace('number("commerce.order.priceTotal")', "price()")).startswith("FILE:5: no XDM")


def test_two_models_in_a_file_are_one_too_many(file: Path) -> None:
    """Which one should run would be anybody's guess."""
    second = FILE.partition("model = ")[2].replace('"buys"', '"buys-again"')

    assert "FILE: defines 2 models; a model file defines exactly one" == refusal(file, f"{FILE}other = {second}")


@pytest.mark.parametrize("path", ["no/such/file.py", "."])
def test_a_file_that_is_not_there_is_named(path: str) -> None:
    """So is a folder."""
    with pytest.raises(ModelFileError, match=f"^{re.escape(path)}: there is no such model file$"):
        load_model(path)


# --- what a model refuses, wherever it is made ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_a_name_that_no_topic_key_could_carry_is_refused(name: str) -> None:
    """A slash would split `model/version`."""
    with pytest.raises(ModelFileError, match="a model's name has 1 to 64 letters"):
        model_of(name=name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": []}, r"features=\[\] leaves nothing to learn from"),
        ({"applies_to": ()}, r"event_type\(\) needs at least one type"),
        ({"applies_to": ("commerce.productView",)}, "did you mean commerce.productViews"),
        ({"lateness": "0s"}, "'0s' is no duration"),
        ({"remembers": "for ever"}, "'for ever' is no duration"),
        ({"features": [number("_acme.x"), number("_acme.x.y")]}, r"_acme.x.y cannot be read"),
        ({"features": [hour(name="a"), number("search.position", name="a")]}, "two features are called 'a'"),
    ],
)
def test_what_cannot_work_is_refused_at_once(change: dict[str, Any], says: str) -> None:
    """Not at the first event."""
    with pytest.raises(ModelFileError, match=says):
        model_of(**change)


@pytest.mark.parametrize(
    "learner", [None, "lr", preprocessing.StandardScaler(), VOTES, neighbors.KNNClassifier()], ids=str
)
def test_a_learner_that_cannot_be_exported_is_refused_at_once(learner: Any) -> None:
    """By its name, and before anything has been learned."""
    with pytest.raises(NotExportable) as error:
        model_of(learner=learner)

    assert type(learner).__name__ in str(error.value)


def test_a_learner_that_needs_what_an_event_may_lack_is_refused_at_once() -> None:
    """`compose.Select` raises without its feature, and every event gets a score."""
    selecting = compose.Select("search.position") | linear_model.LogisticRegression()
    with pytest.raises(ModelFileError, match=r"cannot do without 'search\.position', which an event may lack"):
        model_of(features=[hour(), number("search.position")], learner=selecting)


@pytest.mark.parametrize(
    ("learner", "task"),
    [
        (preprocessing.StandardScaler() | linear_model.LogisticRegression(), "classification"),
        (preprocessing.StandardScaler() | linear_model.LinearRegression(), "regression"),
        (preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1), "anomaly"),
        (anomaly.QuantileFilter(anomaly.OneClassSVM(), q=0.9), "anomaly"),
    ],
    ids=str,
)
def test_what_a_learner_is_for_is_known_when_it_is_read(learner: Any, task: str) -> None:
    """It is what its artifacts say of themselves."""
    assert task == model_of(learner=learner).task.name


def test_a_learner_without_an_answer_is_refused_at_once() -> None:
    """Version 0 must answer the first event; a quantile of nothing is no number."""
    with pytest.raises(ModelFileError, match="the learner has no answer before it has learned"):
        model_of(learner=dummy.StatisticRegressor(stats.Quantile(0.5)))


def test_a_learner_that_needs_something_to_learn_from_is_refused_at_once() -> None:
    """Half-space trees divide the numbers of their first example, which may have none; no worker must end by that."""
    detector = compose.SelectType(float) | preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)
    with pytest.raises(ModelFileError, match=r"always there: count\(\), hour\(\) or weekday\(\)"):
        model_of(features=[number("search.position")], learner=detector)

    assert "anomaly" == model_of(features=[number("search.position"), hour()], learner=detector).task.name


def test_a_learner_that_cannot_be_written_down_is_refused_at_once() -> None:
    """Not by the first journal record, when it has learned something."""
    several = compose.Select("a", "b") | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    with pytest.raises(NotStorable, match="differs between processes"):
        model_of(learner=several)


def test_one_kind_may_be_counted_in_several_windows() -> None:
    """Their names differ by the window."""
    features = [count("commerce.productViews", within=within) for within in ("5m", "1h")]

    assert 2 == len(model_of(features=features).spec.numbers)

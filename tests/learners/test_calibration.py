"""Calibrated probabilities are those that come true, at any moment by what was known before."""

from __future__ import annotations

import copy
import itertools
import math
import random
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    base,
    checks,
    compose,
    dummy,
    forest,
    imblearn,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    tree,
)
from sklearn.isotonic import isotonic_regression

from learners import Model, category, event_type, every, happens, load_model, number
from learners.calibration import IsotonicCalibrated, PlattCalibrated, Thresholded
from learners.calibration.calibrated import LARGEST_IN, LEAST_P, Calibrated, probability
from learners.calibration.isotonic import never_falling
from learners.state import decode_state, encode_state
from learners.state.forms import NoForm
from learners.state.names import named
from learners.training import Training
from schemas.errors import ModelFileError, NotExportable, Poison
from schemas.records import Example, Source
from scoring.session import Session

ROOT = Path(__file__).parents[2]
CALIBRATED: dict[str, Callable[..., Calibrated]] = {"Platt": PlattCalibrated, "isotonic": IsotonicCalibrated}
ALL: dict[str, Callable[[Any], Any]] = {**CALIBRATED, "threshold": lambda classifier: Thresholded(classifier, at=0.3)}


class Bent(base.Classifier):  # type: ignore[misc]
    """A classifier that knows the truth, log-odds `x["z"]`, and says something else."""

    def __init__(self, bend: Callable[[float], float]) -> None:
        self.bend = bend

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        pass

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        p = probability(self.bend(x["z"]))
        return {False: 1.0 - p, True: p}


BENDS: dict[str, Callable[[float], float]] = {
    "too sure and too high": lambda z: 2.0 * z + 1.0,
    "three times the odds": lambda z: z + 1.1,
    "not sure enough": lambda z: 0.4 * z,
    "cubed": lambda z: z**3 / 3.0,
    "bent": lambda z: 3.0 * z if z < -2.0 else -6.0 + 0.3 * (z + 2.0),
}
STRAIGHT = ("too sure and too high", "three times the odds", "not sure enough")


def outcomes(n: int, *, seed: int = 1, centre: float = -1.0) -> Iterator[tuple[dict[str, float], bool]]:
    """Log-odds, and an outcome that has just them."""
    chance = random.Random(seed)
    for _ in range(n):
        z = chance.gauss(centre, 1.2)
        yield {"z": z}, chance.random() < probability(z)


def learned(model: Any, examples: Any) -> Any:
    for x, y in examples:
        model.learn_one(dict(x), y)
    return model


def log_loss(model: Any) -> float:
    """Of 2,000 outcomes that were not learned."""
    held = [*outcomes(2000, seed=99)]
    return sum(-math.log(model.predict_proba_one(x)[y]) for x, y in held) / len(held)


def calibration_error(model: Any, bins: int = 10) -> float:
    """ECE: how far the mean probability in each tenth of the held rows is from the mean truth there."""
    asked = sorted((model.predict_proba_one(x)[True], probability(x["z"])) for x, _ in outcomes(2000, seed=99))
    size = len(asked) // bins
    tenths = [asked[i : i + size] for i in range(0, len(asked), size)]
    return float(sum(abs(sum(p - truth for p, truth in tenth)) for tenth in tenths)) / len(asked)


# --- what it is for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bend"), [*(("Platt", bend) for bend in STRAIGHT), *(("isotonic", bend) for bend in BENDS)]
)
def test_probabilities_come_true(name: str, bend: str) -> None:
    """What the classifier says is off by a third or worse; calibrated, by a few percent, and the log loss falls."""
    raw = Bent(BENDS[bend])

    model = learned(CALIBRATED[name](raw), outcomes(3000))

    assert calibration_error(raw) > 0.04
    assert calibration_error(model) < min(0.04, calibration_error(raw) / 2)
    assert log_loss(model) < log_loss(raw) - 0.01
    assert log_loss(model) < log_loss(Bent(lambda z: z)) + 0.02


@pytest.mark.parametrize("name", CALIBRATED)
def test_what_is_calibrated_stays_so(name: str) -> None:
    """Around a classifier that is right, little is lost: a hundredth of a nat at most, after 3,000 examples."""
    right = Bent(lambda z: z)

    model = learned(CALIBRATED[name](right), outcomes(3000))

    assert log_loss(model) < log_loss(right) + 0.01


def test_platt_finds_slope_and_offset() -> None:
    """Truth is half of what the classifier says, minus a half."""
    model = learned(PlattCalibrated(Bent(lambda z: 2.0 * z + 1.0)), outcomes(6000))

    assert (model.slope, model.offset) == (pytest.approx(0.5, abs=0.05), pytest.approx(-0.5, abs=0.1))


@pytest.mark.parametrize("name", CALIBRATED)
def test_before_anything_is_learned_the_classifier_is_believed(name: str) -> None:
    """To the last digits, also between the places of the curve."""
    model = CALIBRATED[name](Bent(lambda z: z))

    for p in (0.001, 0.2, 0.5, 0.77, 0.9999):
        assert p == pytest.approx(model.predict_proba_one({"z": math.log(p / (1 - p))})[True], rel=1e-9)


@pytest.mark.parametrize("name", CALIBRATED)
def test_it_follows_a_drift(name: str) -> None:
    """When the classifier goes wrong the other way, what was learned before fades."""
    model = CALIBRATED[name](Bent(lambda z: z + 2.0), memory_examples=500)
    learned(model, outcomes(3000))
    before = calibration_error(model)
    model.classifier.bend = lambda z: 1.5 * z - 1.0
    at_once = calibration_error(model)
    learned(model, outcomes(3000, seed=2))

    assert before < 0.04
    assert at_once > 0.15
    assert calibration_error(model) < 0.04


@pytest.mark.parametrize("name", CALIBRATED)
def test_rarely_learned_examples_are_calibrated_back(name: str) -> None:
    """Under-sampling makes a tenth look like a half; calibrated, the mean probability is a tenth again."""
    chance = random.Random(3)
    sampled = imblearn.RandomUnderSampler(linear_model.LogisticRegression(), {False: 0.5, True: 0.5}, seed=1)
    examples = []
    for _ in range(4000):
        y = chance.random() < 0.1
        examples.append(({"a": chance.gauss(1.0 if y else 0.0, 1.0)}, y))

    # The classifier inside is still learning, so that it was worth something else long ago.
    model = learned(CALIBRATED[name](sampled, memory_examples=1000), examples)

    assert sum(sampled.predict_proba_one(x)[True] for x, _ in examples) / 4000 > 0.3
    assert sum(model.predict_proba_one(x)[True] for x, _ in examples) / 4000 == pytest.approx(0.1, abs=0.02)


# --- never a look ahead -----------------------------------------------------------------------------------------------


class Parrot(base.Classifier):  # type: ignore[misc]
    """Knows every example that it has learned, and nothing of any other."""

    def __init__(self) -> None:
        self.known: dict[float, bool] = {}

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        self.known[x["id"]] = y

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        if x["id"] in self.known:
            return {False: 0.01, True: 0.99} if self.known[x["id"]] else {False: 0.99, True: 0.01}
        p = 0.9 if x["id"] % 2 else 0.1  # it guesses
        return {False: 1.0 - p, True: p}


@pytest.mark.parametrize("name", CALIBRATED)
def test_it_never_looks_ahead(name: str) -> None:
    """A classifier that knows what it has learned and only guesses the rest is found to guess."""
    chance = random.Random(5)
    model = learned(CALIBRATED[name](Parrot()), (({"id": float(i)}, chance.random() < 0.5) for i in range(1500)))

    assert 0.5 == pytest.approx(model.predict_proba_one({"id": 10_001.0})[True], abs=0.06)
    assert 0.5 == pytest.approx(model.predict_proba_one({"id": 10_002.0})[True], abs=0.06)


# --- laws -------------------------------------------------------------------------------------------------------------

odds = st.floats(-40.0, 40.0)


@pytest.mark.parametrize("name", CALIBRATED)
@given(stream=st.lists(st.tuples(odds, st.booleans()), max_size=40), memory=st.sampled_from([1, 7, 10_000]))
@settings(max_examples=30, deadline=None)
def test_probabilities_stay_in_order_and_within_bounds(
    name: str, stream: list[tuple[float, bool]], memory: int
) -> None:
    """Whatever came: who is likelier for the classifier is not less likely here, and nothing is certain."""
    model = CALIBRATED[name](Bent(lambda z: z), memory_examples=memory)
    for z, y in stream:
        model.learn_one({"z": z}, y)

    asked = sorted([*(z for z, _ in stream), -40.0, -13.0, -1e-9, 0.0, 1e-9, 1.0, 13.0, 40.0])
    answers = [model.predict_proba_one({"z": z})[True] for z in asked]

    assert all(0.0 < p < 1.0 for p in answers)
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(answers))


class Says(base.Classifier):  # type: ignore[misc]
    """Always the same, whatever it is."""

    def __init__(self, answer: dict[Any, float]) -> None:
        self.answer = answer

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        pass

    def predict_proba_one(self, x: dict[str, float]) -> dict[Any, float]:
        return self.answer


@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.parametrize(
    "answer",
    [{}, {True: 1.0}, {False: 1}, {False: 0.0, True: 0.0}, {False: math.nan, True: math.nan}, {"a": 1.0}],
    ids=str,
)
def test_answers_without_a_digit_of_sense_are_survived(name: str, answer: dict[Any, float]) -> None:
    """No class, one class, all zero, NaN: both probabilities are finite, and tend to how often it happens."""
    model = learned(CALIBRATED[name](Says(answer)), (({}, i % 4 == 0) for i in range(3000)))
    p = model.predict_proba_one({})

    assert {False: 0.75, True: 0.25} == {y: pytest.approx(p_of_y, abs=0.03) for y, p_of_y in p.items()}


@pytest.mark.parametrize("prior", [1e-300, 1e-9, 1e9])
def test_any_prior_leaves_a_curve(prior: float) -> None:
    """One too small to be seen beside the examples, and one too large for them to be seen."""
    model = IsotonicCalibrated(Bent(lambda z: z), prior_examples=prior)
    for i in range(300):
        model.learn_one({"z": float(i % 8)}, True)

    assert all(math.isfinite(odds) for odds in model.curve)


def test_one_surprise_does_not_unsettle_what_was_sure() -> None:
    """After thousands that turned out as expected, a wrong one is one in thousands; many wrong ones are seen."""
    model = learned(PlattCalibrated(Bent(lambda z: z)), (({"z": z}, z > 0) for z in [13.0, -13.0] * 1500))
    before = model.slope
    model.learn_one({"z": 13.0}, False)
    after = model.slope
    learned(model, (({"z": 13.0}, i % 4 > 0) for i in range(3000)))

    assert (before, after) == (pytest.approx(1.0, abs=0.05), pytest.approx(1.0, abs=0.15))
    assert 0.75 == pytest.approx(model.predict_proba_one({"z": 13.0})[True], abs=0.03)


def test_smallest_probability_is_where_the_curve_begins() -> None:
    """Beyond it all probabilities count alike."""
    model = learned(IsotonicCalibrated(Bent(lambda z: z)), outcomes(100))
    ends = [model.predict_proba_one({"z": z})[True] for z in (-LARGEST_IN, -20.0, LARGEST_IN, 20.0)]

    assert LEAST_P == pytest.approx(probability(-LARGEST_IN), rel=1e-5)
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    assert ends[2] == pytest.approx(ends[3], rel=1e-5)


pairs = st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 100.0)), min_size=1, max_size=30)


@given(pairs=pairs)
@settings(max_examples=50, deadline=None)
def test_pooling_is_isotonic_regression(pairs: list[tuple[float, float]]) -> None:
    """As scikit-learn's."""
    values, weights = [value for value, _ in pairs], [weight for _, weight in pairs]

    pooled = never_falling(values, weights)

    assert pooled == pytest.approx(isotonic_regression(values, sample_weight=weights), abs=1e-9)
    assert pooled == sorted(pooled)


# --- threshold --------------------------------------------------------------------------------------------------------


def test_threshold_decides_the_label_and_nothing_else() -> None:
    """From 0.3 on, the edge included, however it rounds."""
    model = Thresholded(Bent(lambda z: z), at=0.3)
    labels = {p: model.predict_one({"z": math.log(p / (1 - p))}) for p in (0.1, 0.2999, 0.3, 0.31, 0.9)}

    assert {0.1: False, 0.2999: False, 0.3: True, 0.31: True, 0.9: True} == labels
    assert model.predict_proba_one({"z": 1.0}) == model.classifier.predict_proba_one({"z": 1.0})


@pytest.mark.parametrize(("at", "label"), [(0.0, True), (0.25, True), (0.26, False), (1.0, False)])
def test_threshold_has_two_ends(at: float, label: bool) -> None:
    """At 0 all are yes; at 1 only the certain ones."""
    assert label is Thresholded(Says({False: 0.75, True: 0.25}), at=at).predict_one({})


def test_threshold_without_any_probability_is_no_answer() -> None:
    """As River's classifiers, which answer None before they have met a class."""
    assert Thresholded(Says({}), at=0.0).predict_one({}) is None
    assert Thresholded(Says({False: 1.0}), at=0.3).predict_one({}) is False


# --- as one of River's ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PlattCalibrated, IsotonicCalibrated, Thresholded])
def test_river_takes_it_for_one_of_its_own(cls: type) -> None:
    """All checks that River makes of its own classifiers: clone, pickle, features that come and go, memory, ..."""
    passed = []
    for params in cls._unit_test_params():  # type: ignore[attr-defined]
        model = cls(**params)
        for check in checks.yield_checks(model):
            check(model.clone())
            passed.append(check.__name__)

    assert {"check_wrapper_accepts_kwargs", "check_predict_proba_one_binary", "check_bounded_memory_growth"} <= {
        *passed
    }


def texts_and_numbers() -> Any:
    return (compose.SelectType(str) | preprocessing.OneHotEncoder()) + (
        compose.SelectType(float) | preprocessing.StandardScaler()
    )


INSIDE: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "as the last step": lambda wrap: texts_and_numbers() | wrap(linear_model.LogisticRegression()),
    "around a pipeline": lambda wrap: wrap(texts_and_numbers() | linear_model.LogisticRegression()),
    "around a forest": lambda wrap: wrap(forest.ARFClassifier(n_models=2, grace_period=10, seed=1)),
    "around another": lambda wrap: Thresholded(wrap(IsotonicCalibrated(naive_bayes.GaussianNB())), at=0.1),
}


def rows(n: int) -> list[tuple[dict[str, Any], bool]]:
    chance = random.Random(11)
    made = []
    for _ in range(n):
        x: dict[str, Any] = {"a": chance.gauss(0, 1), "b": chance.gauss(1, 2)}
        made.append((x, x["a"] + chance.gauss(0, 1) > 0.5))
        if chance.random() < 0.2:
            del x["b"]
    return made


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("name", ALL)
def test_state_is_read_bit_for_bit(name: str, inside: str) -> None:
    """Written after some rows and read again, it answers, learns and is written like one that never stopped."""
    stream = rows(80)
    for count in (0, 1, 60):
        whole = learned(INSIDE[inside](ALL[name]), stream[:count])
        written = encode_state(whole)
        resumed = decode_state(written)

        assert written == encode_state(resumed)
        for x, y in stream[count:]:
            assert whole.predict_proba_one(dict(x)) == resumed.predict_proba_one(dict(x))
            learned(whole, [(x, y)])
            learned(resumed, [(x, y)])
        assert encode_state(whole) == encode_state(resumed)


@pytest.mark.parametrize("name", ALL)
def test_asking_changes_nothing(name: str) -> None:
    """However often, also before anything was learned."""
    model = ALL[name](naive_bayes.GaussianNB())
    for x, y in rows(30):
        before = encode_state(model)
        model.predict_proba_one(x)
        model.predict_one(x)

        assert before == encode_state(model)
        model.learn_one(x, y)


@pytest.mark.parametrize("name", ALL)
def test_copies_are_their_own(name: str) -> None:
    """A clone has learned nothing; a deep copy goes on alone."""
    model = learned(ALL[name](linear_model.LogisticRegression()), rows(50))
    before = encode_state(model)
    clone, copied = model.clone(), copy.deepcopy(model)
    learned(clone, rows(10))
    learned(copied, rows(10))

    assert before == encode_state(model)
    assert encode_state(ALL[name](linear_model.LogisticRegression())) == encode_state(model.clone())
    assert encode_state(copied) not in (before, encode_state(clone))


@pytest.mark.parametrize("name", CALIBRATED)
def test_memory_is_bounded(name: str) -> None:
    """The state has the same size after 100 and after 3,000 examples, but for a count or two."""
    model = learned(CALIBRATED[name](dummy.NoChangeClassifier()), outcomes(100))
    size = len(encode_state(model))

    assert size == pytest.approx(len(encode_state(learned(model, outcomes(2900, seed=2)))), abs=8)


@pytest.mark.parametrize("module", ["learners.model", "learners.state.names", "learners"])
def test_states_refer_to_nothing_else_of_ours(module: str) -> None:
    """The journal may make calibrated learners, and no model file, reader or store."""
    assert PlattCalibrated is named("learners.calibration.platt", "PlattCalibrated")
    with pytest.raises(NoForm, match="not one of River's"):
        named(module, "Model")
    with pytest.raises(NoForm, match="defines no"):
        named("learners.calibration.platt", "Calibrated")


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PlattCalibrated(dummy.PriorClassifier(), memory_examples=0), "memory_examples=0"),
        (lambda: IsotonicCalibrated(dummy.PriorClassifier(), memory_examples=0), "memory_examples=0"),
        (lambda: IsotonicCalibrated(dummy.PriorClassifier(), places=1), "places=1"),
        (lambda: IsotonicCalibrated(dummy.PriorClassifier(), prior_examples=0.0), r"prior_examples=0\.0"),
        (lambda: IsotonicCalibrated(dummy.PriorClassifier(), prior_examples=math.inf), "prior_examples=inf"),
        (lambda: Thresholded(dummy.PriorClassifier(), at=30), "at=30"),
        (lambda: Thresholded(dummy.PriorClassifier(), at=math.nan), "at=nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], Any], words: str) -> None:
    """When the model file is loaded, by name and value."""
    with pytest.raises(ModelFileError, match=words):
        make()


@pytest.mark.parametrize("name", ALL)
def test_other_labels_are_refused_before_anything_is_learned(name: str) -> None:
    """A class that is neither yes nor no has no place here."""
    model = ALL[name](naive_bayes.GaussianNB())
    before = encode_state(model)
    with pytest.raises(Poison, match="y is 'maybe'"):
        model.learn_one({"a": 1.0}, "maybe")

    assert before == encode_state(model)


# --- in a model -------------------------------------------------------------------------------------------------------

LEARNERS: dict[str, Callable[[], Any]] = {
    "Platt": lambda: texts_and_numbers() | PlattCalibrated(linear_model.LogisticRegression()),
    "isotonic": lambda: Thresholded(IsotonicCalibrated(tree.HoeffdingTreeClassifier(grace_period=20)), at=0.2),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_candidate_answers_calibrated_probabilities(name: str) -> None:
    """Exported, checked and released; an edge answers what the calibrated learner says, also after a restart."""
    model = Model(
        name="m",
        applies_to=event_type("commerce.productViews"),
        features=(number("search.position"), category("placeContext.geo.countryCode")),
        outcome=happens("commerce.purchases", within="1m"),
        learner=LEARNERS[name](),
        release=every("2s"),
    )
    training = Training(model)
    first = Session(training.candidate(0, 0)).score([((1.0,), ("DE",))])
    for seq, (x, y) in enumerate(rows(200)):
        training.learn(seq, example_of(seq, x["a"], y=y), None)

    release = Training.restore(model, training.snapshot()).candidate(1, 0)

    assert [0.5] == first
    answer = training.learner.predict_proba_one({"search.position": 1.5, "placeContext.geo.countryCode": "DE"})[True]
    assert [answer] == pytest.approx(Session(release).score([((1.5,), ("DE",))]), abs=1e-9)
    assert release.parity.max_abs_diff <= 1e-9


def example_of(seq: int, position: float, *, y: bool) -> Example:
    return Example(
        id=f"m/{seq}", model="m", event=str(seq), visitor="v", numbers={"search.position": position},
        categories={"placeContext.geo.countryCode": "DE"}, y=y, score=0.5, version=0, event_time=seq, closed_at=seq,
        source=Source(partition=0, seq=seq),
    )  # fmt: skip


def test_example_is_a_model_file() -> None:
    """`freshet check` takes it; a classifier inside that has no exact form would be named."""
    file = ROOT / "examples" / "purchase_calibrated.py"

    assert "purchase-calibrated" == load_model(file).spec.name
    assert isinstance(runpy.run_path(str(file))["model"].new_learner()[-1], PlattCalibrated)


def test_a_model_file_names_the_member_that_cannot_be_exported() -> None:
    """By its class and where it stands."""
    with pytest.raises(NotExportable, match="KNNClassifier") as refused:
        Model(
            name="m",
            applies_to=event_type("commerce.productViews"),
            features=(number("search.position"),),
            outcome=happens("commerce.purchases", within="1m"),
            learner=PlattCalibrated(neighbors.KNNClassifier()),
            release=every("2s"),
        )

    assert "PlattCalibrated/classifier" == refused.value.step

"""Every recipe keeps the same laws, whatever it learns."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from learners import Model, category, count, event_type, every, happens, load_model, number
from learners.recipes import adaptive_forest, anomaly, calibrated, fast_linear, regression
from learners.state import decode_state, encode_state
from learners.task import CLASSIFICATION, TASKS, Task
from learners.training import Training
from schemas.errors import ModelFileError
from schemas.records import Example, Source
from scoring.session import Session
from tests.learners.export_laws import CATEGORIES, NUMBERS, Stream, Target, assert_exact, gappy, mixed

X = dict[str, float | str]
Make = Callable[[], Any]

RECIPES: dict[str, Make] = {
    "fast_linear": fast_linear,
    "fast_linear, drawn to zero": lambda: fast_linear(step=0.05, l2=0.01),
    "adaptive_forest": adaptive_forest,
    "calibrated": calibrated,
    "calibrated, any curve": lambda: calibrated(curve="isotonic"),
    "calibrated forest": lambda: calibrated(adaptive_forest(trees=2)),
    "anomaly": lambda: anomaly(window=100),
    "regression": regression,
}
NAMES = {"anomaly": "anomaly", "regression": "regression"}  # of the tasks that are not classification
TARGETS: dict[str, Target] = {"anomaly": "none", "regression": "regression"}
FEATURES = (
    number("search.position"),
    number("commerce.order.priceTotal"),
    category("placeContext.geo.countryCode"),
    category("marketing.trackingCode"),
    count("commerce.productListAdds", within="30m", name="adds"),
)

ROOT = Path(__file__).parents[2]
# A file of another kind shows other things than a model.
EXAMPLES = [file for file in sorted((ROOT / "examples").glob("*.py")) if "model = Model(" in file.read_text()]

every_recipe = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in RECIPES.items()])


def model_of(make: Make) -> Model:
    return Model(
        name="m",
        applies_to=event_type("commerce.productViews"),
        features=FEATURES,
        outcome=happens("commerce.purchases", within="1m"),
        learner=make(),
        release=every("2s"),
    )


def rows(n: int, *, codes: int = 40, seed: int = 1) -> Iterator[tuple[X, bool]]:
    """Rows with adds always there and everything else missing now and then; adds and country tell most of y."""
    rng = random.Random(seed)
    for _ in range(n):
        x: X = {"adds": float(rng.randrange(4))}
        if rng.random() < 0.9:
            x["search.position"] = rng.uniform(-3, 3)
        if rng.random() < 0.3:
            x["commerce.order.priceTotal"] = rng.lognormvariate(3, 1)
        if rng.random() < 0.9:
            x["placeContext.geo.countryCode"] = rng.choice(["DE", "US"])
        if rng.random() < 0.7:
            x["marketing.trackingCode"] = f"code-{rng.randrange(codes)}"
        yield x, float(x["adds"]) + (x.get("placeContext.geo.countryCode") == "DE") + rng.gauss(0, 0.5) > 2


def example_of(seq: int, x: X, y: bool) -> Example:
    return Example(
        id=f"m/{seq}", model="m", event=f"{seq}", visitor="v",
        numbers={name: value for name, value in x.items() if not isinstance(value, str)},
        categories={name: value for name, value in x.items() if isinstance(value, str)},
        y=y, score=0.5, version=0, event_time=seq, closed_at=seq, source=Source(partition=0, seq=seq),
    )  # fmt: skip


@functools.cache
def trained(make: Make, n: int = 500) -> Training:
    """A training after n examples; shared, so a test takes it as it is."""
    taught = Training(model_of(make))
    for seq, (x, y) in enumerate(rows(n)):
        taught.learn(seq, example_of(seq, x, y), live=0.5)
    return taught


def taught_on(task: Task, learner: Any, examples: Iterator[tuple[X, bool]]) -> list[float]:
    """The scores of the examples, each from before it was learned."""
    scores = []
    for x, y in examples:
        scores.append(task.score(learner, x))
        task.learn(learner, x, y)
    return scores


# --- the laws ---------------------------------------------------------------------------------------------------------


@every_recipe
def test_features_may_appear_and_vanish(make: Make) -> None:
    """One that comes late, one that goes for good, and events that lack all that an event may lack."""
    model = model_of(make)
    learner = model.new_learner()
    full = list(rows(600))
    some = [({"adds": x["adds"]}, y) for x, y in full[:200]]
    others = [({name: value for name, value in x.items() if name != "search.position"}, y) for x, y in full[400:]]
    scores = taught_on(model.task, learner, iter([*some, *full[200:400], *others]))

    assert 600 == len(scores)
    assert all(-10 < score < 10 for score in scores)


@every_recipe
def test_an_observation_is_never_changed(make: Make) -> None:
    """Neither by asking nor by learning: the same dict is held for parity."""
    model = model_of(make)
    learner = model.new_learner()
    for x, y in rows(300):
        before = copy.deepcopy(x)
        model.task.score(learner, x)
        model.task.learn(learner, x, y)

        assert list(before.items()) == list(x.items())


@every_recipe
def test_it_answers_before_it_has_learned(make: Make) -> None:
    """Version 0 serves the first event, and what it serves is what the learner says."""
    training = Training(model_of(make))
    score = Session(training.candidate(0, 0)).score([((1.0, 2.0, 3.0), ("DE", "code-1"))])[0]

    assert score == training.model.task.score(training.learner, {"search.position": 1.0, "adds": 3.0})


@every_recipe
def test_asking_teaches_nothing(make: Make) -> None:
    """A score may be asked for as often as one likes; what it depends on is what was learned."""
    learner = copy.deepcopy(trained(make).learner)
    before, task = encode_state(learner), trained(make).model.task
    scores = [[task.score(learner, x) for x, _ in rows(50, seed=2)] for _ in range(2)]

    assert scores[0] == scores[1]
    assert before == encode_state(learner)


def test_the_same_examples_make_the_same_learner_in_every_process() -> None:
    """Bit for bit: nothing in it looks at a clock, at chance, or at the order of a set, which Python shuffles anew."""
    code = "from tests.learners.test_recipes import digests; print(digests(600))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE
        )
        for seed in ("1", "3")  # they order {"DE", "US"} otherwise
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)

    assert first == second
    assert all(name.encode() in first for name in RECIPES)


def digests(n: int) -> dict[str, str]:
    """What each recipe has become after n examples, in a few characters."""
    learners = {name: make() for name, make in RECIPES.items()}
    for name, learner in learners.items():
        taught_on(TASKS[NAMES.get(name, "classification")], learner, rows(n))
    return {name: hashlib.sha256(encode_state(learner)).hexdigest()[:16] for name, learner in learners.items()}


@every_recipe
def test_its_state_goes_through_bytes_and_on(make: Make) -> None:
    """The bytes read back are written again alike, and what is learned then is learned alike."""
    training = trained(make)
    restored = Training.restore(training.model, training.snapshot())
    again = [decode_state(encode_state(training.learner)) for _ in range(2)]
    scores = [taught_on(training.model.task, learner, rows(200, seed=3)) for learner in again]

    assert training.snapshot() == restored.snapshot()
    assert scores[0] == scores[1] == taught_on(training.model.task, restored.learner, rows(200, seed=3))
    assert encode_state(again[0]) == encode_state(restored.learner)


@pytest.mark.parametrize("stream", [mixed, gappy], ids=lambda stream: stream.__name__)
@every_recipe
def test_its_graph_answers_as_it_does(make: Make, stream: Callable[..., Stream]) -> None:
    """Untrained, halfway and at the end; whole and with gaps, unseen categories included."""
    target = TARGETS.get(trained_task(make), "binary")
    streamed = stream(target, n=200)

    assert (NUMBERS, CATEGORIES) == (streamed.numbers, streamed.categories)
    assert assert_exact(make, streamed).max_abs_diff <= 1e-9


def trained_task(make: Make) -> str:
    return trained(make).model.task.name


@every_recipe
def test_a_session_answers_as_it_does(make: Make) -> None:
    """One score a row: a classifier's probability, a regressor's prediction, a detector's score."""
    training = trained(make)
    session = Session(training.candidate(1, 0))
    asked = [x for x, _ in rows(40, seed=4)]
    scores = session.score([training.model.reader.in_order(*parts(x)) for x in asked])

    assert scores == pytest.approx([training.model.task.score(training.learner, x) for x in asked], abs=1e-9)
    assert len(set(scores)) > 10


def parts(x: X) -> tuple[dict[str, float], dict[str, str]]:
    numbers = {name: value for name, value in x.items() if not isinstance(value, str)}
    return numbers, {name: value for name, value in x.items() if isinstance(value, str)}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(fast_linear, id="fast_linear"),
        pytest.param(lambda: adaptive_forest(trees=1), id="a tree of adaptive_forest"),
        pytest.param(calibrated, id="calibrated"),
        pytest.param(anomaly, id="anomaly"),
        pytest.param(regression, id="regression"),
    ],
)
def test_what_it_keeps_grows_with_categories_and_not_with_examples(make: Make) -> None:
    """20,000 examples with 2,000 categories: half of them have met all there are, and the rest add next to nothing."""
    task, learner, sizes = trained(make).model.task, make(), []
    for i, (x, y) in enumerate(rows(20_000, codes=2_000), 1):
        task.learn(learner, x, y)
        if i % 10_000 == 0:
            sizes.append(len(encode_state(learner)))

    assert sizes[1] < 400_000
    assert sizes[1] < 1.5 * sizes[0]


# --- what each is for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fast_linear", "adaptive_forest", "calibrated", "calibrated forest", "regression"])
def test_it_learns(name: str) -> None:
    """What can be known of these examples is known after 500."""
    assert trained(RECIPES[name]).scoreboard.metrics()["auc"] > 0.8


def test_a_forest_sees_what_no_sum_does() -> None:
    """Whether two signs agree is told by neither of them."""
    rng = random.Random(5)
    signs = [(rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0])) for _ in range(3000)]
    right = {}
    for make in (fast_linear, adaptive_forest):
        learner = make()
        right[make] = 0
        for i, (a, b) in enumerate(signs):
            x = {"a": a + rng.gauss(0, 0.1), "b": b + rng.gauss(0, 0.1)}
            right[make] += i >= 2000 and (learner.predict_proba_one(x).get(True, 0.0) > 0.5) == (a == b)
            learner.learn_one(x, a == b)

    assert right[fast_linear] < 650
    assert right[adaptive_forest] > 800


def test_calibration_makes_a_forest_s_votes_probabilities() -> None:
    """Where nothing can be known but a rate, the sure votes of a tree become that rate."""
    rng = random.Random(6)
    learned: list[tuple[X, bool]] = [
        ({"a": rng.gauss(0, 1), "b": rng.gauss(0, 1)}, rng.random() < 0.1) for _ in range(2000)
    ]
    labels = [y for _, y in learned]
    losses = []
    for learner in (adaptive_forest(trees=1), calibrated(adaptive_forest(trees=1))):
        scores = taught_on(CLASSIFICATION, learner, iter(learned))
        losses.append(CLASSIFICATION.figures(scores[500:], labels[500:])["logloss"])
    of_the_rate = CLASSIFICATION.figures([0.1] * 1500, labels[500:])["logloss"]

    assert losses[1] < losses[0]
    assert losses[1] < 1.1 * of_the_rate


def test_a_detector_tells_what_is_odd() -> None:
    """Rows from anywhere score above nearly all that are as rows are."""
    rng = random.Random(7)
    detector = TASKS["anomaly"]
    learner, scores, odd = anomaly(), [], []
    for _ in range(2000):
        odd.append(rng.random() < 0.02)
        spread = 30.0 if odd[-1] else 1.0
        x: X = {"views": rng.expovariate(1 / spread), "adds": rng.expovariate(2 / spread)}
        scores.append(detector.score(learner, x))
        detector.learn(learner, x, odd[-1])

    assert {0.0} == set(scores[:250])
    assert detector.figures(scores[250:], odd[250:])["auc"] > 0.95


def test_the_scores_of_a_regression_add_up() -> None:
    """Over many examples, to as many outcomes as there were; also where they are rare."""
    rng = random.Random(8)
    learned: list[tuple[X, bool]] = []
    for _ in range(4000):
        a = rng.gauss(0, 1)
        learned.append(({"a": a}, rng.random() < (0.15 if a > 0 else 0.02)))
    scores = taught_on(TASKS["regression"], regression(), iter(learned))

    assert sum(scores[1000:]) == pytest.approx(sum(y for _, y in learned[1000:]), rel=0.1)


def test_a_burst_of_absurd_events_does_not_throw_a_regression() -> None:
    """A bot's thirty events in a row, all numbers far out: River's own step multiplies the error each time."""
    rng, task = random.Random(1), TASKS["regression"]

    def normal() -> X:
        return {f"n{i}": rng.gauss(0, 1) for i in range(9)}

    learner = regression()
    for x in [normal() for _ in range(1000)]:
        task.learn(learner, x, float(x["n0"]) > 0)
    for i in range(30):
        task.learn(learner, {f"n{j}": 15.0 + rng.gauss(0, 1) for j in range(9)}, i % 2 == 0)
    later = [normal() for _ in range(1000)]
    labels = [float(x["n0"]) > 0 for x in later]
    scores = taught_on(task, learner, zip(later, labels, strict=True))

    assert task.figures(scores, labels)["rmse"] < 0.5


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_a_model_that_can_be_released(file: Path) -> None:
    """From its first version on; its folder is what newcomers copy from."""
    model = load_model(file)

    assert file.stem.replace("_", "-") == model.spec.name
    assert Session(Training(model).candidate(0, 0)).version == 0


def test_the_examples_show_every_task() -> None:
    """One file at least for each."""
    assert set(TASKS) == {load_model(file).task.name for file in EXAMPLES}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fast_linear(step=0), "step=0 must be above 0"),
        (lambda: fast_linear(l2=-1), "l2=-1 must not be below 0"),
        (lambda: regression(step=float("nan")), "step=nan must be above 0"),
        (lambda: adaptive_forest(trees=0), "trees=0 must be above 0"),
        (lambda: adaptive_forest(depth=0), "depth=0 must be above 0"),
        (lambda: anomaly(window=0), "window=0 must be above 0"),
        (lambda: anomaly(height=-1), "height=-1 must be above 0"),
        (lambda: calibrated(curve="linear"), 'curve=\'linear\': write "platt" or "isotonic"'),  # type: ignore[arg-type]
        (lambda: calibrated(memory_examples=0), "memory_examples=0"),
    ],
)
def test_an_argument_that_cannot_work_is_named(make: Make, says: str) -> None:
    """Where the model file says it, not in what River makes of it later."""
    with pytest.raises(ModelFileError) as error:
        make()

    assert says in str(error.value)

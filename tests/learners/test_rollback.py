"""A learner that something ruined is soon what it was before; one that the world has surprised goes on."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from river import base

from learners import rollback as rollbacks
from learners.rollback import CHECK_EVERY, INTERVAL
from learners.state import encode_state
from learners.training import Training
from learners.weights import weights_of
from schemas.records import LearnedThrough, decode, encode
from tests.learners.lessons import LEARNERS, Course, Make, X, rows

LINEAR = ("fast_linear", "calibrated", "regression", "PAClassifier", "GaussianNB")
LEARNED = 1500


def far() -> Iterator[tuple[X, bool]]:
    """One number that ruins a running mean."""
    yield {"position": 1e12, "adds": 1.0}, True


def absent() -> Iterator[tuple[X, bool]]:
    """One number that is none."""
    yield {"position": math.nan, "adds": 1.0}, True


def flipped() -> Iterator[tuple[X, bool]]:
    """200 wrong labels, everything fifty times as large."""
    for x, y in rows(200, seed=5):
        yield {name: value if isinstance(value, str) else value * 50 for name, value in x.items()}, not y


@functools.cache
def clean(name: str, n: int) -> Course:
    """A course without a burst; shared, so a test takes it as it is."""
    return Course(LEARNERS[name]).take(rows(LEARNED)).take(rows(n, seed=2))


def slipped(name: str, burst: Callable[[], Iterator[tuple[X, bool]]], n: int = 2000) -> Course:
    return Course(LEARNERS[name]).take(rows(LEARNED)).slip_in(burst()).take(rows(n, seed=2))


@pytest.mark.parametrize("burst", [far, absent, flipped], ids=lambda burst: burst.__name__)
@pytest.mark.parametrize("name", LINEAR)
def test_a_burst_that_slips_in_is_healed_within_2000_examples(name: str, burst: Any) -> None:
    """The guards looked away: the learner goes back once, says so, and is within a point of one that was left alone."""
    course = slipped(name, burst)
    (quarantine,) = course.quarantined

    assert course.accuracy() >= clean(name, 2000).accuracy() - 1
    assert all(map(math.isfinite, weights_of(course.training.learner)))
    assert quarantine.start <= LEARNED < quarantine.stop
    assert quarantine.stop - quarantine.start == quarantine.examples == course.training.guard.counts["taken_back"]
    assert not quarantine.afresh
    assert [] == clean(name, 2000).quarantined


def test_without_going_back_it_would_be_ruined_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above is worth."""
    monkeypatch.setattr(rollbacks, "_STANDARD_ERRORS", math.inf)
    course = slipped("fast_linear", far)

    assert [] == course.quarantined
    assert course.accuracy() < clean("fast_linear", 2000).accuracy() - 3


def test_what_goes_on_is_what_was() -> None:
    """Byte for byte the learner that had learned up to where the quarantine begins, and says that it has."""
    course = Course(LEARNERS["fast_linear"]).take(rows(LEARNED)).slip_in(absent())
    for lesson in rows(200, seed=2):
        course.take([lesson])
        if course.quarantined:
            break
    start = course.quarantined[0].start
    before = Course(LEARNERS["fast_linear"]).take(list(rows(LEARNED))[:start])

    assert encode_state(before.training.learner) == encode_state(course.training.learner)
    assert LearnedThrough(offset=start - 1, event_time=start - 1) == course.training.learned_through
    assert [] == course.training.gate.as_rows()


def test_a_quarantine_says_which_examples_and_why_and_the_same_when_it_is_said_again() -> None:
    """Its id, offsets and reason are those of every pass over the log, so a repeat is known."""
    first, again = (slipped("fast_linear", absent, n=200).quarantined for _ in range(2))
    quarantine = first[0]

    assert first == again
    assert f"m/{quarantine.start}-{quarantine.stop}" == quarantine.id
    assert quarantine.reason.startswith("no finite answer to ")
    assert quarantine == decode(type(quarantine), encode(quarantine))


@pytest.mark.parametrize("name", ["fast_linear", "regression", "PAClassifier"])
def test_a_world_that_turns_round_is_followed(name: str) -> None:
    """Each outcome is the contrary from one example on: what was good is no better there, so nothing is taken back."""
    lessons = list(rows(LEARNED + 1500, flip_at=LEARNED))
    course, bare = (Course(LEARNERS[name], guarded=each).take(lessons) for each in (True, False))

    assert [] == course.quarantined
    assert course.accuracy(flip_at=0) >= bare.accuracy(flip_at=0) - 0.5


@pytest.mark.parametrize("name", ["fast_linear", "calibrated", "regression", "HoeffdingTree"])
def test_a_clean_stream_is_never_taken_back(name: str) -> None:
    """Over four seeds, still or drifting."""
    for seed in range(4):
        course = Course(LEARNERS[name]).take(rows(2500, seed=seed, drift=seed * 0.5))

        assert [] == course.quarantined


def test_long_visits_with_one_outcome_each_are_no_breach() -> None:
    """Sixty examples in a row of one who buys are one observation, not sixty: three of these seeds would go back."""
    for seed in (1, 3, 4):
        course, rng, lessons = Course(LEARNERS["HoeffdingTree"]), random.Random(seed), list(rows(4000, seed=seed))
        for at in range(0, len(lessons), 60):
            buys = rng.random() < 0.2
            visit = [(x, buys if rng.random() < 0.95 else not buys) for x, _ in lessons[at : at + 60]]
            course.take(visit, visitor=f"visit-{at}")

        assert [] == course.quarantined


# --- learners that raise ----------------------------------------------------------------------------------------------


class Fragile(base.Classifier):
    """Counts what it is shown, and raises when it has half learned an odd one; or it goes numb after a while."""

    def __init__(self, raises: type[Exception] = ZeroDivisionError, numb_after: float = math.inf) -> None:
        self.raises = raises
        self.numb_after = numb_after
        self.seen = 0
        self.learned = 0

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        p = math.nan if self.learned > self.numb_after else 0.25
        return {False: 1 - p, True: p}

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self.seen += 1
        if x.get("position") == 13.0:
            raise self.raises("thirteen")
        self.learned += 1


def fragile(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> Course:
    """A course of a learner that no model file could hold: it has no ONNX form, and its state is copied."""
    course = Course(LEARNERS["fast_linear"])
    learner = Fragile(**arguments)
    states: dict[bytes, Fragile] = {}

    def written(model: Fragile) -> bytes:
        states[name := b"%d" % len(states)] = copy.deepcopy(model)
        return name

    monkeypatch.setattr(rollbacks, "encode_state", written)
    monkeypatch.setattr(rollbacks, "decode_state", lambda name, _: copy.deepcopy(states[name]))
    course.training.learner = learner
    monkeypatch.setattr(course.training.model, "_learner", copy.deepcopy(learner))
    return course


RAISED = (KeyError, IndexError, ZeroDivisionError, OverflowError, TypeError, ValueError, AttributeError, RecursionError)


@pytest.mark.parametrize("raises", RAISED, ids=lambda each: each.__name__)
def test_an_example_on_which_the_learner_raises_is_poison_and_leaves_no_trace(
    raises: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, between and after checkpoints: what it had half learned is undone, and it goes on."""
    course = fragile(monkeypatch, raises=raises)
    thirteen: list[tuple[X, bool]] = [({"position": 13.0}, True)]
    for n in (0, 1, 150, 150):
        course.take([({"position": 1.0}, True)] * n).take(thirteen * 2)
    learner = course.training.learner

    assert (301, 301, 8) == (learner.seen, learner.learned, course.poison)
    assert 8 == course.training.guard.counts["undone"]
    assert 301 == course.training.scoreboard.examples


def test_going_back_that_does_not_help_ends_with_a_new_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes numb 50 examples after what was good, each time: after three times it begins afresh, and never stops."""
    course = fragile(monkeypatch, numb_after=450)
    course.take([({"position": 1.0}, True)] * 3000)

    assert [False, False, False, True] == [each.afresh for each in course.quarantined[:4]]
    assert 0 == course.quarantined[3].start
    assert len(course.quarantined) <= 3000 / CHECK_EVERY
    assert course.training.scoreboard.examples == 3000


def test_a_loss_that_comes_back_is_waited_for_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong labels in bursts without end: the learner is taken back more and more seldom, so most of it is learned."""
    monkeypatch.setattr(rollbacks.Rollback, "_has_risen", lambda self: True)
    monkeypatch.setattr(rollbacks, "_STANDARD_ERRORS", -math.inf)
    monkeypatch.setattr(rollbacks, "_BETTER_BY", -math.inf)
    course = Course(LEARNERS["fast_linear"]).take(rows(4000))
    stops = [each.stop for each in course.quarantined]
    gaps = [later - earlier for earlier, later in itertools.pairwise(stops)]

    assert len(stops) > 3
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 4 * gaps[0]


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [far, flipped], ids=lambda burst: burst.__name__)
def test_restored_at_any_moment_it_decides_the_same(burst: Any) -> None:
    """Around bursts, checks, checkpoints and breaches: the same bytes in the end, and the same quarantine."""
    rng = random.Random(11)
    lessons = [*rows(900), *rows(1300, seed=2)]
    moments = sorted({*rng.sample(range(900, 2200), 12), 999, 1000, 1001})
    make: Make = LEARNERS["fast_linear"]
    whole = Course(make).take(lessons[:900]).slip_in(burst()).take(lessons[900:])
    stopped = Course(make).take(lessons[:900]).slip_in(burst())
    for at, until in zip([900, *moments], [*moments, len(lessons)], strict=True):
        stopped.take(lessons[at:until])
        stopped.training = Training.restore(stopped.training.model, stopped.training.snapshot())

    assert whole.quarantined
    assert whole.quarantined == stopped.quarantined
    assert whole.training.snapshot() == stopped.training.snapshot()


def test_what_is_kept_for_going_back_is_bounded() -> None:
    """Two states, and the examples of one interval: as much after 5,000 examples as after 2,500."""
    course = Course(LEARNERS["fast_linear"]).take(rows(2500))
    half = len(course.training.snapshot())
    course.take(rows(2500, seed=2))

    assert len(course.training.snapshot()) < half + INTERVAL * 60

"""A training is a function of the examples log, repeats dropped; what may be released of it is checked on the way."""

from __future__ import annotations

import functools
import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import anomaly, compose, linear_model, preprocessing

from learners import Model, category, event_type, every, happens, hour, number, training
from learners.state import encode_state
from learners.training import HELD_ROWS, Training
from schemas.errors import Poison, ReleaseRefused, StateUnreadable
from schemas.features import Feature, Spec
from schemas.records import Example, LearnedThrough, Source
from scoring.session import Session

X = dict[str, float | str]
FEATURES: tuple[Feature, ...] = (number("search.position"), category("placeContext.geo.countryCode"))


def learner() -> Any:
    return (
        (compose.SelectType(str) | preprocessing.OneHotEncoder())
        + (compose.SelectType(float) | preprocessing.StandardScaler())
    ) | linear_model.LogisticRegression()


def model_of(features: tuple[Feature, ...] = FEATURES, **changes: Any) -> Model:
    arguments: dict[str, Any] = {
        "name": "m",
        "applies_to": event_type("commerce.productViews"),
        "features": features,
        "outcome": happens("commerce.purchases", within="1m"),
        "learner": learner(),
        "release": every("2s"),
    }
    return Model(**arguments | changes)


MODEL = model_of()


def example_of(seq: int, x: X | None = None, *, partition: int = 0, y: bool = True) -> Example:
    x = x or {}
    return Example(
        id=f"m/{partition}-{seq}", model="m", event=f"{partition}-{seq}", visitor="v",
        numbers={name: value for name, value in x.items() if not isinstance(value, str)},
        categories={name: value for name, value in x.items() if isinstance(value, str)},
        y=y, score=0.5, version=0, event_time=1000 + seq, closed_at=2000 + seq,
        source=Source(partition=partition, seq=seq),
    )  # fmt: skip


@functools.cache
def log() -> tuple[Example, ...]:
    """300 examples of two partitions, some with a feature missing; position and country tell most of the label."""
    rng = random.Random(7)
    seqs = [0, 0]
    examples = []
    for _ in range(300):
        partition, position, country = rng.randrange(2), rng.uniform(-3, 3), rng.choice(["DE", "US", "JP"])
        x: X = {"search.position": position, "placeContext.geo.countryCode": country}
        y = position + (country == "DE") + rng.gauss(0, 1) > 0
        if rng.random() < 0.1:
            del x[rng.choice(list(x))]
        examples.append(example_of(seqs[partition], x, partition=partition, y=y))
        seqs[partition] += 1
    return tuple(examples)


def trained(examples: Any = None, model: Model = MODEL) -> Training:
    taught = Training(model)
    teach(taught, log() if examples is None else examples)
    return taught


def teach(taught: Training, examples: Any, first_offset: int = 0) -> None:
    for offset, example in enumerate(examples, first_offset):
        if not taught.is_repeat(example):
            taught.learn(offset, example, live=0.5)


# --- learning ---------------------------------------------------------------------------------------------------------


def test_an_example_is_predicted_before_it_is_learned() -> None:
    """The first one is judged by a learner that knows nothing, so its loss is ln 2."""
    taught = trained(log()[:1])

    assert math.log(2) == pytest.approx(taught.scoreboard.metrics()["logloss"])
    assert (1, LearnedThrough(offset=0, event_time=log()[0].event_time)) == (
        taught.scoreboard.examples,
        taught.learned_through,
    )


def test_it_learns() -> None:
    """What can be known of these examples is known after 300."""
    assert trained().scoreboard.metrics()["auc"] > 0.85


def test_a_repeat_is_known_by_source_partition_and_number() -> None:
    """The same number from another partition is another example; an older one from the same is not."""
    taught = trained([example_of(5, partition=0), example_of(3, partition=1)])

    assert [True, True, False] == [taught.is_repeat(example_of(seq, partition=0)) for seq in (4, 5, 6)]
    assert [True, False] == [taught.is_repeat(example_of(seq, partition=1)) for seq in (3, 4)]
    assert not taught.is_repeat(example_of(0, partition=2))


def test_repeats_leave_the_learner_alone() -> None:
    """Sent again after a crash, in pieces and out of order with other partitions, they change not a bit."""
    examples = list(log())
    with_repeats = examples[:100] + examples[50:200] + examples[:30] + examples[190:]

    assert encode_state(trained().learner) == encode_state(trained(with_repeats).learner)
    assert trained().scoreboard.as_rows() == trained(with_repeats).scoreboard.as_rows()


def test_poison_counts_as_taken_and_is_not_learned() -> None:
    """The guard refuses it once; when it comes again, it is a repeat like any other."""
    taught, poisonous = trained(), example_of(1000, {"search.position": math.nan})
    before = encode_state(taught.learner)
    with pytest.raises(Poison, match=r"search\.position is nan"):
        taught.learn(300, poisonous, live=0.5)

    assert taught.is_repeat(poisonous)
    assert before == encode_state(taught.learner)
    assert (300, 299) == (taught.scoreboard.examples, taught.learned_through.offset)


def test_an_example_that_the_learner_cannot_take_is_poison() -> None:
    """An example from before the feature was there: River raises KeyError, and no worker must stop there for ever."""
    selecting = model_of(
        (hour(name="hour"), *FEATURES),
        learner=compose.Select("hour") | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    )
    taught = trained([example_of(0, {"hour": 1.0})], selecting)
    before = encode_state(taught.learner)
    with pytest.raises(Poison, match=r"'hour' is missing, and the learner selects it by name"):
        taught.learn(1, example_of(1, {"placeContext.geo.countryCode": "DE"}), live=math.nan)

    assert before == encode_state(taught.learner)
    assert taught.is_repeat(example_of(1))


def test_without_a_live_release_the_gate_hears_nothing() -> None:
    """There is nothing to compare with."""
    taught = Training(MODEL)
    taught.learn(0, log()[0], live=None)

    assert [] == taught.gate.as_rows()
    assert 1 == taught.scoreboard.examples


# --- state ------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(moments=st.lists(st.integers(0, 300), min_size=1, max_size=3).map(sorted))
def test_a_training_that_is_restored_goes_on_bit_by_bit(moments: list[int]) -> None:
    """Stopped and restored at any moments, it ends in the very bytes of one that never stopped."""
    taught, learned = Training(MODEL), 0
    for moment in moments:
        teach(taught, log()[learned:moment], learned)
        taught, learned = Training.restore(MODEL, taught.snapshot()), moment
    teach(taught, log()[learned:], learned)

    assert trained().snapshot() == taught.snapshot()


def test_a_snapshot_is_the_same_whenever_it_is_taken() -> None:
    """Taking it, exporting and judging change nothing: they work on copies."""
    taught = trained()
    before = taught.snapshot()
    taught.candidate(1, 0)

    assert before == taught.snapshot() == Training.restore(MODEL, before).snapshot()


@pytest.mark.parametrize(
    "features", [FEATURES[:1], FEATURES[::-1], (*FEATURES, hour()), (number("search.position", most=5), FEATURES[1])]
)
def test_a_model_with_other_features_refuses_the_old_state(features: tuple[Feature, ...]) -> None:
    """Fewer, more, in another order or with other bounds; the sentence says what to do."""
    with pytest.raises(StateUnreadable, match="give the model a new name"):
        Training.restore(model_of(features), trained().snapshot())


def test_a_model_with_the_same_features_takes_the_state_up() -> None:
    """When it releases is no part of what was learned."""
    again = Training.restore(model_of(release=every("1h")), trained().snapshot())

    assert 300 == again.scoreboard.examples


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"\x93" + whole,
        lambda whole: msgspec.msgpack.encode([1, 2]),
        lambda whole: msgspec.msgpack.encode(7),
        lambda whole: msgspec.msgpack.encode({"learner": b""}),
        lambda whole: msgspec.msgpack.encode(msgspec.msgpack.decode(whole) | {"definition": "{}"}),
        lambda whole: msgspec.msgpack.encode(msgspec.msgpack.decode(whole) | {"definition": None}),
        lambda whole: msgspec.msgpack.encode(msgspec.msgpack.decode(whole) | {"learner": b"pickle"}),
        lambda whole: msgspec.msgpack.encode({k: v for k, v in msgspec.msgpack.decode(whole).items() if k != "seqs"}),
        lambda whole: msgspec.msgpack.encode(msgspec.msgpack.decode(whole) | {"seqs": 7}),
        lambda whole: msgspec.msgpack.encode(msgspec.msgpack.decode(whole) | {"gate": [[1.0]]}),
    ],
)  # fmt: skip
def test_a_damaged_snapshot_is_unreadable_and_not_half_read(damage: Any) -> None:
    """One error for whatever is wrong with it."""
    with pytest.raises(StateUnreadable):
        Training.restore(MODEL, damage(trained(log()[:20]).snapshot()))


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        pytest.param(preprocessing.StandardScaler() | linear_model.LinearRegression(), "predict_one", id="regression"),
        pytest.param(
            preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(window_size=50, seed=1), "score_one", id="anomaly"
        ),
    ],
)
def test_other_learners_go_on_bit_by_bit_and_are_released_too(last: Any, answer: str) -> None:
    """A regressor and a detector: restored halfway they end in the same bytes, and an edge answers what they answer."""
    model = model_of((*FEATURES, hour(name="hour")), learner=compose.SelectType(float) | last)
    examples = [example_of(i, {**each.x, "hour": float(i % 24)}, y=each.y) for i, each in enumerate(log())]
    whole = trained(examples, model)
    half = Training.restore(model, trained(examples[:150], model).snapshot())
    teach(half, examples[150:], 150)
    scores = Session(whole.candidate(1, 0)).score([((1.25, hour), ("DE",)) for hour in (3.0, 30.0)])
    river = [
        getattr(whole.learner, answer)({"search.position": 1.25, "hour": hour, "placeContext.geo.countryCode": "DE"})
        for hour in (3.0, 30.0)
    ]

    assert whole.snapshot() == half.snapshot()
    assert scores == pytest.approx(river, abs=1e-9)
    assert scores[0] != scores[1]
    assert {"auc", "base_rate", "gate_examples"} <= set(whole.candidate(1, 0).metrics)


def test_a_regressor_learns_numbers_and_a_detector_no_outcome_at_all() -> None:
    """The same examples with other outcomes leave the detector the very same."""
    regressing = model_of(learner=compose.SelectType(float) | linear_model.LinearRegression())
    detecting = model_of(
        (hour(name="hour"),), learner=compose.SelectType(float) | anomaly.HalfSpaceTrees(window_size=5, seed=1)
    )
    examples = [example_of(i, {"hour": i / 24}, y=i % 2 == 0) for i in range(24)]
    others = [msgspec.structs.replace(each, y=False) for each in examples]
    right = [example_of(i, {"search.position": 1.0}) for i in range(2000)]

    assert 1.0 == pytest.approx(trained(right, regressing).learner.predict_one({"search.position": 1.0}), abs=0.01)
    assert encode_state(trained(examples, detecting).learner) == encode_state(trained(others, detecting).learner)


# --- release ----------------------------------------------------------------------------------------------------------


def test_a_candidate_is_the_learner_as_onnx() -> None:
    """What an edge computes from it is what the learner says, and the manifest says how far it had learned."""
    taught = trained()
    release = taught.candidate(version=3, now_ms=77)
    session = Session(release)
    x = {"search.position": 1.25, "placeContext.geo.countryCode": "DE"}

    assert ("m", 3, 77, 300, taught.scoreboard.positives) == (
        release.model, release.version, release.created_at, release.examples, release.positives,
    )  # fmt: skip
    assert taught.learned_through == release.learned_through == session.learned_through
    assert MODEL.spec == session.spec == Spec.from_json(release.spec)
    assert taught.learner.predict_proba_one(x)[True] == pytest.approx(session.score([((1.25,), ("DE",))])[0], abs=1e-9)
    assert release.parity.rows >= HELD_ROWS
    assert release.parity.max_abs_diff <= 1e-9
    assert {"auc", "logloss", "gate_examples", "gate_logloss"} <= set(release.metrics)


def test_what_has_learned_nothing_can_be_released() -> None:
    """Version 0: so that every event has a score from the start."""
    release = Training(MODEL).candidate(version=0, now_ms=0)

    assert (LearnedThrough(), 0) == (release.learned_through, release.examples)
    assert [0.5] == Session(release).score([((math.nan,), ("",))])


def test_a_candidate_that_is_worse_than_live_is_refused() -> None:
    """By the gate, and counted; a later one that is better passes, and says how many were refused before it."""
    taught = Training(MODEL)
    for offset, example in enumerate(log() * 2):
        repeated = example_of(offset, example.x, y=example.y)
        taught.learn(offset, repeated, live=0.999 if example.y else 0.001)
    with pytest.raises(ReleaseRefused) as refused:
        taught.candidate(1, 0)
    for offset, example in enumerate(log() * 2, 600):
        taught.learn(offset, example_of(offset, example.x, y=example.y), live=0.5)

    assert "gate" == refused.value.check
    assert 1 == taught.refused == taught.candidate(1, 0).refused


def test_a_candidate_too_large_for_its_record_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has both sizes."""
    monkeypatch.setattr(training, "MOST_ONNX_BYTES", 100)
    taught = trained()
    with pytest.raises(ReleaseRefused, match=r"\d{3,} bytes of ONNX; a release holds at most 100"):
        taught.candidate(1, 0)

    assert 1 == taught.refused

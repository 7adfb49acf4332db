"""Lessons: examples of a small world, clean and otherwise, and learners that take them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from river import compose, linear_model, naive_bayes, preprocessing, tree

from learners import Model, category, count, event_type, every, happens, hour, number
from learners.training import Training
from schemas.errors import Poison
from schemas.records import Example, Quarantine, Source
from tests.learners.test_recipes import RECIPES

X = dict[str, float | str]
Make = Callable[[], Any]
FEATURES = (
    number("search.position", name="position"),
    number("commerce.order.priceTotal", name="price"),
    category("placeContext.geo.countryCode", name="country"),
    count("commerce.productListAdds", within="30m", name="adds"),
    hour(name="hour"),
)
NUMBERS = ("position", "price", "adds", "hour")


def _scaled(last: Any) -> Any:
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (texts + (compose.SelectType(float) | preprocessing.StandardScaler())) | last


LEARNERS: dict[str, Make] = RECIPES | {
    "StandardScaler, LogisticRegression": lambda: _scaled(linear_model.LogisticRegression()),
    "GaussianNB": lambda: compose.SelectType(float) | naive_bayes.GaussianNB(),
    "PAClassifier": lambda: _scaled(linear_model.PAClassifier(C=0.01, mode=1)),
    "HoeffdingTree": lambda: compose.SelectType(float) | tree.HoeffdingTreeClassifier(grace_period=50),
}


def model_of(make: Make) -> Model:
    return Model(
        name="m",
        applies_to=event_type("commerce.productViews"),
        features=FEATURES,
        outcome=happens("commerce.purchases", within="1m"),
        learner=make(),
        release=every("2s"),
    )


def rows(n: int, *, seed: int = 1, drift: float = 0.0, flip_at: int = -1) -> Iterator[tuple[X, bool]]:
    """Rows whose adds, position and country tell most of y; the price is far and long-tailed, and tells nothing.

    Args:
        n: how many.
        seed: of all that is drawn.
        drift: how far position and price have moved after 1,000 rows, in their own widths.
        flip_at: from this row on, what told the outcome tells the contrary.
    """
    rng = random.Random(seed)
    for i in range(n):
        moved = drift * i / 1000
        inner = rng.gauss(0, 1)
        x: X = {"position": inner + moved, "adds": float(rng.randrange(4)), "hour": float(rng.randrange(24))}
        if rng.random() < 0.5:
            x["price"] = rng.lognormvariate(3, 1) * (1 + moved)
        if rng.random() < 0.9:
            x["country"] = rng.choice(["DE", "US"])
        y = float(x["adds"]) + inner + (x.get("country") == "DE") + rng.gauss(0, 0.7) > 2
        yield x, y != (0 <= flip_at <= i)


class Course:
    """A training and what came of each of its lessons."""

    def __init__(self, make: Make, *, guarded: bool = True) -> None:
        self.training = Training(model_of(make))
        self.quarantined: list[Quarantine] = []
        self.poison = 0
        self.offset = 0
        if not guarded:
            _let_through(self.training)

    def take(self, lessons: Iterable[tuple[X, bool]], *, visitor: str = "") -> Course:
        """Learn rows, each of another visitor unless one is named."""
        for x, y in lessons:
            try:
                lesson = self.training.learn(self.offset, example_of(self.offset, x, y, visitor), live=None)
                self.quarantined += [lesson.quarantine] if lesson.quarantine else []
            except Poison:
                self.poison += 1
            self.offset += 1
        return self

    def slip_in(self, lessons: Iterable[tuple[X, bool]]) -> Course:
        """Learn rows as if nothing stood guard."""
        guard = self.training.guard
        _let_through(self.training)
        self.take(lessons)
        for name in ("admit", "withholds"):
            delattr(guard, name)
        del guard.bounds.note
        return self

    def accuracy(self, *, seed: int = 99, **world: Any) -> float:
        """The share of 1,000 fresh rows that are answered rightly, in percent; nothing is learned from them."""
        task, learner = self.training.model.task, self.training.learner
        asked = list(rows(1000, seed=seed, **world))
        return sum((task.score(learner, x) > 0.5) == y for x, y in asked) / 10


def example_of(seq: int, x: X, y: bool, visitor: str = "", *, score: float = 0.5) -> Example:
    return Example(
        id=f"m/{seq}", model="m", event=f"{seq}", visitor=visitor or f"visitor-{seq % 400}",
        numbers={name: value for name, value in x.items() if name != "country"},
        categories={name: value for name, value in x.items() if name == "country"},
        y=y, score=score, version=0, event_time=seq, closed_at=seq, source=Source(partition=0, seq=seq),
    )  # type: ignore[arg-type]  # fmt: skip


def _let_through(training: Training) -> None:
    guard: Any = training.guard
    guard.admit = lambda example: example.x
    guard.withholds = lambda example: False
    guard.bounds.note = lambda x: False

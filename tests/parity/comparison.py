"""Comparison: what River answers and what its graph answers, row by row; nothing is refused, all is counted.

Written without `learners.parity`, whose verdict is asked too: a law is not to be checked by what it is about.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from learners.onnx_export import to_onnx
from learners.parity import UNSEEN, check_parity
from schemas.errors import NotExportable, ReleaseRefused
from tests.learners.export_laws import NOT_IN_REFERENCE, Row, Stream, assert_well_formed, feed
from tests.parity.data import Source
from tests.parity.models import Configuration, inside

TOLERANCE = 1e-9
REFERENCE_ROWS = 4
# River's ways to say that it has no answer: a selected feature is missing, an overflow, a mean of nothing.
_NO_ANSWER = (LookupError, ArithmeticError, ValueError)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a source is used: examples to learn, rows behind them to compare, and whether halfway too."""

    learned: int
    held: int
    is_halved: bool = True


@dataclass(slots=True)
class Compared:
    """One configuration on one source.

    Attributes:
        rows: how many answers were compared.
        max_abs_diff: the largest difference; of a value or score beyond 1, relative to it; infinite where only one
            side has an answer.
        worst: the row that showed it.
        flips: rows in which another class was predicted.
        ties: rows in which two classes are equally likely to 1e-9, and rounding decided otherwise, or the order of a
            set, which River's copy has in another order than River.
        onnx_bytes: the size of the graph.
        refused: why there is no graph, or why `check_parity` would not release it.
        is_broken: whether that is because River's own numbers are none, which is refused by name.
    """

    configuration: str
    family: str
    source: str
    rows: int = 0
    max_abs_diff: float = 0.0
    worst: Row | None = None
    flips: int = 0
    ties: int = 0
    onnx_bytes: int = 0
    refused: str = ""
    is_broken: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether the graph is wrong, or was refused for another reason than a broken learner."""
        return not self.is_exact and not self.is_broken

    @property
    def is_exact(self) -> bool:
        return not self.refused and not self.flips and self.max_abs_diff <= TOLERANCE

    def note(self, diff: float, row: Row) -> None:
        self.rows += 1
        if self.worst is None or diff > self.max_abs_diff:
            self.max_abs_diff, self.worst = max(diff, self.max_abs_diff), row


def nothing(configuration: Configuration, source: Source) -> Compared:
    """What is known of a pair before it is compared."""
    return Compared(configuration.name, configuration.family, f"{source.name} ({source.target})")


def compare(configuration: Configuration, source: Source, amount: Amount) -> Compared:
    """Teach the configuration; compare it with its graph before, halfway if so wanted, and at the end."""
    stream = source.stream(amount.learned, amount.held)
    compared = nothing(configuration, source)
    model = configuration.make(stream)
    rows = [*asked(stream)]
    first, half = configuration.first_met, len(stream.examples) // 2
    try:
        learn(model, stream, 0, first)
        compare_now(model, stream, rows[:30], compared)
        learn(model, stream, first, half)
        if amount.is_halved:
            compare_now(model, stream, rows[:: 1 + len(rows) // 60], compared)
        learn(model, stream, max(first, half), len(stream.examples))
        compare_now(model, stream, rows, compared)
    except NotExportable as refusal:
        compared.refused = str(refusal)
    except ReleaseRefused as refusal:
        compared.refused, compared.is_broken = str(refusal), refusal.check == "export"
    return compared


def compare_now(model: Any, stream: Stream, rows: Sequence[Row], compared: Compared) -> None:
    exported = to_onnx(model, stream.numbers, stream.categories, name="table", version=1)
    assert_well_formed(exported)
    onnx_bytes = exported.SerializeToString()
    compared.onnx_bytes = len(onnx_bytes)
    graph = _Graph(exported, stream, model)
    river = copy.deepcopy(model)
    together = graph.answers(rows)
    for place, row in enumerate(rows):
        graph.compare(river, row, together[place], compared)
        if place % 11 == 0:
            graph.compare(river, row, graph.answers([row])[0], compared)
    for row, answer in graph.reference_answers(rows[:: 1 + len(rows) // REFERENCE_ROWS]):
        graph.compare(river, row, answer, compared)
    check_parity(model, onnx_bytes, rows[:64])


class _Graph:
    """The graph in onnxruntime, and in onnx's own implementation."""

    def __init__(self, exported: onnx.ModelProto, stream: Stream, model: Any) -> None:
        self.exported = exported
        self.model = model
        self.stream = stream
        self.session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        self.classes = json.loads(self.session.get_modelmeta().custom_metadata_map["classes"])

    def answers(self, rows: Sequence[Row]) -> list[list[Any]]:
        return [*map(list, zip(*self.session.run(self.outputs, feed(self.stream, rows)), strict=True))]

    def reference_answers(self, rows: Sequence[Row]) -> Iterator[tuple[Row, list[Any]]]:
        """onnx's own answers; none where it lacks an operator."""
        if NOT_IN_REFERENCE & {node.op_type for node in self.exported.graph.node}:
            return
        with np.errstate(all="ignore"):
            answers = ReferenceEvaluator(self.exported).run(self.outputs, feed(self.stream, rows))
        for row, *answer in zip(rows, *answers, strict=True):
            yield row, answer

    def compare(self, river: Any, row: Row, answer: list[Any], compared: Compared) -> None:
        match self.outputs:
            case ["label", _]:
                self._compare_classes(river, row, int(answer[0]), answer[1], compared)
            case ["prediction"]:
                compared.note(_difference(_asked_for(river.predict_one, row), float(answer[0])), row)
            case _:
                compared.note(_difference(_asked_for(river.score_one, row), float(answer[0])), row)

    def _compare_classes(
        self, river: Any, row: Row, label: int, probabilities: npt.NDArray[np.float64], compared: Compared
    ) -> None:
        try:
            winner = river.predict_one(dict(row))
            proba = _probabilities(river, row, winner)
        except _NO_ANSWER:
            compared.note(0.0 if np.isnan(probabilities).all() else math.inf, row)
            compared.flips += label != -1
            return
        expected = np.array([proba.get(name, 0.0) for name in self.classes], np.float64)
        unknown = not proba.keys() <= {*self.classes}
        diff = float(np.abs(expected - probabilities).max(initial=0.0))
        compared.note(math.inf if unknown or math.isnan(diff) else diff, row)
        answered = self.classes[label] if label >= 0 else None
        if winner != answered:
            second, best = np.sort(np.pad(expected, (2, 0), constant_values=-1.0))[-2:]
            # Of the model itself a copy, because it may change when it is asked.
            if best - second <= TOLERANCE and (diff > 0.0 or answered == _itself(self.model).predict_one(dict(row))):
                compared.ties += 1
            else:
                compared.flips += 1


def _itself(model: Any) -> Any:
    """A second model with all that the first has, its sets included, and not copies of them."""
    memo = {id(each.classes): each.classes for each in inside(model) if isinstance(vars(each).get("classes"), set)}
    return copy.deepcopy(model, memo)


def _probabilities(river: Any, row: Row, winner: Any) -> dict[Any, float]:
    try:
        return dict(river.predict_proba_one(dict(row)))
    except NotImplementedError:  # a classifier that answers only a class
        return {} if winner is None else {winner: 1.0}


def _asked_for(ask: Any, row: Row) -> float:
    """River's answer, NaN where it has none."""
    try:
        number = ask(dict(row))
    except _NO_ANSWER:
        return math.nan
    return math.nan if number is None else float(number)


def _difference(expected: float, answer: float) -> float:
    if math.isnan(expected) or math.isnan(answer):
        return 0.0 if math.isnan(expected) and math.isnan(answer) else math.inf
    return abs(expected - answer) / max(1.0, abs(expected))


def learn(model: Any, stream: Stream, start: int, stop: int) -> None:
    for x, y in stream.examples[start:stop]:
        try:
            if y is None:
                model.learn_one(dict(x))
            else:
                model.learn_one(dict(x), y)
        except _NO_ANSWER:
            continue  # Select lacks its feature, Normalizer has nothing to divide by


def asked(stream: Stream) -> Iterator[Row]:
    """Held rows as they are, with features missing, with unseen categories; nothing at all; values out of range."""
    chance = random.Random(13)
    yield {}
    yield dict.fromkeys(stream.numbers, 0.0) | dict.fromkeys(stream.categories, UNSEEN)
    yield dict.fromkeys(stream.numbers, 1e6)
    yield dict.fromkeys(stream.numbers, -1e6) | dict.fromkeys(stream.categories, "_")
    for x in stream.held:
        yield x
        yield {name: value for name, value in x.items() if chance.random() > 0.3}
        if stream.categories:
            yield {name: UNSEEN if isinstance(value, str) else value for name, value in x.items()}

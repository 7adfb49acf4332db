"""Whether an artifact answers what its learner answers: replayed row by row before every release."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from river import base, compose

from learners.replica import replica
from schemas.errors import ReleaseRefused

Row: TypeAlias = Mapping[str, float | str]
"""One observation as River gets it: what is missing is left out."""

# onnxruntime's errors have no common class but Exception.
_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

_OUTPUTS = {
    "classification": ["label", "probabilities"],
    "regression": ["prediction"],
    "anomaly": ["score"],
}

# With these River's estimators say that they have no answer for a row, or none yet: a selected feature is missing, a
# mean is of nothing, a logarithm is of zero. What else they raise is an error of ours.
_NO_ANSWER = (LookupError, ArithmeticError, ValueError)

# A value that no learner has met: random, so that it is not by accident somebody's country.
UNSEEN = "unseen-4c0b7e51d2"

# In so many rows of the check's own each feature is once missing, and in as many each category once unseen: alone while
# there are no more features than rows, else several of them together. River takes its time for every row.
MOST_OWN_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class Parity:
    """How closely an artifact followed its learner.

    Attributes:
        rows: how many rows were compared, the check's own included.
        max_abs_diff: the largest difference of a probability; of a value or score beyond 1, relative to it.
        worst: the row that showed it.
    """

    rows: int
    max_abs_diff: float
    worst: Row


def check_parity(model: Any, onnx_bytes: bytes, rows: Sequence[Row], *, tolerance: float = 1e-9) -> Parity:
    """Replay rows through a replica of the River model and through onnxruntime, and refuse any disagreement.

    To the rows given it adds its own: nothing present, each category unseen, each feature missing. Where River raises
    (`compose.Select` without its feature), or a regressor answers None, the artifact must answer NaN.

    By the artifact's task it compares `predict_proba_one` and the winner, `predict_one` or `score_one`. A classifier
    without probabilities gives 1.0 to its winner. Values and scores may be large, so a difference counts as it is up to
    1 and relative to River's answer beyond.

    Args:
        model: the River model; it is left as it is, though River's scalers and others change on predict.
        onnx_bytes: what `to_onnx` made of it, serialized.
        rows: observations, best those just learned; may be empty.
        tolerance: largest allowed difference: of a probability `tolerance`, of a value or score
            `tolerance * max(1, |value|)`.

    Raises:
        ReleaseRefused: check "parity": an answer differs by more than the tolerance or is NaN, the winning class
            differs, or a row has a feature that the artifact does not know.

    >>> from river import linear_model, preprocessing
    >>> from learners.onnx_export import to_onnx
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> artifact = to_onnx(model, ["price"], [], name="buys", version=0).SerializeToString()
    >>> check_parity(model, artifact, [{"price": 3.0}])
    Parity(rows=3, max_abs_diff=0.0, worst={'price': 3.0})
    """
    artifact = _Artifact(onnx_bytes)
    replayed = [*rows, *_own_rows(artifact, rows)]
    for row in replayed:
        artifact.refuse_unknown(row)
    river = _River(replica(model))
    worst, max_abs_diff = replayed[0], 0.0
    for row, answer in zip(replayed, artifact.answers(replayed), strict=True):
        diff = artifact.difference(river, row, answer, tolerance)
        if diff > max_abs_diff:
            worst, max_abs_diff = row, diff
    return Parity(len(replayed), max_abs_diff, worst)


@dataclass(frozen=True, slots=True)
class _Classified:
    label: int
    probabilities: list[float]


_Answer: TypeAlias = _Classified | float


class _Artifact:
    """The artifact in onnxruntime, one thread: sums keep one order, and the learner's core stays free."""

    def __init__(self, onnx_bytes: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # as it will be served
        try:
            self._session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise ReleaseRefused("parity", f"onnxruntime cannot load the artifact: {error}") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        self.numbers: list[str] = json.loads(properties["numbers"])
        self.categories: list[str] = json.loads(properties["categories"])
        self.classes: list[Any] = json.loads(properties["classes"])
        # Artifacts of the first exporter know no other task.
        self.task: str = properties.get("task", "classification")
        self._known = frozenset((*self.numbers, *self.categories))

    def refuse_unknown(self, row: Row) -> None:
        if not row.keys() <= self._known:
            raise _refused(row, f"the artifact does not know {min(row.keys() - self._known)!r}")

    def answers(self, rows: Sequence[Row]) -> list[_Answer]:
        feed: dict[str, npt.NDArray[Any]] = {}
        if self.numbers:
            feed["numbers"] = _tensor(rows, self.numbers, math.nan, np.float64)
        if self.categories:
            # dtype object, because numpy pads its own strings to the longest.
            feed["categories"] = _tensor(rows, self.categories, "", object)
        try:
            answered = self._session.run(_OUTPUTS[self.task], feed)
        except _ORT_ERRORS as error:
            raise ReleaseRefused("parity", f"onnxruntime cannot run the artifact: {error}") from error
        if self.task != "classification":
            return list(answered[0].tolist())
        return list(map(_Classified, *(output.tolist() for output in answered)))

    def difference(self, river: _River, row: Row, answer: _Answer, tolerance: float) -> float:
        """The difference between the two answers for one row, if the artifact can be released with it."""
        if isinstance(answer, _Classified):
            return _difference_of_classes(river, row, self.classes, answer, tolerance)
        ask = river.model.predict_one if self.task == "regression" else river.model.score_one
        return _difference_of_numbers(ask, row, answer, tolerance)


class _River:
    """What the learner answers; `model` may change while it does."""

    def __init__(self, model: Any) -> None:
        self.model = model
        last = model[-1] if isinstance(model, compose.Pipeline) else model
        self._predicts_likeliest = getattr(type(last), "predict_one", None) is base.Classifier.predict_one

    def probabilities(self, row: Row) -> Mapping[Any, float]:
        try:
            proba: Mapping[Any, float] = self.model.predict_proba_one(dict(row))
        except NotImplementedError:  # a classifier that answers only a class
            winner = self.model.predict_one(dict(row))
            return {} if winner is None else {winner: 1.0}
        return proba

    def winner(self, row: Row, proba: Mapping[Any, float]) -> Any:
        """The class that River predicts; asked again only where River does not just take the likeliest."""
        if self._predicts_likeliest:
            return max(proba, key=proba.__getitem__, default=None)
        return self.model.predict_one(dict(row))


def _tensor(rows: Sequence[Row], names: Sequence[str], missing: float | str, dtype: type) -> npt.NDArray[Any]:
    # Iterators all the way: with hundreds of features there are thousands of cells.
    cells = itertools.chain.from_iterable(map(row.get, names, itertools.repeat(missing)) for row in rows)
    return np.fromiter(cells, dtype, len(rows) * len(names)).reshape(len(rows), len(names))


def _own_rows(artifact: _Artifact, rows: Sequence[Row]) -> Iterable[Row]:
    """Rows for every rule about what is not there."""
    base = _full_row(artifact, rows)
    yield {}
    for unseen in _dealt(artifact.categories):
        yield base | dict.fromkeys(unseen, UNSEEN)
    for missing in _dealt([*artifact.numbers, *artifact.categories]):
        row = dict(base)
        for name in missing:
            del row[name]
        yield row


def _dealt(names: Sequence[str]) -> list[Sequence[str]]:
    """The names in at most `MOST_OWN_ROWS` hands, dealt like cards.

    >>> _dealt(["price", "hour"])
    [['price'], ['hour']]
    """
    return [names[place::MOST_OWN_ROWS] for place in range(min(len(names), MOST_OWN_ROWS))]


def _full_row(artifact: _Artifact, rows: Sequence[Row]) -> dict[str, float | str]:
    """A row with every feature present, with values that were met if there are any."""
    met: dict[str, float | str] = {}
    for row in rows:
        if len(met) == len(artifact.numbers) + len(artifact.categories):
            break
        met = {**row, **met}
    base: dict[str, float | str] = {name: met.get(name, 1.0) for name in artifact.numbers}
    return base | {name: met.get(name, UNSEEN) for name in artifact.categories}


def _difference_of_numbers(ask: Callable[[dict[str, Any]], Any], row: Row, answer: float, tolerance: float) -> float:
    try:
        number = ask(dict(row))
    except _NO_ANSWER:
        number = None
    if number is None:
        if math.isnan(answer):
            return 0.0
        raise _refused(row, f"River has no answer, the artifact answers {answer!r}")
    expected = float(number)
    diff = abs(expected - answer) / max(1.0, abs(expected))
    if not diff <= tolerance:  # also when it is NaN
        difference = f"differing by {diff:.3g}, more than {tolerance:g}"
        raise _refused(row, f"River answers {expected!r}, the artifact {answer!r}, {difference}")
    return diff


def _difference_of_classes(
    river: _River, row: Row, classes: Sequence[Any], answer: _Classified, tolerance: float
) -> float:
    """The largest difference of a probability; the winners must be the same."""
    try:
        proba = river.probabilities(row)
        winner = river.winner(row, proba)
    except _NO_ANSWER:
        if all(map(math.isnan, answer.probabilities)):
            return 0.0
        raise _refused(row, f"River raises, the artifact answers {answer.probabilities}") from None
    if not proba.keys() <= set(classes):
        raise _refused(row, f"River knows the classes {[*proba]}, the artifact {classes}")
    expected = [float(proba.get(label, 0.0)) for label in classes]
    diffs = [abs(river_s - its) for river_s, its in zip(expected, answer.probabilities, strict=True)]
    diff = max(diffs)
    if not all(each <= tolerance for each in diffs):  # also when one is NaN
        difference = f"differing by {diff:.3g}, more than {tolerance:g}"
        raise _refused(row, f"River answers {expected}, the artifact {answer.probabilities}, {difference}")
    won = None if answer.label < 0 else classes[answer.label]
    if won != winner and not _decided_by_rounding(expected, diff, tolerance):
        raise _refused(row, f"River predicts {winner!r}, the artifact {won!r}")
    return diff


def _refused(row: Row, reason: str) -> ReleaseRefused:
    return ReleaseRefused("parity", f"for {dict(row)!r}, {reason}")


def _decided_by_rounding(expected: Sequence[float], diff: float, tolerance: float) -> bool:
    """Whether two classes are as good as tied, and the probabilities differ, so that either may win.

    With equal probabilities there is no rounding to blame: the tie itself was broken otherwise.
    """
    if len(expected) < 2:
        return False
    second, first = sorted(expected)[-2:]
    return diff > 0.0 and first - second <= tolerance

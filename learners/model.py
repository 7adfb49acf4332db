"""Model: a model file, read. One Python file says what to score, what to see, what to wait for and what learns."""

from __future__ import annotations

import copy
import math
import re
import runpy
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from river.base import Estimator

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.state import encode_state
from learners.task import TASKS, Task
from schemas.duration import milliseconds
from schemas.errors import ModelFileError
from schemas.features import Count, Feature, Hour, Spec, Weekday
from schemas.reader import Reader
from schemas.xdm import event_type_name


@dataclass(frozen=True, slots=True)
class Outcome:
    """The event type that makes a label positive, and how long it is waited for."""

    kind: str
    within_ms: int


@dataclass(frozen=True, slots=True)
class Every:
    """Release policy: a candidate at fixed intervals, where there is something new to release."""

    interval_ms: int


def event_type(*kinds: str) -> tuple[str, ...]:
    """Return the event types a model applies to.

    An event is of a type if its `eventType` says so, or the type's own measure (`commerce.purchases.value`) is above 0.

    >>> event_type("commerce.productViews")
    ('commerce.productViews',)
    """
    if not kinds:
        raise ModelFileError('event_type() needs at least one type, such as event_type("commerce.productViews")')
    return tuple(event_type_name(kind) for kind in kinds)


def happens(kind: str, *, within: str) -> Outcome:
    """Return an outcome rule: positive if the visitor's next event of type `kind` comes within a duration.

    >>> happens("commerce.purchases", within="30m").within_ms
    1800000
    """
    return Outcome(event_type_name(kind), milliseconds(within))


def every(interval: str) -> Every:
    """Return a release policy: a candidate every so often.

    >>> every("2s").interval_ms
    2000
    """
    return Every(milliseconds(interval))


class Model:
    """What a model file defines.

    Args:
        name: letters, digits, `.`, `_` and `-`; names the model on every topic.
        applies_to: event types that get a score, see `event_type`.
        features: what the model sees, in the order of its inputs.
        outcome: what makes a label positive, see `happens`.
        learner: a River classifier, or a regressor, which learns the outcome as 1.0 or 0.0, or an anomaly detector,
            which does not learn it; numbers reach it as float, categories as str, what is missing is left out.
        release: when a candidate is exported, see `every`.
        lateness: how much disorder is waited for before a label closes negative.
        remembers: a visitor not seen for so long is new again.

    Raises:
        ModelFileError: something in it cannot work; `NotExportable` where the learner has no exact ONNX form,
            `NotStorable` where it holds something that cannot be written down.
    """

    def __init__(
        self,
        *,
        name: str,
        applies_to: tuple[str, ...],
        features: Sequence[Feature],
        outcome: Outcome,
        learner: Estimator,
        release: Every,
        lateness: str = "1m",
        remembers: str = "90d",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            raise ModelFileError(f"name={name!r}: a model's name has 1 to 64 letters, digits, '.', '_' or '-'")
        _must_be(tuple, applies_to, 'applies_to=event_type("commerce.productViews")')
        _must_be(Outcome, outcome, 'outcome=happens("commerce.purchases", within="30m")')
        _must_be(Every, release, 'release=every("2s")')
        self.spec = Spec(
            name=name,
            applies_to=event_type(*applies_to),
            features=_checked(features),
            outcome=outcome.kind,
            within_ms=outcome.within_ms,
            lateness_ms=milliseconds(lateness),
            remembers_ms=milliseconds(remembers),
        )
        self.reader = Reader(self.spec)
        self.release = release
        refuse_unexportable(learner, task=None)
        encode_state(learner)  # refuses what the journal has no form for: now, not when there is something to lose
        # What depends on the features (a text that reaches a sum, two names that clash) shows in a first export only.
        self.task = _exported_task(learner, self.spec)
        _copes_with_whatever_is_missing(self.task, learner, self.spec)
        self._learner = learner

    def new_learner(self) -> Any:
        """Return the learner as the file defines it, having learned nothing."""
        return copy.deepcopy(self._learner)


def _exported_task(learner: Estimator, spec: Spec) -> Task:
    exported = to_onnx(learner, spec.numbers, spec.categories, name=spec.name, version=0)
    task = TASKS[next(each.value for each in exported.metadata_props if each.key == "task")]
    refuse_unexportable(learner, task=task.name)  # what answers only a class is classification too, and has no score
    return task


def _copes_with_whatever_is_missing(task: Task, learner: Estimator, spec: Spec) -> None:
    tried = copy.deepcopy(learner)
    always: dict[str, float | str] = {f.name: 0.0 for f in spec.features if isinstance(f, Hour | Weekday | Count)}
    try:
        score = task.score(tried, always)
    except KeyError as error:
        raise ModelFileError(
            f"the learner cannot do without {error}, which an event may lack, and every event gets a score; "
            "use compose.SelectType, which takes what is there"
        ) from None
    if not math.isfinite(score):
        raise ModelFileError("the learner has no answer before it has learned, and every event gets a score")
    try:
        task.learn(tried, always, False)
    except LookupError:
        raise ModelFileError(
            "the learner cannot learn from an event that lacks all that an event may lack; add a feature that is "
            "always there: count(), hour() or weekday()"
        ) from None


def _must_be(kind: type, value: object, example: str) -> None:
    if not isinstance(value, kind):
        raise ModelFileError(f"{value!r} does not fit here; write for example {example}")


def _checked(features: Sequence[Feature]) -> tuple[Feature, ...]:
    seen: set[str] = set()
    for feature in features:
        if not isinstance(feature, Feature):
            raise ModelFileError(
                f"{feature!r} is no feature; use number, category, hour, weekday, count, seconds_since"
            )
        if feature.name in seen:
            raise ModelFileError(f"two features are called {feature.name!r}; give one of them name=...")
        seen.add(feature.name)
    if not features:
        raise ModelFileError("features=[] leaves nothing to learn from")
    return tuple(features)


def load_model(path: str | Path) -> Model:
    """Return the model that a file defines.

    Raises:
        ModelFileError: with the file, the line and what to write instead.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelFileError("there is no such model file", path=str(path))
    try:
        names = runpy.run_path(str(file))
    except SyntaxError as error:
        raise ModelFileError(f"is not Python: {error.msg}", path=str(path), line=error.lineno or 0) from None
    except ModelFileError as error:
        error.path, error.line = str(path), _line_in(file, error)
        error.args = (f"{path}:{error.line}: {error}",)
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise ModelFileError(problem, path=str(path), line=_line_in(file, error)) from error
    models = {id(value): value for value in names.values() if isinstance(value, Model)}  # one may have two names
    if len(models) != 1:
        raise ModelFileError(f"defines {len(models)} models; a model file defines exactly one", path=str(path))
    return models.popitem()[1]


def _line_in(file: Path, error: BaseException) -> int:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    return frames[-1].lineno or 0 if frames else 0

"""Training: one learner, how far it has come, and what may be released of it.

A training is a function of the `examples` log, repeats dropped: nothing in `learn` looks at a clock, guards and
rollbacks included. Export, parity and gate work on copies, because River changes some estimators when they predict.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from learners.gate import Gate
from learners.guard import RAISED, Guard
from learners.model import Model
from learners.onnx_export import to_onnx
from learners.parity import check_parity
from learners.rollback import Breach, Rollback
from learners.scoreboard import Scoreboard
from learners.shares import key_of
from learners.state import decode_state, encode_state
from schemas.errors import Poison, ReleaseRefused, StateUnreadable
from schemas.records import Example, LearnedThrough, ParityOf, Quarantine, Release

HELD_ROWS: Final = 64
# What still travels inline in a `releases` record; more needs an object store.
MOST_ONNX_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Lesson:
    """What became of an example that is not poison.

    Attributes:
        learned: False, its visitor has taught enough for now.
        quarantine: what the learner forgot after it, because it must not go on as it was.
    """

    learned: bool
    quarantine: Quarantine | None = None


_LEARNED: Final = Lesson(learned=True)
_WITHHELD: Final = Lesson(learned=False)


class Training:
    """What one learner has gone through.

    Attributes:
        learner: the River model.
        scoreboard: its progressive validation.
        gate: its losses beside the live release's.
        guard: what it was kept from.
        learned_through: the newest example learned, and not taken back.
        refused: candidates refused so far.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.learner = model.new_learner()
        self.scoreboard = Scoreboard(model.task)
        self.gate = Gate(model.task)
        self.guard = Guard(model.spec.features)
        self.learned_through = LearnedThrough()
        self.refused = 0
        self._rollback = Rollback(model)
        self._seqs: dict[int, int] = {}
        self._held: deque[dict[str, float | str]] = deque(maxlen=HELD_ROWS)

    def is_repeat(self, example: Example) -> bool:
        """Return whether the example was taken before: a source partition numbers its examples without a gap."""
        return example.source.seq <= self._seqs.get(example.source.partition, -1)

    def learn(self, offset: int, example: Example, live: float | None) -> Lesson:
        """Guard, predict, learn, note, judge: one example, in this order.

        Args:
            offset: of the example in `examples`.
            example: not a repeat.
            live: what the live release says of it, None where none is loaded.

        Raises:
            Poison: the guard keeps it from the learner, or the learner raises on it and is as it was before; it counts
                as taken all the same.
        """
        self._seqs[example.source.partition] = example.source.seq
        x = self.guard.admit(example)
        if self.guard.withholds(example):
            return _WITHHELD
        if self.guard.bounds.note(x):
            self._bring_within_bounds()
            x = self.guard.bounds.clip(x)
        score = self._teach(x, example.y)

        through = self.learned_through = LearnedThrough(offset=offset, event_time=example.event_time)
        self.guard.shares.add(example.visitor)
        self.scoreboard.add(score=score, served=example.score, y=example.y)
        if live is not None:
            self.gate.add(score=score, live=live, y=example.y)
        self._held.append(x)
        breach = self._rollback.taught(self.learner, (x, example.y), score, key_of(example.visitor), through)
        return _LEARNED if breach is None else Lesson(learned=True, quarantine=self._go_back(breach))

    def _teach(self, x: dict[str, float | str], y: bool) -> float:
        task, doing = self.model.task, "score"
        try:
            score = task.score(self.learner, x)
            doing = "learn"
            task.learn(self.learner, x, y)
        except RAISED as error:
            self.learner = self._rollback.undone()
            self.guard.counts["undone"] += 1
            if isinstance(error, KeyError) and doing == "score":  # compose.Select without its feature
                raise Poison("learn", f"{error} is missing, and the learner selects it by name") from None
            raise Poison("learn", f"the learner cannot {doing} it: {type(error).__name__}: {error}") from error
        return score

    def _bring_within_bounds(self) -> None:
        """Have the learner learn again what it saw before there were bounds."""
        learner = self._rollback.relearned(self.guard.bounds.clip)
        if learner is not None:
            self.learner = learner

    def _go_back(self, breach: Breach) -> Quarantine:
        start, stop = breach.through.offset + 1, self.learned_through.offset + 1
        self.learner, self.learned_through = breach.learner, breach.through
        # The losses in it are of a learner that is no more: they would keep what was good from being released.
        self.gate = Gate(self.model.task)
        counts = self.guard.counts
        counts["breaches"] += 1
        counts["taken_back"] += breach.taken_back
        counts["afresh"] += breach.afresh
        name = self.model.spec.name
        return Quarantine(
            id=f"{name}/{start}-{stop}",
            model=name,
            start=start,
            stop=stop,
            examples=breach.taken_back,
            reason=breach.reason,
            afresh=breach.afresh,
        )

    def candidate(self, version: int, now_ms: int) -> Release:
        """Return the learner as it is now, exported and checked.

        Raises:
            ReleaseRefused: parity, the gate or the size says no; counted in `refused`.
        """
        try:
            return self._candidate(version, now_ms)
        except ReleaseRefused:
            self.refused += 1
            raise

    def _candidate(self, version: int, now_ms: int) -> Release:
        spec = self.model.spec
        metadata = {"spec": spec.to_json(), "learned_through": str(self.learned_through.offset)}
        onnx = to_onnx(
            self.learner, spec.numbers, spec.categories, name=spec.name, version=version, metadata=metadata
        ).SerializeToString()
        if len(onnx) > MOST_ONNX_BYTES:
            raise ReleaseRefused("size", f"{len(onnx)} bytes of ONNX; a release holds at most {MOST_ONNX_BYTES}")
        parity = check_parity(self.learner, onnx, list(self._held))
        verdict = self.gate.judge()
        loss = self.model.task.loss.name
        metrics = self.scoreboard.metrics() | {
            "gate_examples": float(verdict.examples),
            f"gate_{loss}": verdict.loss,
            f"gate_{loss}_live": verdict.loss_live,
        }
        return Release(
            model=spec.name,
            version=version,
            created_at=now_ms,
            sha256=hashlib.sha256(onnx).hexdigest(),
            onnx=onnx,
            spec=spec.to_json(),
            learned_through=self.learned_through,
            examples=self.scoreboard.examples,
            positives=self.scoreboard.positives,
            refused=self.refused,
            metrics=metrics,
            parity=ParityOf(rows=parity.rows, max_abs_diff=parity.max_abs_diff),
        )

    def snapshot(self) -> bytes:
        """Return everything that `restore` needs, the learner in its canonical encoding."""
        return msgspec.msgpack.encode(
            {
                "definition": _definition(self.model),
                "learner": encode_state(self.learner),
                "scoreboard": self.scoreboard.as_rows(),
                "gate": self.gate.as_rows(),
                "guard": self.guard.as_rows(),
                "rollback": self._rollback.as_rows(),
                "learned_through": [self.learned_through.offset, self.learned_through.event_time],
                "refused": self.refused,
                "seqs": list(self._seqs.items()),
                "held": list(self._held),
            }
        )

    @classmethod
    def restore(cls, model: Model, snapshot: bytes) -> Training:
        """Return the training that `snapshot` described.

        Raises:
            StateUnreadable: truncated, altered, or of a model that was defined otherwise.
        """
        try:
            return cls._restored(model, msgspec.msgpack.decode(snapshot))
        except (LookupError, TypeError, ValueError) as error:
            raise StateUnreadable(f"the learner's journal record is damaged: {error!r}") from error

    @classmethod
    def _restored(cls, model: Model, rows: dict[str, Any]) -> Training:
        if rows["definition"] != _definition(model):
            raise StateUnreadable(
                f"{model.spec.name} has learned by another definition (features, outcome, times or learner) than the "
                "model file has now; give the model a new name, so that it starts afresh beside the old one"
            )
        training = cls(model)
        training.learner = decode_state(rows["learner"], model.new_learner())
        training.scoreboard = Scoreboard.from_rows(rows["scoreboard"], model.task)
        training.gate = Gate.from_rows(rows["gate"], model.task)
        training.guard = Guard.from_rows(rows["guard"], model.spec.features)
        training._rollback = Rollback.from_rows(rows["rollback"], model)
        offset, event_time = rows["learned_through"]
        training.learned_through = LearnedThrough(offset=offset, event_time=event_time)
        training.refused = rows["refused"]
        training._seqs = dict(rows["seqs"])
        training._held.extend(rows["held"])
        return training


def _definition(model: Model) -> str:
    """Return what must not change under a state: the spec, and the learner as it is before it has learned."""
    fresh = hashlib.sha256(encode_state(model.new_learner())).hexdigest()
    return f"{model.spec.to_json()} {fresh}"

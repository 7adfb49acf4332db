"""Session: one release, loaded: rows in, scores out."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import ReleaseRefused
from schemas.features import Spec
from schemas.reader import Reader, X
from schemas.records import LearnedThrough, Release
from scoring.binding import Binding, can_bind

Array = npt.NDArray[Any]

# What `/v1/events` answers, under one name whatever the model's task; an output of the artifact may have that name too.
SCORE: Final = "score"

# The task that an artifact names -> the output that holds its answers, and where in it the scores are: of all rows, and
# of one row in flat order.
_ANSWERS: Final[dict[str, tuple[str, Any, int]]] = {
    "classification": ("probabilities", (slice(None), 1), 1),
    "regression": ("prediction", slice(None), 0),
    "anomaly": ("score", slice(None), 0),
}

# onnxruntime's type of a tensor -> the Open Inference Protocol's datatype.
_DATATYPES: Final = {
    "tensor(double)": "FP64",
    "tensor(float)": "FP32",
    "tensor(int64)": "INT64",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}


class Tensor(msgspec.Struct, frozen=True):
    """An input or output of a model in the Open Inference Protocol's words; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Session:
    """A release in an onnxruntime session of one thread, checked against its digest and run once before it serves.

    Attributes:
        model, version, learned_through: which release this is, and how far it had learned.
        spec: what it reads, as embedded in the artifact.
        reader: reads events and computes `x` by that spec; shared by all versions that have it.
        inputs, outputs: the artifact's tensors.
        load_ms: how long loading and warming took.

    Raises:
        ReleaseRefused: the bytes are not those of the manifest, do not run, or want what this freshet cannot read.
    """

    def __init__(self, release: Release) -> None:
        started = time.perf_counter()
        if hashlib.sha256(release.onnx).hexdigest() != release.sha256:
            raise ReleaseRefused(
                "digest", f"the bytes of {release.model} version {release.version} are not as released"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # A graph of ours leaves nothing to optimise: runs are as fast, and a load is shorter.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self.model: str = release.model
        self.version: int = release.version
        self.learned_through: LearnedThrough = release.learned_through
        try:
            self.reader: Reader = _reader_of(release.spec)
            self.spec: Spec = self.reader.spec
            self._has_numbers = bool(self.spec.numbers)
            self._has_categories = bool(self.spec.categories)
            session = ort.InferenceSession(release.onnx, options, providers=["CPUExecutionProvider"])
            self._session_run = session.run
            self._options = ort.RunOptions()  # without, each run makes some, which takes longer than a small model does
            # Artifacts of the first exporter name no task, and know no other.
            task = session.get_modelmeta().custom_metadata_map.get("task", "classification")
            self._output, self._place, self._flat_place = _ANSWERS[task]
            self.inputs = tuple(_tensor(each) for each in session.get_inputs())
            self.outputs = tuple(_tensor(each) for each in session.get_outputs())
            self._names = [each.name for each in self.outputs]
            self._answering = self._names.index(self._output)
            self._derives_score = all(each.name != SCORE for each in self.outputs)
            # Warm: the first run allocates; no caller shall wait for that.
            row: X = ((np.nan,) * len(self.spec.numbers), ("",) * len(self.spec.categories))
            self._binding: Binding | None = None
            self.score([row])
            outputs = [(each.name, each.datatype, each.shape) for each in self.outputs]
            if can_bind(len(self.spec.categories), outputs):
                self._binding = Binding(session, len(self.spec.numbers), outputs)
                self.score([row])
        except Exception as error:  # noqa: BLE001  # onnxruntime raises its own classes, which share no base but this
            raise ReleaseRefused("load", f"{release.model} version {release.version}: {error}") from None
        self.load_ms = (time.perf_counter() - started) * 1000

    def score(self, rows: list[X]) -> list[float]:
        """Return the score of each row.

        Args:
            rows: the model's input of each event, as `Reader.x` returns it; at least one.

        Returns:
            One float per row, in order: a classifier's probability of the outcome, a regressor's prediction, an anomaly
            detector's score; NaN where the learner itself would have no answer.
        """
        binding = self._binding
        if binding is not None and len(rows) == 1 and binding.lock.acquire(blocking=False):
            try:
                binding.run(rows[0][0])
                return [binding.outputs[self._output].item(self._flat_place)]
            finally:
                binding.lock.release()
        answers: Array = self._session_run([self._output], self._feed(rows), self._options)[0]
        scores: list[float] = answers[self._place].tolist()
        return scores

    def answer(self, x: X) -> list[list[Any]]:
        """Return what each output says of one row: its elements in flat order; last, as one list more, `score`.

        Where the artifact has an output of that name, that stands in its place and is not there twice.
        """
        binding = self._binding
        if binding is not None and binding.lock.acquire(blocking=False):
            try:
                binding.run(x[0])
                answers = [output.ravel().tolist() for output in binding.outputs.values()]
            finally:
                binding.lock.release()
        else:
            answers = [
                output.ravel().tolist() for output in self._session_run(self._names, self._feed([x]), self._options)
            ]
        if self._derives_score:
            answers.append([answers[self._answering][self._flat_place]])
        return answers

    def run(self, feed: dict[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Return outputs by name.

        Args:
            feed: the artifact's inputs, `numbers` and `categories` as far as it has them, of the same rows.
            names: of outputs of the artifact; `score` is there for every artifact, shape (rows,).
        """
        derived = self._derives_score and SCORE in names
        asked = [name for name in names if name != SCORE or not derived]
        if derived and self._output not in asked:
            asked.append(self._output)
        answers = self._answers(feed, asked)
        if derived:
            answers[SCORE] = answers[self._output][self._place]
        return answers

    def _feed(self, rows: list[X]) -> dict[str, Array]:
        feed: dict[str, Array] = {}
        if self._has_numbers:
            feed["numbers"] = np.array([numbers for numbers, _ in rows], dtype=np.float64)
        if self._has_categories:
            feed["categories"] = np.array([categories for _, categories in rows], dtype=object)
        return feed

    def _answers(self, feed: dict[str, Array], names: list[str]) -> dict[str, Array]:
        binding = self._binding
        if binding is not None and len(feed["numbers"]) == 1 and binding.lock.acquire(blocking=False):
            try:
                binding.run(feed["numbers"][0])
                return {name: binding.outputs[name].copy() for name in names}
            finally:
                binding.lock.release()
        return dict(zip(names, self._session_run(names, feed, self._options), strict=True))


@functools.lru_cache(maxsize=64)
def _reader_of(spec: str) -> Reader:
    # Compiling one takes milliseconds, and a model's releases nearly always share their spec.
    return Reader(Spec.from_json(spec))


def _tensor(node: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return Tensor(node.name, _DATATYPES.get(node.type, node.type), shape)

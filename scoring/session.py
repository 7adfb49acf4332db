"""Session: one release, loaded: rows in, scores out."""

from __future__ import annotations

import functools
import hashlib
import time
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import ReleaseRefused
from schemas.features import Spec
from schemas.reader import Reader, X
from schemas.records import LearnedThrough, Release

FloatArray = npt.NDArray[np.float64]

# The task that an artifact names -> the output that holds its answers, and where in it the scores are.
_ANSWERS: Final[dict[str, tuple[str, Any]]] = {
    "classification": ("probabilities", (slice(None), 1)),
    "regression": ("prediction", slice(None)),
    "anomaly": ("score", slice(None)),
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
            self._run = session.run
            # Artifacts of the first exporter name no task, and know no other.
            task = session.get_modelmeta().custom_metadata_map.get("task", "classification")
            output, self._place = _ANSWERS[task]
            self._output = [output]
            self.inputs = tuple(_tensor(each) for each in session.get_inputs())
            self.outputs = tuple(_tensor(each) for each in session.get_outputs())
            # Warm: the first run allocates; no caller shall wait for that.
            self.score([((np.nan,) * len(self.spec.numbers), ("",) * len(self.spec.categories))])
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
        feed: dict[str, Any] = {}
        if self._has_numbers:
            feed["numbers"] = np.array([numbers for numbers, _ in rows], dtype=np.float64)
        if self._has_categories:
            feed["categories"] = np.array([categories for _, categories in rows], dtype=object)
        answers: FloatArray = self._run(self._output, feed)[0]
        scores: list[float] = answers[self._place].tolist()
        return scores


@functools.lru_cache(maxsize=64)
def _reader_of(spec: str) -> Reader:
    # Compiling one takes milliseconds, and a model's releases nearly always share their spec.
    return Reader(Spec.from_json(spec))


def _tensor(node: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return Tensor(node.name, _DATATYPES.get(node.type, node.type), shape)

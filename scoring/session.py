"""Session: one release, loaded: rows in, probabilities out."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import ReleaseRefused
from schemas.features import Spec
from schemas.reader import X
from schemas.records import LearnedThrough, Release

FloatArray = npt.NDArray[np.float64]
_OUTPUT: Final = ["probabilities"]


class Session:
    """A release in an onnxruntime session of one thread, checked against its digest and run once before it serves.

    Attributes:
        model, version, learned_through: which release this is, and how far it had learned.
        spec: what it reads, as embedded in the artifact.
        load_ms: how long loading and warming took.

    Raises:
        ReleaseRefused: the bytes are not those of the manifest, or do not run.
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
        try:
            self._run = ort.InferenceSession(release.onnx, options, providers=["CPUExecutionProvider"]).run
        except Exception as error:  # onnxruntime raises its own classes, which share no base but Exception
            raise ReleaseRefused("load", f"{release.model} version {release.version}: {error}") from None
        self.model: str = release.model
        self.version: int = release.version
        self.learned_through: LearnedThrough = release.learned_through
        self.spec: Spec = Spec.from_json(release.spec)
        self._has_numbers = bool(self.spec.numbers)
        self._has_categories = bool(self.spec.categories)
        # Warm: the first run allocates; no caller shall wait for that.
        self.score([((np.nan,) * len(self.spec.numbers), ("",) * len(self.spec.categories))])
        self.load_ms = (time.perf_counter() - started) * 1000

    def score(self, rows: list[X]) -> list[float]:
        """Return the probability of the outcome for each row.

        Args:
            rows: the model's input of each event, as `Reader.x` returns it; at least one.

        Returns:
            One float per row, in order.
        """
        feed: dict[str, Any] = {}
        if self._has_numbers:
            feed["numbers"] = np.array([numbers for numbers, _ in rows], dtype=np.float64)
        if self._has_categories:
            feed["categories"] = np.array([categories for _, categories in rows], dtype=object)
        probabilities: FloatArray = self._run(_OUTPUT, feed)[0]
        scores: list[float] = probabilities[:, 1].tolist()
        return scores

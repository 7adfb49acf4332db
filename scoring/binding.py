"""Binding: a session's tensors for one row of numbers, in memory that stays where it is.

A run otherwise makes an array for each tensor and looks at all of them again, which takes longer than a small model
does. onnxruntime binds no strings, so that models with categories do without.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

_DTYPES: Final = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}


class Binding:
    """Runs one row at a time.

    Args:
        session: of a model with one input, `numbers`, of doubles.
        numbers: how many columns that has.
        outputs: name, datatype and shape of each output; the first dimension is the rows', the others are known.

    Attributes:
        outputs: by name; overwritten by the next run.
        lock: held by whoever runs it and reads what came out; who does not get it has the session's own run.
    """

    def __init__(
        self, session: ort.InferenceSession, numbers: int, outputs: Iterable[tuple[str, str, tuple[int, ...]]]
    ) -> None:
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._numbers = np.empty((1, numbers))
        self._row = self._numbers[0]
        self._binding.bind_cpu_input("numbers", self._numbers)
        self.outputs: dict[str, npt.NDArray[Any]] = {}
        for name, datatype, (_, *others) in outputs:
            output: npt.NDArray[Any] = np.empty((1, *others), dtype=_DTYPES[datatype])
            self._binding.bind_output(name, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)
            self.outputs[name] = output
        self.lock = threading.Lock()

    def run(self, numbers: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Have `outputs` answer one row."""
        self._row[:] = numbers
        self._run(self._binding)


def can_bind(categories: int, outputs: Iterable[tuple[str, str, tuple[int, ...]]]) -> bool:
    """Return whether a model of so many columns of categories, and with these outputs, can have a binding.

    >>> can_bind(0, [("probabilities", "FP64", (-1, 2))]), can_bind(0, [("label", "BYTES", (-1,))])
    (True, False)
    """
    return not categories and all(
        datatype in _DTYPES and len(shape) > 0 and shape[0] == -1 and -1 not in shape[1:]
        for _, datatype, shape in outputs
    )

"""numpy's arrays and scalars as their parts: dtype, shape, layout and bytes. Numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from learners.state.forms import NoForm, Written

# Truth values, integers without and with sign, floats.
_NUMERIC: Final = frozenset("buif")


def parts_of_array(array: np.ndarray[Any, Any]) -> list[Written]:
    """Return what `array_of` takes.

    Raises:
        NoForm: it holds no numbers, or is a view with gaps.

    >>> array_of(*parts_of_array(np.array([[1, 2], [3, 4]], order="F"))).flags.f_contiguous
    True
    """
    _refuse_non_numeric(array.dtype)
    if not array.flags.forc:
        raise NoForm("it is a view with gaps")
    # The layout decides in which order numpy sums.
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    return [array.dtype.str, [*array.shape], order, array.tobytes(order)]


def array_of(dtype: str, shape: Sequence[int], order: Literal["C", "F"], data: bytes) -> np.ndarray[Any, Any]:
    """Return the array that `parts_of_array` was given."""
    return _numbers(dtype, data).reshape(shape, order=order).copy(order)


def parts_of_scalar(scalar: np.generic) -> list[Written]:
    """Return what `scalar_of` takes.

    Raises:
        NoForm: it is no number.

    >>> parts_of_scalar(np.float32(0.5))
    ['<f4', b'\\x00\\x00\\x00?']
    """
    _refuse_non_numeric(scalar.dtype)
    return [scalar.dtype.str, scalar.tobytes()]


def scalar_of(dtype: str, data: bytes) -> Any:
    """Return the scalar that `parts_of_scalar` was given."""
    return _numbers(dtype, data)[0]


def _numbers(dtype: str, data: bytes) -> np.ndarray[Any, Any]:
    numeric = np.dtype(dtype)
    _refuse_non_numeric(numeric)
    return np.frombuffer(data, numeric)


def _refuse_non_numeric(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in _NUMERIC:
        raise NoForm(f"its dtype is {dtype}")

"""Tensors: the Open Inference Protocol's datatypes, and what JSON or bytes hold as arrays of them.

Nothing here walks over elements in Python but for BYTES in the binary form, where each element says where the next is.
"""

from __future__ import annotations

import re
from itertools import chain
from math import prod
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from scoring.problem import Problem, invalid

Array = npt.NDArray[Any]

_floats: Final = msgspec.json.Decoder(list[float | None])
_rows_of_floats: Final = msgspec.json.Decoder(list[list[float | None]])
_integers: Final = msgspec.json.Decoder(list[int])
_rows_of_integers: Final = msgspec.json.Decoder(list[list[int]])
_booleans: Final = msgspec.json.Decoder(list[bool])
_rows_of_booleans: Final = msgspec.json.Decoder(list[list[bool]])
_strings: Final = msgspec.json.Decoder(list[str | None])
_rows_of_strings: Final = msgspec.json.Decoder(list[list[str | None]])

_nested: Final = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\[").match
_LENGTH_BYTES: Final = 4


class Datatype(NamedTuple):
    """A datatype of the protocol.

    Attributes:
        dtype: its elements in numpy, little-endian as in the binary form; objects for strings.
        flat, rows: decoders of a list of elements, and of a list of such lists.
    """

    name: str
    dtype: np.dtype[Any]
    flat: msgspec.json.Decoder[Any]
    rows: msgspec.json.Decoder[Any]


DATATYPES: Final = {
    name: Datatype(name, np.dtype(code), flat, rows)
    for flat, rows, codes in (
        (_booleans, _rows_of_booleans, {"BOOL": "?"}),
        (_integers, _rows_of_integers, {"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}),
        (_integers, _rows_of_integers, {"INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}),
        (_floats, _rows_of_floats, {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}),
        (_strings, _rows_of_strings, {"BYTES": "O"}),
    )
    for name, code in codes.items()
}
_NAMES: Final = {each.dtype: each.name for each in DATATYPES.values()}


def from_values(datatype: Datatype, shape: list[int], values: list[Any], field: str) -> Array:
    """Return the array that a tensor's `data` stands for; `None` is a missing number or string.

    Args:
        datatype, shape: what it says of itself.
        values: of that datatype, flat or all in rows.
        field: where it stands in the request.

    Raises:
        Problem: they do not fit the shape, or one is beyond the datatype.

    >>> from_values(DATATYPES["FP64"], [2, 1], [[1.0], [None]], "inputs[0].data")
    array([[ 1.],
           [nan]])
    """
    if values and type(values[0]) is list:
        values = _flattened(values, shape, field)
    if len(values) != prod(shape):
        raise _miscounted(field, len(values), shape)
    return _array(values, datatype, field).reshape(shape)


def from_json(datatype: Datatype, shape: list[int], data: bytes, field: str) -> Array:
    """Return the array that a tensor's `data` stands for; `null` is a missing number or string.

    Args:
        datatype, shape: what it says of itself; the shape has one or two dimensions.
        data: JSON, flat or in rows.
        field: where it stands in the request.

    Raises:
        Problem: it is something else than that.

    >>> from_json(DATATYPES["FP64"], [2, 2], b"[[1, 2], [null, 4]]", "inputs[0].data")
    array([[ 1.,  2.],
           [nan,  4.]])
    """
    try:
        values = (datatype.rows if _nested(data) else datatype.flat).decode(data)
    except msgspec.ValidationError as error:
        _refuse_element(error, datatype, field)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid(field, "is not JSON") from None
    return from_values(datatype, shape, values, field)


def _flattened(rows: list[list[Any]], shape: list[int], field: str) -> list[Any]:
    sizes = set(map(len, rows))
    if len(shape) != 2 or len(rows) != shape[0] or sizes != {shape[1]}:
        longest = max(sizes)
        has = f"{len(rows)} rows of {longest if sizes == {longest} else f'{min(sizes)} to {longest}'}"
        raise invalid(field, f"has {has} elements; the shape says {shape}")
    return list(chain.from_iterable(rows))


def _miscounted(field: str, count: int, shape: list[int]) -> Problem:
    return invalid(field, f"has {count} elements; shape {shape} takes {prod(shape)}")


def _array(values: list[Any], datatype: Datatype, field: str) -> Array:
    dtype = datatype.dtype
    kind = dtype.kind
    if kind == "O":
        if None in values:
            values = ["" if value is None else value for value in values]
        return np.array(values, dtype=object)
    if kind != "f":
        try:
            return np.array(values, dtype=dtype)
        except OverflowError:
            raise invalid(field, f"has a number beyond what {datatype.name} can hold") from None
    numbers = np.array(values, dtype=np.float64)
    if dtype.itemsize == 8:
        return numbers
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such, as it is when it comes in bytes
        return numbers.astype(dtype)


def _refuse_element(error: msgspec.ValidationError, datatype: Datatype, field: str) -> NoReturn:
    problem, _, path = str(error).partition(" - at `$")
    rest = path.rstrip("`")
    raise invalid(field + rest, f"is wrong for {datatype.name}: {problem[0].lower()}{problem[1:]}")


def from_bytes(datatype: Datatype, shape: list[int], data: bytes, field: str) -> Array:
    """Return the array that a tensor's bytes stand for, in the form of the binary tensor data extension.

    Args:
        datatype, shape: what it says of itself.
        data: row-major little-endian elements; of BYTES, each behind its length in four bytes.
        field: where the tensor stands in the request.

    Raises:
        Problem: it is something else than that.

    >>> from_bytes(DATATYPES["BYTES"], [2], bytes([2, 0, 0, 0]) + b"CH" + bytes(4), "inputs[0]").tolist()
    ['CH', '']
    """
    count = prod(shape)
    dtype = datatype.dtype
    if dtype.kind == "O":
        values = _texts(data, count, field)
        if len(values) != count:
            raise _miscounted(field, len(values), shape)
        return np.array(values, dtype=object).reshape(shape)
    if len(data) != count * dtype.itemsize:
        takes = f"shape {shape} of {datatype.name} takes {count * dtype.itemsize}"
        raise invalid(f"{field}.parameters.binary_data_size", f"is {len(data)}; {takes}")
    if dtype.kind == "b":  # any byte but 0 is true, and numpy would take its word for it that there are no others
        return (np.frombuffer(data, np.uint8) != 0).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def _texts(data: bytes, most: int, field: str) -> list[str]:
    """The strings in `data`; at most one more than `most`."""
    values: list[str] = []
    at, end = 0, len(data)
    try:
        while at < end and len(values) <= most:
            start = at + _LENGTH_BYTES
            at = start + int.from_bytes(data[at:start], "little")
            if at > end:
                raise invalid(field, f"has bytes that end within element {len(values)}; each is preceded by its length")
            values.append(str(data[start:at], "utf-8"))
    except UnicodeDecodeError:
        raise invalid(field, f"has a string that is not UTF-8, element {len(values)}") from None
    return values


def datatype_of(array: Array) -> str:
    """Return the protocol's name for what an array holds.

    >>> datatype_of(np.zeros(2))
    'FP64'
    """
    return _NAMES[array.dtype]


def to_bytes(array: Array) -> bytes:
    """Return an array's elements in the form of the binary tensor data extension.

    >>> to_bytes(np.array(["CH"], dtype=object))
    b'\\x02\\x00\\x00\\x00CH'
    """
    if array.dtype.kind != "O":
        return array.tobytes()
    texts = [text.encode() for text in array.ravel().tolist()]
    return b"".join(chain.from_iterable((len(text).to_bytes(_LENGTH_BYTES, "little"), text) for text in texts))

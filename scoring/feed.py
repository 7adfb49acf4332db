"""Feed: a session's inputs, from the tensors of a request."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from operator import gt, lt
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from schemas.features import LONGEST
from schemas.reader import X
from scoring.binary import Tail
from scoring.problem import invalid
from scoring.signature import CATEGORIES, NUMBERS, Signature
from scoring.tensors import DATATYPES, Array, Datatype, from_bytes, from_json, from_values

# One run answers all rows, and nobody else is answered meanwhile.
MOST_ROWS: Final = 1024

_DATATYPE_OF: Final = {NUMBERS: "FP64", CATEGORIES: "BYTES"}
# A tensor that is there is bounded by the body; what is filled in for features that are not named is bounded here.
MOST_ELEMENTS: Final = 1_000_000


# `None` beside what is optional: clients that dump a dataclass send null for what is not there.
class InputParameters(msgspec.Struct, gc=False):
    """What of an input's parameters means something here; the others are nobody's business."""

    binary_data_size: int | None = None
    shared_memory_region: str | None = None


class Input(msgspec.Struct):
    """A tensor of a request; its data as they stand in the JSON, or UNSET where they come behind it."""

    name: str
    shape: list[int]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: InputParameters | None = None


class _Decoded(msgspec.Struct, tag_field="datatype", kw_only=True):
    name: str
    shape: list[int]
    parameters: InputParameters | None = None


class Numbers(_Decoded, tag="FP64"):
    """A tensor whose data are decoded with the rest of the request."""

    datatype: ClassVar[str] = "FP64"
    data: list[float | None]


class Texts(_Decoded, tag="BYTES"):
    """The same of strings."""

    datatype: ClassVar[str] = "BYTES"
    data: list[str | None]


class RowsOfNumbers(_Decoded, tag="FP64"):
    """The same of numbers in rows."""

    datatype: ClassVar[str] = "FP64"
    data: list[list[float | None]]


class RowsOfTexts(_Decoded, tag="BYTES"):
    """The same of strings in rows."""

    datatype: ClassVar[str] = "BYTES"
    data: list[list[str | None]]


AnyInput = Input | Numbers | Texts | RowsOfNumbers | RowsOfTexts


def feed_of(signature: Signature, inputs: Sequence[AnyInput], tail: Tail) -> dict[str, Array]:
    """Return a session's inputs; where a request names features, those that it does not name are missing.

    Args:
        signature: of the session.
        inputs: of the request.
        tail: the bytes behind its JSON.

    Returns:
        `numbers`: double, shape (N, numbers), NaN for missing; `categories`: strings, shape (N, categories), "" for
        missing; each where the model has it.

    Raises:
        Problem: an input is unknown, there twice, of another shape or datatype, out of bounds, or lacking.
    """
    feed: dict[str, Array] = {}
    seen: set[str] = set()
    rows = -1
    for place, tensor in enumerate(inputs):
        field = f"inputs[{place}]"
        name = tensor.name
        if name in seen:
            raise invalid(f"{field}.name", "was there before; send each input once")
        seen.add(name)
        whole = name in signature.required
        column = signature.columns.get(name)
        if whole:
            is_number = name == NUMBERS
            width = signature.numbers if is_number else signature.categories
        elif column is not None:
            is_number, width = column[0], 1
        else:
            nearest = signature.nearest(name)
            raise invalid(f"{field}.name", f"is no input of this model; did you mean {nearest!r}?")
        datatype = _datatype(tensor, field, is_number=is_number)
        rows = _check_shape(tensor.shape, width, rows, field, whole=whole)
        values = _values(tensor, datatype, tail, field)
        if whole:
            if name in feed:
                raise invalid(f"{field}.name", "comes after features of its own; send it whole, or by features")
            feed[name] = _as_doubles(values) if is_number else values
        else:
            assert column is not None
            target = NUMBERS if is_number else CATEGORIES
            if target in seen:
                raise invalid(f"{field}.name", f"is a column of {target!r}, which is there already; send one of them")
            if target not in feed:
                feed[target] = _missing(signature, target, rows)
            feed[target][:, column[1]] = values.reshape(rows)
    tail.end()
    _complete(signature, feed, seen, rows)
    if NUMBERS in feed:
        _check_numbers(signature, feed[NUMBERS])
    if CATEGORIES in feed:
        _check_categories(feed[CATEGORIES])
    return feed


def row_of(signature: Signature, inputs: Sequence[AnyInput]) -> X | None:
    """Return the row of a request that is one row of whole tensors; None of any other, also of one that is wrong.

    Nearly all requests are such rows, and `feed_of`, which says what is wrong with a request, takes longer than a run.
    """
    found: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, shape, data = tensor.name, tensor.shape, _row(tensor)
        fits = data is not None and len(shape) == 2 and shape[0] == 1 and shape[1] == len(data)
        if data is None or not fits or name in found or tensor.datatype != _DATATYPE_OF.get(name):
            return None
        found[name] = data
    numbers, categories = found.get(NUMBERS, []), found.get(CATEGORIES, [])
    if len(numbers) != signature.numbers or len(categories) != signature.categories:
        return None
    if not _are_within(signature, numbers) or (categories and not _are_texts(categories)):
        return None
    return tuple(numbers), tuple(categories)


def _row(tensor: AnyInput) -> list[Any] | None:
    data: Any = tensor.data
    if tensor.parameters is not None or isinstance(tensor, Input):
        return None
    if isinstance(tensor, RowsOfNumbers | RowsOfTexts):
        if len(data) != 1:
            return None
        data = data[0]
    if None in data:
        missing = nan if tensor.datatype == "FP64" else ""
        return [missing if each is None else each for each in data]
    row: list[Any] = data
    return row


def _as_doubles(values: Array) -> Array:
    # Doubles of the body's own bytes may lie anywhere; the runtime wants them where doubles lie.
    if values.dtype == np.float64 and values.flags.aligned:
        return values
    return values.astype(np.float64)


def _missing(signature: Signature, target: str, rows: int) -> Array:
    width = signature.numbers if target == NUMBERS else signature.categories
    if rows * width > MOST_ELEMENTS:
        most = MOST_ELEMENTS // width
        raise invalid("inputs", f"has {rows} rows, for which {width} {target} each are filled in; send at most {most}")
    if target == NUMBERS:
        return np.full((rows, signature.numbers), np.nan)
    return np.full((rows, signature.categories), "", dtype=object)


def _complete(signature: Signature, feed: dict[str, Array], seen: set[str], rows: int) -> None:
    lacking = signature.required - feed.keys()
    if not lacking:
        return
    if seen <= signature.required:  # no feature by name: then nobody has chosen what to leave out
        names = " and ".join(repr(name) for name in sorted(lacking, reverse=True))
        raise invalid("inputs", f"has no {names}; send the tensor, or the features you know by their names")
    for name in lacking:
        feed[name] = _missing(signature, name, rows)


def _datatype(tensor: AnyInput, field: str, *, is_number: bool) -> Datatype:
    datatype = DATATYPES.get(tensor.datatype)
    if datatype is None:
        raise invalid(f"{field}.datatype", f"is none of {', '.join(DATATYPES)}")
    if is_number == (datatype.dtype.kind == "O"):
        fitting = "a number: send FP64, or any datatype but BYTES" if is_number else "a string: send BYTES"
        raise invalid(f"{field}.datatype", f"does not fit: the model reads {fitting}")
    return datatype


def _check_shape(shape: list[int], width: int, rows: int, field: str, *, whole: bool) -> int:
    """Return the number of rows, that of the inputs before it."""
    fits = len(shape) == 2 and shape[1] == width if whole else shape[1:] in ([], [1])
    if not fits or not shape:
        wanted = f"[rows, {width}]" if whole else "[rows] or [rows, 1]"
        raise invalid(f"{field}.shape", f"does not fit: send {wanted}")
    if not 1 <= shape[0] <= MOST_ROWS:
        raise invalid(f"{field}.shape", f"has to be of 1 to {MOST_ROWS} rows")
    if rows not in (-1, shape[0]):
        raise invalid(f"{field}.shape", f"is of {shape[0]} rows, the inputs before it of {rows}")
    return shape[0]


def _values(tensor: AnyInput, datatype: Datatype, tail: Tail, field: str) -> Array:
    parameters = tensor.parameters
    if parameters is not None:
        if parameters.shared_memory_region is not None:
            raise invalid(f"{field}.parameters.shared_memory_region", "cannot be read: send the data in the request")
        if parameters.binary_data_size is not None:
            if tensor.data is not UNSET:
                raise invalid(f"{field}.data", "is there beside binary_data_size; send one of them")
            return from_bytes(datatype, tensor.shape, tail.take(parameters.binary_data_size, field), field)
    data = tensor.data
    if data is UNSET:
        raise invalid(f"{field}.data", "is missing; send a list, or bytes behind the JSON and binary_data_size")
    if isinstance(data, list):
        return from_values(datatype, tensor.shape, data, f"{field}.data")
    return from_json(datatype, tensor.shape, bytes(data), f"{field}.data")


def _check_numbers(signature: Signature, numbers: Array) -> None:
    # NaN is a missing number and beyond no bound. Infinities are beyond all.
    # Most requests have one row; for one, this takes a third of the time that numpy takes.
    if len(numbers) == 1 and _are_within(signature, numbers[0].tolist()):
        return
    beyond = (numbers < signature.least) | (numbers > signature.most)
    if beyond.any():
        row, column = (int(each) for each in np.argwhere(beyond)[0])
        name = next(name for name, place in signature.columns.items() if place == (True, column))
        least, most = signature.least[column], signature.most[column]
        raise invalid("inputs", f"has a number out of bounds: row {row}, {name!r}, is not within {least:g} to {most:g}")


def _are_within(signature: Signature, numbers: list[float]) -> bool:
    return not any(map(gt, numbers, signature.most_list)) and not any(map(lt, numbers, signature.least_list))


def _are_texts(texts: list[str]) -> bool:
    return max(map(len, texts)) <= LONGEST and "\x00" not in "".join(texts)


def _check_categories(categories: Array) -> None:
    texts = categories.ravel().tolist()
    if len(max(texts, key=len)) > LONGEST:
        raise invalid("inputs", f"has a string of more than {LONGEST} characters")
    if "\x00" in "".join(texts):  # the runtime's strings end there
        raise invalid("inputs", "has a string with a NUL in it")

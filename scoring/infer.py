"""Infer: the Open Inference Protocol's inference request and response, over one session.

A request names a model's own inputs (`numbers`, `categories`), or its features one by one, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from scoring.binary import LENGTH_HEADER, Tail
from scoring.feed import AnyInput, Input, Numbers, RowsOfNumbers, RowsOfTexts, Texts, feed_of, row_of
from scoring.problem import Problem, invalid, malformed, where_wrong
from scoring.response import JSON, Response
from scoring.session import Session
from scoring.signature import Signature, signature_of
from scoring.tensors import DATATYPES, Array, datatype_of, to_bytes

_BINARY: Final = b"application/octet-stream"


# As in `scoring.feed`: null is as good as nothing.
class _OutputParameters(msgspec.Struct, gc=False):
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class _RequestParameters(msgspec.Struct, gc=False):
    binary_data_output: bool | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: _OutputParameters | None = None


class _Asked(msgspec.Struct, kw_only=True):
    outputs: list[_Output] | None = None
    parameters: _RequestParameters | None = None
    id: str | None = None


class _Request(_Asked):
    inputs: list[Input]


# Most requests are one of these two, and decoding a list in one step with the rest is faster.
class _FlatRequest(_Asked):
    inputs: list[Numbers | Texts]


class _RequestOfRows(_Asked):
    inputs: list[RowsOfNumbers | RowsOfTexts]


_AnyRequest = _Request | _FlatRequest | _RequestOfRows


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, int] | UnsetType = UNSET


class _Response(msgspec.Struct):
    model_name: str
    model_version: str
    parameters: dict[str, int]
    outputs: list[_Tensor]
    id: str | UnsetType = UNSET


_decode: Final = msgspec.json.Decoder(_Request).decode
_decode_flat: Final = msgspec.json.Decoder(_FlatRequest).decode
_decode_rows: Final = msgspec.json.Decoder(_RequestOfRows).decode
_encode: Final = msgspec.json.Encoder().encode


def infer(session: Session, body: bytes, json_bytes: int | None) -> Response:
    """Return what a session answers to an inference request.

    Args:
        session: one version of a model.
        body: of the request: JSON, then the bytes of those inputs that are not in it.
        json_bytes: how many bytes are JSON; None: all.

    Raises:
        Problem: the request cannot be answered; it names the field and what would do.
    """
    served = _served(session)
    signature = served.signature
    request = _read(body if json_bytes is None else body[:json_bytes])
    inputs: Sequence[AnyInput] = request.inputs
    if served.frame and type(request) is not _Request and request.outputs is None and request.parameters is None:
        row = row_of(signature, inputs) if json_bytes is None else None
        text = b"null" if row is None else _framed(served.frame, session.answer(row), request.id)
        if b"null" not in text:
            return Response(200, JSON, text)
    tail = Tail(body, len(body) if json_bytes is None else json_bytes)
    feed = feed_of(signature, inputs, tail)
    wanted = _wanted(signature, request)
    return _written(session, request, wanted, session.run(feed, list(wanted)))


class _Served(NamedTuple):
    """What is worked out once for a session.

    Attributes:
        frame: the response to one row in pieces, between which the outputs' data come; () where an output's shape
            depends on the row.
    """

    signature: Signature
    frame: tuple[bytes, ...]


_known: Final[WeakKeyDictionary[Session, _Served]] = WeakKeyDictionary()


def _served(session: Session) -> _Served:
    served = _known.get(session)
    if served is None:
        served = _known[session] = _Served(signature_of(session), _frame(session))
    return served


def _frame(session: Session) -> tuple[bytes, ...]:
    outputs = signature_of(session).outputs
    if any(each.datatype not in DATATYPES or each.shape[:1] != (-1,) or -1 in each.shape[1:] for each in outputs):
        return ()
    shapes = [(1, *each.shape[1:]) for each in outputs]
    tensors = [_Tensor(each.name, each.datatype, shape, ["data"]) for each, shape in zip(outputs, shapes, strict=True)]
    pieces = tuple(_response(session, tensors, UNSET).split(b'["data"]'))
    return pieces if len(pieces) == len(outputs) + 1 else ()  # unless somebody calls an output that


def _framed(frame: tuple[bytes, ...], answers: list[list[Any]], asked_id: str | None) -> bytes:
    pieces = [b""] * (2 * len(answers) + 1)
    pieces[::2] = frame
    pieces[1::2] = map(_encode, answers)
    if asked_id is not None:
        pieces[-1] = b'}],"id":%s}' % _encode(asked_id)
    pieces.append(b"\n")
    return b"".join(pieces)


def _read(text: bytes) -> _AnyRequest:
    try:
        return _decode_rows(text) if b"[[" in text else _decode_flat(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_any(text)


def _read_any(text: bytes) -> _Request:
    """Return a request of any datatypes, in bytes or flat or in rows; or say what is wrong with it."""
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        field, detail = where_wrong(error)
        raise malformed(detail, field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed(
            "the body is not a JSON inference request; with binary data, Inference-Header-Content-Length says where the"
            " JSON ends"
        ) from None


def _wanted(signature: Signature, request: _AnyRequest) -> dict[str, bool]:
    """The outputs that go back, in order, and whether as bytes."""
    parameters = request.parameters
    binary = parameters is not None and bool(parameters.binary_data_output)
    if not request.outputs:
        return {each.name: binary for each in signature.outputs}
    known = {each.name for each in signature.outputs}
    wanted: dict[str, bool] = {}
    for place, output in enumerate(request.outputs):
        field = f"outputs[{place}]"
        if output.name not in known:
            names = ", ".join(each.name for each in signature.outputs)
            raise invalid(f"{field}.name", f"is no output of this model; there are {names}")
        if output.name in wanted:
            raise invalid(f"{field}.name", "was there before; ask for each output once")
        own = output.parameters
        if own is not None and (own.classification or own.shared_memory_region):
            raise invalid(f"{field}.parameters", "asks for a classification or for shared memory; ask for the tensor")
        wanted[output.name] = binary if own is None or own.binary_data is None else own.binary_data
    return wanted


def _written(session: Session, request: _AnyRequest, wanted: dict[str, bool], answers: dict[str, Array]) -> Response:
    tail: list[bytes] = []
    tensors: list[_Tensor] = []
    for name, binary in wanted.items():
        array = answers[name]
        tensor = _Tensor(name, datatype_of(array), array.shape)
        if binary:
            tail.append(to_bytes(array))
            tensor.parameters = {"binary_data_size": len(tail[-1])}
        else:
            tensor.data = array.ravel().tolist()
        tensors.append(tensor)
    text = _response(session, tensors, UNSET if request.id is None else request.id)
    if b"null" in text:  # what the encoder makes of NaN; but a name or an id may have it in it too
        _refuse_no_answer(wanted, answers)
    if not tail:
        return Response(200, JSON, text + b"\n")
    return Response(200, _BINARY, b"".join((text, *tail)), ((LENGTH_HEADER, b"%d" % len(text)),))


def _response(session: Session, tensors: list[_Tensor], asked_id: str | UnsetType) -> bytes:
    learned = session.learned_through
    return _encode(
        _Response(
            model_name=session.model,
            model_version=str(session.version),
            parameters={"learned_through_offset": learned.offset, "learned_through_event_time_ms": learned.event_time},
            outputs=tensors,
            id=asked_id,
        )
    )


def _refuse_no_answer(wanted: dict[str, bool], answers: dict[str, Array]) -> None:
    for name, binary in wanted.items():
        array = answers[name]
        if binary or array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        detail = f"the model has no answer for row {row}: its {name!r} is NaN, for which JSON has no word"
        raise Problem(422, "no-answer", f"{detail}; ask for it with binary_data, or leave the row out", field="outputs")

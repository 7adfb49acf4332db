"""Infer: the Open Inference Protocol's inference request and response, over one session.

A request names a model's own inputs (`numbers`, `categories`), or its features one by one, or both.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from scoring.binary import LENGTH_HEADER, Tail
from scoring.feed import Input, feed_of
from scoring.problem import Problem, invalid, malformed
from scoring.response import JSON, Response
from scoring.session import Session
from scoring.signature import SCORE, Signature, signature_of
from scoring.tensors import Array, datatype_of, to_bytes

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


class _Request(msgspec.Struct):
    inputs: list[Input]
    outputs: list[_Output] | None = None
    parameters: _RequestParameters | None = None
    id: str | None = None


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
    signature = signature_of(session)
    request = _read(body if json_bytes is None else body[:json_bytes])
    tail = Tail(body, len(body) if json_bytes is None else json_bytes)
    feed = feed_of(signature, request.inputs, tail)
    wanted = _wanted(signature, request)
    return _written(session, request, wanted, _run(session, signature, wanted, feed))


def _read(text: bytes) -> _Request:
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").removeprefix(".")
        detail = f"is wrong: {problem[0].lower()}{problem[1:]}"
        if field:
            raise invalid(field, detail) from None
        raise malformed(f"the request {detail}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed(
            "the body is not a JSON inference request; with binary data, Inference-Header-Content-Length says where the"
            " JSON ends"
        ) from None


def _wanted(signature: Signature, request: _Request) -> dict[str, bool]:
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


def _run(session: Session, signature: Signature, wanted: dict[str, bool], feed: dict[str, Array]) -> dict[str, Array]:
    names = list(wanted)
    if not signature.has_score and SCORE in wanted:
        (source,) = session._output
        if source not in wanted:
            names.append(source)
        names.remove(SCORE)
        answers = dict(zip(names, session._run(names, feed), strict=True))
        answers[SCORE] = answers[source][session._place]
        return answers
    return dict(zip(names, session._run(names, feed), strict=True))


def _written(session: Session, request: _Request, wanted: dict[str, bool], answers: dict[str, Array]) -> Response:
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
    learned = session.learned_through
    text = _encode(
        _Response(
            model_name=session.model,
            model_version=str(session.version),
            parameters={"learned_through_offset": learned.offset, "learned_through_event_time_ms": learned.event_time},
            outputs=tensors,
            id=UNSET if request.id is None else request.id,
        )
    )
    if b"null" in text:  # what the encoder makes of NaN; but a name or an id may have it in it too
        _refuse_no_answer(wanted, answers)
    if not tail:
        return Response(200, JSON, text + b"\n")
    return Response(200, _BINARY, b"".join((text, *tail)), ((LENGTH_HEADER, b"%d" % len(text)),))


def _refuse_no_answer(wanted: dict[str, bool], answers: dict[str, Array]) -> None:
    for name, binary in wanted.items():
        array = answers[name]
        if binary or array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        detail = f"the model has no answer for row {row}: its {name!r} is NaN, for which JSON has no word"
        raise Problem(422, "no-answer", f"{detail}; ask for it with binary_data, or leave the row out", field="outputs")

"""Binary: where the JSON of a request ends and where the bytes of its tensors are (binary tensor data extension)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scoring.problem import invalid, malformed

LENGTH_HEADER: Final = b"inference-header-content-length"


def json_bytes(headers: Iterable[tuple[bytes, bytes]], body_bytes: int) -> int | None:
    """Return how many bytes of a body are JSON, None where no header says so: then all are.

    Raises:
        Problem: the header is no number, or larger than the body.

    >>> json_bytes([(b"inference-header-content-length", b"2")], 10)
    2
    """
    for name, value in headers:
        if name == LENGTH_HEADER:
            length = int(value) if value.isdigit() and len(value) < 10 else -1
            if not 0 <= length <= body_bytes:
                raise malformed(
                    "Inference-Header-Content-Length has to be the length of the JSON in front of the binary data"
                )
            return length
    return None


class Tail:
    """The bytes behind the JSON, taken tensor by tensor.

    Args:
        body: of the request.
        start: where the JSON ends.

    >>> tail = Tail(b"{}abc", 2)
    >>> tail.take(1, "inputs[0]"), tail.take(2, "inputs[1]")
    (b'a', b'bc')
    """

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, size_bytes: int, field: str) -> bytes:
        """Return the next tensor's bytes.

        Raises:
            Problem: there are not so many.
        """
        end = self._at + size_bytes
        if size_bytes < 0 or end > len(self._body):
            left = len(self._body) - self._at
            raise invalid(
                f"{field}.parameters.binary_data_size",
                f"is {size_bytes}, but {left} bytes are left of the body; Inference-Header-Content-Length says where"
                " they begin",
            )
        data = self._body[self._at : end]
        self._at = end
        return data

    def end(self) -> None:
        """Refuse bytes that belong to no tensor.

        Raises:
            Problem: there are some.
        """
        left = len(self._body) - self._at
        if left:
            raise malformed(f"{left} bytes at the end of the body belong to no input")

"""Garbage: seeded bytes that no honest client sends, thrown at a port, and what came back.

`make test` throws two thousand; `throw(port, range(100_000))` is the same for an hour.
"""

from __future__ import annotations

import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterable

GOOD = b'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{"_id": "1"}'
_TENSORS = b'{"inputs":[{"name":"numbers","shape":[1,3],"datatype":"FP64","data":[1,2,3]}]}'
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(_TENSORS), _TENSORS)
CHUNKED = (
    b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b'5;a=b\r\n{"_id\r\n2\r\n":\r\n0\r\nx: y\r\n\r\n'
)
_METHODS = [b"CONNECT", b"PRI", b"OPTIONS", b"BREW", b"GET", b"HEAD", b"post", b"TRACE", b"", b"M-SEARCH", b"PUT"]
_TARGETS = [
    b"*",
    b"/",
    b"http://x/v1/events",
    b"//",
    b"/v2/models/" + b"m" * 300,
    b"/%00",
    b"/%ff%fe",
    b"x:1",
    b"/\xff",
]
_HEADERS = [
    b"content-length: -1",
    b"content-length: 99999999999999999999",
    b"content-length: 2\r\ncontent-length: 3",
    b"content-length: 2\r\ntransfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked, identity",
    b"connection: upgrade\r\nupgrade: websocket",
    b"connection: upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
    b"expect: 100-continue",
    b"expect: something",
    b"inference-header-content-length: -5",
    b"inference-header-content-length: 999999999999999999999",
    b"content-encoding: gzip",
    b"host: \x00",
    b": nothing",
    b"a b: c",
    b" folded: x",
    b"x: " + b"y" * 20_000,
    b"accept: \xff\xfe",
    b"authorization: Bearer \x80",
]
_JSON = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"\\",
    b"null",
    b"true",
    b"1e999",
    b"-",
    b"\xff",
    b'"inputs"',
    b'"shape"',
]
# What an answer may never hold: names from the inside, addresses, paths of this machine.
LEAKS = re.compile(rb"Traceback|Error\b|Exception|0x[0-9a-f]{6}|/home/|/tmp/|site-packages|\.py\b|msgspec|onnx|<class")


def garbage(seed: int) -> bytes:
    """Return what a seed stands for."""
    chance = random.Random(seed)
    kind = seed % 6
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 400)) + chance.choice([b"", b"\r\n\r\n"])
    if kind == 1:  # a good request with a few bytes changed, lost or doubled
        whole = bytearray(chance.choice([GOOD, INFER, CHUNKED]) * chance.randrange(1, 4))
        for _ in range(chance.randrange(1, 5)):
            place = chance.randrange(len(whole))
            whole[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        return bytes(whole)
    if kind == 2:
        line = b"%b %b HTTP/%b" % (
            chance.choice(_METHODS),
            chance.choice(_TARGETS),
            chance.choice([b"1.1", b"1.0", b"2.0", b"0.9", b"9", b""]),
        )
        return line + b"\r\nhost: x\r\n" + chance.choice(_HEADERS) + b"\r\n\r\n{}"
    if kind == 3:
        headers = b"\r\n".join(chance.choices(_HEADERS, k=chance.randrange(1, 4)))
        return b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n\r\n" + chance.randbytes(20)
    if kind == 4:
        body = b"".join(chance.choices(_JSON, k=chance.randrange(1, 60)))
        path = chance.choice([b"/v1/events", b"/v2/models/m/infer", b"/v2/models/m/versions/3/infer"])
        return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)
    whole = chance.choice([GOOD, INFER, CHUNKED])
    return whole[: chance.randrange(1, len(whole))]  # half of a good one, and then nothing


def throw(port: int, seeds: Iterable[int], patience_s: float = 5.0) -> tuple[Counter[int], list[str]]:
    """Throw the garbage of each seed at a port, on a connection of its own.

    Returns:
        How often each status came, 0 where none did; and what must not be: a hang, or a leak in a body.
    """
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    for seed in seeds:
        received = b""
        with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as raw:
            try:
                raw.sendall(garbage(seed))
                if seed % 12 < 9:
                    raw.shutdown(socket.SHUT_WR)
                else:  # or away with a reset, in the middle of whatever it was
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                while part := raw.recv(65536):
                    received += part
            except TimeoutError:
                wrong.append(f"seed {seed}: no end within {patience_s:g} s")
            except OSError:
                pass
        found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
        statuses.update(found or [0])
        if leak := LEAKS.search(received):
            wrong.append(f"seed {seed}: {leak[0]!r} in {received[-300:]!r}")
    return statuses, wrong

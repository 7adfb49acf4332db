"""What an edge writes is what a scorer reads, and nothing else is taken for it."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EventInvalid
from schemas.features import Count, SecondsSince, category, hour, number, weekday
from schemas.reader import Reader
from schemas.records import LearnedThrough
from schemas.score_header import ScoreHeader
from tests.schemas.events import NOW_MS, PURCHASE, VIEW, as_bytes, event, spec_of

READER = Reader(
    spec_of(
        number("search.position"), number("commerce.order.priceTotal"), category("eventType"), hour(), weekday(),
        Count(VIEW, 1000, "views"), SecondsSince(PURCHASE, "since"),
    )
)  # fmt: skip
HEADER = ScoreHeader(READER)
EVENT = READER.read(as_bytes(event(search={"position": 3})), NOW_MS)
X = READER.x(EVENT, None)


def value(**changes: object) -> bytes:
    said = HEADER.value("e", 7, 0.25, LearnedThrough(offset=5, event_time=6), NOW_MS, None, X)
    fields = dict(zip(FIELDS, msgspec.msgpack.decode(said), strict=True))
    return msgspec.msgpack.encode(list((fields | changes).values()))


FIELDS = (
    "format", "spec", "id", "version", "score", "learned_through", "learned_time_ms", "scored_at_ms", "as_of_ms",
    "numbers", "categories",
)  # fmt: skip


@given(
    score=st.floats(allow_nan=False, allow_infinity=False),
    version=st.integers(0, 2**63 - 1),
    offset=st.integers(-1, 2**63 - 1),
    as_of_ms=st.none() | st.integers(0, 2**62),
    views=st.integers(0, 1000),
    since_s=st.floats(0, 1e9) | st.just(math.nan),
)
def test_what_an_edge_writes_is_read_bit_for_bit(
    score: float, version: int, offset: int, as_of_ms: int | None, views: int, since_s: float
) -> None:
    """Every double as it was, a missing number as the NaN that it is."""
    (position, price, hours, day, *_), categories = X
    x = ((position, price, hours, day, float(views), since_s), categories)
    written = HEADER.value("e", version, score, LearnedThrough(offset=offset, event_time=1), NOW_MS, as_of_ms, x)
    said = HEADER.read(written, EVENT, X)

    assert struct.pack("7d", said.score, *said.numbers) == struct.pack("7d", score, *x[0])
    assert (said.version, said.as_of_ms) == (version, as_of_ms)
    assert said.learned.offset == offset
    assert said.categories == categories


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"spec": b"another!"}, "another definition"),
        ({"id": "m/f"}, "another event"),
        ({"id": "other/e"}, "another event"),
        ({"score": math.nan}, "no finite score"),
        ({"score": math.inf}, "no finite score"),
        ({"score": "0.5"}, "not readable"),
        ({"version": -1}, "out of bounds"),
        ({"version": 2**63}, "out of bounds"),
        ({"learned_through": -2}, "out of bounds"),
        ({"scored_at_ms": -1}, "out of bounds"),
        ({"numbers": X[0][:-1]}, "not of this event"),
        ({"numbers": (*X[0], 1.0)}, "not of this event"),
        ({"numbers": (4.0, *X[0][1:])}, "not of this event"),
        ({"numbers": (X[0][0], 1.0, *X[0][2:])}, "not of this event"),  # here it is missing
        ({"numbers": (*X[0][:4], -1.0, math.nan)}, "-1.0 for views"),
        ({"numbers": (*X[0][:4], math.nan, math.nan)}, "nan for views"),
        ({"numbers": (*X[0][:4], 1001.0, math.nan)}, "1001.0 for views"),
        ({"numbers": (*X[0][:5], -0.1)}, "-0.1 for since"),
        ({"numbers": (*X[0][:5], math.inf)}, "inf for since"),
        ({"categories": ("another",)}, "not of this event"),
        ({"categories": ()}, "not of this event"),
    ],
)
def test_what_no_model_of_this_spec_could_have_said_is_not_taken(changes: dict[str, object], words: str) -> None:
    """It is named in a sentence."""
    with pytest.raises(EventInvalid, match=words):
        HEADER.read(value(**changes), EVENT, X)


@pytest.mark.parametrize("broken", [b"", b"\xc1", b"\x90", b"null", b"\x9b" + b"\x91" * 5000, value()[:-3]])
def test_garbage_is_not_taken(broken: bytes) -> None:
    """Whatever anybody writes there."""
    with pytest.raises(EventInvalid, match="not readable"):
        HEADER.read(broken, EVENT, X)


def test_the_models_own_header_is_found() -> None:
    """The first of its name; of other models and of other people's there may be any."""
    headers = [("traceparent", b"1"), ("freshet.score.mm", b"2"), ("freshet.score.m", None), ("freshet.score.m", b"3")]

    assert HEADER.find(headers) == b""
    assert HEADER.find(headers[:2]) is None

"""A tick carries a time, or it is poison."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import EventInvalid
from schemas.tick import TICK_HEADER, read_tick, tick_headers, tick_value


@given(time_ms=st.integers(-(2**62), 2**62))
def test_a_tick_is_read_as_it_was_written(time_ms: int) -> None:
    """To the millisecond."""
    assert time_ms == read_tick(tick_value(time_ms))


def test_a_tick_is_known_by_its_header() -> None:
    """Whatever its value is."""
    assert [TICK_HEADER] == [name for name, _ in tick_headers()]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{}", b"[]", b"1", b'{"tick": "1"}', b'{"tick": 1.5}', b'{"tick": true}', b'{"tick": null}', b"\xff"],
)
def test_what_carries_no_time_is_poison(value: bytes | None) -> None:
    """The sentence begins with the word for what it should have been."""
    with pytest.raises(EventInvalid) as error:
        read_tick(value)

    assert error.value.reason.startswith("tick is not readable: ")


@settings(max_examples=100, deadline=None)
@given(value=st.binary(max_size=40))
def test_random_bytes_with_a_ticks_header_are_poison(value: bytes) -> None:
    """Anybody can write such a header; nothing but poison may come of it."""
    for each in (value, b'{"tick":' + value + b"}", b'{"x":' + b"[" * 10_000, b'{"tick":' + b"9" * 5000 + b"}"):
        try:
            read_tick(each)
        except EventInvalid as poison:
            said = poison.reason
        else:
            said = "a tick, by chance"

        assert len(said) < 300

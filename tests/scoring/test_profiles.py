"""An edge's copy of the profiles: bounded, a little behind, and honest about how far."""

from __future__ import annotations

import logging
import random
import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import header
from schemas.profile import Profile
from schemas.records import VisitorProfile, encode
from scoring.profiles import Profiles


def record(seen: int = 7) -> bytes:
    return encode(VisitorProfile(model="m", visitor="v", seen=seen, times=[[5, 7]], last=[[3]]))


def test_a_profile_comes_back_as_the_scorer_wrote_it() -> None:
    """The same times, in the same places; Kafka's timestamp of its record beside it."""
    profiles = Profiles()

    profiles.put("m", "v", record(), as_of_ms=9)

    assert profiles.get("m", "v") == (Profile(7, [[5, 7]], [[3]]), 9)


def test_the_newest_record_of_a_visitor_counts() -> None:
    """Profiles are whole: a later one replaces the earlier."""
    profiles = Profiles()
    for seen in (7, 8):
        profiles.put("m", "v", record(seen), as_of_ms=seen)

    remembered = profiles.get("m", "v")

    assert remembered is not None
    assert (remembered.profile.seen_ms, remembered.as_of_ms, profiles.visitors("m")) == (8, 8, 1)


def test_models_have_visitors_of_their_own() -> None:
    """Their profiles are not mixed up, and each knows how many it has and how far it has come."""
    profiles = Profiles()
    profiles.put("quiet", "v", record(1), as_of_ms=1)
    for number in range(10):
        profiles.put("busy", f"v{number % 2}", record(2), as_of_ms=2)

    assert [profiles.get(model, "v") is None for model in ("quiet", "busy")] == [False, True]
    assert [profiles.visitors(model) for model in ("quiet", "busy", "unheard of")] == [1, 2, 0]
    assert [profiles.as_of_ms(model) for model in ("quiet", "busy", "unheard of")] == [1, 2, None]


def test_a_tombstone_makes_a_visitor_new() -> None:
    """Whether or not they were known."""
    profiles = Profiles()
    profiles.put("m", "v", record(), as_of_ms=9)

    profiles.forget("m", "v")
    profiles.forget("m", "v")
    profiles.forget("unheard of", "v")

    assert profiles.get("m", "v") is None


@pytest.mark.parametrize("value", [b"", b"{}", b"\xc3\x01" + b"\x00" * 20, header("visitor_profile") + b"\xff" * 9])
def test_a_damaged_record_is_told_once_and_makes_the_visitor_new(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No caller fails on it; the log names the model and not the visitor."""
    profiles = Profiles()
    profiles.put("m", "visitor-17", value, as_of_ms=9)

    with caplog.at_level(logging.WARNING):
        found = [profiles.get("m", "visitor-17") for _ in range(2)]

    assert found == [None, None]
    assert caplog.text.count("profile_unreadable model=m") == 1
    assert "visitor-17" not in caplog.text


@given(
    most_bytes=st.integers(0, 4000),
    uses=st.lists(
        st.tuples(st.sampled_from(["put", "get", "forget"]), st.sampled_from("abcdefgh"), st.integers(0, 40)),
        max_size=60,
    ),
)
def test_the_least_recently_used_visitors_go_first_when_the_bytes_are_full(
    most_bytes: int, uses: list[tuple[str, str, int]]
) -> None:
    """Whatever the order of updates and questions: within the bytes, and those who are there are the last used."""
    profiles = Profiles(most_bytes)
    by_use: OrderedDict[str, None] = OrderedDict()

    for use, visitor, times in uses:
        if use == "put":
            value = encode(VisitorProfile(model="m", visitor=visitor, seen=7, times=[[5] * times], last=[]))
            profiles.put("m", visitor, value, as_of_ms=1)
            by_use[visitor] = None
            by_use.move_to_end(visitor)
        elif use == "forget":
            profiles.forget("m", visitor)
            by_use.pop(visitor, None)
        elif profiles.get("m", visitor) is not None:
            by_use.move_to_end(visitor)

        assert profiles.used_bytes <= most_bytes or profiles.visitors("m") == 0
    kept = profiles.visitors("m")
    last_used = list(by_use)[-kept:] if kept else []
    assert [visitor for visitor in by_use if profiles.get("m", visitor) is not None] == last_used


def test_the_bytes_are_those_that_python_takes() -> None:
    """Within 15 %: while they fill up, and when most have been replaced."""
    chance = random.Random(1)
    values = [record_of(chance.randint(0, 20)) for _ in range(50)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    profiles = Profiles(most_bytes=2_000_000)

    ratios = []
    for number in range(20_000):
        visitor, value = f"{chance.getrandbits(128):032x}", bytes(bytearray(values[number % 50]))
        profiles.put("purchase-propensity", visitor, value, 1_767_225_600_000 + number)
        if number in {500, 2000, 19_999}:
            ratios.append((tracemalloc.get_traced_memory()[0] - before) / profiles.used_bytes)
    tracemalloc.stop()

    assert 1_800_000 < profiles.used_bytes <= 2_000_000
    assert [ratio for ratio in ratios if not 0.85 < ratio < 1.15] == []


def record_of(times: int) -> bytes:
    return encode(VisitorProfile(model="m", visitor="v", seen=7, times=[[1_767_225_600_000] * times], last=[]))

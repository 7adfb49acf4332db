"""An edge's copy of the profiles: bounded, a little behind, and honest about how far."""

from __future__ import annotations

import logging
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
    """One model's crowd does not push out another's visitor, and their profiles are not mixed up."""
    profiles = Profiles(most=2)
    profiles.put("quiet", "v", record(1), as_of_ms=1)
    for number in range(10):
        profiles.put("busy", f"v{number}", record(2), as_of_ms=2)

    assert profiles.get("quiet", "v") is not None
    assert profiles.get("busy", "v") is None
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
    most=st.integers(1, 4),
    uses=st.lists(st.tuples(st.sampled_from(["put", "get", "forget"]), st.sampled_from("abcdef")), max_size=60),
)
def test_the_least_recently_used_visitor_goes_first(most: int, uses: list[tuple[str, str]]) -> None:
    """Whatever the order of updates and questions, it holds what a plain list by last use would hold."""
    profiles = Profiles(most=most)
    expected: OrderedDict[str, None] = OrderedDict()

    for use, visitor in uses:
        if use == "put":
            profiles.put("m", visitor, record(), as_of_ms=1)
            expected.pop(visitor, None)
            expected[visitor] = None
            if len(expected) > most:
                expected.popitem(last=False)
        elif use == "forget":
            profiles.forget("m", visitor)
            expected.pop(visitor, None)
        elif profiles.get("m", visitor) is not None:
            expected.move_to_end(visitor)

    assert {each for each in "abcdef" if profiles.get("m", each) is not None} == set(expected)

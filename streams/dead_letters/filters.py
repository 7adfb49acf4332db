"""Filters: which letters are meant, as people write it on the command line."""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable
from typing import Final

from schemas.duration import milliseconds
from schemas.errors import ModelFileError
from streams.dead_letters.letters import Letter

Filter = Callable[[Letter], bool]

_EXPRESSION: Final = re.compile(r"\s*([a-z-]+)\s*(!=|!~|<=|>=|=|~|<|>)\s*(.*?)\s*", re.DOTALL)
_TEXTS: Final[dict[str, Callable[[Letter], tuple[str, ...]]]] = {
    # What a text may equal, the one that `~` looks into first.
    "letter": lambda letter: (letter.place,),
    "topic": lambda letter: (letter.topic,),
    "origin": lambda letter: (letter.origin,),
    "key": lambda letter: ((letter.key or b"").decode(errors="replace"),),
    "stage": lambda letter: (letter.stage,),
    "error": lambda letter: (
        f"{letter.error}: {letter.message}", letter.error, letter.error.rpartition(".")[2], letter.message
    ),
    "status": lambda letter: (letter.status.value,),
}  # fmt: skip
_NUMBERS: Final[dict[str, Callable[[Letter], int]]] = {
    "partition": lambda letter: letter.origin_partition,
    "offset": lambda letter: letter.origin_offset,
    "attempt": lambda letter: letter.attempt,
}
_TIMES: Final = ("since", "until")
_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
FIELDS: Final = (*_TEXTS, *_NUMBERS, *_TIMES)


def parse_filter(text: str, *, now_ms: int, prefix: str = "") -> Filter:
    """Return the filter that an expression such as `stage=decode`, `error~time zone` or `since=2h` means.

    Args:
        text: field, operator, what to compare with.
        now_ms: what a duration counts back from.
        prefix: of topic names, which may be left out.

    Raises:
        ValueError: not an expression; says what would be one.

    >>> parse_filter("stage=", now_ms=0)
    Traceback (most recent call last):
    ValueError: stage= compares with nothing
    >>> parse_filter("stages=decode", now_ms=0)
    Traceback (most recent call last):
    ValueError: there is no field stages; there are letter, topic, ..., until
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no filter; write for example stage=decode, error~time zone, attempt>1, since=2h")
    field, sign, wanted = match[1], match[2], match[3]
    if field not in FIELDS:
        raise ValueError(f"there is no field {field}; there are {', '.join(FIELDS)}")
    if not wanted:
        raise ValueError(f"{text.strip()} compares with nothing")
    if field in _NUMBERS:
        return _number_filter(field, sign, wanted)
    if field in _TIMES:
        return _time_filter(field, sign, wanted, now_ms)
    return _text_filter(field, sign, wanted, prefix if field in {"topic", "origin"} else "")


def _text_filter(field: str, sign: str, wanted: str, prefix: str) -> Filter:
    texts_of = _TEXTS[field]
    if sign in {"=", "!="}:
        any_of = {wanted, prefix + wanted}
        return lambda letter: any_of.isdisjoint(texts_of(letter)) == (sign == "!=")
    if sign in {"~", "!~"}:
        part = wanted.casefold()
        return lambda letter: (part in texts_of(letter)[0].casefold()) == (sign == "~")
    raise ValueError(f"{field} is a text: compare it with =, !=, ~ (contains) or !~")


def _number_filter(field: str, sign: str, wanted: str) -> Filter:
    if sign not in _COMPARE or not re.fullmatch(r"-?[0-9]+", wanted):
        raise ValueError(f"{field} is a number: compare it with =, !=, <, <=, > or >= and a whole number")
    number_of, compare, number = _NUMBERS[field], _COMPARE[sign], int(wanted)
    return lambda letter: compare(number_of(letter), number)


def _time_filter(field: str, sign: str, wanted: str, now_ms: int) -> Filter:
    if sign != "=":
        raise ValueError(f"{field} is a time: write {field}=2026-01-31, {field}=2026-01-31T12:00Z or {field}=2h (ago)")
    limit_ms = _time_ms(field, wanted, now_ms)
    if field == "since":
        return lambda letter: letter.put_aside_ms >= limit_ms
    return lambda letter: letter.put_aside_ms < limit_ms


def _time_ms(field: str, wanted: str, now_ms: int) -> int:
    try:
        return now_ms - milliseconds(wanted)
    except ModelFileError:
        pass  # not a duration: a date then
    try:
        moment = dt.datetime.fromisoformat(wanted)
    except ValueError:
        raise ValueError(
            f"{wanted} is no time: write {field}=2026-01-31, {field}=2026-01-31T12:00Z or {field}=2h (ago)"
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return int(aware.timestamp() * 1000)

"""Durations as people write them in a model file."""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import ModelFileError

_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(text: str) -> int:
    """Return a duration such as "500ms", "2s", "30m", "36h" or "30d" in milliseconds.

    Raises:
        ModelFileError: not a positive whole number with one of these units.

    >>> milliseconds("30m")
    1800000
    >>> milliseconds("soon")
    Traceback (most recent call last):
    schemas.errors.ModelFileError: 'soon' is no duration; write a whole number and ms, s, m, h or d, such as "30m"
    """
    match = re.fullmatch(r"([1-9]\d{0,8})(ms|s|m|h|d)", text) if isinstance(text, str) else None
    if match is None:
        raise ModelFileError(f'{text!r} is no duration; write a whole number and ms, s, m, h or d, such as "30m"')
    return int(match[1]) * _MS[match[2]]

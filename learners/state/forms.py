"""Forms: what writer and reader agree on about values."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Written: TypeAlias = Any
"""What MessagePack knows: scalars, lists and bytes."""


class NoForm(Exception):
    """The format has no form for a value; says why and never leaves this package.

    The writer adds where the value was found (`NotStorable`), the reader that the bytes are forged (`StateUnreadable`).
    """


def full_name(cls: type) -> str:
    """Return module and qualified name.

    >>> from river import linear_model
    >>> full_name(linear_model.LogisticRegression)
    'river.linear_model.log_reg.LogisticRegression'
    """
    return f"{cls.__module__}.{cls.__qualname__}"


def plain(key: Any) -> Any:
    """Return the key itself when it is data, whose hash and equality survive reading.

    Raises:
        NoForm: anything else, which would run its own `__hash__` and `__eq__`.

    >>> plain(("country", 7))
    ('country', 7)
    """
    if not _is_plain(key):
        raise NoForm(f"it has a {full_name(type(key))} as a key, and a key has to be plain data")
    return key


def _is_plain(key: Any) -> bool:
    if isinstance(key, tuple | frozenset):
        return all(map(_is_plain, key))
    return key is None or isinstance(key, bool | int | float | str | bytes | np.generic)

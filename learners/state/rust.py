"""River's Rust statistics as their parts: they give and take their numbers as flat bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from river._river_rust import drift, stats

from learners.state.forms import NoForm

CLASSES: Final[Mapping[str, type]] = {
    cls.__name__: cls for cls in (*vars(stats).values(), *vars(drift).values()) if isinstance(cls, type)
}


def parts_of_statistic(statistic: Any) -> tuple[str, tuple[Any, ...], bytes]:
    """Return what `statistic_of` takes: class, arguments of its constructor and numbers.

    >>> mean = stats.RsEWMean(0.5)
    >>> mean.update(4.0)
    >>> statistic_of(*parts_of_statistic(mean)).get()
    4.0
    """
    arguments = statistic.__getnewargs__() if hasattr(statistic, "__getnewargs__") else ()
    return type(statistic).__name__, arguments, statistic.__getstate__()


def statistic_of(name: str, arguments: tuple[Any, ...], numbers: bytes) -> Any:
    """Return the statistic that `parts_of_statistic` was given.

    Raises:
        NoForm: River has no such class, or its numbers are not these.
    """
    if name not in CLASSES:
        raise NoForm(f"River has no {name} in Rust")
    made: Any = CLASSES[name](*arguments)
    try:
        made.__setstate__(numbers)
    except BaseException as error:
        # Rust panics at bytes it cannot read, and pyo3 derives its panics from BaseException.
        if type(error).__name__ != "PanicException":
            raise
        raise NoForm(f"River's {name} cannot read its numbers: {error}") from error
    return made

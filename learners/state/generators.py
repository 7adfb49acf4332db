"""Random generators as their parts: each goes on with the number that would have come next."""

from __future__ import annotations

import random
import struct
from typing import Any, Final

import numpy as np

from learners.state.forms import NoForm, Written


class Unseeded:
    """The type of `UNSEEDED`."""


UNSEEDED: Final = Unseeded()
"""Stands for a generator whose state is chance anyway."""


def unseeded() -> random.Random:
    """Return what takes the place of `UNSEEDED`: a generator that chance seeds once more."""
    return random.Random()  # noqa: S311 - as River makes it


def parts_of_random(generator: random.Random) -> list[Written]:
    """Return what `random_of` takes.

    >>> generator = random.Random(7)
    >>> copied = random_of(*parts_of_random(generator))
    >>> copied.random() == generator.random()
    True
    """
    version, words, gauss = generator.getstate()
    return [version, struct.pack(f"<{len(words)}I", *words), gauss]


def random_of(version: int, words: bytes, gauss: float | None) -> random.Random:
    """Return a generator with the state that `parts_of_random` found."""
    generator = random.Random(0)  # noqa: S311 - River's own choice, and its state is set next
    generator.setstate((version, struct.unpack(f"<{len(words) // 4}I", words), gauss))
    return generator


def parts_of_numpy_random(generator: np.random.RandomState) -> list[Written]:
    """Return what `numpy_random_of` takes.

    Raises:
        NoForm: it runs on something else than a Mersenne twister.

    >>> generator = np.random.RandomState(7)
    >>> copied = numpy_random_of(*parts_of_numpy_random(generator))
    >>> copied.normal() == generator.normal()
    True
    """
    state: Any = generator.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise NoForm(f"it runs on {state['bit_generator']}")
    twister = state["state"]
    return [twister["key"].astype("<u4").tobytes(), int(twister["pos"]), int(state["has_gauss"]), float(state["gauss"])]


def numpy_random_of(words: bytes, position: int, has_gauss: int, gauss: float) -> np.random.RandomState:
    """Return a generator with the state that `parts_of_numpy_random` found."""
    generator = np.random.RandomState(0)
    twister = {"key": np.frombuffer(words, "<u4").astype(np.uint32), "pos": position}
    generator.set_state({"bit_generator": "MT19937", "state": twister, "has_gauss": has_gauss, "gauss": gauss})
    return generator

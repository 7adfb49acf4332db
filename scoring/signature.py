"""Signature: which tensors a session takes and gives, by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from schemas.features import Number
from scoring.session import SCORE, Session, Tensor

NUMBERS: Final = "numbers"
CATEGORIES: Final = "categories"

_FINITE: Final = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request may name.

    Attributes:
        numbers, categories: how many columns the two inputs have.
        columns: feature -> whether it is a number, and its column.
        least, most: the bounds of each number, in two forms; beyond them an event would be refused as well.
        required: the inputs of a request that names no feature.
        outputs: of the artifact, and `score`.
        has_score: whether the artifact itself has an output of that name.
    """

    numbers: int
    categories: int
    columns: dict[str, tuple[bool, int]]
    least: npt.NDArray[np.float64]
    most: npt.NDArray[np.float64]
    least_list: list[float]
    most_list: list[float]
    required: frozenset[str]
    outputs: tuple[Tensor, ...]
    has_score: bool

    def nearest(self, name: str) -> str:
        """Return the input whose name is most like `name`, else the first."""
        known = [*sorted(self.required, reverse=True), *self.columns]
        return (difflib.get_close_matches(name[:100], known, 1, 0.5) or known)[0]


_known: Final[WeakKeyDictionary[Session, Signature]] = WeakKeyDictionary()


def signature_of(session: Session) -> Signature:
    """Return the signature of a session, worked out once."""
    found = _known.get(session)
    if found is None:
        found = _known[session] = _signature(session)
    return found


def _signature(session: Session) -> Signature:
    spec = session.spec
    by_name = {each.name: (each.least, each.most) for each in spec.features if isinstance(each, Number)}
    bounds = np.array([by_name.get(name, (-_FINITE, _FINITE)) for name in spec.numbers]).reshape(-1, 2)
    columns = {name: (True, place) for place, name in enumerate(spec.numbers)}
    columns |= {name: (False, place) for place, name in enumerate(spec.categories)}
    has_score = any(each.name == SCORE for each in session.outputs)
    score = () if has_score else (Tensor(SCORE, "FP64", (-1,)),)
    return Signature(
        numbers=len(spec.numbers),
        categories=len(spec.categories),
        columns=columns,
        least=bounds[:, 0],
        most=bounds[:, 1],
        least_list=bounds[:, 0].tolist(),
        most_list=bounds[:, 1].tolist(),
        required=frozenset(each.name for each in session.inputs),
        outputs=(*session.outputs, *score),
        has_score=has_score,
    )

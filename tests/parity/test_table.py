"""The whole table of exact estimators, on a few rows; `make parity` takes many rows, and recorded data."""

from __future__ import annotations

import copy

import pytest

from learners.onnx_export.catalogue import estimators
from learners.onnx_export.convert import predict, transform
from tests.learners.export_laws import mixed
from tests.parity.comparison import Compared
from tests.parity.models import classes_in, configurations
from tests.parity.pairs import QUICK, compare_pair, few
from tests.parity.report import lines, verdict

PLACES = range(len(configurations()))


@pytest.mark.parametrize("place", PLACES, ids=[each.name for each in configurations()])
def test_configuration_is_exact(place: int) -> None:
    """Untrained and at the end, on a made stream and on data of River's own."""
    for pair in few(place):
        compared = compare_pair(pair, QUICK)

        assert compared.is_exact, verdict([compared])
        assert compared.rows > 25


def test_table_has_every_exact_estimator() -> None:
    """A class that gets a converter gets a line in the table."""
    exact = {cls for cls in estimators() if cls in predict.registry or cls in transform.registry}
    stream = {target: mixed(target, n=10) for target in ("binary", "multiclass", "regression", "none")}

    met = set().union(*(classes_in(each.make(stream[each.target])) for each in configurations()))

    assert set() == exact - met
    assert len(PLACES) >= 100


def test_names_are_told_apart() -> None:
    """A line of the table says which configuration it is."""
    assert len(PLACES) == len({each.name for each in configurations()})


def test_a_fault_fails_the_run_and_is_named() -> None:
    """A difference, a flip or a refusal each make a pair inexact, with what to look at."""
    good = Compared("scaler", "steps", "made (binary)", rows=9, max_abs_diff=1e-12, worst={"price": 1.0})
    apart, flipped, refused = (copy.copy(good) for _ in range(3))
    apart.max_abs_diff, flipped.flips, refused.refused = 2e-9, 1, "parity: it differs"

    broken = copy.copy(good)
    broken.refused, broken.is_broken = "export: a number is not finite", True

    assert [True, False, False, False, False] == [each.is_exact for each in (good, apart, flipped, refused, broken)]
    assert [False, True, True, True, False] == [each.is_fault for each in (good, apart, flipped, refused, broken)]
    assert "scaler on made (binary): differs by 2.00e-09, 0 flips, worst price=1" in verdict([good, apart])
    assert verdict([good]).endswith("exact")
    assert any("refused: parity: it differs" in line for line in lines([refused]))

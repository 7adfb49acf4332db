"""The page about River's estimators holds all of them, and says what the code does."""

from __future__ import annotations

from pathlib import Path

from river import anomaly, compose, linear_model

from learners.onnx_export.catalogue import PAGE, catalogue, estimators, page, unknown
from learners.onnx_export.convert import predict, transform
from learners.onnx_export.refused import REFUSED

ROOT = Path(__file__).parents[3]


def test_every_estimator_has_a_verdict() -> None:
    """A class that River adds is converted, or refused with a reason, before it passes here."""
    assert [] == unknown()


def test_no_estimator_has_two_verdicts() -> None:
    """A class that got a converter leaves the table of refusals."""
    converted = {f"{cls.__module__}.{cls.__qualname__}" for cls in (*predict.registry, *transform.registry)}

    assert set() == converted & REFUSED.keys()


def test_refusals_name_classes_that_exist() -> None:
    """A class that River drops or moves leaves the table of refusals."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in estimators()}

    assert set() == REFUSED.keys() - names


def test_walk_finds_models_and_no_others() -> None:
    """Models by the path people import them by; no base classes, no parts that nobody asks."""
    names = set(estimators().values())

    assert {"river.compose.Pipeline", "river.anomaly.HalfSpaceTrees", "river.reco.BiasedMF"} <= names
    assert {"river.base.Classifier", "river.tree.splitter.EBSTSplitter"}.isdisjoint(names)
    assert len(names) > 140


def test_entries_say_what_the_registries_hold() -> None:
    """Exact by its converter, refused by its reason."""
    entries = {entry.name: entry for entry in catalogue()}

    assert entries[estimators()[linear_model.LogisticRegression]].refusal is None
    assert entries[estimators()[anomaly.GaussianScorer]].refusal == REFUSED["river.anomaly.gaussian.GaussianScorer"]
    assert "transformer" == entries[estimators()[compose.Select]].kind


def test_page_is_what_the_code_writes() -> None:
    """`python -m learners.onnx_export` was run after the last change."""
    assert page() == (ROOT / PAGE).read_text(encoding="utf-8")

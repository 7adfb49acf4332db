"""A session is the release it says it is, or there is none."""

from __future__ import annotations

import hashlib
from math import isnan, nan

import msgspec
import pytest

from schemas.errors import ReleaseRefused
from schemas.features import Spec, hour
from scoring.session import Session
from tests.scoring.artifacts import SPEC, answering_sum, constant, constant_p, release, unanswering, weighted

ROW = ((1.0, 2.0, 3.0, 4.0), ("CH",))


def test_rows_are_answered_in_their_order() -> None:
    """One probability per row; a missing number and a missing category are as good as any."""
    session = Session(release(0, weighted([1.0, 0.0, 0.0, 0.0])))

    scores = session.score([((0.0, 1.0, 1.0, 1.0), ("",)), ((nan, nan, nan, nan), ("",)), ((1e6, 0, 0, 0), ("x",))])

    assert scores == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(("task", "output"), [("regression", "prediction"), ("anomaly", "score")])
def test_a_row_has_one_score_whatever_the_task(task: str, output: str) -> None:
    """An artifact that answers one number a row is read as such; a score may be beyond 0 and 1."""
    session = Session(release(0, answering_sum(task, output)))

    assert session.score([((1.0, 2.0, 3.0, 4.0), ("CH",)), ((-9.0, 0.0, 0.0, nan), ("",))]) == [10.0, -9.0]


def test_an_artifact_of_a_task_to_come_is_refused() -> None:
    """Not served by a guess at what its numbers mean."""
    with pytest.raises(ReleaseRefused, match="clustering"):
        Session(release(0, answering_sum("clustering", "score")))


def test_no_answer_is_nan() -> None:
    """An artifact without an answer for any row still loads."""
    assert isnan(Session(release(0, unanswering())).score([ROW])[0])


def test_releases_with_the_same_spec_share_one_reader() -> None:
    """Compiling a reader takes milliseconds; a swap every few seconds shall not."""
    assert Session(release(1)).reader is Session(release(2)).reader


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        pytest.param("digest", {"onnx": constant(1) + b"\x00"}, id="a byte more"),
        pytest.param("digest", {"onnx": constant(2)}, id="another version's bytes"),
        pytest.param("digest", {"sha256": ""}, id="no digest"),
        pytest.param("load", {"onnx": b"", "sha256": hashlib.sha256(b"").hexdigest()}, id="no bytes"),
        pytest.param("load", {"onnx": b"nonsense", "sha256": hashlib.sha256(b"nonsense").hexdigest()}, id="no ONNX"),
        pytest.param("load", {"spec": "{}"}, id="no spec"),
        pytest.param("load", {"spec": SPEC.to_json().replace('"number"', '"tomorrow"')}, id="a feature of the future"),
        pytest.param(
            "load",
            {
                "spec": Spec(
                    **{name: getattr(SPEC, name) for name in SPEC.__struct_fields__} | {"features": (hour(),)}
                ).to_json()
            },
            id="a spec of other inputs",
        ),
    ],
)
def test_what_is_not_as_released_or_does_not_run_is_refused(check: str, damage: dict[str, object]) -> None:
    """The digest first, before anything is parsed; then whatever keeps it from answering one row."""
    damaged = msgspec.structs.replace(release(1), **damage)

    with pytest.raises(ReleaseRefused) as refused:
        Session(damaged)

    assert refused.value.check == check
    assert "version 1" in refused.value.reason


def test_the_intact_release_of_these_tests_loads() -> None:
    """So that the refusals above are due to the damage."""
    assert Session(release(1)).score([ROW, ROW]) == [constant_p(1)] * 2

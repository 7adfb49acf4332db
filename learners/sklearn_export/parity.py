"""Whether an artifact answers what its scikit-learn model answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa

from learners.parity import UNSEEN, Parity, Row
from schemas.errors import ReleaseRefused


def check_sklearn_parity(model: Any, onnx_bytes: bytes, rows: Sequence[Row], *, tolerance: float = 1e-9) -> Parity:
    """Ask model and artifact the same rows, and refuse any disagreement.

    To the rows given it adds the first of them with each category unseen. Compared are `predict_proba` and the class
    that `predict` answers, or `predict`.

    Args:
        model: what `sklearn_to_onnx` was given.
        onnx_bytes: what it made of it, serialized.
        rows: at least one; each with a value for every column, NaN only where the model accepts it.
        tolerance: largest allowed difference: of a probability `tolerance`, of a value `tolerance * max(1, |value|)`.

    Raises:
        ReleaseRefused: check "parity": an answer differs by more, is NaN, or names another class.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from learners.sklearn_export import sklearn_to_onnx
    >>> model = LogisticRegression().fit([[1.0], [2.0], [3.0]], ["no", "no", "yes"])
    >>> artifact = sklearn_to_onnx(model, {"price": float}, name="buys", version=0).SerializeToString()
    >>> check_sklearn_parity(model, artifact, [{"price": 2.0}]).max_abs_diff < 1e-15
    True
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    numbers, categories = json.loads(properties["numbers"]), json.loads(properties["categories"])
    columns: list[str] = json.loads(properties["columns"])
    asked = [*rows, *({**rows[0], name: UNSEEN} for name in categories)] if rows else []
    odd = next((row for row in asked if row.keys() != {*columns}), None)
    if odd is not None or not asked:
        raise ReleaseRefused(
            "parity", f"a row needs the columns {columns} and no others, and there must be one: {odd!r}"
        )
    feed = {
        "numbers": np.array([[row[name] for name in numbers] for row in asked], np.float64),
        "categories": np.array([[row[name] for name in categories] for row in asked], object),
    }
    known = {value.name for value in session.get_inputs()}
    answers = session.run(None, {name: tensor for name, tensor in feed.items() if name in known})
    batch = _as_fitted(model, columns, {*categories}, asked)
    if properties["task"] == "regression":
        diffs = _differences(model.predict(batch).reshape(-1, 1), answers[0].reshape(-1, 1))
    else:
        expected = model.predict_proba(batch)
        diffs = _differences(expected, answers[1])
        classes = json.loads(properties["classes"])
        predicted = np.array([classes.index(label) for label in model.predict(batch)])
        for place in np.flatnonzero(predicted != answers[0]):
            tied = _tied(expected[place], predicted[place], answers[0][place], tolerance)
            if not (tied and diffs[place] > 0.0):
                reason = f"for {dict(asked[place])!r}, scikit-learn predicts {classes[predicted[place]]!r}"
                raise ReleaseRefused("parity", f"{reason}, the artifact answers the label {answers[0][place]}")
    worst = int(diffs.argmax())
    if not diffs[worst] <= tolerance:
        raise ReleaseRefused(
            "parity", f"for {dict(asked[worst])!r}, the artifact differs by {diffs[worst]:.3g}, more than {tolerance:g}"
        )
    return Parity(len(asked), float(diffs[worst]), asked[worst])


def _as_fitted(model: Any, columns: Sequence[str], texts: set[str], rows: Sequence[Row]) -> Any:
    """The rows as the model was fitted: a table if it asks for columns by name, else an array."""
    if hasattr(model, "feature_names_in_"):
        return pa.table({name: [row[name] for row in rows] for name in columns})
    return np.array([[row[name] for name in columns] for row in rows], object if texts else np.float64)


def _differences(expected: npt.NDArray[np.float64], answered: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest of each row; of values beyond 1 relative to them; infinite where only one is NaN."""
    diffs = np.abs(expected - answered) / np.maximum(1.0, np.abs(expected))
    diffs[np.isnan(expected) & np.isnan(answered)] = 0.0
    largest: npt.NDArray[np.float64] = np.nan_to_num(diffs, nan=np.inf).max(axis=1)
    return largest


def _tied(chances: npt.NDArray[np.float64], one: int, other: int, tolerance: float) -> bool:
    """Whether two classes are so near that rounding may choose either; with equal answers it has no choice."""
    return other >= 0 and bool(abs(chances[one] - chances[other]) <= tolerance)

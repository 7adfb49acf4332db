"""A scikit-learn model that was trained elsewhere becomes an artifact: typed columns, doubles, the usual outputs.

Here it comes as a pickle, as such models do; load only pickles that you trust. A forest behind an imputer and an
encoder, and the same rows asked once in scikit-learn and once in onnxruntime.

    python examples/sklearn_trained_elsewhere.py
"""

from __future__ import annotations

import json
import math
import pickle
import random
from typing import Any

import numpy as np
import onnxruntime as ort
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from learners.sklearn_export import check_sklearn_parity, sklearn_to_onnx

COLUMNS = {"price": float, "device": str, "pages": float}


def visits(n: int, *, seed: int) -> list[dict[str, Any]]:
    """Made-up visits; in a tenth of them the price is missing."""
    chance = random.Random(seed)
    return [
        {
            "price": math.nan if chance.random() < 0.1 else chance.lognormvariate(3, 1),
            "device": chance.choice(["desktop", "phone", "tablet"]),
            "pages": float(chance.randint(1, 20)),
        }
        for _ in range(n)
    ]


def trained_elsewhere() -> bytes:
    """Somebody else's notebook."""
    rows = visits(800, seed=1)
    ends = ["bought" if row["pages"] > 12 else "left" if row["device"] == "phone" else "asked" for row in rows]
    columns = ColumnTransformer(
        [("numbers", SimpleImputer(strategy="median"), [0, 2]), ("device", OneHotEncoder(sparse_output=False), [1])]
    )
    model = make_pipeline(columns, RandomForestClassifier(20, max_depth=6, random_state=3))
    return pickle.dumps(model.fit(np.array([[*row.values()] for row in rows], object), ends))


def main() -> None:
    """Load, convert, compare, and ask the artifact as an edge does."""
    model = pickle.loads(trained_elsewhere())  # noqa: S301  # our own, made a line ago
    # It raises for a device that it has not met, and a graph cannot; this takes effect without a new fit.
    model[0].named_transformers_["device"].set_params(handle_unknown="ignore")
    artifact = sklearn_to_onnx(model, COLUMNS, name="ends", version=1).SerializeToString()
    parity = check_sklearn_parity(model, artifact, visits(300, seed=2))
    print(f"{len(artifact):,} bytes   worst of {parity.rows} rows {parity.max_abs_diff:.1e}")

    session = ort.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    feed = {"numbers": np.array([[19.9, 14.0]]), "categories": np.array([["phone"]], object)}
    label, probabilities = session.run(["label", "probabilities"], feed)
    print(classes[label[0]], dict(zip(classes, probabilities[0].round(3).tolist(), strict=True)))


if __name__ == "__main__":
    main()

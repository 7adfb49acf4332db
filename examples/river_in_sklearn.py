"""River learners inside scikit-learn: a Pipeline, a ColumnTransformer and a VotingClassifier, each as one ONNX graph.

River goes on learning in them by `partial_fit`; scikit-learn encodes the texts, because `river.compat` refuses them.

    python examples/river_in_sklearn.py
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from river import forest, linear_model, preprocessing
from river.compat import convert_river_to_sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from learners.sklearn_export import check_sklearn_parity, sklearn_to_onnx

COLUMNS = {"price": float, "country": str, "pages": float}
COUNTRIES = ("at", "de", "fr")


def visits(n: int, *, seed: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Made-up visits, and whether each ended with a purchase."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = [
        {
            "price": chance.lognormvariate(3, 1),
            "country": chance.choice(COUNTRIES),
            "pages": float(chance.randint(1, 20)),
        }
        for _ in range(n)
    ]
    bought = [int(row["pages"] - row["price"] / 10 + 4 * (row["country"] == "at") > chance.gauss(6, 3)) for row in rows]
    return rows, bought


def encoded() -> ColumnTransformer:
    """Texts become 0 and 1; an unknown country becomes zeros, so that no row fails."""
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("country", texts, [1]), ("numbers", "passthrough", [0, 2])])


def models() -> dict[str, Any]:
    """Three ways in which River stands in scikit-learn."""
    trees = convert_river_to_sklearn(forest.ARFClassifier(n_models=3, seed=7))
    linear = convert_river_to_sklearn(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    scaled = ColumnTransformer(
        [
            ("country", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [1]),
            ("numbers", convert_river_to_sklearn(preprocessing.StandardScaler()), [0, 2]),
        ]
    )
    # flatten_transform matters only to `transform`, and skl2onnx converts False.
    vote = VotingClassifier(
        [("river", linear), ("sklearn", make_pipeline(StandardScaler(), LogisticRegression()))],
        voting="soft",
        flatten_transform=False,
    )
    return {
        "Pipeline, River's forest": make_pipeline(encoded(), trees),
        "ColumnTransformer, River's scaler": make_pipeline(scaled, LogisticRegression()),
        "VotingClassifier, River beside sklearn": make_pipeline(encoded(), vote),
    }


def main() -> None:
    """Fit, convert, compare on visits that no model has seen, and print size and worst difference."""
    rows, bought = visits(1_000, seed=1)
    held, _ = visits(300, seed=2)
    table = np.array([[*row.values()] for row in rows], object)
    for name, model in models().items():
        model.fit(table, bought)
        artifact = sklearn_to_onnx(model, COLUMNS, name="buys", version=1).SerializeToString()
        parity = check_sklearn_parity(model, artifact, held)
        print(f"{name:40} {len(artifact):7,} bytes   worst of {parity.rows} rows {parity.max_abs_diff:.1e}")


if __name__ == "__main__":
    main()

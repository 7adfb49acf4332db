"""PolynomialFeatures in doubles: skl2onnx's constants are floats, which do not fit beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common.data_types import DoubleTensorType

from learners.sklearn_export.embed import begin, embed, publish_columns


def shape_polynomial(operator: Any) -> None:
    """skl2onnx's question for the width."""
    operator.outputs[0].type = DoubleTensorType([None, operator.raw_operator.n_output_features_])


def convert_polynomial(scope: Any, operator: Any, container: Any) -> None:
    """Each product of columns, factor by factor; a missing factor is a column of ones."""
    model = operator.raw_operator
    powers = model.powers_  # shape (n_output_features_, n_features_in_)
    most = max(1, int(powers.sum(axis=1).max()))
    ones = model.n_features_in_
    factors = np.array(
        [(*np.repeat(np.arange(ones), each), *[ones] * (most - each.sum())) for each in powers]
    ).T.tolist()
    graph, frame = begin(model.n_features_in_, refuse_missing=True)
    assert frame.numbers is not None
    with graph.at(type(model).__name__):
        columns = graph.op("Concat", frame.numbers.tensor, graph.row([1.0]), axis=1)
        product = graph.columns(columns, factors[0])
        for place in range(1, most):
            product = graph.op("Mul", product, graph.columns(columns, factors[place]))
        publish_columns(graph, frame, product, len(powers))
    embed(graph, scope, operator, container)

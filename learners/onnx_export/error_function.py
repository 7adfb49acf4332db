"""The error function as nodes, because onnxruntime has no Erf for doubles.

    erf(a) = 1 - exp(-a²) f(a), f(a) = exp(a²) erfc(a)      for a >= 0; from a = 6 on it is 1.0 in doubles

f falls smoothly from 1 to 0.1, so that the polynomial through its values at 36 Chebyshev points is f to the last bits
of a double. Its barycentric form is stable, and as many nodes whatever the degree: Berrut & Trefethen, "Barycentric
Lagrange Interpolation", SIAM Review 46 (2004), §5.
"""

from __future__ import annotations

import math

import numpy as np

from learners.onnx_export.graph import Graph, Tensor

_END = 6.0
_ANGLES = (2.0 * np.arange(36) + 1.0) * np.pi / 72.0
_POINTS = _END / 2.0 * (1.0 + np.cos(_ANGLES))
_WEIGHTS = np.sin(_ANGLES) * np.where(np.arange(36) % 2, -1.0, 1.0)
_VALUES = [math.exp(point**2) * math.erfc(point) for point in _POINTS]


def erf(graph: Graph, z: Tensor) -> Tensor:
    """`math.erf` of a column, to 2e-15; shape (N, 1) to (N, 1)."""
    a = graph.op("Min", graph.op("Abs", z), graph.numbers(_END))
    away = graph.op("Sub", a, graph.numbers([_POINTS]))
    # On a point the value is that point's own, which dividing by next to nothing makes outweigh all others.
    on_point = graph.op("Equal", away, graph.numbers(0.0))
    shares = graph.op("Div", graph.numbers([_WEIGHTS]), graph.op("Where", on_point, graph.numbers(1e-290), away))
    above = graph.op("MatMul", shares, graph.numbers([[value] for value in _VALUES]))
    scaled = graph.op("Div", above, graph.total(shares))
    density = graph.op("Exp", graph.op("Neg", graph.op("Mul", a, a)))
    positive = graph.op("Sub", graph.numbers(1.0), graph.op("Mul", density, scaled))
    return graph.op("Mul", graph.op("Sign", z), positive)


def norm_cdf(graph: Graph, z: Tensor) -> Tensor:
    """`river.utils.math.norm_cdf` of a column, to 1e-15; shape (N, 1) to (N, 1)."""
    error = erf(graph, graph.op("Div", z, graph.numbers(math.sqrt(2.0))))
    return graph.op("Mul", graph.op("Add", graph.numbers(1.0), error), graph.numbers(0.5))

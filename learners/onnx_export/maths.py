"""River's formulas that several families share, as nodes."""

from __future__ import annotations

from learners.onnx_export.graph import Graph, Tensor

# Where River's `utils.math.sigmoid` jumps to exactly 0 and 1.
SIGMOID_LIMIT = 30.0


def sigmoid(graph: Graph, z: Tensor) -> Tensor:
    """`river.utils.math.sigmoid` of each number."""
    p = graph.op("Sigmoid", z)
    p = graph.op("Where", graph.op("Greater", z, graph.numbers([SIGMOID_LIMIT])), graph.numbers([1.0]), p)
    return graph.op("Where", graph.op("Less", z, graph.numbers([-SIGMOID_LIMIT])), graph.numbers([0.0]), p)


def both(graph: Graph, p: Tensor) -> Tensor:
    """The probabilities of (False, True), given that of True; (N, 1) to (N, 2)."""
    return graph.op("Concat", graph.op("Sub", graph.numbers([1.0]), p), p, axis=1)


def normalized(graph: Graph, votes: Tensor) -> Tensor:
    """Each row divided by its sum, as long as that is above 0.0; shape (N, n_classes)."""
    total = graph.total(votes)
    positive = graph.op("Greater", total, graph.numbers(0.0))
    return graph.op("Div", votes, graph.op("Where", positive, total, graph.numbers(1.0)))

"""Clusters: the centre that is nearest."""

from __future__ import annotations

from collections.abc import Sequence

from river import cluster

from learners.onnx_export.convert import Role, Value, full_name, predict, settings
from learners.onnx_export.frame import Frame, dense, spread
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable


@settings.register(cluster.KMeans)
def settings_of_k_means(model: cluster.KMeans, step: str, role: Role) -> None:
    """No cluster, and a power p that is not above 0."""
    if not model.centers or model.p <= 0:
        reason = f"it has {len(model.centers)} clusters and a distance with p = {model.p}"
        raise NotExportable(full_name(model), step, reason, "at least one cluster and p=1 or p=2")


@predict.register(cluster.KMeans)
def predict_by_k_means(model: cluster.KMeans, graph: Graph, frame: Frame) -> Value:
    """The number of the nearest centre, as a prediction; with sigma=0, or once every feature was learned.

    Where two centres are equally near but for rounding, either may win: River adds in the order of a set, which is
    another in every process.
    """
    _refuse_random_places(model, graph, frame)
    frame = dense(model, graph, frame, [name for centre in model.centers.values() for name in centre])
    known = tuple(dict.fromkeys(name for centre in model.centers.values() for name in centre))
    # Each place once, by the first centre that stands there: onnxruntime adds equal rows in different orders, so that
    # the second of two equal centres, as they all are before they move, would sometimes be nearer by rounding.
    first: dict[tuple[float, ...], int] = {}
    for number, centre in enumerate(model.centers.values()):
        first.setdefault(tuple(float(centre.get(name, model.mu)) for name in known), number)
    # The first of equally near centres, as in River's `min`.
    nearest = graph.op("ArgMin", _distances(model, graph, frame, known, [*first]), axis=1, keepdims=1)
    answer = graph.op("Gather", graph.numbers([*map(float, first.values())]), nearest)
    return Value(answer, frame.unanswered)


def _distances(
    model: cluster.KMeans, graph: Graph, frame: Frame, known: tuple[str, ...], centres: Sequence[Sequence[float]]
) -> Tensor:
    """Shape (N, len(centres)). A feature that no centre has is equally far from all, and is left out."""
    if not known:
        return graph.row([0.0])
    # A missing feature is 0.0, as in River's `x.get(k, 0)`.
    row = graph.op("Unsqueeze", graph.filled(spread(model, graph, frame, known)), graph.integers([1]))
    away = graph.op("Abs", graph.op("Sub", graph.numbers(centres), row))
    powers = away if model.p == 1 else graph.op("Pow", away, graph.numbers(float(model.p)))
    return graph.total(powers, axis=2, keepdims=False)


def _refuse_random_places(model: cluster.KMeans, graph: Graph, frame: Frame) -> None:
    if model.sigma == 0:
        return
    placed = set.intersection(*(set(centre) for centre in model.centers.values()))
    keys = (key for one_hot in frame.one_hots for key in sorted(one_hot.allowed or one_hot.prefixes))
    new = next((name for name in (*frame.number_names, *keys) if name not in placed), None)
    if new is not None:
        reason = f"River draws random places for its centres when it is asked about {new!r}, which it has not learned"
        raise NotExportable(full_name(model), graph.step, reason, "KMeans(sigma=0)")

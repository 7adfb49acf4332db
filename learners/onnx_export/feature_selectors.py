"""Steps that drop features for what they have learned: VarianceThreshold, SelectKBest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from river import feature_selection

from learners.onnx_export.convert import transform
from learners.onnx_export.frame import Columns, Frame, dense, refuse_texts, spread
from learners.onnx_export.graph import Graph


@transform.register(feature_selection.VarianceThreshold)
def transform_by_variance(selector: feature_selection.VarianceThreshold, graph: Graph, frame: Frame) -> Frame:
    """The features that vary enough, and those that were not met often enough to say."""
    frame = dense(selector, graph, frame, selector.variances)
    # check_feature asks `in` first, so it adds nothing to River's defaultdict.
    names = [name for name in frame.number_names if selector.check_feature(name)]
    kept = frame.numbers and frame.numbers.keep(graph, names)
    return replace(frame, numbers=kept, thinned=True)


@transform.register(feature_selection.SelectKBest)
def transform_by_k_best(selector: feature_selection.SelectKBest, graph: Graph, frame: Frame) -> Frame:
    """The k features most similar to the target; all of them before the first example."""
    refuse_texts(selector, graph, frame)
    if not selector.leaderboard:
        return frame
    best = [name for name, _ in selector.leaderboard.most_common(selector.k)]
    return _only(selector, graph, frame, best)


def _only(step: object, graph: Graph, frame: Frame, best: Sequence[str]) -> Frame:
    """These features, of all that the frame has or could get; one-hot keys among them become columns."""
    keys = {key for one_hot in frame.one_hots for key in best if key in one_hot.zeros or one_hot.emits([key])}
    names = tuple(name for name in best if name in keys or name in frame.number_names)
    numbers = Columns(spread(step, graph, frame, names), names) if names else None
    return replace(frame, numbers=numbers, one_hots=(), thinned=True)

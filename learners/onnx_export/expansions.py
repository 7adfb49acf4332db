"""Steps that make many features of few: PolynomialExtender, TransformerProduct, RBFSampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, combinations_with_replacement, product
from typing import Any, cast

from river import compose, feature_extraction

from learners.onnx_export.convert import Role, full_name, refuse, settings, transform
from learners.onnx_export.frame import Columns, Frame, dense
from learners.onnx_export.graph import Graph
from learners.onnx_export.step_order import refuse_beside, refuse_keyless
from schemas.errors import NotExportable

# A graph with more columns than this would be megabytes per row; ten thousand one-hot keys make 5e7 of degree 2.
MAX_COLUMNS = 20_000


@settings.register(feature_extraction.PolynomialExtender)
def settings_of_polynomial(extender: feature_extraction.PolynomialExtender, step: str, role: Role) -> None:
    """Refuse a bias whose name is no text."""
    if extender.include_bias and not isinstance(extender.bias_name, str):
        raise NotExportable(full_name(extender), step, "its bias_name is no str", "a bias_name that is str")


@transform.register(feature_extraction.PolynomialExtender)
def transform_by_polynomial(extender: feature_extraction.PolynomialExtender, graph: Graph, frame: Frame) -> Frame:
    """Every product of up to `degree` features; one is missing where a factor is."""
    frame = _with_all_keys(extender, graph, frame)
    width, again = len(frame.number_names), 0 if extender.interaction_only else 1
    sizes = range(1, extender.degree + 1)
    _refuse_too_many(extender, graph, sum(math.comb(width + again * (size - 1), size) for size in sizes))
    combine = combinations if extender.interaction_only else combinations_with_replacement
    blocks, names = [], []
    for size in sizes:
        factors = [*combine(range(len(frame.number_names)), size)]
        if frame.numbers is None or not factors:
            continue
        block = graph.columns(frame.numbers.tensor, [places[0] for places in factors])
        for i in range(1, size):
            factor = graph.columns(frame.numbers.tensor, [places[i] for places in factors])
            block = graph.op("Mul", block, factor)
        blocks.append(block)
        names += ["*".join(sorted(frame.number_names[place] for place in places)) for places in factors]
    if extender.include_bias:
        blocks.append(graph.row([1.0]))
        names.append(extender.bias_name)
    _refuse_twice(extender, graph, names)
    if not blocks:
        return replace(frame, numbers=None)
    tensor = blocks[0] if len(blocks) == 1 else graph.op("Concat", *blocks, axis=1)
    return replace(frame, numbers=Columns(tensor, tuple(names)))


@settings.register(compose.TransformerProduct)
def settings_of_product(step: compose.TransformerProduct, path: str, role: Role) -> None:
    """Refuse one-hot keys with `drop_zeros`, parts that have no exact form, or none side by side."""
    for name, part in step.transformers.items():
        refuse(part, f"{path}/{name}", "transform")
    refuse_keyless(step, path)
    refuse_beside(step, path)


@transform.register(compose.TransformerProduct)
def transform_by_product(step: compose.TransformerProduct, graph: Graph, frame: Frame) -> Frame:
    """Every product of one feature of each part; one is missing where a factor is."""
    parts = []
    for name, part in step.transformers.items():
        with graph.at(name):
            parts.append(_with_all_keys(part, graph, transform(part, graph, frame)))
    _refuse_too_many(step, graph, math.prod(len(part.number_names) for part in parts))
    names = ["*".join(factors) for factors in product(*(part.number_names for part in parts))]
    _refuse_twice(step, graph, names)
    numbers = None
    if names:
        blocks = [part.numbers.tensor for part in parts if part.numbers]
        places = [*product(*(range(len(part.number_names)) for part in parts))]
        columns = [graph.columns(block, [factors[i] for factors in places]) for i, block in enumerate(blocks)]
        block = columns[0]
        for column in columns[1:]:
            block = graph.op("Mul", block, column)
        numbers = Columns(block, tuple(names))
    masks = tuple(dict.fromkeys(mask for part in parts for mask in part.unanswered))
    thinned = any(part.thinned for part in parts)
    return Frame(numbers=numbers, unanswered=masks, thinned=thinned)


def _with_all_keys(step: object, graph: Graph, frame: Frame) -> Frame:
    """The frame as numbers, for a step that remembers no keys itself."""
    allowed = (key for one_hot in frame.one_hots for key in one_hot.allowed or ())
    return dense(step, graph, frame, allowed)


def _refuse_too_many(step: object, graph: Graph, count: int) -> None:
    if count > MAX_COLUMNS:
        reason = f"it makes {count} features, more than {MAX_COLUMNS}"
        raise NotExportable(full_name(step), graph.step, reason, "fewer features or a lower degree")


def _refuse_twice(step: object, graph: Graph, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        reason = "two of its products have the same name, and River keeps only the last"
        raise NotExportable(full_name(step), graph.step, reason, "names of features without '*'")


@transform.register(feature_extraction.RBFSampler)
def transform_by_rbf(sampler: feature_extraction.RBFSampler, graph: Graph, frame: Frame) -> Frame:
    """`cos(x * weight + offset)` for each feature and component.

    For a feature that it has not met River draws weights, and so makes features that no later step has met. Here there
    are none.
    """
    # The weights of a feature; their names in the frame are pairs, because River's are.
    weights = cast(dict[str, list[float]], sampler.weights)
    frame = dense(sampler, graph, frame, weights)
    met = [(place, name) for place, name in enumerate(frame.number_names) if name in weights]
    components = len(sampler.offsets)
    if frame.numbers is None or not met or not components:
        return replace(frame, numbers=None, thinned=True)
    values = graph.columns(frame.numbers.tensor, [place for place, _ in met for _ in range(components)])
    angles = graph.op("Mul", values, graph.numbers([weight for _, name in met for weight in weights[name]]))
    shifted = graph.op("Add", angles, graph.numbers(sampler.offsets * len(met)))
    names: list[Any] = [(name, component) for _, name in met for component in range(components)]
    overflown = graph.any_column(graph.op("IsInf", shifted))  # River's math.cos raises there
    return replace(
        frame,
        numbers=Columns(graph.op("Cos", shifted), tuple(names)),
        unanswered=(*frame.unanswered, overflown),
    )

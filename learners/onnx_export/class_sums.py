"""One sum per class over the features that are present: what Bayes and softmax models answer from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from onnx import TensorProto

from learners.onnx_export.answers import Classes, Label, predicted_from
from learners.onnx_export.frame import Frame, OneHot, full_name, refuse_texts
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable

Terms: TypeAlias = Sequence[float]
"""What one feature adds to the sum of each class."""


def refuse_no_features(step: object, graph: Graph, frame: Frame) -> None:
    """Raise NotExportable if a text reaches the step, or no feature at all."""
    refuse_texts(step, graph, frame)
    if not (frame.numbers or frame.one_hots or frame.thinned):
        raise NotExportable(full_name(step), graph.step, "no feature reaches it", "steps that leave some feature")


def sum_of_products(
    graph: Graph, frame: Frame, terms: Callable[[str], Terms], *, raises: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """What the numbers add to each class, each number times its terms.

    Args:
        terms: the terms of a number, by its name.
        raises: whether River may raise for a term, which is NaN then; else NaN is a broken learner's.

    Returns:
        Sums of shape (N, n_classes), and masks of shape (N, 1), true where a number is present that River raises for.

    Raises:
        ReleaseRefused: a term is not finite.
    """
    if frame.numbers is None:
        return [], []
    table = np.array([terms(name) for name in frame.numbers.names], np.float64)
    raising = np.flatnonzero(np.isnan(table).any(axis=1)) if raises else np.empty(0, np.int64)
    masks = []
    if raising.size:
        present = graph.op("Not", graph.op("IsNaN", graph.columns(frame.numbers.tensor, raising.tolist())))
        masks.append(graph.any_column(present))
        table[raising] = 0.0
    return [graph.op("MatMul", graph.filled(frame.numbers.tensor), graph.numbers(table))], masks


def sum_of_keys(
    graph: Graph,
    one_hot: OneHot,
    known: Iterable[str],
    *,
    ones: Callable[[str], Terms],
    zeros: Callable[[str], Terms],
    unmet: Terms,
    raises: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """What the keys of a one-hot encoding add to each class: one row of a table for each key that is 1.

    Args:
        known: the names that the step has learned.
        ones: the terms of a key that is 1.
        zeros: the terms of a key that River's dict holds as 0.
        unmet: the terms of a key that is 1 and that nobody has met.
        raises: as in `sum_of_products`.

    Returns:
        The sum, shape (N, n_classes), and masks as in `sum_of_products`.

    Raises:
        ReleaseRefused: a term is not finite.
    """
    base = {key: np.array(zeros(key), np.float64) for key in sorted(one_hot.zeros)}
    met = one_hot.emits(dict.fromkeys((*known, *base)))
    nothing = np.zeros(len(unmet))
    rows = [np.array(unmet), nothing, *(np.array(ones(key)) - base.get(key, nothing) for key in met)]
    # Row 0 is for a key that nobody has met, row 1 for a field that has no key: missing, or of a value not allowed.
    places = dict.fromkeys(one_hot.prefixes, 1.0)
    if one_hot.allowed is not None:
        places |= dict.fromkeys(sorted(one_hot.allowed), 0.0)
    places |= {key: float(place) for place, key in enumerate(met, 2)}
    place = graph.lookup(one_hot.keys, places, otherwise=0.0 if one_hot.allowed is None else 1.0)
    table = graph.numbers(rows, missing=raises)
    total = graph.total(graph.op("Gather", table, graph.op("Cast", place, to=TensorProto.INT64)), keepdims=False)
    if base:
        always = np.sum([*base.values()], axis=0)
        total = graph.op("Add", total, graph.numbers([always], missing=raises))
    may_raise = any(np.isnan(row).any() for row in (*rows, *base.values()))
    return total, [graph.any_column(graph.op("IsNaN", total))] if may_raise else []


def added(graph: Graph, sums: Sequence[Tensor], start: Terms) -> Tensor:
    """`start` and all the sums, per class; shape (N, n_classes)."""
    if not sums:
        return graph.row(list(start))
    total = graph.numbers([list(start)])
    for part in sums:
        total = graph.op("Add", part, total)
    return total


def likelihoods(graph: Graph, frame: Frame, joint: Tensor, labels: Sequence[Label]) -> Classes:
    """The classes of `naive_bayes.BaseNB`, whose joint log-likelihoods `joint` holds, by River's log-sum-exp."""
    greatest = graph.op("ReduceMax", joint, graph.integers([1]), keepdims=1)
    beyond = graph.total(graph.op("Exp", graph.op("Sub", joint, greatest)))
    total = graph.op("Add", greatest, graph.op("Log", beyond))
    return predicted_from(graph, frame, graph.op("Exp", graph.op("Sub", joint, total)), labels)

"""Naive Bayes: what each feature says for each class, by River's formulas, and its rules for what is absent.

GaussianNB      a feature that is absent says nothing; one that a class never met says log(1e-9)
MultinomialNB   a feature that is absent says nothing; one that nobody met counts by `alpha`
ComplementNB    as MultinomialNB, and classes have no prior
BernoulliNB     a feature that is absent is one that is not above the threshold; one that nobody met says nothing
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from onnx import TensorProto
from river import naive_bayes, proba
from river.naive_bayes.gaussian import _LOG_PDF_EPS, _PDF_EPS

from learners.onnx_export.answers import Classes, Label, no_class
from learners.onnx_export.class_sums import (
    Terms,
    added,
    likelihoods,
    refuse_no_features,
    sum_of_keys,
    sum_of_products,
)
from learners.onnx_export.convert import Role, full_name, predict, settings
from learners.onnx_export.frame import Columns, Frame
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable, ReleaseRefused


@predict.register(naive_bayes.GaussianNB)
def predict_by_gaussian(model: naive_bayes.GaussianNB, graph: Graph, frame: Frame) -> Classes:
    """The log of each feature's density in each class, and of how often the class came."""
    refuse_no_features(model, graph, frame)
    labels = tuple(model.class_counts)
    if not labels:
        return no_class(frame)

    # `.get`, because `[]` on River's defaultdicts would add the class and the feature to the model.
    of_classes = [model.gaussians.get(label, {}) for label in labels]

    def terms(key: str, value: int) -> Terms:
        return [model._log_gaussian_pdf(gaussians.get(key), value) for gaussians in of_classes]

    known = dict.fromkeys(name for gaussians in of_classes for name in gaussians)
    sums = [
        sum_of_keys(
            graph,
            one_hot,
            known,
            ones=lambda key: terms(key, 1),
            zeros=lambda key: terms(key, 0),
            unmet=[_LOG_PDF_EPS] * len(labels),
        )[0]
        for one_hot in frame.one_hots
    ]
    if frame.numbers:
        shapes = [[_shape(graph, gaussians.get(name)) for gaussians in of_classes] for name in frame.numbers.names]
        sums.append(_log_densities(graph, frame.numbers, shapes))
    start = [math.log(model.p_class(label)) for label in labels]
    return likelihoods(graph, frame, added(graph, sums, start), labels)


def _shape(graph: Graph, gaussian: proba.Gaussian | None) -> tuple[float, float]:
    """Mean and standard deviation; the latter infinite where River's density is 0, for nothing has varied yet."""
    if gaussian is None:
        return 0.0, math.inf
    variance = float(gaussian._var.get())
    if not math.isfinite(variance):
        raise ReleaseRefused("export", f"{graph.step} holds the variance {variance}")
    return (float(gaussian.mu), math.sqrt(variance)) if variance > 0.0 else (0.0, math.inf)


def _log_densities(graph: Graph, numbers: Columns, shapes: list[list[tuple[float, float]]]) -> Tensor:
    """`log(1e-9 + density)` of each number in each class, missing ones left out, summed; shape (N, n_classes)."""
    x = graph.op("Unsqueeze", numbers.tensor, graph.integers([2]))
    means = graph.numbers([[mean for mean, _ in row] for row in shapes])
    stds = graph.numbers([[std for _, std in row] for row in shapes], infinite=True)
    z = graph.op("Div", graph.op("Sub", x, means), stds)
    square = graph.op("Mul", graph.op("Mul", z, z), graph.numbers(-0.5))
    normal = graph.op("Div", graph.op("Exp", square), graph.numbers(math.sqrt(2.0 * math.pi)))
    density = graph.op("Add", graph.op("Div", normal, stds), graph.numbers(_PDF_EPS))
    return graph.total(graph.filled(graph.op("Log", density)), keepdims=False)


@predict.register(naive_bayes.MultinomialNB)
def predict_by_multinomial(model: naive_bayes.MultinomialNB, graph: Graph, frame: Frame) -> Classes:
    """Each feature times the log of its share in the class, and the log of how often the class came."""
    start = [math.log(model.p_class(label)) for label in model.class_counts]
    return _by_shares(model, graph, frame, start, model.p_feature_given_class)


@predict.register(naive_bayes.ComplementNB)
def predict_by_complement(model: naive_bayes.ComplementNB, graph: Graph, frame: Frame) -> Classes:
    """Each feature times the negative log of its share in all other classes."""

    def elsewhere(name: str, label: Label) -> float:
        if name not in model.feature_counts:
            return float(model.alpha)
        return float(model.feature_totals[name] + model.alpha - model.feature_counts[name].get(label, 0))

    totals = {label: sum(elsewhere(name, label) for name in model.feature_counts) for label in model.class_counts}
    start = [0.0] * len(totals)
    return _by_shares(model, graph, frame, start, lambda name, label: elsewhere(name, label) / totals[label], sign=-1.0)


def _by_shares(
    model: naive_bayes.MultinomialNB | naive_bayes.ComplementNB,
    graph: Graph,
    frame: Frame,
    start: Terms,
    share: Callable[[str, Label], float],
    *,
    sign: float = 1.0,
) -> Classes:
    """`start` and, for each feature, its value times the log of its share in the class."""
    refuse_no_features(model, graph, frame)
    labels = tuple(model.class_counts)
    if not labels:
        return no_class(frame)

    def terms(name: str) -> Terms:
        return [sign * _log(graph, share, name, label) for label in labels]

    def zeros(name: str) -> Terms:
        return [0.0 * term for term in terms(name)]  # River takes the logarithm all the same, which may raise

    sums, masks = sum_of_products(graph, frame, terms, raises=True)
    for one_hot in frame.one_hots:
        # Names that nobody met have the same share whatever they are; NUL is in none that an event can bring.
        known = model.feature_counts
        total, mask = sum_of_keys(graph, one_hot, known, ones=terms, zeros=zeros, unmet=terms("\0"), raises=True)
        sums.append(total)
        masks += mask
    frame = replace(frame, unanswered=(*frame.unanswered, *masks))
    return likelihoods(graph, frame, added(graph, sums, start), labels)


def _log(graph: Graph, share: Callable[[str, Label], float], name: str, label: Label) -> float:
    """The logarithm of a share; NaN where River raises, because it is 0, negative, or a share of nothing."""
    try:
        value = math.log(share(name, label))
    except (ValueError, ZeroDivisionError):
        return math.nan
    if not math.isfinite(value):  # or NaN from a broken learner would pass for one that River raises on
        raise ReleaseRefused("export", f"{graph.step} holds a share of {name!r} that is not finite")
    return value


@settings.register(naive_bayes.BernoulliNB)
def settings_of_bernoulli(model: naive_bayes.BernoulliNB, step: str, role: Role) -> None:
    if not 0.0 <= model.alpha < math.inf:
        raise NotExportable(full_name(model), step, f"alpha {model.alpha} makes no probabilities", "alpha=1.0")


@predict.register(naive_bayes.BernoulliNB)
def predict_by_bernoulli(model: naive_bayes.BernoulliNB, graph: Graph, frame: Frame) -> Classes:
    """The log of how often each feature was above the threshold in each class, or was not."""
    refuse_no_features(model, graph, frame)
    labels = tuple(model.class_counts)
    if not labels:
        return no_class(frame)
    above: dict[str, Terms] = {}
    start = [math.log(model.p_class(label)) for label in labels]
    for name in model.feature_counts:
        shares = [model.p_feature_given_class(name, label) for label in labels]
        below = [math.log(10e-10 + (1.0 - share)) for share in shares]
        # What being above the threshold changes: all features start as absent.
        above[name] = [math.log(10e-10 + share) - log for share, log in zip(shares, below, strict=True)]
        start = [sofar + log for sofar, log in zip(start, below, strict=True)]
    nothing: Terms = [0.0] * len(labels)

    def terms(name: str, value: int) -> Terms:
        return above.get(name, nothing) if value > model.true_threshold else nothing

    sums = [
        sum_of_keys(
            graph,
            one_hot,
            above,
            ones=lambda key: terms(key, 1),
            zeros=lambda key: terms(key, 0),
            unmet=nothing,
        )[0]
        for one_hot in frame.one_hots
    ]
    if frame.numbers:
        table = graph.numbers([above.get(name, nothing) for name in frame.numbers.names])
        # Nothing is above a threshold that is missing, so NaN counts as absent.
        is_above = graph.op("Greater", frame.numbers.tensor, graph.numbers(float(model.true_threshold)))
        sums.append(graph.op("MatMul", graph.op("Cast", is_above, to=TensorProto.DOUBLE), table))
    return likelihoods(graph, frame, added(graph, sums, start), labels)

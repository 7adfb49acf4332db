"""Factorization machines: a weighted sum, and a product of two latent vectors for each pair of features present."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from river import facto, optim

from learners.onnx_export.convert import Classes, Role, Value, full_name, predict, predicted_from, settings
from learners.onnx_export.frame import Columns, Frame, OneHot, refuse_clashes
from learners.onnx_export.graph import Graph, Tensor
from learners.onnx_export.maths import both, sigmoid
from schemas.errors import NotExportable

Machine: TypeAlias = facto.FMClassifier | facto.FMRegressor

# What a feature begins with must not depend on when it is met, so one vector for all, which learning then parts. That
# costs: on users x items of rank 3, mean absolute error 0.3 to 0.7 after 20,000 events, and 0.02 from random vectors.
_INSTEAD = "latent_initializer=optim.initializers.Constant(an array of n_factors different small numbers)"


@settings.register(facto.FMClassifier)
def settings_of_classifier(model: facto.FMClassifier, step: str, role: Role) -> None:
    """A first vector of another length than n_factors."""
    _refuse_shape(model, step)


@settings.register(facto.FMRegressor)
def settings_of_regressor(model: facto.FMRegressor, step: str, role: Role) -> None:
    """A first vector of another length than n_factors; an intercept that is a float and not a numpy.float64."""
    _refuse_shape(model, step)
    if not isinstance(model.intercept, np.floating):  # River calls `.item()` on the sum, which is then a float as well
        reason = "River raises AttributeError on a row with fewer than two features while the intercept is a float"
        raise NotExportable(full_name(model), step, reason, f"intercept=numpy.float64({model.intercept})")


def _refuse_shape(model: Machine, step: str) -> None:
    shape: tuple[int, ...] = np.shape(model.latent_initializer.value) if _is_constant(model) else ()
    if shape not in ((), (model.n_factors,)):
        reason = f"its latents begin with {shape[0]} numbers, and it has {model.n_factors} factors"
        raise NotExportable(full_name(model), step, reason, f"Constant(an array of {model.n_factors} numbers)")


@predict.register(facto.FMClassifier)
def predict_by_classifier(model: facto.FMClassifier, graph: Graph, frame: Frame) -> Classes:
    """Texts included; with latents that all begin alike (Constant), or once all that can come is learned."""
    z = _sum_of_interactions(model, graph, frame)
    return predicted_from(graph, frame, both(graph, sigmoid(graph, z)), (False, True))


@predict.register(facto.FMRegressor)
def predict_by_regressor(model: facto.FMRegressor, graph: Graph, frame: Frame) -> Value:
    """Texts included; with latents that all begin alike (Constant), or once all that can come is learned."""
    return Value(_sum_of_interactions(model, graph, frame), frame.unanswered)


def _sum_of_interactions(model: Machine, graph: Graph, frame: Frame) -> Tensor:
    """`intercept + sum_i w_i x_i + sum_(i<j) <v_i, v_j> x_i x_j`; shape (N, 1). Rendle, ICDM 2010, eq. 1."""
    frame = _encoded(graph, frame)
    blocks = [_rows_of_one_hot(model, graph, one_hot) for one_hot in frame.one_hots]
    if frame.numbers:
        blocks.append(_rows_of_numbers(model, graph, frame.numbers))
    if not blocks:
        if not frame.thinned:
            raise NotExportable(full_name(model), graph.step, "no feature reaches it", "steps that leave some feature")
        return graph.row([float(model.intercept)])
    rows = graph.op("Concat", *blocks, axis=1) if len(blocks) > 1 else blocks[0]
    weights, latents = graph.ops("Split", rows, graph.integers([1, model.n_factors]), outputs=2, axis=2)
    # A running sum over the features before, not the paper's square of the sum minus the sum of squares, which loses
    # all digits where one feature is large.
    before = graph.op("CumSum", latents, graph.integers(1), exclusive=1)
    pairs = graph.total(graph.total(graph.op("Mul", latents, before), axis=2, keepdims=False))
    linear = graph.total(graph.op("Squeeze", weights, graph.integers([2])))
    return graph.op("Add", graph.op("Add", linear, pairs), graph.numbers([float(model.intercept)]))


def _encoded(graph: Graph, frame: Frame) -> Frame:
    """The same features with each text as its one-hot key."""
    if frame.texts is None:
        return frame
    encoded = OneHot("", frame.texts.names)
    keys = graph.op("StringConcat", graph.strings(encoded.prefixes), frame.texts.tensor)
    frame = replace(frame, texts=None, one_hots=(*frame.one_hots, replace(encoded, keys=keys)))
    refuse_clashes(graph, frame)
    return frame


def _rows_of_numbers(model: Machine, graph: Graph, numbers: Columns) -> Tensor:
    """Weight and latents of each feature, times the feature; shape (N, len(names), 1 + n_factors)."""
    table = np.stack([_row(model, graph, name) for name in numbers.names])
    column = graph.op("Unsqueeze", graph.filled(numbers.tensor), graph.integers([2]))
    return graph.op("Mul", column, graph.numbers(table))


def _rows_of_one_hot(model: Machine, graph: Graph, one_hot: OneHot) -> Tensor:
    """Weight and latents of each field's key, zeros for a missing field; shape (N, len(fields), 1 + n_factors)."""
    keys = one_hot.emits(dict.fromkeys((*model.latents, *model.weights, *sorted(one_hot.allowed or ()))))
    nothing = np.zeros(1 + model.n_factors)
    otherwise = nothing if one_hot.allowed is not None else _row(model, graph, None)
    table = [nothing, otherwise, *(_row(model, graph, key) for key in keys)]
    places = {**dict.fromkeys(("", *one_hot.prefixes), 0.0), **{key: float(i) for i, key in enumerate(keys, 2)}}
    place = graph.op("Cast", graph.lookup(one_hot.keys, places, otherwise=1.0), to=TensorProto.INT64)
    return graph.op("Gather", graph.numbers(np.stack(table)), place, axis=0)


def _row(model: Machine, graph: Graph, key: str | None) -> npt.NDArray[np.float64]:
    """The weight of a feature and its latents, as River has or would make them; None is any category never learned."""
    latents = None if key is None else model.latents.get(key)
    if latents is None:
        if not _is_constant(model):
            what = "a category" if key is None else f"the feature {key!r}"
            reason = f"River draws random latents when it is asked about {what} that it has not learned"
            raise NotExportable(full_name(model), graph.step, reason, _INSTEAD)
        latents = model.latent_initializer(shape=model.n_factors)
    weight = 0.0 if key is None else model.weights.get(key, 0.0)
    return np.concatenate(([float(weight)], np.broadcast_to(np.asarray(latents, np.float64), (model.n_factors,))))


def _is_constant(model: Machine) -> bool:
    return type(model.latent_initializer) in (optim.initializers.Constant, optim.initializers.Zeros)

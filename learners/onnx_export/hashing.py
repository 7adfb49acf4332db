"""FeatureHasher: the buckets of numbers are known when the graph is made, those of texts are found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from river import preprocessing
from river._river_rust.feature_hashing import feature_hash

from learners.onnx_export.convert import transform
from learners.onnx_export.frame import Columns, Frame, full_name
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable

# Where texts are hashed, every bucket is a column: this many doubles for each row, and in each step behind.
MOST_BUCKETS = 2**12

_MICROSOFT = "com.microsoft"


@transform.register(preprocessing.FeatureHasher)
def transform_by_hasher(hasher: preprocessing.FeatureHasher, graph: Graph, frame: Frame) -> Frame:
    """The sum of each bucket, missing where none of its features is there; of texts, with 4,096 buckets at most.

    Texts need com.microsoft.MurmurHash3, the only operator here that is no standard one: no standard one hashes.
    """
    if frame.one_hots:
        reason = "it would hash one-hot keys, which are no columns any more"
        raise NotExportable(full_name(hasher), graph.step, reason, "it without the OneHotEncoder: it encodes texts")
    if frame.texts is not None:
        if hasher.n_features > MOST_BUCKETS:
            reason = f"a text may fall into each of its {hasher.n_features} buckets, and {MOST_BUCKETS} are the most"
            raise NotExportable(full_name(hasher), graph.step, reason, f"n_features={MOST_BUCKETS} or less")
        buckets: Sequence[int] = range(hasher.n_features)
    elif frame.numbers is not None:
        buckets = sorted({_bucket(hasher, name)[0] for name in frame.numbers.names})
    else:
        return frame
    parts = []
    if frame.numbers is not None:
        parts.append(_of_numbers(hasher, graph, frame.numbers, buckets))
    if frame.texts is not None:
        parts.append(_of_texts(hasher, graph, frame.texts))
    sums, counts = parts[0] if len(parts) == 1 else [graph.op("Add", *both) for both in zip(*parts, strict=True)]
    tensor = graph.op("Where", graph.op("Greater", counts, graph.numbers(0.0)), sums, graph.nan())
    # River names these features by number.
    names: Any = tuple(buckets)
    return replace(frame, numbers=Columns(tensor, names), texts=None)


def _of_numbers(
    hasher: preprocessing.FeatureHasher, graph: Graph, numbers: Columns, buckets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """What the numbers add to each bucket, and how many of them fall into it."""
    signs = np.zeros((len(numbers.names), len(buckets)))
    for place, name in enumerate(numbers.names):
        bucket, sign = _bucket(hasher, name)
        signs[place, buckets.index(bucket)] = sign
    sums = graph.op("MatMul", graph.filled(numbers.tensor), graph.numbers(signs))
    there = graph.op("Cast", graph.op("Not", graph.op("IsNaN", numbers.tensor)), to=TensorProto.DOUBLE)
    return sums, graph.op("MatMul", there, graph.numbers(np.abs(signs)))


def _of_texts(hasher: preprocessing.FeatureHasher, graph: Graph, texts: Columns) -> tuple[Tensor, Tensor]:
    """What the texts add to each bucket, 1 or -1 each, and how many of them fall into it."""
    tokens = graph.op("StringConcat", graph.strings([f"{name}=" for name in texts.names]), texts.tensor)
    signed = graph.op("MurmurHash3", tokens, domain=_MICROSOFT, seed=hasher._seed, positive=0)
    hashed = graph.op("Cast", signed, to=TensorProto.INT64)
    # The remainder of a negative hash is not negative: in River, and with Mod of whole numbers.
    buckets = graph.op("Mod", hashed, graph.integers(hasher.n_features))
    there = graph.op("Not", graph.op("Equal", texts.tensor, graph.strings([""])))
    ones = graph.op("Cast", there, to=TensorProto.DOUBLE)
    added = ones
    if hasher.alternate_sign:
        negative = graph.op("Less", hashed, graph.integers(0))
        added = graph.op("Where", negative, graph.op("Neg", ones), ones)
    empty = graph.row([0.0] * hasher.n_features)
    sums, counts = (
        graph.op("ScatterElements", empty, buckets, what, axis=1, reduction="add") for what in (added, ones)
    )
    return sums, counts


def _bucket(hasher: preprocessing.FeatureHasher, name: str) -> tuple[int, float]:
    """River's own hash, asked with a 1."""
    ((bucket, sign),) = feature_hash({name: 1.0}, hasher.n_features, hasher._seed, hasher.alternate_sign).items()
    return int(bucket), float(sign)

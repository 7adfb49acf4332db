"""FeatureHasher over numbers, whose buckets are known when the graph is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from river import preprocessing
from river._river_rust.feature_hashing import feature_hash

from learners.onnx_export.convert import transform
from learners.onnx_export.frame import Columns, Frame, full_name
from learners.onnx_export.graph import Graph
from schemas.errors import NotExportable


@transform.register(preprocessing.FeatureHasher)
def transform_by_hasher(hasher: preprocessing.FeatureHasher, graph: Graph, frame: Frame) -> Frame:
    """The sum of each bucket, missing where none of its features is there.

    A text's bucket depends on the row. MurmurHash3, which would find it, is no standard operator.
    """
    if frame.texts or frame.one_hots:
        reason = "the bucket of a text needs com.microsoft.MurmurHash3, and the graph has standard operators only"
        raise NotExportable(full_name(hasher), graph.step, reason, "SelectType(float) in front of it, texts one-hot")
    if frame.numbers is None:
        return frame
    landed = [_bucket(hasher, name) for name in frame.numbers.names]
    buckets = sorted({bucket for bucket, _ in landed})
    signs = np.zeros((len(landed), len(buckets)))
    for place, (bucket, sign) in enumerate(landed):
        signs[place, buckets.index(bucket)] = sign
    sums = graph.op("MatMul", graph.filled(frame.numbers.tensor), graph.numbers(signs))
    there = graph.op("Cast", graph.op("Not", graph.op("IsNaN", frame.numbers.tensor)), to=TensorProto.DOUBLE)
    counts = graph.op("MatMul", there, graph.numbers(np.abs(signs)))
    tensor = graph.op("Where", graph.op("Greater", counts, graph.numbers(0.0)), sums, graph.nan())
    # River names these features by number.
    names: list[Any] = buckets
    return replace(frame, numbers=Columns(tensor, tuple(names)))


def _bucket(hasher: preprocessing.FeatureHasher, name: str) -> tuple[int, float]:
    """River's own hash, asked with a 1."""
    ((bucket, sign),) = feature_hash({name: 1.0}, hasher.n_features, hasher._seed, hasher.alternate_sign).items()
    return int(bucket), float(sign)

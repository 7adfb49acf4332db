"""What every exported family must pass: `assert_exact`, and streams that show what converters get wrong."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from learners.onnx_export import refuse_unexportable, to_onnx
from learners.parity import UNSEEN, Parity, check_parity
from learners.state import encode_state
from schemas.errors import NotStorable

Row: TypeAlias = Mapping[str, float | str]
Target: TypeAlias = Literal["binary", "multiclass", "regression", "none"]

NUMBERS = ("price", "hour of day", "naïve")
CATEGORIES = ("geo.country", "device type")

# What `onnx.reference` does not implement; graphs with one of these are run by onnxruntime alone.
NOT_IN_REFERENCE = frozenset({"MurmurHash3"})
# The reference walks trees in Python, so it gets a few rows.
REFERENCE_ROWS = 12


@dataclass(frozen=True, slots=True)
class Stream:
    """Examples in order, and rows that are never learned.

    Attributes:
        numbers, categories: the features, in tensor order.
        examples: what is learned: observation and target.
        held: rows of the same kind, to be compared only.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    examples: tuple[tuple[Row, Any], ...]
    held: tuple[Row, ...]

    def first(self, n: int) -> Stream:
        """The same stream, cut after n examples."""
        return replace(self, examples=self.examples[:n])


def numeric(target: Target, *, seed: int = 1, n: int = 400) -> Stream:
    """Numbers only, complete; on a grid of tenths, so that values equal thresholds."""
    return _stream(target, NUMBERS, (), seed=seed, n=n)


def mixed(target: Target, *, seed: int = 2, n: int = 400) -> Stream:
    """Numbers and texts, complete."""
    return _stream(target, NUMBERS, CATEGORIES, seed=seed, n=n)


def gappy(target: Target, *, seed: int = 3, n: int = 400) -> Stream:
    """Numbers and texts, each feature missing in a fifth of the rows."""
    return _stream(target, NUMBERS, CATEGORIES, seed=seed, n=n, missing=0.2)


def gappy_numeric(target: Target, *, seed: int = 4, n: int = 400) -> Stream:
    """Numbers only, each missing in a fifth of the rows."""
    return _stream(target, NUMBERS, (), seed=seed, n=n, missing=0.2)


def flat(target: Target, *, seed: int = 5, n: int = 120) -> Stream:
    """Numbers of which one never varies."""
    return _stream(target, NUMBERS, (), seed=seed, n=n, constant=("hour of day",))


def gappy_flat(target: Target, *, seed: int = 6, n: int = 120) -> Stream:
    """Numbers and texts with gaps, and a number that never varies: every rule in one stream."""
    return _stream(target, NUMBERS, CATEGORIES, seed=seed, n=n, missing=0.2, constant=("hour of day",))


NUMERIC_STREAMS: dict[str, Callable[[Target], Stream]] = {
    "numeric": numeric,
    "gappy numeric": gappy_numeric,
    "flat": flat,
}
MIXED_STREAMS: dict[str, Callable[[Target], Stream]] = {"mixed": mixed, "gappy": gappy}


def assert_exact(
    make: Callable[[], Any], stream: Stream, *, held: Sequence[Row] = (), tolerance: float = 1e-9
) -> Parity:
    """The model that `make` gives is exported and answers as River does, untrained, halfway and at the end.

    Compared are the learned rows, the held ones, each of them with features missing, unseen categories and extreme
    numbers; all at once, one by one, and by onnx's own reference. Exporting and comparing changes nothing.

    Args:
        make: returns a new model; called once.
        stream: what it learns; rows in which River raises KeyError are not learned.
        held: further rows to compare.
        tolerance: as in `check_parity`.

    Returns:
        The parity at the end, for what a test wants to say besides.
    """
    model = make()
    refuse_unexportable(model, task=None)
    rows = [*_asked(stream, held)]
    _assert_exact_now(model, stream, rows[:20], tolerance)
    half = len(stream.examples) // 2
    _learn(model, stream.examples[:half])
    _assert_exact_now(model, stream, rows[:60], tolerance)
    _learn(model, stream.examples[half:])
    return _assert_exact_now(model, stream, rows, tolerance)


def _assert_exact_now(model: Any, stream: Stream, rows: Sequence[Row], tolerance: float) -> Parity:
    before = state_of(model)
    exported = to_onnx(model, stream.numbers, stream.categories, name="law", version=1)
    assert state_of(model) == before, "exporting changed the model"
    assert_well_formed(exported)
    parity = check_parity(model, exported.SerializeToString(), rows, tolerance=tolerance)
    assert state_of(model) == before, "comparing changed the model"
    session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    together = session.run(names, feed(stream, rows))
    for i in range(0, len(rows), 7):
        alone = session.run(names, feed(stream, [rows[i]]))
        _assert_same(names, [answer[i : i + 1] for answer in together], alone, tolerance)
    if not NOT_IN_REFERENCE & {node.op_type for node in exported.graph.node}:
        some = list(rows[:: max(1, len(rows) // REFERENCE_ROWS)])
        reference = ReferenceEvaluator(exported).run(names, feed(stream, some))
        _assert_same(names, reference, session.run(names, feed(stream, some)), tolerance)
    return parity


def assert_well_formed(exported: onnx.ModelProto) -> None:
    """It passes onnx's full check, every shape is inferred without a guess, and versions and operators are pinned."""
    onnx.checker.check_model(exported, full_check=True)
    onnx.shape_inference.infer_shapes(exported, check_type=True, strict_mode=True, data_prop=True)
    opsets = {entry.domain: entry.version for entry in exported.opset_import}
    assert (opsets[""], opsets["ai.onnx.ml"], exported.ir_version) == (20, 5, 10)
    outputs = [entry.name for entry in exported.graph.output]
    assert outputs in (["label", "probabilities"], ["prediction"], ["score"])


def feed(stream: Stream, rows: Sequence[Row]) -> dict[str, Any]:
    """The rows as the graph's inputs."""
    tensors: dict[str, Any] = {}
    if stream.numbers:
        tensors["numbers"] = np.array([[x.get(name, math.nan) for name in stream.numbers] for x in rows], np.float64)
    if stream.categories:
        tensors["categories"] = np.array([[x.get(name, "") for name in stream.categories] for x in rows], object)
    return tensors


def state_of(model: Any) -> bytes:
    """The model's canonical bytes; of one that the journal has no form for, its pickle.

    Pickles of equal models may differ, but here one object is written twice.
    """
    try:
        return encode_state(model)
    except NotStorable:
        return pickle.dumps(model)


def _assert_same(names: Sequence[str], one: Sequence[Any], other: Sequence[Any], tolerance: float) -> None:
    for name, a, b in zip(names, one, other, strict=True):
        # Labels may part only where rounding decides, which `check_parity` has judged row by row.
        if name != "label":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


def _learn(model: Any, examples: Sequence[tuple[Row, Any]]) -> None:
    for x, y in examples:
        try:
            if y is None:
                model.learn_one(dict(x))
            else:
                model.learn_one(dict(x), y)
        except KeyError:
            continue  # Select lacks its feature


def _asked(stream: Stream, held: Sequence[Row]) -> Iterator[Row]:
    chance = random.Random(11)
    yield {}
    yield dict.fromkeys(stream.numbers, 0.0) | dict.fromkeys(stream.categories, UNSEEN)
    yield dict.fromkeys(stream.numbers, 1e6)
    yield dict.fromkeys(stream.numbers, -1e6) | dict.fromkeys(stream.categories, "_")
    for x in [*held, *stream.held]:
        yield x
        yield {name: value for name, value in x.items() if chance.random() > 0.4}
        yield {name: UNSEEN if isinstance(value, str) else value for name, value in x.items() if chance.random() > 0.2}
    for x, _ in stream.examples[-60:]:
        yield x


def _stream(
    target: Target,
    numbers: tuple[str, ...],
    categories: tuple[str, ...],
    *,
    seed: int,
    n: int,
    missing: float = 0.0,
    constant: tuple[str, ...] = (),
) -> Stream:
    chance = random.Random(seed)

    def row() -> dict[str, float | str]:
        full: dict[str, float | str] = {name: round(chance.gauss(i, 1.0 + i), 1) for i, name in enumerate(numbers)}
        full |= dict.fromkeys(constant, 3.5)
        full |= {name: chance.choice(["at", "b_c", "é", "phone"][: 3 + i]) for i, name in enumerate(categories)}
        return {name: value for name, value in full.items() if chance.random() >= missing}

    rows = [row() for _ in range(n + 40)]
    examples = tuple((x, _target(target, x, chance)) for x in rows[:n])
    return Stream(numbers, categories, examples, tuple(rows[n:]))


def _target(target: Target, x: Row, chance: random.Random) -> Any:
    """A rule with an edge in each feature and a little noise, so that trees split and weights move."""
    signal = sum(value if isinstance(value, float) else len(value) - 2.0 for value in x.values())
    signal += (3.0 if float(x.get("price", 0.0)) > 0.5 else 0.0) + chance.gauss(0.0, 0.3)
    match target:
        case "binary":
            return signal > 3.0
        case "multiclass":
            return "low" if signal < 1.0 else "middle" if signal < 5.0 else "high"
        case "regression":
            return round(10.0 * signal, 2)
        case "none":
            return None

"""What an export costs: linear models beside scikit-learn's through skl2onnx, every family, and weights as inputs.

`python -m benchmarks.export` (or `make bench`) prints the tables of docs/export_speed.md. All figures are medians of
CPU time of the one thread that works, and what is compared is run by turns, so that a busy machine costs nobody.
Absolute figures are this machine's; the ratios travel.
"""

from __future__ import annotations

import functools
import logging
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import click
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from river import (
    anomaly,
    cluster,
    compose,
    conf,
    drift,
    dummy,
    ensemble,
    facto,
    feature_extraction,
    feature_selection,
    forest,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    tree,
)
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from learners.calibration import PlattCalibrated
from learners.onnx_export import FAMILIES, to_onnx
from learners.parity import check_parity

Row: TypeAlias = dict[str, float | str]
Target: TypeAlias = Literal["binary", "regression", "none"]

WIDTHS = (10, 50, 200)
ROWS = 32
EXAMPLES = 1000
ROUNDS = 20
TURN = 5
FAMILY_EXAMPLES = 400
FAMILY_ROUNDS = 7
BATCH = 256
SWAP_EVERY_S = 2.0

# In ms, by number of features: the graph's bytes; bytes, session and parity.
TARGETS: Mapping[int, tuple[float, float]] = {10: (0.5, 2.0), 50: (0.5, 3.5), 200: (0.5, 4.0)}
LEAST_RATIO = 3.0


def run(rounds: int = ROUNDS) -> dict[int, dict[str, float]]:
    """Print the tables; return the medians in ms of the first one, by number of features."""
    medians = _linear(rounds)
    _families()
    _weights_as_inputs(rounds)
    return medians


# --- linear models beside their twins ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taught:
    """A model that has learned, its features, and the rows that it learned last."""

    model: Any
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    rows: list[Row]

    def export(self) -> bytes:
        """The graph's bytes."""
        made = to_onnx(self.model, self.numbers, self.categories, name="bench", version=1)
        serialized: bytes = made.SerializeToString()
        return serialized

    def feed(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The rows as the graph's inputs."""
        numbers = np.array([[row.get(name, math.nan) for name in self.numbers] for row in rows], np.float64)
        texts = np.array([[row.get(name, "") for name in self.categories] for row in rows], object)
        return {"numbers": numbers} | ({"categories": texts} if self.categories else {})


def _linear(rounds: int) -> dict[int, dict[str, float]]:
    click.echo(f"StandardScaler | LogisticRegression, {EXAMPLES} examples, {rounds} rounds of turns of {TURN}, CPU ms.")
    click.echo(
        f"All: bytes, session and parity on {ROWS} rows, in freshet's case those of the check's own among them.\n"
    )
    click.echo("| features | bytes | target | twin's | ratio | all | target | twin's | ratio |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    medians: dict[int, dict[str, float]] = {}
    # skl2onnx names every class that it does not know, and a session every constant that it folds.
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    for width in WIDTHS:
        taught = _linear_model(width)
        own = check_parity(taught.model, taught.export(), []).rows
        median = medians[width] = _by_turns(
            {
                "bytes": taught.export,
                "twin's bytes": functools.partial(_twin_bytes, taught),
                "all": functools.partial(_all, taught, taught.rows[: ROWS - own]),
                "twin's all": functools.partial(_twin_all, taught),
            },
            rounds,
        )
        cells = [f"{width}"]
        for name, target in zip(("bytes", "all"), TARGETS[width], strict=True):
            ours, twins = median[name], median[f"twin's {name}"]
            cells += [f"{ours:.2f}", f"≤ {target} {_met(ours <= target)}", f"{twins:.2f}"]
            cells += [f"{twins / ours:.1f}× {_met(twins / ours >= LEAST_RATIO)}"]
        click.echo(f"| {' | '.join(cells)} |")
    return medians


def _all(taught: Taught, held: Sequence[Row]) -> None:
    if check_parity(taught.model, taught.export(), held).rows != ROWS:
        raise RuntimeError("the check compared another number of rows than the twin's")


def _twin_bytes(taught: Taught) -> bytes:
    """The way through scikit-learn: objects with River's numbers, converted."""
    scaler, logistic = taught.model["StandardScaler"], taught.model["LogisticRegression"]
    scaling = StandardScaler()
    scaling.mean_ = np.array([scaler.means[name] for name in taught.numbers])
    scaling.var_ = np.array([scaler.vars[name] for name in taught.numbers])
    scaling.scale_ = np.sqrt(scaling.var_)
    scaling.n_features_in_ = len(taught.numbers)
    scaling.n_samples_seen_ = EXAMPLES
    weights = logistic.weights
    classifying = LogisticRegression()
    classifying.coef_ = np.array([[weights[name] for name in taught.numbers]])
    classifying.intercept_ = np.array([logistic.intercept])
    classifying.classes_ = np.array([False, True])
    classifying.n_features_in_ = len(taught.numbers)
    twin = convert_sklearn(
        Pipeline([("scaling", scaling), ("classifying", classifying)]),
        initial_types=[("numbers", DoubleTensorType([None, len(taught.numbers)]))],
        options={id(classifying): {"zipmap": False}},
        target_opset={"": 20, "ai.onnx.ml": 3},
    )
    serialized: bytes = twin.SerializeToString()
    return serialized


def _twin_all(taught: Taught) -> None:
    session = _session(_twin_bytes(taught))
    answers = session.run(["probabilities"], taught.feed(taught.rows))[0]
    for row, answer in zip(taught.rows, answers, strict=True):
        if not abs(taught.model.predict_proba_one(row)[True] - answer[1]) <= 1e-9:
            raise RuntimeError(f"the twin answers {answer[1]} for {row}")


def _linear_model(width: int) -> Taught:
    chance = random.Random(1)
    names = tuple(f"feature {number}" for number in range(width))
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    rows: list[Row] = [{name: chance.gauss(1.0, 2.0) for name in names} for _ in range(EXAMPLES)]
    for row in rows:
        model.learn_one(row, float(row[names[0]]) + chance.gauss(0.0, 1.0) > 1.0)
    return Taught(model, names, (), rows[-ROWS:])


# --- every family -----------------------------------------------------------------------------------------------------

NUMBERS = ("price", "hour", "position")
CATEGORIES = ("country", "device")


def _logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def _linear_regression() -> Any:
    return preprocessing.StandardScaler() | linear_model.LinearRegression()


def _encoded(model: Any) -> Any:
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (texts + (compose.SelectType(float) | preprocessing.StandardScaler())) | model


def _numeric(model: Any) -> Any:
    return compose.SelectType(float) | model


def _doubled(x: Any) -> Any:
    return {"twice": x["price"] + x["price"]}


# By module of `FAMILIES`: what it learns from the small stream, and who speaks for it.
REPRESENTATIVES: dict[str, tuple[Target, Callable[[], Any]]] = {
    "aggregates": (
        "binary",
        lambda: feature_extraction.TargetAgg(by="country", how=stats.Mean()) | linear_model.LogisticRegression(),
    ),
    "anomaly": ("none", lambda: _numeric(preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1))),
    "calibration": ("binary", lambda: PlattCalibrated(_encoded(linear_model.LogisticRegression()))),
    "clusters": ("none", lambda: _numeric(preprocessing.StandardScaler() | cluster.KMeans(5, seed=1))),
    "compose": ("binary", lambda: _encoded(linear_model.LogisticRegression())),
    "conformal": ("regression", lambda: conf.RegressionJackknife(_numeric(_linear_regression()))),
    "dummy": ("binary", dummy.PriorClassifier),
    "ensemble": ("binary", lambda: ensemble.BaggingClassifier(_numeric(_logistic()), 10, seed=1)),
    "expansions": (
        "binary",
        lambda: _numeric(feature_extraction.PolynomialExtender(2) | linear_model.LogisticRegression()),
    ),
    "factorization": (
        "binary",
        lambda: facto.FMClassifier(10, latent_initializer=optim.initializers.Constant(np.full(10, 0.1))),
    ),
    "feature_selectors": (
        "binary",
        lambda: _numeric(feature_selection.VarianceThreshold(0.1) | linear_model.LogisticRegression()),
    ),
    "forests": ("binary", lambda: forest.ARFClassifier(10, seed=1, grace_period=20)),
    "functions": (
        "binary",
        lambda: _numeric(compose.FuncTransformer(_doubled)) | linear_model.LogisticRegression(),
    ),
    "hashing": ("binary", lambda: preprocessing.FeatureHasher(64) | linear_model.LogisticRegression()),
    "hoeffding": ("binary", lambda: tree.HoeffdingTreeClassifier(grace_period=20)),
    "imputers": (
        "binary",
        lambda: _numeric(
            preprocessing.StatImputer(*((name, stats.Mean()) for name in NUMBERS)) | linear_model.LogisticRegression()
        ),
    ),
    "linear": ("binary", lambda: _numeric(linear_model.LogisticRegression())),
    "mondrian": ("binary", lambda: _numeric(preprocessing.MinMaxScaler() | forest.AMFClassifier(10, seed=1))),
    "multiclass": ("binary", lambda: multiclass.OneVsRestClassifier(_numeric(_logistic()))),
    "naive_bayes": ("binary", lambda: _numeric(naive_bayes.GaussianNB())),
    "names": ("binary", lambda: _numeric(compose.Prefixer("its ") | linear_model.LogisticRegression())),
    "ordinals": (
        "binary",
        lambda: compose.SelectType(str) | preprocessing.OrdinalEncoder() | linear_model.LogisticRegression(),
    ),
    "patches": ("binary", lambda: _numeric(ensemble.SRPClassifier(tree.HoeffdingTreeClassifier(), 10, seed=1))),
    "preprocessing": ("binary", lambda: _numeric(_logistic())),
    "row_steps": ("binary", lambda: _numeric(preprocessing.Normalizer() | linear_model.LogisticRegression())),
    "scalers": ("binary", lambda: _numeric(preprocessing.MinMaxScaler() | linear_model.LogisticRegression())),
    "selection": (
        "regression",
        lambda: model_selection.GreedyRegressor(
            [_numeric(_linear_regression()), dummy.StatisticRegressor(stats.Mean())]
        ),
    ),
    "stacking": (
        "binary",
        lambda: _numeric(
            preprocessing.StandardScaler()
            | ensemble.StackingClassifier(
                [linear_model.LogisticRegression(), linear_model.PAClassifier()], linear_model.LogisticRegression()
            )
        ),
    ),
    "wrappers": ("binary", lambda: drift.DriftRetrainingClassifier(_numeric(_logistic()))),
}


def _families() -> None:
    click.echo(
        f"\nOne estimator of each family, {FAMILY_EXAMPLES} examples of {len(NUMBERS)} numbers and {len(CATEGORIES)} "
        f"categories, {FAMILY_ROUNDS} rounds; rows as tensors for onnxruntime, as dicts for River.\n"
    )
    click.echo(
        "| family | bytes | export ms | session ms | parity ms | ONNX µs/row at 1 | at 256 | River µs/row | ratios |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for family in sorted(module.__name__.rpartition(".")[2] for module in FAMILIES):
        if family not in REPRESENTATIVES:
            raise RuntimeError(f"the family {family} has no representative in {__name__}")
        target, make = REPRESENTATIVES[family]
        click.echo(f"| {family} | {' | '.join(_family(_taught(make(), target), target))} |")


def _family(taught: Taught, target: Target) -> Iterator[str]:
    made = taught.export()
    session = _session(made)
    outputs = [output.name for output in session.get_outputs()]
    river = getattr(taught.model, "score_one" if outputs == ["score"] else "predict_one")
    one, many = taught.feed(taught.rows[:1]), taught.feed((taught.rows * 8)[:BATCH])
    medians = _by_turns(
        {
            "export": taught.export,
            "session": lambda: _session(made),
            "parity": lambda: check_parity(taught.model, made, taught.rows),
            "one": lambda: [session.run(outputs, one) for _ in range(ROWS)],
            "many": lambda: session.run(outputs, many),
            "river": lambda: [river(row) for row in taught.rows],
        },
        FAMILY_ROUNDS,
    )
    yield f"{len(made):,}"
    yield from (f"{medians[name]:.2f}" for name in ("export", "session", "parity"))
    at_1, at_256, by_river = medians["one"] / ROWS, medians["many"] / BATCH, medians["river"] / ROWS
    yield from (f"{each * 1000:.2f}" for each in (at_1, at_256, by_river))
    yield f"{by_river / at_1:.1f}×, {by_river / at_256:.0f}×"


def _taught(model: Any, target: Target) -> Taught:
    chance = random.Random(2)
    rows: list[Row] = []
    for _ in range(FAMILY_EXAMPLES):
        row: Row = {name: chance.gauss(1.0, 2.0) for name in NUMBERS}
        row |= {name: chance.choice(["at", "de", "us", "phone"]) for name in CATEGORIES}
        signal = float(row["price"]) + (row["country"] == "at") + chance.gauss(0.0, 0.5)
        if target == "none":
            model.learn_one(row)
        else:
            model.learn_one(row, signal > 1.0 if target == "binary" else signal)
        rows.append(row)
    return Taught(model, NUMBERS, CATEGORIES, rows[-ROWS:])


# --- weights as inputs ------------------------------------------------------------------------------------------------


def _weights_as_inputs(rounds: int) -> None:
    """What a swap saves if the weights are inputs of a session that stays, and what every request then pays."""
    click.echo("\nWeights as inputs: a swap, and a request of one row and of 500, median CPU µs.\n")
    click.echo(
        "| features | swap: new session | new weights | 1 row: constants | weights fed | overridden | bound "
        "| 500: constants | weights fed | overridden | bound | slower from |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for width in WIDTHS:
        taught = _linear_model(width)
        made = taught.export()
        asked = {1: taught.feed(taught.rows[:1]), 500: taught.feed((taught.rows * 16)[:500])}
        ways = _Ways(made)
        swaps: dict[str, Callable[[], Any]] = {
            "session": functools.partial(_warm, made, asked[1]),
            "weights": functools.partial(_weights_of, made),
        }
        medians = _by_turns(swaps, rounds)
        for feed in asked.values():
            ways.refuse_difference(feed)
        turns: dict[str, Callable[[], Any]] = {
            f"{rows} {name}": functools.partial(_times, 20, functools.partial(ask, feed))
            for rows, feed in asked.items()
            for name, ask in ways.asks.items()
        }
        medians |= {name: took / 20 for name, took in _by_turns(turns, rounds).items()}
        saved = medians["session"] - medians["weights"]
        dearer = min(medians[f"1 {name}"] for name in ("fed", "overridden", "bound")) - medians["1 constants"]
        from_per_s = f"{saved / dearer / SWAP_EVERY_S:,.0f} requests/s" if dearer > 0 else "never"
        cells = [f"{took * 1000:.1f}" for took in medians.values()]
        click.echo(f"| {width} | {' | '.join(cells)} | {from_per_s} |")
    click.echo(f"\nSlower from: where requests of one row cost more than a swap every {SWAP_EVERY_S:g} s saves.")


class _Ways:
    """One graph asked in four ways: weights as constants, as inputs, as inputs with defaults, and bound once."""

    def __init__(self, made: bytes) -> None:
        weights = _weights_of(made)
        self._constants = _session(made)
        self._fed = _session(_with_inputs(made, weights, defaults=False))
        self._overridden = _session(_with_inputs(made, weights, defaults=True))
        self._weights = weights
        self._binding = self._fed.io_binding()
        self._kept = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in weights.items()}
        for name, value in self._kept.items():
            self._binding.bind_ortvalue_input(name, value)
        self.asks: dict[str, Callable[[dict[str, Any]], Any]] = {
            "constants": lambda feed: self._constants.run(["probabilities"], feed)[0],
            "fed": lambda feed: self._fed.run(["probabilities"], {**feed, **self._weights})[0],
            "overridden": lambda feed: self._overridden.run(["probabilities"], {**feed, **self._weights})[0],
            "bound": self._bound,
        }

    def _bound(self, feed: dict[str, Any]) -> Any:
        self._binding.bind_cpu_input("numbers", feed["numbers"])
        self._binding.bind_output("probabilities")
        self._fed.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()[0]

    def refuse_difference(self, feed: dict[str, Any]) -> None:
        """All four must give one answer, or the figures compare nothing."""
        expected, *others = (ask(feed) for ask in self.asks.values())
        for other in others:
            np.testing.assert_allclose(other, expected, rtol=0.0, atol=1e-12)


def _weights_of(made: bytes) -> dict[str, Any]:
    """What moves when the model learns: the constants that the features meet, and the intercept."""
    graph = onnx.ModelProto.FromString(made).graph
    moving = {name for node in graph.node if node.op_type in {"Sub", "Div", "MatMul", "Add"} for name in node.input[1:]}
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer if each.name in moving}


def _with_inputs(made: bytes, weights: Mapping[str, Any], *, defaults: bool) -> bytes:
    model = onnx.ModelProto.FromString(made)
    for name, array in weights.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, array.shape))
    if not defaults:
        constants = [each for each in model.graph.initializer if each.name not in weights]
        del model.graph.initializer[:]
        model.graph.initializer.extend(constants)
    serialized: bytes = model.SerializeToString()
    return serialized


def _warm(made: bytes, feed: dict[str, Any]) -> None:
    _session(made).run(["probabilities"], feed)


# --- measuring --------------------------------------------------------------------------------------------------------


def _by_turns(turns: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Run all by turns of `TURN`, again and again in random order; return the median CPU ms of each."""
    took: dict[str, list[float]] = {name: [] for name in turns}
    shuffled = list(turns.items())
    for number in range(rounds + 1):
        random.shuffle(shuffled)
        for name, turn in shuffled:
            for _ in range(TURN):
                started_ns = time.thread_time_ns()
                turn()
                if number:  # the first round warms up
                    took[name].append((time.thread_time_ns() - started_ns) / 1e6)
    return {name: statistics.median(each) for name, each in took.items()}


def _times(times: int, ask: Callable[[], Any]) -> None:
    for _ in range(times):
        ask()


def _session(made: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # as freshet loads them
    options.log_severity_level = 4
    return ort.InferenceSession(made, options, providers=["CPUExecutionProvider"])


def _met(is_met: bool) -> str:
    return "✓" if is_met else "✗"


if __name__ == "__main__":
    run()

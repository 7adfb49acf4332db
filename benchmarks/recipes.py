"""What each recipe costs and how large it gets: all of them on one stream of simulated events, by turns.

`python -m benchmarks.recipes` prints the table of docs/recipes.md. Every example is predicted, then learned, so that
the AUC is of what a learner had not learned yet. Times are CPU time, so that a busy machine costs nobody; absolute
figures are this machine's, the ratios travel.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from learners import Model, event_type, every, happens, load_model
from learners import recipes as zoo
from learners.join import Closed, Join, Pending
from learners.onnx_export import to_onnx
from learners.state import encode_state
from learners.training import Training
from schemas.generated import APPLIES, OUTCOME
from schemas.profile import Profile
from schemas.reader import Reader, X
from scoring.session import Session
from streams.simulator import Simulator

FEATURES_OF = Path(__file__).parents[1] / "examples" / "purchase_propensity.py"
RECIPES: dict[str, Callable[[], Any]] = {
    "fast_linear": zoo.fast_linear,
    "calibrated": zoo.calibrated,
    "regression": zoo.regression,
    "adaptive_forest": zoo.adaptive_forest,
    "calibrated(adaptive_forest)": lambda: zoo.calibrated(zoo.adaptive_forest()),
    "anomaly": zoo.anomaly,
}
EXAMPLES = 12_000
TURN = 500
BATCH = 256
ROUNDS = 7


class Runner:
    """One recipe on its way through the stream, with what was measured of it."""

    def __init__(self, model: Model) -> None:
        self.training = Training(model)
        self.scores: list[float] = []
        self.took: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, examples: list[Closed]) -> None:
        """Predict and learn examples, one by one."""
        rows = [(_row(self.training.model.reader, each.pending.x), each.y) for each in examples]
        task, learner = self.training.model.task, self.training.learner
        predicted_ns = 0
        started_ns = time.thread_time_ns()
        for x, y in rows:
            asked_ns = time.thread_time_ns()
            score = task.score(learner, x)
            predicted_ns += time.thread_time_ns() - asked_ns
            self.scores.append(score)
            task.learn(learner, x, y)
        whole_ns = time.thread_time_ns() - started_ns
        self.took["predict_us"].append(predicted_ns / len(rows) / 1000)
        self.took["learn_us"].append((whole_ns - predicted_ns) / len(rows) / 1000)

    def export(self) -> bytes:
        """Return the learner as it is now as ONNX."""
        spec = self.training.model.spec
        made = to_onnx(self.training.learner, spec.numbers, spec.categories, name=spec.name, version=0)
        serialized: bytes = made.SerializeToString()
        return serialized

    def serve(self, rows: list[X]) -> None:
        """Export, load and ask, a few times each."""
        release = self.training.candidate(0, 0)
        session = Session(release)
        self.took["export_ms"].append(_median_ms(self.export, 3))
        self.took["session_ms"].append(_median_ms(lambda: Session(release), 3))
        self.took["row_us"].append(_median_ms(lambda: session.score(rows[:1]), 100) * 1000)
        self.took["batched_row_us"].append(_median_ms(lambda: session.score(rows), 10) * 1000 / len(rows))

    def figures(self, labels: list[bool]) -> dict[str, float]:
        """Return the medians of what was measured, the sizes, and how good the scores were."""
        medians = {name: statistics.median(took) for name, took in self.took.items()}
        return {
            **medians,
            **self.training.model.task.figures(self.scores, labels),
            "state_bytes": len(encode_state(self.training.learner)),
            "onnx_bytes": len(self.export()),
        }


def run(examples: int = EXAMPLES) -> dict[str, dict[str, float]]:
    """Print the table; return the figures by recipe."""
    reader = load_model(FEATURES_OF).reader
    stream = simulated(reader, examples)
    labels = [closed.y for closed in stream]
    share = sum(labels) / len(labels)
    click.echo(f"{len(stream)} examples of simulated events, {share:.1%} with the outcome, {_seen(reader)}")
    runners = {name: Runner(model_of(reader, make())) for name, make in RECIPES.items()}
    for start in range(0, len(stream), TURN):
        for runner in runners.values():
            runner.learn(stream[start : start + TURN])
    asked = [closed.pending.x for closed in stream[-BATCH:]]
    for _ in range(ROUNDS):
        for runner in runners.values():
            runner.serve(asked)
    figures = {name: runner.figures(labels) for name, runner in runners.items()}
    _print(figures)
    return figures


def model_of(reader: Reader, learner: Any) -> Model:
    """Return a model with these features and this learner."""
    return Model(
        name="recipe",
        applies_to=event_type(*reader.spec.applies_to),
        features=reader.spec.features,
        outcome=happens(reader.spec.outcome, within="30m"),
        learner=learner,
        release=every("2s"),
    )


def simulated(reader: Reader, examples: int) -> list[Closed]:
    """Return what a scorer would make of simulated events: `x` as it was known, `y` as it turned out, in that order."""
    profiles: dict[str, Profile | None] = {}
    join = Join(reader.spec.within_ms)
    closed: list[Closed] = []
    for made in Simulator(seed=1, visitors=300).events():
        event = reader.read(made.value, 2**53)
        profile = profiles.get(event.visitor)
        closed += join.advance(event.time_ms - reader.spec.lateness_ms)
        if event.kinds & OUTCOME:
            closed += join.outcome(event.visitor, event.time_ms)
        if event.kinds & APPLIES:
            already = join.open(Pending(event.id, event.visitor, event.time_ms, reader.x(event, profile)))
            closed += [already] if already else []
        profiles[event.visitor] = reader.remember(profile, event.time_ms, event.kinds)
        if len(closed) >= examples:
            break
    return closed[:examples]


def _seen(reader: Reader) -> str:
    return f"{len(reader.spec.numbers)} numbers and {len(reader.spec.categories)} categories"


def _row(reader: Reader, x: X) -> dict[str, float | str]:
    numbers, categories = reader.named(x)
    return {**numbers, **categories}


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    took_ns = []
    for _ in range(repeats):
        started_ns = time.thread_time_ns()
        work()
        took_ns.append(time.thread_time_ns() - started_ns)
    return statistics.median(took_ns) / 1e6


def _print(figures: dict[str, dict[str, float]]) -> None:
    base = figures["fast_linear"]
    click.echo(
        "\n| recipe | learn µs | beside fast_linear | predict µs in River | in onnxruntime, one row | "
        f"a row of {BATCH} | state bytes | ONNX bytes | export ms | session ms | AUC | log loss |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name, each in figures.items():
        loss = f"{each['logloss']:.3f}" if "logloss" in each else ""
        click.echo(
            f"| `{name}` | {each['learn_us']:.0f} | {each['learn_us'] / base['learn_us']:.1f}× | "
            f"{each['predict_us']:.0f} | {each['row_us']:.0f} | {each['batched_row_us']:.1f} | "
            f"{each['state_bytes']:,.0f} | {each['onnx_bytes']:,.0f} | {each['export_ms']:.1f} | "
            f"{each['session_ms']:.1f} | {each['auc']:.3f} | {loss} |"
        )


if __name__ == "__main__":
    run()

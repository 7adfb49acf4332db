"""The scorer loop beside stock Faust and beside a loop written by hand, in one run, by turns.

`python -m benchmarks.scorer` (or `make bench`) prints a table: events per CPU second of the process, everything on:
decode, validate, profile, features, ONNX, scores, pendings, examples, profiles, state. Absolute figures are this
machine's; the ratios travel.
"""

from __future__ import annotations

import asyncio
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.scorer_loops import LOOPS, MODEL
from learners import load_model
from learners.training import Training
from schemas.records import Alias, encode
from streams.broker import EmbeddedBroker
from streams.replay import replay
from streams.sender import Sender
from streams.simulator import Simulator
from streams.topics import ALIASES, RELEASES, Cluster, create_topics

EVENTS = 60_000
STOCK_EVENTS = 12_000  # stock Faust takes a fifth of the events: its figure does not depend on how many
ROUNDS = 3


def run(events: int = EVENTS, rounds: int = ROUNDS, visitors: int = 1000, profile: str = "") -> dict[str, float]:
    """Print the table; return events per CPU second by loop."""
    with tempfile.TemporaryDirectory() as directory, EmbeddedBroker(Path(directory), heap_mib=512) as broker:
        values = [value for _, value in Simulator(seed=1, visitors=visitors).payloads(events)]
        size = sum(map(len, values)) / len(values)
        click.echo(f"{events} simulated events of {size:.0f} bytes, {visitors} visitors, {rounds} rounds by turns")
        figures: dict[str, list[float]] = {loop: [] for loop in LOOPS}
        for number in range(rounds):
            cluster = Cluster(broker.bootstrap, f"round{number}.")
            asyncio.run(_fill(cluster, values))
            for loop in LOOPS:
                count = min(events, STOCK_EVENTS) if loop.startswith("stock") else events
                figures[loop].append(_measure(loop, cluster, count))
        medians = {loop: statistics.median(runs) for loop, runs in figures.items()}
        click.echo("\n| loop | events per CPU second: median | runs | beside freshet |")
        click.echo("|---|---|---|---|")
        for loop, median in medians.items():
            runs = ", ".join(f"{each:,.0f}" for each in sorted(figures[loop]))
            click.echo(f"| {loop} | {median:,.0f} | {runs} | {median / medians['freshet']:.2f}× |")
        click.echo(f"\nfreshet / stock Faust: {medians['freshet'] / medians['stock Faust take()']:.1f}×")
        journal = 1 - medians["freshet"] / medians["freshet without its journal"]
        click.echo(f"the journal's share of the scorer's CPU: {journal:.1%}")
        if profile:
            cluster = Cluster(broker.bootstrap, "profile.")
            asyncio.run(_fill(cluster, values))
            _measure("freshet", cluster, events, profile)
            click.echo("\nthe ten functions of the freshet loop with the most own time (profiled apart):")
            pstats.Stats(profile).sort_stats("tottime").print_stats(10)
    return medians


async def _fill(cluster: Cluster, values: list[bytes]) -> None:
    await create_topics(cluster)
    await replay(cluster, values, rate_per_s=0)
    model = load_model(MODEL)
    release = Training(model).candidate(0, 0)
    alias = Alias(model=release.model, alias="live", version=0, changed_at=0)
    sender = Sender(cluster.bootstrap)
    await sender.start()
    await (await sender.send(cluster.topic(RELEASES), f"{release.model}/0".encode(), encode(release)))
    await (await sender.send(cluster.topic(ALIASES), f"{release.model}/live".encode(), encode(alias)))
    await sender.stop()


def _measure(loop: str, cluster: Cluster, events: int, profile: str = "") -> float:
    """Return events per CPU second of one loop in a process of its own, from the first event of the topic on."""
    argv = [sys.executable, "-m", "benchmarks.scorer_loops", loop, cluster.bootstrap, cluster.prefix, str(events)]
    env = os.environ | {"FRESHET_BENCH_PROFILE": profile}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{loop} printed no figure:\n{done.stderr[-3000:]}")
    figures = json.loads(lines[-1])
    return float(figures["events"] / figures["cpu_s"])


if __name__ == "__main__":
    run(profile=str(Path(tempfile.gettempdir()) / "freshet-bench.prof"))

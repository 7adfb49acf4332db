"""`freshet simulate`: events of simulated shop visitors."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
import sys

import click

from streams.cli.options import this_cluster
from streams.replay import newest_event_ms, replay
from streams.simulator import WINDOW_S, Simulator

_A_MINUTE_MS = 60_000
_A_WEEK = dt.timedelta(days=7)


@click.command()
@click.option("--rate", default=100.0, show_default=True, help="Events per second sent; 0 is as fast as they go.")
@click.option("--events", default=10_000, show_default=True, type=click.IntRange(1), help="How many, then stop.")
@click.option("--visitors", default=1000, show_default=True, type=click.IntRange(1), help="How many there are.")
@click.option("--seed", type=int, help="The same seed gives the same events; drawn where it is left out.")
@click.option("--drift-at", type=float, help="Seconds of event time after which other visitors are the ones who buy.")
@click.option("--bad-every", type=click.IntRange(1), help="After so many good events comes a bad record.")
@click.option("--print", "to_stdout", is_flag=True, help="Print JSON lines instead of sending them.")
def command(  # noqa: PLR0917
    rate: float,
    events: int,
    visitors: int,
    seed: int | None,
    drift_at: float | None,
    bad_every: int | None,
    *,
    to_stdout: bool,
) -> None:
    """Send events of simulated shop visitors whose true purchase probabilities are known.

    Event time is that of the simulated shop, about one event in five minutes per visitor: it goes on where the topic
    `events` ends, a week ago where it is empty. --rate is how fast events are sent. When all are sent a tick closes
    every window, so that labels are known.

    \b
      freshet simulate --rate 500 --visitors 2000 --drift-at 86400
    """
    per_second = visitors / 300
    start = dt.datetime.now(dt.UTC) - _A_WEEK
    if not to_stdout:
        cluster = this_cluster()
        newest_ms = asyncio.run(newest_event_ms(cluster))
        start = max(start, dt.datetime.fromtimestamp(newest_ms / 1000 + 1, dt.UTC))
    if seed is None:
        seed = random.SystemRandom().randrange(1_000_000)
        click.echo(f"seed {seed}", err=True)
    if start + dt.timedelta(seconds=events / per_second) > dt.datetime.now(dt.UTC):
        raise click.UsageError(
            f"{events} events of {visitors} visitors from {start:%Y-%m-%d %H:%M} on would lie in the future; "
            "take fewer --events or more --visitors"
        )
    simulator = Simulator(
        seed=seed, visitors=visitors, rate=per_second, start=start, drift_at=drift_at, bad_every=bad_every
    )
    values = (event.value for event in itertools.islice(simulator.events(), events))
    if to_stdout:
        for value in values:
            sys.stdout.buffer.write(value.replace(b"\n", b" ") + b"\n")
        return
    closing_ms = int(WINDOW_S * 1000) + _A_MINUTE_MS * 5
    with click.progressbar(length=events, label="events sent") as bar:
        sent = asyncio.run(
            replay(
                cluster,
                values,
                rate_per_s=rate,
                closing_ms=closing_ms,
                on_sent=lambda done: bar.update(done - bar.pos),
            )
        )
    click.echo(f"{sent} events sent")

"""`freshet demo`: the main job end to end on real events."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from streams.demo.run import Material, Result, Settings, load, run_demo
from streams.supervisor import StopSignals


@click.command()
@click.option("--data", default=None, metavar="luma|cdnow|PATH", help="Data set; Luma by default, CDNOW without it.")
@click.option("--model", type=click.Path(path_type=Path), default=None, help="Model file; by default the data set's.")
@click.option("--seconds", type=click.FloatRange(min=20), default=85.0, show_default=True, help="About how long.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Directory; by default demo-<time>.")
def command(data: str | None, model: Path | None, seconds: float, out: Path | None) -> None:
    """Run the main job end to end on real events, watch it, keep a report.

    Starts a Kafka broker, a scorer, a learner and an edge as separate processes; replays recorded events in
    event time while a client asks the edge for scores; ends by itself. The exit code is 0 only if every
    promise held. Leaves summary.json, report.html and the processes' logs in a directory it names at the end.
    """
    out = out or Path(time.strftime("demo-%Y%m%d-%H%M%S"))
    settings = Settings(data, model, seconds, out)
    material = load(settings, sys.stdout)  # before there is a loop whose signal handlers it would hold up
    sys.exit(asyncio.run(_run(material, settings)))


async def _run(material: Material, settings: Settings) -> int:
    demo = asyncio.create_task(run_demo(material, settings, sys.stdout))
    # Each further signal cancels again: it cuts short whatever the first one still waits for.
    with StopSignals(demo.cancel) as signals:
        try:
            result = await demo
        except asyncio.CancelledError:
            if signals.received is None:
                raise
            click.echo(f"stopped by {signals.received.name}; the logs are in {settings.out / 'logs'}", err=True)
            return 128 + signals.received
        except BaseException:
            click.echo(f"the logs are in {settings.out / 'logs'}", err=True)
            raise
    _tell(result)
    return 0 if result.held else 1


def _tell(result: Result) -> None:
    click.echo("")
    for promise in result.promises:
        click.echo(f"{'held  ' if promise.held else 'BROKEN'}  {promise.words}: {promise.value}")
    click.echo(f"\nsummary  {result.summary}\nreport   {result.report}")

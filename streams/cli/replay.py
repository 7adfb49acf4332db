"""`freshet replay`: a recorded data set, in event time."""

from __future__ import annotations

import asyncio

import click

from streams.cli.options import this_cluster
from streams.replay import replay


@click.command()
@click.option("--data", metavar="luma|cdnow|PATH", help="The data set; by default the first that is to be had.")
@click.option("--rate", default=300.0, show_default=True, help="Events per second; 0 is as fast as they go.")
@click.option(
    "--closing", default="31d", show_default=True, help="Event time that passes after the last event, by a tick."
)
def command(data: str | None, rate: float, closing: str) -> None:
    """Send a recorded data set in event time at a steady rate.

    Data comes from $FRESHET_DATA, the cache, the pinned public Luma file, or CDNOW from the package index, the first
    that is to be had. The closing tick lets every label become known.
    """
    from schemas.duration import milliseconds
    from streams.datasets import find_dataset

    closing_ms = milliseconds(closing)
    dataset = find_dataset(data, say=lambda words: click.echo(words, err=True))
    click.echo(f"{dataset.name}: {dataset.count} events, {dataset.licence}")
    with click.progressbar(length=dataset.count, label="events sent") as bar:
        sent = asyncio.run(
            replay(
                this_cluster(),
                dataset.events(),
                rate_per_s=rate,
                closing_ms=closing_ms,
                on_sent=lambda done: bar.update(done - bar.pos),
            )
        )
    click.echo(f"{sent} events sent")

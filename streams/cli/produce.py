"""`freshet produce`: send events from a file or a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import BinaryIO

import click

from streams.cli.options import this_cluster
from streams.replay import replay


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--rate", default=0.0, help="Events per second; 0 is as fast as they go.", show_default=True)
def command(file: BinaryIO, rate: float) -> None:
    """Send events (JSON lines) to the `events` topic, keyed by visitor.

    FILE holds one XED ExperienceEvent per line, bare or in the streaming-ingestion envelope; - is standard input. What
    cannot be read is sent as it is, and becomes a dead letter that says why.

    \b
      echo '{"_id": "1", "timestamp": "2026-01-01T12:00:00Z", "eventType": "commerce.productViews",
             "identityMap": {"ECID": [{"id": "visitor-1", "primary": true}]}}' | tr -d '\\n' | freshet produce
    """
    sent = asyncio.run(replay(this_cluster(), _lines(file), rate_per_s=rate))
    click.echo(f"{sent} events sent")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    for line in file:
        if line.strip():
            yield line.rstrip(b"\r\n")

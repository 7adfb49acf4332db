"""`freshet consume`: print the records of a topic."""

from __future__ import annotations

import asyncio

import click

from streams.cli.options import this_cluster
from streams.topics import TABLE


@click.command()
@click.argument("topic", type=click.Choice([topic.name for topic in TABLE]))
@click.option("-n", "--limit", default=0, help="Stop after so many records; 0 is all.", show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Wait for more at the end.")
def command(topic: str, limit: int, *, follow: bool) -> None:
    """Print the records of a topic as JSON lines, from the beginning.

    \b
      freshet consume scores --follow
      freshet consume dead-letters | jq .message
    """
    from streams.consume import consume

    async def show() -> None:
        async for line in consume(this_cluster(), topic, limit=limit, follow=follow):
            click.echo(line)

    try:
        asyncio.run(show())
    except KeyboardInterrupt:
        raise click.Abort from None

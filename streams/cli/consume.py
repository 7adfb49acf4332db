"""`freshet consume`: print the records of a topic."""

from __future__ import annotations

import asyncio

import click

from streams.cli.options import this_cluster
from streams.topics import TABLE


@click.command()
@click.argument("topic", metavar="TOPIC", type=click.Choice([topic.name for topic in TABLE]))
@click.option("--last", "newest", type=click.IntRange(1), help="The newest so many records only.")
@click.option("-n", "--limit", type=click.IntRange(0), default=0, help="Stop after so many records; 0 is all.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more at the end.")
def command(topic: str, newest: int | None, limit: int, *, follow: bool) -> None:
    """Print the records of a topic as JSON lines, from the beginning.

    TOPIC is one of those that `freshet topics` lists.

    \b
      freshet consume scores --last 3
      freshet consume scores --follow
      freshet consume dead-letters | jq .message
    """
    from streams.consume import consume, last

    async def show() -> None:
        if newest is not None:
            for line in await last(this_cluster(), topic, newest):
                click.echo(line)
            return
        async for line in consume(this_cluster(), topic, limit=limit, follow=follow):
            click.echo(line)

    try:
        asyncio.run(show())
    except KeyboardInterrupt:
        raise click.Abort from None

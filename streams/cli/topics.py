"""`freshet topics`: the table of topics, and their creation."""

from __future__ import annotations

import asyncio

import click

from streams.cli.options import this_cluster
from streams.topics import PARTITIONS, TABLE, create_topics, missing_topics


@click.command()
@click.option("--create", is_flag=True, help="Create the topics that are missing.")
@click.option(
    "--partitions", default=PARTITIONS, show_default=True, type=click.IntRange(1, 1000), help="Of `events`, if created."
)
def command(*, create: bool, partitions: int) -> None:
    """List the topics, or create those that are missing.

    Workers need all of them; they are never created by sending to them.
    """
    cluster = this_cluster()
    if create:
        created = asyncio.run(create_topics(cluster, partitions))
        click.echo(f"created {', '.join(created)}" if created else "all topics are there")
        return
    missing = set(asyncio.run(missing_topics(cluster)))
    rows = [("topic", "key", "value", "written by", "on the broker")]
    for topic in TABLE:
        state = "missing" if cluster.topic(topic.name) in missing else "there"
        rows.append((cluster.topic(topic.name), topic.key, topic.schema, topic.writer, state))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

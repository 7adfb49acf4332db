"""`make bench`: every figure of the docs, each beside what it is compared with."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks import edge, export, journal, recipes, scorer


@click.command()
@click.option(
    "--only", type=click.Choice(["scorer", "journal", "edge", "recipes", "export"]), help="One of them; all by default."
)
def main(only: str | None) -> None:
    """Run the benchmarks. Absolute figures are this machine's; the ratios travel."""
    if only in (None, "scorer"):
        click.echo("# scorer loop\n")
        scorer.run(profile=str(Path(tempfile.gettempdir()) / "freshet-bench.prof"))
    if only in (None, "journal"):
        click.echo("\n# visitors and journal\n")
        journal.run()
    if only in (None, "edge"):
        click.echo("\n# edge\n")
        edge.run()
    if only in (None, "recipes"):
        click.echo("\n# recipes\n")
        recipes.run()
    if only in (None, "export"):
        click.echo("\n# export\n")
        export.run()


main()

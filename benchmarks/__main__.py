"""`make bench`: every figure of the docs, each beside what it is compared with."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks import edge, scorer


@click.command()
@click.option("--only", type=click.Choice(["scorer", "edge"]), help="One of them; both by default.")
def main(only: str | None) -> None:
    """Run the benchmarks. Absolute figures are this machine's; the ratios travel."""
    if only != "edge":
        click.echo("# scorer loop\n")
        scorer.run(profile=str(Path(tempfile.gettempdir()) / "freshet-bench.prof"))
    if only != "scorer":
        click.echo("\n# edge\n")
        edge.run()


main()

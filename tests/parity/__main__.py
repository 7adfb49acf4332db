"""`make parity`: the whole table of River estimators against their graphs; `docs/parity.md` says what it comes to."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.parity.comparison import Compared
from tests.parity.data import sources
from tests.parity.pairs import FULL, QUICK, Pair, few, pairs, run
from tests.parity.report import PAGE, lines, page, verdict


@click.command()
@click.argument("only", default="")
@click.option("--quick", is_flag=True, help="Few rows, two sources for each configuration: under a minute.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--write", is_flag=True, help=f"Write {PAGE} too.")
def main(only: str, quick: bool, jobs: int, write: bool) -> None:
    """Compare River's answers with its graphs'; ONLY keeps pairs with this text in "family: name on data"."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the processes would outlive it
    chosen = pairs(only)
    if quick:
        named = {place for place, _ in chosen}
        chosen = [pair for place in sorted(named) for pair in few(place)]
    missing = [source.missing for source in sources() if source.missing]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    found: dict[Pair, Compared] = {}
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("comparing", total=len(chosen))
        for pair, compared in run(chosen, QUICK if quick else FULL, jobs):
            found[pair] = compared
            wrong = sum(each.is_fault for each in found.values())
            if not console.is_terminal and len(found) % 100 == 0:  # a bar draws nothing in a log
                console.print(f"{len(found)} of {len(chosen)} compared, {wrong} not exact")
            progress.update(bar, advance=1, description=f"comparing, {wrong} not exact" if wrong else "comparing")
    results = [found[pair] for pair in chosen]
    click.echo("\n".join(lines(results)))
    click.echo()
    for reason in missing:
        click.echo(f"left out: {reason}")
    click.echo(verdict(results))
    if write:
        Path(PAGE).write_text(page(results, "make parity ARGS=--write", missing), encoding="utf-8")
    sys.exit(not results or any(each.is_fault for each in results))


if __name__ == "__main__":
    main()

"""`freshet keys`: API keys for the callers of an edge."""

from __future__ import annotations

from pathlib import Path

import click

from scoring.keys import INFER, SCOPES, Keys, new_key


@click.group()
def command() -> None:
    """API keys for the callers of an edge: make one, list those of a file.

    \b
      freshet keys new --name shop --scope infer >> keys.txt      the key is shown once, on the terminal
      freshet edge --keys keys.txt
    """


@command.command()
@click.option("--name", required=True, help="Whose it is: letters, digits, dots, dashes and underscores.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=(INFER,),
    show_default=True,
    help="What it opens; may be given several times.",
)
def new(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key.

    The key goes to standard error, once: it is kept nowhere. Its line for the file of keys goes to standard output; it
    holds a hash, which is no secret. A running edge takes the new line within seconds.
    """
    try:
        secret, key = new_key(name, scopes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--name") from None
    click.echo(f"the key, shown this once: {secret}", err=True)
    click.echo(key.line())


@command.command("list")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def list_(file: Path) -> None:
    """List names and scopes of the keys of a file, and thereby check it."""
    for key in Keys.read(file):
        click.echo(f"{key.name}  {', '.join(each for each in SCOPES if each in key.scopes)}")

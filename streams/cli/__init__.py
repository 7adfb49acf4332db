"""The `freshet` command: each subcommand lives in the module of its name and is imported when it is called."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from schemas.errors import FreshetError

# name -> the one line shown by `freshet --help`; the module streams.cli.<name> (with _ for -) holds `command`.
COMMANDS = {
    "demo": "Run the main job end to end on real events, watch it, keep a report.",
    "up": "Run a model file: broker, topics, scorer, learner and edge, restarted when they die.",
    "check": "Load a model file and print what it says; needs no broker.",
    "worker": "Run one worker process: the scorer or the learner.",
    "status": "How far every model has come, from Kafka alone; whether the books add up.",
    "edge": "Run one edge: an event in over HTTP, a score out.",
    "keys": "API keys for the callers of an edge: new, list.",
    "broker": "The embedded Kafka broker: up, down, status, prefetch, wipe.",
    "topics": "List the topics, or create those that are missing.",
    "produce": "Send events (JSON lines) to the `events` topic, keyed by visitor.",
    "consume": "Print the records of a topic as JSON lines.",
    "dead-letters": "Records that could not be processed: list, show, replay.",
    "replay": "Send a recorded data set in event time at a steady rate.",
    "simulate": "Send events of simulated shop visitors whose true purchase probabilities are known.",
}


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for, so that `freshet edge` carries no Faust and no River."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"streams.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="freshet")
def root() -> None:
    """freshet: continuous learning for digital-experience events.

    Start with `freshet demo`. The broker is $KAFKA_BOOTSTRAP where that is set, else an embedded one.
    """


def main() -> None:
    """Run a command; a situation freshet knows is one plain line and exit code 1."""
    # A client's own complaint is not printed beside the one plain line; processes that log set up their own handlers.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        root(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FreshetError as error:
        click.echo(f"freshet: {error}", err=True)
        sys.exit(error.exit_code)

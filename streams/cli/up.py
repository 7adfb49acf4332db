"""`freshet up`: a model file, served and trained by processes that are kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import click

from learners.model import load_model
from scoring.server import listen
from streams.broker import default_data_dir
from streams.broker.ports import free_ports
from streams.broker_keeper import BrokerKeeper
from streams.supervisor import StopSignals, Supervisor, guarded, pipeline
from streams.topics import Cluster, create_topics


@click.command()
@click.argument("model_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of the first edge.")
@click.option("--edges", type=click.IntRange(1, 64), default=1, show_default=True, help="How many, on rising ports.")
@click.option(
    "--worker-port",
    type=click.IntRange(1, 65534),
    help="Of the scorer's /metrics, /live and /ready; the learner has the next. [free ones]",
)
def command(model_file: Path, port: int, edges: int, worker_port: int | None) -> None:
    """Run a model file: broker, topics, scorer, learner and edge, restarted when they die.

    \b
      freshet up examples/purchase_propensity.py
      freshet up examples/purchase_propensity.py --port 8080 --edges 2

    The broker is $KAFKA_BOOTSTRAP where that is set, else the embedded one, which keeps its records from one
    time to the next. Ctrl-C or SIGTERM stops everything in order, workers and edges first, the broker last; a
    second one does not wait. The exit code is 0 if all of them ended cleanly when they were asked to.
    """
    load_model(model_file)  # a mistake in it is told here, once, and not by every worker that cannot start
    ports = list(range(port, port + edges))
    # Drawn once: a worker that is started again is found where it was.
    scorer, learner = free_ports(2) if worker_port is None else (worker_port, worker_port + 1)
    for each in (*ports, scorer, learner):  # so is a port that is taken
        listen("127.0.0.1", each).close()
    sys.exit(asyncio.run(_until_stopped(model_file, ports, {"scorer": scorer, "learner": learner})))


async def _until_stopped(model_file: Path, ports: list[int], worker_ports: dict[str, int]) -> int:
    work = asyncio.create_task(_keep_up(model_file, ports, worker_ports))
    with StopSignals(work.cancel):
        try:
            return await work
        except asyncio.CancelledError:  # before there was anything to stop
            return 0


async def _keep_up(model_file: Path, ports: list[int], worker_ports: dict[str, int]) -> int:
    """Run until cancelled; return the exit code."""
    async with BrokerKeeper(default_data_dir(), _say) as broker:
        cluster = Cluster(broker.bootstrap, os.environ.get("FRESHET_TOPIC_PREFIX", ""))
        for topic in await create_topics(cluster):
            _say(f"topics: created {topic}")
        supervisor = Supervisor(pipeline(model_file, cluster, ports, worker_ports), on_line=_show)
        with contextlib.suppress(asyncio.CancelledError):  # that is how it is asked to stop
            async with supervisor:
                for role, port in worker_ports.items():
                    _say(f"{role}: GET http://127.0.0.1:{port}/metrics, /live and /ready")
                for port in ports:
                    _say(f"edge: POST http://127.0.0.1:{port}/v1/events once it has its first release")
                await guarded(_for_ever(), supervisor.watch(), broker.watch())
        unclean = [ending for ending in supervisor.endings if not ending.clean]
        for ending in unclean:
            _say(f"{ending.name}: {'had to be killed' if ending.killed else f'exit code {ending.exit_code}'}")
        return 1 if unclean else 0


async def _for_ever() -> None:
    await asyncio.Event().wait()


def _show(name: str, line: str) -> None:
    try:
        click.echo(f"{name:<10} | {line}")
    except BrokenPipeError:
        # Whoever read this has gone; the workers go on. Standard output must lead somewhere, else its last flush fails.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    _show("up", line)

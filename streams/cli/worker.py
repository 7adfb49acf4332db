"""`freshet worker`: one worker process."""

from __future__ import annotations

import click

from streams.cli.options import model_option, this_cluster


@click.command()
@click.argument("role", type=click.Choice(["scorer", "learner"]))
@model_option
@click.option(
    "--instance",
    envvar="FRESHET_INSTANCE",
    default="",
    help="A name that stays the worker's own through restarts (a pod's, a host's): started again within the session "
    "timeout of 6 s it has its partitions back at once. No two running workers of a role and model may share one.",
)
@click.option(
    "--port",
    envvar="FRESHET_WORKER_PORT",
    type=click.IntRange(0, 65535),
    help="Serve /metrics, /live and /ready here; 0 takes a free one. [not served]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 is every network: there is no TLS yet.")
@click.option(
    "--give-up-after",
    "give_up_after_s",
    envvar="FRESHET_GIVE_UP_AFTER_S",
    default=300.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds without progress, with work to do, after which the process ends with exit code 75.",
)
@click.option(
    "--alarm-after",
    "law_s",
    envvar="FRESHET_ALARM_AFTER_S",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds that what came in and what it came to may differ before that is an error in the log.",
)
def command(  # noqa: PLR0917
    role: str, model_path: str, instance: str, port: int | None, host: str, give_up_after_s: float, law_s: float
) -> None:
    """Run one worker process: the scorer or the learner of a model.

    \b
    The scorer reads `events`, writes `scores`, `examples` and `profiles`. Start as many as `events` has partitions.
    The learner reads `examples`, writes `releases` and `aliases`. One per model works; a second one stands by.

    \b
      freshet worker scorer  --model examples/purchase_propensity.py --port 9464
      freshet worker learner --model examples/purchase_propensity.py --port 9465

    Start them in any order; the scorer waits for the learner's first release. Stop with SIGTERM or Ctrl-C: what was
    read is made durable first. A worker that cannot go on exits with a code other than 0: have a supervisor restart it.
    While the broker is away it waits, and goes on by itself; after 30 s without progress /ready is 503 and says why.

    \b
      GET /metrics   figures for Prometheus; an alarm belongs on freshet_conservation_broken != 0
      GET /live      200 as long as the process answers
      GET /ready     200 while it gets on with its work
    """
    from learners import load_model
    from scoring.server import listen
    from streams.watchdog import STALLED_AFTER_S, Limits
    from streams.worker import run_worker

    model, cluster = load_model(model_path), this_cluster()
    limits = Limits(min(STALLED_AFTER_S, give_up_after_s / 2), give_up_after_s, law_s)
    run_worker(role, model, cluster, instance, None if port is None else listen(host, port), limits)

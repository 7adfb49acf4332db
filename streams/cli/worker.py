"""`freshet worker`: one worker process."""

from __future__ import annotations

import click

from streams.cli.options import model_option, this_cluster


@click.command()
@click.argument("role", type=click.Choice(["scorer", "learner"]))
@model_option
def command(role: str, model_path: str) -> None:
    """Run one worker process: the scorer or the learner of a model.

    \b
    The scorer reads `events`, writes `scores`, `examples` and `profiles`. Start as many as `events` has partitions.
    The learner reads `examples`, writes `releases` and `aliases`. One per model works; a second one stands by.

    \b
      freshet worker scorer  --model examples/purchase_propensity.py
      freshet worker learner --model examples/purchase_propensity.py

    Start them in any order; the scorer waits for the learner's first release. Stop with SIGTERM or Ctrl-C: what was
    read is made durable first. A worker that cannot go on exits with a code other than 0: have a supervisor restart it.
    """
    from learners import load_model
    from streams.worker import run_worker

    run_worker(role, load_model(model_path), this_cluster())

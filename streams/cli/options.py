"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from streams.broker.find import find_bootstrap
from streams.topics import Cluster

model_option: Callable[[Any], Any] = click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(dir_okay=False),
    help="The model file, such as examples/purchase_propensity.py.",
)


model_argument: Callable[[Any], Any] = click.argument("model_file", type=click.Path(dir_okay=False))


def this_cluster() -> Cluster:
    """Return the cluster of the environment: $KAFKA_BOOTSTRAP or the running embedded broker, $FRESHET_TOPIC_PREFIX."""
    return Cluster(find_bootstrap(), os.environ.get("FRESHET_TOPIC_PREFIX", ""))

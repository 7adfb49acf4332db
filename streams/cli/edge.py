"""`freshet edge`: one edge process."""

from __future__ import annotations

import logging
import sys

import click

from streams.cli.options import this_cluster


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 is every network: there is no TLS yet.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="Listen for an operator too, on 127.0.0.1: which models are loaded, load and unload. Off unless given.",
)
def command(port: int, host: str, admin_port: int | None) -> None:
    """Run one edge: an event or tensors in over HTTP, scores out.

    It follows `releases`, `aliases` and `profiles` and answers from memory, with the newest release, a moment after it
    was made; no request waits for Kafka, and none fails while Kafka is away. Start as many as you like, before or
    after everything else; until the first release is there an edge answers 503.

    \b
      freshet edge --port 8080
      curl --data @- http://127.0.0.1:8080/v1/events <<END
        {"_id": "1", "timestamp": "$(date -u +%FT%TZ)", "eventType": "commerce.productViews",
         "identityMap": {"ECID": [{"id": "a-visitor", "primary": true}]}}
      END

    \b
    An answer has, for each model: score, the version that made it, how far that had learned, and until when it holds.
      POST /v2/models/NAME/infer   tensors in, tensors out: the Open Inference Protocol v2
      GET /v2/models/NAME          what a model reads, and which versions can be asked
      GET /v2/health/ready         200 once every live model is loaded
    """
    # Events, not sentences, on standard error; Kafka's client says the same thing ten times a second while it is away.
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    from streams.edge import run_edge

    run_edge(this_cluster(), host, port, admin_port)

"""`freshet edge`: one edge process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scoring.limits import Limits
from scoring.profiles import MOST_BYTES
from scoring.spill import LIMIT_BYTES
from streams.access import Access
from streams.cli.edge_options import access_options, limit_options
from streams.cli.options import this_cluster


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback it asks for --keys and TLS.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="Listen for an operator too, on 127.0.0.1: which models are loaded, load and unload. Off unless given.",
)
@click.option("--forward/--no-forward", default=True, show_default=True, help="Pass answered events on to `events`.")
@click.option(
    "--spill-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where they wait for Kafka; one edge each. [by port, below $FRESHET_SPILL or in the user's data]",
)
@click.option(
    "--spill-bytes",
    type=click.IntRange(min=1024 * 1024),
    default=LIMIT_BYTES,
    show_default=True,
    help="How much may wait; what is more is scored and not forwarded.",
)
@click.option(
    "--profile-bytes",
    type=click.IntRange(min=1024 * 1024),
    default=MOST_BYTES,
    show_default=True,
    help="Memory for what is remembered of visitors; whoever falls out is answered as new.",
)
@access_options
@limit_options
def command(  # noqa: PLR0917
    port: int,
    host: str,
    admin_port: int | None,
    forward: bool,
    spill_dir: Path | None,
    spill_bytes: int,
    profile_bytes: int,
    limits: Limits,
    access: Access,
) -> None:
    """Run one edge: an event or tensors in over HTTP, scores out.

    It follows `releases`, `aliases` and `profiles` and answers from memory, with the newest release, a moment after it
    was made; no request waits for Kafka, and none fails while Kafka is away. Start as many as you like, before or
    after everything else; until the first release is there an edge answers 503.

    Events come to the topic `events` with the scores that they were given; ?forward=false asks for a score only.

    \b
      freshet edge --port 8080
      curl --data @- http://127.0.0.1:8080/v1/events <<END
        {"_id": "1", "timestamp": "$(date -u +%FT%TZ)", "eventType": "commerce.productViews",
         "identityMap": {"ECID": [{"id": "a-visitor", "primary": true}]}}
      END

    \b
    An answer has, for each model: score, the version that made it, how far that had learned, and until when it holds.
      POST /v1/events:batch        several events, as a JSON array or one a line
      POST /v1/candidates          one event and many things it could be about, all scored in one run
      POST /ee/v2/interact         events and scores in the Edge Network's shape: rtml:inferences
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

    run_edge(
        this_cluster(),
        host,
        port,
        admin_port,
        limits=limits,
        access=access,
        forward=forward,
        spill_dir=spill_dir,
        spill_bytes=spill_bytes,
        profile_bytes=profile_bytes,
    )

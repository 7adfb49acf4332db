"""What a visitor more costs: the scorer's state and its journal at 10³ to 10⁶ visitors, in one run.

`python -m benchmarks.journal` (or `make bench`) prints, for each number of visitors, the CPU time an event takes in the
state (decode, validate, profile, features, join) and in the journal (what changed and a slice of the snapshot, as
bytes), how long the longest entry holds everything up, what the journal writes, what a visitor takes of memory, and
what taking over costs. Each number runs in a process of its own; the broker, which costs the same for all, stands in
`benchmarks.scorer`.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from aiokafka import ConsumerRecord

from learners import load_model
from streams import garbage
from streams.partition import Partition

MODEL = Path(__file__).parents[1] / "examples" / "purchase_propensity.py"
VISITORS = (1_000, 10_000, 100_000, 1_000_000)
EVENTS = 60_000
_CHUNK = 500
# As a worker with 5,000 events a second does: an entry a second, a collection every ten.
_ENTRY_EVERY = 10
_COLLECT_EVERY = 100
_BEGIN_MS = 1_767_225_600_000


def run() -> None:
    """Print the table."""
    click.echo(f"{EVENTS} page views by visitors drawn at random, after each visitor has been seen once\n")
    click.echo(
        "| visitors | state, µs an event | journal, µs an event | both, beside the first | longest entry, ms "
        "| journal bytes an event "
        "| memory a visitor | entries to take over | taking over, s |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|")
    first = 0.0
    for visitors in VISITORS:
        argv = [sys.executable, "-m", "benchmarks.journal", str(visitors)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        both = row["state_us"] + row["journal_us"]
        first = first or both
        click.echo(
            f"| {visitors:,} | {row['state_us']:.1f} | {row['journal_us']:.1f} | {both / first:.2f}× "
            f"| {row['longest_ms']:.0f} "
            f"| {row['journal_bytes']:.0f} | {row['visitor_bytes']:,.0f} B | {row['takeover_mb']:.1f} MB "
            f"| {row['takeover_s']:.2f} |"
        )


def _measure(visitors: int) -> dict[str, float]:
    garbage.leave_to_collect()
    model = load_model(MODEL)
    before_bytes = _resident_bytes()
    state = Partition(model.reader)
    # Every visitor once, close together in event time: nothing is forgotten, every view waits for its outcome.
    for chunk in _chunks((each for each in range(visitors)), offset=0, per_ms=100):
        state.take(chunk)
    while not state.change().ends:
        pass
    garbage.collect()
    visitor_bytes = (_resident_bytes() - before_bytes) / visitors

    rng = random.Random(1)
    chunks = list(_chunks((rng.randrange(visitors) for _ in range(EVENTS)), offset=visitors, per_ms=10))
    state_s = journal_s = longest_s = 0.0
    written_bytes = 0
    for number, chunk in enumerate(chunks, 1):
        started_s = time.process_time()
        state.take(chunk)
        taken_s = time.process_time()
        if number % _ENTRY_EVERY == 0:
            written_bytes += len(state.change().body)
        entry_s = time.process_time() - taken_s
        journal_s += entry_s
        longest_s = max(longest_s, entry_s)
        if number % _COLLECT_EVERY == 0:
            garbage.collect()
        state_s += taken_s - started_s

    bodies: list[bytes] = []
    ended = 0
    while ended < 2:  # what a reader needs: from the beginning of one whole snapshot to the end of the next
        change = state.change()
        bodies.append(change.body)
        ended += change.ends
    started_s = time.process_time()
    Partition.restore(model.reader, bodies)
    return {
        "state_us": state_s / EVENTS * 1e6,
        "journal_us": journal_s / EVENTS * 1e6,
        "longest_ms": longest_s * 1e3,
        "journal_bytes": written_bytes / EVENTS,
        "visitor_bytes": visitor_bytes,
        "takeover_mb": sum(map(len, bodies)) / 1e6,
        "takeover_s": time.process_time() - started_s,
    }


def _chunks(visitors: Iterator[int], offset: int, per_ms: int) -> Iterator[list[ConsumerRecord]]:
    records: list[ConsumerRecord] = []
    for place, visitor in enumerate(visitors):
        records.append(_record(offset + place, f"visitor-{visitor:08d}", _BEGIN_MS + (offset + place) // per_ms))
        if len(records) == _CHUNK:
            yield records
            records = []
    if records:
        yield records


def _record(offset: int, visitor: str, time_ms: int) -> ConsumerRecord:
    event = {
        "_id": f"event-{offset:010d}",
        "timestamp": dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat(),
        "eventType": "web.webpagedetails.pageViews",
        "web": {"webPageDetails": {"name": "home", "pageViews": {"value": 1}}},
        "identityMap": {"ECID": [{"id": visitor, "primary": True}]},
    }
    value = json.dumps(event).encode()
    return ConsumerRecord("events", 0, offset, time_ms, 0, visitor.encode(), value, None, 0, 0, ())


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(int(sys.argv[1]))))
    else:
        run()

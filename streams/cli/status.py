"""`freshet status`: how far every model has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

import click
import msgspec

from streams.cli.options import this_cluster
from streams.status import LearnerStatus, ModelStatus, PartitionStatus, Status, StatusReader

BROKEN_EXIT_CODE: Final = 3
_WATCH_EVERY_S: Final = 2.0


@click.command()
@click.option("--model", "name", default="", metavar="NAME", help="Of this model only.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for other programs.")
@click.option("--watch", is_flag=True, help=f"Again every {_WATCH_EVERY_S:g} s, until Ctrl-C.")
def command(name: str, *, as_json: bool, watch: bool) -> None:
    """How far every model has come, from Kafka alone: no worker is asked, none need run.

    \b
      freshet status
      freshet status --model purchase-propensity --watch
      freshet status --json | jq '.models[].partitions[].lag'

    For each partition of `events`: where it ends, up to where its records are acknowledged and in the journal (what
    lies beyond is lag: nothing of it is lost, it will be read), and what those before came to. Each record is in one
    column, so that they add up; `differs` shows a law that does not hold, and how far off it is:

    \b
      events    journal = scored + late + n/a + dup + dead + ticks + gaps
      pendings  scored  = positive + negative + open
      labels    positive + negative = examples sent

    Gaps are offsets that hold no record. The exit code is 3 if a law does not hold, or if a journal cannot be read
    ($FRESHET_STATE_KEY has to be the workers').
    """
    reader = StatusReader(this_cluster())
    try:
        broken = asyncio.run(_watch(reader, name, as_json=as_json)) if watch else _once(reader, name, as_json=as_json)
    except KeyboardInterrupt:
        raise click.Abort from None
    if broken:
        raise SystemExit(BROKEN_EXIT_CODE)


def _once(reader: StatusReader, name: str, *, as_json: bool) -> bool:
    status = asyncio.run(reader.read(name))
    if name and not status.models:
        raise click.UsageError(f"there is no model {name} in Kafka: no release of it is live")
    _show(status, as_json=as_json)
    return any(model.broken for model in status.models)


async def _watch(reader: StatusReader, name: str, *, as_json: bool) -> bool:
    while True:
        status = await reader.read(name)
        if not as_json:
            click.clear()
        _show(status, as_json=as_json)
        await asyncio.sleep(_WATCH_EVERY_S)


def _show(status: Status, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(as_fields(status)).decode())
        return
    for line in lines(status, time.time_ns() // 1_000_000):
        click.echo(line)


def as_fields(status: Status) -> dict[str, object]:
    """Return a status as JSON has it: with the lags, and whether a law is broken."""
    models = [
        asdict(model)
        | {
            "broken": model.broken,
            "partitions": [asdict(each) | {"lag": each.lag} for each in model.partitions],
            "learner": asdict(model.learner) | {"lag": model.learner.lag},
        }
        for model in status.models
    ]
    return {"bootstrap": status.bootstrap, "dead_letters": status.dead_letters, "models": models}


def lines(status: Status, now_ms: int) -> Iterator[str]:
    """Yield a status as it is read by a person.

    Args:
        status: see there.
        now_ms: what ages are counted to.
    """
    yield f"broker {status.bootstrap}, {status.dead_letters} records in dead-letters (`freshet dead-letters list`)"
    if not status.models:
        yield "no model is live yet: `freshet worker learner --model FILE` releases the first version"
    for model in status.models:
        yield ""
        yield from _model_lines(model, now_ms)


def _model_lines(model: ModelStatus, now_ms: int) -> Iterator[str]:
    released = f", released {_ago(model.released_ms, now_ms)}" if model.released_ms else ""
    yield f"{model.model}: version {model.live} is live{released}; {model.releases} releases kept"
    yield from _learner_lines(model.learner, now_ms)
    rows = [_HEAD, *(_row(each) for each in model.partitions)]
    if len(model.partitions) > 1:
        rows.append(_sum(rows[1:]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for each in model.partitions:
        if each.problem:
            yield f"  partition {each.partition}: {each.problem}"


def _learner_lines(learner: LearnerStatus, now_ms: int) -> Iterator[str]:
    if learner.problem:
        yield f"  learner: {learner.problem}"
        return
    through = (
        f", through offset {learner.learned_through}, event time {_ago(learner.learned_through_ms, now_ms)}"
        if learner.learned_through >= 0
        else ""
    )
    yield (
        f"  learner: {learner.examples} examples{through}; lag {learner.lag} (examples partition {learner.partition}); "
        f"{learner.refused} candidates refused"
    )


_PARTS: Final = ("scored", "late", "not_applicable", "duplicate", "dead", "ticks", "gaps")
_HEAD: Final = (
    "events", "end", "acked", "journal", "lag",
    "scored", "late", "n/a", "dup", "dead", "ticks", "gaps",
    "positive", "negative", "open", "differs",
)  # fmt: skip


def _row(each: PartitionStatus) -> tuple[str, ...]:
    parts = each.parts or {}
    numbers = (
        each.partition, each.end_offset, _or_nothing(each.committed), _or_nothing(each.next_offset), each.lag,
        *(parts.get(part, 0) for part in _PARTS), each.positive, each.negative, each.open,
    )  # fmt: skip
    differs = ", ".join(f"{law} {difference:+}" for law, difference in (each.differences or {}).items())
    return (*map(str, numbers), differs or ("?" if each.problem else "0"))


def _sum(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    columns = list(zip(*rows, strict=True))[1:-1]
    return ("all", *(str(sum(int(cell) for cell in column if cell != "-")) for column in columns), "")


def _or_nothing(offset: int) -> str:
    return "-" if offset < 0 else str(offset)


def _ago(time_ms: int, now_ms: int) -> str:
    """Return how long ago a moment was.

    >>> _ago(0, 90_000), _ago(0, 26 * 3_600_000), _ago(5_000, 0)
    ('90 s ago', '26 h ago', '0 s ago')
    """
    passed_s = max(0, now_ms - time_ms) / 1000
    for unit_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if passed_s >= 2 * unit_s:
            return f"{passed_s / unit_s:.0f} {unit} ago"
    return f"{passed_s:.0f} s ago"

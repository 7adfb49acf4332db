"""`freshet dead-letters`: what was put aside, why, and its way back."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import click
import msgspec
from aiokafka import ConsumerRecord

from streams.cli.options import this_cluster
from streams.consume import readable
from streams.dead_letters import own_headers
from streams.dead_letters.filters import FIELDS, Filter, parse_filter
from streams.dead_letters.letters import Letter, Letters, Status, read_letter, read_letters
from streams.dead_letters.replay import MOST_ATTEMPTS, Step, Summary, replay_letters
from streams.topics import Cluster

SHOWN: Final = 20
REFUSED_EXIT_CODE: Final = 3
_MOST_REASONS: Final = 10
_LONG_WORK: Final = 2000
_DUMPED_BYTES: Final = 256

filter_option: Callable[[Any], Any] = click.option(
    "--filter",
    "expressions",
    multiple=True,
    metavar="EXPR",
    help="Only letters like this, such as stage=decode, error~time zone, since=2h; repeat it to narrow down.",
)


@click.group(epilog=f"Fields of --filter: {', '.join(FIELDS)}. Operators: = != ~ (contains) !~ < <= > >=.")
def command() -> None:
    """Records that could not be processed: list them, show one, replay them after a fix.

    \b
      freshet dead-letters list --filter stage=validate --filter since=2h
      freshet dead-letters show 3/0 --out letter.json
      freshet dead-letters replay --filter 'error~no schema' --dry-run
    """


@command.command("list")
@filter_option
@click.option("--last", "newest", type=click.IntRange(0), help="The newest so many; 0 is all. [20; all with --json]")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each letter.")
def list_(expressions: Sequence[str], newest: int | None, *, as_json: bool) -> None:
    """List dead letters, the newest last, and how many there are of which kind.

    A letter is named by where it lies, PARTITION/OFFSET of `dead-letters`, which is what `show` asks for. What became
    of it is one of: waiting; sending (a replay was killed: the next one goes on); replayed; failed-again (a newer
    letter says why).
    """
    cluster = this_cluster()
    letters = _chosen(cluster, _filters(cluster, expressions))
    shown = letters[-newest:] if (newest := (0 if as_json else SHOWN) if newest is None else newest) else letters
    if as_json:
        for letter in shown:
            click.echo(msgspec.json.encode(_fields(letter)).decode())
        return
    for line in _table(shown):
        click.echo(line)
    for line in _counts(letters, len(shown)):
        click.echo(line)


@command.command()
@click.argument("place", metavar="PARTITION/OFFSET")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the original bytes to this file.")
def show(place: str, out: Path | None) -> None:
    """Show everything of one letter, as `freshet dead-letters list` names it."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,18})", place)
    if match is None:
        raise click.UsageError(f"{place} names no letter: write PARTITION/OFFSET, such as 3/0")
    cluster = this_cluster()
    letters = _read(cluster)
    place = letters.first_of(f"{int(match[1])}/{int(match[2])}")
    letter = next((each for each in letters.all() if each.place == place), None)
    if letter is None:
        raise click.UsageError(
            f"there is no letter {place}; `freshet dead-letters list --last 0` lists those there are"
        )
    record = asyncio.run(read_letter(cluster, letter))
    for line in _everything(letter, record):
        click.echo(line)
    if out is not None:
        out.write_bytes(record.value or b"")
        click.echo(f"{len(record.value or b'')} bytes written to {out}", err=True)


@command.command()
@filter_option
@click.option(
    "--rate",
    default=1000.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Records per second; 0 is as fast as they go.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be sent and send nothing.")
@click.option(
    "--max-attempts",
    "most_attempts",
    default=MOST_ATTEMPTS,
    show_default=True,
    type=click.IntRange(1),
    help="Refuse letters that have failed so often.",
)
def replay(expressions: Sequence[str], rate: float, most_attempts: int, *, dry_run: bool) -> None:
    """Send letters back to `events` after a fix: same partition, key, bytes, headers and timestamp.

    A letter goes back once, however often this is called. One that would fail again for certain is refused, and so is
    one that has failed --max-attempts times.

    Exit code: 0 if every letter chosen has been replayed, now or before; 3 if some were refused.
    """
    cluster = this_cluster()
    letters = _chosen(cluster, _filters(cluster, expressions))
    with _Bar("would be sent" if dry_run else "sent", len(letters)) as bar:

        def on_step(step: Step) -> None:
            bar.advance()
            if dry_run:
                click.echo(_step_line(step))

        summary = asyncio.run(
            replay_letters(
                cluster, letters, rate_per_s=rate, most_attempts=most_attempts, dry_run=dry_run, on_step=on_step
            )
        )
    for line in _summary_lines(summary, dry_run=dry_run):
        click.echo(line)
    if summary.refused:
        sys.exit(REFUSED_EXIT_CODE)


# --- reading and choosing ---------------------------------------------------------------------------------------------


def _read(cluster: Cluster) -> Letters:
    with _Bar("letters read") as bar:
        return asyncio.run(read_letters(cluster, on_read=bar.at))


def _filters(cluster: Cluster, expressions: Sequence[str]) -> list[Filter]:
    now_ms = time.time_ns() // 1_000_000
    try:
        return [parse_filter(each, now_ms=now_ms, prefix=cluster.prefix) for each in expressions]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from None


def _chosen(cluster: Cluster, filters: Sequence[Filter]) -> list[Letter]:
    return [letter for letter in _read(cluster).all() if all(holds(letter) for holds in filters)]


class _Bar:
    """A progress bar on standard error, for a person who would wait."""

    def __init__(self, label: str, length: int = 0) -> None:
        self._label = label
        self._length = length
        self._done = 0
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, at)

    def advance(self) -> None:
        """One more is done."""
        self.at(self._done + 1, self._length)

    def at(self, done: int, of: int) -> None:
        """So many of so many are done."""
        if self._bar is None:
            if of < _LONG_WORK or not sys.stderr.isatty():
                return
            self._bar = click.progressbar(length=of, label=self._label, file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done


# --- what is printed --------------------------------------------------------------------------------------------------


def _fields(letter: Letter) -> dict[str, Any]:
    return {
        "letter": letter.place,
        "status": letter.status.value,
        "topic": letter.topic,
        "partition": letter.origin_partition,
        "offset": letter.origin_offset,
        "timestamp": letter.timestamp_ms,
        "putAside": letter.put_aside_ms,
        "stage": letter.stage,
        "error": letter.error,
        "message": letter.message,
        "attempt": letter.attempt,
        "replayOf": letter.replay_of,
        "sentTo": letter.sent_to,
        "copies": letter.copies,
        "key": readable(letter.key),
        "valueBytes": letter.value_bytes,
    }


def _table(letters: Sequence[Letter]) -> Iterator[str]:
    if not letters:
        return
    rows = [("letter", "put aside", "from", "status", "attempt", "key", "why")]
    rows += [
        (
            letter.place,
            _moment(letter.put_aside_ms),
            letter.origin or "?",
            letter.status.value,
            str(letter.attempt),
            _plain(_key(letter))[:24],
            _plain(f"{letter.stage}: {letter.message}"),
        )
        for letter in letters
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widest = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()[:widest]


def _counts(letters: Sequence[Letter], shown: int) -> Iterator[str]:
    if not letters:
        yield "no dead letters"
        return
    by_status = Counter(letter.status for letter in letters)
    each = ", ".join(f"{by_status[status]} {status}" for status in Status if by_status[status])
    yield f"\n{len(letters)} letters{f' ({shown} shown)' if shown < len(letters) else ''}: {each}"
    # Numbers in a message (a byte, a time, a line) differ from letter to letter of the same kind.
    kinds = Counter(re.sub(r"\d+", "N", _plain(f"{letter.stage}: {letter.message}")) for letter in letters)
    for kind, count in kinds.most_common(_MOST_REASONS):
        yield f"{count:>7}  {kind}"
    if len(kinds) > _MOST_REASONS:
        yield f"{sum(kinds.values()) - sum(count for _, count in kinds.most_common(_MOST_REASONS)):>7}  other"


def _everything(letter: Letter, record: ConsumerRecord) -> Iterator[str]:
    value: bytes | None = record.value
    told = {
        "letter": letter.place + (f" ({letter.copies} copies)" if letter.copies > 1 else ""),
        "put aside": _moment(letter.put_aside_ms),
        "status": letter.status.value
        + (f", at {letter.topic}/{letter.origin_partition}/{letter.sent_to}" if letter.sent_to >= 0 else ""),
        "from": letter.origin or "it does not say",
        "timestamp": _moment(letter.timestamp_ms),
        "attempt": str(letter.attempt) + (f", a replay of {letter.replay_of}" if letter.replay_of else ""),
        "stage": letter.stage,
        "error": letter.error,
        "message": letter.message,
        "key": _key(letter),
    }
    for name, text in told.items():
        yield f"{name:<10} {_plain(text)}"
    for name, header in own_headers(record.headers):
        yield f"{'header':<10} {_plain(name)}: {_plain(str(readable(header)))}"
    yield f"{'value':<10} {'none' if value is None else f'{len(value)} bytes'}"
    if value:
        yield ""
        yield from _value_lines(value)


def _value_lines(value: bytes) -> Iterator[str]:
    pretty = _pretty(value)
    if pretty is not None:
        for line in pretty.splitlines():
            yield _plain(line)
        return
    for at in range(0, min(len(value), _DUMPED_BYTES), 16):
        row = value[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<47}  {text}"
    if len(value) > _DUMPED_BYTES:
        yield f"... {len(value) - _DUMPED_BYTES} more bytes; --out FILE writes them all"


def _pretty(value: bytes) -> str | None:
    try:
        return msgspec.json.format(value, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _step_line(step: Step) -> str:
    letter = step.letter
    if step.refusal is not None:
        return f"{letter.place}  refused: {_plain(f'{step.refusal.value} ({step.detail})')}"
    if step.found:
        return f"{letter.place}  not sent again: {step.detail}"
    late = f", too late for a label of {', '.join(step.late_for)}" if step.late_for else ""
    return (
        f"{letter.place}  -> {letter.topic}/{letter.origin_partition}  key {_plain(_key(letter))}, "
        f"{letter.value_bytes or 0} bytes, attempt {letter.attempt + 1}{late}"
    )


def _summary_lines(summary: Summary, *, dry_run: bool) -> Iterator[str]:
    done = "would be replayed" if dry_run else "replayed"
    yield f"{summary.replayed} {done}, {sum(summary.refused.values())} refused, {summary.before} replayed before"
    if summary.found:
        yield f"{summary.found:>7}  had been sent by a replay that was interrupted, and were not sent again"
    for refusal, count in summary.refused.most_common():
        yield f"{count:>7}  refused: {refusal.value}"
    for model, count in sorted(summary.late.items()):
        yield f"{count:>7}  later than the lateness of {model}: a score, no label"


def _key(letter: Letter) -> str:
    return "none" if letter.key is None else str(readable(letter.key))


def _moment(time_ms: int) -> str:
    try:
        return (
            dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
    except (OverflowError, ValueError):
        return f"{time_ms} ms"  # beyond the year 9999: a producer may write any timestamp


def _plain(text: str) -> str:
    # Letters hold what strangers sent: nothing of it may steer a terminal or break a line.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)

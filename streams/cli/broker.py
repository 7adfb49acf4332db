"""`freshet broker`: the embedded Kafka broker of this user, from the command line."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path

import click

from schemas.errors import BrokerError
from streams.broker import EmbeddedBroker, default_data_dir, stop_broker
from streams.broker.jars import ensure_jars, jar_dir, load_lock, unfit_jars
from streams.broker.java import find_java
from streams.broker.state import BrokerState, read_state, running

_NOT_RUNNING = 3  # what `systemctl status` exits with for a service that does not run
# All that a broker writes below its data directory: `wipe` deletes these and nothing else.
_WRITTEN = (
    "log",
    "broker.json",
    "broker.lock",
    "broker.log",
    "broker.previous.log",
    "server.properties",
    "log4j2.properties",
)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def command() -> None:
    """Start, look at and stop the embedded Kafka broker.

    It is a real Apache Kafka: one node, on 127.0.0.1 only, run from jars that are fetched once and checked
    against `kafka.lock.json`. Its records stay on disk when it stops. Every freshet command finds it by
    itself; set KAFKA_BOOTSTRAP and they use that broker instead, wherever it runs.

    \b
    freshet broker up        start it, print its address
    freshet broker status    is it running, where, on what
    freshet broker down      stop it, keep its records
    freshet broker wipe      stop it, delete its records

    \b
    Environment:
      KAFKA_BOOTSTRAP      a broker to use instead, as host:port
      FRESHET_KAFKA_DATA   where its records are kept
      KAFKA_CACHE          where its jars are kept
      KAFKA_JAVA           the java that runs it (17 or newer)
      KAFKA_MAVEN_URL      Maven mirrors to fetch from, separated by spaces
      KAFKA_OFFLINE        fetch nothing
    """


@command.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="For clients; a free one is drawn by default.")
@click.option("--heap", "heap_mib", type=click.IntRange(64), default=256, show_default=True, help="Java heap in MiB.")
def up(port: int, heap_mib: int) -> None:
    """Start the broker, print its address, and leave it running.

    A broker that runs already is left as it is, and its address printed. Only the address goes to standard
    output, so other Kafka tools can be pointed at it:

    \b
    kcat -b $(freshet broker up) -L
    """
    started_s = time.monotonic()
    broker = EmbeddedBroker(default_data_dir(), port=port, heap_mib=heap_mib, say=_say).start(keep=True)
    took_s = time.monotonic() - started_s
    _say(f"Kafka {load_lock().version} answers after {took_s:.1f} s; its records are in {broker.data_dir}")
    _say("stop it with `freshet broker down`")
    if elsewhere := os.environ.get("KAFKA_BOOTSTRAP"):
        _say(f"KAFKA_BOOTSTRAP is set: freshet commands use {elsewhere}, not this broker")
    click.echo(broker.bootstrap)


@command.command()
def down() -> None:
    """Stop the broker; its records stay."""
    stopped = stop_broker(default_data_dir())
    _say(f"stopped the Kafka broker on {stopped.bootstrap}" if stopped else "no Kafka broker is running")


@command.command(short_help="Print whether the broker runs, and where.")
def status() -> None:
    """Print whether the broker runs and where; exits with 3 when it does not."""
    lock, data_dir = load_lock(), default_data_dir()
    state = running(data_dir)
    rows = [("broker", _process_line(state) if state else "not running; start it with `freshet broker up`")]
    rows.append(("records", _records_line(data_dir)))
    folder = jar_dir(lock.version)
    present = len(lock.jars) - len(unfit_jars(lock, folder))
    rows.append(("jars", f"{present} of {len(lock.jars)} of Kafka {lock.version} in {folder}"))
    rows.append(("java", _java_line()))
    for name, line in rows:
        click.echo(f"{name:<8} {line}")
    if state is None:
        raise SystemExit(_NOT_RUNNING)


@command.command(short_help="Fetch and check Kafka's jars now.")
def prefetch() -> None:
    """Fetch and check Kafka's jars now, so that later starts need no network."""
    lock = load_lock()
    folder = ensure_jars(lock, _say)
    java = find_java()
    _say(f"Kafka {lock.version}: {len(lock.jars)} jars, {lock.size_bytes / 1e6:.1f} MB, as locked, in {folder}")
    _say(f"Java {java.major} from {java.origin}: {java.path}")


@command.command(short_help="Stop the broker and delete its records.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def wipe(*, yes: bool) -> None:
    """Stop the broker and delete every record in it: events, scores, models, what the learners remember."""
    data_dir = default_data_dir()
    if read_state(data_dir) is None and not (data_dir / "log" / "meta.properties").exists():
        _say(f"nothing to delete: {data_dir} holds no Kafka records")
        return
    if not yes:
        click.confirm(f"Delete every record in {data_dir}?", abort=True, err=True)
    stop_broker(data_dir)
    for name in _WRITTEN:
        _delete(data_dir / name)
    _say(f"deleted the records in {data_dir}")


def _delete(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BrokerError(f"cannot delete {path}: {error}") from error


def _process_line(state: BrokerState) -> str:
    if state.process is None:
        return "stopped"
    since = datetime.fromtimestamp(state.process.created_s).astimezone().isoformat(sep=" ", timespec="seconds")
    kept = "until `freshet broker down`" if state.owner is None else f"as long as process {state.owner.pid}"
    return (
        f"Kafka {state.version} on {state.bootstrap}, process {state.process.pid} since {since}, "
        f"{state.process.resident_bytes() / 2**20:.0f} MiB; runs {kept}"
    )


def _records_line(data_dir: Path) -> str:
    size_bytes = sum(_disk_bytes(file) for file in (data_dir / "log").rglob("*"))
    return f"{size_bytes / 1e6:.1f} MB in {data_dir}"


def _disk_bytes(file: Path) -> int:
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0  # Kafka deletes while we count
    # Kafka's index files are sparse: their length says 10 MB where the disk holds a page. Windows does not tell.
    return int(getattr(found, "st_blocks", found.st_size // 512)) * 512


def _java_line() -> str:
    try:
        java = find_java()
    except BrokerError as error:
        return str(error).splitlines()[0]
    return f"{java.major} from {java.origin}: {java.path}"

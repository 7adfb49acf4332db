"""Delivery: does an installation whose processes are killed all the while lose, double or alter anything?

    python -m tests.soak.delivery --events 1000000 --kills 50 --seed 1 --seeds 20x5000 --minutes 60

A broker, topics, scorers, learners and edges of its own, as real processes; a producer that sends the simulator's
events with everything in them that a log can hold (`traffic.py`); callers who ask the edges all the while
(`callers.py`); and a monkey that kills, freezes and sends away whatever runs, at random moments and at crash points
(`monkey.py`). Whatever dies is started again at once. When all is sent, handled and stopped, the checker reads the
topics and judges (`checker.py`). Then the same on a smaller scale, once for each further seed.

Prints progress to standard error, and one line of JSON to standard output. Exit code 0: nothing is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.errors import FreshetError
from streams.topics import Cluster
from tests.soak.fleet import OwnBroker
from tests.soak.run import Run, Size

KILLS_OF_A_SEED: Final = 3
_TELL_EVERY_S: Final = 10.0
# A scorer or learner that is killed, and a broker that answers again: from then to the first new score.
RECOVERED_WITHIN_S: Final = {"scorer killed": 10.0, "broker killed": 30.0}


class _Shown:
    """Shows how far a run is: a bar where there is a terminal, else a line every 10 s."""

    def __init__(self, run: Run, what: str) -> None:
        self._run, self._what = run, what
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> None:
        self._bar.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._bar.stop()

    def _show(self) -> None:
        of_all = self._bar.add_task(self._what, total=self._run.size.events, told="")
        started_s = told_s = time.monotonic()
        while not self._over.wait(0.5):
            sent, told = self._run.producer.sent, self._told()
            self._bar.update(of_all, completed=sent, told=told)
            if self._bar.disable and time.monotonic() - told_s >= _TELL_EVERY_S:
                told_s = time.monotonic()
                print(f"{self._what}: {told_s - started_s:.0f} s, {sent} sent, {told}", file=sys.stderr, flush=True)

    def _told(self) -> str:
        callers = self._run.callers
        asked = f", asked {callers.asked}, errors {len(callers.errors)}" if callers is not None else ""
        return f"{self._run.recovery.scores} scores, {len(self._run.fleet.deaths)} deaths{asked}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; return 0 where nothing is wrong."""
    args = _arguments(argv)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, _leave)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is what this is about
    # Of the soak's own, so that nothing is written into the home of whoever runs it.
    os.environ.setdefault("FRESHET_STATE_KEY", secrets.token_hex(16))
    folder = Path(tempfile.mkdtemp(prefix="freshet-soak-"))
    os.environ["FRESHET_OBJECT_STORE"] = (folder / "objects").as_uri()
    end_s = time.monotonic() + args.minutes * 60
    reports: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(OwnBroker(folder / "kafka"))
        sizes = [Size(args.events, args.kills)] if args.events else []
        # One edge would only be in the way here: what edges do is seen in the large run.
        sizes += [Size(args.seeds[1], KILLS_OF_A_SEED, learners=1, edges=0)] * args.seeds[0]
        for number, size in enumerate(sizes):
            left_s = end_s - time.monotonic()
            report = _one(seed + number, size, broker, folder, left_s, verbose=args.verbose)
            reports.append(report)
            print(f"seed {seed + number}: {'nothing is wrong' if report['ok'] else json.dumps(report)}",
                  file=sys.stderr, flush=True)  # fmt: skip
    ok = all(report["ok"] for report in reports)
    print(json.dumps({
        "ok": ok,
        "seed": seed,
        "in_time": all(_in_time(report) for report in reports),
        "seeds_ok": f"{sum(report['ok'] for report in reports)} of {len(reports)}",
        "minutes": round((time.monotonic() - end_s) / 60 + args.minutes, 1),
        "runs": reports,
    }))  # fmt: skip
    if ok and not args.keep:
        shutil.rmtree(folder)
    else:
        print(f"logs and records are in {folder}", file=sys.stderr)
    return 0 if ok else 1


def _one(seed: int, size: Size, broker: OwnBroker, folder: Path, left_s: float, *, verbose: bool) -> dict[str, Any]:
    """Return the report on one run, whatever becomes of it."""
    logs = folder / f"seed-{seed}"
    logs.mkdir()
    started_s = time.monotonic()

    def say(line: str) -> None:
        if verbose:
            print(f"{time.monotonic() - started_s:7.1f} s  {line}", file=sys.stderr, flush=True)

    run = Run(seed, size, Cluster(broker.bootstrap, f"soak-{seed}."), logs, broker=broker, say=say)
    try:
        with _Shown(run, f"seed {seed}, {size.events} records, {size.kills} kills"):
            return run.to_the_end(left_s).as_dict()
    except TimeoutError:
        print(run.fleet.words(), file=sys.stderr)
        return run.report.as_dict() | {"ok": False, "error": f"not over within the {left_s:.0f} s that were left"}
    except KeyboardInterrupt:
        print(f"interrupted; logs and records are in {folder}", file=sys.stderr)
        raise
    except (FreshetError, RuntimeError, OSError, ExceptionGroup, asyncio.CancelledError) as error:
        traceback.print_exc()
        return run.report.as_dict() | {"ok": False, "error": repr(error)}


def _in_time(report: dict[str, Any]) -> bool:
    recovered = report["recovery_s"]
    return all(recovered.get(kind, {}).get("p95", 0) <= within_s for kind, within_s in RECOVERED_WITHIN_S.items())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.delivery", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="records of the large run; 0: only the seeds")
    parser.add_argument("--kills", type=int, default=50, help="kill -9s of the large run, from 50 on at every point")
    parser.add_argument("--seed", type=int, help="of everything that is random; drawn if not given")
    parser.add_argument("--seeds", type=_seeds, default=(20, 5000), metavar="NxEVENTS", help="smaller runs: 20x5000")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which it ends in any case")
    parser.add_argument("--keep", action="store_true", help="keep logs and records, where nothing is wrong too")
    parser.add_argument("--verbose", action="store_true", help="say what is done to whom")
    return parser.parse_args(argv)


def _seeds(text: str) -> tuple[int, int]:
    count, _, events = text.partition("x")
    return int(count), int(events or 5000)


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""Run: the main job end to end: processes up, a data set replayed, an edge asked all the while, everything measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

import httptools
import msgspec

from learners.model import Model, load_model
from schemas.errors import NoModel
from schemas.features import Spec
from streams.broker.ports import free_ports
from streams.broker_keeper import BrokerKeeper
from streams.datasets import Dataset, find_dataset
from streams.demo.asking import Asking
from streams.demo.client import Connection
from streams.demo.collector import Collector
from streams.demo.measurements import Measurements, kinds_of
from streams.demo.panel import Panel, Watch
from streams.demo.report import render
from streams.demo.summary import Figures, Promise, promises, summarise
from streams.replay import replay
from streams.supervisor import Supervisor, guarded, pipeline
from streams.topics import Cluster, create_topics

REQUESTS_PER_S: Final = 50.0
# What a run takes beside the replay: broker and workers up, the last labels learned and served, the report.
_BESIDE_S: Final = 18.0
_SHORTEST_REPLAY_S: Final = 10.0
_READY_WITHIN_S: Final = 60.0
_CAUGHT_UP_WITHIN_S: Final = 45.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Args:
        data: a data set by name or path, None for the default, see `find_dataset`.
        model: the model file; None for the data set's own.
        seconds: about how long the whole is to take.
        out: where summary, report and logs go.
    """

    data: str | None
    model: Path | None
    seconds: float
    out: Path

    @property
    def replay_s(self) -> float:
        """How long the replay is to take.

        >>> Settings(None, None, 75.0, Path()).replay_s
        57.0
        """
        return max(_SHORTEST_REPLAY_S, self.seconds - _BESIDE_S)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    figures: Figures
    promises: tuple[Promise, ...]
    summary: Path
    report: Path

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return all(promise.held for promise in self.promises)


@dataclass(frozen=True, slots=True)
class Material:
    """What is run on what: the data set, its events in event-time order, and the model."""

    dataset: Dataset
    events: list[dict[str, Any]]
    model: Model
    model_file: Path


def load(settings: Settings, output: TextIO) -> Material:
    """Load what the settings name; it may be fetched from the network.

    Raises:
        DataUnavailable: the data set is not to be had.
        ModelFileError: the model file is wrong.
    """
    dataset = find_dataset(settings.data, say=lambda line: _write(output, line))
    model_file = settings.model or dataset.model_path
    return Material(dataset, list(dataset.events()), load_model(model_file), model_file)


async def run_demo(material: Material, settings: Settings, output: TextIO) -> Result:
    """Run the demo; leave `summary.json`, `report.html` and `logs/` in `settings.out`.

    Raises:
        FreshetError: it could not be run. A promise that does not hold is no error, see `Result`.
    """
    started_s = time.monotonic()
    dataset, events, model = material.dataset, material.events, material.model
    seen = Measurements(model.spec)
    watch = Watch(seen, len(events))
    panel = Panel(watch.standing, output)
    panel.note(f"{dataset.name}: {len(events):,} events from {dataset.origin}")
    panel.note(f"{model.spec.name}: the model in {material.model_file}")

    # Left in this order, from the last: client, edge and workers, collector, broker, its records.
    with Logs(settings.out / "logs", panel) as logs, _own_directory() as data_dir, panel:
        async with BrokerKeeper(data_dir, logs.say) as broker:
            # On a broker that is somebody else's, topics of its own: every record in them is counted.
            cluster = Cluster(broker.bootstrap, "" if broker.embedded else f"demo-{time.time_ns()}.")
            await create_topics(cluster)
            (port,) = free_ports(1)
            children = pipeline(material.model_file, cluster, [port])
            async with Collector(cluster, seen) as collector, Supervisor(children, on_line=logs.take) as supervisor:
                job = Job(cluster, model, events, seen, watch)
                start_ms = await guarded(
                    job.run(port, settings.replay_s),
                    supervisor.watch(),
                    broker.watch(),
                    collector.run(),
                    _keep_fresh(panel),
                )
                watch.doing = "stopping"

    figures = summarise(
        seen,
        data=dataset.name,
        seconds=time.monotonic() - started_s,
        restarts=sum(supervisor.restarts.values()),
    )
    kept = promises(figures, seen, expected_events=len(events))
    kept += (_ended_cleanly(supervisor),)
    return _leave(settings.out, seen, figures, kept, start_ms)


class Job:
    """The replay, the client and the wait for the last label, over processes that run.

    Args:
        cluster: where the topics are.
        model: what scores and learns.
        events: the data set, in event-time order.
        seen: what was measured so far, fed by the collector.
        watch: is told what the job is at.
    """

    def __init__(
        self, cluster: Cluster, model: Model, events: Sequence[dict[str, Any]], seen: Measurements, watch: Watch
    ) -> None:
        self._cluster = cluster
        self._model = model
        self._events = events
        self._seen = seen
        self._watch = watch

    async def run(self, port: int, replay_s: float) -> float:
        """Run to the end; return the wall clock at the start of the replay, in milliseconds.

        Raises:
            NoModel: the edge has nothing to serve yet after a minute.
        """
        self._watch.doing = "waiting for the first release at the edge"
        await self._edge_ready(port)
        requests = int(REQUESTS_PER_S * (replay_s + _CAUGHT_UP_WITHIN_S))
        with tempfile.TemporaryDirectory(prefix="freshet-client-") as folder:
            asked = Path(folder) / "events.jsonl"
            asked.write_bytes(b"\n".join(to_ask(self._events, self._model.spec, requests)))
            async with Asking(port, REQUESTS_PER_S, asked, self._seen.take_answer):
                self._watch.doing = "replaying"
                start_ms = time.time() * 1000.0
                spec = self._model.spec
                # A tick past the last window and the lateness closes every pending.
                closing_ms = spec.within_ms + spec.lateness_ms + 1
                rate_per_s = len(self._events) / replay_s
                await replay(self._cluster, self._events, rate_per_s=rate_per_s, closing_ms=closing_ms)
                self._watch.doing = "closing, learning and serving the last labels"
                await self._caught_up()
        return start_ms

    async def _edge_ready(self, port: int) -> None:
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while not await asyncio.to_thread(_is_ready, port):
            if time.monotonic() > deadline_s:
                raise NoModel(self._model.spec.name)
            await asyncio.sleep(_POLL_S)

    async def _caught_up(self) -> None:
        """Return when every label is learned and served, or when it has become clear that this will not happen."""
        seen = self._seen
        # A last candidate that the gate refuses leaves its labels unserved: then the releases stop short of them.
        quiet_s = 2.0 + 3 * self._model.release.interval_ms / 1000.0
        deadline_s = time.monotonic() + _CAUGHT_UP_WITHIN_S
        changed_s, state = time.monotonic(), (0, 0, 0, 0)
        while time.monotonic() < deadline_s:
            now = (seen.events, len(seen.scored), len(seen.examples), len(seen.releases))
            if now != state:
                changed_s, state = time.monotonic(), now
            closed = seen.events >= len(self._events) and len(seen.examples) >= seen.applicable == len(seen.scored)
            if closed and seen.edge_version == seen.live_version and seen.edge_offset >= seen.last_offset:
                return
            if closed and time.monotonic() - changed_s > quiet_s:
                return
            await asyncio.sleep(_POLL_S)


class Logs:
    """One file per process for what it prints, `demo.log` for this one; what is done to processes is shown, too."""

    def __init__(self, folder: Path, panel: Panel) -> None:
        self._folder = folder
        self._panel = panel
        self._files: dict[str, TextIO] = {}
        self._own: logging.Handler | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Else Python prints warnings of libraries to the terminal, across the panel.
        self._own = logging.FileHandler(self._folder / "demo.log", encoding="utf-8", delay=True)
        self._own.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.getLogger().addHandler(self._own)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()
        if self._own is not None:
            logging.getLogger().removeHandler(self._own)
            self._own.close()

    def take(self, name: str, line: str) -> None:
        """Take a line that a process printed."""
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.log").open("w", encoding="utf-8", buffering=1)
        self._files[name].write(line + "\n")
        if name == "supervisor":
            self._panel.note(line)

    def say(self, line: str) -> None:
        """Take a line about a process."""
        self.take("supervisor", line)


def to_ask(events: Sequence[dict[str, Any]], spec: Spec, most: int) -> list[bytes]:
    """Return up to `most` events for the client, as JSON: those the model applies to, evenly spread over the data."""
    applicable = [event for event in events if kinds_of(event).intersection(spec.applies_to)]
    step = max(1.0, len(applicable) / most)
    return [msgspec.json.encode(applicable[int(number * step)]) for number in range(min(most, len(applicable)))]


def _is_ready(port: int) -> bool:
    connection = Connection("127.0.0.1", port)
    try:
        return connection.request("GET", "/v2/health/ready").status == 200
    except (OSError, httptools.HttpParserError):
        return False
    finally:
        connection.close()


async def _keep_fresh(panel: Panel) -> None:
    while True:
        panel.refresh()
        await asyncio.sleep(1.0)


@contextlib.contextmanager
def _own_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="freshet-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _ended_cleanly(supervisor: Supervisor) -> Promise:
    unclean = [f"{each.name}: {each.exit_code}" for each in supervisor.endings if not each.clean]
    return Promise(
        "every process ended when it was asked to, without an error",
        ", ".join(unclean) or f"{len(supervisor.endings)} of {len(supervisor.restarts)}",
        not unclean and len(supervisor.endings) == len(supervisor.restarts),
    )


def _leave(out: Path, seen: Measurements, figures: Figures, kept: tuple[Promise, ...], start_ms: float) -> Result:
    summary, report = out / "summary.json", out / "report.html"
    told = {"promises": [{"promise": each.words, "measured": each.value, "held": each.held} for each in kept]}
    summary.write_text(json.dumps(figures | told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report.write_text(render(seen, figures, kept, start_ms), encoding="utf-8")
    return Result(figures, kept, summary, report)


def _write(output: TextIO, line: str) -> None:
    output.write(line + "\n")
    output.flush()

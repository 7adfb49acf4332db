"""Run: an installation from its first process to its last, disturbed all the while, and the checker's verdict on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from learners import Model, load_model
from streams.supervisor import guarded
from streams.topics import Cluster, create_topics
from tests.soak.callers import Callers
from tests.soak.checker import SHOWN, KafkaLog, Verdict, check
from tests.soak.fleet import ROOT, Fleet, OwnBroker
from tests.soak.monkey import Blow, Monkey, planned
from tests.soak.producer import Producer
from tests.soak.recovery import Recovery, figures
from tests.soak.traffic import traffic

MODEL: Final = ROOT / "examples" / "purchase_propensity.py"
_MOST_PER_S: Final = 1500.0
_BLOW_S: Final = 8.0  # the events last as long as the blows, with so much for each
_FEW: Final = 200
_WORKERS: Final = ("learner", "scorer")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is: records, `kill -9`s, and processes."""

    events: int
    kills: int
    scorers: int = 2
    learners: int = 2
    edges: int = 2
    partitions: int = 4


@dataclass(slots=True)
class Report:
    """What a run came to.

    Attributes:
        seed, events: what it was.
        killed: `kill -9`s by role, those at crash points among them.
        blows: what was done, by kind and role.
        crash_points: at which a process died.
        missed: blows that met nobody.
        by_itself: processes that ended without having been asked: name and exit code.
        exits: codes of the workers and edges that were stopped in order, those that left on the way among them.
        laws_broken: workers whose conservation law was broken at the end.
        recovery_s: from a blow to the first new score in every partition (of a learner: to the next release).
        uncounted: recoveries into which another blow fell.
        edge: what the callers were answered.
        seconds: how long what took.
        load: of the machine, at the start and at the end; its cores.
        verdict: the checker's.
    """

    seed: int
    events: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    blows: dict[str, int] = field(default_factory=dict)
    crash_points: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    by_itself: list[str] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    laws_broken: list[str] = field(default_factory=list)
    recovery_s: dict[str, dict[str, float]] = field(default_factory=dict)
    uncounted: int = 0
    edge: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    load: list[float] = field(default_factory=lambda: [round(os.getloadavg()[0], 1)])
    verdict: Verdict | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and all was done that was planned."""
        answered = not self.edge.get("errors")
        ended = not any(self.exits.values()) and not self.laws_broken
        return self.verdict is not None and self.verdict.ok and answered and ended and not self.missed

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; of the verdict what is wrong, what was read, and the learner's SHA-256."""
        told: dict[str, Any] = {"ok": self.ok, **msgspec.to_builtins(self)}
        if self.verdict is not None:
            found = {kind: each for kind, each in told["verdict"].items() if isinstance(each, dict) and "first" in each}
            counts = {kind: each["count"] for kind, each in found.items()}
            wrong = {kind: each["first"] for kind, each in found.items() if each["count"]}
            told["verdict"] = {
                "ok": self.verdict.ok,
                **counts,
                "wrong": wrong,
                "read": self.verdict.read,
                "learner_sha256": self.verdict.learner_sha256,
            }
        return told


class Run:
    """One run.

    Args:
        seed: of the traffic, of the blows and of what they leave open.
        size: how large.
        cluster: whose topics do not exist yet.
        folder: for logs, and for what the producer says it sent.
        broker: that may be killed; None, it is somebody else's.
        blows: what is done, instead of what the seed says.
        rate_per_s: records a second; 0 is what leaves room for the blows.
        ask_oracle: see `checker.Checker`.
        say: told what happens.
    """

    def __init__(
        self,
        seed: int,
        size: Size,
        cluster: Cluster,
        folder: Path,
        *,
        broker: OwnBroker | None = None,
        blows: Sequence[Blow] | None = None,
        rate_per_s: float = 0.0,
        ask_oracle: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.seed, self.size, self.cluster = seed, size, cluster
        self.model: Model = load_model(MODEL)
        self.report = Report(seed)
        self._folder = folder
        self._broker = broker
        counts = {"learner": size.learners, "scorer": size.scorers, "edge": size.edges, "broker": broker is not None}
        self._counts = {role: int(count) for role, count in counts.items() if count}
        self._blows = planned(seed, size.events, size.kills, list(self._counts)) if blows is None else blows
        room_s = _BLOW_S * max(1, len(self._blows))
        self._rate_per_s = rate_per_s or min(_MOST_PER_S, size.events / room_s)
        self._ask_oracle = ask_oracle
        self._say = say
        self.fleet = Fleet(cluster, MODEL, folder, on_death=lambda death: say(f"{death.name} ended: {death.cause}"))
        self.recovery = Recovery(cluster, size.partitions)
        self.producer = Producer(cluster, self._produced)
        self.callers: Callers | None = None
        self._monkey: Monkey | None = None

    @property
    def _produced(self) -> Path:
        return self._folder / "produced.jsonl"

    def to_the_end(self, within_s: float) -> Report:
        """Run it, check it, and return what it came to; every process it started is gone then.

        Raises:
            TimeoutError: not within that time.
        """
        asyncio.run(_limited(self._disturbed(), within_s))
        started_s = time.monotonic()
        self.report.verdict = check(self.cluster, self.model, self._produced, ask_oracle=self._ask_oracle)
        self.report.seconds["checking"] = round(time.monotonic() - started_s, 1)
        return self.report

    async def _disturbed(self) -> None:
        await create_topics(self.cluster, self.size.partitions)
        with self.fleet, contextlib.ExitStack() as stack:
            for role in (*_WORKERS, "edge"):
                for number in range(self._counts.get(role, 0)):
                    self.fleet.add(role, f"{role}-{number + 1}")
            if edges := self.fleet.of("edge"):
                self.callers = stack.enter_context(Callers([each.port for each in edges]))
            monkey = Monkey(self.seed, self.fleet, self.recovery, self._broker, self.callers, self._say)
            try:
                await self.recovery.start()
                await self.producer.start()
                await guarded(self._in_order(monkey), self.fleet.keep_up())
                await self._stopped()
            finally:
                await self.recovery.stop()
                await self.producer.stop()
                self._tell(monkey)

    async def _in_order(self, monkey: Monkey) -> None:
        # 1. Everybody works. 2. Records go out and blows fall. 3. Everything is handled.
        with self._timed("starting"):
            await self._begun()
        with self._timed("sending"):
            spec, size = self.model.spec, self.size
            records = traffic(self.seed, size.events, lateness_ms=spec.lateness_ms, partitions=size.partitions)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.producer.send_all(records, lambda: self._pace(monkey)))
                group.create_task(monkey.deal_all(self._blows, lambda: self.producer.sent))
        with self._timed("draining"):
            await self.producer.close_windows(spec.within_ms + spec.lateness_ms + 1000)
            await self._drained()
        for member in self.fleet.of(*_WORKERS):
            if await asyncio.to_thread(self.fleet.alarmed, member.name):
                self.report.laws_broken.append(member.name)

    async def _begun(self) -> None:
        """Return when every worker has its partitions, and every edge its release."""
        while not await asyncio.to_thread(self._all_work):  # noqa: ASYNC110  # it is they who are asked
            await asyncio.sleep(0.2)
        if self.callers is not None:
            self.callers.begin()

    def _all_work(self) -> bool:
        ready = all(self.fleet.is_ready(member.name) for member in self.fleet.of(*_WORKERS))
        edges = len(self.callers.in_turn) if self.callers is not None else 0
        return ready and edges == self._counts.get("edge", 0)

    def _pace(self, monkey: Monkey) -> float:
        # The plan is in records: where a blow takes longer than planned, its successor must not come with the last.
        if not monkey.behind(self.producer.sent):
            return self._rate_per_s
        return self._rate_per_s / 10 if self.size.events - self.producer.sent > _FEW else min(5.0, self._rate_per_s)

    async def _drained(self) -> None:
        """Return when both groups have acknowledged everything, twice in a row."""
        log, quiet = KafkaLog(self.cluster, self.model), 0
        told: dict[str, tuple[int, int]] = {}
        while quiet < 2:
            await asyncio.sleep(0.5)
            behind = {where: at for where, at in (await log.offsets()).items() if at[0] != at[1]}
            quiet = 0 if behind else quiet + 1
            if behind != told:
                told = behind
                self._say(f"acknowledged: {behind or 'everything'}")

    async def _stopped(self) -> None:
        with self._timed("stopping"):
            if self.callers is not None:
                await asyncio.to_thread(self.callers.stop)
            members = self.fleet.of(*_WORKERS, "edge")
            codes = await asyncio.gather(*[self.fleet.stop(member.name) for member in members])
            self.report.exits |= {member.name: code for member, code in zip(members, codes, strict=True)}

    @contextlib.contextmanager
    def _timed(self, what: str) -> Any:
        started_s = time.monotonic()
        yield
        self.report.seconds[what] = round(time.monotonic() - started_s, 1)

    def _tell(self, monkey: Monkey) -> None:
        report, fleet = self.report, self.fleet
        report.events = self.producer.sent
        report.killed = dict(Counter(each.role for each in fleet.deaths if each.code == -signal.SIGKILL))
        if killed := monkey.dealt["kill broker"]:
            report.killed["broker"] = killed
        report.blows = dict(sorted(monkey.dealt.items()))
        report.crash_points = sorted(monkey.reached)
        report.missed = monkey.missed
        report.exits = monkey.left | report.exits
        report.by_itself = [f"{each.name} {each.code}" for each in fleet.deaths if each.cause == "by itself"][:SHOWN]
        report.recovery_s = {kind: figures(took_s) for kind, took_s in sorted(self.recovery.took_s.items())}
        report.uncounted = self.recovery.uncounted
        report.load += [round(os.getloadavg()[0], 1), float(os.cpu_count() or 0)]
        if self.callers is not None:
            report.edge = {
                "asked": self.callers.asked,
                "retried": self.callers.retried,
                "errors": len(self.callers.errors),
                "first_errors": self.callers.errors[:SHOWN],
                "took_ms": figures(self.callers.took_ms),
            }


async def _limited(work: Coroutine[Any, Any, None], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        await work

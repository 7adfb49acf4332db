"""Monkey: what is done to a fleet, planned from a seed: which process is killed, frozen or sent away, and when."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streams.crash_points import NAMES
from tests.soak.callers import Callers
from tests.soak.fleet import Fleet, Member, OwnBroker, became
from tests.soak.recovery import Recovery, Wait

# In this order, over and over, so that a short run has each once.
_TARGETS: Final = ("scorer", "broker", "learner", "edge", "scorer", "scorer", "broker", "learner")
_FROZEN: Final = ("scorer", "learner", "broker")
_ALL_POINTS_FROM: Final = 50
_P_HURRIED: Final = 0.2
_PER_FULL_DISK: Final = 25
_FIRST, _LAST = 0.25, 0.92  # before the first windows close there is nothing to learn
_FREEZE_S: Final = (7.0, 11.0)  # a session of a consumer lasts 6 s
_BROKER_AWAY_S: Final = (0.0, 4.0)
_OVER_WITHIN_S: Final = 60.0
_REACHED_WITHIN_S: Final = 60.0
_WORKS_WITHIN_S: Final = 30.0
_ATTEMPTS: Final = 3
# Who passes a point, by how it begins; a worker of any kind passes the others.
_PASSES: Final = {
    "scorer.": ("scorer",),
    "learner.": ("learner",),
    "release.": ("learner",),
    "swap.": ("scorer", "learner", "edge"),
}
_WORKERS: Final = ("scorer", "learner")


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing done to a fleet.

    Args:
        at: after how many records sent.
        kind: `kill`, `point`, `freeze`, `leave`, or of a broker `full`: its disk.
        role: to whom.
        point: at which crash point, and at which time of passing it: `name:2`.
        hurried: the next blow does not wait until this one is got over.
    """

    at: int
    kind: str
    role: str
    point: str = ""
    hurried: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.role} {self.point}".strip()


def planned(seed: int, events: int, kills: int, roles: Sequence[str]) -> list[Blow]:
    """Return the same blows for the same arguments, spread over the records.

    Half of the kills are deaths at crash points, of 50 and more at every point there is; to every ten come a process
    frozen beyond its session and a worker that leaves while another joins, to 25 a broker whose disk is full.

    >>> blows = planned(7, 5000, 4, ("scorer", "learner", "broker"))
    >>> sorted((blow.kind, blow.role) for blow in blows if blow.kind in ("kill", "leave"))
    [('kill', 'broker'), ('kill', 'scorer'), ('leave', 'scorer')]
    >>> points = [blow.point.partition(":")[0] for blow in planned(7, 10**6, 50, ("scorer", "learner"))]
    >>> set(NAMES) == set(filter(None, points))
    True
    """
    rng = random.Random(f"monkey {seed}")
    points = list(NAMES) if kills >= _ALL_POINTS_FROM else rng.sample(NAMES, kills // 2)
    targets = [role for role in _TARGETS if role in roles]
    frozen = [role for role in _FROZEN if role in roles]
    more = max(1, kills // 10)
    kinds = [("kill", targets[at % len(targets)], "") for at in range(max(kills - len(points), kills // 2))]
    kinds += [("point", rng.choice(_passing(point, roles)), f"{point}:{_times(rng, point)}") for point in points]
    kinds += [("freeze", frozen[(seed + at) % len(frozen)], "") for at in range(more)]
    kinds += [("leave", _WORKERS[at % 2], "") for at in range(more)]
    kinds += [("full", "broker", "")] * (kills // _PER_FULL_DISK if "broker" in roles else 0)
    rng.shuffle(kinds)
    at = sorted(int(events * rng.uniform(_FIRST, _LAST)) for _ in kinds)
    return [
        Blow(at, kind, role, point, hurried=rng.random() < _P_HURRIED)
        for at, (kind, role, point) in zip(at, kinds, strict=True)
    ]


def _passing(point: str, roles: Sequence[str]) -> list[str]:
    passing = next((roles for start, roles in _PASSES.items() if point.startswith(start)), _WORKERS)
    return [role for role in passing if role in roles]


def _times(rng: random.Random, point: str) -> int:
    # Of what a process passes once or seldom, the first time; of what it passes all the time, one of the first three.
    often = point.startswith(("scorer.", "learner.", "settle.", "release.", "journal.after_part"))
    return rng.randrange(1, 4) if often else 1


class Monkey:
    """Deals blows, one after another, and waits in between until the fleet has got over it.

    Args:
        seed: of what the plan leaves open: which of several, and for how long.
        fleet: whose processes.
        recovery: measures how long they take.
        broker: that may be killed; None, nobody touches it.
        callers: an edge is only touched while another one answers them.
        say: told what happens.

    Attributes:
        dealt: how many blows of each kind and role.
        reached: the crash points at which a process died.
        missed: blows that met nobody.
        left: exit codes of workers that were sent away, by name.
    """

    def __init__(
        self,
        seed: int,
        fleet: Fleet,
        recovery: Recovery,
        broker: OwnBroker | None,
        callers: Callers | None,
        say: Callable[[str], None],
    ) -> None:
        self._rng = random.Random(f"moments {seed}")
        self._fleet = fleet
        self._recovery = recovery
        self._broker = broker
        self._callers = callers
        self._say = say
        self._newest = Counter(member.role for member in fleet.members.values())
        self.dealt: Counter[str] = Counter()
        self.reached: set[str] = set()
        self.missed: list[str] = []
        self.left: dict[str, int] = {}
        self._next_at = 0

    async def deal_all(self, blows: Sequence[Blow], sent: Callable[[], int]) -> None:
        """Deal each blow when its number of records has been sent."""
        for place, blow in enumerate(blows):
            self._next_at = blow.at + 1
            await became(lambda at=blow.at: sent() >= at)  # type: ignore[misc]
            following = [each.at for each in blows[place + 1 :]]
            self._next_at = following[0] if following else blow.at
            self._say(f"{sent()}: {blow}")
            self.dealt[f"{blow.kind} {blow.role}"] += 1
            wait = await self.deal(blow)
            if wait is not None and not blow.hurried:
                await asyncio.wait([asyncio.create_task(wait.over.wait())], timeout=_OVER_WITHIN_S)
        self._next_at = sys.maxsize

    def behind(self, sent: int) -> bool:
        """Return whether a blow is due, after so many records, while another is still being dealt or got over."""
        return sent >= self._next_at

    async def deal(self, blow: Blow) -> Wait | None:
        """Deal one blow; return the recovery from it that is being measured, None where nothing stands still."""
        if blow.role == "broker":
            return await self._at_broker(blow)
        if blow.kind == "point":
            return await self._at_point(blow)
        member = await self._one_of(blow.role)
        if blow.kind == "kill":
            wait = None if blow.role == "edge" else self._recovery.begin(blow.role)
            self._fleet.kill(member.name)
            return wait
        if blow.kind == "freeze":
            wait = self._recovery.begin(blow.role, "frozen")
            await self._fleet.freeze(member.name, self._rng.uniform(*_FREEZE_S))
            return wait
        wait = self._recovery.begin(blow.role, "left")
        await self._sent_away(member)
        return wait

    async def _at_broker(self, blow: Blow) -> Wait:
        assert self._broker is not None
        self._recovery.disturb()
        if blow.kind == "freeze":
            await self._broker.freeze(self._rng.uniform(*_FREEZE_S))
            return self._recovery.begin("broker", "frozen")
        if blow.kind == "full":
            await self._broker.fill(self._rng.uniform(*_BROKER_AWAY_S))
            return self._recovery.begin("broker", "full")
        await self._broker.kill(self._rng.uniform(*_BROKER_AWAY_S))
        return self._recovery.begin("broker")

    async def _at_point(self, blow: Blow) -> Wait | None:
        name = blow.point.partition(":")[0]
        for _ in range(_ATTEMPTS):
            self._recovery.disturb()
            member = await self._one_of(blow.role)
            # All learners: only one of them has the model's examples, and which one, a restart may change.
            struck = self._fleet.of("learner") if blow.role == "learner" else [member]
            for each in struck:
                self._fleet.kill(each.name, blow.point)
            died = await self._died(struck, name)
            for each in struck:
                if each.dies_at or each.crash_point:
                    self._fleet.kill(each.name)
            if died:
                self.reached.add(name)
                return None if blow.role == "edge" else self._recovery.begin(blow.role)
        self.missed.append(str(blow))
        return None

    async def _died(self, struck: list[Member], name: str) -> bool:
        """Return whether one of the processes dies at a crash point in time; sends one away where that leads there."""
        known = len(self._fleet.deaths)
        end_s = time.monotonic() + _REACHED_WITHIN_S
        while time.monotonic() < end_s:
            if any(death.cause == name for death in self._fleet.deaths[known:]):
                return True
            if name.startswith("revoke."):
                for each in struck:
                    if each.alive and each.dies_at and await self._owns(each):
                        await self._fleet.stop(each.name)
                        each.keep = True
            await asyncio.sleep(0.05)
        return False

    async def _sent_away(self, member: Member) -> None:
        self.left[member.name] = await self._fleet.stop(member.name)
        self._newest[member.role] += 1
        self._fleet.add(member.role, f"{member.role}-{self._newest[member.role]}")

    async def _one_of(self, role: str) -> Member:
        """Return whom to strike: one that works, if there is one within a time."""
        if role == "edge":
            edges, callers = self._fleet.of("edge"), self._callers
            await became(lambda: callers is None or len(callers.in_turn) == len(edges))
            return self._rng.choice(edges)
        end_s = time.monotonic() + _WORKS_WITHIN_S
        while time.monotonic() < end_s:
            members = self._fleet.of(role)
            if owning := [member for member in members if member.alive and await self._owns(member)]:
                return self._rng.choice(owning)
            await asyncio.sleep(0.1)
        return self._rng.choice(self._fleet.of(role))

    async def _owns(self, member: Member) -> bool:
        return await asyncio.to_thread(self._fleet.owns, member.name)

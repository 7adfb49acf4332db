"""The engine swaps one reference: who holds a session keeps it, who asks anew gets the new one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from schemas.errors import NoModel
from scoring.engine import SWAPS_REMEMBERED, VERSIONS_RESIDENT, Engine
from scoring.session import Session
from tests.scoring.artifacts import constant_p, release

ROW = ((1.0, 2.0, 3.0, 4.0), ("CH",))


def test_before_the_first_release_there_is_no_session() -> None:
    """Asking says which model is missing."""
    engine = Engine()

    with pytest.raises(NoModel, match="m is loaded yet"):
        engine.session("m")
    assert (engine.version("m"), engine.sessions()) == (-1, [])


def test_a_swap_says_what_was_and_what_is() -> None:
    """Versions may go down, as in a rollback; only the last hundred swaps are remembered."""
    engine = Engine()
    sessions = {version: Session(release(version)) for version in (4, 9)}

    swaps = [engine.swap(sessions[version], now_ms=version) for version in (4, 9, 4)]

    assert [(swap.old, swap.new, swap.at_ms) for swap in swaps] == [(-1, 4, 4), (4, 9, 9), (9, 4, 4)]
    assert engine.version("m") == 4
    for _ in range(SWAPS_REMEMBERED):
        engine.swap(sessions[9], now_ms=0)
    assert (engine.swapped, len(engine.swaps)) == (3 + SWAPS_REMEMBERED, SWAPS_REMEMBERED)


def test_an_old_session_lives_until_its_last_caller_lets_go() -> None:
    """Whoever took it before the swaps is answered by it; when it is resident no longer, nothing else keeps it."""
    engine = Engine()
    engine.swap(Session(release(1)), now_ms=0)
    held = engine.session("m")
    gone = weakref.ref(held)

    for version in range(2, 2 + VERSIONS_RESIDENT):
        engine.swap(Session(release(version)), now_ms=0)

    assert held.score([ROW]) == [constant_p(1)]
    assert engine.session("m").score([ROW]) == [constant_p(1 + VERSIONS_RESIDENT)]
    del held
    gc.collect()
    assert gone() is None


def test_the_last_three_versions_that_were_live_stay() -> None:
    """In the order in which they were live last, whatever their numbers: going back and forth keeps both."""
    engine = Engine()
    sessions = {version: Session(release(version)) for version in range(5)}

    resident = []
    for version in (0, 1, 2, 0, 3, 4):
        engine.swap(sessions[version], now_ms=0)
        resident.append(engine.versions("m"))

    assert resident == [[0], [0, 1], [0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert engine.resident("m", 3) is sessions[3]
    assert (engine.resident("m", 1), engine.resident("other", 3)) == (None, None)


def test_going_back_to_a_resident_version_took_no_load() -> None:
    """The swap says 0 ms; loading the same version anew is a load."""
    engine = Engine()
    first = Session(release(1))

    swaps = [engine.swap(session, now_ms=0) for session in (first, Session(release(2)), first, Session(release(1)))]

    assert [swap.load_ms > 0 for swap in swaps] == [True, True, False, True]


def test_unloading_takes_all_versions_and_waits_anew() -> None:
    """Who holds a session is still answered; who asks is told that there is none; other models stay."""

    async def scene() -> bool:
        await asyncio.wait_for(engine.ready("m"), 1)
        engine.unload("m")
        waiting = asyncio.create_task(engine.ready("m"))
        await asyncio.sleep(0)
        done = waiting.done()
        waiting.cancel()
        return done

    engine = Engine()
    for version in (1, 2):
        engine.swap(Session(release(version)), now_ms=0)
    held = engine.session("m")

    ready_afterwards = asyncio.run(scene())

    assert not ready_afterwards
    assert (engine.versions("m"), engine.models(), engine.resident("m", 2)) == ([], [], None)
    assert held.score([ROW]) == [constant_p(2)]


def test_who_waits_while_a_model_is_unloaded_waits_on() -> None:
    """And hears of its next session."""

    async def scene() -> None:
        engine = Engine()
        waiting = asyncio.create_task(engine.ready("m"))
        await asyncio.sleep(0)
        engine.unload("m")
        engine.swap(Session(release(1)), now_ms=0)
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scene())


def test_waiting_for_a_model_ends_with_its_first_session() -> None:
    """And is over at once from then on; other models' sessions do not end it."""

    async def scene() -> list[bool]:
        engine = Engine()
        waiting = asyncio.create_task(engine.ready("m"))
        other = asyncio.create_task(engine.ready("other"))
        await asyncio.sleep(0)
        before = waiting.done()
        engine.swap(Session(release(1)), now_ms=0)
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait_for(engine.ready("m"), 1)
        done = [before, waiting.done(), other.done()]
        other.cancel()
        return done

    assert asyncio.run(scene()) == [False, True, False]


def test_whoever_reads_during_swaps_gets_a_whole_session() -> None:
    """Four threads look up and score while a fifth swaps: every score is that of the version named beside it."""
    engine = Engine()
    sessions = [Session(release(version)) for version in range(8)]
    engine.swap(sessions[0], now_ms=0)
    over = threading.Event()
    wrong: list[tuple[int, float]] = []
    asked = [0, 0, 0, 0]

    def ask(number: int) -> None:
        while not over.is_set():
            session = engine.session("m")
            version, (score,) = session.version, session.score([ROW])
            asked[number] += 1
            if score != constant_p(version):
                wrong.append((version, score))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while min(asked) < 500:
        engine.swap(sessions[engine.swapped % 8], now_ms=0)
    over.set()
    for thread in threads:
        thread.join(10)

    assert not wrong
    assert engine.swapped > 8

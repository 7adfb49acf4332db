"""The broker keeper uses the broker that is named, else keeps one of its own alive and leaves none behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from streams.broker.ports import speaks_kafka
from streams.broker.state import running
from streams.broker_keeper import BrokerKeeper
from streams.supervisor import guarded


def test_a_named_broker_is_used_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, and there is nothing to watch."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka.example:9092")

    async def scene() -> None:
        async with BrokerKeeper(tmp_path, lambda _: None) as broker:
            await asyncio.wait_for(broker.watch(), 1)

            assert (broker.bootstrap, broker.embedded) == ("kafka.example:9092", False)

    asyncio.run(scene())

    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_killed_comes_back_on_the_same_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients keep their address; at the end no broker is left."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    said: list[str] = []

    async def back(port: int, old_pid: int) -> int:
        while True:
            state = running(tmp_path)
            if state and state.process and state.process.pid != old_pid and speaks_kafka(port):
                return state.process.pid
            await asyncio.sleep(0.1)

    async def scene() -> None:
        async with BrokerKeeper(tmp_path, said.append) as broker:
            state = running(tmp_path)
            assert state is not None
            assert state.process is not None
            os.kill(state.process.pid, signal.SIGKILL)
            new_pid = await asyncio.wait_for(guarded(back(state.port, state.process.pid), broker.watch()), 60)

            assert broker.bootstrap == f"127.0.0.1:{state.port}"
            assert new_pid != state.process.pid

    asyncio.run(scene())

    assert running(tmp_path) is None
    assert any("it has died" in line for line in said)

"""What tests share: one real Kafka broker for the session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker

# Of the tests' own, so that nothing is written into the home of whoever runs them.
os.environ.setdefault("FRESHET_STATE_KEY", "the key that seals the state of tests")
os.environ.setdefault("FRESHET_SPILL", str(Path(tempfile.gettempdir(), "freshet-test-spill")))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka broker: $KAFKA_BOOTSTRAP, else one that lives as long as the session.

    All tests share it: each names its own topics and groups.
    """
    if named := os.environ.get("KAFKA_BOOTSTRAP"):
        yield named
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("kafka"), heap_mib=192) as broker:
        yield broker.bootstrap


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, by the time they are allowed: at the end no worker waits for the other's last test."""

    def allowed_s(item: pytest.Item) -> float:
        timeout = item.get_closest_marker("timeout")
        return float(timeout.args[0]) if timeout else 0.0

    items.sort(key=allowed_s, reverse=True)

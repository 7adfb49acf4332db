"""What tests share: one real Kafka broker for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from streams.broker import EmbeddedBroker

# Of the tests' own, so that nothing is written into the home of whoever runs them.
os.environ.setdefault("FRESHET_STATE_KEY", "the key that seals the state of tests")


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

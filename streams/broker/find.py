"""Which broker to use: the one place that decides it, for every command and for the edge."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import BrokerError
from streams.broker.extra import extra
from streams.broker.ports import speaks_kafka
from streams.broker.state import running


def find_bootstrap() -> str:
    """Return $KAFKA_BOOTSTRAP where it is set, else the address of this user's running embedded broker.

    Raises:
        BrokerError: neither is there; says how to get one.
    """
    if named := os.environ.get("KAFKA_BOOTSTRAP", "").strip():
        return named
    data_dir = default_data_dir()
    state = running(data_dir)
    if state is None:
        raise BrokerError("no Kafka broker: set KAFKA_BOOTSTRAP to one, or start one with `freshet broker up`")
    if not speaks_kafka(state.port, timeout_s=5):
        raise BrokerError(
            f"the Kafka broker on {state.bootstrap} does not answer; it may be starting. "
            f"If it stays so, run `freshet broker down` and `freshet broker up`, and see {data_dir / 'broker.log'}"
        )
    return state.bootstrap


def default_data_dir() -> Path:
    """Return where the embedded broker keeps its records: $FRESHET_KAFKA_DATA, else in the user's data directory."""
    if named := os.environ.get("FRESHET_KAFKA_DATA"):
        return Path(named)
    return Path(extra("platformdirs").user_data_dir("freshet")) / "kafka"
